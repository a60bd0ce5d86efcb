//! Elements moved, repeated or dropped, none computed: transpose, slice, pad, expand, tile.

use super::{Infer, Op, OpError, Operator, Reach, Resample, first_alone};
use crate::error::Result;
use crate::graph::{Backward, Info};
use crate::tensor::Shape;

/// What an output element is whose place in the input lies outside it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Border {
    /// This value; its bits where the input is not f32.
    Constant(f32),
    /// The nearest element inside.
    Edge,
    /// The input mirrored about its first and last element, which are not repeated.
    Reflect,
    /// The input repeated.
    Wrap,
}

/// Where one axis of the output reads: at `start + step * position` along `input_axis`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AxisMap {
    /// The input's axis; `None` reads the same for every position, which expands.
    pub input_axis: Option<usize>,
    /// How long the output's axis is.
    pub size: usize,
    /// The place that position 0 reads; may be outside.
    pub start: i64,
    /// The distance between the places that neighbours read; may be negative.
    pub step: i64,
}

/// An output of which every element is one of the input, or the border's.
///
/// One [`AxisMap`] per axis of the output; an input axis that none of them names is read at 0 and must not be empty.
/// Input of any type and at most 8 axes on either side.
#[derive(Clone, Debug, PartialEq)]
pub struct Rearrange {
    /// The output's axes.
    pub axes: Vec<AxisMap>,
    /// What lies outside the input.
    pub border: Border,
}

impl Rearrange {
    /// All of the input, in order: a start for transpositions, slices, pads and tiles.
    pub fn identity(shape: &[usize]) -> Self {
        let axes = shape
            .iter()
            .enumerate()
            .map(|(axis, &size)| AxisMap { input_axis: Some(axis), size, start: 0, step: 1 })
            .collect();
        Rearrange { axes, border: Border::Constant(0.0) }
    }

    /// Output axis `i` is input axis `order[i]`.
    pub fn transpose(shape: &[usize], order: &[usize]) -> Self {
        let all = Self::identity(shape).axes;
        Rearrange {
            axes: order.iter().filter_map(|&axis| all.get(axis).copied()).collect(),
            border: Border::Constant(0.0),
        }
    }
}

/// The entry of [`Rearrange::tables`] for a place outside the input.
pub(crate) const OUTSIDE: u32 = u32::MAX;

impl Rearrange {
    /// For each axis of the output, what each position along it adds to the place read in an input of this shape, or
    /// [`OUTSIDE`]. Both backends read by these tables, so borders are told apart here alone.
    pub(crate) fn tables(&self, input: &Shape) -> Vec<Vec<u32>> {
        let strides = input.strides();
        let table = |axis: &AxisMap| {
            let Some(of) = axis.input_axis else { return vec![0; axis.size] };
            (0..axis.size as i64)
                .map(|position| {
                    let place = axis.start.saturating_add(axis.step.saturating_mul(position));
                    self.border.inside(place, input[of]).map_or(OUTSIDE, |at| (at * strides[of]) as u32)
                })
                .collect()
        };
        self.axes.iter().map(table).collect()
    }

    /// The bits of an element outside the input.
    pub(crate) fn fill(&self) -> u32 {
        match self.border {
            Border::Constant(value) => value.to_bits(),
            _ => 0,
        }
    }
}

impl AxisMap {
    /// Where an axis of `size` finds the position of the output's axis `axis` that reads each of its places, for a map
    /// that reads places in a row and so none twice.
    fn inverse(&self, axis: usize, size: usize, border: Border) -> Option<AxisMap> {
        let last = self.start.checked_add(self.step.checked_mul(self.size as i64 - 1)?)?;
        let outside = |place: i64| usize::try_from(place).map_or(true, |place| place >= size);
        let stands_for_others = !matches!(border, Border::Constant(_));
        if stands_for_others && (outside(self.start) || outside(last)) {
            return None;
        }
        let step = if self.size == 1 { 1 } else { self.step };
        let start = match step {
            1 => self.start.checked_neg()?,
            -1 => self.start,
            _ => return None,
        };
        Some(AxisMap { input_axis: Some(axis), size, start, step })
    }

