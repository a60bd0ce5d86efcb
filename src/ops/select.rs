//! One of two tensors, element by element.

use super::broadcast::{broadcast, by_image};
use super::{Infer, Op, OpError, Operator};
use crate::error::Result;
use crate::graph::{Backward, Info};
use crate::tensor::{DType, Shape, Tensor};

/// `a` where the condition holds, else `b` (ONNX Where).
///
/// Inputs: `condition` of bool, `a` and `b` of one type; their shapes broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Select;

impl Operator for Select {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        let condition = inputs.required("a condition")?;
        let (a, b) = (inputs.required("an input a")?, inputs.required("an input b")?);
        if condition.dtype != DType::Bool || a.dtype != b.dtype {
            return Err(OpError::shape(
                "a condition of bool and two inputs of one type",
                format!("{}, {} and {}", condition.dtype, a.dtype, b.dtype),
            ));
        }
        let (shape, _) = broadcast(&[&condition.shape, &a.shape, &b.shape])?;
        Ok(vec![Info { shape: Shape::new(shape)?, dtype: a.dtype }])
    }

    /// The gradient where the operand was chosen, and 0 elsewhere.
    fn gradient(&self, at: &mut Backward) -> Result<()> {
        let (condition, dy) = (at.operand(0)?, at.gradient()?);
        let zero = at.constant(Tensor::scalar(0f32));
        for (i, chosen) in [(1, [condition, dy, zero]), (2, [condition, zero, dy])] {
            if at.wants(i) {
                let masked = at.push(Select, &chosen)?;
                let shape = at.dims(at.operand(i)?);
                let gradient = at.sum_to(masked, &shape)?;
                at.set(i, gradient);
            }
        }
        Ok(())
    }

    fn for_one_image(&self, inputs: &[Option<&Info>], batched: &[bool]) -> Option<Op> {
        let rank = inputs.iter().flatten().map(|info| info.shape.len()).max()?;
        by_image(rank, inputs, batched).then(|| (*self).into())
    }
}
