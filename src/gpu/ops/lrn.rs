//! Local response normalisation: one invocation per element.

use super::INDEX;
use crate::error::Result;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::Recording;
use crate::ops::Lrn;
use crate::plan::Site;

const GROUP: usize = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    count: u32,
    channels: u32,
    plane: u32,
    before: u32,
    after: u32,
    scale: f32,
    beta: f32,
    bias: f32,
}

fn kernel() -> Kernel {
    Kernel::new("lrn", include_str!("../../../shaders/lrn.wgsl"), 1, 1).with(INDEX)
}

pub(super) fn variants() -> Vec<Kernel> {
    vec![kernel()]
}

pub(super) fn record(
    op: &Lrn,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<()> {
    let dims = site.dims(0);
    let count = site.output(0).shape.elements();
    let params = Params {
        count: count as u32,
        channels: dims[1] as u32,
        plane: dims[2..].iter().product::<usize>() as u32,
        before: ((op.size - 1) / 2).min(dims[1]) as u32,
        after: (op.size / 2).min(dims[1]) as u32,
        scale: op.alpha / op.size as f32,
        beta: op.beta,
        bias: op.bias,
    };
    let input = operands.get(0, site, recording)?;
    let groups = recording.linear(count, GROUP);
    recording.dispatch(kernel(), &params, &[input], &[operands.result(0)], groups)
}
