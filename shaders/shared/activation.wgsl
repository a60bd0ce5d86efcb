// Every activation, under the name and with the parameters of Activation::signature (src/ops/activation.rs).
//
// NaN gives NaN: bounds are comparisons and select, because min and max may drop a NaN. No intermediate overflows
// where the result does not, and differences of nearly equal numbers are avoided, since the built-in exp is accurate
// relative to its result and log only in absolute terms.

const F32_MAX = 0x1.fffffep+127;

// exp(x) - 1. Up to 0.5 its Taylor series, which ends below 2^-26 of the result.
fn expm1(x: f32) -> f32 {
    if abs(x) > 0.5 {
        return exp(x) - 1.0;
    }
    var p = 1.0 / 40320.0;
    p = p * x + 1.0 / 5040.0;
    p = p * x + 1.0 / 720.0;
    p = p * x + 1.0 / 120.0;
    p = p * x + 1.0 / 24.0;
    p = p * x + 1.0 / 6.0;
    p = p * x + 0.5;
    return p * x * x + x;
}

// log(1 + x) for x in [0, 1], as 2 atanh(s): its series in s <= 1/3 ends below 2^-25 of the result.
fn log1p(x: f32) -> f32 {
    let s = x / (2.0 + x);
    let z = s * s;
    var p = 2.0 / 13.0;
    p = p * z + 2.0 / 11.0;
    p = p * z + 2.0 / 9.0;
    p = p * z + 2.0 / 7.0;
    p = p * z + 2.0 / 5.0;
    p = p * z + 2.0 / 3.0;
    return p * z * s + 2.0 * s;
}

// erf(x) for |x| <= 1: x times the Chebyshev interpolant of erf(x) / x in x^2, to 7e-8 of the result.
fn erf_centre(x: f32) -> f32 {
    let z = x * x;
    var p = 7.87587487e-5;
    p = p * z - 8.0168643e-4;
    p = p * z + 5.18908724e-3;
    p = p * z - 0.0268542115;
    p = p * z + 0.112835944;
    p = p * z - 0.37612626;
    p = p * z + 1.12837911;
    return p * x;
}

// 1 - erf(x) for x >= 1: exp(-x^2) t times the Chebyshev interpolant of exp(x^2) (1 - erf(x)) / t in t = 2 / (2 + x),
// which is good to 6e-8 of the result.
fn erfc_tail(x: f32) -> f32 {
    let t = 2.0 / (2.0 + x);
    var p = 0.0183742326;
    p = p * t + 0.042652186;
    p = p * t - 0.169874936;
    p = p * t + 0.0512059405;
    p = p * t + 0.0693496093;
    p = p * t + 0.178300068;
    p = p * t + 0.246698841;
    p = p * t + 0.282098204;
    p = p * t + 0.282094777;
    return p * t * exp(-x * x);
}

fn clamp01(x: f32) -> f32 {
    let low = select(x, 0.0, x < 0.0);
    return select(low, 1.0, low > 1.0);
}

fn relu(x: f32) -> f32 {
    return select(x, 0.0, x <= 0.0);
}

fn leaky_relu(x: f32, alpha: f32) -> f32 {
    return select(x, alpha * x, x < 0.0);
}

// A bound at the end of the finite range stands for an infinite one, which bounds nothing.
fn clip(x: f32, low: f32, high: f32) -> f32 {
    let y = select(x, low, x < low && low > -F32_MAX);
    return select(y, high, y > high && high < F32_MAX);
}

fn elu(x: f32, alpha: f32) -> f32 {
    return select(alpha * expm1(x), x, x > 0.0);
}

fn selu(x: f32, alpha: f32, gamma: f32) -> f32 {
    return gamma * elu(x, alpha);
}

fn celu(x: f32, alpha: f32) -> f32 {
    return select(alpha * expm1(x / alpha), x, x > 0.0);
}

fn sigmoid(x: f32) -> f32 {
    let e = exp(-abs(x));
    return select(e, 1.0, x >= 0.0) / (1.0 + e);
}

fn hard_sigmoid(x: f32, alpha: f32, beta: f32) -> f32 {
    return clamp01(alpha * x + beta);
}

// -expm1(-2 |x|) / (1 + exp(-2 |x|)), with the sign of x.
fn tanh_(x: f32) -> f32 {
    let m = expm1(-2.0 * abs(x));
    return select(-m, m, x < 0.0) / (2.0 + m);
}

fn softplus(x: f32) -> f32 {
    return select(x, 0.0, x < 0.0) + log1p(exp(-abs(x)));
}

// From 2^25 on the quotient rounds to 1; of infinities there is none.
fn softsign(x: f32) -> f32 {
    return select(x / (1.0 + abs(x)), sign(x), abs(x) >= 0x1p25 && abs(x) <= F32_MAX);
}

fn silu(x: f32, alpha: f32) -> f32 {
    return x * sigmoid(alpha * x);
}

fn hard_swish(x: f32) -> f32 {
    return x * clamp01(x / 6.0 + 0.5);
}

fn gelu(x: f32) -> f32 {
    let z = x * 0.70710678;
    if abs(z) < 1.0 {
        return 0.5 * x * (1.0 + erf_centre(z));
    }
    let tail = 0.5 * erfc_tail(abs(z));
    return x * select(tail, 1.0 - tail, z > 0.0);
}

// (1 + tanh(u)) / 2 = sigmoid(2 u), and 2 sqrt(2 / pi) = 1.5957691.
fn gelu_tanh(x: f32) -> f32 {
    return x * sigmoid(1.5957691 * (x + 0.044715 * x * x * x));
}

// tanh(log(1 + e)) = e (e + 2) / (e (e + 2) + 2), and the same in 1 / e where e = exp(x) is large.
fn mish(x: f32) -> f32 {
    let e = exp(-abs(x));
    let n = select(e * (e + 2.0), 1.0 + 2.0 * e, x > 0.0);
    return x * (n / (n + select(2.0, 2.0 * e * e, x > 0.0)));
}

fn thresholded_relu(x: f32, alpha: f32) -> f32 {
    return select(x, 0.0, x <= alpha);
}

fn erf(x: f32) -> f32 {
    if abs(x) < 1.0 {
        return erf_centre(x);
    }
    let y = 1.0 - erfc_tail(abs(x));
    return select(y, -y, x < 0.0);
}

fn exp_(x: f32) -> f32 {
    return exp(x);
}

fn log_(x: f32) -> f32 {
    return log(x);
}

fn sqrt_(x: f32) -> f32 {
    return sqrt(x);
}

fn reciprocal(x: f32) -> f32 {
    return 1.0 / x;
}

fn abs_(x: f32) -> f32 {
    return abs(x);
}

fn neg(x: f32) -> f32 {
    return -x;
}

fn floor_(x: f32) -> f32 {
    return floor(x);
}

fn ceil_(x: f32) -> f32 {
    return ceil(x);
}
