//! Slices picked along one axis by index.

use super::{Infer, Op, OpError, Operator, Reach, Resample, first_alone};
use crate::error::Result;
use crate::graph::{Backward, Info};
use crate::tensor::{DType, Shape};

/// Picks slices of `x` along `axis`.
///
/// Inputs: `x` of any type; `indices`, i64 of any shape, where negative ones count from the end. Output: `x`'s shape with
/// `axis` replaced by the shape of `indices`. An index outside the axis picks 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gather {
    /// The axis indexed.
    pub axis: usize,
}

impl Operator for Gather {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        let x = inputs.required("an input x")?;
        let indices = inputs.required("indices")?;
        if self.axis >= x.shape.len() {
            return Err(OpError::shape(format!("an input with an axis {}", self.axis), &x.shape));
        }
        if indices.dtype != DType::I64 {
            return Err(OpError::shape("indices of i64", indices.dtype));
        }
        let mut shape = x.shape[..self.axis].to_vec();
        shape.extend_from_slice(&indices.shape);
        shape.extend_from_slice(&x.shape[self.axis + 1..]);
        Ok(vec![Info { shape: Shape::new(shape)?, dtype: x.dtype }])
    }

    /// Each slice gets the sum of what was picked of it. The indices must be constants: only then are the terms of each
    /// sum known, and their order fixed.
    fn gradient(&self, at: &mut Backward) -> Result<()> {
        let (x, indices) = (at.operand(0)?, at.operand(1)?);
        let Some(known) = at.known(indices) else {
            return Err(at.refuse("by indices that are computed; make them constants"));
        };
        let mut shape = at.dims(x);
        let size = shape[self.axis];
        let place = |&index: &i64| {
            let index = if index < 0 { index.saturating_add(size as i64) } else { index };
            usize::try_from(index).ok().filter(|&index| index < size).map_or((0, 0.0), |index| (index, 1.0))
        };
        let (indices, weights): (Vec<_>, Vec<_>) = known.values::<i64>()?.iter().map(place).unzip();
        shape[self.axis] = indices.len();
        let picks = Resample { axis: self.axis, taps: 1, indices, weights };
        let dy = at.reshape(at.gradient()?, &shape)?;
        let dx = at.push(picks.transposed(size), &[dy])?;
        at.set(0, dx);
        Ok(())
    }

    fn reach(&self, _inputs: &[Option<&Info>]) -> Reach {
        Reach::Unknown
    }

    fn for_one_image(&self, _inputs: &[Option<&Info>], batched: &[bool]) -> Option<Op> {
        (self.axis > 0 && first_alone(batched)).then(|| (*self).into())
    }
}
