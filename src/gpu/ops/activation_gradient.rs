//! The gradient of activations: one invocation per element, or per four neighbours.

use super::{INDEX, by_fours, every_activation, zip};
use crate::error::Result;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::Recording;
use crate::ops::{Activation, ActivationGradient};
use crate::plan::Site;

const GROUP: usize = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    count: u32,
}

fn kernel(activation: Activation, fours: bool) -> Kernel {
    let name = if fours { "activation_gradient_4" } else { "activation_gradient" };
    let wgsl = include_str!("../../../shaders/activation_gradient.wgsl");
    zip(Kernel::new(name, wgsl, 2, 1).with(INDEX), fours).lanes("Value", fours).slope(activation)
}

pub(super) fn variants() -> Vec<Kernel> {
    // Those whose input is taken although their usual parameters let the output be.
    let of_input = [Activation::Elu { alpha: -1.0 }, Activation::Selu { alpha: -1.0, gamma: 1.0 }];
    let both = |activation| [kernel(activation, false), kernel(activation, true)];
    every_activation().into_iter().flatten().chain(of_input).flat_map(both).collect()
}

pub(super) fn record(
    op: &ActivationGradient,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<()> {
    let count = site.output(0).shape.elements();
    let reads = [operands.get(0, site, recording)?, operands.get(1, site, recording)?];
    let fours = by_fours(count, "activation_gradient", site);
    let count = if fours { count / 4 } else { count };
    let groups = recording.linear(count, GROUP);
    let params = Params { count: count as u32 };
    recording.dispatch(kernel(op.activation, fours), &params, &reads, &[operands.result(0)], groups)
}
