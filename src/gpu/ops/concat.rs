//! Concatenation: one dispatch per input, one invocation per element.

use super::INDEX;
use crate::error::Result;
use crate::gpu::image;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::Recording;
use crate::ops::Concat;
use crate::plan::Site;

const GROUP: usize = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    count: u32,
    own: u32,
    row: u32,
    start: u32,
}

fn kernel() -> Kernel {
    Kernel::new("concat", include_str!("../../../shaders/concat.wgsl"), 1, 1).with(INDEX)
}

pub(super) fn variants() -> Vec<Kernel> {
    std::iter::once(kernel()).chain(image::concat_variants()).collect()
}

pub(super) fn record(
    op: &Concat,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<()> {
    if image::concat(op.axis, site, operands, recording)? {
        return Ok(());
    }
    let row: usize = site.output(0).shape[op.axis..].iter().product();
    let mut start = 0;
    for i in 0..site.node.inputs.len() {
        let dims = site.dims(i);
        let count: usize = dims.iter().product();
        let own: usize = dims[op.axis..].iter().product();
        let params = Params { count: count as u32, own: own as u32, row: row as u32, start: start as u32 };
        let input = operands.get(i, site, recording)?;
        let groups = recording.linear(count, GROUP);
        recording.dispatch(kernel(), &params, &[input], &[operands.result(0)], groups)?;
        start += own;
    }
    Ok(())
}
