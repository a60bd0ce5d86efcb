//! ONNX Resize, without antialiasing.

use super::{Answer, U, count, each_index, per_index, position};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Nearest,
    Linear,
    Cubic,
}

/// `coordinate_transformation_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coordinate {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    TfHalfPixelForNn,
    TfCropAndResize,
}

/// `nearest_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nearest {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

/// The attributes, with ONNX's defaults as [`Default`].
#[derive(Debug, Clone, PartialEq)]
pub struct Resize {
    pub mode: Mode,
    pub coordinate: Coordinate,
    pub nearest: Nearest,
    pub cubic_coeff_a: f32,
    pub exclude_outside: bool,
    pub extrapolation_value: f32,
    /// Start and end per axis, read by [`Coordinate::TfCropAndResize`] alone.
    pub roi: Vec<(f32, f32)>,
}

impl Default for Resize {
    fn default() -> Self {
        Self {
            mode: Mode::Nearest,
            coordinate: Coordinate::HalfPixel,
            nearest: Nearest::RoundPreferFloor,
            cubic_coeff_a: -0.75,
            exclude_outside: false,
            extrapolation_value: 0.0,
            roi: Vec::new(),
        }
    }
}

impl Resize {
    /// Where output `i` of `out` along an axis lies in an input of length `n`.
    fn original(&self, axis: usize, i: usize, n: usize, out: usize, scale: f64) -> f64 {
        let (x, n, length) = (i as f64, n as f64, out as f64);
        match self.coordinate {
            Coordinate::HalfPixel => (x + 0.5) / scale - 0.5,
            Coordinate::HalfPixelSymmetric => {
                let adjustment = length / (n * scale);
                n / 2.0 * (1.0 - adjustment) + (x + 0.5) / scale - 0.5
            }
            Coordinate::PytorchHalfPixel if out == 1 => 0.0,
            Coordinate::PytorchHalfPixel => (x + 0.5) / scale - 0.5,
            Coordinate::AlignCorners if out == 1 => 0.0,
            Coordinate::AlignCorners => x * (n - 1.0) / (length - 1.0),
            Coordinate::Asymmetric => x / scale,
            Coordinate::TfHalfPixelForNn => (x + 0.5) / scale,
            Coordinate::TfCropAndResize => {
                let (start, end) = (f64::from(self.roi[axis].0), f64::from(self.roi[axis].1));
                if out == 1 {
                    0.5 * (start + end) * (n - 1.0)
                } else {
                    start * (n - 1.0) + x * (end - start) * (n - 1.0) / (length - 1.0)
                }
            }
        }
    }

    /// The inputs along one axis that make up an output at `x`, and their weights; indices may lie outside.
    fn weights(&self, x: f64, n: usize) -> Vec<(i64, f64)> {
        let below = x.floor();
        let (first, r) = (below as i64, x - below);
        let mut taps = match self.mode {
            Mode::Nearest => {
                let nearest = match self.nearest {
                    Nearest::RoundPreferFloor => (x - 0.5).ceil(),
                    Nearest::RoundPreferCeil => (x + 0.5).floor(),
                    Nearest::Floor => below,
                    Nearest::Ceil => x.ceil(),
                };
                return vec![(nearest as i64, 1.0)];
            }
            Mode::Linear => vec![(first, 1.0 - r), (first + 1, r)],
            Mode::Cubic => (-1..=2).map(|k| (first + k, self.cubic((k as f64 - r).abs()))).collect(),
        };
        if self.exclude_outside {
            taps.retain(|&(i, _)| (0..n as i64).contains(&i));
            let sum: f64 = taps.iter().map(|tap| tap.1).sum();
            taps.iter_mut().for_each(|tap| tap.1 /= sum);
        }
        taps
    }

    /// Keys' kernel (1981, eq. 15 for a = -1/2) at distance `d` of at most 2.
    fn cubic(&self, d: f64) -> f64 {
        let a = f64::from(self.cubic_coeff_a);
        if d <= 1.0 {
            (a + 2.0) * d.powi(3) - (a + 3.0) * d.powi(2) + 1.0
        } else {
            a * d.powi(3) - 5.0 * a * d.powi(2) + 8.0 * a * d - 4.0 * a
        }
    }

    /// Resizes to `out`, with `scales` per axis (`out / shape` where the node gives sizes).
    ///
    /// Beside rounding the weighted sum, `f32` errs in the weights: a coordinate of at most the axis
    /// length takes an addition, a division (2.5 ULP), a subtraction and the rounding of the scale, 8 U in
    /// all; evaluating Keys' polynomial, whose intermediate terms stay below 8, adds some 32 U.
    pub fn apply(&self, x: &[f32], shape: &[usize], out: &[usize], scales: &[f64]) -> Answer {
        assert_eq!(x.len(), count(shape));
        let (mut value, mut magnitude) = (Vec::new(), Vec::new());
        // Taps per axis, the steepest slope of a weight (below 2 for Keys' kernel with a in [-1, 0]), and
        // the rounding of a weight.
        let (reach, slope, rounding) = match self.mode {
            Mode::Nearest => (1_usize, 0.0, 0.0),
            Mode::Linear => (2, 1.0, U),
            Mode::Cubic => (4, 2.0, 32.0 * U),
        };
        let resized = |axis: usize| scales[axis] != 1.0 || shape[axis] != out[axis];
        let moved: Vec<f64> =
            (0..shape.len())
                .map(|axis| {
                    if resized(axis) { slope * 8.0 * U * (shape[axis] as f64 + 1.0) + rounding } else { 0.0 }
                })
                .collect();
        let terms: usize = (0..shape.len()).filter(|&axis| resized(axis)).map(|_| reach).product();
        each_index(out, |index| {
            let places: Vec<f64> = (0..shape.len())
                .map(|axis| self.original(axis, index[axis], shape[axis], out[axis], scales[axis]))
                .collect();
            let outside =
                (0..shape.len()).any(|axis| !(0.0..=shape[axis] as f64 - 1.0).contains(&places[axis]));
            if outside && self.coordinate == Coordinate::TfCropAndResize {
                value.push(self.extrapolation_value.into());
                magnitude.push(0.0);
                return;
            }
            let taps: Vec<Vec<(i64, f64)>> =
                (0..shape.len()).map(|axis| self.weights(places[axis], shape[axis])).collect();
            let (mut sum, mut size) = (0.0, 0.0);
            each_index(&taps.iter().map(Vec::len).collect::<Vec<_>>(), |choice| {
                let from: Vec<usize> = (0..shape.len())
                    .map(|axis| taps[axis][choice[axis]].0.clamp(0, shape[axis] as i64 - 1) as usize)
                    .collect();
                let v = f64::from(x[position(&from, shape)]);
                let weight: f64 = (0..shape.len()).map(|axis| taps[axis][choice[axis]].1).product();
                let largest: f64 =
                    (0..shape.len()).map(|axis| taps[axis][choice[axis]].1.abs() + moved[axis]).product();
                sum += weight * v;
                // As in U · terms: rounding of the sum, and the moved weights on top.
                size += v.abs() * (weight.abs() + (largest - weight.abs()) / (U * terms as f64));
            });
            value.push(sum);
            magnitude.push(if self.mode == Mode::Nearest { 0.0 } else { size });
        });
        Answer { shape: out.to_vec(), value, magnitude, terms }
    }

    /// The sizes that `scales` give: ⌊length · scale⌋.
    pub fn sizes(shape: &[usize], scales: &[f64]) -> Vec<usize> {
        per_index(&[shape.len()], |i| (shape[i[0]] as f64 * scales[i[0]]).floor() as usize)
    }
}
