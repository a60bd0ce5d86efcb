//! The gradient of pooling: one invocation per element of the pool's input.

use super::INDEX;
use crate::error::Result;
use crate::gpu::cells::{Cells, spatial};
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
    divisor: f32,
    padding: [u32; 2],
}

/// How an output's gradient is shared among the elements of its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shares {
    /// All of it to the maximum.
    Max,
    /// Evenly, with the same divisor everywhere.
    Even,
    /// Evenly, with a divisor for each output.
    Uneven,
}

fn kernel(shares: Shares, axes: &[Axis]) -> Kernel {
    let [stride, dilation] = [spatial(axes, |a| a.stride, 1), spatial(axes, |a| a.dilation, 1)];
    let kernel = Kernel::new("pool_gradient", include_str!("../../../shaders/pool_gradient.wgsl"), 2, 1)
        .with(INDEX)
        .flag("MAX", shares == Shares::Max)
        .flag("EVEN", shares == Shares::Even);
    ["Z", "Y", "X"].iter().enumerate().fold(kernel, |kernel, (i, axis)| {
        kernel
            .constant(&format!("STRIDE_{axis}"), stride[i] as usize)
            .constant(&format!("DILATION_{axis}"), dilation[i] as usize)
    })
}

pub(super) fn variants() -> Vec<Kernel> {
    let axis = Axis { input: 9, output: 4, kernel: 2, stride: 2, dilation: 1, before: 0, after: 0 };
    let dilated = Axis { stride: 1, dilation: 2, ..axis };
    let kinds = [Shares::Max, Shares::Even, Shares::Uneven];
    kinds.into_iter().flat_map(|shares| [axis, dilated].map(|axis| kernel(shares, &[axis, axis]))).collect()
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
    let dy = operands.get(0, site, recording)?;
    let (table, shares, divisor) = match op.kind {
        PoolKind::Average { count_include_pad } => {
            let along = divisors(&axes, count_include_pad);
            let even = along.iter().all(|axis| axis.iter().all(|n| n == &axis[0]));
            match even {
                true => (dy, Shares::Even, along.iter().map(|axis| axis[0]).product()),
                false => {
                    let table = recording.words(format!("{} divisors", site.node.name), along.concat());
                    (table, Shares::Uneven, 1)
                }
            }
        }
        _ => (operands.get(1, site, recording)?, Shares::Max, 1),
    };
    let params = Params {
        cells: Cells::new(&axes),
        count: count as u32,
        // A window without elements has the divisor 0, and nothing to share.
        divisor: divisor.max(1) as f32,
        padding: [0; 2],
    };
    let kernel = kernel(shares, &axes);
    let groups = recording.linear(count, GROUP);
    recording.dispatch(kernel, &params, &[dy, table], &[operands.result(0)], groups)
}

/// The divisors of the outputs along depth, height and width; an axis that is missing has one output and divides by 1.
fn divisors(axes: &[Axis], count_include_pad: bool) -> [Vec<u32>; 3] {
    let of_axis = |axis: &Axis| {
        let of_output = |i| average_divisor(&[*axis], &[i], count_include_pad) as u32;
        (0..axis.output).map(of_output).collect::<Vec<_>>()
    };
    std::array::from_fn(|i| (i + axes.len()).checked_sub(3).map_or(vec![1], |axis| of_axis(&axes[axis])))
}
