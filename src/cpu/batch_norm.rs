//! Batch normalisation, a plane at a time.

use rayon::prelude::*;

use super::Kernel;
use super::cores::{Spread, grain};
use crate::error::Result;
use crate::ops::BatchNorm;
use crate::plan::Site;

pub(super) fn compile(op: &BatchNorm, site: &Site) -> Result<Kernel> {
    let epsilon = op.epsilon;
    let (channels, plane) = match site.dims(0) {
        [_, channels, spatial @ ..] => (*channels, spatial.iter().product::<usize>().max(1)),
        _ => (0, 1),
    };
    Ok(Kernel::new(move |inputs, outputs, _| {
        let &[x, scale, bias, mean, variance] = inputs else { return };
        let planes = outputs[0].par_chunks_mut(plane).zip(x.par_chunks(plane));
        planes.enumerate().spread(grain(plane)).for_each(|(i, (out, x))| {
            let c = i % channels;
            let factor = scale[c] / (variance[c] + epsilon).sqrt();
            let (mean, bias) = (mean[c], bias[c]);
            for (out, x) in out.iter_mut().zip(x) {
                *out = (x - mean) * factor + bias;
            }
        });
    }))
}
