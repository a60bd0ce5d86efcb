//! Normalisation by the mean and variance of the elements themselves: layer, instance and group norm.

use super::broadcast::broadcast;
use super::{Infer, OpError, Operator, Reach};
use crate::graph::Info;
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

    fn trained_inputs(&self) -> &'static [usize] {
        &[1, 2]
    }

    fn reach(&self, _inputs: &[Option<&Info>]) -> Reach {
        Reach::Unknown
    }
}
