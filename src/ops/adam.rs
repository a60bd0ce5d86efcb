//! One step of Adam.

use super::sgd::infer_step;
use super::{Infer, OpError, Operator};
use crate::graph::Info;

/// A step of Adam (Kingma and Ba 2015), or with `decoupled` of AdamW (Loshchilov and Hutter 2019), as PyTorch takes them:
///
/// ```text
/// d  = g + weight_decay * w                         Adam
/// w  = w - rate * weight_decay * w, d = g           AdamW
/// m' = beta1 * m + (1 - beta1) * d
/// v' = beta2 * v + (1 - beta2) * d^2
/// w' = w - rate * (c1 * m') / (sqrt(c2 * v') + epsilon)
/// ```
///
/// Inputs: the weights `w`, their gradient `g` and its moments `m` and `v` of one shape, the last two all zeros before the
/// first step; and `[rate, c1, c2]`: the learning rate and the corrections of the moments' bias towards their zeros, which
/// in step t, from 1, are `1 / (1 - beta1^t)` and `1 / (1 - beta2^t)`. Outputs: `w'`, `m'` and `v'`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// How much of the mean gradient stays; commonly 0.9.
    pub beta1: f32,
    /// How much of the mean square stays; commonly 0.999.
    pub beta2: f32,
    /// Keeps the quotient finite; commonly 1e-8.
    pub epsilon: f32,
    /// How much the weights shrink; commonly 0, or 0.01 where it is decoupled.
    pub weight_decay: f32,
    /// Whether weights shrink by themselves (AdamW) rather than through the gradient.
    pub decoupled: bool,
}

impl Operator for Adam {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        infer_step(inputs, &["a first moment", "a second moment"], 3)
    }
}
