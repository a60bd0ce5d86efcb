//! Softmax and its logarithm along one axis.

use super::{Infer, OpError, Operator};
use crate::graph::Info;

/// `exp(x - max) / sum exp(x - max)` along `axis`, or the logarithm of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softmax {
    /// The axis whose elements sum to 1.
    pub axis: usize,
    /// Whether the logarithm is returned.
    pub log: bool,
}

impl Operator for Softmax {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        let x = inputs.f32("an input")?;
        if self.axis >= x.len() {
            return Err(OpError::shape(format!("an input with an axis {}", self.axis), x));
        }
        Ok(vec![Info::f32(x.clone())])
    }
}
