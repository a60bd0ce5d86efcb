//! Batch normalisation with fixed statistics, as at inference.

use super::{Infer, OpError, Operator};
use crate::graph::Info;

/// `(x - mean) / sqrt(variance + epsilon) * scale + bias` for each channel.
///
/// Inputs: `x` `[n, c, ...]`, then `scale`, `bias`, `mean`, `variance`, each `[c]`. Output of `x`'s shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Keeps the root away from zero; commonly 1e-5.
    pub epsilon: f32,
}

impl Operator for BatchNorm {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        let x = inputs.f32("an input x")?;
        let Some(&channels) = x.get(1) else {
            return Err(OpError::shape("an input with channels", x));
        };
        for what in ["a scale", "a bias", "a mean", "a variance"] {
            if !inputs.optional_f32(what, &[channels])? {
                return Err(OpError::shape(what, "nothing"));
            }
        }
        Ok(vec![Info::f32(x.clone())])
    }

    fn trained_inputs(&self) -> &'static [usize] {
        &[1, 2]
    }
}
