//! The gradient of pooling: one invocation per element of the pool's input.

use super::INDEX;
use crate::error::Result;
use crate::gpu::cells::Cells;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::Recording;
use crate::ops::{OpError, PoolGradient, PoolKind};
use crate::plan::Site;
use crate::window::{Axis, average_divisor};

const GROUP: usize = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    cells: Cells,
    count: u32,
    padding: [u32; 3],
}

fn kernel(max: bool, dilated: bool) -> Kernel {
    Kernel::new("pool_gradient", include_str!("../../../shaders/pool_gradient.wgsl"), 2, 1)
        .with(INDEX)
        .flag("MAX", max)
        .flag("DILATED", dilated)
}

pub(super) fn variants() -> Vec<Kernel> {
    vec![kernel(true, false), kernel(false, false), kernel(false, true)]
}

/// Whether the kernel can count along an axis, padding included, in 32 bits.
fn fits(axis: &Axis) -> bool {
    let sizes = [axis.before.saturating_add(axis.input), axis.extent(), axis.stride];
    sizes.iter().all(|&n| n < 1 << 30)
}

pub(super) fn record(
    op: &PoolGradient,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<()> {
    let axes = op.axes().map_err(|e| site.error(e))?;
    if !axes.iter().all(fits) {
        return Err(site.error(OpError::shape("a window and padding of less than 2^30 cells", &op.window)));
    }
    let count = site.output(0).shape.elements();
    let params = Params { cells: Cells::new(&axes), count: count as u32, padding: [0; 3] };
    let dy = operands.get(0, site, recording)?;
    let (table, kernel) = match op.kind {
        PoolKind::Average { count_include_pad } => {
            let divisors = divisors(&axes, count_include_pad);
            let table = recording.words(format!("{} divisors", site.node.name), divisors);
            (table, kernel(false, axes.iter().any(|axis| axis.dilation > 1)))
        }
        _ => (operands.get(1, site, recording)?, kernel(true, false)),
    };
    let groups = recording.linear(count, GROUP);
    recording.dispatch(kernel, &params, &[dy, table], &[operands.result(0)], groups)
}

/// The divisors of the outputs along depth, height and width; an axis that is missing has one output and divides by 1.
fn divisors(axes: &[Axis], count_include_pad: bool) -> Vec<u32> {
    let missing = std::iter::repeat_n(1, 3 - axes.len());
    let along = axes.iter().flat_map(|axis| {
        (0..axis.output).map(move |i| average_divisor(&[*axis], &[i], count_include_pad) as u32)
    });
    missing.chain(along).collect()
}
