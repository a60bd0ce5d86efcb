//! Reductions over whole axes, global pools, and what looks along one axis: softmax, argmax.

use super::Refusal;
use super::builder::Val;
use super::node::{Node, integer};
use super::windowed::exponent;
use crate::ops::arg_reduce::{ArgOutput, ArgReduce};
use crate::ops::{Op, Reduce, ReduceKind, Softmax};
use crate::tensor::{DType, Tensor};

/// ReduceL1, ..., ReduceSumSquare: axes are an attribute before opset 18 (ReduceSum: 13), an input after. Without axes
/// all are reduced, or where `noop_with_empty_axes` is set, none.
pub(super) fn reduce(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let x = n.required(0)?;
    let kind = match n.op() {
        "ReduceL1" => ReduceKind::L1,
        "ReduceL2" => ReduceKind::L2,
        "ReduceLogSum" => ReduceKind::LogSum,
        "ReduceLogSumExp" => ReduceKind::LogSumExp,
        "ReduceMax" => ReduceKind::Max,
        "ReduceMean" => ReduceKind::Mean,
        "ReduceMin" => ReduceKind::Min,
        "ReduceProd" => ReduceKind::Prod,
        "ReduceSum" => ReduceKind::Sum,
        "ReduceSumSquare" => ReduceKind::SumSquare,
        other => return Err(Refusal::from(format!("the reduction {other}"))),
    };
    let rank = n.to.rank(x);
    let keep_dims = n.flag("keepdims", true)?;
    let none = n.flag("noop_with_empty_axes", false)?;
    let since = if n.op() == "ReduceSum" { 13 } else { 18 };
    let mut axes = n.axes_input(1, since, rank)?.unwrap_or_default();
    if axes.is_empty() && !none {
        axes = (0..rank).collect();
    }
    axes.sort_unstable();
    let same = [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max, ReduceKind::Min, ReduceKind::Prod];
    if axes.is_empty() && same.contains(&kind) {
        return Ok(vec![x]);
    }
    if n.to.dtype(x) == DType::I64 {
        return integers(n, x, kind, &axes, keep_dims);
    }
    Ok(vec![n.to.emit(Reduce { kind, axes: Some(axes), keep_dims }, &[x])?])
}

/// A reduction of known integers.
fn integers(
    n: &mut Node,
    x: Val,
    kind: ReduceKind,
    axes: &[usize],
    keep_dims: bool,
) -> Result<Vec<Val>, Refusal> {
    let tensor = n.known(0, "an integer operand")?.cloned().ok_or("input 0 is missing")?;
    let dims = n.to.dims(x);
    let kept: Vec<usize> = (0..dims.len()).map(|a| if axes.contains(&a) { 1 } else { dims[a] }).collect();
    let step = |sum: Option<i64>, v: i64| match (kind, sum) {
        (ReduceKind::Sum, None) => Some(v),
        (ReduceKind::Sum, Some(sum)) => sum.checked_add(v),
        (ReduceKind::Prod, None) => Some(v),
        (ReduceKind::Prod, Some(product)) => product.checked_mul(v),
        (ReduceKind::Max, seen) => Some(seen.map_or(v, |m| m.max(v))),
        (ReduceKind::Min, seen) => Some(seen.map_or(v, |m| m.min(v))),
        _ => None,
    };
    let count: usize = kept.iter().product();
    n.to.charge(&kept, 16)?;
    let mut results: Vec<Option<i64>> = vec![None; count];
    let strides: Vec<usize> = {
        let all = crate::tensor::Shape::new(kept.clone())?.strides();
        all.into_iter().enumerate().map(|(a, s)| if axes.contains(&a) { 0 } else { s }).collect()
    };
    let values = tensor.values::<i64>()?;
    for (at, &value) in crate::onnx::fold::each(&dims, &[strides]).zip(values) {
        let slot = at.first().and_then(|&at| results.get_mut(at)).ok_or("a reduction out of range")?;
        *slot = Some(step(*slot, value).ok_or("this reduction of integers, or one that overflows")?);
    }
    let empty = match kind {
        ReduceKind::Sum => Some(0),
        ReduceKind::Prod => Some(1),
        _ => None,
    };
    let results: Option<Vec<i64>> = results.into_iter().map(|r| r.or(empty)).collect();
    let shape =
        (0..dims.len()).filter(|a| keep_dims || !axes.contains(a)).map(|a| kept[a]).collect::<Vec<_>>();
    Ok(vec![n.to.constant(Tensor::new(shape, results.ok_or("a reduction of no integers")?)?)])
}

/// GlobalAveragePool, GlobalLpPool, GlobalMaxPool.
pub(super) fn global(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let x = n.required(0)?;
    let kind = match n.op() {
        "GlobalAveragePool" => ReduceKind::Mean,
        "GlobalMaxPool" => ReduceKind::Max,
        _ => match exponent(n)? {
            1.0 => ReduceKind::L1,
            2.0 => ReduceKind::L2,
            p => return Err(Refusal::from(format!("the exponent {p}"))),
        },
    };
    if n.to.rank(x) < 3 {
        return Err(Refusal::from("an input without spatial axes"));
    }
    Ok(vec![n.to.emit(Reduce::global(kind), &[x])?])
}

/// ArgMax and ArgMin.
pub(super) fn arg(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let x = n.required(0)?;
    let mut dims = n.to.dims(x);
    let axis = n.integer_or("axis", 0)?;
    let axis = n.axis(axis, dims.len())?;
    let keep_dims = n.flag("keepdims", true)?;
    let op = ArgReduce {
        largest: n.op() == "ArgMax",
        axis,
        select_last: n.flag("select_last_index", false)?,
        output: ArgOutput::Index,
    };
    let index = n.to.emit(op, &[x])?;
    if keep_dims {
        return Ok(vec![index]);
    }
    dims.remove(axis);
    Ok(vec![n.to.reshape(index, dims)?])
}

/// Hardmax, LogSoftmax and Softmax: along one axis from opset 13 on; before, along all from `axis` on.
pub(super) fn softmax(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let x = n.required(0)?;
    let dims = n.to.dims(x);
    let old = n.opset < 13;
    let axis = n.integer_or("axis", if old { 1 } else { -1 })?;
    // Of a vector, old opsets may name axis 1: all of it is one row then, or one column.
    let axis = if old && axis == integer(dims.len()) { dims.len() } else { n.axis(axis, dims.len())? };
    let op = |axis: usize| -> Op {
        match n.op() {
            "Hardmax" => {
                ArgReduce { largest: true, axis, select_last: false, output: ArgOutput::OneHot }.into()
            }
            name => Softmax { axis, log: name == "LogSoftmax" }.into(),
        }
    };
    if !old || axis + 1 == dims.len() {
        let op = op(axis);
        return Ok(vec![n.to.emit(op, &[x])?]);
    }
    let op = op(1);
    let (rows, columns) = dims.split_at(axis);
    let flat = n.to.reshape(x, vec![rows.iter().product(), columns.iter().product()])?;
    let y = n.to.emit(op, &[flat])?;
    Ok(vec![n.to.reshape(y, dims)?])
}
