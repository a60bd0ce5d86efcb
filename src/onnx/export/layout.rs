//! What moves elements or picks them: reshapes, transpositions, slices, pads, joins, resampling.

use super::arithmetic::expand;
use super::{Layer, int, integer, integers, ints, text};
use crate::ops::rearrange::{AxisMap, Border};
use crate::ops::{Concat, Dropout, Gather, OpError, Rearrange, Resample, Reshape};
use crate::tensor::{DType, Tensor};

pub(super) fn concat(l: &mut Layer, op: &Concat) -> String {
    let inputs: Vec<_> = (0..l.node.inputs.len()).map(|i| l.input(i)).collect();
    let inputs: Vec<_> = inputs.iter().map(String::as_str).collect();
    l.emit("Concat", &inputs, vec![int("axis", integer(op.axis))])
}

pub(super) fn reshape(l: &mut Layer, op: &Reshape) -> String {
    let x = l.input(0);
    match op {
        Reshape::Flatten { axis } => l.emit("Flatten", &[&x], vec![int("axis", integer(*axis))]),
        Reshape::To(shape) => l.reshape(&x, shape),
    }
}

pub(super) fn select(l: &mut Layer) -> String {
    let (condition, a, b) = (l.input(0), l.input(1), l.input(2));
    l.emit("Where", &[&condition, &a, &b], vec![])
}

/// Dropout as it is at inference; with a step it is part of training.
pub(super) fn dropout(l: &mut Layer, op: &Dropout) -> Result<String, OpError> {
    if l.info(1).is_some() {
        return Err(OpError::TrainingOnly);
    }
    let (x, rate) = (l.input(0), l.scalar("rate", op.rate));
    Ok(l.emit("Dropout", &[&x, &rate], vec![]))
}

/// Gather. In ONNX an index outside the axis is an error; one that is known picks a 0 that is appended to the axis.
pub(super) fn gather(l: &mut Layer, op: &Gather) -> Result<String, OpError> {
    let (x, indices) = (l.input(0), l.input(1));
    let size = l.shape(0)[op.axis];
    let last = integer(size);
    let outside = |index: i64| index < -last || index >= last;
    let axis = int("axis", integer(op.axis));
    let known = l.constant(1).map(|t| t.values::<i64>()).transpose()?;
    let Some(known) = known.filter(|known| known.iter().any(|&i| outside(i))) else {
        return Ok(l.emit("Gather", &[&x, &indices], vec![axis]));
    };
    let places = known.iter().map(|&i| if outside(i) { last } else { i.rem_euclid(last.max(1)) }).collect();
    let places = Tensor::new(l.shape(1).to_vec(), places)?;
    let places = l.tensor("indices", places);
    let x = append(l, &x, op.axis, l.shape(0).len(), Border::Constant(0.0));
    Ok(l.emit("Gather", &[&x, &places], vec![axis]))
}

/// One element more along an axis, with the border's value.
fn append(l: &mut Layer, x: &str, axis: usize, rank: usize, border: Border) -> String {
    let mut pads = vec![(0, 0); rank];
    pads[axis] = (0, 1);
    let value = match border {
        Border::Constant(value) => value,
        _ => 0.0,
    };
    pad(l, x, &pads, Border::Constant(value))
}

/// Pad of the layer's first input or what was made of it, by `(before, after)` for each axis.
pub(super) fn pad(l: &mut Layer, x: &str, pads: &[(usize, usize)], border: Border) -> String {
    let (before, after) = (pads.iter().map(|p| integer(p.0)), pads.iter().map(|p| integer(p.1)));
    let pads = l.list("pads", before.chain(after).collect());
    let mode = match border {
        Border::Constant(value) => {
            let value = if value.to_bits() == 0 { String::new() } else { fill(l, value) };
            return l.emit("Pad", &[x, &pads, &value], vec![]);
        }
        Border::Edge => "edge",
        Border::Reflect => "reflect",
        Border::Wrap => "wrap",
    };
    l.emit("Pad", &[x, &pads], vec![text("mode", mode)])
}

