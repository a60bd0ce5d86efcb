//! Batch normalisation with fixed statistics, as at inference.

use super::{Activation, Binary, Infer, Op, OpError, Operator, first_alone};
use crate::error::Result;
use crate::graph::{Backward, Info};
use crate::tensor::Tensor;

/// `(x - mean) / sqrt(variance + epsilon) * scale + bias` for each channel.
///
/// Inputs: `x` `[n, c, ...]`, then `scale`, `bias`, `mean`, `variance`, each `[c]`. Output of `x`'s shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Keeps the root away from zero; commonly 1e-5.
    pub epsilon: f32,
}

impl Operator for BatchNorm {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        let x = inputs.f32("an input x")?;
        let Some(&channels) = x.get(1) else {
            return Err(OpError::shape("an input with channels", x));
        };
        for what in ["a scale", "a bias", "a mean", "a variance"] {
            if !inputs.optional_f32(what, &[channels])? {
                return Err(OpError::shape(what, "nothing"));
            }
        }
        Ok(vec![Info::f32(x.clone())])
    }

    /// With `r = 1 / sqrt(variance + epsilon)` and sums over all but the channels: `dx = dy scale r`,
    /// `dscale = sum(dy (x - mean)) r`, `dbias = sum(dy)`, `dmean = -sum(dy) scale r` and
    /// `dvariance = -sum(dy (x - mean)) scale r^3 / 2`.
    fn gradient(&self, at: &mut Backward) -> Result<()> {
        let (x, scale, mean, dy) = (at.operand(0)?, at.operand(1)?, at.operand(3)?, at.gradient()?);
        // As x has its channels: one element along every other axis.
        let mut along = vec![1; at.dims(x).len()];
        along[1] = at.dims(scale)[0];

        let epsilon = at.constant(Tensor::scalar(self.epsilon));
        let shifted = at.push(Binary::Add, &[at.operand(4)?, epsilon])?;
        let deviation = at.push(Activation::Sqrt, &[shifted])?;
        let r = at.push(Activation::Reciprocal, &[deviation])?;
        let slope = at.push(Binary::Mul, &[scale, r])?;
        if at.wants(0) {
            let slope = at.reshape(slope, &along)?;
            let dx = at.push(Binary::Mul, &[dy, slope])?;
            at.set(0, dx);
        }
        if at.wants(2) || at.wants(3) {
            let sum = at.sum_per_channel(dy)?;
            at.set(2, sum);
            if at.wants(3) {
                let sum = at.push(Binary::Mul, &[sum, slope])?;
                let dmean = at.push(Activation::Neg, &[sum])?;
                at.set(3, dmean);
            }
        }
        if at.wants(1) || at.wants(4) {
            let mean = at.reshape(mean, &along)?;
            let centred = at.push(Binary::Sub, &[x, mean])?;
            let weighted = at.push(Binary::Mul, &[dy, centred])?;
            let sum = at.sum_per_channel(weighted)?;
            let dscale = at.push(Binary::Mul, &[sum, r])?;
            at.set(1, dscale);
            if at.wants(4) {
                let rate = at.push(Binary::Mul, &[slope, r])?;
                let product = at.push(Binary::Mul, &[dscale, rate])?;
                let dvariance = at.scale(product, -0.5)?;
                at.set(4, dvariance);
            }
        }
        Ok(())
    }

    fn trained_inputs(&self) -> &'static [usize] {
        &[1, 2]
    }

    fn for_one_image(&self, _inputs: &[Option<&Info>], batched: &[bool]) -> Option<Op> {
        first_alone(batched).then(|| (*self).into())
    }
}
