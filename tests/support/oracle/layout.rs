//! Operators that move elements. They take any element type.

use super::{Exact, broadcast_position, count, per_index, position, with_axis};

/// Joins tensors along `axis`.
pub fn concat<T: Copy>(parts: &[(&[T], &[usize])], axis: usize) -> Exact<T> {
    let mut shape = parts[0].1.to_vec();
    shape[axis] = parts.iter().map(|(_, part)| part[axis]).sum();
    let value = per_index(&shape, |index| {
        let mut i = index[axis];
        for (values, part) in parts {
            if i < part[axis] {
                return values[position(&with_axis(index, axis, i), part)];
            }
            i -= part[axis];
        }
        unreachable!("index {index:?} lies in one of the parts")
    });
    Exact { shape, value }
}

/// Elements `start`, `start + step`, … up to but not including `end`, per axis as numpy's `x[start:end:step]`:
/// negative bounds count from the end, bounds past the ends are clamped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub axis: usize,
    pub start: i64,
    pub end: i64,
    pub step: i64,
}

pub fn slice<T: Copy>(x: &[T], shape: &[usize], ranges: &[Range]) -> Exact<T> {
    let mut chosen: Vec<Vec<usize>> = shape.iter().map(|&n| (0..n).collect()).collect();
    for range in ranges {
        let n = shape[range.axis] as i64;
        let from_front = |bound: i64| if bound < 0 { bound.saturating_add(n) } else { bound };
        let (start, end) = (from_front(range.start), from_front(range.end));
        let indices: Vec<i64> = if range.step > 0 {
            let (start, end) = (start.clamp(0, n), end.clamp(0, n));
            (start..end).filter(|i| (i - start) % range.step == 0).collect()
        } else {
            assert!(range.step < 0, "a step of 0");
            let (start, end) = (start.clamp(-1, n - 1), end.clamp(-1, n - 1));
            (end + 1..=start).rev().filter(|i| (start - i) % -range.step == 0).collect()
        };
        chosen[range.axis] = indices.into_iter().map(|i| i as usize).collect();
    }
    let out: Vec<usize> = chosen.iter().map(Vec::len).collect();
    let value = per_index(&out, |index| {
        let from: Vec<usize> = index.iter().zip(&chosen).map(|(&i, axis)| axis[i]).collect();
        x[position(&from, shape)]
    });
    Exact { shape: out, value }
}

/// Output axis `i` is input axis `order[i]`.
pub fn transpose<T: Copy>(x: &[T], shape: &[usize], order: &[usize]) -> Exact<T> {
    let out: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
    let value = per_index(&out, |index| {
        let mut from = vec![0; shape.len()];
        for (i, &axis) in order.iter().enumerate() {
            from[axis] = index[i];
        }
        x[position(&from, shape)]
    });
    Exact { shape: out, value }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pad<T> {
    Constant(T),
    /// Mirrored about the edge element, which is not repeated.
    Reflect,
    /// The edge element repeated.
    Edge,
    /// Periodic.
    Wrap,
}

/// Adds elements before and after each axis; negative pads remove them.
pub fn pad<T: Copy>(x: &[T], shape: &[usize], pads: &[(i64, i64)], mode: Pad<T>) -> Exact<T> {
    let out: Vec<usize> = shape
        .iter()
        .zip(pads)
        .map(|(&n, &(before, after))| usize::try_from(n as i64 + before + after).expect("pads leave a size"))
        .collect();
    let value = per_index(&out, |index| {
        let mut from = Vec::new();
        for (axis, &n) in shape.iter().enumerate() {
            let (i, n) = (index[axis] as i64 - pads[axis].0, n as i64);
            let inside = (0..n).contains(&i);
            from.push(match mode {
                Pad::Constant(fill) if !inside => return fill,
                Pad::Constant(_) => i,
                Pad::Edge => i.clamp(0, n - 1),
                Pad::Wrap => i.rem_euclid(n),
                Pad::Reflect if n == 1 => 0,
                Pad::Reflect => {
                    let folded = i.rem_euclid(2 * (n - 1));
                    folded.min(2 * (n - 1) - folded)
                }
            } as usize);
        }
        x[position(&from, shape)]
    });
    Exact { shape: out, value }
}

/// Broadcasts to `to`, a shape that contains the input's broadcast.
pub fn expand<T: Copy>(x: &[T], shape: &[usize], to: &[usize]) -> Exact<T> {
    let out = super::broadcast(shape, to);
    let value = per_index(&out, |index| x[broadcast_position(index, shape)]);
    Exact { shape: out, value }
}

/// Repeats the tensor `repeats[axis]` times along each axis.
pub fn tile<T: Copy>(x: &[T], shape: &[usize], repeats: &[usize]) -> Exact<T> {
    let out: Vec<usize> = shape.iter().zip(repeats).map(|(&n, &r)| n * r).collect();
    let value = per_index(&out, |index| {
        let from: Vec<usize> = index.iter().zip(shape).map(|(&i, &n)| i % n).collect();
        x[position(&from, shape)]
    });
    Exact { shape: out, value }
}

/// numpy's `take`: `axis` is replaced by the axes of `indices`; negative indices count from the end.
pub fn gather<T: Copy>(
    x: &[T],
    shape: &[usize],
    indices: &[i64],
    indices_shape: &[usize],
    axis: usize,
) -> Exact<T> {
    assert_eq!(indices.len(), count(indices_shape));
    let out = [&shape[..axis], indices_shape, &shape[axis + 1..]].concat();
    let rank = indices_shape.len();
    let value = per_index(&out, |index| {
        let (before, rest) = index.split_at(axis);
        let (middle, after) = rest.split_at(rank);
        let i = indices[position(middle, indices_shape)];
        let n = shape[axis] as i64;
        assert!((-n..n).contains(&i), "gather index {i} of {n}");
        x[position(&[before, &[i.rem_euclid(n) as usize], after].concat(), shape)]
    });
    Exact { shape: out, value }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DepthOrder {
    /// Depth, column, row: the channel is `(row of block, column of block, output channel)`.
    Dcr,
    /// Column, row, depth: the channel is `(output channel, row of block, column of block)`.
    Crd,
}

/// N C·b² H W to N C H·b W·b.
pub fn depth_to_space<T: Copy>(x: &[T], shape: &[usize], block: usize, order: DepthOrder) -> Exact<T> {
    let depth = shape[1] / (block * block);
    let out = vec![shape[0], depth, shape[2] * block, shape[3] * block];
    let value = per_index(&out, |index| {
        let (c, row, column) = (index[1], index[2] % block, index[3] % block);
        let channel = match order {
            DepthOrder::Dcr => (row * block + column) * depth + c,
            DepthOrder::Crd => (c * block + row) * block + column,
        };
        x[position(&[index[0], channel, index[2] / block, index[3] / block], shape)]
    });
    Exact { shape: out, value }
}

/// N C H W to N C·b² H/b W/b, the channel being `(row of block, column of block, input channel)`.
pub fn space_to_depth<T: Copy>(x: &[T], shape: &[usize], block: usize) -> Exact<T> {
    let out = vec![shape[0], shape[1] * block * block, shape[2] / block, shape[3] / block];
    let value = per_index(&out, |index| {
        let (c, cell) = (index[1] % shape[1], index[1] / shape[1]);
        let (row, column) = (index[2] * block + cell / block, index[3] * block + cell % block);
        x[position(&[index[0], c, row, column], shape)]
    });
    Exact { shape: out, value }
}
