//! Dropout: each element's hash, compared with the rate.

use rayon::prelude::*;

use super::cores::{GRAIN, Spread};
use super::reshape::copy;
use super::{Kernel, vectorised};
use crate::error::Result;
use crate::ops::Dropout;
use crate::plan::Site;

pub(super) fn compile(op: &Dropout, site: &Site) -> Result<Kernel> {
    if site.input(1).is_none() {
        return Ok(Kernel::new(|inputs, outputs, _| copy(inputs[0], outputs[0])));
    }
    let (op, scale) = (*op, op.scale());
    Ok(Kernel::new(move |inputs, outputs, _| {
        let step = inputs[1][0].to_bits();
        let chunks = outputs[0].par_chunks_mut(GRAIN).zip(inputs[0].par_chunks(GRAIN)).enumerate();
        chunks.spread(1).for_each(|(chunk, (out, x))| {
            vectorised(|| {
                let first = (chunk * GRAIN) as u32;
                for (position, (out, &x)) in (first..).zip(out.iter_mut().zip(x)) {
                    *out = if op.drops(step, position) { 0.0 } else { x * scale };
                }
            });
        });
    }))
}
