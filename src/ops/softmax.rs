//! Softmax and its logarithm along one axis.

use super::{Activation, Binary, Infer, Op, OpError, Operator, first_alone};
use crate::error::Result;
use crate::graph::{Backward, Info};

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

    /// `dx = y (dy - sum(dy y))`; of the logarithm, `dx = dy - exp(y) sum(dy)`.
    fn gradient(&self, at: &mut Backward) -> Result<()> {
        let (y, dy) = (at.output(0), at.gradient()?);
        let dx = if self.log {
            let total = at.sum_over(dy, vec![self.axis])?;
            let softmax = at.push(Activation::Exp, &[y])?;
            let share = at.push(Binary::Mul, &[softmax, total])?;
            at.push(Binary::Sub, &[dy, share])?
        } else {
            let weighted = at.push(Binary::Mul, &[dy, y])?;
            let mean = at.sum_over(weighted, vec![self.axis])?;
            let above = at.push(Binary::Sub, &[dy, mean])?;
            at.push(Binary::Mul, &[y, above])?
        };
        at.set(0, dx);
        Ok(())
    }

    fn for_one_image(&self, _inputs: &[Option<&Info>], batched: &[bool]) -> Option<Op> {
        (self.axis > 0 && first_alone(batched)).then(|| (*self).into())
    }
}
