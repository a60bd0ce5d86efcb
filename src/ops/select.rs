//! One of two tensors, element by element.

use super::broadcast::broadcast;
use super::{Infer, OpError, Operator};
use crate::graph::Info;
use crate::tensor::{DType, Shape};

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
}
