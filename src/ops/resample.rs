//! One axis read at other places, by weighted taps: resizing, one axis at a time.

use super::{Infer, Op, OpError, Operator, Reach, first_alone};
use crate::error::Result;
use crate::graph::{Backward, Info};
use crate::tensor::Shape;

/// Output position `j` along `axis` is `sum over t of weight[j, t] * x[index[j, t]]`, for every place along the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Resample {
    /// The axis resampled.
    pub axis: usize,
    /// How many taps each position has, 1 or more.
    pub taps: usize,
    /// `[positions, taps]` positions in the input, all inside it.
    pub indices: Vec<usize>,
    /// `[positions, taps]` weights. A tap of weight 0 is not read; one of weight 1 alone copies bit for bit.
    pub weights: Vec<f32>,
}

impl Resample {
    /// The transpose over an axis of `size`: what the positions have is added up at the places that they read.
    pub(crate) fn transposed(&self, size: usize) -> Resample {
        let mut readers = vec![Vec::new(); size];
        for (tap, (&place, &weight)) in self.indices.iter().zip(&self.weights).enumerate() {
            if weight != 0.0 {
                readers[place].push((tap / self.taps, weight));
            }
        }
        let taps = readers.iter().map(Vec::len).max().unwrap_or(0).max(1);
        readers.iter_mut().for_each(|readers| readers.resize(taps, (0, 0.0)));
        let (indices, weights) = readers.into_iter().flatten().unzip();
        Resample { axis: self.axis, taps, indices, weights }
    }
}

impl Operator for Resample {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        let x = inputs.f32("an input")?;
        let Some(&size) = x.get(self.axis) else {
            return Err(OpError::shape(format!("an input with an axis {}", self.axis), x));
        };
        let whole = self.taps > 0
            && self.indices.len() == self.weights.len()
            && self.indices.len().is_multiple_of(self.taps)
            && self.indices.iter().all(|&i| i < size);
        if !whole {
            return Err(OpError::shape(
                format!("{} taps per position inside axis {}", self.taps, self.axis),
                format!("{} indices, {} weights, input {x}", self.indices.len(), self.weights.len()),
            ));
        }
        let mut shape = x.to_vec();
        shape[self.axis] = self.indices.len() / self.taps;
        Ok(vec![Info::f32(Shape::new(shape)?)])
    }

    /// The transposed taps.
    fn gradient(&self, at: &mut Backward) -> Result<()> {
        let size = at.dims(at.operand(0)?)[self.axis];
        let dx = at.push(self.transposed(size), &[at.gradient()?])?;
        at.set(0, dx);
        Ok(())
    }

    fn reach(&self, _inputs: &[Option<&Info>]) -> Reach {
        Reach::Unknown
    }

    fn for_one_image(&self, _inputs: &[Option<&Info>], batched: &[bool]) -> Option<Op> {
        (self.axis > 0 && first_alone(batched)).then(|| self.clone().into())
    }
}
