//! A step of gradient descent: one invocation per weight.

use super::INDEX;
use crate::error::Result;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::Recording;
use crate::ops::Sgd;
use crate::plan::Site;

const GROUP: usize = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    count: u32,
    momentum: f32,
    weight_decay: f32,
    padding: u32,
}

fn kernel(nesterov: bool) -> Kernel {
    Kernel::new("sgd", include_str!("../../../shaders/sgd.wgsl"), 4, 2).with(INDEX).flag("NESTEROV", nesterov)
}

pub(super) fn variants() -> Vec<Kernel> {
    vec![kernel(false), kernel(true)]
}

pub(super) fn record(
    op: &Sgd,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<()> {
    let count = site.output(0).shape.elements();
    let params =
        Params { count: count as u32, momentum: op.momentum, weight_decay: op.weight_decay, padding: 0 };
    let mut reads = Vec::new();
    for i in 0..4 {
        reads.push(operands.get(i, site, recording)?);
    }
    let writes = [operands.result(0), operands.result(1)];
    let groups = recording.linear(count, GROUP);
    recording.dispatch(kernel(op.nesterov), &params, &reads, &writes, groups)
}
