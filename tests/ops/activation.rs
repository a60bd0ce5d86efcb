//! Activations: every kind over random values, all magnitudes, and what is not finite.

use std::collections::BTreeSet;

use wgpu_cnn::PlanOptions;
use wgpu_cnn::ops::Activation::{self, *};

use crate::harness::{Case, each, random, tensor, values};
use crate::support::compare::{assert_exact, assert_within, within};
use crate::support::oracle::activation::Activation as Reference;
use crate::support::oracle::{Answer, U};
use crate::support::random::{Rng, cases};

/// The oracle follows the formulas and WGSL's accuracies; the shaders take other ways to some of the results.
const C_GPU: f64 = 2.0;
/// The oracle's bound as it is, for functions of the standard library that are better than WGSL asks.
const C_CPU: f64 = 1.0;

pub fn c(label: &str) -> f64 {
    if label == "cpu" { C_CPU } else { C_GPU }
}

/// Every kind, those with parameters several times.
pub const ALL: &[Activation] = &[
    Relu,
    LeakyRelu { alpha: 0.01 },
    LeakyRelu { alpha: -0.5 },
    LeakyRelu { alpha: 1.5 },
    Clip { min: 0.0, max: 6.0 },
    Clip { min: -0.5, max: 0.25 },
    Clip { min: f32::NEG_INFINITY, max: 1.0 },
    Clip { min: -1.0, max: f32::INFINITY },
    Clip { min: 2.0, max: -1.0 },
    Elu { alpha: 1.0 },
    Elu { alpha: 0.3 },
    Elu { alpha: -0.7 },
    Activation::SELU,
    Selu { alpha: 2.0, gamma: 3.0 },
    Selu { alpha: -2.0, gamma: 3.0 },
    Celu { alpha: 1.0 },
    Celu { alpha: 0.7 },
    Celu { alpha: -0.7 },
    Sigmoid,
    HardSigmoid { alpha: 0.2, beta: 0.5 },
    HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 },
    HardSigmoid { alpha: -2.0, beta: 0.1 },
    Tanh,
    Softplus,
    Softsign,
    Silu { alpha: 1.0 },
    Silu { alpha: 1.702 },
    Silu { alpha: -1.0 },
    HardSwish,
    Gelu,
    GeluTanh,
    Mish,
    ThresholdedRelu { alpha: 1.0 },
    ThresholdedRelu { alpha: 0.0 },
    ThresholdedRelu { alpha: -1.0 },
    Erf,
    Exp,
    Log,
    Sqrt,
    Reciprocal,
    Abs,
    Neg,
    Floor,
    Ceil,
];

pub fn reference(activation: Activation) -> Reference {
    match activation {
        Relu => Reference::Relu,
        LeakyRelu { alpha } => Reference::LeakyRelu { alpha },
        Clip { min, max } => Reference::Clip { min, max },
        Elu { alpha } => Reference::Elu { alpha },
        Selu { alpha, gamma } => Reference::Selu { alpha, gamma },
        Celu { alpha } => Reference::Celu { alpha },
        Sigmoid => Reference::Sigmoid,
        HardSigmoid { alpha, beta } => Reference::HardSigmoid { alpha, beta },
        Tanh => Reference::Tanh,
        Softplus => Reference::Softplus,
        Softsign => Reference::Softsign,
        Silu { alpha } => Reference::Silu { alpha },
        HardSwish => Reference::HardSwish,
        Gelu => Reference::Gelu,
        GeluTanh => Reference::GeluTanh,
        Mish => Reference::Mish,
        ThresholdedRelu { alpha } => Reference::ThresholdedRelu { alpha },
        Erf => Reference::Erf,
        Exp => Reference::Exp,
        Log => Reference::Log,
        Sqrt => Reference::Sqrt,
        Reciprocal => Reference::Reciprocal,
        Abs => Reference::Abs,
        Neg => Reference::Neg,
        Floor => Reference::Floor,
        Ceil => Reference::Ceil,
        other => panic!("{other:?} has no reference"),
    }
}

/// Those that select or negate, and so have one right answer.
fn is_exact(activation: Activation) -> bool {
    matches!(activation, Relu | Clip { .. } | ThresholdedRelu { .. } | Abs | Neg | Floor | Ceil)
}

