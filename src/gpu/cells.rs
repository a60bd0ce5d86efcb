//! The spatial axes of a window as kernels take them: three of them, (depth, height, width).

use super::ops::gemm::last_four;
use crate::window::Axis;

/// The part that the parameters of windowed kernels have in common; an axis that is missing is one cell.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::NoUninit)]
pub(super) struct Cells {
    input_size: [u32; 4],
    output_size: [u32; 4],
    kernel: [u32; 4],
    stride: [u32; 4],
    dilation: [u32; 4],
    before: [u32; 4],
}

impl Cells {
    pub fn new(axes: &[Axis]) -> Self {
        Cells {
            input_size: spatial(axes, |a| a.input, 1),
            output_size: spatial(axes, |a| a.output, 1),
            kernel: spatial(axes, |a| a.kernel, 1),
            stride: spatial(axes, |a| a.stride, 1),
            dilation: spatial(axes, |a| a.dilation, 1),
            before: spatial(axes, |a| a.before, 0),
        }
    }
}

/// One number of each axis as (depth, height, width, 0), missing axes as `fill`.
pub(super) fn spatial(axes: &[Axis], of: impl Fn(&Axis) -> usize, fill: u32) -> [u32; 4] {
    let [_, z, y, x] = last_four(&axes.iter().map(of).collect::<Vec<_>>(), 1, fill);
    [z, y, x, 0]
}
