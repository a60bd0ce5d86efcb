//! Activations, as layers of their own and behind convolutions and matrix products.

use pulp::{Scalar, Simd};
use rayon::prelude::*;

use super::cores::{GRAIN, Spread};
use super::{Kernel, vectorised};
use crate::error::Result;
use crate::ops::Activation;
use crate::plan::Site;

pub(super) fn compile(op: &Activation, _site: &Site) -> Result<Kernel> {
    let op = *op;
    Ok(Kernel::new(move |inputs, outputs, _| {
        outputs[0].par_chunks_mut(GRAIN).zip(inputs[0].par_chunks(GRAIN)).spread(1).for_each(|(out, x)| {
            out.copy_from_slice(x);
            apply(Some(op), out);
        });
    }))
}

/// Replaces each value `x` by `activation(x)`; without an activation, does nothing.
///
/// Comparisons are written such that NaN falls through to itself.
pub(super) fn apply(activation: Option<Activation>, values: &mut [f32]) {
    let Some(activation) = activation else { return };
    vectorised(|| apply_each(activation, values));
}

#[inline(always)]
fn apply_each(activation: Activation, values: &mut [f32]) {
    match activation {
        Activation::Relu => map(values, |x| if x <= 0.0 { 0.0 } else { x }),
        Activation::LeakyRelu { alpha } => map(values, |x| if x < 0.0 { alpha * x } else { x }),
        Activation::Clip { min, max } => map(values, |x| clip(x, min, max)),
        Activation::Elu { alpha } => map(values, |x| if x > 0.0 { x } else { alpha * x.exp_m1() }),
        Activation::Selu { alpha, gamma } => {
            map(values, |x| if x > 0.0 { gamma * x } else { gamma * alpha * x.exp_m1() });
        }
        // For either sign of alpha only one of the formula's two terms is not 0.
        Activation::Celu { alpha } => map(values, |x| if x > 0.0 { x } else { alpha * (x / alpha).exp_m1() }),
        Activation::Sigmoid => map(values, sigmoid),
        Activation::HardSigmoid { alpha, beta } => map(values, |x| clip(alpha * x + beta, 0.0, 1.0)),
        Activation::Tanh => map(values, |x| tanh(Scalar, x)),
        Activation::Softplus => map(values, softplus),
        Activation::Softsign => map(values, |x| x / (1.0 + x.abs())),
        Activation::Silu { alpha } => map(values, |x| x * sigmoid(alpha * x)),
        Activation::HardSwish => map(values, |x| x * clip(x / 6.0 + 0.5, 0.0, 1.0)),
        Activation::Gelu => map(values, |x| 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))),
        // (1 + tanh(u)) / 2 = sigmoid(2 u), which does not cancel below zero.
        Activation::GeluTanh => {
            let scale = 2.0 * (2.0 / std::f32::consts::PI).sqrt();
            map(values, |x| x * sigmoid(scale * (x + 0.044_715 * x * x * x)));
        }
        Activation::Mish => map(values, |x| x * tanh(Scalar, softplus(x))),
        Activation::ThresholdedRelu { alpha } => map(values, |x| if x <= alpha { 0.0 } else { x }),
        Activation::Erf => map(values, erf),
        Activation::Exp => map(values, f32::exp),
        Activation::Log => map(values, f32::ln),
        Activation::Sqrt => map(values, f32::sqrt),
        Activation::Reciprocal => map(values, f32::recip),
        Activation::Abs => map(values, f32::abs),
        Activation::Neg => map(values, |x| -x),
        Activation::Floor => map(values, f32::floor),
        Activation::Ceil => map(values, f32::ceil),
    }
}

#[inline(always)]
fn map(values: &mut [f32], f: impl Fn(f32) -> f32) {
    for value in values {
        *value = f(*value);
    }
}

/// The hyperbolic tangent as a quotient of polynomials, to a few units in the last place; unlike the standard library's,
/// vectors can compute it. Coefficients: Eigen's `ptanh_float` (Jacob and Guennebaud, MPL 2.0), a minimax fit on the
/// interval beyond which the quotient rounds to 1. NaN stays NaN.
#[inline(always)]
pub(super) fn tanh<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    const P: [f32; 7] = [
        -2.760_768_5e-16,
        2.000_188e-13,
        -8.604_672e-11,
        5.122_297e-8,
        1.485_722_4e-5,
        6.372_619e-4,
        4.893_524_6e-3,
    ];
    const Q: [f32; 4] = [1.198_258_4e-6, 1.185_347_1e-4, 2.268_434_6e-3, 4.893_525e-3];
    let bounded = bounded(simd, x, -7.905_311, 7.905_311);
    let square = simd.mul_f32s(bounded, bounded);
    // Rounded after each product and each sum, so that all processors compute the same.
    let step = |sum, c| simd.add_f32s(simd.mul_f32s(sum, square), simd.splat_f32s(c));
    let mut p = simd.splat_f32s(P[0]);
    for &c in &P[1..] {
        p = step(p, c);
    }
    let mut q = simd.splat_f32s(Q[0]);
    for &c in &Q[1..] {
        q = step(q, c);
    }
    let quotient = simd.div_f32s(simd.mul_f32s(bounded, p), q);
    // Near 0 the tangent is its argument, to the last place.
    let is_small = simd.less_than_f32s(simd.abs_f32s(x), simd.splat_f32s(4e-4));
    simd.select_f32s(is_small, x, quotient)
}

