//! Moved elements: a run of the last axis at a time, by the operator's tables of places.

use rayon::prelude::*;

use super::Kernel;
use super::cores::{Spread, grain};
use crate::error::Result;
use crate::ops::Rearrange;
use crate::ops::rearrange::OUTSIDE;
use crate::plan::Site;

pub(super) fn compile(op: &Rearrange, site: &Site) -> Result<Kernel> {
    let input = site.input(0).map(|info| info.shape.clone()).unwrap_or_default();
    let fill = f32::from_bits(op.fill());
    let mut outer = op.tables(&input);
    // A scalar is one row of one element.
    let row = outer.pop().unwrap_or_else(|| vec![0]);
    if row.is_empty() {
        return Ok(Kernel::new(|_, _, _| ()));
    }
    let contiguous = row.iter().zip(0..).all(|(&at, i)| at != OUTSIDE && at == row[0] + i);
    Ok(Kernel::new(move |inputs, outputs, _| {
        let rows = outputs[0].par_chunks_mut(row.len()).enumerate();
        rows.spread(grain(row.len())).for_each(|(i, out)| match place(&outer, i) {
            None => out.fill(fill),
            Some(at) if contiguous => out.copy_from_slice(&inputs[0][at + row[0] as usize..][..out.len()]),
            Some(at) => {
                for (out, &step) in out.iter_mut().zip(&row) {
                    *out = if step == OUTSIDE { fill } else { inputs[0][at + step as usize] };
                }
            }
        });
    }))
}

/// What the outer axes add to the place that row `i` reads, or `None` outside the input.
fn place(tables: &[Vec<u32>], mut i: usize) -> Option<usize> {
    let mut at = 0;
    for table in tables.iter().rev() {
        let step = table[i % table.len()];
        i /= table.len();
        if step == OUTSIDE {
            return None;
        }
        at += step as usize;
    }
    Some(at)
}
