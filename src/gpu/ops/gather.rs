//! Gathered slices: one invocation per element.

use super::INDEX;
use crate::error::Result;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::Recording;
use crate::ops::Gather;
use crate::plan::Site;

const GROUP: usize = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    count: u32,
    inner: u32,
    size: u32,
    indices: u32,
}

fn kernel() -> Kernel {
    Kernel::new("gather", include_str!("../../../shaders/gather.wgsl"), 2, 1).with(INDEX)
}

pub(super) fn variants() -> Vec<Kernel> {
    vec![kernel()]
}

pub(super) fn record(
    op: &Gather,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<()> {
    let dims = site.dims(0);
    let count = site.output(0).shape.elements();
    let params = Params {
        count: count as u32,
        inner: dims[op.axis + 1..].iter().product::<usize>() as u32,
        size: dims[op.axis] as u32,
        indices: site.dims(1).iter().product::<usize>() as u32,
    };
    let reads = [operands.get(0, site, recording)?, operands.get(1, site, recording)?];
    let groups = recording.linear(count, GROUP);
    recording.dispatch(kernel(), &params, &reads, &[operands.result(0)], groups)
}