/// Both signs of all magnitudes from 1e-30 to 1e30, and the ends of the range.
pub fn sweep() -> Vec<f32> {
    let mut x = vec![0.0, f32::MIN_POSITIVE, f32::MAX, f32::INFINITY, 0.5, 1.5, 2.5];
    for exponent in -30..=30 {
        let power = 10_f64.powi(exponent);
        x.extend([1.0, 2.3, 5.9].map(|m| (m * power) as f32));
    }
    let negative: Vec<f32> = x.iter().map(|v| -v).collect();
    x.extend(negative);
    x.push(f32::NAN);
    x
}

/// The oracle's answer. Where an infinite argument leaves it without a bound on a finite result, which is then a
/// limit, two units in the last place.
fn answer(activation: Activation, x: &[f32], shape: &[usize]) -> Answer {
    let mut answer = reference(activation).apply(x, shape);
    for (magnitude, value) in answer.magnitude.iter_mut().zip(&answer.value) {
        if !magnitude.is_finite() && value.is_finite() {
            *magnitude = 4.0 * value.abs();
        }
    }
    answer
}

fn check(activation: Activation, x: &[f32], shape: &[usize]) {
    let answer = answer(activation, x, shape);
    let case = Case::new(activation, &[&tensor(shape, x.to_vec())]);
    // Whether a zero below a bound of zero is raised to it does not show but in its sign.
    let unsigned = |y: &[f32]| -> Vec<f32> {
        let is_clip = matches!(activation, Clip { .. });
        y.iter().map(|&y| if is_clip && y == 0.0 { 0.0 } else { y }).collect()
    };
    each(&case, &PlanOptions::default(), |label, outputs| {
        let (c, label, y) = (c(label), format!("{activation:?} {label}"), values(&outputs[0]));
        assert_eq!(outputs[0].shape()[..], *shape, "{label}");
        if is_exact(activation) {
            assert_exact(&label, &unsigned(y), &unsigned(&answer.to_f32()));
        } else {
            assert_within(&label, y, &answer, c);
        }
    });
}

#[test]
fn every_kind_is_listed() {
    let kinds: BTreeSet<String> =
        ALL.iter().map(|a| format!("{a:?}").split(' ').next().unwrap().to_string()).collect();
    let kernels =
        wgpu_cnn::gpu::variants().iter().filter(|(_, kernel)| kernel.name() == "activation").count();
    // One kernel more, without an activation.
    assert_eq!(kinds.len() + 1, kernels);
}

#[test]
fn every_kind_over_all_magnitudes() {
    cases(0xa0, 1, |rng| {
        let mut x = sweep();
        x.extend((0..300).map(|_| 4.0 * rng.normal()));
        // As many as are whole fours.
        x.truncate(x.len() / 4 * 4);
        for &activation in ALL {
            check(activation, &x, &[x.len()]);
        }
    });
}

#[test]
fn nan_stays_nan() {
    for &activation in ALL {
        let x = tensor(&[4], vec![f32::NAN, 1.0, -f32::NAN, 2.0]);
        each(&Case::new(activation, &[&x]), &PlanOptions::default(), |label, outputs| {
            let y = values(&outputs[0]);
            assert!(y[0].is_nan() && !y[1].is_nan() && y[2].is_nan(), "{activation:?} {label}: {y:?}");
        });
    }
}

#[test]
fn generated_shapes() {
    cases(0xa1, 20, |rng| {
        let rank = rng.range(0..5);
        let shape: Vec<usize> = (0..rank).map(|_| rng.size(9)).collect();
        let x = rng.values(shape.iter().product());
        check(rng.pick(ALL), &x, &shape);
    });
}

#[test]
fn sizes_beside_a_workgroup() {
    cases(0xa2, 1, |rng| {
        for n in [0, 1, 63, 64, 65, 129] {
            let x = rng.values(n);
            check(Relu, &x, &[n]);
            check(Tanh, &x, &[n]);
            // Of finite values: compilers take 0 times anything for 0, infinities too.
            check(LeakyRelu { alpha: 0.0 }, &x, &[n]);
        }
        check(Relu, &[], &[3, 0, 5]);
        check(Neg, &[2.5], &[]);
    });
}

