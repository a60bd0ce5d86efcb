//! Elements moved, repeated, dropped or picked: reshapes, transpositions, slices, pads, joins.
//!
//! Opsets: axes, sizes, splits and pads were attributes before they became inputs, each from its own opset on; what
//! an input states must be known while the model is loaded.

use super::Refusal;
use super::builder::Val;
use super::node::{Node, integer, size};
use crate::ops::broadcast::broadcast;
use crate::ops::rearrange::{AxisMap, Border, Rearrange};
use crate::ops::{Concat, Gather, Reshape, Select};
use crate::tensor::{Shape, Tensor};

/// Identity.
pub(super) fn identity(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    Ok(vec![n.required(0)?])
}

/// Dropout at inference: nothing is dropped, and from opset 10 on the mask says so.
pub(super) fn dropout(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let x = n.required(0)?;
    for unused in ["consumed_inputs", "is_test", "ratio", "seed"] {
        n.ignore(unused)?;
    }
    n.input(1);
    if let Some(training) = n.known(2, "whether Dropout trains")?
        && training.values::<bool>()?.contains(&true)
    {
        return Err(Refusal::from("training mode"));
    }
    let mut outputs = vec![x];
    if n.wants(1) && n.opset >= 10 {
        let dims = n.to.dims(x);
        n.to.charge(&dims, 4)?;
        let mask = vec![true; dims.iter().product()];
        outputs.push(n.to.constant(Tensor::new(dims, mask)?));
    }
    Ok(outputs)
}

/// Reshape: the shape is an attribute before opset 5; 0 copies a size, unless `allowzero` is set, -1 is what remains.
pub(super) fn reshape(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let x = n.required(0)?;
    let asked = if n.opset < 5 {
        n.ignore("consumed_inputs")?;
        n.integers("shape")?.map(<[i64]>::to_vec)
    } else {
        n.known_integers(1, "the shape")?
    };
    let asked = asked.ok_or("the shape is missing")?;
    let zero_is_zero = n.flag("allowzero", false)?;
    let dims = n.to.dims(x);
    let mut shape = Vec::with_capacity(asked.len());
    let mut rest = None;
    for (i, &value) in asked.iter().enumerate() {
        shape.push(match value {
            0 if !zero_is_zero => {
                *dims.get(i).ok_or_else(|| Refusal::from(format!("no axis {i} to copy the size of")))?
            }
            -1 if rest.is_none() => {
                rest = Some(i);
                1
            }
            value => size(value, "shape")?,
        });
    }
    if let Some(i) = rest {
        let known = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).unwrap_or(0);
        let elements = n.to.info(x).shape.elements();
        if known == 0 || !elements.is_multiple_of(known) {
            return Err(Refusal::from(format!("{elements} elements cannot be shaped to {asked:?}")));
        }
        shape[i] = elements / known;
    }
    Ok(vec![n.to.reshape(x, shape)?])
}

/// Flatten to two axes.
pub(super) fn flatten(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let x = n.required(0)?;
    let dims = n.to.dims(x);
    let axis = n.integer_or("axis", 1)?;
    // The axis may be one past the last.
    let axis = if axis == integer(dims.len()) { dims.len() } else { n.axis(axis, dims.len())? };
    let (rows, columns) = dims.split_at(axis);
    if dims[..] == [rows.iter().product::<usize>(), columns.iter().product()] {
        return Ok(vec![x]);
    }
    // Not the shape it comes to, so that the graph can be asked for another batch.
    Ok(vec![n.to.emit(Reshape::Flatten { axis }, &[x])?])
}

/// Squeeze: all axes of size 1 unless some are named.
pub(super) fn squeeze(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let x = n.required(0)?;
    let dims = n.to.dims(x);
    let axes = n.axes_input(1, 13, dims.len())?;
    let dropped = |axis: usize| axes.as_ref().map_or(dims[axis] == 1, |axes| axes.contains(&axis));
    if let Some(axis) = (0..dims.len()).find(|&a| dropped(a) && dims[a] != 1) {
        return Err(Refusal::from(format!("axis {axis} of size {} cannot be squeezed", dims[axis])));
    }
    let shape = (0..dims.len()).filter(|&a| !dropped(a)).map(|a| dims[a]).collect();
    Ok(vec![n.to.reshape(x, shape)?])
}

/// Unsqueeze: the axes count in the output.
pub(super) fn unsqueeze(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let x = n.required(0)?;
    let named = if n.opset >= 13 {
        n.known_integers(1, "the axes")?
    } else {
        n.integers("axes")?.map(<[i64]>::to_vec)
    };
    let named = named.ok_or("the axes are missing")?;
    let dims = n.to.dims(x);
    let rank = dims.len() + named.len();
    let axes = n.axes(&named, rank)?;
    let mut old = dims.into_iter();
    let shape = (0..rank).map(|a| if axes.contains(&a) { 1 } else { old.next().unwrap_or(1) }).collect();
    Ok(vec![n.to.reshape(x, shape)?])
}

