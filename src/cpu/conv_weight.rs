//! The gradient of a convolution to its filters: products of the outputs' gradients and patches, added up image by image;
//! or where groups are too small for that, tap by tap.

use gemm::Parallelism;
use rayon::prelude::*;

use super::cores::{GRAIN, Spread, grain};
use super::gemm::{Matrix, add_product, parallelism};
use super::im2col::{BLOCK, Sizes, cell, on_input, three, unfold};
use super::{Kernel, vectorised};
use crate::error::Result;
use crate::ops::ConvWeight;
use crate::plan::Site;

/// Shares of the images that are summed side by side where weights are few. A constant, so that sums do not depend on the
/// number of cores.
const SHARES: usize = 8;
/// Weights up to which they are.
const FEW_WEIGHTS: usize = 1 << 16;

pub(super) fn compile(op: &ConvWeight, site: &Site) -> Result<Kernel> {
    let shape = site.input(0).map(|info| info.shape.clone()).unwrap_or_default();
    let axes = three(&op.axes(&shape).map_err(|e| site.error(e))?);
    let sizes = Sizes::new(axes, shape[0], op.groups, shape[1], site.output(0).shape[0]);
    let weights = site.output(0).shape.elements();
    if sizes.is_thin() {
        return Ok(Kernel::new(move |inputs, outputs, _| {
            sizes.each_weight(inputs[0], inputs[1], outputs[0])
        }));
    }
    let shares = if weights <= FEW_WEIGHTS { SHARES.min(sizes.images).max(1) } else { 1 };
    let rows = (sizes.c_in * sizes.taps).max(1);
    let cap = (site.options.im2col_cap / size_of::<f32>() / shares).min(BLOCK);
    let columns = (cap / rows).clamp(1, sizes.output);
    let scratch = rows * columns + weights;
    Ok(Kernel {
        scratch: shares * scratch,
        run: Box::new(move |inputs, outputs, all| {
            let share = sizes.images.div_ceil(shares);
            all.par_chunks_mut(scratch).enumerate().spread(1).for_each(|(i, scratch)| {
                let (sums, patches) = scratch.split_at_mut(weights);
                let images = (i * share).min(sizes.images)..((i + 1) * share).min(sizes.images);
                sums.fill(0.0);
                for image in images {
                    sizes.add_image(image, columns, shares == 1, inputs[0], inputs[1], sums, patches);
                }
            });
            outputs[0].par_chunks_mut(GRAIN).enumerate().spread(1).for_each(|(i, out)| {
                out.copy_from_slice(&all[i * GRAIN..][..out.len()]);
                for sums in all.chunks(scratch).skip(1) {
                    let sums = &sums[i * GRAIN..][..out.len()];
                    out.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
                }
            });
        }),
    })
}

impl Sizes {
    /// Adds one image's part, `columns` of its patches at a time.
    fn add_image(
        &self,
        image: usize,
        columns: usize,
        alone: bool,
        x: &[f32],
        dy: &[f32],
        sums: &mut [f32],
        patches: &mut [f32],
    ) {
        let rows = self.c_in * self.taps;
        if sums.is_empty() {
            return;
        }
        for (group, sums) in sums.chunks_mut(self.c_out * rows).enumerate() {
            let group = image * self.groups + group;
            let x = &x[group * self.c_in * self.input..][..self.c_in * self.input];
            let dy = &dy[group * self.c_out * self.output..][..self.c_out * self.output];
            for start in (0..self.output).step_by(columns) {
                let len = columns.min(self.output - start);
                let patches = &mut patches[..rows * len];
                unfold(&self.axes, x, start..start + len, patches);
                let (m, n) = (self.c_out, rows);
                let a = Matrix { data: &dy[start..], rows: m, columns: len, row: self.output, column: 1 };
                let b = Matrix { data: patches, rows: len, columns: n, row: 1, column: len };
                let threads = if alone { parallelism(m, n, len) } else { Parallelism::None };
                add_product(true, 1.0, a, b, sums, n, threads);
            }
        }
    }

    /// Each weight by itself: one line of the gradient after another, times the line of the input under its tap.
    fn each_weight(&self, x: &[f32], dy: &[f32], out: &mut [f32]) {
        let filters = self.groups * self.c_out;
        let work = self.images.saturating_mul(self.output);
        out.par_chunks_mut(self.taps).enumerate().spread(grain(work)).for_each(|(i, out)| {
            let (filter, c) = (i / self.c_in, i % self.c_in);
            let channel = filter / self.c_out * self.c_in + c;
            out.fill(0.0);
            for image in 0..self.images {
                let x = &x[(image * self.groups * self.c_in + channel) * self.input..][..self.input];
                let dy = &dy[(image * filters + filter) * self.output..][..self.output];
                vectorised(|| self.add_plane(x, dy, out));
            }
        });
    }

    /// Adds one plane's part to the weights of one channel of a filter.
    #[inline(always)]
    fn add_plane(&self, x: &[f32], dy: &[f32], out: &mut [f32]) {
        let [depth, height, width] = &self.axes;
        for (tap, out) in out.iter_mut().enumerate() {
            let (taps, tap_x) = (tap / width.kernel, tap % width.kernel);
            let (tap_z, tap_y) = (taps / height.kernel, taps % height.kernel);
            let (reads, first) = on_input(width, tap_x);
            for (line, dy) in dy.chunks_exact(width.output).enumerate() {
                let z = cell(depth, line / height.output, tap_z);
                let y = cell(height, line % height.output, tap_y);
                if let (Some(z), Some(y), false) = (z, y, reads.is_empty()) {
                    let x = &x[(z * height.input + y) * width.input + first..];
                    *out += dot(&dy[reads.clone()], x, width.stride);
                }
            }
        }
    }
}

/// The sum of `a[i] * x[i * stride]`: in eight partial sums, which are joined in a fixed order.
#[inline(always)]
fn dot(a: &[f32], x: &[f32], stride: usize) -> f32 {
    let x = &x[..(a.len() - 1) * stride + 1];
    let mut sums = [0f32; 8];
    if stride == 1 {
        let (chunks, rest) = a.as_chunks::<8>();
        let (x_chunks, x_rest) = x.as_chunks::<8>();
        for (a, x) in chunks.iter().zip(x_chunks) {
            (0..8).for_each(|i| sums[i] += a[i] * x[i]);
        }
        rest.iter().zip(x_rest).enumerate().for_each(|(i, (a, x))| sums[i] += a * x);
    } else {
        let pairs = a.iter().zip(x.iter().step_by(stride));
        pairs.enumerate().for_each(|(i, (a, x))| sums[i % 8] += a * x);
    }
    sums.iter().sum()
}
