//! Normalisations: batch, instance, layer, group, local response, Lp.

use super::Refusal;
use super::builder::Val;
use super::node::{Node, size};
use crate::ops::{BatchNorm, Binary, Lrn, Normalize, Reduce, ReduceKind};
use crate::tensor::Tensor;

/// BatchNormalization with fixed statistics. Before opset 7 `is_test` says so; from opset 14 on `training_mode` says
/// otherwise; before opset 9 statistics per pixel (`spatial` 0) were possible.
pub(super) fn batch(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    n.ignore("momentum")?;
    n.ignore("consumed_inputs")?;
    let training = if n.opset < 7 { !n.flag("is_test", false)? } else { n.flag("training_mode", false)? };
    if training {
        return Err(Refusal::from("training mode"));
    }
    if !n.flag("spatial", true)? {
        return Err(Refusal::from("statistics for each pixel ('spatial' 0)"));
    }
    let epsilon = n.float_or("epsilon", 1e-5)?;
    let inputs = n.all_inputs()?;
    Ok(vec![n.to.emit(BatchNorm { epsilon }, &inputs)?])
}

/// A value per channel, shaped to broadcast to `[.., channels, 1, ..]` with so many axes after the channels.
fn per_channel(n: &mut Node, input: usize, channels: &[usize], after: usize) -> Result<Val, Refusal> {
    let val = n.required(input)?;
    let mut dims = n.to.dims(val);
    let count: usize = channels.iter().product();
    if dims != [count] {
        return Err(Refusal::from(format!("input {input} of other than {count} elements")));
    }
    dims = channels.to_vec();
    dims.resize(channels.len() + after, 1);
    n.to.reshape(val, dims)
}

/// InstanceNormalization: each channel of each image by its own mean and variance.
pub(super) fn instance(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    n.ignore("consumed_inputs")?;
    let x = n.required(0)?;
    let dims = n.to.dims(x);
    let [_, channels, spatial @ ..] = &dims[..] else {
        return Err(Refusal::from("an input without channels"));
    };
    let epsilon = n.float_or("epsilon", 1e-5)?;
    let scale = per_channel(n, 1, &[*channels], spatial.len())?;
    let bias = per_channel(n, 2, &[*channels], spatial.len())?;
    Ok(vec![n.to.emit(Normalize { axis: 2, epsilon, statistics: false }, &[x, scale, bias])?])
}

/// GroupNormalization: scale and bias belong to groups before opset 21, to channels after.
pub(super) fn group(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    n.ignore("stash_type")?;
    let x = n.required(0)?;
    let dims = n.to.dims(x);
    let [batch, channels, spatial @ ..] = &dims[..] else {
        return Err(Refusal::from("an input without channels"));
    };
    let groups = n.size("num_groups")?.filter(|&g| g > 0 && channels % g == 0);
    let groups = groups.ok_or_else(|| Refusal::from(format!("{channels} channels in these groups")))?;
    let epsilon = n.float_or("epsilon", 1e-5)?;
    let of_group = channels / groups;
    let terms = if n.opset < 21 { vec![groups, 1] } else { vec![groups, of_group] };
    let scale = per_channel(n, 1, &terms, 1)?;
    let bias = per_channel(n, 2, &terms, 1)?;
    let grouped = n.to.reshape(x, vec![*batch, groups, of_group, spatial.iter().product()])?;
    let y = n.to.emit(Normalize { axis: 2, epsilon, statistics: false }, &[grouped, scale, bias])?;
    Ok(vec![n.to.reshape(y, dims.clone())?])
}

/// LayerNormalization, with mean and inverse deviation where the model reads them.
pub(super) fn layer(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    n.ignore("stash_type")?;
    let (x, scale, bias) = (n.required(0)?, n.required(1)?, n.input(2));
    let axis = n.integer_or("axis", -1)?;
    let axis = n.axis(axis, n.to.rank(x))?;
    let epsilon = n.float_or("epsilon", 1e-5)?;
    let statistics = n.wants(1) || n.wants(2);
    n.to.emit_all(Normalize { axis, epsilon, statistics }, &[Some(x), Some(scale), bias])
}

/// MeanVarianceNormalization, over batch and space unless axes are given.
pub(super) fn mean_variance(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    // ONNX divides by the deviation plus 1e-9; where that matters at all, the input is constant and the result 0.
    const EPSILON: f32 = 1e-18;
    let x = n.required(0)?;
    let rank = n.to.rank(x);
    let axes = n.axes(n.integers("axes")?.unwrap_or(&[0, 2, 3]), rank)?;
    // The axes normalised over move to the end, and back afterwards.
    let kept: Vec<usize> = (0..rank).filter(|a| !axes.contains(a)).collect();
    let order: Vec<usize> = kept.iter().copied().chain((0..rank).filter(|a| axes.contains(a))).collect();
    let mut back = vec![0; rank];
    for (i, &axis) in order.iter().enumerate() {
        back[axis] = i;
    }
    let moved = n.to.transpose(x, &order)?;
    let y = n.to.emit(Normalize { axis: kept.len(), epsilon: EPSILON, statistics: false }, &[moved])?;
    Ok(vec![n.to.transpose(y, &back)?])
}

/// LRN.
pub(super) fn lrn(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let x = n.required(0)?;
    let op = Lrn {
        size: size(n.integer("size")?.ok_or("attribute 'size' is missing")?, "size")?,
        alpha: n.float_or("alpha", 1e-4)?,
        beta: n.float_or("beta", 0.75)?,
        bias: n.float_or("bias", 1.0)?,
    };
    Ok(vec![n.to.emit(op, &[x])?])
}

/// LpNormalization: divided by the norm along an axis; what has norm 0 stays 0.
pub(super) fn lp(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let x = n.required(0)?;
    let axis = n.integer_or("axis", -1)?;
    let axis = n.axis(axis, n.to.rank(x))?;
    let kind = match n.integer_or("p", 2)? {
        1 => ReduceKind::L1,
        2 => ReduceKind::L2,
        p => return Err(Refusal::from(format!("the exponent {p}"))),
    };
    let norm = n.to.emit(Reduce { kind, axes: Some(vec![axis]), keep_dims: true }, &[x])?;
    let least = n.to.constant(Tensor::scalar(f32::MIN_POSITIVE));
    let norm = n.to.emit(Binary::Max, &[norm, least])?;
    Ok(vec![n.to.emit(Binary::Div, &[x, norm])?])
}
