//! The place of the extreme element: one invocation per line of elements.

use super::INDEX;
use crate::error::Result;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::Recording;
use crate::ops::ArgReduce;
use crate::ops::arg_reduce::ArgOutput;
use crate::plan::Site;

const GROUP: usize = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    lines: u32,
    length: u32,
    step: u32,
    padding: u32,
}

fn kernel(op: &ArgReduce) -> Kernel {
    Kernel::new("arg_reduce", include_str!("../../../shaders/arg_reduce.wgsl"), 1, 1)
        .with(INDEX)
        .with(include_str!("../../../shaders/shared/float.wgsl"))
        .flag("LARGEST", op.largest)
        .flag("SELECT_LAST", op.select_last)
        .flag("ONE_HOT", op.output == ArgOutput::OneHot)
}

pub(super) fn variants() -> Vec<Kernel> {
    let op = |bits: u32| ArgReduce {
        largest: bits & 1 != 0,
        axis: 0,
        select_last: bits & 2 != 0,
        output: if bits & 4 != 0 { ArgOutput::OneHot } else { ArgOutput::Index },
    };
    (0..8).map(|bits| kernel(&op(bits))).collect()
}

pub(super) fn record(
    op: &ArgReduce,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<()> {
    let dims = site.dims(0);
    let (length, step) = (dims[op.axis], dims[op.axis + 1..].iter().product::<usize>());
    let lines = dims[..op.axis].iter().product::<usize>() * step;
    let params = Params { lines: lines as u32, length: length as u32, step: step as u32, padding: 0 };
    let input = operands.get(0, site, recording)?;
    let groups = recording.linear(lines, GROUP);
    recording.dispatch(kernel(op), &params, &[input], &[operands.result(0)], groups)
}
