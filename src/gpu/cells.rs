//! The spatial axes of a window as kernels take them: three of them, (depth, height, width).

use super::kernel::Kernel;
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

/// What of a window specialises kernels that compute four neighbours of an output row together
/// (`shaders/shared/slide.wgsl`): its last axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slide {
    kernel: usize,
    stride: usize,
    dilation: usize,
    /// The length of an output row.
    pub outputs: usize,
}

impl Slide {
    /// Rows in storage.
    pub const STORAGE: &str = include_str!("../../shaders/shared/slide_storage.wgsl");

    /// One for each way to move on to the next tap, by turns with rows of whole fours and with others.
    pub const EVERY: [Slide; 4] = {
        const fn new(kernel: usize, stride: usize, dilation: usize, outputs: usize) -> Slide {
            Slide { kernel, stride, dilation, outputs }
        }
        [new(3, 1, 1, 4), new(3, 2, 1, 5), new(2, 3, 1, 4), new(5, 1, 2, 5)]
    };

    /// Along these axes; none where there are none, or the row of taps is long: its length is part of the code.
    pub fn new(axes: &[Axis]) -> Option<Self> {
        const MOST_TAPS: usize = 16;
        let &Axis { kernel, stride, dilation, output: outputs, .. } = axes.last()?;
        // Of no consequence where there is one tap or output, and then of any size.
        let dilation = if kernel == 1 { 1 } else { dilation };
        let stride = if outputs == 1 { 1 } else { stride };
        (kernel <= MOST_TAPS).then_some(Slide { kernel, stride, dilation, outputs })
    }

    /// Whether output rows are whole fours.
    pub fn has_whole_fours(&self) -> bool {
        self.outputs.is_multiple_of(4)
    }

    /// For a kernel that says what a row is, or with [`Slide::STORAGE`].
    pub fn specialise(&self, kernel: Kernel) -> Kernel {
        kernel
            .with(include_str!("../../shaders/shared/slide.wgsl"))
            .constant("KERNEL_WIDTH", self.kernel)
            .constant("STRIDE_X", self.stride)
            .constant("DILATION_X", self.dilation)
    }

    /// The groups of four in all rows of a plane.
    pub fn pieces(&self, axes: &[Axis]) -> usize {
        let rows: usize = axes.iter().rev().skip(1).map(|axis| axis.output).product();
        rows * self.outputs.div_ceil(4)
    }
}
