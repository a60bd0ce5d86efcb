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
