//! im2col: one invocation per element of the matrix.

use super::INDEX;
use crate::error::Result;
use crate::gpu::cells::Cells;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::{BufferId, Recording};
use crate::ops::Im2col;
use crate::plan::Site;
use crate::window::Axis;

const GROUP: usize = 64;

#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::NoUninit)]
struct Params {
    channels: u32,
    rows: u32,
    start: u32,
    count: u32,
    cells: Cells,
    row_step: u32,
    split: u32,
    image_step: u32,
    padding: u32,
}

/// Where the matrix's elements go.
pub(super) struct Layout {
    /// Elements from one row to the next.
    pub row_step: usize,
    /// Columns come in images of so many.
    pub split: usize,
    /// Elements from one image's columns to the next's.
    pub image_step: usize,
}

fn kernel() -> Kernel {
    Kernel::new("im2col", include_str!("../../../shaders/im2col.wgsl"), 1, 1).with(INDEX)
}

pub(super) fn variants() -> Vec<Kernel> {
    vec![kernel()]
}

/// Records the columns `start..start + count` of all images' patches.
pub(super) fn dispatch(
    axes: &[Axis],
    channels: usize,
    (start, count): (usize, usize),
    layout: &Layout,
    input: BufferId,
    output: BufferId,
    recording: &mut Recording,
) -> Result<()> {
    let rows = axes.iter().fold(channels, |n, a| n * a.kernel);
    let params = Params {
        channels: channels as u32,
        rows: rows as u32,
        start: start as u32,
        count: count as u32,
        cells: Cells::new(axes),
        row_step: layout.row_step as u32,
        split: layout.split as u32,
        image_step: layout.image_step as u32,
        padding: 0,
    };
    let groups = recording.linear(rows * count, GROUP);
    recording.dispatch(kernel(), &params, &[input], &[output], groups)
}

pub(super) fn record(
    op: &Im2col,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<()> {
    let x = site.input(0).map(|info| info.shape.clone()).unwrap_or_default();
    let axes = op.axes(&x).map_err(|e| site.error(e))?;
    let [images, rows, positions] = [0, 1, 2].map(|i| site.output(0).shape[i]);
    let layout = Layout { row_step: positions, split: positions, image_step: rows * positions };
    let input = operands.get(0, site, recording)?;
    dispatch(&axes, x[1], (0, images * positions), &layout, input, operands.result(0), recording)
}
