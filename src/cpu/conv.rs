//! Convolution over plain values: as a matrix product of filters and patches, or where groups are too small for that, tap by
//! tap. Most convolutions are computed over blocks instead (`blocked/conv.rs`, `blocked/depthwise.rs`).

use gemm::Parallelism;
use rayon::prelude::*;

use super::activation::apply;
use super::cores::{Spread, grain};
use super::gemm::{Matrix, parallelism, product};
use super::im2col::{BLOCK, Sizes, cell, on_input, three, unfold};
use super::{Kernel, vectorised};
use crate::error::Result;
use crate::ops::{Activation, Conv};
use crate::plan::Site;
use crate::window::Axis;

/// Columns that keep the matrix kernels' tiles whole.
const TILE: usize = 48;

pub(super) fn compile(op: &Conv, site: &Site) -> Result<Kernel> {
    let shape = site.input(0).map(|info| info.shape.clone()).unwrap_or_default();
    let axes = three(&op.axes(&shape).map_err(|e| site.error(e))?);
    let sizes = Sizes::new(axes, shape[0], op.groups, shape[1], site.output(0).shape[1]);
    let activation = op.activation;
    let direct = match site.options.variant {
        Some("conv_direct") => true,
        Some("conv_im2col") => false,
        _ => sizes.is_thin(),
    };
    if direct {
        return Ok(Kernel::new(move |inputs, outputs, _| {
            sizes.direct(&Operands::new(inputs, activation), outputs[0]);
        }));
    }
    let cut = Cut::new(&sizes, site.options.im2col_cap);
    Ok(Kernel {
        scratch: cut.workers * cut.scratch,
        run: Box::new(move |inputs, outputs, scratch| {
            sizes.products(&cut, &Operands::new(inputs, activation), outputs[0], scratch);
        }),
    })
}

/// How the matrix products of a convolution, one for each image and group, are shared out.
struct Cut {
    /// Whether the input already is the patch matrix.
    pointwise: bool,
    /// How many products run side by side. A single one has all cores to itself.
    workers: usize,
    /// Columns of the patch matrix that are unfolded, multiplied and finished at a time.
    columns: usize,
    /// Words of scratch of each worker, not 0.
    scratch: usize,
}

impl Cut {
    /// Patches of all workers together take `cap` bytes or less, or one column where a column alone is more.
    fn new(sizes: &Sizes, cap: usize) -> Self {
        let pointwise = sizes.axes.iter().all(|a| a.kernel == 1 && a.stride == 1 && a.before == 0);
        let pointwise = pointwise && sizes.input == sizes.output;
        let cap = if pointwise { usize::MAX } else { cap / size_of::<f32>() };
        let rows = (sizes.c_in * sizes.taps).max(1);
        let (tasks, threads) = (sizes.images * sizes.groups, rayon::current_num_threads());
        let busy = tasks >= 4 * threads || (tasks > 0 && tasks % threads == 0);
        let workers = if busy && cap / rows / threads >= TILE { threads } else { 1 };

        // A block of patches as large as the filters halves the filters' share of the memory traffic.
        let cores = if workers == 1 { threads } else { 1 };
        let block = (BLOCK * cores).max(sizes.c_out * rows).min(cap / workers);
        let most = (block / rows).clamp(1, sizes.output);
        let even = sizes.output.div_ceil(sizes.output.div_ceil(most));
        let columns = if most < TILE { even } else { even.next_multiple_of(TILE).min(most) };
        Cut { pointwise, workers, columns, scratch: if pointwise { 1 } else { rows * columns } }
    }
}

/// The inputs, absent ones empty, and what follows the sums.
struct Operands<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    residual: &'a [f32],
    activation: Option<Activation>,
}

impl<'a> Operands<'a> {
    fn new(inputs: &[&'a [f32]], activation: Option<Activation>) -> Self {
        let get = |i| inputs.get(i).copied().unwrap_or_default();
        Operands { x: get(0), weight: get(1), bias: get(2), residual: get(3), activation }
    }
}

impl Sizes {
    fn products(&self, cut: &Cut, operands: &Operands, out: &mut [f32], scratch: &mut [f32]) {
        let task = self.c_out * self.output;
        if out.is_empty() {
            return;
        }
        let share = (self.images * self.groups).div_ceil(cut.workers);
        let shares = out.par_chunks_mut(share * task).zip(scratch.par_chunks_mut(cut.scratch)).enumerate();
        let work = (share * task).saturating_mul(self.c_in * self.taps);
        shares.spread(grain(work)).for_each(|(i, (out, scratch))| {
            for (j, out) in out.chunks_mut(task).enumerate() {
                self.product(cut, i * share + j, operands, out, scratch);
            }
        });
    }

    /// The output channels of one group of one image; `task` counts over both.
    fn product(&self, cut: &Cut, task: usize, operands: &Operands, out: &mut [f32], scratch: &mut [f32]) {
        let rows = self.c_in * self.taps;
        let x = &operands.x[task * self.c_in * self.input..][..self.c_in * self.input];
        let filters = task % self.groups * self.c_out * rows;
        let weight = Matrix {
            data: &operands.weight[filters..][..self.c_out * rows],
            rows: self.c_out,
            columns: rows,
            row: rows,
            column: 1,
        };
        for start in (0..self.output).step_by(cut.columns) {
            let columns = start..self.output.min(start + cut.columns);
            let len = columns.len();
            let (data, row): (&[f32], usize) = if cut.pointwise {
                (x.get(start..).unwrap_or_default(), self.output)
            } else {
                let patches = &mut scratch[..rows * len];
                unfold(&self.axes, x, columns.clone(), patches);
                (patches, len)
            };
            let patches = Matrix { data, rows, columns: len, row, column: 1 };
            let threads =
                if cut.workers > 1 { Parallelism::None } else { parallelism(self.c_out, len, rows) };
            product(1.0, weight, patches, &mut out[start..], self.output, threads);
            out.par_chunks_mut(self.output).enumerate().spread(grain(len)).for_each(|(c, out)| {
                let channel = task * self.c_out + c;
                self.finish(channel, start, operands, &mut out[columns.clone()]);
            });
        }
    }

