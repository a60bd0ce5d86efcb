//! One of two tensors: one invocation per element.

use super::INDEX;
use super::binary::{MAX_AXES, axes, list};
use crate::error::Result;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::Recording;
use crate::ops::Select;
use crate::plan::Site;

const GROUP: usize = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    sizes: [u32; MAX_AXES],
    condition_steps: [u32; MAX_AXES],
    a_steps: [u32; MAX_AXES],
    b_steps: [u32; MAX_AXES],
    axes: u32,
    count: u32,
    padding: [u32; 2],
}

fn kernel() -> Kernel {
    Kernel::new("select", include_str!("../../../shaders/select.wgsl"), 3, 1).with(INDEX)
}

pub(super) fn variants() -> Vec<Kernel> {
    vec![kernel()]
}

pub(super) fn record(
    _op: &Select,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<()> {
    let axes = axes([site.dims(0), site.dims(1), site.dims(2)]).map_err(|e| site.error(e))?;
    let count = site.output(0).shape.elements();
    let params = Params {
        sizes: list(&axes, |axis| axis.size),
        condition_steps: list(&axes, |axis| axis.steps[0]),
        a_steps: list(&axes, |axis| axis.steps[1]),
        b_steps: list(&axes, |axis| axis.steps[2]),
        axes: axes.len() as u32,
        count: count as u32,
        padding: [0; 2],
    };
    let mut reads = Vec::new();
    for i in 0..3 {
        reads.push(operands.get(i, site, recording)?);
    }
    let groups = recording.linear(count, GROUP);
    recording.dispatch(kernel(), &params, &reads, &[operands.result(0)], groups)
}
