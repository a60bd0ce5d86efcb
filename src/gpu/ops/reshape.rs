//! A reshape that must not share its input's memory: a copy. Plans commonly drop reshapes before this is asked.

use super::INDEX;
use crate::error::Result;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::{BufferId, Recording};
use crate::ops::Reshape;
use crate::plan::Site;

const GROUP: usize = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    count: u32,
}

pub(super) fn kernel() -> Kernel {
    Kernel::new("copy", include_str!("../../../shaders/copy.wgsl"), 1, 1).with(INDEX)
}

pub(super) fn variants() -> Vec<Kernel> {
    vec![kernel()]
}

pub(super) fn record(
    _op: &Reshape,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<()> {
    copy(site, operands, recording)
}

/// Copies the first operand to the output.
pub(super) fn copy(site: &Site, operands: &mut Operands, recording: &mut Recording) -> Result<()> {
    let input = operands.get(0, site, recording)?;
    copy_buffer(input, operands.result(0), site.output(0).shape.elements(), recording)
}

/// Copies the first `count` elements of a buffer.
pub(in crate::gpu) fn copy_buffer(
    from: BufferId,
    to: BufferId,
    count: usize,
    recording: &mut Recording,
) -> Result<()> {
    let groups = recording.linear(count, GROUP);
    recording.dispatch(kernel(), &Params { count: count as u32 }, &[from], &[to], groups)
}
