//! Reductions over whole axes; over the spatial ones, global pooling.

use super::arg_reduce::ArgOutput;
use super::{
    Activation, ActivationGradient, ArgReduce, Binary, Infer, Op, OpError, Operator, Reach, first_alone,
};
use crate::error::Result;
use crate::graph::{Backward, Info, ValueId};
use crate::tensor::{Shape, Tensor};

/// What the elements of the reduced axes become. Of no elements: 0 for sums and norms, 1 for the product, minus or
/// plus infinity for the maximum and minimum, NaN for the mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReduceKind {
    /// `sum x`
    Sum,
    /// `sum x / count`
    Mean,
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// `product x`
    Prod,
    /// `sum |x|`
    L1,
    /// `sqrt(sum x^2)`
    L2,
    /// `ln(sum x)`
    LogSum,
    /// `ln(sum exp(x))`
    LogSumExp,
    /// `sum x^2`
    SumSquare,
}

/// Reduces `axes` to one element each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reduce {
    /// Sum, mean, max or another.
    pub kind: ReduceKind,
    /// The axes reduced, ascending and without repeats. `None` is all axes past the first two: global pooling.
    pub axes: Option<Vec<usize>>,
    /// Whether reduced axes stay, one long.
    pub keep_dims: bool,
}

impl Reduce {
    /// Global pooling: over all spatial axes, which stay one long.
    pub fn global(kind: ReduceKind) -> Self {
        Reduce { kind, axes: None, keep_dims: true }
    }

    /// The gradient of a maximum or minimum: `dy` where the extreme is, and 0 elsewhere.
    fn to_extreme(&self, at: &mut Backward, x: ValueId, dy: ValueId, axes: &[usize]) -> Result<ValueId> {
        let shape = at.dims(x);
        let (Some(&first), Some(&last)) = (axes.first(), axes.last()) else { return Ok(dy) };
        if last - first + 1 != axes.len() {
            return Err(
                at.refuse("of an extreme over axes that are not neighbours; reduce them one after another")
            );
        }
        let size = |part: &[usize]| part.iter().product::<usize>();
        let (outer, along, inner) =
            (size(&shape[..first]), size(&shape[first..=last]), size(&shape[last + 1..]));
        let largest = self.kind == ReduceKind::Max;
        let find = ArgReduce { largest, axis: 1, select_last: false, output: ArgOutput::OneHot };
        let flat = at.reshape(x, &[outer, along, inner])?;
        let place = at.push(find, &[flat])?;
        let dy = at.reshape(dy, &[outer, 1, inner])?;
        let product = at.push(Binary::Mul, &[place, dy])?;
        at.reshape(product, &shape)
    }

    /// The axes reduced of an input of this rank.
    pub(crate) fn axes(&self, rank: usize) -> Vec<usize> {
        self.axes.clone().unwrap_or_else(|| (2..rank).collect())
    }
}

impl Operator for Reduce {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        let x = inputs.f32("an input")?;
        let axes = self.axes(x.len());
        if !axes.is_sorted_by(|a, b| a < b) || axes.last().is_some_and(|&a| a >= x.len()) {
            return Err(OpError::shape(format!("an input with axes {axes:?}"), x));
        }
        let out: Vec<_> = (0..x.len())
            .filter(|axis| self.keep_dims || !axes.contains(axis))
            .map(|axis| if axes.contains(&axis) { 1 } else { x[axis] })
            .collect();
        Ok(vec![Info::f32(Shape::new(out)?)])
    }

    /// The gradient of each output goes to the elements it was made of, each times its derivative; of equal extremes, to
    /// the first.
    fn gradient(&self, at: &mut Backward) -> Result<()> {
        let x = at.operand(0)?;
        let shape = at.dims(x);
        let axes = self.axes(shape.len());
        // As if the axes had stayed: outputs that broadcast to the input.
        let kept: Vec<_> = (0..shape.len()).map(|a| if axes.contains(&a) { 1 } else { shape[a] }).collect();
        let output = |at: &mut Backward| at.reshape(at.output(0), &kept);
        let dy = at.reshape(at.gradient()?, &kept)?;
        let dx = match self.kind {
            ReduceKind::Sum => at.expand_to(dy, &shape)?,
            ReduceKind::Mean => {
                let count: usize = axes.iter().map(|&axis| shape[axis]).product();
                let count = at.constant(Tensor::scalar(count as f32));
                let share = at.push(Binary::Div, &[dy, count])?;
                at.expand_to(share, &shape)?
            }
            ReduceKind::SumSquare => {
                let double = at.scale(dy, 2.0)?;
                at.push(Binary::Mul, &[x, double])?
            }
            ReduceKind::L2 => {
                // At the origin, where the norm has no derivative, 0.
                let least = at.constant(Tensor::scalar(f32::MIN_POSITIVE));
                let y = output(at)?;
                let norm = at.push(Binary::Max, &[y, least])?;
                let direction = at.push(Binary::Div, &[x, norm])?;
                at.push(Binary::Mul, &[direction, dy])?
            }
            ReduceKind::LogSum => {
                let y = output(at)?;
                let sum = at.push(Activation::Exp, &[y])?;
                let share = at.push(Binary::Div, &[dy, sum])?;
                at.expand_to(share, &shape)?
            }
            ReduceKind::LogSumExp => {
                let y = output(at)?;
                let below = at.push(Binary::Sub, &[x, y])?;
                let softmax = at.push(Activation::Exp, &[below])?;
                at.push(Binary::Mul, &[softmax, dy])?
            }
            ReduceKind::Max | ReduceKind::Min => self.to_extreme(at, x, dy, &axes)?,
            ReduceKind::L1 => {
                let dy = at.expand_to(dy, &shape)?;
                at.push(ActivationGradient { activation: Activation::Abs }, &[x, dy])?
            }
            ReduceKind::Prod => {
                return Err(at.refuse(
                    "a product's is not formed; write it as the exponential of a sum of logarithms",
                ));
            }
        };
        at.set(0, dx);
        Ok(())
    }

    fn reach(&self, inputs: &[Option<&Info>]) -> Reach {
        match inputs[0] {
            Some(x) if self.axes(x.shape.len()) == (2..x.shape.len()).collect::<Vec<_>>() => Reach::All,
            _ => Reach::Unknown,
        }
    }

    fn for_one_image(&self, inputs: &[Option<&Info>], batched: &[bool]) -> Option<Op> {
        let axes = self.axes(inputs[0]?.shape.len());
        (!axes.contains(&0) && first_alone(batched)).then(|| self.clone().into())
    }
}
