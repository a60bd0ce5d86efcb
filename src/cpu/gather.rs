//! Gathered slices, copied one at a time.

use rayon::prelude::*;

use super::Kernel;
use super::cores::{Spread, grain};
use crate::error::Result;
use crate::ops::Gather;
use crate::plan::Site;

pub(super) fn compile(op: &Gather, site: &Site) -> Result<Kernel> {
    let dims = site.dims(0);
    let size = dims[op.axis];
    let inner: usize = dims[op.axis + 1..].iter().product();
    if inner == 0 {
        return Ok(Kernel::new(|_, _, _| ()));
    }
    Ok(Kernel::new(move |inputs, outputs, _| {
        let (x, indices) = (inputs[0], inputs[1]);
        let slices = outputs[0].par_chunks_mut(inner).enumerate();
        slices.spread(grain(inner)).for_each(|(i, out)| {
            let (outer, index) = (i / indices.len(), indices[i % indices.len()].to_bits().cast_signed());
            let index = if index < 0 { i64::from(index) + size as i64 } else { i64::from(index) };
            match usize::try_from(index) {
                Ok(index) if index < size => {
                    out.copy_from_slice(&x[(outer * size + index) * inner..][..inner]);
                }
                _ => out.fill(0.0),
            }
        });
    }))
}
