//! Elementwise functions of two arguments, broadcast as NumPy does.

use super::broadcast::broadcast;
use super::{Infer, OpError, Operator};
use crate::graph::Info;
use crate::tensor::Shape;

/// A function of two tensors, element by element; a residual connection is [`Binary::Add`].
///
/// Inputs `a` and `b`, whose shapes broadcast; output of the common shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Binary {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a * b`
    Mul,
    /// `a / b`
    Div,
    /// `a` to the power of `b`
    Pow,
    /// The smaller.
    Min,
    /// The larger.
    Max,
    /// `a` where not negative, else `a * b`
    PRelu,
}

impl Operator for Binary {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        let (a, b) = (inputs.f32("an input a")?, inputs.f32("an input b")?);
        let (shape, _) = broadcast(&[a, b])?;
        Ok(vec![Info::f32(Shape::new(shape)?)])
    }
}
