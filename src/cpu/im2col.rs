//! Patches as the columns of a matrix, whole or a range of columns at a time; and where a window's taps lie.

use std::ops::Range;

use rayon::prelude::*;

use super::Kernel;
use super::cores::{Spread, grain};
use crate::error::Result;
use crate::ops::Im2col;
use crate::plan::Site;
use crate::window::Axis;

/// Words of patches that stay in a core's second-level cache.
pub(super) const BLOCK: usize = 1 << 18;
/// Filters per group up to which unfolding patches costs more than it saves.
const FEW_FILTERS: usize = 4;

/// The sizes of a convolution over plain values, or of one that is its gradient; channels are those of one group.
pub(super) struct Sizes {
    pub axes: [Axis; 3],
    pub images: usize,
    pub groups: usize,
    pub c_in: usize,
    pub c_out: usize,
    pub taps: usize,
    /// Cells of one channel of the input.
    pub input: usize,
    /// Cells of one channel of the output.
    pub output: usize,
}

impl Sizes {
    /// From the channels and filters of all groups.
    pub fn new(axes: [Axis; 3], images: usize, groups: usize, channels: usize, filters: usize) -> Self {
        Sizes {
            axes,
            images,
            groups,
            c_in: channels / groups,
            c_out: filters / groups,
            taps: cells(&axes, |a| a.kernel),
            input: cells(&axes, |a| a.input),
            output: cells(&axes, |a| a.output),
        }
    }

    /// Whether groups are too small for matrix products.
    pub fn is_thin(&self) -> bool {
        self.groups > 1 && self.c_out <= FEW_FILTERS
    }
}

pub(super) fn compile(op: &Im2col, site: &Site) -> Result<Kernel> {
    let shape = site.input(0).map(|info| info.shape.clone()).unwrap_or_default();
    let axes = three(&op.axes(&shape).map_err(|e| site.error(e))?);
    let image = shape.iter().skip(1).product::<usize>();
    let positions = cells(&axes, |a| a.output);
    let matrix = (shape[1] * cells(&axes, |a| a.kernel) * positions).max(1);
    Ok(Kernel::new(move |inputs, outputs, _| {
        outputs[0].par_chunks_mut(matrix).enumerate().spread(grain(matrix)).for_each(|(i, out)| {
            unfold(&axes, &inputs[0][i * image..][..image], 0..positions, out);
        });
    }))
}

/// Depth, height and width: a window's axes behind as many of one cell as make them three.
pub(super) fn three(axes: &[Axis]) -> [Axis; 3] {
    let unit = Axis { input: 1, output: 1, kernel: 1, stride: 1, dilation: 1, before: 0, after: 0 };
    let mut all = [unit; 3];
    for (to, from) in all.iter_mut().rev().zip(axes.iter().rev()) {
        *to = *from;
    }
    all
}

/// The product of one size of each axis.
pub(super) fn cells(axes: &[Axis; 3], size: impl Fn(&Axis) -> usize) -> usize {
    axes.iter().map(size).product()
}

/// The input cell under a tap of an output, unless that is padding.
pub(super) fn cell(axis: &Axis, output: usize, tap: usize) -> Option<usize> {
    (output * axis.stride + tap * axis.dilation).checked_sub(axis.before).filter(|&cell| cell < axis.input)
}

/// The outputs whose tap `tap` lies on the input, and the input cell under the first of them.
pub(super) fn on_input(axis: &Axis, tap: usize) -> (Range<usize>, usize) {
    let offset = tap * axis.dilation;
    let reaching =
        |cell: usize| (cell + axis.before).saturating_sub(offset).div_ceil(axis.stride).min(axis.output);
    let (start, end) = (reaching(0), reaching(axis.input));
    if start < end { (start..end, start * axis.stride + offset - axis.before) } else { (start..start, 0) }
}

/// Writes `columns` of the patch matrix of one image `[c, spatial...]`: row `(c, tap)`, column output position.
///
/// `out` holds a whole number of rows, for as many channels as `x` has. `columns` is not empty.
pub(super) fn unfold(axes: &[Axis; 3], x: &[f32], columns: Range<usize>, out: &mut [f32]) {
    let [depth, height, width] = axes;
    let plane = cells(axes, |a| a.input);
    let rows = out.par_chunks_mut(columns.len()).enumerate();
    rows.spread(grain(columns.len())).for_each(|(row, mut out)| {
        let (row, tap_x) = (row / width.kernel, row % width.kernel);
        let (row, tap_y) = (row / height.kernel, row % height.kernel);
        let (channel, tap_z) = (row / depth.kernel, row % depth.kernel);
        let x = &x[channel * plane..][..plane];
        let (reads, first) = on_input(width, tap_x);
        let mut at = columns.start;
        while !out.is_empty() {
            // The part of one line of output positions that lies within the columns.
            let (line, from) = (at / width.output, at % width.output);
            let to = width.output.min(from + out.len());
            let (part, rest) = out.split_at_mut(to - from);
            let z = cell(depth, line / height.output, tap_z);
            let y = cell(height, line % height.output, tap_y);
            if let (Some(z), Some(y)) = (z, y) {
                let x = &x[(z * height.input + y) * width.input..][..width.input];
                let start = reads.start.clamp(from, to);
                let end = reads.end.clamp(start, to);
                part[..start - from].fill(0.0);
                part[end - from..].fill(0.0);
                if start < end {
                    let x = &x[first + (start - reads.start) * width.stride..];
                    gather(x, width.stride, &mut part[start - from..end - from]);
                }
            } else {
                part.fill(0.0);
            }
            at += to - from;
            out = rest;
        }
    });
}

/// Every `stride`-th element of `x`.
fn gather(x: &[f32], stride: usize, out: &mut [f32]) {
    match stride {
        1 => out.copy_from_slice(&x[..out.len()]),
        2 => {
            // Two of each pair but of the last, whose second element may be past the end.
            let (last, most) = match out.split_last_mut() {
                Some(parts) => parts,
                None => return,
            };
            *last = x[2 * most.len()];
            let (pairs, _) = x.as_chunks::<2>();
            most.iter_mut().zip(pairs).for_each(|(out, pair)| *out = pair[0]);
        }
        _ => out.iter_mut().zip(x.iter().step_by(stride)).for_each(|(out, x)| *out = *x),
    }
}
