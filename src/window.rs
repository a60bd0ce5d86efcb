//! Convolution arithmetic: how a sliding window maps input sizes to output sizes.
//!
//! This is the only place that computes an output size or a padding. A [`Window`] states what the user asked for
//! (kernel, stride, dilation, padding, ceil mode) without knowing a size; [`Window::resolve`] meets an input size and
//! yields one [`Axis`] per spatial axis, in which every number is known and checked. Convolution and pooling share
//! it; [`Transposed`] is the same window run backwards.
//!
//! Sizes and paddings count cells along one spatial axis. Axes stand in the tensor's order: `[W]`, `[H, W]` or
//! `[D, H, W]`.
//!
//! Sources: Dumoulin & Visin, *A guide to convolution arithmetic for deep learning* (2016); the ONNX operators `Conv`,
//! `MaxPool`, `AveragePool` and `ConvTranspose` (opset 22) for `SAME`, ceil mode and the transposed sizes.
//!
//! ```
//! use wgpu_cnn::window::Window;
//!
//! let axes = Window::new([3, 3]).stride(2).padding(1).resolve(&[224, 224])?;
//! assert_eq!((axes[0].output, axes[1].output), (112, 112));
//! # Ok::<(), wgpu_cnn::window::WindowError>(())
//! ```

use std::fmt;

/// The most spatial axes a window may have.
const MAX_RANK: usize = 3;

/// One number for all spatial axes, or one for each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PerAxis {
    /// The same number on every axis.
    All(usize),
    /// One number per axis, in the tensor's order.
    Each(Vec<usize>),
}

impl PerAxis {
    /// The numbers of a window with `rank` axes.
    ///
    /// # Errors
    /// [`WindowError::RankMismatch`] where [`PerAxis::Each`] lists another number of axes.
    pub fn get(&self, rank: usize) -> Result<Vec<usize>, WindowError> {
        self.named("value", rank)
    }

    fn named(&self, what: &'static str, rank: usize) -> Result<Vec<usize>, WindowError> {
        match self {
            Self::All(value) => Ok(vec![*value; rank]),
            Self::Each(values) => {
                expect_rank(what, rank, values.len())?;
                Ok(values.clone())
            }
        }
    }

    fn is_all(&self, value: usize) -> bool {
        match self {
            Self::All(all) => *all == value,
            Self::Each(each) => each.iter().all(|v| *v == value),
        }
    }
}

impl From<usize> for PerAxis {
    fn from(value: usize) -> Self {
        Self::All(value)
    }
}

impl<const N: usize> From<[usize; N]> for PerAxis {
    fn from(values: [usize; N]) -> Self {
        Self::Each(values.to_vec())
    }
}

impl From<Vec<usize>> for PerAxis {
    fn from(values: Vec<usize>) -> Self {
        Self::Each(values)
    }
}

impl From<&[usize]> for PerAxis {
    fn from(values: &[usize]) -> Self {
        Self::Each(values.to_vec())
    }
}

impl fmt::Display for PerAxis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(value) => write!(f, "{value}"),
            Self::Each(values) => f.write_str(&times(values)),
        }
    }
}

/// How many cells stand around the input before the window slides over it.
///
/// What the cells hold is the operator's matter: zero for a convolution, nothing at all for a maximum.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Padding {
    /// None.
    Valid,
    /// As many as make the output `ceil(input / stride)`; an odd one goes after the input (TensorFlow's `SAME`).
    SameUpper,
    /// As many as make the output `ceil(input / stride)`; an odd one goes before the input.
    SameLower,
    /// The same number before and after the input.
    Uniform(PerAxis),
    /// `(before, after)` per axis.
    Explicit(Vec<(usize, usize)>),
}

impl<const N: usize> From<[(usize, usize); N]> for Padding {
    fn from(pairs: [(usize, usize); N]) -> Self {
        Self::Explicit(pairs.to_vec())
    }
}

impl From<Vec<(usize, usize)>> for Padding {
    fn from(pairs: Vec<(usize, usize)>) -> Self {
        Self::Explicit(pairs)
    }
}

impl From<PerAxis> for Padding {
    fn from(values: PerAxis) -> Self {
        Self::Uniform(values)
    }
}

impl From<usize> for Padding {
    fn from(value: usize) -> Self {
        Self::Uniform(value.into())
    }
}

impl<const N: usize> From<[usize; N]> for Padding {
    fn from(values: [usize; N]) -> Self {
        Self::Uniform(values.into())
    }
}