#[test]
fn more_workgroups_than_one_dimension_holds() {
    let mut rng = Rng::new(0xa3);
    let n = 65_535 * 64 + 65;
    let x = random(&mut rng, &[n]);
    let expected: Vec<f32> = values(&x).iter().map(|&v| if v > 0.0 { v } else { 0.0 }).collect();
    each(&Case::new(Relu, &[&x]), &PlanOptions::default(), |label, outputs| {
        assert_exact(label, values(&outputs[0]), &expected);
    });
}

#[test]
fn far_arguments_reach_the_limits() {
    // Where the oracle's bound, for a formula that cancels, would be wide.
    let limits = [
        (Sigmoid, 0.0, 1.0),
        (Tanh, -1.0, 1.0),
        (Erf, -1.0, 1.0),
        (HardSigmoid { alpha: 0.2, beta: 0.5 }, 0.0, 1.0),
        (HardSwish, 0.0, 1e30),
        (Activation::SILU, 0.0, 1e30),
        (Gelu, 0.0, 1e30),
        (GeluTanh, 0.0, 1e30),
        (Mish, 0.0, 1e30),
        (Softsign, -1.0, 1.0),
        (Softplus, 0.0, 1e30),
        (Exp, 0.0, f32::INFINITY),
        (Elu { alpha: 0.5 }, -0.5, 1e30),
        (Celu { alpha: 0.5 }, -0.5, 1e30),
    ];
    for (activation, low, high) in limits {
        let x = tensor(&[2], vec![-1e30, 1e30]);
        each(&Case::new(activation, &[&x]), &PlanOptions::default(), |label, outputs| {
            for (&y, limit) in values(&outputs[0]).iter().zip([low, high]) {
                let near = y == limit || (y - limit).abs() <= 2.0 * f32::EPSILON * limit.abs();
                assert!(near, "{activation:?} {label}: {y} instead of {limit}");
            }
        });
    }
}

#[test]
fn small_results_keep_their_digits() {
    // The oracle permits what the formulas lose by cancellation; the kernels avoid it.
    let kinds = [
        Elu { alpha: 1.0 },
        Activation::SELU,
        Celu { alpha: 0.7 },
        Sigmoid,
        Tanh,
        Softplus,
        Softsign,
        Activation::SILU,
        Mish,
        Erf,
        Exp,
    ];
    let mut x: Vec<f32> = (-60..=9).map(|i| 10_f64.powf(f64::from(i) / 10.0) as f32).collect();
    x.extend((1..=40).map(|i| i as f32 * 0.2));
    let negative: Vec<f32> = x.iter().map(|v| -v).collect();
    x.extend(negative);
    for activation in kinds {
        let exact = reference(activation).apply(&x, &[x.len()]);
        let case = Case::new(activation, &[&tensor(&[x.len()], x.clone())]);
        each(&case, &PlanOptions::default(), |label, outputs| {
            // In units in the last place: WGSL's exp is good to 3 + 2 |x| of them, the standard library's to 1, and the
            // rounding of its argument adds |x| / 2.
            let ulps = |x: f32| if label == "cpu" { 4.0 + x.abs() } else { 10.0 + 4.0 * x.abs() };
            for (i, &y) in values(&outputs[0]).iter().enumerate() {
                let permitted = 2.0 * U * f64::from(ulps(x[i])) * exact.value[i].abs();
                let error = (f64::from(y) - exact.value[i]).abs();
                assert!(
                    error <= permitted,
                    "{activation:?} {label}: {y:e} at {:e}, expected {:e}",
                    x[i],
                    exact.value[i]
                );
            }
        });
    }
}

#[test]
fn a_wrong_result_is_seen() {
    let x = [f32::INFINITY, f32::NEG_INFINITY, 0.5];
    let answer = answer(HardSigmoid { alpha: 0.2, beta: 0.5 }, &x, &[3]);
    assert_within("right", &[1.0, 0.0, 0.6], &answer, C_GPU);
    for wrong in [[0.999, 0.0, 0.6], [1.0, 1e-5, 0.6], [1.0, 0.0, 0.60001], [1.0, f32::NAN, 0.6]] {
        assert!(within("wrong", &wrong, &answer, C_GPU).is_err(), "{wrong:?}");
    }
}
