//! One of two tensors, element by element.

use rayon::prelude::*;

use super::Kernel;
use super::cores::{GRAIN, Spread};
use crate::error::Result;
use crate::ops::Select;
use crate::ops::broadcast::spans;
use crate::plan::Site;

pub(super) fn compile(_op: &Select, site: &Site) -> Result<Kernel> {
    let axes = spans([site.dims(0), site.dims(1), site.dims(2)]).map_err(|e| site.error(e))?;
    Ok(Kernel::new(move |inputs, outputs, _| {
        outputs[0].par_chunks_mut(GRAIN).enumerate().spread(1).for_each(|(chunk, out)| {
            for (i, out) in out.iter_mut().enumerate() {
                let mut rest = chunk * GRAIN + i;
                let mut at = [0; 3];
                for axis in axes.iter().rev() {
                    let position = rest % axis.size;
                    rest /= axis.size;
                    at = std::array::from_fn(|operand| at[operand] + position * axis.steps[operand]);
                }
                *out = if inputs[0][at[0]].to_bits() != 0 { inputs[1][at[1]] } else { inputs[2][at[2]] };
            }
        });
    }))
}
