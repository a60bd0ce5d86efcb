//! The same elements under another shape; nothing is computed or copied.

use super::{Infer, Op, OpError, Operator, Reach, dims, first_alone};
use crate::error::Result;
use crate::graph::{Backward, Info};
use crate::tensor::Shape;

/// A new shape for the same elements in the same order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reshape {
    /// To two axes: those before `axis` in one, the rest in the other. Axis 1 keeps the batch.
    Flatten {
        /// The first axis of the second group.
        axis: usize,
    },
    /// To this shape.
    To(Vec<usize>),
}

impl Operator for Reshape {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        let x = inputs.required("an input")?;
        let shape = match self {
            Reshape::Flatten { axis } => {
                if *axis > x.shape.len() {
                    return Err(OpError::shape(format!("an input of rank {axis} or more"), &x.shape));
                }
                let (rows, columns) = x.shape.split_at(*axis);
                vec![rows.iter().product(), columns.iter().product()]
            }
            Reshape::To(shape) => shape.clone(),
        };
        let shape = Shape::new(shape)?;
        if shape.elements() != x.shape.elements() {
            return Err(OpError::shape(format!("as many elements as {}", dims(&shape)), &x.shape));
        }
        Ok(vec![Info { shape, dtype: x.dtype }])
    }

    /// The same elements in the input's shape.
    fn gradient(&self, at: &mut Backward) -> Result<()> {
        let shape = at.dims(at.operand(0)?);
        let dx = at.reshape(at.gradient()?, &shape)?;
        at.set(0, dx);
        Ok(())
    }

    fn reach(&self, inputs: &[Option<&Info>]) -> Reach {
        match self {
            Reshape::Flatten { axis: 1 } if inputs[0].is_some_and(|x| x.shape.len() > 2) => Reach::All,
            _ => Reach::Unknown,
        }
    }

    fn for_one_image(&self, inputs: &[Option<&Info>], batched: &[bool]) -> Option<Op> {
        let images = *inputs[0]?.shape.first()?;
        match self {
            _ if !first_alone(batched) => None,
            Reshape::Flatten { axis: 1 } => Some(self.clone().into()),
            Reshape::To(shape) if shape.first() == Some(&images) => {
                let mut one = shape.clone();
                one[0] = 1;
                Some(Reshape::To(one).into())
            }
            _ => None,
        }
    }
}