impl From<Vec<usize>> for Padding {
    fn from(values: Vec<usize>) -> Self {
        Self::Uniform(values.into())
    }
}

impl From<&[usize]> for Padding {
    fn from(values: &[usize]) -> Self {
        Self::Uniform(values.into())
    }
}

impl fmt::Display for Padding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Valid => f.write_str("valid"),
            Self::SameUpper => f.write_str("same-upper"),
            Self::SameLower => f.write_str("same-lower"),
            Self::Uniform(values) => write!(f, "{values}"),
            Self::Explicit(pairs) => {
                let pairs: Vec<_> = pairs.iter().map(|(b, a)| format!("({b}+{a})")).collect();
                f.write_str(&times(&pairs))
            }
        }
    }
}

/// A sliding window over 1 to 3 spatial axes, before it meets an input.
///
/// Starts with stride 1, dilation 1, no padding and floor mode. Any combination can be stated; [`Window::resolve`]
/// says whether it makes sense.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    kernel: Vec<usize>,
    stride: PerAxis,
    dilation: PerAxis,
    padding: Padding,
    ceil_mode: bool,
}

impl Window {
    /// A window of `kernel` cells per axis; its length is the window's rank.
    pub fn new(kernel: impl Into<Vec<usize>>) -> Self {
        Self {
            kernel: kernel.into(),
            stride: PerAxis::All(1),
            dilation: PerAxis::All(1),
            padding: Padding::Valid,
            ceil_mode: false,
        }
    }

    /// Sets how many cells the window moves from one output to the next.
    #[must_use]
    pub fn stride(mut self, stride: impl Into<PerAxis>) -> Self {
        self.stride = stride.into();
        self
    }

    /// Sets the distance of neighbouring kernel cells on the input; 1 is a dense kernel.
    #[must_use]
    pub fn dilation(mut self, dilation: impl Into<PerAxis>) -> Self {
        self.dilation = dilation.into();
        self
    }

    /// Sets the padding: a [`Padding`], one number, one number per axis, or `(before, after)` per axis.
    #[must_use]
    pub fn padding(mut self, padding: impl Into<Padding>) -> Self {
        self.padding = padding.into();
        self
    }

    /// Sets whether a last window may hang over the end of the padded input, so that no cell is left out.
    ///
    /// A last window that would start in the padding after the input is dropped. Without effect on `SAME` paddings,
    /// which leave nothing over.
    #[must_use]
    pub fn ceil_mode(mut self, ceil_mode: bool) -> Self {
        self.ceil_mode = ceil_mode;
        self
    }

    /// Cells per axis.
    pub fn kernel(&self) -> &[usize] {
        &self.kernel
    }

    /// The stride as it was stated.
    pub fn strides(&self) -> &PerAxis {
        &self.stride
    }

    /// The dilation as it was stated.
    pub fn dilations(&self) -> &PerAxis {
        &self.dilation
    }

    /// The padding as it was stated.
    pub fn pads(&self) -> &Padding {
        &self.padding
    }

    /// Whether ceil mode is set.
    pub fn has_ceil_mode(&self) -> bool {
        self.ceil_mode
    }

    /// Number of spatial axes.
    pub fn rank(&self) -> usize {
        self.kernel.len()
    }

    /// Slides the window over an input of these spatial sizes.
    ///
    /// With input `i`, stride `s`, paddings `b` and `a`, and extent `K = d(k-1)+1`, the output is
    /// - `floor((i+b+a-K)/s)+1` for stated paddings;
    /// - in ceil mode `ceil((i+b+a-K)/s)+1`, less one if that last window starts at or past `i+b`;
    /// - `ceil(i/s)` for `SAME`, with `b+a = max((o-1)s+K-i, 0)`.
    ///
    /// # Errors
    /// Any [`WindowError`] but those of a transposed convolution. On success no output is 0, and
    /// `(output-1)*stride + extent` and `before + input + after` fit a `usize` on each axis.
    pub fn resolve(&self, input: &[usize]) -> Result<Vec<Axis>, WindowError> {
        let steps = self.steps()?;
        expect_sizes("input", self.rank(), input)?;
        (0..self.rank())
            .map(|axis| {
                let (step, input) = (steps[axis], input[axis]);
                let (output, before, after) = match step.pads {
                    Pads::Stated(before, after) => {
                        (step.stated_output(axis, input, before, after, self.ceil_mode)?, before, after)
                    }
                    Pads::Same(odd) => {
                        let output = input.div_ceil(step.stride);
                        let covered = step.covered(output).ok_or(WindowError::Overflow { axis })?;
                        let (before, after) = odd.split(covered.saturating_sub(input));
                        (output, before, after)
                    }
                };
                Ok(step.axis(input, output, before, after))
            })
            .collect()
    }

