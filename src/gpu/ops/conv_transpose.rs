//! Transposed convolution: one invocation per output element.

use super::{INDEX, every_activation};
use crate::error::Result;
use crate::gpu::cells::Cells;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::Recording;
use crate::ops::{Activation, ConvTranspose};
use crate::plan::Site;

const GROUP: usize = 64;

#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::NoUninit)]
struct Params {
    channels: u32,
    filters: u32,
    group_channels: u32,
    group_filters: u32,
    count: u32,
    padding: [u32; 3],
    cells: Cells,
}

fn kernel(has_bias: bool, activation: Option<Activation>) -> Kernel {
    Kernel::new("conv_transpose", include_str!("../../../shaders/conv_transpose.wgsl"), 3, 1)
        .with(INDEX)
        .flag("HAS_BIAS", has_bias)
        .activation(activation)
}

pub(super) fn variants() -> Vec<Kernel> {
    let biased = every_activation().into_iter().map(|activation| kernel(true, activation));
    std::iter::once(kernel(false, None)).chain(biased).collect()
}

pub(super) fn record(
    op: &ConvTranspose,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<()> {
    let x = site.input(0).map(|info| info.shape.clone()).unwrap_or_default();
    let axes = op.axes(&x).map_err(|e| site.error(e))?;
    let filters = site.output(0).shape[1];
    let count = site.output(0).shape.elements();
    let params = Params {
        channels: x[1] as u32,
        filters: filters as u32,
        group_channels: (x[1] / op.groups) as u32,
        group_filters: (filters / op.groups) as u32,
        count: count as u32,
        padding: [0; 3],
        cells: Cells::new(&axes),
    };
    let [input, weight] = [operands.get(0, site, recording)?, operands.get(1, site, recording)?];
    let bias = operands.optional(2, site, recording)?;
    let kernel = kernel(bias.is_some(), op.activation);
    let groups = recording.linear(count, GROUP);
    let [bias] = recording.or_nothing([bias]);
    recording.dispatch(kernel, &params, &[input, weight, bias], &[operands.result(0)], groups)
}
