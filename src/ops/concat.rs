//! Tensors joined along one axis.

use super::{Infer, Op, OpError, Operator, Reach, Rearrange, dims};
use crate::error::Result;
use crate::graph::{Backward, Info};
use crate::tensor::Shape;

/// Joins its inputs along `axis`; they agree on every other axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concat {
    /// The axis along which the inputs follow each other.
    pub axis: usize,
}

impl Operator for Concat {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        let first = inputs.required("an input")?.clone();
        let mut out = first.shape.to_vec();
        let Some(mut length) = out.get(self.axis).copied() else {
            return Err(OpError::shape(format!("inputs with an axis {}", self.axis), &first.shape));
        };
        for _ in 1..inputs.len() {
            let next = inputs.required("an input")?;
            let mut wanted = out.clone();
            wanted[self.axis] = next.shape.get(self.axis).copied().unwrap_or(0);
            if next.dtype != first.dtype || next.shape[..] != wanted[..] {
                let wanted = format!("{} {} along every axis but {}", first.dtype, dims(&out), self.axis);
                return Err(OpError::shape(wanted, format!("{} {}", next.dtype, next.shape)));
            }
            // A length past the range makes a shape past the range, which is an error below.
            length = length.saturating_add(next.shape[self.axis]);
        }
        out[self.axis] = length;
        Ok(vec![Info { shape: Shape::new(out)?, dtype: first.dtype }])
    }

    /// Each input's part of the gradient.
    fn gradient(&self, at: &mut Backward) -> Result<()> {
        let dy = at.gradient()?;
        let mut start = 0;
        for i in 0.. {
            let Some(input) = at.input(i) else { return Ok(()) };
            let shape = at.dims(input);
            if at.wants(i) {
                let mut part = Rearrange::identity(&shape);
                part.axes[self.axis].start = start;
                let part = at.push(part, &[dy])?;
                at.set(i, part);
            }
            start += shape[self.axis] as i64;
        }
        Ok(())
    }

    fn reach(&self, _inputs: &[Option<&Info>]) -> Reach {
        if self.axis == 1 { Reach::Point } else { Reach::Unknown }
    }

    fn for_one_image(&self, _inputs: &[Option<&Info>], batched: &[bool]) -> Option<Op> {
        (self.axis > 0 && !batched.contains(&false)).then(|| (*self).into())
    }
}
