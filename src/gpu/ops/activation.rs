//! Activations: one invocation per element, or per four neighbours.

use super::{INDEX, by_fours, every_activation};
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

fn kernel(activation: Option<Activation>, fours: bool) -> Kernel {
    let (name, map) = match fours {
        true => ("activation_4", include_str!("../../../shaders/shared/map_fours.wgsl")),
        false => ("activation", include_str!("../../../shaders/shared/map_each.wgsl")),
    };
    Kernel::new(name, include_str!("../../../shaders/activation.wgsl"), 1, 1)
        .with(INDEX)
        .with(map)
        .lanes("Value", fours)
        .activation(activation)
}

pub(super) fn variants() -> Vec<Kernel> {
    let both = |activation| [kernel(activation, false), kernel(activation, true)];
    every_activation().into_iter().flat_map(both).chain(image::map_variants()).collect()
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
    let fours = by_fours(count, "activation", site);
    let count = if fours { count / 4 } else { count };
    let groups = recording.linear(count, GROUP);
    let params = Params { count: count as u32 };
    recording.dispatch(kernel(Some(*op), fours), &params, &[input], &[operands.result(0)], groups)
}