/// A border's value in the type of the layer's first input, which outside f32 has its bits.
fn fill(l: &mut Layer, value: f32) -> String {
    let bits = value.to_bits();
    let tensor = match l.info(0).map(|info| info.dtype) {
        Some(DType::I64) => Tensor::scalar(i64::from(bits.cast_signed())),
        Some(DType::Bool) => Tensor::scalar(bits != 0),
        _ => Tensor::scalar(value),
    };
    l.tensor("value", tensor)
}

/// A part of an axis, in Slice's terms.
pub(super) struct Part {
    pub axis: usize,
    pub start: i64,
    pub end: i64,
    pub step: i64,
}

pub(super) fn slice(l: &mut Layer, x: &str, parts: &[Part]) -> String {
    let mut list = |what: &str, of: fn(&Part) -> i64| l.list(what, parts.iter().map(of).collect());
    let starts = list("starts", |p| p.start);
    let ends = list("ends", |p| p.end);
    let axes = list("axes", |p| integer(p.axis));
    let steps = list("steps", |p| p.step);
    l.emit("Slice", &[x, &starts, &ends, &axes, &steps], vec![])
}

/// How one axis of a [`Rearrange`] is written.
enum Change {
    Nothing,
    Slice(Part),
    Pad(usize, usize),
    Tile(usize),
    /// Each position's place, the axis' size for what lies outside.
    Table(Vec<i64>),
}

impl Change {
    fn of(axis: usize, size: usize, map: &AxisMap, border: Border) -> Self {
        let (last, count) = (integer(size) - 1, integer(map.size));
        let places = || (0..count).map(|i| map.start.saturating_add(map.step.saturating_mul(i)));
        if map.start == 0 && map.step == 1 && map.size == size {
            return Change::Nothing;
        }
        if map.size == 0 {
            return Change::Slice(Part { axis, start: 0, end: 0, step: 1 });
        }
        let inside = |place: i64| (0..=last).contains(&place);
        let end = map.start.saturating_add(map.step.saturating_mul(count));
        if map.step != 0 && inside(map.start) && inside(end.saturating_sub(map.step)) {
            // Before the first element an end would count from the last.
            let end = if end < 0 { -last - 2 } else { end };
            return Change::Slice(Part { axis, start: map.start, end, step: map.step });
        }
        let (before, after) =
            (map.start.checked_neg(), map.start.saturating_add(count).checked_sub(last + 1));
        let pads =
            (before.and_then(|n| usize::try_from(n).ok()), after.and_then(|n| usize::try_from(n).ok()));
        if let (1, (Some(before), Some(after))) = (map.step, pads) {
            // How often a border may come round, runtimes do not agree on.
            let most = match border {
                Border::Constant(_) => usize::MAX,
                Border::Edge if size > 0 => usize::MAX,
                Border::Edge => 0,
                Border::Reflect => size.saturating_sub(1),
                Border::Wrap => size,
            };
            if before == 0 && border == Border::Wrap && size > 0 && map.size.is_multiple_of(size) {
                return Change::Tile(map.size / size);
            }
            if before <= most && after <= most {
                return Change::Pad(before, after);
            }
        }
        let place = |place: i64| border.inside(place, size).map_or(last + 1, integer);
        Change::Table(places().map(place).collect())
    }
}