    /// The window that leads from the outputs of a window of stride 1 back to exactly its inputs, each filter flipped:
    /// the gradient of a convolution. `None` where a stride is more, or padding is wider than the window reaches.
    pub(crate) fn flipped(axes: &[Axis]) -> Option<Window> {
        let pads = |axis: &Axis| {
            let reach = axis.extent() - 1;
            let pads = (reach.checked_sub(axis.before)?, reach.checked_sub(axis.after)?);
            (axis.stride == 1).then_some(pads)
        };
        let pads = axes.iter().map(pads).collect::<Option<Vec<_>>>()?;
        Some(Window { padding: Padding::Explicit(pads), ..Window::of(axes) })
    }

    /// The window that leads from the outputs of a transposed convolution with these axes back to exactly its inputs, and
    /// how many cells of each axis of the outputs it reads: cells past those received no input.
    pub(crate) fn back(axes: &[Axis]) -> (Window, Vec<usize>) {
        let mut pads = Vec::new();
        let mut reads = Vec::new();
        for axis in axes {
            // Cells from the window of the first input to that of the last.
            let covered = (axis.input - 1) * axis.stride + axis.extent();
            let reached = covered.saturating_sub(axis.before).min(axis.output);
            pads.push((axis.before, covered.saturating_sub(axis.before + reached)));
            reads.push(reached);
        }
        (Window { padding: Padding::Explicit(pads), ..Window::of(axes) }, reads)
    }

    /// The window with the kernel, stride and dilation of these axes, without padding.
    fn of(axes: &[Axis]) -> Window {
        let each = |size: fn(&Axis) -> usize| axes.iter().map(size).collect::<Vec<_>>();
        Window::new(each(|a| a.kernel)).stride(each(|a| a.stride)).dilation(each(|a| a.dilation))
    }

    /// The window axis by axis, checked as far as that goes without an input.
    pub(crate) fn steps(&self) -> Result<Vec<Step>, WindowError> {
        let rank = self.rank();
        if !(1..=MAX_RANK).contains(&rank) {
            return Err(WindowError::UnsupportedRank { rank });
        }
        expect_sizes("kernel", rank, &self.kernel)?;
        let stride = self.stride.named("stride", rank)?;
        expect_sizes("stride", rank, &stride)?;
        let dilation = self.dilation.named("dilation", rank)?;
        expect_sizes("dilation", rank, &dilation)?;
        let pads: Vec<Pads> = match &self.padding {
            Padding::Valid => vec![Pads::Stated(0, 0); rank],
            Padding::SameUpper => vec![Pads::Same(Odd::After); rank],
            Padding::SameLower => vec![Pads::Same(Odd::Before); rank],
            Padding::Uniform(values) => {
                let values = values.named("padding", rank)?;
                values.iter().map(|&p| Pads::Stated(p, p)).collect()
            }
            Padding::Explicit(pairs) => {
                expect_rank("padding", rank, pairs.len())?;
                pairs.iter().map(|&(b, a)| Pads::Stated(b, a)).collect()
            }
        };
        (0..rank)
            .map(|axis| {
                let (kernel, dilation) = (self.kernel[axis], dilation[axis]);
                Ok(Step {
                    kernel,
                    stride: stride[axis],
                    dilation,
                    extent: (kernel - 1)
                        .checked_mul(dilation)
                        .and_then(|n| n.checked_add(1))
                        .ok_or(WindowError::Overflow { axis })?,
                    pads: pads[axis],
                })
            })
            .collect()
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&times(&self.kernel))?;
        if !self.stride.is_all(1) {
            write!(f, ", stride {}", self.stride)?;
        }
        if !self.dilation.is_all(1) {
            write!(f, ", dilation {}", self.dilation)?;
        }
        if self.padding != Padding::Valid {
            write!(f, ", padding {}", self.padding)?;
        }
        if self.ceil_mode {
            f.write_str(", ceil mode")?;
        }
        Ok(())
    }
}

