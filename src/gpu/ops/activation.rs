//! Activations: one invocation per element.

use super::{INDEX, every_activation};
use crate::error::Result;
use crate::gpu::image;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::Recording;
use crate::ops::Activation;
use crate::plan::Site;

const GROUP: usize = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    count: u32,
}

fn kernel(activation: Option<Activation>) -> Kernel {
    Kernel::new("activation", include_str!("../../../shaders/activation.wgsl"), 1, 1)
        .with(INDEX)
        .activation(activation)
}

pub(super) fn variants() -> Vec<Kernel> {
    every_activation().into_iter().map(kernel).chain(image::map_variants()).collect()
}

pub(super) fn record(
    op: &Activation,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<()> {
    if image::map(None, Some(*op), site, operands, recording)? {
        return Ok(());
    }
    let count = site.output(0).shape.elements();
    let input = operands.get(0, site, recording)?;
    let groups = recording.linear(count, GROUP);
    let params = Params { count: count as u32 };
    recording.dispatch(kernel(Some(*op)), &params, &[input], &[operands.result(0)], groups)
}
