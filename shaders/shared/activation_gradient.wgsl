// The derivative of every activation, under its name and with its parameters (activation.wgsl) and the ending _slope.
//
// y is the activation's output, x its input: Activation::gradient_from_output (src/ops/activation.rs) says which is
// given, and v may be either. NaN gives NaN unless the derivative is a constant. Where the argument is so large that the
// derivative has long been constant, it is cut, so that no 0 meets an infinity.

// above where v is above the threshold, else below.
fn step_at(v: f32, threshold: f32, below: f32, above: f32) -> f32 {
    return select(select(v, below, v <= threshold), above, v > threshold);
}

fn relu_slope(y: f32) -> f32 {
    return step_at(y, 0.0, 0.0, 1.0);
}

fn leaky_relu_slope(v: f32, alpha: f32) -> f32 {
    return step_at(v, 0.0, alpha, 1.0);
}

// A bound at the end of the finite range stands for an infinite one, which bounds nothing.
fn clip_slope(y: f32, low: f32, high: f32) -> f32 {
    let below = y <= low && low > -F32_MAX;
    let above = y >= high && high < F32_MAX;
    return select(select(y, 1.0, y <= 0.0 || y > 0.0), 0.0, below || above);
}

fn elu_slope(y: f32, alpha: f32) -> f32 {
    return select(y + alpha, 1.0, y > 0.0);
}

fn elu_input_slope(x: f32, alpha: f32) -> f32 {
    return select(alpha * exp(x), 1.0, x > 0.0);
}

fn selu_slope(y: f32, alpha: f32, gamma: f32) -> f32 {
    return select(y + gamma * alpha, gamma, y > 0.0);
}

fn selu_input_slope(x: f32, alpha: f32, gamma: f32) -> f32 {
    return gamma * elu_input_slope(x, alpha);
}

fn celu_slope(y: f32, alpha: f32) -> f32 {
    return select(y / alpha + 1.0, 1.0, y > 0.0);
}

fn sigmoid_slope(y: f32) -> f32 {
    return y * (1.0 - y);
}

fn hard_sigmoid_slope(y: f32, alpha: f32, beta: f32) -> f32 {
    return select(step_at(y, 0.0, 0.0, alpha), 0.0, y >= 1.0);
}

fn tanh_slope(y: f32) -> f32 {
    return (1.0 - y) * (1.0 + y);
}

// sigmoid(x) = 1 - exp(-y)
fn softplus_slope(y: f32) -> f32 {
    return -expm1(-y);
}

fn softsign_slope(x: f32) -> f32 {
    let q = 1.0 / (1.0 + abs(x));
    return q * q;
}

// The derivative of x sigmoid(t(x)), given t and x t'(x).
fn gate_slope(t: f32, moved: f32) -> f32 {
    let e = exp(-abs(t));
    return (select(1.0, e, t < 0.0) + moved * (e / (1.0 + e))) / (1.0 + e);
}

// x between two bounds.
fn cut(x: f32, bound: f32) -> f32 {
    return select(select(x, -bound, x < -bound), bound, x > bound);
}

fn silu_slope(x: f32, alpha: f32) -> f32 {
    let t = cut(alpha * x, 128.0);
    return gate_slope(t, t);
}

fn hard_swish_slope(x: f32) -> f32 {
    return select(step_at(x, -3.0, 0.0, x / 3.0 + 0.5), 1.0, x >= 3.0);
}

// The normal distribution and x times its density, 1 / sqrt(2 pi) = 0.3989423.
fn gelu_slope(x: f32) -> f32 {
    let bounded = cut(x, 20.0);
    let z = bounded * 0.70710678;
    let density = 0.3989423 * exp(-0.5 * bounded * bounded);
    if abs(z) < 1.0 {
        return 0.5 * (1.0 + erf_centre(z)) + bounded * density;
    }
    let tail = 0.5 * erfc_tail(abs(z));
    return select(tail, 1.0 - tail, z > 0.0) + bounded * density;
}

// 2 sqrt(2 / pi) = 1.5957691
fn gelu_tanh_slope(x: f32) -> f32 {
    let bounded = cut(x, 12.0);
    let square = 0.044715 * bounded * bounded;
    let t = 1.5957691 * (bounded + square * bounded);
    return gate_slope(t, 1.5957691 * (bounded + 3.0 * square * bounded));
}

// tanh(softplus(x)) = n / (n + m) as in mish, and the derivative of tanh is m (2 n + m) / (n + m)^2.
fn mish_slope(x: f32) -> f32 {
    let bounded = cut(x, 128.0);
    let e = exp(-abs(bounded));
    let n = select(e * (e + 2.0), 1.0 + 2.0 * e, bounded > 0.0);
    let m = select(2.0, 2.0 * e * e, bounded > 0.0);
    let sum = n + m;
    return n / sum + bounded * sigmoid(bounded) * (m / sum) * ((n + sum) / sum);
}

fn thresholded_relu_slope(v: f32, alpha: f32) -> f32 {
    return step_at(v, alpha, 0.0, 1.0);
}

// 2 / sqrt(pi) = 1.1283792
fn erf_slope(x: f32) -> f32 {
    return 1.1283792 * exp(-x * x);
}

fn exp_slope(y: f32) -> f32 {
    return y;
}

fn log_slope(x: f32) -> f32 {
    return 1.0 / x;
}

fn sqrt_slope(y: f32) -> f32 {
    return 0.5 / y;
}

fn reciprocal_slope(y: f32) -> f32 {
    return -y * y;
}

fn abs_slope(x: f32) -> f32 {
    return select(step_at(x, 0.0, 0.0, 1.0), -1.0, x < 0.0);
}

fn neg_slope(y: f32) -> f32 {
    return -1.0;
}

fn floor_slope(y: f32) -> f32 {
    return 0.0;
}

fn ceil_slope(y: f32) -> f32 {
    return 0.0;
}
