//! Local response normalisation across channels, as in AlexNet.

use super::{Binary, Gemm, Infer, Op, OpError, Operator, first_alone};
use crate::error::Result;
use crate::graph::{Backward, Info};
use crate::tensor::Tensor;

/// `x / (bias + alpha / size * sum x^2)^beta`, the sum over `size` neighbouring channels (ONNX LRN): from
/// `c - floor((size - 1) / 2)` to `c + ceil((size - 1) / 2)`, as far as there are channels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lrn {
    /// How many channels are summed.
    pub size: usize,
    /// Commonly 1e-4.
    pub alpha: f32,
    /// Commonly 0.75.
    pub beta: f32,
    /// Commonly 1.
    pub bias: f32,
}

impl Operator for Lrn {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        let x = inputs.f32("an input")?;
        if x.len() < 2 || self.size == 0 {
            return Err(OpError::shape("an input with channels and a size of 1 or more", x));
        }
        Ok(vec![Info::f32(x.clone())])
    }

    /// With `s = bias + alpha / size * sum x^2`, so that `y = x s^-beta`:
    /// `dx = dy s^-beta - 2 alpha beta / size * x * sum(dy y / s)`, the sum over the channels whose windows see this one.
    /// Sums over channels are products with a band of ones.
    fn gradient(&self, at: &mut Backward) -> Result<()> {
        let x = at.operand(0)?;
        let shape = at.dims(x);
        let channels = shape[1];
        let planes = [shape[0], channels, shape[2..].iter().product()];
        let (before, after) = ((self.size - 1) / 2, self.size / 2);
        let sees = |c: usize, other: usize| c <= other + before && other <= c + after;
        let band = (0..channels * channels).map(|i| f32::from(sees(i / channels, i % channels)));
        let band = at.constant(Tensor::new([channels, channels], band.collect())?);
        let bias = at.constant(Tensor::scalar(self.bias));
        let power = at.constant(Tensor::scalar(-self.beta));
        let rate = self.alpha / self.size as f32;

        let x = at.reshape(x, &planes)?;
        let y = at.reshape(at.output(0), &planes)?;
        let dy = at.reshape(at.gradient()?, &planes)?;
        let squares = at.push(Binary::Mul, &[x, x])?;
        let s = at.push(Gemm { alpha: rate, ..Gemm::default() }, &[band, squares, bias])?;
        let scale = at.push(Binary::Pow, &[s, power])?;
        let own = at.push(Binary::Mul, &[dy, scale])?;

        let weighted = at.push(Binary::Mul, &[dy, y])?;
        let share = at.push(Binary::Div, &[weighted, s])?;
        let transposed = Gemm { trans_a: true, alpha: 2.0 * rate * self.beta, ..Gemm::default() };
        let others = at.push(transposed, &[band, share])?;
        let others = at.push(Binary::Mul, &[x, others])?;
        let dx = at.push(Binary::Sub, &[own, others])?;
        let dx = at.reshape(dx, &shape)?;
        at.set(0, dx);
        Ok(())
    }

    fn for_one_image(&self, _inputs: &[Option<&Info>], batched: &[bool]) -> Option<Op> {
        first_alone(batched).then(|| (*self).into())
    }
}
