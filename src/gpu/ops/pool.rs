//! Pooling: four neighbours of an output row to an invocation, or one where their positions are asked for or rows are short.

use super::INDEX;
use crate::error::Result;
use crate::gpu::cells::{Cells, Slide, spatial};
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

/// What the kernels of both ways have in common.
fn specialise(kernel: Kernel, kind: PoolKind) -> Kernel {
    let number = match kind {
        PoolKind::Max => 0,
        PoolKind::Average { .. } => 1,
        PoolKind::Lp { p: 1.0 } => 2,
        PoolKind::Lp { p: 2.0 } => 3,
        PoolKind::Lp { .. } => 4,
    };
    kernel
        .with(include_str!("../../../shaders/shared/pool.wgsl"))
        .with(include_str!("../../../shaders/shared/float.wgsl"))
        .with(INDEX)
        .constant("KIND", number)
        .flag("COUNT_INCLUDE_PAD", kind == PoolKind::Average { count_include_pad: true })
}

fn kernel(kind: PoolKind, indices: Option<IndexOrder>) -> Kernel {
    let store_index = match indices {
        Some(_) => include_str!("../../../shaders/pool_indices.wgsl"),
        None => "fn store_index(i: u32, index: u32) {}\n",
    };
    let writes = 1 + usize::from(indices.is_some());
    let kernel = Kernel::new("pool", include_str!("../../../shaders/pool.wgsl"), 1, writes);
    specialise(kernel.with(store_index), kind).flag("COLUMN_MAJOR", indices == Some(IndexOrder::ColumnMajor))
}

/// Rows of whole fours are stored by fours.
fn row_kernel(kind: PoolKind, slide: Slide) -> Kernel {
    let store = match slide.has_whole_fours() {
        true => include_str!("../../../shaders/shared/store_fours.wgsl"),
        false => include_str!("../../../shaders/shared/store_each.wgsl"),
    };
    let kernel = Kernel::new("pool_row", include_str!("../../../shaders/pool_row.wgsl"), 1, 1);
    slide.specialise(specialise(kernel.with(store).with(Slide::STORAGE), kind))
}

/// How a row is computed by fours; none where it cannot be, or is asked or better not to: shorter rows would leave
/// invocations idle.
fn choose_row(op: &Pool, axes: &[Axis], variant: Option<&str>) -> Option<Slide> {
    let slide = Slide::new(axes).filter(|_| op.indices.is_none())?;
    let chosen = match variant {
        Some("pool_row") => true,
        Some("pool") => false,
        _ => slide.outputs >= 4,
    };
    chosen.then_some(slide)
}

pub(super) fn variants() -> Vec<Kernel> {
    let orders = [None, Some(IndexOrder::RowMajor), Some(IndexOrder::ColumnMajor)];
    let averages = [false, true].map(|count_include_pad| PoolKind::Average { count_include_pad });
    let norms = [1.0, 2.0, 3.0].map(|p| PoolKind::Lp { p });
    let sums: Vec<_> = averages.into_iter().chain(norms).collect();
    let kinds = sums.iter().chain([&PoolKind::Max]);
    let rows = kinds.flat_map(|kind| Slide::EVERY.map(|slide| row_kernel(*kind, slide)));
    let others = sums.iter().map(|kind| kernel(*kind, None)).chain(rows);
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
    let row = choose_row(op, &axes, site.options.variant);
    let planes = x[0] * x[1];
    let count = match row {
        Some(slide) => planes * slide.pieces(&axes),
        None => site.output(0).shape.elements(),
    };
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
    let kernel = row.map_or_else(|| kernel(op.kind, op.indices), |slide| row_kernel(op.kind, slide));
    recording.dispatch(kernel, &params, &[input], &writes, groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::Window;

    #[test]
    fn every_branch_of_the_choice() {
        let chosen = |row: usize, kernel: usize, indices: Option<IndexOrder>, variant: Option<&str>| {
            let op = Pool { kind: PoolKind::Max, window: Window::new([kernel]), indices };
            let axis = Axis { input: row, output: row, kernel, stride: 1, dilation: 1, before: 0, after: 0 };
            choose_row(&op, &[axis], variant).is_some()
        };
        assert!(chosen(4, 3, None, None));
        assert!(!chosen(3, 3, None, None), "a short row");
        assert!(!chosen(4, 17, None, Some("pool_row")), "a long window");
        assert!(!chosen(4, 3, Some(IndexOrder::RowMajor), Some("pool_row")), "positions");
        assert!(chosen(3, 3, None, Some("pool_row")));
        assert!(!chosen(4, 3, None, Some("pool")));
    }
}