    /// The same reads of an axis of `size` as weighted taps, each of one place.
    fn taps(&self, axis: usize, size: usize, border: Border) -> Resample {
        let place = |position: i64| {
            border.inside(self.start.saturating_add(self.step.saturating_mul(position)), size)
        };
        let places = (0..self.size as i64).map(|position| place(position).map_or((0, 0.0), |at| (at, 1.0)));
        let (indices, weights) = places.unzip();
        Resample { axis, taps: 1, indices, weights }
    }
}

impl Border {
    /// The place that `place` along an axis of `size` stands for, if there is one.
    pub(crate) fn inside(self, place: i64, size: usize) -> Option<usize> {
        let last = i64::try_from(size).ok()? - 1;
        let place = match self {
            _ if last < 0 => return None,
            Border::Constant(_) => place,
            Border::Edge => place.clamp(0, last),
            Border::Wrap => place.rem_euclid(last + 1),
            Border::Reflect if last == 0 => 0,
            Border::Reflect => {
                let within = place.rem_euclid(2 * last);
                within.min(2 * last - within)
            }
        };
        usize::try_from(place).ok().filter(|&place| place < size)
    }
}

impl Operator for Rearrange {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        let x = inputs.required("an input")?;
        if x.shape.len() > 8 || self.axes.len() > 8 {
            return Err(OpError::shape("at most 8 axes", &x.shape));
        }
        let mut named = vec![false; x.shape.len()];
        for axis in self.axes.iter().filter_map(|a| a.input_axis) {
            match named.get_mut(axis) {
                Some(seen) if !*seen => *seen = true,
                _ => return Err(OpError::shape(format!("an input with axis {axis}, named once"), &x.shape)),
            }
        }
        if named.iter().zip(&x.shape[..]).any(|(named, &size)| !named && size == 0) {
            return Err(OpError::shape("an element along the axes that are read at 0", &x.shape));
        }
        let shape = Shape::new(self.axes.iter().map(|a| a.size).collect::<Vec<_>>())?;
        Ok(vec![Info { shape, dtype: x.dtype }])
    }

    /// Each place gets what the positions that read it have, summed where they are several.
    fn gradient(&self, at: &mut Backward) -> Result<()> {
        let shape = at.dims(at.operand(0)?);
        let repeated = (0..self.axes.len()).filter(|&axis| self.axes[axis].input_axis.is_none()).collect();
        let mut dy = at.sum_over(at.gradient()?, repeated)?;
        let mut maps = vec![None; shape.len()];
        for (axis, map) in self.axes.iter().enumerate() {
            let Some(of) = map.input_axis else { continue };
            let size = shape[of];
            let inverse = map.inverse(axis, size, self.border);
            if inverse.is_none() {
                dy = at.push(map.taps(axis, size, self.border).transposed(size), &[dy])?;
            }
            let whole = AxisMap { input_axis: Some(axis), size, start: 0, step: 1 };
            maps[of] = Some(inverse.unwrap_or(whole));
        }
        // Of an axis that no map names place 0 was read: it is read from an axis of one element, and zeros follow.
        let mut sizes = at.dims(dy);
        let mut axes = Vec::new();
        for (map, &size) in maps.into_iter().zip(&shape) {
            axes.push(map.unwrap_or_else(|| {
                sizes.push(1);
                AxisMap { input_axis: Some(sizes.len() - 1), size, start: 0, step: 1 }
            }));
        }
        let dy = at.reshape(dy, &sizes)?;
        let dx = at.push(Rearrange { axes, border: Border::Constant(0.0) }, &[dy])?;
        at.set(0, dx);
        Ok(())
    }

    fn reach(&self, _inputs: &[Option<&Info>]) -> Reach {
        Reach::Unknown
    }

    fn for_one_image(&self, inputs: &[Option<&Info>], batched: &[bool]) -> Option<Op> {
        let images = *inputs[0]?.shape.first()?;
        let mut one = self.clone();
        let (first, others) = one.axes.split_first_mut()?;
        let whole = AxisMap { input_axis: Some(0), size: images, start: 0, step: 1 };
        let apart = *first == whole && others.iter().all(|axis| axis.input_axis != Some(0));
        first.size = 1;
        (apart && first_alone(batched)).then(|| one.into())
    }
}