/// Transpose: the axes reversed unless an order is given.
pub(super) fn transpose(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let x = n.required(0)?;
    let rank = n.to.rank(x);
    let order = match n.integers("perm")? {
        Some(perm) => n.axes(perm, rank)?,
        None => (0..rank).rev().collect(),
    };
    if order.len() != rank {
        return Err(Refusal::from(format!("an order of {} axes for {rank}", order.len())));
    }
    Ok(vec![n.to.transpose(x, &order)?])
}

/// Expand: broadcast with a shape.
pub(super) fn expand(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let x = n.required(0)?;
    let shape = n.known_integers(1, "the shape")?.ok_or("the shape is missing")?;
    let shape = Shape::new(shape.iter().map(|&d| size(d, "shape")).collect::<Result<Vec<_>, _>>()?)?;
    let dims = n.to.dims(x);
    let (out, _) = broadcast(&[&dims, &shape])?;
    if out == dims {
        return Ok(vec![x]);
    }
    let added = out.len() - dims.len();
    let axes = out.iter().enumerate().map(|(i, &size)| {
        let kept = i.checked_sub(added).filter(|&axis| dims[axis] == size);
        AxisMap { input_axis: kept, size, start: 0, step: 1 }
    });
    let op = Rearrange { axes: axes.collect(), border: Border::Constant(0.0) };
    Ok(vec![n.to.emit(op, &[x])?])
}

/// Tile: a count per axis from opset 6 on, before that one count and one axis.
pub(super) fn tile(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let x = n.required(0)?;
    let dims = n.to.dims(x);
    let given = n.known_integers(1, "the repeats")?.ok_or("the repeats are missing")?;
    let repeats = if n.opset < 6 {
        let axis =
            n.known_integers(2, "the axis")?.and_then(|a| a.first().copied()).ok_or("the axis is missing")?;
        let mut repeats = vec![1; dims.len()];
        repeats[n.axis(axis, dims.len())?] = given.first().copied().unwrap_or(1);
        repeats
    } else {
        given
    };
    if repeats.len() != dims.len() {
        return Err(Refusal::from(format!("{} repeats for {} axes", repeats.len(), dims.len())));
    }
    let mut op = Rearrange { border: Border::Wrap, ..Rearrange::identity(&dims) };
    for (axis, &repeat) in op.axes.iter_mut().zip(&repeats) {
        axis.size =
            axis.size.checked_mul(size(repeat, "repeats")?).ok_or("more elements than can be addressed")?;
    }
    if op == (Rearrange { border: Border::Wrap, ..Rearrange::identity(&dims) }) {
        return Ok(vec![x]);
    }
    Ok(vec![n.to.emit(op, &[x])?])
}

/// Slice: starts, ends and axes are attributes before opset 10; after, they are inputs, with steps.
pub(super) fn slice(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let x = n.required(0)?;
    let dims = n.to.dims(x);
    let attribute = |name: &str| n.integers(name).map(|v| v.map(<[i64]>::to_vec));
    let (starts, ends, axes, steps) = if n.opset < 10 {
        (attribute("starts")?, attribute("ends")?, attribute("axes")?, None)
    } else {
        (
            n.known_integers(1, "the starts")?,
            n.known_integers(2, "the ends")?,
            n.known_integers(3, "the axes")?,
            n.known_integers(4, "the steps")?,
        )
    };
    let (starts, ends) = (starts.ok_or("the starts are missing")?, ends.ok_or("the ends are missing")?);
    let axes = axes.unwrap_or_else(|| (0..starts.len()).map(integer).collect());
    let axes = n.axes(&axes, dims.len())?;
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
        return Err(Refusal::from("starts, ends, axes and steps of different lengths"));
    }
    let whole = Rearrange::identity(&dims);
    let mut op = whole.clone();
    for (((axis, start), end), step) in axes.into_iter().zip(starts).zip(ends).zip(steps) {
        let d = integer(dims[axis]);
        let from_start = |value: i64| if value < 0 { value.saturating_add(d) } else { value };
        let (start, end) = (from_start(start), from_start(end));
        let (start, span) = match step {
            0 => return Err(Refusal::from("a slice of step 0")),
            1.. => (start.clamp(0, d), end.clamp(0, d) - start.clamp(0, d)),
            _ => {
                let start = start.clamp(-1, d - 1);
                (start, start - end.clamp(-1, d - 1))
            }
        };
        let count = u64::try_from(span.max(0)).unwrap_or(0).div_ceil(step.unsigned_abs());
        op.axes[axis].size = usize::try_from(count).unwrap_or(0);
        op.axes[axis].start = start;
        op.axes[axis].step = step;
    }
    if op == whole {
        return Ok(vec![x]);
    }
    Ok(vec![n.to.emit(op, &[x])?])
}

