//! Transposed convolution, a plane of the output at a time: each input line is spread over the lines it reaches.

use rayon::prelude::*;

use super::Kernel;
use super::activation::{apply, grain};
use super::im2col::{cells, three};
use crate::error::Result;
use crate::ops::ConvTranspose;
use crate::plan::Site;
use crate::window::Axis;

pub(super) fn compile(op: &ConvTranspose, site: &Site) -> Result<Kernel> {
    let shape = site.input(0).map(|info| info.shape.clone()).unwrap_or_default();
    let axes = three(&op.axes(&shape).map_err(|e| site.error(e))?);
    let (input, output, taps) =
        (cells(&axes, |a| a.input), cells(&axes, |a| a.output), cells(&axes, |a| a.kernel));
    let channels = shape[1];
    let filters = site.output(0).shape[1];
    let (group_channels, group_filters) = (channels / op.groups, filters / op.groups);
    let activation = op.activation;
    if output == 0 || filters == 0 {
        return Ok(Kernel::new(|_, _, _| ()));
    }
    Ok(Kernel::new(move |inputs, outputs, _| {
        let (x, weight, bias) = (inputs[0], inputs[1], inputs.get(2).copied().unwrap_or_default());
        let planes = outputs[0].par_chunks_mut(output).enumerate();
        let work = input.saturating_mul(taps).saturating_mul(group_channels);
        planes.with_min_len(grain(work)).for_each(|(i, out)| {
            let (image, filter) = (i / filters, i % filters);
            let first = filter / group_filters * group_channels;
            out.fill(0.0);
            for channel in first..first + group_channels {
                let x = &x[(image * channels + channel) * input..][..input];
                let weight = &weight[(channel * group_filters + filter % group_filters) * taps..][..taps];
                spread(&axes, x, weight, out);
            }
            if let Some(bias) = bias.get(filter) {
                out.iter_mut().for_each(|out| *out += bias);
            }
            apply(activation, out);
        });
    }))
}

/// Adds to `out` each element of the plane `x` times the weights, at the places its window covers.
fn spread(axes: &[Axis; 3], x: &[f32], weight: &[f32], out: &mut [f32]) {
    let [depth, height, width] = axes;
    for (line, x) in x.chunks_exact(width.input.max(1)).enumerate() {
        for (tap, &weight) in weight.iter().enumerate() {
            let (tap_line, tap_x) = (tap / width.kernel, tap % width.kernel);
            let Some(z) = place(depth, line / height.input, tap_line / height.kernel) else { continue };
            let Some(y) = place(height, line % height.input, tap_line % height.kernel) else { continue };
            let out = &mut out[(z * height.output + y) * width.output..][..width.output];
            for (i, x) in x.iter().enumerate() {
                if let Some(at) = place(width, i, tap_x) {
                    out[at] += weight * x;
                }
            }
        }
    }
}

/// Where along the output tap `tap` of input `i` falls, unless it is cropped.
fn place(axis: &Axis, i: usize, tap: usize) -> Option<usize> {
    (i * axis.stride + tap * axis.dilation).checked_sub(axis.before).filter(|&at| at < axis.output)
}
