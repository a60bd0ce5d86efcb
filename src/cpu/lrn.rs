//! Local response normalisation: the squares of neighbouring channels, summed along each plane's elements.

use rayon::prelude::*;

use super::Kernel;
use super::cores::{Spread, grain};
use crate::error::Result;
use crate::ops::Lrn;
use crate::plan::Site;

pub(super) fn compile(op: &Lrn, site: &Site) -> Result<Kernel> {
    let op = *op;
    let dims = site.dims(0);
    let channels = dims[1];
    let plane: usize = dims[2..].iter().product();
    if plane == 0 {
        return Ok(Kernel::new(|_, _, _| ()));
    }
    Ok(Kernel::new(move |inputs, outputs, _| {
        let planes = outputs[0].par_chunks_mut(plane).enumerate();
        planes.spread(grain(plane.saturating_mul(op.size.min(channels)))).for_each(|(i, out)| {
            let (image, channel) = (i / channels, i % channels);
            let first = channel.saturating_sub((op.size - 1) / 2);
            let last = (channel + op.size / 2).min(channels - 1);
            out.fill(0.0);
            for neighbour in first..=last {
                let x = &inputs[0][(image * channels + neighbour) * plane..][..plane];
                out.iter_mut().zip(x).for_each(|(sum, x)| *sum += x * x);
            }
            let scale = op.alpha / op.size as f32;
            let x = &inputs[0][i * plane..][..plane];
            out.iter_mut().zip(x).for_each(|(out, x)| *out = x / (op.bias + scale * *out).powf(op.beta));
        });
    }))
}
