//! Concatenation: for each index before the axis, the inputs' runs one after another.

use rayon::prelude::*;

use super::Kernel;
use super::cores::{Spread, grain};
use super::reshape::copy;
use crate::error::Result;
use crate::ops::Concat;
use crate::plan::Site;

pub(super) fn compile(op: &Concat, site: &Site) -> Result<Kernel> {
    let run = |dims: &[usize]| dims.iter().skip(op.axis).product::<usize>();
    let runs: Vec<usize> = (0..site.node.inputs.len()).map(|i| run(site.dims(i))).collect();
    let whole = run(&site.output(0).shape).max(1);
    Ok(Kernel::new(move |inputs, outputs, _| {
        let rows = outputs[0].par_chunks_mut(whole).enumerate();
        rows.spread(grain(whole)).for_each(|(i, mut row)| {
            for (input, &run) in inputs.iter().zip(&runs) {
                let (part, rest) = row.split_at_mut(run);
                copy(&input[i * run..][..run], part);
                row = rest;
            }
        });
    }))
}
