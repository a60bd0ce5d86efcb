//! Moved elements: one invocation per element, by the operator's tables of places.

use super::INDEX;
use crate::error::Result;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::Recording;
use crate::ops::Rearrange;
use crate::plan::Site;

const GROUP: usize = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    sizes: [u32; 8],
    starts: [u32; 8],
    axes: u32,
    count: u32,
    fill: u32,
    padding: u32,
}

fn kernel() -> Kernel {
    Kernel::new("rearrange", include_str!("../../../shaders/rearrange.wgsl"), 2, 1).with(INDEX)
}

pub(super) fn variants() -> Vec<Kernel> {
    vec![kernel()]
}

pub(super) fn record(
    op: &Rearrange,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<()> {
    let input = site.input(0).map(|info| info.shape.clone()).unwrap_or_default();
    let count = site.output(0).shape.elements();
    let tables = op.tables(&input);
    let mut params = Params {
        sizes: [1; 8],
        starts: [0; 8],
        axes: tables.len() as u32,
        count: count as u32,
        fill: op.fill(),
        padding: 0,
    };
    let mut words = Vec::new();
    for (axis, table) in tables.iter().enumerate() {
        params.sizes[axis] = table.len() as u32;
        params.starts[axis] = words.len() as u32;
        words.extend_from_slice(table);
    }
    let x = operands.get(0, site, recording)?;
    let tables = recording.words(format!("{} places", site.node.name), words);
    let groups = recording.linear(count, GROUP);
    recording.dispatch(kernel(), &params, &[x, tables], &[operands.result(0)], groups)
}
