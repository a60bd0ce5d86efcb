//! Where along an axis the largest or smallest element is.

use super::{Infer, Op, OpError, Operator, Reach, first_alone};
use crate::error::Result;
use crate::graph::{Backward, Info};
use crate::tensor::{DType, Shape};

/// What an [`ArgReduce`] returns of the extreme element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArgOutput {
    /// Its position along the axis, i64; the axis stays, one long.
    Index,
    /// 1 at its position and 0 elsewhere, f32 of the input's shape: ONNX's Hardmax.
    OneHot,
}

/// Finds the largest or smallest element along `axis`. NaN counts as larger and as smaller than any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ArgReduce {
    /// Whether the largest is wanted rather than the smallest.
    pub largest: bool,
    /// The axis searched; it must not be empty.
    pub axis: usize,
    /// Whether of equal elements the last counts rather than the first.
    pub select_last: bool,
    /// What is returned of it.
    pub output: ArgOutput,
}

impl Operator for ArgReduce {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        let x = inputs.f32("an input")?;
        if x.get(self.axis).is_none_or(|&d| d == 0) {
            return Err(OpError::shape(format!("an input with elements along axis {}", self.axis), x));
        }
        Ok(vec![match self.output {
            ArgOutput::OneHot => Info::f32(x.clone()),
            ArgOutput::Index => {
                let mut shape = x.to_vec();
                shape[self.axis] = 1;
                Info { shape: Shape::new(shape)?, dtype: DType::I64 }
            }
        }])
    }

    fn gradient(&self, at: &mut Backward) -> Result<()> {
        Err(at.refuse("a position only jumps; keep it off the way from what is trained to the loss"))
    }

    fn reach(&self, _inputs: &[Option<&Info>]) -> Reach {
        Reach::Unknown
    }

    fn for_one_image(&self, _inputs: &[Option<&Info>], batched: &[bool]) -> Option<Op> {
        (self.axis > 0 && first_alone(batched)).then(|| (*self).into())
    }
}
