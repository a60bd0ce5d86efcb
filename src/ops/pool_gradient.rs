//! The gradient of pooling to its input.

use super::{Infer, OpError, Operator, PoolKind, Reach, dims};
use crate::graph::Info;
use crate::tensor::{DType, Shape};
use crate::window::{Axis, Window};

/// What each element that a [`Pool`](super::Pool) read adds to a loss: of max pooling the gradients of the windows whose
/// maximum it is, of average pooling those of all windows over it, each divided as the average was.
///
/// Inputs: `dy` `[n, c, spatial...]`, the gradient to the pool's output; for max pooling `indices` of i64 and the same
/// shape, which the pool returns in row-major order. Output `[n, c, sizes...]`.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolGradient {
    /// The pool's kind: max or average.
    pub kind: PoolKind,
    /// The pool's window.
    pub window: Window,
    /// The spatial sizes of the pool's input.
    pub sizes: Vec<usize>,
}

impl PoolGradient {
    /// The window's axes.
    pub(crate) fn axes(&self) -> Result<Vec<Axis>, OpError> {
        Ok(self.window.resolve(&self.sizes)?)
    }
}

impl Operator for PoolGradient {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        let dy = inputs.f32("a gradient dy")?;
        if dy.len() != self.window.rank() + 2 {
            return Err(OpError::shape(format!("a gradient of rank {}", self.window.rank() + 2), dy));
        }
        let mut wanted = dy[..2].to_vec();
        wanted.extend(self.axes()?.iter().map(|a| a.output));
        if dy[..] != wanted[..] {
            return Err(OpError::shape(format!("a gradient {}", dims(&wanted)), dy));
        }
        match self.kind {
            PoolKind::Max => {
                let indices = inputs.required("indices")?;
                if indices.dtype != DType::I64 || indices.shape != *dy {
                    let actual = format!("{} {}", indices.dtype, indices.shape);
                    return Err(OpError::shape(format!("indices of i64 {dy}"), actual));
                }
            }
            PoolKind::Average { .. } => {}
            PoolKind::Lp { .. } => {
                return Err(OpError::shape("max or average pooling", format!("{:?}", self.kind)));
            }
        }
        let mut out = dy[..2].to_vec();
        out.extend_from_slice(&self.sizes);
        Ok(vec![Info::f32(Shape::new(out)?)])
    }

    fn reach(&self, _inputs: &[Option<&Info>]) -> Reach {
        Reach::Unknown
    }
}
