//! Reductions over whole axes; over the spatial ones, global pooling.

use super::{Infer, OpError, Operator, Reach};
use crate::graph::Info;
use crate::tensor::Shape;

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

    fn reach(&self, inputs: &[Option<&Info>]) -> Reach {
        match inputs[0] {
            Some(x) if self.axes(x.shape.len()) == (2..x.shape.len()).collect::<Vec<_>>() => Reach::All,
            _ => Reach::Unknown,
        }
    }
}
