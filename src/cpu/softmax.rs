//! Softmax: the maximum, the sum of exponentials, then the quotients.

use rayon::prelude::*;

use super::Kernel;
use super::cores::{GRAIN, Spread, grain};
use crate::error::Result;
use crate::ops::Softmax;
use crate::plan::Site;

pub(super) fn compile(op: &Softmax, site: &Site) -> Result<Kernel> {
    let log = op.log;
    let dims = site.dims(0);
    let len = dims.get(op.axis).copied().unwrap_or(1);
    let inner: usize = dims.iter().skip(op.axis + 1).product();
    if len == 0 || inner == 0 {
        return Ok(Kernel::new(|_, _, _| ()));
    }
    if inner == 1 {
        return Ok(Kernel::new(move |inputs, outputs, _| {
            let rows = outputs[0].par_chunks_mut(len).zip(inputs[0].par_chunks(len));
            rows.spread(grain(len)).for_each(|(out, x)| row(log, x, out));
        }));
    }
    let outer: usize = dims.iter().take(op.axis).product();
    Ok(Kernel {
        scratch: 2 * outer * inner,
        run: Box::new(move |inputs, outputs, scratch| {
            columns(log, len, inner, inputs[0], outputs[0], scratch)
        }),
    })
}

/// Along one contiguous row.
fn row(log: bool, x: &[f32], out: &mut [f32]) {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if log {
        let log_sum = x.iter().map(|x| (x - max).exp()).sum::<f32>().ln();
        out.iter_mut().zip(x).for_each(|(out, x)| *out = x - max - log_sum);
    } else {
        out.iter_mut().zip(x).for_each(|(out, x)| *out = (x - max).exp());
        let sum: f32 = out.iter().sum();
        out.iter_mut().for_each(|out| *out /= sum);
    }
}

/// Along an axis of `len` with `inner` neighbours side by side, which are worked on together: first their maxima and
/// sums into `scratch`, then the output.
fn columns(log: bool, len: usize, inner: usize, x: &[f32], out: &mut [f32], scratch: &mut [f32]) {
    let (maxima, sums) = scratch.split_at_mut(scratch.len() / 2);
    let chunk = grain(len).max(64).min(inner);
    for ((max, sum), x) in maxima.chunks_mut(inner).zip(sums.chunks_mut(inner)).zip(x.chunks(len * inner)) {
        let chunks = max.par_chunks_mut(chunk).zip(sum.par_chunks_mut(chunk)).enumerate();
        chunks.spread(1).for_each(|(i, (max, sum))| {
            let width = max.len();
            let line = |c: usize| &x[c * inner + i * chunk..][..width];
            max.fill(f32::NEG_INFINITY);
            sum.fill(0.0);
            for c in 0..len {
                max.iter_mut().zip(line(c)).for_each(|(max, x)| *max = max.max(*x));
            }
            for c in 0..len {
                let terms = line(c).iter().zip(&*max);
                sum.iter_mut().zip(terms).for_each(|(sum, (x, max))| *sum += (x - max).exp());
            }
        });
    }
    let lines = out.par_chunks_mut(inner).zip(x.par_chunks(inner)).enumerate();
    lines.spread(grain(inner)).for_each(|(i, (out, x))| {
        let at = i / len * inner;
        let parts = out.par_chunks_mut(GRAIN).zip(x.par_chunks(GRAIN));
        let parts =
            parts.zip(maxima[at..][..inner].par_chunks(GRAIN).zip(sums[at..][..inner].par_chunks(GRAIN)));
        parts.spread(1).for_each(|((out, x), (max, sum))| {
            let terms = x.iter().zip(max.iter().zip(sum));
            if log {
                out.iter_mut().zip(terms).for_each(|(out, (x, (max, sum)))| *out = x - max - sum.ln());
            } else {
                out.iter_mut().zip(terms).for_each(|(out, (x, (max, sum)))| *out = (x - max).exp() / sum);
            }
        });
    });
}