/// `min(max(x, min), max)`; NaN stays NaN.
#[inline(always)]
pub(super) fn bounded<S: Simd>(simd: S, x: S::f32s, min: f32, max: f32) -> S::f32s {
    let (min, max) = (simd.splat_f32s(min), simd.splat_f32s(max));
    let x = simd.select_f32s(simd.less_than_f32s(x, min), min, x);
    simd.select_f32s(simd.less_than_f32s(max, x), max, x)
}

/// [`bounded`], of one value.
#[inline(always)]
pub(super) fn clip(x: f32, min: f32, max: f32) -> f32 {
    bounded(Scalar, x, min, max)
}

/// `1 / (1 + exp(-x))`; the exponential is never of a positive number.
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    let e = (-x.abs()).exp();
    if x < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) }
}

/// `ln(1 + exp(x))`; the exponential is never of a positive number.
#[inline(always)]
fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The error function to about one unit in the last place.
///
/// Source: N. Juffa, "Efficient faithfully rounded implementation of error function erff()": minimax polynomials
/// for `erf(x) / x - 1` near zero and for `ln(1 - erf(x)) + x` beyond. They are summed in f64 here in place of the
/// original's fused multiply-adds, which not every machine has.
pub(super) fn erf(x: f32) -> f32 {
    let horner =
        |coefficients: &[f32], x: f64| coefficients.iter().fold(0.0, |sum, &c| sum * x + f64::from(c));
    let t = f64::from(x.abs());
    if t > 0.927_734_375 {
        const TAIL: [f32; 7] = [
            -1.728_534_7e-5,
            3.831_971_3e-4,
            -3.883_964_4e-3,
            2.425_462_2e-2,
            -1.067_778_8e-1,
            -6.348_467e-1,
            -1.287_175_1e-1,
        ];
        // In f32 the result is 1 long before 10; an infinite argument has no polynomial.
        let t = t.min(10.0);
        let exponent = horner(&TAIL, t) * t - t;
        (1.0 - (exponent as f32).exp()).copysign(x)
    } else {
        const CENTRE: [f32; 6] =
            [-5.967_617e-4, 4.991_194_2e-3, -2.676_813_5e-2, 1.128_199_3e-1, -3.761_253_4e-1, 1.283_791_7e-1];
        let x = f64::from(x);
        (horner(&CENTRE, x * x) * x + x) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The Maclaurin series, whose terms stay small enough in f64 for arguments to 4.
    fn erf_series(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn erf_is_accurate_to_single_precision() {
        for i in -16_000..=16_000 {
            let x = i as f32 / 4000.0;
            let expected = erf_series(f64::from(x));
            let error = (f64::from(erf(x)) - expected).abs();
            assert!(error <= 1.2e-7 * expected.abs(), "erf({x}) = {}, expected {expected}", erf(x));
        }
        for x in [4.0, 6.0, 10.0, 20.0, 50.0, 1e10, f32::MAX, f32::INFINITY] {
            assert!((erf(x) - 1.0).abs() <= 6e-8 && erf(-x) == -erf(x), "erf({x}) = {}", erf(x));
        }
        assert!(erf(f32::NAN).is_nan());
        assert_eq!(erf(-0.0).to_bits(), (-0.0f32).to_bits());
    }

    #[test]
    fn far_arguments_neither_overflow_nor_cancel() {
        assert_eq!(softplus(1000.0), 1000.0);
        assert_eq!(softplus(-1000.0), 0.0);
        assert_eq!(sigmoid(-1000.0), 0.0);
        assert_eq!(sigmoid(1000.0), 1.0);
        assert!((sigmoid(-80.0) / 1.804_851_4e-35 - 1.0).abs() < 1e-6);
        assert!((softplus(-80.0) / 1.804_851_4e-35 - 1.0).abs() < 1e-6);
    }
}
