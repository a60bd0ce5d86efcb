//! Comparison of `f32` results with the oracle.

use std::fmt;

use super::oracle::{Answer, U};

/// How a result differs from what was expected.
#[derive(Debug, Clone, PartialEq)]
pub enum Mismatch {
    /// The number of elements differs.
    Length { label: String, actual: usize, expected: usize },
    /// Elements differ by more than is permitted.
    Values {
        label: String,
        /// Row-major multi-index of the first bad element (one number where the shape is unknown).
        index: Vec<usize>,
        /// How many elements are bad, of how many.
        bad: usize,
        total: usize,
        /// The first bad element, what it should be, and the error it was permitted.
        actual: f32,
        expected: f64,
        bound: f64,
        /// The largest error / bound over all elements; infinite where NaN or infinity is misplaced.
        worst: f64,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::Length { label, actual, expected } => {
                write!(f, "{label}: {actual} elements, expected {expected}")
            }
            Mismatch::Values { label, index, bad, total, actual, expected, bound, worst } => write!(
                f,
                "{label}: {bad} of {total} elements are wrong, first at {index:?}: \
                 {actual:e} instead of {expected:e} (error {:e}, permitted {bound:e}; worst error/permitted {worst:.3})",
                (f64::from(*actual) - expected).abs()
            ),
        }
    }
}

impl std::error::Error for Mismatch {}

/// The error permitted to element `i`: `c · K · 2⁻²⁴ · magnitude`, and `K` times the smallest normal
/// number, since WGSL lets any operation flush a subnormal to zero.
pub fn bound(answer: &Answer, i: usize, c: f64) -> f64 {
    let terms = answer.terms.max(1) as f64;
    c * terms * U * answer.magnitude[i] + terms * f64::from(f32::MIN_POSITIVE)
}

/// Error over permitted error: at most 1 for a good element, infinite where the class (NaN, +∞, −∞,
/// finite) differs or where the bound is not a positive number, by which nothing could be judged.
fn ratio(actual: f32, expected: f64, bound: f64) -> f64 {
    if expected.is_nan() {
        return if actual.is_nan() { 0.0 } else { f64::INFINITY };
    }
    // An expectation past the f32 range is +-inf, unless rounding could have kept it finite.
    let rounded = expected as f32;
    if rounded.is_infinite() && actual == rounded {
        return 0.0;
    }
    if expected.is_infinite() || !actual.is_finite() || !bound.is_finite() || bound <= 0.0 {
        return f64::INFINITY;
    }
    (f64::from(actual) - expected).abs() / bound
}

/// Checks every element against `answer`, permitting `c` times its unit bound (see [`bound`]).
pub fn within(label: &str, actual: &[f32], answer: &Answer, c: f64) -> Result<(), Mismatch> {
    let expected = &answer.value;
    if actual.len() != expected.len() {
        return Err(length(label, actual.len(), expected.len()));
    }
    let (mut first, mut bad, mut worst) = (None, 0, 0.0_f64);
    for i in 0..actual.len() {
        let r = ratio(actual[i], expected[i], bound(answer, i, c));
        worst = worst.max(r);
        if r > 1.0 {
            bad += 1;
            first.get_or_insert(i);
        }
    }
    let Some(i) = first else { return Ok(()) };
    Err(Mismatch::Values {
        label: label.to_owned(),
        index: unravel(i, &answer.shape),
        bad,
        total: actual.len(),
        actual: actual[i],
        expected: expected[i],
        bound: bound(answer, i, c),
        worst,
    })
}

/// Checks every element bit for bit, so that +0 and -0 differ; any NaN equals any NaN.
pub fn exact(label: &str, actual: &[f32], expected: &[f32]) -> Result<(), Mismatch> {
    if actual.len() != expected.len() {
        return Err(length(label, actual.len(), expected.len()));
    }
    let same = |i: &usize| {
        let (a, e) = (actual[*i], expected[*i]);
        a.to_bits() == e.to_bits() || (a.is_nan() && e.is_nan())
    };
    let bad: Vec<usize> = (0..actual.len()).filter(|i| !same(i)).collect();
    let Some(&i) = bad.first() else { return Ok(()) };
    Err(Mismatch::Values {
        label: label.to_owned(),
        index: vec![i],
        bad: bad.len(),
        total: actual.len(),
        actual: actual[i],
        expected: f64::from(expected[i]),
        bound: 0.0,
        worst: f64::INFINITY,
    })
}

/// [`within`], or a panic that says what differs.
#[track_caller]
pub fn assert_within(label: &str, actual: &[f32], answer: &Answer, c: f64) {
    if let Err(mismatch) = within(label, actual, answer, c) {
        panic!("{mismatch}");
    }
}

/// [`exact`], or a panic that says what differs.
#[track_caller]
pub fn assert_exact(label: &str, actual: &[f32], expected: &[f32]) {
    if let Err(mismatch) = exact(label, actual, expected) {
        panic!("{mismatch}");
    }
}

fn length(label: &str, actual: usize, expected: usize) -> Mismatch {
    Mismatch::Length { label: label.to_owned(), actual, expected }
}

fn unravel(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for axis in (0..shape.len()).rev() {
        index[axis] = flat % shape[axis];
        flat /= shape[axis];
    }
    index
}
