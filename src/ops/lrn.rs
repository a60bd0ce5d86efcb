//! Local response normalisation across channels, as in AlexNet.

use super::{Infer, OpError, Operator};
use crate::graph::Info;

/// `x / (bias + alpha / size * sum x^2)^beta`, the sum over `size` neighbouring channels (ONNX LRN): from
/// `c - floor((size - 1) / 2)` to `c + ceil((size - 1) / 2)`, as far as there are channels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lrn {
    /// How many channels are summed.
    pub size: usize,
    /// Commonly 1e-4.
    pub alpha: f32,
    /// Commonly 0.75.
    pub beta: f32,
    /// Commonly 1.
    pub bias: f32,
}

impl Operator for Lrn {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        let x = inputs.f32("an input")?;
        if x.len() < 2 || self.size == 0 {
            return Err(OpError::shape("an input with channels and a size of 1 or more", x));
        }
        Ok(vec![Info::f32(x.clone())])
    }
}
