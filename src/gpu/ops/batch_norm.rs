//! Batch normalisation: one invocation per element.

use super::INDEX;
use crate::error::Result;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::Recording;
use crate::ops::BatchNorm;
use crate::plan::Site;

const GROUP: usize = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    count: u32,
    plane: u32,
    channels: u32,
    epsilon: f32,
}

fn kernel() -> Kernel {
    Kernel::new("batch_norm", include_str!("../../../shaders/batch_norm.wgsl"), 5, 1).with(INDEX)
}

pub(super) fn variants() -> Vec<Kernel> {
    vec![kernel()]
}

pub(super) fn record(
    op: &BatchNorm,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<()> {
    let shape = &site.output(0).shape;
    let count = shape.elements();
    let params = Params {
        count: count as u32,
        plane: shape[2..].iter().product::<usize>() as u32,
        channels: shape[1] as u32,
        epsilon: op.epsilon,
    };
    let mut reads = Vec::new();
    for i in 0..5 {
        reads.push(operands.get(i, site, recording)?);
    }
    let groups = recording.linear(count, GROUP);
    recording.dispatch(kernel(), &params, &reads, &[operands.result(0)], groups)
}
