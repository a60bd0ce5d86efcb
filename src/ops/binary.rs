//! Elementwise functions of two arguments, broadcast as NumPy does.

use super::activation::where_positive;
use super::broadcast::{broadcast, by_image};
use super::{Activation, Infer, Op, OpError, Operator};
use crate::error::Result;
use crate::graph::{Backward, Info, ValueId};
use crate::tensor::{Shape, Tensor};

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

    /// Each operand's derivative times the gradient, summed where the operand was repeated.
    fn gradient(&self, at: &mut Backward) -> Result<()> {
        for i in [0, 1] {
            if at.wants(i) {
                let whole = if i == 0 { self.to_a(at)? } else { self.to_b(at)? };
                let shape = at.dims(at.operand(i)?);
                let gradient = at.sum_to(whole, &shape)?;
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

/// `dy` where `a` is above `b`, and 0 elsewhere.
fn chosen(at: &mut Backward, a: ValueId, b: ValueId, dy: ValueId) -> Result<ValueId> {
    let above = at.push(Binary::Sub, &[a, b])?;
    where_positive(at, above, dy)
}

impl Binary {
    /// The gradient to `a`, of the output's shape.
    fn to_a(self, at: &mut Backward) -> Result<ValueId> {
        let (a, b, dy) = (at.operand(0)?, at.operand(1)?, at.gradient()?);
        match self {
            Binary::Add | Binary::Sub => Ok(dy),
            Binary::Mul => at.push(Binary::Mul, &[dy, b]),
            Binary::Div => at.push(Binary::Div, &[dy, b]),
            Binary::Pow => {
                let one = at.constant(Tensor::scalar(1f32));
                let less = at.push(Binary::Sub, &[b, one])?;
                let power = at.push(Binary::Pow, &[a, less])?;
                let slope = at.push(Binary::Mul, &[power, b])?;
                at.push(Binary::Mul, &[dy, slope])
            }
            Binary::Max => chosen(at, a, b, dy),
            Binary::Min => chosen(at, b, a, dy),
            // Where not positive, b dy.
            Binary::PRelu => {
                let shape = at.dims(dy);
                let x = at.expand_to(a, &shape)?;
                let above = where_positive(at, x, dy)?;
                let below = at.push(Binary::Sub, &[dy, above])?;
                let below = at.push(Binary::Mul, &[below, b])?;
                at.push(Binary::Add, &[above, below])
            }
        }
    }

    /// The gradient to `b`, of the output's shape.
    fn to_b(self, at: &mut Backward) -> Result<ValueId> {
        let (a, b, dy) = (at.operand(0)?, at.operand(1)?, at.gradient()?);
        match self {
            Binary::Add => Ok(dy),
            Binary::Sub => at.push(Activation::Neg, &[dy]),
            Binary::Mul => at.push(Binary::Mul, &[dy, a]),
            Binary::Div => {
                let ratio = at.push(Binary::Div, &[at.output(0), b])?;
                let product = at.push(Binary::Mul, &[dy, ratio])?;
                at.push(Activation::Neg, &[product])
            }
            // For positive a: elsewhere the power is no function of real b.
            Binary::Pow => {
                let log = at.push(Activation::Log, &[a])?;
                let slope = at.push(Binary::Mul, &[at.output(0), log])?;
                at.push(Binary::Mul, &[dy, slope])
            }
            // All that does not go to a, so that of equals one counts.
            Binary::Max | Binary::Min => {
                let to_a = self.to_a(at)?;
                at.push(Binary::Sub, &[dy, to_a])
            }
            Binary::PRelu => {
                let negative = at.push(Activation::Clip { min: f32::NEG_INFINITY, max: 0.0 }, &[a])?;
                at.push(Binary::Mul, &[dy, negative])
            }
        }
    }
}
