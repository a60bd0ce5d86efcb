//! Normalisation, a row at a time: the mean, the variance about it, then the quotients.

use rayon::prelude::*;

use super::Kernel;
use super::cores::{Spread, grain};
use crate::error::Result;
use crate::ops::Normalize;
use crate::ops::broadcast::{Span, spans};
use crate::plan::Site;

pub(super) fn compile(op: &Normalize, site: &Site) -> Result<Kernel> {
    let op = *op;
    let dims = site.dims(0);
    let length: usize = dims[op.axis..].iter().product();
    let terms = |i| spans([dims, site.dims(i)]).map_err(|e| site.error(e));
    let (scale_axes, bias_axes) = (terms(1)?, terms(2)?);
    if length == 0 {
        return Ok(Kernel::new(|_, outputs, _| outputs.iter_mut().for_each(|out| out.fill(f32::NAN))));
    }
    Ok(Kernel::new(move |inputs, outputs, _| {
        let operand = |i: usize| inputs.get(i).copied().unwrap_or_default();
        let (scale, bias) = (operand(1), operand(2));
        let [y, statistics @ ..] = outputs else { return };
        let rows = y.par_chunks_mut(length).zip(inputs[0].par_chunks(length)).enumerate();
        let statistics_of: Vec<[f32; 2]> = rows
            .spread(grain(length))
            .map(|(row, (y, x))| {
                let count = length as f32;
                let mean = sum(x.iter().copied()) / count;
                let variance = sum(x.iter().map(|x| (x - mean) * (x - mean))) / count;
                let inverse = 1.0 / (variance + op.epsilon).sqrt();
                y.iter_mut().zip(x).for_each(|(y, x)| *y = (x - mean) * inverse);
                if !scale.is_empty() {
                    each_term(&scale_axes, scale, row * length, y, |y, scale| y * scale);
                }
                if !bias.is_empty() {
                    each_term(&bias_axes, bias, row * length, y, |y, bias| y + bias);
                }
                [mean, inverse]
            })
            .collect();
        for (i, out) in statistics.iter_mut().enumerate() {
            out.iter_mut().zip(&statistics_of).for_each(|(out, of)| *out = of[i]);
        }
    }))
}

/// The sum in blocks, so that its error grows with their number and not with the length.
fn sum(values: impl Iterator<Item = f32>) -> f32 {
    const BLOCK: usize = 128;
    let mut values = values.peekable();
    let mut total = 0.0;
    while values.peek().is_some() {
        total += values.by_ref().take(BLOCK).sum::<f32>();
    }
    total
}

/// Combines each of `values`, which start at element `start` of the whole, with the element of `term` that broadcasts
/// to it.
fn each_term(
    axes: &[Span<2>],
    term: &[f32],
    start: usize,
    values: &mut [f32],
    combine: impl Fn(f32, f32) -> f32,
) {
    for (i, value) in values.iter_mut().enumerate() {
        let (mut rest, mut at) = (start + i, 0);
        for axis in axes.iter().rev() {
            at += rest % axis.size * axis.steps[1];
            rest /= axis.size;
        }
        *value = combine(*value, term[at]);
    }
}
