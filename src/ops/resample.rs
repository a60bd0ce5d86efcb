//! One axis read at other places, by weighted taps: resizing, one axis at a time.

use super::{Infer, OpError, Operator, Reach};
use crate::graph::Info;
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

    fn reach(&self, _inputs: &[Option<&Info>]) -> Reach {
        Reach::Unknown
    }
}
