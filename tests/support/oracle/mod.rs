//! The reference: every operator as plain loops over multi-indices, in `f64`, with index arithmetic of
//! its own. Slow and obvious on purpose.
//!
//! Operators that only move or select values return [`Exact`]; operators that compute return
//! [`Answer`], which knows how far an `f32` result may lie from it.

pub mod activation;
pub mod approx;
pub mod convolution;
pub mod elementwise;
pub mod layout;
pub mod matmul;
pub mod normalization;
pub mod pooling;
pub mod reduction;
pub mod resize;
pub mod training;

use approx::Approx;

/// Unit roundoff of `f32`, 2⁻²⁴: rounding to nearest changes a number by at most this fraction of it.
pub const U: f64 = 1.0 / (1_u32 << 24) as f64;

/// A computed result and the size of the errors that `f32` arithmetic may make in it.
///
/// Element `i` of an `f32` result may differ from `value[i]` by `c · terms · U · magnitude[i]`. For a
/// sum of K products, `terms` is K and `magnitude` the sum of their absolute values, which bounds the
/// rounding error of any order of summation, fused or not (Higham, *Accuracy and Stability of
/// Numerical Algorithms*, eq. 3.5). For other functions `magnitude` is what [`Approx`] accumulates.
/// `c` is 1 for a kernel that evaluates the formula as the oracle does.
#[derive(Debug, Clone)]
pub struct Answer {
    pub shape: Vec<usize>,
    pub value: Vec<f64>,
    pub magnitude: Vec<f64>,
    pub terms: usize,
}

impl Answer {
    /// An answer from elements with errors, spread over `terms` rounding steps.
    pub fn from_approx(shape: Vec<usize>, terms: usize, elements: Vec<Approx>) -> Self {
        assert_eq!(elements.len(), count(&shape), "elements of shape {shape:?}");
        let terms = terms.max(1);
        let magnitude = elements.iter().map(|x| x.error / (terms as f64 * U)).collect();
        let value = elements.iter().map(|x| x.value).collect();
        Self { shape, value, magnitude, terms }
    }

    /// Element `i` with its unit error.
    pub fn approx(&self, i: usize) -> Approx {
        Approx { value: self.value[i], error: self.terms as f64 * U * self.magnitude[i] }
    }

    /// The values rounded to `f32`, for the operators that are exact.
    pub fn to_f32(&self) -> Vec<f32> {
        self.value.iter().map(|&v| v as f32).collect()
    }
}

/// The result of an operator that moves or selects values without computing any.
#[derive(Debug, Clone, PartialEq)]
pub struct Exact<T> {
    pub shape: Vec<usize>,
    pub value: Vec<T>,
}

/// Number of elements of a shape.
pub fn count(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// Row-major position of a multi-index.
pub fn position(index: &[usize], shape: &[usize]) -> usize {
    assert_eq!(index.len(), shape.len(), "index {index:?} of shape {shape:?}");
    let mut flat = 0;
    for (&i, &n) in index.iter().zip(shape) {
        assert!(i < n, "index {index:?} outside shape {shape:?}");
        flat = flat * n + i;
    }
    flat
}

/// Calls `visit` with every multi-index of `shape` in row-major order.
pub fn each_index(shape: &[usize], mut visit: impl FnMut(&[usize])) {
    let mut index = vec![0; shape.len()];
    for _ in 0..count(shape) {
        visit(&index);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}

/// Collects one value per multi-index of `shape`, in row-major order.
pub fn per_index<T>(shape: &[usize], mut element: impl FnMut(&[usize]) -> T) -> Vec<T> {
    let mut out = Vec::with_capacity(count(shape));
    each_index(shape, |index| out.push(element(index)));
    out
}

/// The common shape of two shapes under numpy's broadcasting.
pub fn broadcast(a: &[usize], b: &[usize]) -> Vec<usize> {
    let rank = a.len().max(b.len());
    let from_right = |shape: &[usize], axis: usize| {
        let missing = rank - shape.len();
        if axis < missing { 1 } else { shape[axis - missing] }
    };
    (0..rank)
        .map(|axis| match (from_right(a, axis), from_right(b, axis)) {
            (x, y) if x == y || y == 1 => x,
            (1, y) => y,
            _ => panic!("{a:?} and {b:?} do not broadcast"),
        })
        .collect()
}

/// Position in a tensor of `shape` that a multi-index of the broadcast result reads.
pub fn broadcast_position(index: &[usize], shape: &[usize]) -> usize {
    let missing = index.len() - shape.len();
    let own: Vec<usize> =
        (index[missing..].iter().zip(shape)).map(|(&i, &n)| if n == 1 { 0 } else { i }).collect();
    position(&own, shape)
}

/// `index` with `axis` set to `i`.
pub fn with_axis(index: &[usize], axis: usize, i: usize) -> Vec<usize> {
    let mut index = index.to_vec();
    index[axis] = i;
    index
}
