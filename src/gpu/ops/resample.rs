//! Weighted taps along one axis: one invocation per element.

use super::INDEX;
use crate::error::Result;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::Recording;
use crate::ops::Resample;
use crate::plan::Site;

const GROUP: usize = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    count: u32,
    taps: u32,
    positions: u32,
    size: u32,
    inner: u32,
    padding: [u32; 3],
}

fn kernel() -> Kernel {
    Kernel::new("resample", include_str!("../../../shaders/resample.wgsl"), 3, 1).with(INDEX)
}

pub(super) fn variants() -> Vec<Kernel> {
    vec![kernel()]
}

pub(super) fn record(
    op: &Resample,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<()> {
    let dims = site.dims(0);
    let count = site.output(0).shape.elements();
    let params = Params {
        count: count as u32,
        taps: op.taps as u32,
        positions: (op.indices.len() / op.taps) as u32,
        size: dims[op.axis] as u32,
        inner: dims[op.axis + 1..].iter().product::<usize>() as u32,
        padding: [0; 3],
    };
    let name = &site.node.name;
    let indices = op.indices.iter().map(|&i| i as u32).collect();
    let weights = op.weights.iter().map(|w| w.to_bits()).collect();
    let reads = [
        operands.get(0, site, recording)?,
        recording.words(format!("{name} places"), indices),
        recording.words(format!("{name} weights"), weights),
    ];
    let groups = recording.linear(count, GROUP);
    recording.dispatch(kernel(), &params, &reads, &[operands.result(0)], groups)
}
