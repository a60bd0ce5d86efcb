//! Reductions: one invocation per output, or one workgroup where outputs are few or their elements adjoin.

use super::INDEX;
use super::gemm::last_four;
use crate::error::Result;
use crate::gpu::image;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::Recording;
use crate::ops::{OpError, Reduce, ReduceKind};
use crate::plan::Site;

/// Outputs per workgroup of `reduce_row`.
const GROUP: usize = 64;
/// Invocations in a workgroup of `reduce_group`.
const WIDE_GROUP: u32 = 256;
/// The axes, kept or reduced, that the kernels can count along.
const MAX_AXES: usize = 4;

const KINDS: [ReduceKind; 10] = [
    ReduceKind::Sum,
    ReduceKind::Mean,
    ReduceKind::Max,
    ReduceKind::Min,
    ReduceKind::Prod,
    ReduceKind::L1,
    ReduceKind::L2,
    ReduceKind::LogSum,
    ReduceKind::LogSumExp,
    ReduceKind::SumSquare,
];

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    kept: [u32; 4],
    kept_steps: [u32; 4],
    reduced: [u32; 4],
    reduced_steps: [u32; 4],
    count: u32,
    length: u32,
    empty: f32,
    padding: u32,
}

/// The number of a kind in `shaders/shared/reduce.wgsl`.
fn number(kind: ReduceKind) -> usize {
    KINDS.iter().position(|&k| k == kind).unwrap_or(0)
}

fn kernel(name: &str, wgsl: &str, kind: ReduceKind) -> Kernel {
    Kernel::new(name, wgsl, 1, 1)
        .with(include_str!("../../../shaders/shared/reduce.wgsl"))
        .with(include_str!("../../../shaders/shared/float.wgsl"))
        .with(INDEX)
        .constant("KIND", number(kind))
}

fn row(kind: ReduceKind) -> Kernel {
    kernel("reduce_row", include_str!("../../../shaders/reduce_row.wgsl"), kind)
}

fn group(kind: ReduceKind, one_axis: bool) -> Kernel {
    kernel("reduce_group", include_str!("../../../shaders/reduce_group.wgsl"), kind)
        .flag("ONE_AXIS", one_axis)
}

pub(super) fn variants() -> Vec<Kernel> {
    let kernels = KINDS.into_iter().flat_map(|kind| [row(kind), group(kind, false), group(kind, true)]);
    kernels.chain(image::global_variants()).collect()
}

/// Axes of the input with the steps in elements along them.
#[derive(Clone, Debug, Default)]
struct Axes {
    sizes: Vec<usize>,
    steps: Vec<usize>,
}

impl Axes {
    fn push(&mut self, size: usize, step: usize) {
        match (self.sizes.last_mut(), self.steps.last_mut()) {
            (Some(outer), Some(outer_step)) if *outer_step == size * step => {
                *outer *= size;
                *outer_step = step;
            }
            _ => {
                self.sizes.push(size);
                self.steps.push(step);
            }
        }
    }

    fn count(&self) -> usize {
        self.sizes.iter().product()
    }
}

/// The axes kept and those reduced, neighbours of a kind as one.
fn split(dims: &[usize], reduced_axes: &[usize]) -> Result<(Axes, Axes), OpError> {
    let (mut kept, mut reduced) = (Axes::default(), Axes::default());
    let mut step: usize = dims.iter().product();
    for (axis, &size) in dims.iter().enumerate() {
        step = step.checked_div(size).unwrap_or(0);
        let axes = if reduced_axes.contains(&axis) { &mut reduced } else { &mut kept };
        if size != 1 {
            axes.push(size, step);
        }
    }
    if kept.sizes.len().max(reduced.sizes.len()) > MAX_AXES {
        let expected = format!("at most {MAX_AXES} groups of neighbouring axes that are reduced, or kept");
        return Err(OpError::shape(expected, format!("axes {reduced_axes:?} of {}", crate::ops::dims(dims))));
    }
    Ok((kept, reduced))
}

/// What becomes of no elements.
fn empty(kind: ReduceKind) -> f32 {
    match kind {
        ReduceKind::Sum | ReduceKind::L1 | ReduceKind::L2 | ReduceKind::SumSquare => 0.0,
        ReduceKind::Prod => 1.0,
        ReduceKind::Mean => f32::NAN,
        ReduceKind::Max | ReduceKind::LogSum | ReduceKind::LogSumExp => f32::NEG_INFINITY,
        ReduceKind::Min => f32::INFINITY,
    }
}

/// Whether each output gets a workgroup: where asked for by name, else by this rule. Elements should keep a quarter of
/// the workgroup busy, and either adjoin, so that neighbouring invocations read neighbouring elements, or belong to
/// outputs too few to fill the device. A software device runs barriers badly and has none of it.
fn choose_group(count: usize, reduced: &Axes, site: &Site, recording: &Recording) -> bool {
    if recording.limits.max_compute_invocations_per_workgroup < WIDE_GROUP {
        return false;
    }
    match site.options.variant {
        Some("reduce_group") => true,
        Some("reduce_row") => false,
        _ => {
            let adjoin = reduced.steps.last() == Some(&1);
            !recording.software && reduced.count() >= 64 && (adjoin || count < 4096)
        }
    }
}

pub(super) fn record(
    op: &Reduce,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<()> {
    let dims = site.dims(0);
    if image::global(op.kind, &op.axes(dims.len()), site, operands, recording)? {
        return Ok(());
    }
    let (kept, reduced) = split(dims, &op.axes(dims.len())).map_err(|e| site.error(e))?;
    let count = site.output(0).shape.elements();
    let params = Params {
        kept: last_four(&kept.sizes, 1, 1),
        kept_steps: last_four(&kept.steps, 1, 0),
        reduced: last_four(&reduced.sizes, 1, 1),
        reduced_steps: last_four(&reduced.steps, 1, 0),
        count: count as u32,
        length: reduced.count() as u32,
        empty: empty(op.kind),
        padding: 0,
    };
    let input = operands.get(0, site, recording)?;
    let (kernel, groups) = match choose_group(count, &reduced, site, recording) {
        true => (group(op.kind, reduced.sizes.len() <= 1), recording.linear(count, 1)),
        false => (row(op.kind), recording.linear(count, GROUP)),
    };
    recording.dispatch(kernel, &params, &[input], &[operands.result(0)], groups)
}