/// One spatial axis of a window that has met its input.
///
/// Forward, tap `t` of output `o` reads input cell `o*stride + t*dilation - before`; a cell outside `0..input` is
/// padding, or in ceil mode overhang. In a transposed convolution tap `t` of input `i` adds to output cell
/// `i*stride + t*dilation - before`; a cell outside `0..output` is cropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Axis {
    /// Input size.
    pub input: usize,
    /// Output size.
    pub output: usize,
    /// Kernel cells.
    pub kernel: usize,
    /// Cells from one window to the next.
    pub stride: usize,
    /// Cells from one tap to the next.
    pub dilation: usize,
    /// Padding before the input; of a transposed convolution, cells cropped before the output.
    pub before: usize,
    /// Padding after the input, without ceil mode's overhang; of a transposed convolution, cells cropped after the
    /// output.
    pub after: usize,
}

impl Axis {
    /// Cells from the kernel's first tap to its last, both included: `dilation*(kernel-1)+1`.
    pub fn extent(&self) -> usize {
        self.dilation.saturating_mul(self.kernel.saturating_sub(1)).saturating_add(1)
    }

    /// Taps of output `index` that lie at or past `from` and before `to`, counted from the padding's first cell.
    fn taps_within(&self, index: usize, from: usize, to: usize) -> usize {
        let start = index.saturating_mul(self.stride);
        let below =
            |bound: usize| bound.saturating_sub(start).div_ceil(self.dilation.max(1)).min(self.kernel);
        below(to).saturating_sub(below(from))
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} (kernel {}, stride {}", self.input, self.output, self.kernel, self.stride)?;
        if self.dilation != 1 {
            write!(f, ", dilation {}", self.dilation)?;
        }
        write!(f, ", padding {}+{})", self.before, self.after)
    }
}

/// A transposed convolution: a [`Window`] that spreads each input cell over the output.
///
/// Its window's padding is cropped from the output. Source: ONNX `ConvTranspose`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transposed {
    window: Window,
    output_padding: PerAxis,
    output_size: Option<Vec<usize>>,
}

impl Transposed {
    /// The transpose of `window`, without output padding.
    pub fn new(window: Window) -> Self {
        Self { window, output_padding: PerAxis::All(0), output_size: None }
    }

    /// The transpose that leads from the outputs of a window with these axes back to exactly its inputs: the gradient of a
    /// convolution.
    pub(crate) fn back(axes: &[Axis]) -> Self {
        let mut pads = Vec::new();
        let mut more = Vec::new();
        for axis in axes {
            // Cells from the first window to the last; the input may end before or after.
            let covered = (axis.output - 1) * axis.stride + axis.extent();
            let end = axis.before + axis.input;
            pads.push((axis.before, covered.saturating_sub(end)));
            more.push(end.saturating_sub(covered));
        }
        Self::new(Window { padding: Padding::Explicit(pads), ..Window::of(axes) }).output_padding(more)
    }

    /// Sets how many cells the output grows at its end; less than the stride or the dilation.
    ///
    /// A strided convolution maps several input sizes to one output size; this says which of them to return to.
    #[must_use]
    pub fn output_padding(mut self, output_padding: impl Into<PerAxis>) -> Self {
        self.output_padding = output_padding.into();
        self
    }

    /// Sets the output's spatial sizes. The cropping follows from them, and a stated padding is ignored.
    #[must_use]
    pub fn output_size(mut self, output_size: impl Into<Vec<usize>>) -> Self {
        self.output_size = Some(output_size.into());
        self
    }

    /// The window.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// The output padding as it was stated.
    pub fn output_paddings(&self) -> &PerAxis {
        &self.output_padding
    }

    /// The output sizes, where they were stated.
    pub fn output_sizes(&self) -> Option<&[usize]> {
        self.output_size.as_deref()
    }