    /// Bias, residual and activation for the part of a channel that starts at cell `start`; `channel` counts over
    /// images too.
    fn finish(&self, channel: usize, start: usize, operands: &Operands, out: &mut [f32]) {
        let bias = operands.bias.get(channel % (self.groups * self.c_out));
        vectorised(|| {
            if let Some(bias) = bias {
                out.iter_mut().for_each(|out| *out += bias);
            }
            if !operands.residual.is_empty() {
                let residual = &operands.residual[channel * self.output + start..];
                out.iter_mut().zip(residual).for_each(|(out, residual)| *out += residual);
            }
        });
        apply(operands.activation, out);
    }

    /// Each output channel by itself: one line of the input after another, times a line of the filter.
    fn direct(&self, operands: &Operands, out: &mut [f32]) {
        let [depth, height, width] = &self.axes;
        let work = self.output.saturating_mul(self.c_in * self.taps);
        let planes = out.par_chunks_mut(self.output).enumerate();
        planes.spread(grain(work)).for_each(|(channel, out)| {
            let group = channel / self.c_out;
            let filter = channel % (self.groups * self.c_out) * self.c_in * self.taps;
            out.fill(0.0);
            vectorised(|| {
                for c in 0..self.c_in {
                    let x = &operands.x[(group * self.c_in + c) * self.input..][..self.input];
                    let weight = &operands.weight[filter + c * self.taps..][..self.taps];
                    for (line, out) in out.chunks_mut(width.output).enumerate() {
                        let (out_z, out_y) = (line / height.output, line % height.output);
                        for (taps, weight) in weight.chunks(width.kernel).enumerate() {
                            let z = cell(depth, out_z, taps / height.kernel);
                            let y = cell(height, out_y, taps % height.kernel);
                            if let (Some(z), Some(y)) = (z, y) {
                                let x = &x[(z * height.input + y) * width.input..][..width.input];
                                add_line(width, weight, x, out);
                            }
                        }
                    }
                }
            });
            self.finish(channel, 0, operands, out);
        });
    }
}

/// Adds the correlation of one line of the input with one line of a filter.
#[inline(always)]
fn add_line(axis: &Axis, weight: &[f32], x: &[f32], out: &mut [f32]) {
    // Between the border outputs all taps lie on the input: the first one does from `start` on, the last one to `end`.
    let (first, cell_at_start) = on_input(axis, 0);
    let (last, _) = on_input(axis, axis.kernel - 1);
    let (start, end) = if first.start < last.end { (first.start, last.end) } else { (0, 0) };
    for o in (0..start).chain(end..axis.output) {
        for (tap, weight) in weight.iter().enumerate() {
            if let Some(i) = cell(axis, o, tap) {
                out[o] += weight * x[i];
            }
        }
    }
    if start == end {
        return;
    }
    let (x, out, dilation) = (&x[cell_at_start..], &mut out[start..end], axis.dilation);
    match (weight, axis.stride) {
        (&[a, b, c], 1) => add_interior::<3, 1>([a, b, c], dilation, x, out),
        (&[a, b, c], 2) => add_interior::<3, 2>([a, b, c], dilation, x, out),
        (&[a, b, c, d, e], 1) => add_interior::<5, 1>([a, b, c, d, e], dilation, x, out),
        (&[a, b, c, d, e], 2) => add_interior::<5, 2>([a, b, c, d, e], dilation, x, out),
        (&[a, b, c, d, e, f, g], 1) => add_interior::<7, 1>([a, b, c, d, e, f, g], dilation, x, out),
        (_, stride) => {
            for (tap, &weight) in weight.iter().enumerate() {
                let x = x[tap * dilation..].iter().step_by(stride);
                out.iter_mut().zip(x).for_each(|(out, x)| *out += weight * x);
            }
        }
    }
}

/// As many taps at once as the filter has, so that the sum stays in a register; `x` starts under the first tap.
#[inline(always)]
fn add_interior<const TAPS: usize, const STRIDE: usize>(
    weight: [f32; TAPS],
    dilation: usize,
    x: &[f32],
    out: &mut [f32],
) {
    let span = (out.len() - 1) * STRIDE + 1;
    let x: [&[f32]; TAPS] = std::array::from_fn(|tap| &x[tap * dilation..][..span]);
    for (i, out) in out.iter_mut().enumerate() {
        let mut sum = *out;
        for tap in 0..TAPS {
            sum += weight[tap] * x[tap][i * STRIDE];
        }
        *out = sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::Window;

    #[test]
    fn patches_stay_below_the_cap() {
        let axes = three(&Window::new([3, 3]).padding(1).resolve(&[56, 57]).unwrap());
        for (images, c_in, cap) in
            [(1, 64, 32 << 20), (64, 64, 32 << 20), (1, 512, 100_000), (64, 512, 100_000), (3, 7, 300)]
        {
            let sizes = Sizes::new(axes, images, 1, c_in, 64);
            let cut = Cut::new(&sizes, cap);
            assert!(cut.columns > 0 && cut.workers > 0);
            assert!(
                4 * cut.workers * cut.scratch <= cap,
                "{} x {} words pass {cap}",
                cut.workers,
                cut.scratch
            );
        }
    }
}
