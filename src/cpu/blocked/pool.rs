//! Pooling in blocks: by windows, or whole planes at once.

use rayon::prelude::*;

use super::{BLOCK, Compiled, Form};
use crate::cpu::activation::grain;
use crate::cpu::binary::{larger, smaller};
use crate::cpu::im2col::{cells, three};
use crate::cpu::pool::plane;
use crate::cpu::{Kernel, vectorised};
use crate::error::Result;
use crate::ops::{Pool, Reduce, ReduceKind};
use crate::plan::Site;

pub(super) fn compile(op: &Pool, site: &Site) -> Result<Option<Compiled>> {
    let shape = site.input(0).map(|info| info.shape.clone()).unwrap_or_default();
    if op.indices.is_some() || shape.contains(&0) {
        return Ok(None);
    }
    let axes = three(&op.axes(&shape).map_err(|e| site.error(e))?);
    let (input, output) = (BLOCK * cells(&axes, |a| a.input), BLOCK * cells(&axes, |a| a.output));
    let tasks = grain(output.saturating_mul(cells(&axes, |a| a.kernel)));
    let plane = plane::<BLOCK>(op.kind, axes);
    let kernel = Kernel::new(move |inputs, outputs, _| {
        let planes = outputs[0].par_chunks_mut(output).zip(inputs[0].par_chunks(input));
        planes.with_min_len(tasks).for_each(|(out, x)| plane(x, out));
    });
    Ok(Some(Compiled::wordwise("pool", kernel, 1)))
}

/// A sum, mean, maximum or minimum of all cells of each channel, into a plain value.
pub(super) fn global(op: &Reduce, site: &Site) -> Option<Compiled> {
    let dims = site.dims(0);
    let &[_, channels, ref spatial @ ..] = dims else { return None };
    let cells: usize = spatial.iter().product();
    if !op.axes(dims.len()).into_iter().eq(2..dims.len()) || dims.contains(&0) {
        return None;
    }
    let reduce: fn(&[f32]) -> [f32; BLOCK] = match op.kind {
        ReduceKind::Sum | ReduceKind::Mean => |x| vectorised(|| reduce(x, 0.0, |sum, x| sum + x)),
        ReduceKind::Max => |x| vectorised(|| reduce(x, f32::NEG_INFINITY, larger)),
        ReduceKind::Min => |x| vectorised(|| reduce(x, f32::INFINITY, smaller)),
        _ => return None,
    };
    let divisor = if op.kind == ReduceKind::Mean { cells as f32 } else { 1.0 };
    let kernel = Kernel::new(move |inputs, outputs, _| {
        let images = outputs[0].chunks_mut(channels);
        let blocks = images.flat_map(|image| image.chunks_mut(BLOCK)).collect::<Vec<_>>();
        let tasks = blocks.into_par_iter().zip(inputs[0].par_chunks(BLOCK * cells));
        tasks.with_min_len(grain(BLOCK * cells)).for_each(|(out, x)| {
            out.iter_mut().zip(reduce(x)).for_each(|(out, x)| *out = x / divisor);
        });
    });
    Some(Compiled { kernel, name: "reduce", inputs: vec![Form::Blocked], output: Form::Plain, weights: 0 })
}

/// Folds the cells of a block, every fourth into one of four partial results, which do not wait for each other.
#[inline(always)]
fn reduce(x: &[f32], init: f32, step: impl Fn(f32, f32) -> f32) -> [f32; BLOCK] {
    let fold = |into: &mut [f32; BLOCK], x: &[f32; BLOCK]| {
        into.iter_mut().zip(x).for_each(|(out, x)| *out = step(*out, *x));
    };
    let (fours, rest) = x.as_chunks::<BLOCK>().0.as_chunks::<4>();
    let mut partial = [[init; BLOCK]; 4];
    for four in fours {
        partial.iter_mut().zip(four).for_each(|(partial, x)| fold(partial, x));
    }
    partial.iter_mut().zip(rest).for_each(|(partial, x)| fold(partial, x));
    let [mut result, others @ ..] = partial;
    others.iter().for_each(|partial| fold(&mut result, partial));
    result
}
