//! A step of Adam: one invocation per weight.

use super::INDEX;
use crate::error::Result;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::Recording;
use crate::ops::Adam;
use crate::plan::Site;

const GROUP: usize = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    count: u32,
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    weight_decay: f32,
    padding: [u32; 3],
}

fn kernel(decoupled: bool) -> Kernel {
    Kernel::new("adam", include_str!("../../../shaders/adam.wgsl"), 5, 3)
        .with(INDEX)
        .flag("DECOUPLED", decoupled)
}

pub(super) fn variants() -> Vec<Kernel> {
    vec![kernel(false), kernel(true)]
}

pub(super) fn record(
    op: &Adam,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<()> {
    let count = site.output(0).shape.elements();
    let params = Params {
        count: count as u32,
        beta1: op.beta1,
        beta2: op.beta2,
        epsilon: op.epsilon,
        weight_decay: op.weight_decay,
        padding: [0; 3],
    };
    let mut reads = Vec::new();
    for i in 0..5 {
        reads.push(operands.get(i, site, recording)?);
    }
    let writes = [operands.result(0), operands.result(1), operands.result(2)];
    let groups = recording.linear(count, GROUP);
    recording.dispatch(kernel(op.decoupled), &params, &reads, &writes, groups)
}
