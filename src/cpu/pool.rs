//! Pooling, a plane at a time: each tap of the window is laid over a whole line of the output.

use rayon::prelude::*;

use super::binary::larger;
use super::cores::{Spread, grain};
use super::im2col::{cell, cells, on_input, three};
use super::{Kernel, vectorised};
use crate::error::Result;
use crate::ops::pool::IndexOrder;
use crate::ops::{Pool, PoolKind};
use crate::plan::Site;
use crate::window::{Axis, average_divisor};

/// Pools one plane of the input into one of the output.
type Plane = Box<dyn Fn(&[f32], &mut [f32]) + Send + Sync>;

pub(super) fn compile(op: &Pool, site: &Site) -> Result<Kernel> {
    let shape = site.input(0).map(|info| info.shape.clone()).unwrap_or_default();
    let axes = three(&op.axes(&shape).map_err(|e| site.error(e))?);
    let (input, output) = (cells(&axes, |a| a.input), cells(&axes, |a| a.output));
    let tasks = grain(output.saturating_mul(cells(&axes, |a| a.kernel)));

    if let Some(order) = op.indices {
        return Ok(Kernel::new(move |inputs, outputs, _| {
            let [out, indices] = outputs else { return };
            let planes = out.par_chunks_mut(output).zip(indices.par_chunks_mut(output));
            let planes = planes.zip(inputs[0].par_chunks(input)).enumerate();
            planes.spread(tasks).for_each(|(i, ((out, indices), x))| {
                max_with_indices(&axes, order, i * input, x, out, indices);
            });
        }));
    }

    let plane: Plane = match op.kind {
        PoolKind::Max => {
            Box::new(move |x, out| fold(&axes, x, out, f32::NEG_INFINITY, |max, x| larger(x, max)))
        }
        PoolKind::Average { count_include_pad } => {
            let divisors = divisors(&axes, count_include_pad);
            Box::new(move |x, out| {
                fold(&axes, x, out, 0.0, |sum, x| sum + x);
                divide(&axes, &divisors, out);
            })
        }
        PoolKind::Lp { p: 1.0 } => Box::new(move |x, out| fold(&axes, x, out, 0.0, |sum, x| sum + x.abs())),
        PoolKind::Lp { p: 2.0 } => Box::new(move |x, out| {
            fold(&axes, x, out, 0.0, |sum, x| sum + x * x);
            out.iter_mut().for_each(|out| *out = out.sqrt());
        }),
        PoolKind::Lp { p } => Box::new(move |x, out| {
            fold(&axes, x, out, 0.0, |sum, x| sum + x.abs().powf(p));
            out.iter_mut().for_each(|out| *out = out.powf(p.recip()));
        }),
    };
    Ok(Kernel::new(move |inputs, outputs, _| {
        let planes = outputs[0].par_chunks_mut(output).zip(inputs[0].par_chunks(input));
        planes.spread(tasks).for_each(|(out, x)| vectorised(|| plane(x, out)));
    }))
}

/// Folds the real elements of each window, in the window's order; of none, `init` remains.
#[inline(always)]
fn fold(axes: &[Axis; 3], x: &[f32], out: &mut [f32], init: f32, step: impl Fn(f32, f32) -> f32) {
    let [depth, height, width] = axes;
    out.fill(init);
    for (line, out) in out.chunks_mut(width.output).enumerate() {
        for tap_z in 0..depth.kernel {
            let Some(z) = cell(depth, line / height.output, tap_z) else { continue };
            for tap_y in 0..height.kernel {
                let Some(y) = cell(height, line % height.output, tap_y) else { continue };
                let x = &x[(z * height.input + y) * width.input..][..width.input];
                for tap_x in 0..width.kernel {
                    let (reads, first) = on_input(width, tap_x);
                    let (x, out) = (&x[first..], &mut out[reads]);
                    match width.stride {
                        1 => out.iter_mut().zip(x).for_each(|(out, &x)| *out = step(*out, x)),
                        // Pairs of which the first is read: a form that becomes vector code.
                        2 => {
                            let (pairs, _) = x.as_chunks::<2>();
                            let (last, front) =
                                out.split_last_mut().map_or((None, &mut [][..]), |(l, f)| (Some(l), f));
                            front.iter_mut().zip(pairs).for_each(|(out, &[x, _])| *out = step(*out, x));
                            if let Some(last) = last {
                                *last = step(*last, x[2 * front.len()]);
                            }
                        }
                        stride => {
                            let x = x.iter().step_by(stride);
                            out.iter_mut().zip(x).for_each(|(out, &x)| *out = step(*out, x));
                        }
                    }
                }
            }
        }
    }
}

/// The divisor of an average, factor by factor: for each axis, that of each output along it.
pub(super) fn divisors(axes: &[Axis; 3], count_include_pad: bool) -> [Vec<usize>; 3] {
    let along = |axis: &Axis| {
        (0..axis.output).map(|i| average_divisor(&[*axis], &[i], count_include_pad)).collect::<Vec<_>>()
    };
    axes.each_ref().map(along)
}

/// Turns sums into averages; a window without elements has the sum 0, and keeps it.
pub(super) fn divide(axes: &[Axis; 3], divisors: &[Vec<usize>; 3], out: &mut [f32]) {
    let [_, height, width] = axes;
    let [along_z, along_y, along_x] = divisors;
    for (line, out) in out.chunks_mut(width.output).enumerate() {
        let lines = along_z[line / height.output].saturating_mul(along_y[line % height.output]);
        for (out, x) in out.iter_mut().zip(along_x) {
            *out /= lines.saturating_mul(*x).max(1) as f32;
        }
    }
}

/// The maximum of each window and where it is, counted from `base`, the first element of the plane; of several equal
/// ones the first. A window without elements yields minus infinity and the position -1.
fn max_with_indices(
    axes: &[Axis; 3],
    order: IndexOrder,
    base: usize,
    x: &[f32],
    out: &mut [f32],
    indices: &mut [f32],
) {
    let [depth, height, width] = axes;
    for (at, (out, index)) in out.iter_mut().zip(indices).enumerate() {
        let (line, out_x) = (at / width.output, at % width.output);
        let (out_z, out_y) = (line / height.output, line % height.output);
        let (mut max, mut position) = (f32::NEG_INFINITY, None);
        for z in (0..depth.kernel).filter_map(|tap| cell(depth, out_z, tap)) {
            for y in (0..height.kernel).filter_map(|tap| cell(height, out_y, tap)) {
                for x_at in (0..width.kernel).filter_map(|tap| cell(width, out_x, tap)) {
                    let value = x[(z * height.input + y) * width.input + x_at];
                    if position.is_none() || value > max || (value.is_nan() && !max.is_nan()) {
                        max = value;
                        position = Some(match order {
                            IndexOrder::RowMajor => (z * height.input + y) * width.input + x_at,
                            IndexOrder::ColumnMajor => (x_at * height.input + y) * depth.input + z,
                        });
                    }
                }
            }
        }
        *out = max;
        let position = position.map_or(-1, |position| (base + position) as i32);
        *index = f32::from_bits(position.cast_unsigned());
    }
}
