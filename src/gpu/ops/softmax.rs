//! Softmax: one invocation per row, or one workgroup where rows are long and contiguous.

use super::INDEX;
use crate::error::Result;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::Recording;
use crate::ops::Softmax;
use crate::plan::Site;

/// Rows per workgroup of `softmax_row`.
const GROUP: usize = 64;
/// Invocations in a workgroup of `softmax_group`.
const WIDE_GROUP: u32 = 256;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    rows: u32,
    length: u32,
    step: u32,
    padding: u32,
}

fn row(log: bool) -> Kernel {
    Kernel::new("softmax_row", include_str!("../../../shaders/softmax_row.wgsl"), 1, 1)
        .with(INDEX)
        .flag("LOG", log)
}

fn group(log: bool) -> Kernel {
    Kernel::new("softmax_group", include_str!("../../../shaders/softmax_group.wgsl"), 1, 1)
        .with(INDEX)
        .flag("LOG", log)
}

pub(super) fn variants() -> Vec<Kernel> {
    vec![row(false), row(true), group(false), group(true)]
}

/// Whether each row gets a workgroup: where asked for by name, else by this rule, in which a row should keep a quarter
/// of the workgroup busy and a software device, which runs barriers badly, has none of it.
fn choose_group(length: usize, step: usize, site: &Site, recording: &Recording) -> bool {
    if step != 1 || recording.limits.max_compute_invocations_per_workgroup < WIDE_GROUP {
        return false;
    }
    match site.options.variant {
        Some("softmax_group") => true,
        Some("softmax_row") => false,
        _ => !recording.software && length >= 64,
    }
}

pub(super) fn record(
    op: &Softmax,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<()> {
    let shape = &site.output(0).shape;
    let input = operands.get(0, site, recording)?;
    if shape.elements() == 0 {
        return Ok(());
    }
    let length = shape[op.axis];
    let step: usize = shape[op.axis + 1..].iter().product();
    let rows = shape.elements() / length;
    let params = Params { rows: rows as u32, length: length as u32, step: step as u32, padding: 0 };
    let (kernel, groups) = match choose_group(length, step, site, recording) {
        true => (group(op.log), recording.linear(rows, 1)),
        false => (row(op.log), recording.linear(rows, GROUP)),
    };
    recording.dispatch(kernel, &params, &[input], &[operands.result(0)], groups)
}
