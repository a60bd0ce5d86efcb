//! Matrix products.

use super::Refusal;
use super::builder::Val;
use super::node::Node;
use crate::ops::Gemm;

/// Gemm. Its third input is optional from opset 11 on; `broadcast` of opsets before 7 allows what is always allowed
/// after.
pub(super) fn gemm(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    n.ignore("broadcast")?;
    let (a, b, c) = (n.required(0)?, n.required(1)?, n.input(2));
    if n.to.rank(a) != 2 || n.to.rank(b) != 2 {
        return Err(Refusal::from("factors of other than 2 axes"));
    }
    let op = Gemm {
        trans_a: n.flag("transA", false)?,
        trans_b: n.flag("transB", false)?,
        alpha: n.float_or("alpha", 1.0)?,
        beta: n.float_or("beta", 1.0)?,
        activation: None,
    };
    n.to.emit_all(op, &[Some(a), Some(b), c])
}

/// MatMul, NumPy's: a vector on either side is a matrix of one row or column, which the result does not keep.
pub(super) fn matmul(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let (a, b) = (n.required(0)?, n.required(1)?);
    let (a_dims, b_dims) = (n.to.dims(a), n.to.dims(b));
    let a = if let [k] = a_dims[..] { n.to.reshape(a, vec![1, k])? } else { a };
    let b = if let [k] = b_dims[..] { n.to.reshape(b, vec![k, 1])? } else { b };
    let y = n.to.emit(Gemm::default(), &[a, b])?;
    let mut dims = n.to.dims(y);
    let columns = dims.pop().ok_or("factors without axes")?;
    let rows = dims.pop().ok_or("factors without axes")?;
    if a_dims.len() != 1 {
        dims.push(rows);
    }
    if b_dims.len() != 1 {
        dims.push(columns);
    }
    Ok(vec![n.to.reshape(y, dims)?])
}