    /// Spreads an input of these spatial sizes.
    ///
    /// With `full = s(i-1) + K + output_padding` the output is
    /// - the stated size, or `i*s` for `SAME`, cropping `T = max(full-o, 0)`: the odd cell is cropped after the output
    ///   for `SAME_UPPER`, before it otherwise;
    /// - `full - before - after` for stated paddings.
    ///
    /// Output cells past `full` (a stated size or `SAME` may ask for some) receive no input.
    ///
    /// # Errors
    /// Any [`WindowError`]. On success no output is 0.
    pub fn resolve(&self, input: &[usize]) -> Result<Vec<Axis>, WindowError> {
        let steps = self.window.steps()?;
        let rank = self.window.rank();
        if self.window.ceil_mode {
            return Err(WindowError::TransposedCeilMode);
        }
        expect_sizes("input", rank, input)?;
        let output_padding = self.output_padding.named("output padding", rank)?;
        if let Some(sizes) = &self.output_size {
            expect_sizes("output size", rank, sizes)?;
        }
        (0..rank)
            .map(|axis| {
                let (step, input, output_padding) = (steps[axis], input[axis], output_padding[axis]);
                let limit = step.stride.max(step.dilation);
                if output_padding >= limit {
                    return Err(WindowError::OutputPadding { axis, output_padding, limit });
                }
                let overflow = WindowError::Overflow { axis };
                let spread = step.covered(input).ok_or(overflow.clone())?;
                let full = spread.checked_add(output_padding).ok_or(overflow.clone())?;
                let requested = self.output_size.as_ref().map(|sizes| sizes[axis]);
                let (output, before, after) = match (requested, step.pads) {
                    (Some(requested), pads) => {
                        let largest = spread.checked_add(limit - 1).ok_or(overflow)?;
                        if requested > largest {
                            return Err(WindowError::OutputSize { axis, requested, largest });
                        }
                        let odd = match pads {
                            Pads::Same(odd) => odd,
                            Pads::Stated(..) => Odd::Before,
                        };
                        let (before, after) = odd.split(full.saturating_sub(requested));
                        (requested, before, after)
                    }
                    (None, Pads::Same(odd)) => {
                        let output = input.checked_mul(step.stride).ok_or(overflow)?;
                        let (before, after) = odd.split(full.saturating_sub(output));
                        (output, before, after)
                    }
                    (None, Pads::Stated(before, after)) => {
                        let output = before
                            .checked_add(after)
                            .and_then(|crop| full.checked_sub(crop))
                            .filter(|output| *output > 0)
                            .ok_or(WindowError::CroppedAway { axis, full, before, after })?;
                        (output, before, after)
                    }
                };
                Ok(step.axis(input, output, before, after))
            })
            .collect()
    }
}

impl fmt::Display for Transposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transposed {}", self.window)?;
        if !self.output_padding.is_all(0) {
            write!(f, ", output padding {}", self.output_padding)?;
        }
        if let Some(sizes) = &self.output_size {
            write!(f, ", output size {}", times(sizes))?;
        }
        Ok(())
    }
}

/// How many cells an average over the window at `output_index` divides by.
///
/// With `count_include_pad` the window's taps on the input and its padding count, but never those on ceil mode's
/// overhang; without it only the taps on the input count. The latter is 0 for a window that lies in the padding
/// altogether. Source: ONNX `AveragePool`.
pub fn average_divisor(axes: &[Axis], output_index: &[usize], count_include_pad: bool) -> usize {
    axes.iter()
        .zip(output_index)
        .map(|(axis, &index)| {
            let end = axis.before.saturating_add(axis.input);
            if count_include_pad {
                axis.taps_within(index, 0, end.saturating_add(axis.after))
            } else {
                axis.taps_within(index, axis.before, end)
            }
        })
        .fold(1, usize::saturating_mul)
}

/// Why a window does not fit.
///
/// Axes are counted from 0 among the spatial ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WindowError {
    /// The kernel has no axis, or more than three.
    #[error("a window has 1 to {MAX_RANK} spatial axes, not {rank}")]
    UnsupportedRank {
        /// Axes of the kernel.
        rank: usize,
    },
    /// A list has another number of axes than the kernel.
    #[error("{what} has {actual} axes, the window {expected}")]
    RankMismatch {
        /// What the list states.
        what: &'static str,
        /// Axes of the kernel.
        expected: usize,
        /// Length of the list.
        actual: usize,
    },
    /// A number that must be positive is 0.
    #[error("{what} is 0 on axis {axis}")]
    Zero {
        /// What the number states.
        what: &'static str,
        /// The axis.
        axis: usize,
    },
    /// Not one window fits into the padded input.
    #[error(
        "window larger than its padded input on axis {axis}: it spans {extent} cells \
         of {before}+{input}+{after}"
    )]
    TooLarge {
        /// The axis.
        axis: usize,
        /// Cells the window spans, dilation included.
        extent: usize,
        /// Input size.
        input: usize,
        /// Padding before the input.
        before: usize,
        /// Padding after the input.
        after: usize,
    },
    /// The padding of a transposed convolution leaves nothing of its output.
    #[error("padding {before}+{after} crops the whole output of {full} cells on axis {axis}")]
    CroppedAway {
        /// The axis.
        axis: usize,
        /// Output size before cropping.
        full: usize,
        /// Cells to crop before the output.
        before: usize,
        /// Cells to crop after the output.
        after: usize,
    },
    /// The output padding of a transposed convolution reaches both its stride and its dilation.
    #[error(
        "output padding {output_padding} on axis {axis} must be less than {limit}, the stride or dilation"
    )]
    OutputPadding {
        /// The axis.
        axis: usize,
        /// What was stated.
        output_padding: usize,
        /// The larger of stride and dilation.
        limit: usize,
    },
    /// The stated output size of a transposed convolution is more than its input can reach.
    #[error("output size {requested} on axis {axis} is more than the {largest} that the input can give")]
    OutputSize {
        /// The axis.
        axis: usize,
        /// What was stated.
        requested: usize,
        /// The largest possible.
        largest: usize,
    },
    /// A transposed convolution's window asks for ceil mode, which has no meaning there.
    #[error("a transposed convolution has no ceil mode")]
    TransposedCeilMode,
    /// A size does not fit a `usize`.
    #[error("sizes on axis {axis} overflow")]
    Overflow {
        /// The axis.
        axis: usize,
    },
}

