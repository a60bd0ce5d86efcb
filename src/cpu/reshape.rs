//! Reshapes that were not dropped: a copy.

use rayon::prelude::*;

use super::Kernel;
use super::cores::{GRAIN, Spread};
use crate::error::Result;
use crate::ops::Reshape;
use crate::plan::Site;

pub(super) fn compile(_op: &Reshape, _site: &Site) -> Result<Kernel> {
    Ok(Kernel::new(|inputs, outputs, _| copy(inputs[0], outputs[0])))
}

/// Copies on all cores; both are of one length.
pub(super) fn copy(from: &[f32], to: &mut [f32]) {
    to.par_chunks_mut(GRAIN)
        .zip(from.par_chunks(GRAIN))
        .spread(1)
        .for_each(|(to, from)| to.copy_from_slice(from));
}
