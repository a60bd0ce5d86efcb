//! Receptive field: which input cells an output cell depends on.
//!
//! A network of convolutions and poolings has, on each spatial axis, a field of `size` cells that moves by `stride`
//! cells from one output to the next and starts `padding` cells before the input: output `u` depends on the input
//! cells `u*stride - padding .. u*stride - padding + size`. Layers compose by
//! `size = 1 + sum (K_l - 1) prod_{j<l} s_j`, `stride = prod s_l`, `padding = sum p_l prod_{j<l} s_j`, with `K_l` the
//! dilated kernel's extent.
//!
//! Source: Araujo, Norris & Sim, *Computing Receptive Fields of Convolutional Neural Networks* (Distill, 2019).
//!
//! ```
//! use wgpu_cnn::{receptive::ReceptiveField, window::Window};
//!
//! let conv = Window::new([3, 3]).padding(1);
//! let stacked = ReceptiveField::identity(2)
//!     .then_window(&conv, None)?
//!     .then_window(&conv, None)?;
//! assert_eq!(stacked.axes[0].size, 5); // two 3x3 see as far as one 5x5
//! # Ok::<(), wgpu_cnn::window::WindowError>(())
//! ```

use std::{fmt, ops::Range};

use crate::window::{Axis, Window, WindowError, times};

/// The receptive field on one axis, in input cells. Numbers past their type's range saturate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// Cells an output depends on, from the first to the last.
    pub size: usize,
    /// How far the field moves from one output to the next.
    pub stride: usize,
    /// How far the first output's field starts before the input. `None` where a `SAME` padding makes it depend on an
    /// input size that was not given.
    pub padding: Option<i64>,
}

impl Field {
    const IDENTITY: Self = Self { size: 1, stride: 1, padding: Some(0) };

    fn then(self, extent: usize, stride: usize, before: Option<usize>) -> Self {
        let grown = extent.saturating_sub(1).saturating_mul(self.stride);
        let padding = self
            .padding
            .zip(before)
            .map(|(padding, before)| padding.saturating_add(clamped(before.saturating_mul(self.stride))));
        Self { size: self.size.saturating_add(grown), stride: self.stride.saturating_mul(stride), padding }
    }

    /// Twice the centre of the first output's field, from the input's first cell: `size - 1 - 2*padding`.
    fn twice_centre(&self) -> Option<i64> {
        let padding = self.padding?;
        Some(clamped(self.size.saturating_sub(1)).saturating_sub(padding.saturating_mul(2)))
    }

    fn range(&self, index: usize) -> Option<Range<i64>> {
        let start = i64::try_from(index.checked_mul(self.stride)?).ok()?.checked_sub(self.padding?)?;
        Some(start..start.checked_add(i64::try_from(self.size).ok()?)?)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} stride {} padding ", self.size, self.stride)?;
        match self.padding {
            Some(padding) => write!(f, "{padding}"),
            None => f.write_str("unknown"),
        }
    }
}

/// The receptive field of one value of a network on that network's input, per spatial axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReceptiveField {
    /// One field per spatial axis, in the tensor's order.
    pub axes: Vec<Field>,
}

impl ReceptiveField {
    /// The field of the input itself: one cell.
    pub fn identity(rank: usize) -> Self {
        Self { axes: vec![Field::IDENTITY; rank] }
    }

    /// The field behind one more forward window, whose sizes are known.
    ///
    /// `axes` has one entry per axis of the field; an axis without one stays as it is.
    #[must_use]
    pub fn then(&self, axes: &[Axis]) -> Self {
        let mut next = self.clone();
        for (field, axis) in next.axes.iter_mut().zip(axes) {
            *field = field.then(axis.extent(), axis.stride, Some(axis.before));
        }
        next
    }

    /// The field behind one more window over spatial sizes `input`, or over unknown ones.
    ///
    /// Where the sizes are unknown and a `SAME` padding depends on them (stride and extent both above 1), the padding
    /// is `None` from here on.
    ///
    /// # Errors
    /// As [`Window::resolve`]; [`WindowError::RankMismatch`] also where the window's rank is not the field's.
    pub fn then_window(&self, window: &Window, input: Option<&[usize]>) -> Result<Self, WindowError> {
        if window.rank() != self.axes.len() {
            return Err(WindowError::RankMismatch {
                what: "receptive field",
                expected: window.rank(),
                actual: self.axes.len(),
            });
        }
        if let Some(input) = input {
            return Ok(self.then(&window.resolve(input)?));
        }
        let axes = self.axes.iter().zip(window.steps()?);
        Ok(Self {
            axes: axes.map(|(field, step)| field.then(step.extent, step.stride, step.before())).collect(),
        })
    }

