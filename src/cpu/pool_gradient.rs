//! The gradient of pooling, a plane at a time: each output's is added to the elements it came from.

use rayon::prelude::*;

use super::cores::{Spread, grain};
use super::im2col::{cell, cells, on_input, three};
use super::pool::{divide, divisors};
use super::{Kernel, vectorised};
use crate::error::Result;
use crate::ops::{PoolGradient, PoolKind};
use crate::plan::Site;
use crate::window::Axis;

pub(super) fn compile(op: &PoolGradient, site: &Site) -> Result<Kernel> {
    let axes = three(&op.axes().map_err(|e| site.error(e))?);
    let (input, output) = (cells(&axes, |a| a.input), cells(&axes, |a| a.output));
    let tasks = grain(output.saturating_mul(cells(&axes, |a| a.kernel)));
    let PoolKind::Average { count_include_pad } = op.kind else {
        return Ok(Kernel::new(move |inputs, outputs, _| {
            let gradients = inputs[0].par_chunks(output).zip(inputs[1].par_chunks(output));
            let planes = outputs[0].par_chunks_mut(input).zip(gradients).enumerate();
            planes.spread(grain(input)).for_each(|(i, (out, (dy, indices)))| {
                out.fill(0.0);
                for (dy, index) in dy.iter().zip(indices) {
                    // -1, of a window without elements, is in no plane.
                    let index = index.to_bits().cast_signed();
                    let within = usize::try_from(index).ok().and_then(|index| index.checked_sub(i * input));
                    if let Some(out) = within.and_then(|within| out.get_mut(within)) {
                        *out += dy;
                    }
                }
            });
        }));
    };
    let divisors = divisors(&axes, count_include_pad);
    Ok(Kernel {
        scratch: input_planes(site) * output,
        run: Box::new(move |inputs, outputs, scratch| {
            let gradients = inputs[0].par_chunks(output).zip(scratch.par_chunks_mut(output));
            let planes = outputs[0].par_chunks_mut(input).zip(gradients);
            planes.spread(tasks).for_each(|(out, (dy, shares))| {
                shares.copy_from_slice(dy);
                vectorised(|| {
                    divide(&axes, &divisors, shares);
                    spread(&axes, shares, out);
                });
            });
        }),
    })
}

/// Planes of the input: images times channels.
fn input_planes(site: &Site) -> usize {
    site.dims(0).iter().take(2).product()
}

/// Adds what each output has to every element its window reads.
#[inline(always)]
fn spread(axes: &[Axis; 3], shares: &[f32], out: &mut [f32]) {
    let [depth, height, width] = axes;
    out.fill(0.0);
    for (line, shares) in shares.chunks(width.output).enumerate() {
        for tap_z in 0..depth.kernel {
            let Some(z) = cell(depth, line / height.output, tap_z) else { continue };
            for tap_y in 0..height.kernel {
                let Some(y) = cell(height, line % height.output, tap_y) else { continue };
                let out = &mut out[(z * height.input + y) * width.input..][..width.input];
                for tap_x in 0..width.kernel {
                    let (reads, first) = on_input(width, tap_x);
                    let places = out[first..].iter_mut().step_by(width.stride);
                    places.zip(&shares[reads]).for_each(|(out, share)| *out += share);
                }
            }
        }
    }
}
