//! Pooling: one invocation per output element.

use super::INDEX;
use crate::error::Result;
use crate::gpu::cells::{Cells, spatial};
use crate::gpu::image;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::Recording;
use crate::ops::pool::IndexOrder;
use crate::ops::{OpError, Pool, PoolKind};
use crate::plan::Site;
use crate::window::Axis;

const GROUP: usize = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    cells: Cells,
    padded_size: [u32; 4],
    count: u32,
    p: f32,
    lowest: f32,
    padding: u32,
}

fn kernel(kind: PoolKind, indices: Option<IndexOrder>) -> Kernel {
    let number = match kind {
        PoolKind::Max => 0,
        PoolKind::Average { .. } => 1,
        PoolKind::Lp { p: 1.0 } => 2,
        PoolKind::Lp { p: 2.0 } => 3,
        PoolKind::Lp { .. } => 4,
    };
    let store_index = match indices {
        Some(_) => include_str!("../../../shaders/pool_indices.wgsl"),
        None => "fn store_index(i: u32, index: u32) {}\n",
    };
    let writes = 1 + usize::from(indices.is_some());
    Kernel::new("pool", include_str!("../../../shaders/pool.wgsl"), 1, writes)
        .with(INDEX)
        .with(include_str!("../../../shaders/shared/float.wgsl"))
        .with(store_index)
        .constant("KIND", number)
        .flag("COUNT_INCLUDE_PAD", kind == PoolKind::Average { count_include_pad: true })
        .flag("COLUMN_MAJOR", indices == Some(IndexOrder::ColumnMajor))
}

pub(super) fn variants() -> Vec<Kernel> {
    let orders = [None, Some(IndexOrder::RowMajor), Some(IndexOrder::ColumnMajor)];
    let averages = [false, true].map(|count_include_pad| PoolKind::Average { count_include_pad });
    let norms = [1.0, 2.0, 3.0].map(|p| PoolKind::Lp { p });
    let others = averages.into_iter().chain(norms).map(|kind| kernel(kind, None));
    let maxima = orders.into_iter().map(|order| kernel(PoolKind::Max, order));
    maxima.chain(others).chain(image::pool_variants()).collect()
}

/// Whether the kernel can count along an axis, padding included, in 32 bits.
fn fits(axis: &Axis) -> bool {
    let padded = axis.before.saturating_add(axis.input).saturating_add(axis.after);
    let sizes = [padded, axis.kernel, axis.stride, axis.dilation];
    sizes.iter().all(|&n| n < 1 << 30)
}

pub(super) fn record(
    op: &Pool,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<()> {
    let x = site.input(0).map(|info| info.shape.clone()).unwrap_or_default();
    let axes = op.axes(&x).map_err(|e| site.error(e))?;
    if !axes.iter().all(fits) {
        return Err(site.error(OpError::shape("a window and padding of less than 2^30 cells", &op.window)));
    }
    if image::pool(op, &axes, site, operands, recording)? {
        return Ok(());
    }
    let count = site.output(0).shape.elements();
    let params = Params {
        cells: Cells::new(&axes),
        padded_size: spatial(&axes, |a| a.before + a.input + a.after, 1),
        count: count as u32,
        p: if let PoolKind::Lp { p } = op.kind { p } else { 1.0 },
        lowest: f32::NEG_INFINITY,
        padding: 0,
    };
    let input = operands.get(0, site, recording)?;
    let writes: Vec<_> = (0..site.node.outputs.len()).map(|i| operands.result(i)).collect();
    let groups = recording.linear(count, GROUP);
    recording.dispatch(kernel(op.kind, op.indices), &params, &[input], &writes, groups)
}
