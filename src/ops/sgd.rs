//! One step of stochastic gradient descent.

use super::{Infer, OpError, Operator};
use crate::graph::Info;

/// A step of gradient descent with momentum, as PyTorch's `SGD` takes it without dampening:
///
/// ```text
/// d  = g + weight_decay * w
/// v' = momentum * v + d
/// w' = w - rate * (d + momentum * v' with nesterov, else v')
/// ```
///
/// Inputs: the weights `w`, their gradient `g` and the velocity `v` of one shape, the last all zeros before the first
/// step; and the learning `rate` `[1]`. Outputs: `w'` and `v'`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// How much of the velocity stays; commonly 0.9, or 0 for plain descent.
    pub momentum: f32,
    /// Whether the gradient is followed from where the momentum leads (Sutskever et al. 2013).
    pub nesterov: bool,
    /// How much of the weights is added to the gradient: L2 regularisation.
    pub weight_decay: f32,
}

impl Operator for Sgd {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        infer_step(inputs, &["a velocity"], 1)
    }
}

/// The outputs of an optimiser's step: the weights and what it remembers of earlier gradients, in the weights' shape.
pub(super) fn infer_step(inputs: &mut Infer, memories: &[&str], rates: usize) -> Result<Vec<Info>, OpError> {
    let w = inputs.f32("weights")?;
    for what in ["a gradient"].iter().chain(memories) {
        if !inputs.optional_f32(what, w)? {
            return Err(OpError::shape(what, "nothing"));
        }
    }
    if !inputs.optional_f32("rates", &[rates])? {
        return Err(OpError::shape("rates", "nothing"));
    }
    Ok(vec![Info::f32(w.clone()); 1 + memories.len()])
}
