//! Matrix products, batched, with bias and activation: linear layers, ONNX's Gemm and MatMul.

use super::broadcast::{broadcast, by_image};
use super::{Activation, Infer, Op, OpError, Operator, dims};
use crate::error::Result;
use crate::graph::{Backward, Info, ValueId};
use crate::tensor::{DType, Shape};

/// `activation(alpha * a b + beta * c)` for each matrix of a batch.
///
/// Inputs: `a` `[batch..., m, k]` (or `[.., k, m]` where `trans_a`), `b` `[batch..., k, n]` (or `[.., n, k]` where
/// `trans_b`), optional `c` that broadcasts to the output. Batch axes broadcast as NumPy's. Output `[batch..., m, n]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gemm {
    /// Whether the matrices of `a` are stored transposed.
    pub trans_a: bool,
    /// Whether the matrices of `b` are stored transposed.
    pub trans_b: bool,
    /// Scales the product.
    pub alpha: f32,
    /// Scales `c`.
    pub beta: f32,
    /// Applied last.
    pub activation: Option<Activation>,
}

impl Default for Gemm {
    fn default() -> Self {
        Gemm { trans_a: false, trans_b: false, alpha: 1.0, beta: 1.0, activation: None }
    }
}

/// The sizes of a batched matrix product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// The output's batch axes.
    pub batch: Vec<usize>,
    /// For each of `batch`, the step in matrices within `a` (0 where it is broadcast), likewise `b`.
    pub a_steps: Vec<usize>,
    pub b_steps: Vec<usize>,
}

impl Gemm {
    /// A linear layer `x weight^T + bias`, the weight stored `[out, in]`.
    pub fn linear() -> Self {
        Gemm { trans_b: true, ..Gemm::default() }
    }

    pub(crate) fn sizes(&self, a: &Shape, b: &Shape) -> Result<Sizes, OpError> {
        let (Some((a_batch, &[a0, a1])), Some((b_batch, &[b0, b1]))) =
            (a.split_last_chunk::<2>(), b.split_last_chunk::<2>())
        else {
            return Err(OpError::shape("two matrices", format!("{a} and {b}")));
        };
        let (m, k) = if self.trans_a { (a1, a0) } else { (a0, a1) };
        let (k_b, n) = if self.trans_b { (b1, b0) } else { (b0, b1) };
        if k != k_b {
            return Err(OpError::shape(
                format!("matrices that agree on k, a {m}x{k}"),
                format!("b {k_b}x{n}"),
            ));
        }
        let (batch, strides) = broadcast(&[a_batch, b_batch])?;
        if batch.len() > 4 {
            return Err(OpError::shape("at most 4 batch axes", format!("{a} and {b}")));
        }
        let mut strides = strides.into_iter();
        let (a_steps, b_steps) = (strides.next().unwrap_or_default(), strides.next().unwrap_or_default());
        Ok(Sizes { m, n, k, batch, a_steps, b_steps })
    }
}

impl Operator for Gemm {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        let (a, b) = (inputs.f32("a matrix a")?, inputs.f32("a matrix b")?);
        let sizes = self.sizes(a, b)?;
        let mut out = sizes.batch;
        out.extend([sizes.m, sizes.n]);
        if let Some(c) = inputs.optional() {
            if c.dtype != DType::F32 {
                return Err(OpError::shape("a bias of f32", c.dtype));
            }
            let (all, _) = broadcast(&[&out, &c.shape])?;
            if all != out {
                return Err(OpError::shape(format!("a bias that broadcasts to {}", dims(&out)), &c.shape));
            }
        }
        Ok(vec![Info::f32(Shape::new(out)?)])
    }

    fn macs(&self, inputs: &[Option<&Info>], outputs: &[&Info]) -> u64 {
        let k = match inputs {
            [Some(a), Some(b), ..] => self.sizes(&a.shape, &b.shape).map_or(0, |s| s.k),
            _ => 0,
        };
        (outputs[0].shape.elements() as u64).saturating_mul(k as u64)
    }

    fn trained_inputs(&self) -> &'static [usize] {
        &[1, 2]
    }

    /// `da = alpha dy b^T`, `db = alpha a^T dy`, `dc = beta dy`, transposed as the operands are stored and summed where
    /// they were broadcast.
    fn gradient(&self, at: &mut Backward) -> Result<()> {
        let (a, b, dy) = (at.operand(0)?, at.operand(1)?, at.gradient()?);
        let product = |at: &mut Backward, left: (ValueId, bool), right: (ValueId, bool)| {
            let op = Gemm { trans_a: left.1, trans_b: right.1, alpha: self.alpha, ..Gemm::default() };
            at.push(op, &[left.0, right.0])
        };
        if at.wants(0) {
            let da = match self.trans_a {
                false => product(at, (dy, false), (b, !self.trans_b))?,
                true => product(at, (b, self.trans_b), (dy, true))?,
            };
            let shape = at.dims(a);
            let da = at.sum_to(da, &shape)?;
            at.set(0, da);
        }
        if at.wants(1) {
            let db = match self.trans_b {
                false => product(at, (a, !self.trans_a), (dy, false))?,
                true => product(at, (dy, true), (a, self.trans_a))?,
            };
            let shape = at.dims(b);
            let db = at.sum_to(db, &shape)?;
            at.set(1, db);
        }
        if at.wants(2) {
            let shape = at.dims(at.operand(2)?);
            let dc = at.sum_to(dy, &shape)?;
            let dc = at.scale(dc, self.beta)?;
            at.set(2, dc);
        }
        Ok(())
    }

    fn for_one_image(&self, inputs: &[Option<&Info>], batched: &[bool]) -> Option<Op> {
        let rank = inputs.iter().flatten().map(|info| info.shape.len()).max()?;
        // Of two matrices alone, the images are the rows of the first.
        let rows = rank > 2 || (!self.trans_a && batched[0] && !batched[1]);
        let terms = if rank > 2 { 0 } else { 2 };
        let apart = by_image(rank, inputs.get(terms..)?, batched.get(terms..)?);
        (rows && apart).then(|| self.clone().into())
    }
}
