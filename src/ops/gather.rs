//! Slices picked along one axis by index.

use super::{Infer, OpError, Operator, Reach};
use crate::graph::Info;
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

    fn reach(&self, _inputs: &[Option<&Info>]) -> Reach {
        Reach::Unknown
    }
}
