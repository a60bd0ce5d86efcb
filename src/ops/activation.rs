//! Elementwise functions of one argument, the non-linearities among them.

use super::{ActivationGradient, Infer, Op, OpError, Operator, first_alone};
use crate::error::Result;
use crate::graph::{Backward, Info, ValueId};

/// A function applied to each element, as a layer of its own or fused behind a convolution or matrix product.
///
/// The formulas are ONNX's. NaN stays NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Activation {
    /// `max(x, 0)`
    Relu,
    /// `x` where positive, else `alpha * x`
    LeakyRelu {
        /// Slope below zero; commonly 0.01.
        alpha: f32,
    },
    /// `min(max(x, min), max)`; ReLU6 is `Clip { min: 0.0, max: 6.0 }`.
    Clip {
        /// Lower end; may be minus infinity.
        min: f32,
        /// Upper end; wins where it is below `min`.
        max: f32,
    },
    /// `x` where positive, else `alpha * (exp(x) - 1)`
    Elu {
        /// Minus the limit below zero; commonly 1.
        alpha: f32,
    },
    /// `gamma * x` where positive, else `gamma * alpha * (exp(x) - 1)`
    Selu {
        /// Commonly 1.673_263_2 (Klambauer et al. 2017).
        alpha: f32,
        /// Commonly 1.050_701.
        gamma: f32,
    },
    /// `max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))`
    Celu {
        /// Scale below zero; not 0.
        alpha: f32,
    },
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `max(0, min(1, alpha * x + beta))`
    HardSigmoid {
        /// Slope; commonly 0.2 (ONNX) or 1/6.
        alpha: f32,
        /// Value at zero; commonly 0.5.
        beta: f32,
    },
    /// `tanh(x)`
    Tanh,
    /// `ln(1 + exp(x))`
    Softplus,
    /// `x / (1 + |x|)`
    Softsign,
    /// `x * sigmoid(alpha * x)`; alpha 1 is SiLU.
    Silu {
        /// Commonly 1.
        alpha: f32,
    },
    /// `x * max(0, min(1, x / 6 + 0.5))`
    HardSwish,
    /// `x / 2 * (1 + erf(x / sqrt(2)))`
    Gelu,
    /// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`
    GeluTanh,
    /// `x * tanh(softplus(x))`
    Mish,
    /// `x` where above alpha, else 0
    ThresholdedRelu {
        /// The threshold.
        alpha: f32,
    },
    /// The error function.
    Erf,
    /// `exp(x)`
    Exp,
    /// `ln(x)`
    Log,
    /// The square root.
    Sqrt,
    /// `1 / x`
    Reciprocal,
    /// `|x|`
    Abs,
    /// `-x`
    Neg,
    /// The largest integer not above.
    Floor,
    /// The smallest integer not below.
    Ceil,
}

impl Activation {
    /// ReLU6, `min(max(x, 0), 6)`.
    pub const RELU6: Activation = Activation::Clip { min: 0.0, max: 6.0 };
    /// SiLU, also called swish.
    pub const SILU: Activation = Activation::Silu { alpha: 1.0 };
    /// SELU with its published constants.
    pub const SELU: Activation = Activation::Selu { alpha: 1.673_263_2, gamma: 1.050_701 };

    /// The function's name, as the shader has it, and its parameters in the shader's order.
    pub(crate) fn signature(&self) -> (&'static str, Vec<f32>) {
        match *self {
            Activation::Relu => ("relu", vec![]),
            Activation::LeakyRelu { alpha } => ("leaky_relu", vec![alpha]),
            Activation::Clip { min, max } => ("clip", vec![min, max]),
            Activation::Elu { alpha } => ("elu", vec![alpha]),
            Activation::Selu { alpha, gamma } => ("selu", vec![alpha, gamma]),
            Activation::Celu { alpha } => ("celu", vec![alpha]),
            Activation::Sigmoid => ("sigmoid", vec![]),
            Activation::HardSigmoid { alpha, beta } => ("hard_sigmoid", vec![alpha, beta]),
            Activation::Tanh => ("tanh_", vec![]),
            Activation::Softplus => ("softplus", vec![]),
            Activation::Softsign => ("softsign", vec![]),
            Activation::Silu { alpha } => ("silu", vec![alpha]),
            Activation::HardSwish => ("hard_swish", vec![]),
            Activation::Gelu => ("gelu", vec![]),
            Activation::GeluTanh => ("gelu_tanh", vec![]),
            Activation::Mish => ("mish", vec![]),
            Activation::ThresholdedRelu { alpha } => ("thresholded_relu", vec![alpha]),
            Activation::Erf => ("erf", vec![]),
            Activation::Exp => ("exp_", vec![]),
            Activation::Log => ("log_", vec![]),
            Activation::Sqrt => ("sqrt_", vec![]),
            Activation::Reciprocal => ("reciprocal", vec![]),
            Activation::Abs => ("abs_", vec![]),
            Activation::Neg => ("neg", vec![]),
            Activation::Floor => ("floor_", vec![]),
            Activation::Ceil => ("ceil_", vec![]),
        }
    }
}

impl Activation {
    /// Whether [`crate::ops::ActivationGradient`] takes this function's output rather than its input: where the output
    /// determines the derivative, without loss of digits, the input need not be kept for it.
    pub fn gradient_from_output(&self) -> bool {
        match *self {
            // For other parameters the two pieces have outputs in common.
            Activation::LeakyRelu { alpha } | Activation::Elu { alpha } => alpha > 0.0,
            Activation::Selu { alpha, gamma } => alpha > 0.0 && gamma > 0.0,
            Activation::ThresholdedRelu { alpha } => alpha >= 0.0,
            Activation::Relu
            | Activation::Clip { .. }
            | Activation::Celu { .. }
            | Activation::Sigmoid
            | Activation::HardSigmoid { .. }
            | Activation::Tanh
            | Activation::Softplus
            | Activation::Exp
            | Activation::Sqrt
            | Activation::Reciprocal
            | Activation::Neg
            | Activation::Floor
            | Activation::Ceil => true,
            Activation::Softsign
            | Activation::Silu { .. }
            | Activation::HardSwish
            | Activation::Gelu
            | Activation::GeluTanh
            | Activation::Mish
            | Activation::Erf
            | Activation::Log
            | Activation::Abs => false,
        }
    }
}

impl Operator for Activation {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        Ok(vec![Info::f32(inputs.f32("an input")?.clone())])
    }

    fn gradient(&self, at: &mut Backward) -> Result<()> {
        let value = if self.gradient_from_output() { at.output(0) } else { at.operand(0)? };
        let dx = at.push(ActivationGradient { activation: *self }, &[value, at.gradient()?])?;
        at.set(0, dx);
        Ok(())
    }

    fn for_one_image(&self, _inputs: &[Option<&Info>], batched: &[bool]) -> Option<Op> {
        first_alone(batched).then(|| (*self).into())
    }
}

/// `dy` where `x` is above 0, and 0 elsewhere, in a gradient rule; `dy` has the shape of `x`.
pub(super) fn where_positive(at: &mut Backward, x: ValueId, dy: ValueId) -> Result<ValueId> {
    // The gradient of relu is taken by its output, which is positive exactly where its input is.
    at.push(ActivationGradient { activation: Activation::Relu }, &[x, dy])
}
