//! Dropout: elements zeroed at random while a network trains.

use super::{Infer, OpError, Operator};
use crate::error::Result;
use crate::graph::{Backward, Info};
use crate::tensor::DType;

/// `x / (1 - rate)` where an element is kept, 0 where it is dropped, with a probability of `rate` (Srivastava et al.
/// 2014, scaled in training as is common now). Without a `step`, which is how networks are run, the identity.
///
/// Inputs: `x` of f32, and optionally `step`, one element of f32 or i64. Output of `x`'s shape.
///
/// What is dropped is a function of the seed, of the step's 32 bits and of the element's position, the same on every
/// device: see [`Dropout::drops`]. So the gradient is the same operator over the gradient of the output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// The probability that an element is dropped: at least 0, below 1.
    pub rate: f32,
    /// Tells layers and runs apart.
    pub seed: u64,
}

impl Dropout {
    /// Whether the element at this position is dropped in the step with these bits (of an f32, or the lower ones of an
    /// i64).
    ///
    /// The first word of the hash pcg4d (Jarzynski and Olano, "Hash Functions for GPU Rendering", JCGT 9(3), 2020) of
    /// position, step and seed, compared with the rate. A position is counted modulo 2^32.
    #[inline(always)]
    pub fn drops(&self, step: u32, position: u32) -> bool {
        pcg4d([position, step, self.seed as u32, (self.seed >> 32) as u32]) < self.threshold()
    }

    /// The hashes below which elements are dropped.
    #[inline(always)]
    pub(crate) fn threshold(&self) -> u32 {
        (f64::from(self.rate) * f64::from(1u32 << 16) * f64::from(1u32 << 16)) as u32
    }

    /// What kept elements are multiplied by.
    pub(crate) fn scale(&self) -> f32 {
        1.0 / (1.0 - self.rate)
    }
}

/// The first word of the hash of four words.
#[inline(always)]
fn pcg4d(words: [u32; 4]) -> u32 {
    let [mut x, mut y, mut z, mut w] =
        words.map(|word| word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    let mut mix = || {
        x = x.wrapping_add(y.wrapping_mul(w));
        y = y.wrapping_add(z.wrapping_mul(x));
        z = z.wrapping_add(x.wrapping_mul(y));
        w = w.wrapping_add(y.wrapping_mul(z));
    };
    mix();
    [x, y, w] = [x, y, w].map(|word| word ^ (word >> 16));
    x.wrapping_add(y.wrapping_mul(w))
}

impl Operator for Dropout {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        let x = inputs.f32("an input")?;
        if let Some(step) = inputs.optional() {
            let is_number = matches!(step.dtype, DType::F32 | DType::I64);
            if !is_number || step.shape.elements() != 1 {
                let actual = format!("{} {}", step.dtype, step.shape);
                return Err(OpError::shape("a step of one element, f32 or i64", actual));
            }
        }
        if !(0.0..1.0).contains(&self.rate) {
            return Err(OpError::shape("a rate of at least 0 and below 1", self.rate));
        }
        Ok(vec![Info::f32(x.clone())])
    }

    /// What was dropped gets nothing, what was kept the gradient times the same factor.
    fn gradient(&self, at: &mut Backward) -> Result<()> {
        let inputs: Vec<_> = [at.gradient()?].into_iter().chain(at.input(1)).collect();
        let dx = at.push(*self, &inputs)?;
        at.set(0, dx);
        Ok(())
    }
}
