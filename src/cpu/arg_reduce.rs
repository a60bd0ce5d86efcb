//! The place of the extreme element along an axis.

use rayon::prelude::*;

use super::Kernel;
use super::cores::{Spread, grain};
use crate::error::Result;
use crate::ops::ArgReduce;
use crate::ops::arg_reduce::ArgOutput;
use crate::plan::Site;

pub(super) fn compile(op: &ArgReduce, site: &Site) -> Result<Kernel> {
    let op = *op;
    let dims = site.dims(0);
    let size = dims[op.axis];
    let inner: usize = dims[op.axis + 1..].iter().product();
    if inner == 0 {
        return Ok(Kernel::new(|_, _, _| ()));
    }
    Ok(Kernel::new(move |inputs, outputs, _| {
        let block = size * inner;
        let out_block = match op.output {
            ArgOutput::Index => inner,
            ArgOutput::OneHot => block,
        };
        let blocks = outputs[0].par_chunks_mut(out_block).zip(inputs[0].par_chunks(block));
        blocks.spread(grain(block)).for_each(|(out, x)| {
            if op.output == ArgOutput::OneHot {
                out.fill(0.0);
            }
            for column in 0..inner {
                let best = extreme(&op, (0..size).map(|i| x[i * inner + column]));
                match op.output {
                    ArgOutput::Index => out[column] = f32::from_bits(best as u32),
                    ArgOutput::OneHot => out[best * inner + column] = 1.0,
                }
            }
        });
    }))
}

/// The position of the extreme value.
fn extreme(op: &ArgReduce, values: impl Iterator<Item = f32>) -> usize {
    let mut best = 0;
    let mut best_value = None;
    for (i, value) in values.enumerate() {
        let wins = best_value.is_none_or(|old: f32| {
            let beyond = if op.largest { value > old } else { value < old };
            let equal = value == old || (value.is_nan() && old.is_nan());
            beyond || (value.is_nan() && !old.is_nan()) || (op.select_last && equal)
        });
        if wins {
            (best, best_value) = (i, Some(value));
        }
    }
    best
}