    /// The field where branches meet, by addition or concatenation: the widest of them.
    ///
    /// Unknown paddings make the result's padding unknown; the known ones must still agree.
    ///
    /// # Errors
    /// [`Misaligned`] where the branches differ in rank, stride or centre, so that no one field describes all outputs.
    pub fn join(branches: &[Self]) -> Result<Self, Misaligned> {
        let (first, others) = branches.split_first().ok_or(Misaligned::NoBranch)?;
        for other in others {
            if first.axes.len() != other.axes.len() {
                return Err(Misaligned::Rank { one: first.axes.len(), other: other.axes.len() });
            }
        }
        (0..first.axes.len())
            .map(|axis| {
                let others: Vec<_> = others.iter().map(|other| other.axes[axis]).collect();
                join_axis(axis, first.axes[axis], &others)
            })
            .collect::<Result<_, _>>()
            .map(|axes| Self { axes })
    }

    /// The input cells that the output at `output_index` depends on, per axis.
    ///
    /// They may reach past the input on either side, into padding. `None` where a padding is unknown, the index has
    /// another rank, or a number does not fit an `i64`.
    pub fn range(&self, output_index: &[usize]) -> Option<Vec<Range<i64>>> {
        if output_index.len() != self.axes.len() {
            return None;
        }
        let axes = self.axes.iter().zip(output_index);
        axes.map(|(field, &index)| field.range(index)).collect()
    }
}

/// `212x212 stride 32 padding 90`, with a number per axis where the axes differ.
impl fmt::Display for ReceptiveField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<_> = self.axes.iter().map(|a| a.size).collect();
        let strides: Vec<_> = self.axes.iter().map(|a| a.stride).collect();
        let paddings: Vec<_> =
            self.axes.iter().map(|a| a.padding.map_or("unknown".to_owned(), |p| p.to_string())).collect();
        write!(f, "{} stride {} padding {}", times(&sizes), times(merged(&strides)), times(merged(&paddings)))
    }
}

/// Why branches have no common receptive field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misaligned {
    /// There is no branch.
    #[error("no branch to join")]
    NoBranch,
    /// Two branches have different numbers of axes.
    #[error("branches of {one} and {other} spatial axes")]
    Rank {
        /// Axes of one branch.
        one: usize,
        /// Axes of another.
        other: usize,
    },
    /// The fields of two branches move at different speeds.
    #[error("branches move by {one} and {other} input cells per output on axis {axis}")]
    Stride {
        /// The axis.
        axis: usize,
        /// Stride of one branch.
        one: usize,
        /// Stride of another.
        other: usize,
    },
    /// The fields of two branches are not centred on the same cell.
    #[error(
        "branches are centred {} and {} cells after the input's first on axis {axis}",
        *.one_twice as f64 / 2.0,
        *.other_twice as f64 / 2.0
    )]
    Centre {
        /// The axis.
        axis: usize,
        /// Twice one branch's centre, in input cells; twice, because a centre may lie between two cells.
        one_twice: i64,
        /// Twice another's.
        other_twice: i64,
    },
}

/// The widest of the fields that `first` and `others` have on `axis`. Strides are compared before centres, which mean
/// little where the strides differ.
fn join_axis(axis: usize, first: Field, others: &[Field]) -> Result<Field, Misaligned> {
    if let Some(other) = others.iter().find(|other| other.stride != first.stride) {
        return Err(Misaligned::Stride { axis, one: first.stride, other: other.stride });
    }
    let fields = || std::iter::once(&first).chain(others);
    let mut centres = fields().filter_map(Field::twice_centre);
    if let Some(one_twice) = centres.next()
        && let Some(other_twice) = centres.find(|other| *other != one_twice)
    {
        return Err(Misaligned::Centre { axis, one_twice, other_twice });
    }
    let mut widest =
        fields().fold(first, |widest, field| if field.size > widest.size { *field } else { widest });
    if fields().any(|field| field.padding.is_none()) {
        widest.padding = None;
    }
    Ok(widest)
}

fn clamped(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// One value where all are the same.
fn merged<T: PartialEq>(values: &[T]) -> &[T] {
    match values {
        [first, rest @ ..] if rest.iter().all(|value| value == first) => &values[..1],
        _ => values,
    }
}
