//! Activations and the other functions of one element.

use super::approx::Approx;
use super::{Answer, count};

/// A function of one element. Parameters are `f32`, as the kernels receive them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    Relu,
    LeakyRelu {
        alpha: f32,
    },
    Clip {
        min: f32,
        max: f32,
    },
    Elu {
        alpha: f32,
    },
    Selu {
        alpha: f32,
        gamma: f32,
    },
    Celu {
        alpha: f32,
    },
    Sigmoid,
    HardSigmoid {
        alpha: f32,
        beta: f32,
    },
    Tanh,
    Softplus,
    Softsign,
    /// x · sigmoid(alpha · x), with alpha 1 also called swish.
    Silu {
        alpha: f32,
    },
    HardSwish,
    /// x · Φ(x), by erf.
    Gelu,
    /// Gelu by tanh: x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))).
    GeluTanh,
    Mish,
    ThresholdedRelu {
        alpha: f32,
    },
    Erf,
    Exp,
    Log,
    Sqrt,
    Reciprocal,
    Abs,
    Neg,
    Floor,
    Ceil,
}

use Activation::*;

fn sigmoid(x: Approx) -> Approx {
    let one = Approx::exact(1.0);
    one / (one + (-x).exp())
}

/// max(x, 0) + log(1 + exp(-|x|)), which is log(1 + exp(x)) without its overflow.
fn softplus(x: Approx) -> Approx {
    let tail = (Approx::exact(1.0) + (-x.abs()).exp()).ln();
    Approx::exact(x.value.max(0.0)) + tail
}

impl Activation {
    /// The function at `x`, with the error of its formula.
    pub fn at(self, x: f64) -> Approx {
        let a = Approx::exact(x);
        let number = |v: f32| Approx::exact(v);
        let (half, one) = (Approx::exact(0.5), Approx::exact(1.0));
        if x.is_nan() {
            return a;
        }
        match self {
            Relu => Approx::exact(if x > 0.0 { x } else { 0.0 }),
            LeakyRelu { alpha } => {
                if x < 0.0 {
                    number(alpha) * a
                } else {
                    a
                }
            }
            Clip { min, max } => Approx::exact(x.max(min.into()).min(max.into())),
            Elu { alpha } => {
                if x > 0.0 {
                    a
                } else {
                    number(alpha) * (a.exp() - one)
                }
            }
            Selu { alpha, gamma } => number(gamma) * Elu { alpha }.at(x),
            Celu { alpha } => {
                if x > 0.0 {
                    a
                } else {
                    number(alpha) * ((a / number(alpha)).exp() - one)
                }
            }
            Sigmoid => sigmoid(a),
            HardSigmoid { alpha, beta } => (number(alpha) * a + number(beta)).clamp(0.0, 1.0),
            Tanh => a.tanh(),
            Softplus => softplus(a),
            Softsign => a / (one + a.abs()),
            Silu { alpha } => a * sigmoid(number(alpha) * a),
            HardSwish => a * (a * Approx::constant(1.0 / 6.0) + half).clamp(0.0, 1.0),
            Gelu => half * a * (one + (a * Approx::constant(0.5_f64.sqrt())).erf()),
            GeluTanh => {
                let inner = a + Approx::constant(0.044715) * a * a * a;
                half * a * (one + (Approx::constant(std::f64::consts::FRAC_2_PI.sqrt()) * inner).tanh())
            }
            Mish => a * softplus(a).tanh(),
            ThresholdedRelu { alpha } => Approx::exact(if x > alpha.into() { x } else { 0.0 }),
            Erf => a.erf(),
            Exp => a.exp(),
            Log => a.ln(),
            Sqrt => a.sqrt(),
            Reciprocal => one / a,
            Abs => a.abs(),
            Neg => -a,
            Floor => Approx::exact(x.floor()),
            Ceil => Approx::exact(x.ceil()),
        }
    }