/// Slice, Pad, Tile and Gather on the input's axes, then Transpose, Reshape and Expand to the output's.
pub(super) fn rearrange(l: &mut Layer, op: &Rearrange) -> Result<String, OpError> {
    let mut x = l.input(0);
    let mut shape = l.shape(0).to_vec();
    let rank = shape.len();
    let named: Vec<&AxisMap> = op.axes.iter().filter(|map| map.input_axis.is_some()).collect();

    let first_of = |axis: usize| Part { axis, start: 0, end: 1, step: 1 };
    let (mut parts, mut pads, mut repeats, mut tables) = (vec![], vec![(0, 0); rank], vec![1; rank], vec![]);
    for (axis, &size) in l.shape(0).iter().enumerate() {
        match named.iter().find(|map| map.input_axis == Some(axis)) {
            None if size == 1 => {}
            None => parts.push(first_of(axis)),
            Some(map) => {
                match Change::of(axis, size, map, op.border) {
                    Change::Nothing => {}
                    Change::Slice(part) => parts.push(part),
                    Change::Pad(before, after) => pads[axis] = (before, after),
                    Change::Tile(times) => repeats[axis] = integer(times),
                    Change::Table(places) => tables.push((axis, size, places)),
                }
                shape[axis] = map.size;
                continue;
            }
        }
        shape[axis] = 1;
    }
    if !parts.is_empty() {
        x = slice(l, &x, &parts);
    }
    if pads.iter().any(|&p| p != (0, 0)) {
        x = pad(l, &x, &pads, op.border);
    }
    if repeats.iter().any(|&n| n != 1) {
        let repeats = l.list("repeats", repeats);
        x = l.emit("Tile", &[&x, &repeats], vec![]);
    }
    for (axis, size, places) in tables {
        if places.contains(&integer(size)) {
            x = append(l, &x, axis, rank, op.border);
        }
        let places = l.list("indices", places);
        x = l.emit("Gather", &[&x, &places], vec![int("axis", integer(axis))]);
    }

    // Axes that are read at one place are one long now and go to the front.
    let unnamed = (0..rank).filter(|&axis| named.iter().all(|map| map.input_axis != Some(axis)));
    let order: Vec<usize> = unnamed.chain(named.iter().filter_map(|map| map.input_axis)).collect();
    if !order.is_sorted() {
        x = l.emit("Transpose", &[&x], vec![ints("perm", integers(&order))]);
    }
    let moved: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
    let kept: Vec<usize> =
        op.axes.iter().map(|map| if map.input_axis.is_some() { map.size } else { 1 }).collect();
    if moved != kept {
        x = l.reshape(&x, &kept);
    }
    let whole: Vec<usize> = op.axes.iter().map(|map| map.size).collect();
    if kept != whole {
        x = expand(l, &x, &whole);
    }
    Ok(x)
}

/// Gather of all taps, Mul by their weights and ReduceSum; where every position copies one element, Gather alone.
pub(super) fn resample(l: &mut Layer, op: &Resample) -> Result<String, OpError> {
    let x = l.input(0);
    let after = l.shape(0).len() - op.axis - 1;
    let taps = op.taps;
    let positions = op.indices.len() / taps;
    // A tap of weight 0 reads what another tap of its position reads, so that it brings in nothing of its own.
    let rows = op.indices.chunks(taps).zip(op.weights.chunks(taps));
    let places = rows.flat_map(|(indices, weights)| {
        let real = weights.iter().position(|&w| w != 0.0).and_then(|t| indices.get(t)).copied();
        indices
            .iter()
            .zip(weights)
            .map(move |(&i, &w)| if w == 0.0 { integer(real.unwrap_or(i)) } else { integer(i) })
    });
    let places: Vec<i64> = places.collect();
    let axis = integer(op.axis);
    if taps == 1 && op.weights.iter().all(|&w| w == 1.0) {
        let places = l.list("indices", places);
        return Ok(l.emit("Gather", &[&x, &places], vec![int("axis", axis)]));
    }
    let places = l.tensor("indices", Tensor::new([positions, taps], places)?);
    let mut shape = vec![positions, taps];
    shape.resize(2 + after, 1);
    let weights = l.tensor("weights", Tensor::new(shape, op.weights.clone())?);
    let read = l.emit("Gather", &[&x, &places], vec![int("axis", axis)]);
    let weighted = l.emit("Mul", &[&read, &weights], vec![]);
    let axes = l.list("axes", vec![axis + 1]);
    Ok(l.emit("ReduceSum", &[&weighted, &axes], vec![int("keepdims", 0)]))
}