/// Pad: `paddings` in opset 1, `pads` before opset 11, inputs after; named axes from opset 18 on, wrapping from 19 on.
pub(super) fn pad(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let x = n.required(0)?;
    let dims = n.to.dims(x);
    let mut value = None;
    let mut fill = 0.0;
    let (pads, axes) = if n.opset < 11 {
        fill = n.float_or("value", 0.0)?;
        (n.integers(if n.opset < 2 { "paddings" } else { "pads" })?.map(<[i64]>::to_vec), None)
    } else {
        value = n.input(2);
        (n.known_integers(1, "the pads")?, n.known_integers(3, "the axes")?)
    };
    let pads = pads.ok_or("the pads are missing")?;
    let axes = match axes {
        Some(axes) => n.axes(&axes, dims.len())?,
        None => (0..dims.len()).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(Refusal::from(format!("{} pads for {} axes", pads.len(), axes.len())));
    }
    let mode = n.string_or("mode", "constant")?;
    // A value known now is the border's; any other takes the border's place afterwards.
    let known = value.and_then(|v| n.to.known(v)).and_then(|t| t.values::<f32>().ok()?.first().copied());
    if let Some(known) = known {
        fill = known;
    }
    let border = match mode {
        "constant" => Border::Constant(fill),
        "edge" => Border::Edge,
        "reflect" => Border::Reflect,
        "wrap" => Border::Wrap,
        other => return Err(Refusal::from(format!("the mode '{other}'"))),
    };
    let whole = Rearrange { border, ..Rearrange::identity(&dims) };
    let mut op = whole.clone();
    let (before, after) = pads.split_at(axes.len());
    for ((&axis, &before), &after) in axes.iter().zip(before).zip(after) {
        let padded = integer(dims[axis]).checked_add(before).and_then(|n| n.checked_add(after));
        op.axes[axis].size = padded.and_then(|n| usize::try_from(n).ok()).ok_or("pads that leave no size")?;
        op.axes[axis].start = before.checked_neg().ok_or("pads that leave no size")?;
        if dims[axis] == 0 && op.axes[axis].size != 0 && mode != "constant" {
            return Err(Refusal::from("pads that repeat an axis without elements"));
        }
    }
    if op == whole {
        return Ok(vec![x]);
    }
    let y = n.to.emit(op.clone(), &[x])?;
    match value {
        Some(value) if mode == "constant" && known.is_none() => {
            let shape = n.to.dims(x);
            n.to.charge(&shape, 1)?;
            let inside = n.to.constant(Tensor::new(shape.clone(), vec![true; shape.iter().product()])?);
            let inside = n.to.emit(Rearrange { border: Border::Constant(0.0), ..op }, &[inside])?;
            let value = n.to.reshape(value, Vec::new())?;
            Ok(vec![n.to.emit(Select, &[inside, y, value])?])
        }
        _ => Ok(vec![y]),
    }
}

/// Split: sizes from an attribute before opset 13, from an input after, or equal parts, of which from opset 18 on
/// the last may be smaller.
pub(super) fn split(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let x = n.required(0)?;
    let dims = n.to.dims(x);
    let axis = n.integer_or("axis", 0)?;
    let axis = n.axis(axis, dims.len())?;
    let parts = if n.opset >= 13 {
        n.known_integers(1, "the sizes")?
    } else {
        match n.integers("split")? {
            Some(parts) => Some(parts.to_vec()),
            None if n.opset < 2 => n.known_integers(1, "the sizes")?,
            None => None,
        }
    };
    let number = n.size("num_outputs")?.unwrap_or(n.output_count());
    let parts = match parts {
        Some(parts) => parts.iter().map(|&p| size(p, "split")).collect::<Result<Vec<_>, _>>()?,
        None if number == 0 || number > n.output_count() => {
            return Err(Refusal::from("parts without outputs"));
        }
        None => {
            let part = dims[axis].div_ceil(number);
            if n.opset < 18 && part * number != dims[axis] {
                return Err(Refusal::from(format!("{} elements in {number} equal parts", dims[axis])));
            }
            (0..number).map(|i| dims[axis].saturating_sub(i * part).min(part)).collect()
        }
    };
    if parts.iter().try_fold(0usize, |sum, &p| sum.checked_add(p)) != Some(dims[axis]) {
        return Err(Refusal::from(format!("parts {parts:?} of {} elements", dims[axis])));
    }
    let mut start = 0;
    let mut outputs = Vec::with_capacity(parts.len());
    for part in parts {
        if part == dims[axis] && start == 0 {
            outputs.push(x);
        } else {
            let mut op = Rearrange::identity(&dims);
            op.axes[axis].size = part;
            op.axes[axis].start = integer(start);
            outputs.push(n.to.emit(op, &[x])?);
        }
        start += part;
    }
    Ok(outputs)
}