    /// The derivative at `x`, with the error of its formula. At a kink it is PyTorch's: of the piece below, but 0 at the
    /// ends of clip and of the hard sigmoid and for |x| at 0, and 1 at 3 for the hard swish.
    pub fn slope(self, x: f64) -> Approx {
        let a = Approx::exact(x);
        let number = |v: f32| Approx::exact(v);
        let (zero, half, one) = (Approx::exact(0.0), Approx::exact(0.5), Approx::exact(1.0));
        let two = one + one;
        if x.is_nan() {
            return a;
        }
        let below = |at: f64| x <= at;
        match self {
            Relu => {
                if below(0.0) {
                    zero
                } else {
                    one
                }
            }
            LeakyRelu { alpha } => {
                if below(0.0) {
                    number(alpha)
                } else {
                    one
                }
            }
            Clip { min, max } => {
                let inside = x > min.into() && x < max.into();
                if inside { one } else { zero }
            }
            Elu { alpha } => {
                if below(0.0) {
                    number(alpha) * a.exp()
                } else {
                    one
                }
            }
            Selu { alpha, gamma } => number(gamma) * Elu { alpha }.slope(x),
            Celu { alpha } => {
                if below(0.0) {
                    (a / number(alpha)).exp()
                } else {
                    one
                }
            }
            Sigmoid => sigmoid(a) * sigmoid(-a),
            HardSigmoid { alpha, beta } => {
                let y = f64::from(alpha) * x + f64::from(beta);
                if y > 0.0 && y < 1.0 { number(alpha) } else { zero }
            }
            Tanh => (one - a.tanh()) * (one + a.tanh()),
            Softplus => sigmoid(a),
            Softsign => one / (one + a.abs()) / (one + a.abs()),
            Silu { alpha } => {
                let t = number(alpha) * a;
                sigmoid(t) + t * sigmoid(t) * sigmoid(-t)
            }
            HardSwish => {
                if below(-3.0) {
                    zero
                } else if x < 3.0 {
                    a / (two + one) + half
                } else {
                    one
                }
            }
            Gelu => {
                let density =
                    Approx::constant(0.5 * std::f64::consts::FRAC_2_PI.sqrt()) * (-half * a * a).exp();
                half * (one + (a * Approx::constant(0.5_f64.sqrt())).erf()) + a * density
            }
            GeluTanh => {
                // (1 + tanh(u)) / 2 = sigmoid(2 u)
                let scale = Approx::constant(2.0 * std::f64::consts::FRAC_2_PI.sqrt());
                let cube = Approx::constant(0.044715) * a * a * a;
                let t = scale * (a + cube);
                sigmoid(t) + scale * (a + (two + one) * cube) * sigmoid(t) * sigmoid(-t)
            }
            Mish => {
                // tanh(log(1 + exp(x))) = p / (p + 2) with p = exp(x) (exp(x) + 2), here over exp(2 x) where that is large.
                let e = (-a.abs()).exp();
                let (p, q) = if x > 0.0 { (one + two * e, two * e * e) } else { (e * (e + two), two) };
                p / (p + q) + a * sigmoid(a) * (q / (p + q)) * ((two * p + q) / (p + q))
            }
            ThresholdedRelu { alpha } => {
                if below(alpha.into()) {
                    zero
                } else {
                    one
                }
            }
            Erf => Approx::constant(std::f64::consts::FRAC_2_SQRT_PI) * (-a * a).exp(),
            Exp => a.exp(),
            Log => one / a,
            Sqrt => half / a.sqrt(),
            Reciprocal => -(one / a) * (one / a),
            Abs => {
                if x == 0.0 {
                    zero
                } else {
                    Approx::exact(x.signum())
                }
            }
            Neg => -one,
            Floor | Ceil => zero,
        }
    }

    /// The derivative where the function's value is `y`, for functions whose value tells which piece they are on.
    pub fn slope_of_output(self, y: f64) -> Option<Approx> {
        let b = Approx::exact(y);
        let number = |v: f32| Approx::exact(v);
        let one = Approx::exact(1.0);
        // A piece that ends at 0 from below, and one of slope `above` beyond.
        let pieces = |below: Approx, above: Approx| if y <= 0.0 { below } else { above };
        if y.is_nan() {
            return Some(b);
        }
        Some(match self {
            // Slopes that do not depend on where in a piece the argument is.
            Relu | Clip { .. } | Floor | Ceil | Neg => self.slope(y),
            LeakyRelu { alpha } if alpha > 0.0 => self.slope(y),
            ThresholdedRelu { alpha } if alpha >= 0.0 => self.slope(y),
            Elu { alpha } if alpha > 0.0 => pieces(b + number(alpha), one),
            Selu { alpha, gamma } if alpha > 0.0 && gamma > 0.0 => {
                pieces(b + number(gamma) * number(alpha), number(gamma))
            }
            Celu { alpha } => pieces(b / number(alpha) + one, one),
            Sigmoid => b * (one - b),
            HardSigmoid { alpha, .. } => {
                if y > 0.0 && y < 1.0 {
                    number(alpha)
                } else {
                    Approx::exact(0.0)
                }
            }
            Tanh => (one - b) * (one + b),
            Softplus => one - (-b).exp(),
            Exp => b,
            Sqrt => Approx::exact(0.5) / b,
            Reciprocal => -b * b,
            _ => return None,
        })
    }

    /// `dy` times the derivative, at the function's outputs or at its inputs.
    pub fn gradient(self, of_output: bool, value: &[f32], dy: &[f32], shape: &[usize]) -> Answer {
        assert_eq!((value.len(), dy.len()), (count(shape), count(shape)));
        let slope = |v: f32| {
            if of_output {
                self.slope_of_output(v.into()).expect("a function of its output")
            } else {
                self.slope(v.into())
            }
        };
        let elements = value.iter().zip(dy).map(|(&v, &dy)| Approx::exact(dy) * slope(v)).collect();
        Answer::from_approx(shape.to_vec(), 1, elements)
    }

    /// The function of a number that is itself computed: its error moves the argument.
    ///
    /// The effect is the mean slope over `REACH` errors to either side, so that a kink anywhere within
    /// `c` errors is seen for every `c` up to `REACH`. A jump within reach counts in full.
    pub fn of(self, x: Approx) -> Approx {
        const REACH: f64 = 8.0;
        let at = self.at(x.value);
        if x.error == 0.0 || !x.value.is_finite() {
            return at;
        }
        let moved = [-REACH, REACH]
            .map(|step| (self.at(x.value + step * x.error).value - at.value).abs())
            .into_iter()
            .fold(0.0, f64::max);
        let jumps = matches!(self, Floor | Ceil | ThresholdedRelu { .. });
        Approx { value: at.value, error: at.error + if jumps { moved } else { moved / REACH } }
    }

    /// The function of every element of `x`.
    pub fn apply(self, x: &[f32], shape: &[usize]) -> Answer {
        assert_eq!(x.len(), count(shape));
        Answer::from_approx(shape.to_vec(), 1, x.iter().map(|&v| self.at(v.into())).collect())
    }

    /// The function of every element of a computed answer.
    pub fn after(self, answer: &Answer) -> Answer {
        let elements = (0..answer.value.len()).map(|i| self.of(answer.approx(i))).collect();
        Answer::from_approx(answer.shape.clone(), answer.terms, elements)
    }
}
