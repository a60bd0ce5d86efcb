//! The gradient of an activation.

use super::{Activation, Infer, OpError, Operator};
use crate::graph::Info;

/// `dy * f'(x)` for an activation `f`.
///
/// Inputs: `value`, which is the activation's output where [`Activation::gradient_from_output`] says so, else its input;
/// and `dy`, the gradient of the output, finite and of the same shape. Output: the gradient of the input.
///
/// At a kink the derivative is PyTorch's: that of the piece below for relu, leaky relu, ELU and its kin, and for the
/// thresholded relu; 0 for the ends of clip (as of `hardtanh`) and of the hard sigmoid, and for `|x|` at 0; 0 and 1 for
/// the hard swish at -3 and 3. That of floor and ceil is 0 everywhere. A NaN in `value` gives NaN unless the derivative is
/// a constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActivationGradient {
    /// The function that is differentiated.
    pub activation: Activation,
}

impl Operator for ActivationGradient {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        let (value, dy) = (inputs.f32("a value")?, inputs.f32("a gradient dy")?);
        if value != dy {
            return Err(OpError::shape(format!("a gradient dy {value}"), dy));
        }
        Ok(vec![Info::f32(dy.clone())])
    }
}