/// Concat: along axis 1 before opset 4 unless stated.
pub(super) fn concat(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let inputs = n.all_inputs()?;
    let first = *inputs.first().ok_or("no inputs")?;
    let axis = match n.integer("axis")? {
        Some(axis) => axis,
        None if n.opset < 4 => 1,
        None => return Err(Refusal::from("attribute 'axis' is missing")),
    };
    let axis = n.axis(axis, n.to.rank(first))?;
    if inputs.len() == 1 {
        return Ok(vec![first]);
    }
    Ok(vec![n.to.emit(Concat { axis }, &inputs)?])
}

/// Gather. Indices that are known are checked; others pick 0 where they are outside.
pub(super) fn gather(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let (x, indices) = (n.required(0)?, n.required(1)?);
    let dims = n.to.dims(x);
    let axis = n.integer_or("axis", 0)?;
    let axis = n.axis(axis, dims.len())?;
    if let Some(known) = n.to.known(indices) {
        let d = integer(dims[axis]);
        if let Some(index) = known.values::<i64>()?.iter().find(|&&i| i < -d || i >= d) {
            return Err(Refusal::from(format!("index {index} on an axis of size {d}")));
        }
    }
    Ok(vec![n.to.emit(Gather { axis }, &[x, indices])?])
}

/// Where.
pub(super) fn select(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let inputs = [n.required(0)?, n.required(1)?, n.required(2)?];
    Ok(vec![n.to.emit(Select, &inputs)?])
}

/// The sizes of an image `[n, c, h, w]` and the attribute `blocksize`.
fn blocks(n: &Node, x: Val) -> Result<([usize; 4], usize), Refusal> {
    let dims = <[usize; 4]>::try_from(n.to.dims(x)).map_err(|_| "an input of other than 4 axes")?;
    let block = n.size("blocksize")?.filter(|&b| b > 0).ok_or("attribute 'blocksize' is not 1 or more")?;
    Ok((dims, block))
}

/// Whether the attribute `mode` puts channels before the block's rows and columns.
fn channels_first(n: &Node) -> Result<bool, Refusal> {
    match n.string_or("mode", "DCR")? {
        "DCR" => Ok(false),
        "CRD" => Ok(true),
        other => Err(Refusal::from(format!("the mode '{other}'"))),
    }
}

/// DepthToSpace: blocks of channels become blocks of pixels.
pub(super) fn depth_to_space(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let x = n.required(0)?;
    let ([batch, channels, h, w], block) = blocks(n, x)?;
    let area = block.checked_mul(block).filter(|&area| channels % area == 0);
    let depth =
        channels / area.ok_or_else(|| Refusal::from(format!("{channels} channels in blocks of {block}")))?;
    let (shape, order) = if channels_first(n)? {
        (vec![batch, depth, block, block, h, w], [0, 1, 4, 2, 5, 3])
    } else {
        (vec![batch, block, block, depth, h, w], [0, 3, 4, 1, 5, 2])
    };
    let y = n.to.reshape(x, shape)?;
    let y = n.to.transpose(y, &order)?;
    Ok(vec![n.to.reshape(y, vec![batch, depth, h * block, w * block])?])
}

/// SpaceToDepth: blocks of pixels become blocks of channels; the order of these can be chosen from opset 28 on.
pub(super) fn space_to_depth(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let x = n.required(0)?;
    let ([batch, channels, h, w], block) = blocks(n, x)?;
    if h % block != 0 || w % block != 0 {
        return Err(Refusal::from(format!("{h}x{w} pixels in blocks of {block}")));
    }
    let (h, w) = (h / block, w / block);
    let order = if channels_first(n)? { [0, 1, 3, 5, 2, 4] } else { [0, 3, 5, 1, 2, 4] };
    let y = n.to.reshape(x, vec![batch, channels, h, block, w, block])?;
    let y = n.to.transpose(y, &order)?;
    let depth = channels.checked_mul(block).and_then(|n| n.checked_mul(block)).ok_or("too many channels")?;
    Ok(vec![n.to.reshape(y, vec![batch, depth, h, w])?])
}
