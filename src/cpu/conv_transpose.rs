//! Transposed convolution: the product of transposed filters and the input has a row for each tap of each output channel,
//! and each row is added to the output where its tap falls.

use gemm::Parallelism;
use rayon::prelude::*;

use super::activation::apply;
use super::cores::{Spread, grain};
use super::gemm::{Matrix, parallelism, product};
use super::im2col::{BLOCK, Sizes, cell, on_input, three};
use super::{Kernel, vectorised};
use crate::error::Result;
use crate::ops::{Activation, ConvTranspose};
use crate::plan::Site;
use crate::window::Axis;

pub(super) fn compile(op: &ConvTranspose, site: &Site) -> Result<Kernel> {
    let shape = site.input(0).map(|info| info.shape.clone()).unwrap_or_default();
    let axes = three(&op.axes(&shape).map_err(|e| site.error(e))?);
    let sizes = Sizes {
        // Seen from the output, a tap of an input is what a tap of an output is in a convolution.
        axes: axes.map(|axis| Axis { input: axis.output, output: axis.input, ..axis }),
        ..Sizes::new(axes, shape[0], op.groups, shape[1], site.output(0).shape[1])
    };
    let activation = op.activation;
    let (tasks, threads) = (sizes.images * sizes.groups, rayon::current_num_threads());
    let workers = if tasks >= threads { threads } else { 1 };
    let cap = site.options.im2col_cap / size_of::<f32>() / workers;
    let cap = if workers > 1 { cap.min(BLOCK) } else { cap };
    let channels = (cap / (sizes.taps * sizes.input)).clamp(1, sizes.c_out.max(1));
    let scratch = channels * sizes.taps * sizes.input;
    Ok(Kernel {
        scratch: workers * scratch,
        run: Box::new(move |inputs, outputs, all| {
            let (x, weight, bias) = (inputs[0], inputs[1], inputs.get(2).copied().unwrap_or_default());
            let (out, task) = (&mut *outputs[0], sizes.c_out * sizes.output);
            if out.is_empty() {
                return;
            }
            let share = tasks.div_ceil(workers);
            let shares = out.par_chunks_mut(share * task).zip(all.par_chunks_mut(scratch)).enumerate();
            shares.for_each(|(i, (out, rows))| {
                for (j, out) in out.chunks_mut(task).enumerate() {
                    sizes.task(i * share + j, channels, workers == 1, x, weight, bias, activation, out, rows);
                }
            });
        }),
    })
}

impl Sizes {
    /// The output channels of one group of one image, some at a time; `task` counts over both.
    fn task(
        &self,
        task: usize,
        channels: usize,
        alone: bool,
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
        activation: Option<Activation>,
        out: &mut [f32],
        rows: &mut [f32],
    ) {
        let group = task % self.groups;
        let x = &x[task * self.c_in * self.input..][..self.c_in * self.input];
        let filter = self.c_out * self.taps;
        let weight = &weight[group * self.c_in * filter..][..self.c_in * filter];
        for (block, out) in out.chunks_mut(channels * self.output).enumerate() {
            let (first, m) = (block * channels * self.taps, out.len() / self.output * self.taps);
            let filters = weight.get(first..).unwrap_or_default();
            let a = Matrix { data: filters, rows: m, columns: self.c_in, row: 1, column: filter };
            let b = Matrix { data: x, rows: self.c_in, columns: self.input, row: self.input, column: 1 };
            let threads = if alone { parallelism(m, self.input, self.c_in) } else { Parallelism::None };
            product(1.0, a, b, rows, self.input, threads);
            let planes = out.par_chunks_mut(self.output).zip(rows.par_chunks(self.taps * self.input));
            planes.enumerate().spread(grain(self.taps * self.input)).for_each(|(c, (out, rows))| {
                let channel = group * self.c_out + block * channels + c;
                vectorised(|| {
                    out.fill(bias.get(channel).copied().unwrap_or(0.0));
                    rows.chunks(self.input).enumerate().for_each(|(tap, row)| self.add(tap, row, out));
                });
                apply(activation, out);
            });
        }
    }

    /// Adds the row of a tap to a plane of the output, line by line.
    #[inline(always)]
    fn add(&self, tap: usize, row: &[f32], out: &mut [f32]) {
        let [depth, height, width] = &self.axes;
        let (taps, tap_x) = (tap / width.kernel, tap % width.kernel);
        let (tap_z, tap_y) = (taps / height.kernel, taps % height.kernel);
        let (reads, first) = on_input(width, tap_x);
        for (line, row) in row.chunks(width.output).enumerate() {
            let z = cell(depth, line / height.output, tap_z);
            let y = cell(height, line % height.output, tap_y);
            let (Some(z), Some(y)) = (z, y) else { continue };
            let out = &mut out[(z * height.input + y) * width.input..][..width.input];
            let (out, row) = (&mut out[first..], &row[reads.clone()]);
            match width.stride {
                1 => out.iter_mut().zip(row).for_each(|(out, x)| *out += x),
                stride => out.iter_mut().step_by(stride).zip(row).for_each(|(out, x)| *out += x),
            }
        }
    }
}
