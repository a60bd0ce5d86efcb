//! Normalisation by the mean and variance of the elements themselves: layer, instance and group norm.

use super::broadcast::{broadcast, by_image};
use super::{Binary, Infer, Op, OpError, Operator, Reach, Reduce, ReduceKind};
use crate::error::Result;
use crate::graph::{Backward, Info};
use crate::tensor::{DType, Shape};

/// `(x - mean) / sqrt(variance + epsilon) * scale + bias`, mean and (biased) variance over all axes from `axis` on.
///
/// Inputs: `x`; optional `scale` and `bias` that broadcast to `x`. Outputs: one of `x`'s shape, and where `statistics`
/// are asked for the mean and `1 / sqrt(variance + epsilon)`, in `x`'s shape with the normalised axes one long;
/// both are NaN where those axes hold no element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalize {
    /// The first axis normalised over.
    pub axis: usize,
    /// Keeps the root away from zero; commonly 1e-5.
    pub epsilon: f32,
    /// Whether mean and inverse deviation are returned too.
    pub statistics: bool,
}

impl Operator for Normalize {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        let x = inputs.f32("an input")?;
        if self.axis > x.len() {
            return Err(OpError::shape(format!("an input of rank {} or more", self.axis), x));
        }
        for what in ["a scale", "a bias"] {
            if let Some(term) = inputs.optional() {
                if term.dtype != DType::F32 {
                    return Err(OpError::shape(format!("{what} of f32"), term.dtype));
                }
                let (all, _) = broadcast(&[x, &term.shape])?;
                if all[..] != x[..] {
                    return Err(OpError::shape(format!("{what} that broadcasts to {x}"), &term.shape));
                }
            }
        }
        let mut outputs = vec![Info::f32(x.clone())];
        if self.statistics {
            let mut shape = x.to_vec();
            shape[self.axis..].fill(1);
            outputs.extend([Info::f32(Shape::new(shape.clone())?), Info::f32(Shape::new(shape)?)]);
        }
        Ok(outputs)
    }

    /// With `n = (x - mean) r`, `r = 1 / sqrt(variance + epsilon)`, `g = dy scale` and means over the normalised axes:
    /// `dx = r (g - mean(g) - n mean(g n))`, `dscale = sum(dy n)`, `dbias = sum(dy)`.
    fn gradient(&self, at: &mut Backward) -> Result<()> {
        if at.gradient_of_output(1).or(at.gradient_of_output(2)).is_some() {
            return Err(at.refuse("to its statistics; compute them by reductions"));
        }
        let (x, dy) = (at.operand(0)?, at.gradient()?);
        let statistics = at.extend(Normalize { statistics: true, ..*self })?;
        let (mean, r) = (statistics[1], statistics[2]);
        let centred = at.push(Binary::Sub, &[x, mean])?;
        let n = at.push(Binary::Mul, &[centred, r])?;
        if at.wants(0) {
            let axes = (self.axis..at.dims(x).len()).collect();
            let mean = Reduce { kind: ReduceKind::Mean, axes: Some(axes), keep_dims: true };
            let g = match at.input(1) {
                Some(scale) => at.push(Binary::Mul, &[dy, scale])?,
                None => dy,
            };
            let offset = at.push(mean.clone(), &[g])?;
            let weighted = at.push(Binary::Mul, &[g, n])?;
            let along = at.push(mean, &[weighted])?;
            let along = at.push(Binary::Mul, &[n, along])?;
            let left = at.push(Binary::Sub, &[g, offset])?;
            let left = at.push(Binary::Sub, &[left, along])?;
            let dx = at.push(Binary::Mul, &[left, r])?;
            at.set(0, dx);
        }
        if at.wants(1) {
            let product = at.push(Binary::Mul, &[dy, n])?;
            let shape = at.dims(at.operand(1)?);
            let dscale = at.sum_to(product, &shape)?;
            at.set(1, dscale);
        }
        if at.wants(2) {
            let shape = at.dims(at.operand(2)?);
            let dbias = at.sum_to(dy, &shape)?;
            at.set(2, dbias);
        }
        Ok(())
    }

    fn trained_inputs(&self) -> &'static [usize] {
        &[1, 2]
    }

    fn reach(&self, _inputs: &[Option<&Info>]) -> Reach {
        Reach::Unknown
    }

    fn for_one_image(&self, inputs: &[Option<&Info>], batched: &[bool]) -> Option<Op> {
        let rank = inputs[0]?.shape.len();
        (self.axis > 0 && batched[0] && by_image(rank, inputs, batched)).then(|| (*self).into())
    }
}
