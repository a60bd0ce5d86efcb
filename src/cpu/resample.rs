//! Weighted taps along one axis.

use rayon::prelude::*;

use super::Kernel;
use super::cores::{Spread, grain};
use crate::error::Result;
use crate::ops::Resample;
use crate::plan::Site;

pub(super) fn compile(op: &Resample, site: &Site) -> Result<Kernel> {
    let op = op.clone();
    let dims = site.dims(0);
    let size = dims[op.axis];
    let inner: usize = dims[op.axis + 1..].iter().product();
    let positions = op.indices.len() / op.taps;
    if inner == 0 || positions == 0 {
        return Ok(Kernel::new(|_, _, _| ()));
    }
    Ok(Kernel::new(move |inputs, outputs, _| {
        let lines = outputs[0].par_chunks_mut(inner).enumerate();
        lines.spread(grain(inner * op.taps)).for_each(|(i, out)| {
            let (outer, at) = (i / positions, i % positions * op.taps);
            let taps = op.indices[at..at + op.taps].iter().zip(&op.weights[at..]).filter(|(_, w)| **w != 0.0);
            let mut lines =
                taps.map(|(&index, &w)| (&inputs[0][(outer * size + index) * inner..][..inner], w));
            match lines.next() {
                None => out.fill(0.0),
                Some((x, w)) => out.iter_mut().zip(x).for_each(|(out, x)| *out = w * x),
            }
            for (x, w) in lines {
                out.iter_mut().zip(x).for_each(|(out, x)| *out += w * x);
            }
        });
    }))
}
