//! Normalisation: each row's mean and deviation, then every element by them.

use super::INDEX;
use super::binary::{MAX_AXES, axes, list};
use crate::error::Result;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::Recording;
use crate::ops::Normalize;
use crate::plan::Site;

const GROUP: usize = 64;
/// Invocations in a workgroup of `normalize_group`.
const WIDE_GROUP: u32 = 256;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Statistics {
    rows: u32,
    length: u32,
    epsilon: f32,
    padding: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Apply {
    sizes: [u32; MAX_AXES],
    scale_steps: [u32; MAX_AXES],
    bias_steps: [u32; MAX_AXES],
    axes: u32,
    count: u32,
    length: u32,
    padding: u32,
}

fn row() -> Kernel {
    Kernel::new("normalize_row", include_str!("../../../shaders/normalize_row.wgsl"), 1, 2).with(INDEX)
}

fn group() -> Kernel {
    Kernel::new("normalize_group", include_str!("../../../shaders/normalize_group.wgsl"), 1, 2).with(INDEX)
}

fn apply(has_scale: bool, has_bias: bool) -> Kernel {
    Kernel::new("normalize_apply", include_str!("../../../shaders/normalize_apply.wgsl"), 5, 1)
        .with(INDEX)
        .flag("HAS_SCALE", has_scale)
        .flag("HAS_BIAS", has_bias)
}

pub(super) fn variants() -> Vec<Kernel> {
    let flags = [(false, false), (true, false), (false, true), (true, true)];
    [row(), group()].into_iter().chain(flags.map(|(scale, bias)| apply(scale, bias))).collect()
}

/// Whether each row gets a workgroup: where asked for by name, else where rows are long and the device is no software
/// one, which runs barriers badly.
fn choose_group(length: usize, site: &Site, recording: &Recording) -> bool {
    if recording.limits.max_compute_invocations_per_workgroup < WIDE_GROUP {
        return false;
    }
    match site.options.variant {
        Some("normalize_group") => true,
        Some("normalize_row") => false,
        _ => !recording.software && length >= 256,
    }
}

pub(super) fn record(
    op: &Normalize,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<()> {
    let dims = site.dims(0);
    let count = site.output(0).shape.elements();
    let rows: usize = dims[..op.axis].iter().product();
    let length: usize = dims[op.axis..].iter().product();
    let input = operands.get(0, site, recording)?;
    let [mean, inverse] = match op.statistics {
        true => [operands.result(1), operands.result(2)],
        false => {
            ["mean", "deviation"].map(|what| recording.computed(format!("{} {what}", site.node.name), rows))
        }
    };
    let params = Statistics { rows: rows as u32, length: length as u32, epsilon: op.epsilon, padding: 0 };
    let (kernel, groups) = match choose_group(length, site, recording) {
        true => (group(), recording.linear(rows, 1)),
        false => (row(), recording.linear(rows, GROUP)),
    };
    recording.dispatch(kernel, &params, &[input], &[mean, inverse], groups)?;

    let scale = operands.optional(1, site, recording)?;
    let bias = operands.optional(2, site, recording)?;
    let axes = axes([dims, site.dims(1), site.dims(2)]).map_err(|e| site.error(e))?;
    let params = Apply {
        sizes: list(&axes, |axis| axis.size),
        scale_steps: list(&axes, |axis| axis.steps[1]),
        bias_steps: list(&axes, |axis| axis.steps[2]),
        axes: axes.len() as u32,
        count: count as u32,
        length: length as u32,
        padding: 0,
    };
    let kernel = apply(scale.is_some(), bias.is_some());
    let [scale, bias] = recording.or_nothing([scale, bias]);
    let reads = [input, mean, inverse, scale, bias];
    let groups = recording.linear(count, GROUP);
    recording.dispatch(kernel, &params, &reads, &[operands.result(0)], groups)
}
