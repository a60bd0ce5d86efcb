//! Max, average and Lp pooling over one to three spatial axes.

use super::{Infer, Op, OpError, Operator, PoolGradient, Reach, first_alone};
use crate::error::Result;
use crate::graph::{Backward, Info};
use crate::tensor::{DType, Shape};
use crate::window::{Axis, Window};

/// What a pooling window yields.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum PoolKind {
    /// The largest real element; padding never wins.
    Max,
    /// The mean.
    Average {
        /// Whether padding counts as zeros in the divisor; the overhang of `ceil_mode` never counts.
        count_include_pad: bool,
    },
    /// `(sum |x|^p)^(1/p)`
    Lp {
        /// The exponent, 1 or more.
        p: f32,
    },
}

/// Where in the input a maximum was found, counted over the whole tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexOrder {
    /// Row-major: the last axis changes fastest.
    RowMajor,
    /// As row-major over batch and channels, but within the spatial axes the first changes fastest.
    ColumnMajor,
}

/// Pooling of each channel by a sliding window.
///
/// Input `[n, c, spatial...]`, output `[n, c, spatial...]`, and where `indices` asks for it a second output of i64 with
/// the position of each maximum.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Max, average or Lp.
    pub kind: PoolKind,
    /// Kernel size, stride, dilation and padding per spatial axis.
    pub window: Window,
    /// Whether and how positions of maxima are returned; for [`PoolKind::Max`] only.
    pub indices: Option<IndexOrder>,
}

impl Pool {
    /// Pooling without indices.
    pub fn new(kind: PoolKind, window: Window) -> Self {
        Pool { kind, window, indices: None }
    }

    /// The window's axes over an input of shape `x`, for inputs that `infer` took.
    pub(crate) fn axes(&self, x: &Shape) -> Result<Vec<Axis>, OpError> {
        Ok(self.window.resolve(x.get(2..).unwrap_or_default())?)
    }
}

impl Operator for Pool {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        let x = inputs.f32("an input x")?;
        if x.len() != self.window.rank() + 2 {
            return Err(OpError::shape(format!("an input of rank {}", self.window.rank() + 2), x));
        }
        if self.indices.is_some() && self.kind != PoolKind::Max {
            return Err(OpError::shape(
                "max pooling where indices are asked for",
                format!("{:?}", self.kind),
            ));
        }
        let mut out = x[..2].to_vec();
        out.extend(self.axes(x)?.iter().map(|a| a.output));
        let shape = Shape::new(out)?;
        let mut outputs = vec![Info::f32(shape.clone())];
        if self.indices.is_some() {
            outputs.push(Info { shape, dtype: DType::I64 });
        }
        Ok(outputs)
    }

    /// By [`PoolGradient`]. A max pool that returns no positions is made to.
    fn gradient(&self, at: &mut Backward) -> Result<()> {
        let (x, dy) = (at.operand(0)?, at.gradient()?);
        let op =
            PoolGradient { kind: self.kind, window: self.window.clone(), sizes: at.dims(x).split_off(2) };
        let by_rows = Pool { indices: Some(IndexOrder::RowMajor), ..self.clone() };
        let dx = match (self.kind, self.indices) {
            (PoolKind::Average { .. }, _) => at.push(op, &[dy])?,
            (PoolKind::Max, Some(IndexOrder::ColumnMajor)) => {
                let indices = at.push_all(by_rows, &[x])?[1];
                at.push(op, &[dy, indices])?
            }
            (PoolKind::Max, _) => {
                let indices = at.extend(by_rows)?[1];
                at.push(op, &[dy, indices])?
            }
            (PoolKind::Lp { .. }, _) => {
                return Err(
                    at.refuse("a norm's is not formed; write it as a power, an average pool and a root")
                );
            }
        };
        at.set(0, dx);
        Ok(())
    }

    fn reach(&self, inputs: &[Option<&Info>]) -> Reach {
        let axes = inputs[0].and_then(|x| self.axes(&x.shape).ok());
        axes.map_or(Reach::Unknown, Reach::Window)
    }

    fn for_one_image(&self, _inputs: &[Option<&Info>], batched: &[bool]) -> Option<Op> {
        // Indices count over the whole batch.
        (self.indices.is_none() && first_alone(batched)).then(|| self.clone().into())
    }
}