/// One axis of a window that has not met its input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    kernel: usize,
    pub(crate) stride: usize,
    dilation: usize,
    pub(crate) extent: usize,
    pads: Pads,
}

impl Step {
    /// The padding before the input, where it is the same for every input size.
    pub(crate) fn before(&self) -> Option<usize> {
        match self.pads {
            Pads::Stated(before, _) => Some(before),
            Pads::Same(odd) if self.stride == 1 || self.extent == 1 => Some(odd.split(self.extent - 1).0),
            Pads::Same(_) => None,
        }
    }

    /// Cells from the first cell of the first of `count` windows to the last of the last. `count` is not 0.
    fn covered(&self, count: usize) -> Option<usize> {
        (count - 1).checked_mul(self.stride)?.checked_add(self.extent)
    }

    fn stated_output(
        &self,
        axis: usize,
        input: usize,
        before: usize,
        after: usize,
        ceil_mode: bool,
    ) -> Result<usize, WindowError> {
        // Rounding up is rounding down with stride - 1 further cells.
        let overhang = if ceil_mode { self.stride - 1 } else { 0 };
        let reach = input
            .checked_add(before)
            .and_then(|n| n.checked_add(after))
            .and_then(|n| n.checked_add(overhang))
            .ok_or(WindowError::Overflow { axis })?;
        let slack = reach.checked_sub(self.extent).ok_or(WindowError::TooLarge {
            axis,
            extent: self.extent,
            input,
            before,
            after,
        })?;
        let last = slack / self.stride;
        let starts_past_input = last * self.stride >= input + before;
        Ok(if ceil_mode && starts_past_input { last } else { last + 1 })
    }

    fn axis(&self, input: usize, output: usize, before: usize, after: usize) -> Axis {
        Axis {
            input,
            output,
            kernel: self.kernel,
            stride: self.stride,
            dilation: self.dilation,
            before,
            after,
        }
    }
}

/// The padding of one axis: stated as `(before, after)`, or to be found from the input size.
#[derive(Clone, Copy, Debug)]
enum Pads {
    Stated(usize, usize),
    Same(Odd),
}

/// Where the odd cell of an odd padding goes.
#[derive(Clone, Copy, Debug)]
enum Odd {
    Before,
    After,
}

impl Odd {
    fn split(self, total: usize) -> (usize, usize) {
        let (less, more) = (total / 2, total - total / 2);
        match self {
            Self::Before => (more, less),
            Self::After => (less, more),
        }
    }
}

fn expect_rank(what: &'static str, expected: usize, actual: usize) -> Result<(), WindowError> {
    if expected == actual {
        return Ok(());
    }
    Err(WindowError::RankMismatch { what, expected, actual })
}

/// One positive number per axis.
fn expect_sizes(what: &'static str, rank: usize, sizes: &[usize]) -> Result<(), WindowError> {
    expect_rank(what, rank, sizes.len())?;
    match sizes.iter().position(|size| *size == 0) {
        Some(axis) => Err(WindowError::Zero { what, axis }),
        None => Ok(()),
    }
}

/// `3x3`: sizes as a reader expects them.
pub(crate) fn times<T: fmt::Display>(values: &[T]) -> String {
    let values: Vec<_> = values.iter().map(T::to_string).collect();
    values.join("x")
}
