//! Dropout: one invocation per element.

use super::{INDEX, reshape};
use crate::error::Result;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::Recording;
use crate::ops::Dropout;
use crate::plan::Site;

const GROUP: usize = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    count: u32,
    threshold: u32,
    seed: [u32; 2],
    scale: f32,
    padding: [u32; 3],
}

fn kernel() -> Kernel {
    Kernel::new("dropout", include_str!("../../../shaders/dropout.wgsl"), 2, 1).with(INDEX)
}

pub(super) fn variants() -> Vec<Kernel> {
    vec![kernel(), reshape::kernel()]
}

pub(super) fn record(
    op: &Dropout,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<()> {
    let Some(step) = operands.optional(1, site, recording)? else {
        return reshape::copy(site, operands, recording);
    };
    let x = operands.get(0, site, recording)?;
    let count = site.output(0).shape.elements();
    let params = Params {
        count: count as u32,
        threshold: op.threshold(),
        seed: [op.seed as u32, (op.seed >> 32) as u32],
        scale: op.scale(),
        padding: [0; 3],
    };
    let groups = recording.linear(count, GROUP);
    recording.dispatch(kernel(), &params, &[x, step], &[operands.result(0)], groups)
}
