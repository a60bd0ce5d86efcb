//! Softmax and its logarithm along every axis, over long, large, constant and masked rows.

use wgpu_cnn::PlanOptions;
use wgpu_cnn::ops::Softmax;

use crate::harness::{Case, each, random, tensor, values};
use crate::support::compare::{assert_within, within};
use crate::support::oracle::normalization::{log_softmax, softmax};
use crate::support::oracle::{Answer, U};
use crate::support::random::{Rng, cases};

/// The oracle's bound is WGSL's. A CPU's exponential is much better than that; its logarithm of a softmax is two
/// subtractions, of which it rounds each as anyone does.
fn c(label: &str, log: bool) -> f64 {
    if label == "cpu" && !log { 0.5 } else { 1.0 }
}

fn answer(x: &[f32], shape: &[usize], axis: usize, log: bool) -> Answer {
    if log { log_softmax(x, shape, axis) } else { softmax(x, shape, axis) }
}

fn check(x: &[f32], shape: &[usize], axis: usize) {
    for log in [false, true] {
        check_one(x, shape, Softmax { axis, log });
    }
}

fn check_one(x: &[f32], shape: &[usize], op: Softmax) {
    let Softmax { axis, log } = op;
    let answer = answer(x, shape, axis, log);
    each(&Case::new(op, &[&tensor(shape, x.to_vec())]), &PlanOptions::default(), |label, outputs| {
        let (context, y) = (format!("{op:?} of {shape:?} {label}"), values(&outputs[0]));
        assert_eq!(outputs[0].shape()[..], *shape, "{context}");
        assert_within(&context, y, &answer, c(label, log));
        if !log {
            sums_to_one(&context, y, shape, axis);
        }
    });
}

/// Each row sums to 1, up to the rounding of its `n` terms and quotients.
fn sums_to_one(context: &str, y: &[f32], shape: &[usize], axis: usize) {
    let (n, step) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    for first in (0..y.len()).filter(|i| i / step % n == 0) {
        let sum: f64 = (0..n).map(|i| f64::from(y[first + i * step])).sum();
        let permitted = (n as f64 + 10.0) * 2.0 * U;
        assert!((sum - 1.0).abs() <= permitted, "{context}: the row from {first} sums to {sum}");
    }
}

#[test]
fn every_axis() {
    cases(0xe0, 1, |rng| {
        for shape in [&[13][..], &[5, 10], &[3, 4, 65], &[2, 3, 4, 5], &[2, 1, 3, 2, 2]] {
            for axis in 0..shape.len() {
                let n = shape.iter().product();
                let x: Vec<f32> = (0..n).map(|_| 5.0 * rng.normal()).collect();
                check(&x, shape, axis);
            }
        }
    });
}

#[test]
fn generated_rows() {
    cases(0xe1, 30, |rng| {
        let rank = rng.range(1..5);
        let shape: Vec<usize> = (0..rank).map(|_| rng.size([65, 17, 9, 7][rank - 1])).collect();
        let scale = rng.pick(&[1e-3, 1.0, 30.0]);
        let x: Vec<f32> = (0..shape.iter().product()).map(|_| scale * rng.normal()).collect();
        check(&x, &shape, rng.range(0..rank));
    });
}

#[test]
fn long_rows() {
    cases(0xe2, 1, |rng| {
        // The oracle takes a row's sum anew for each element.
        for (rows, n) in [(3, 255), (3, 256), (3, 257), (2, 1000), (1, 4097)] {
            let x: Vec<f32> = (0..rows * n).map(|_| 3.0 * rng.normal()).collect();
            check(&x, &[rows, n], 1);
        }
        let x = rng.values(1000 * 3);
        check(&x, &[1000, 3], 0);
        // More rows side by side than a workgroup, or a task of the CPU, takes at once.
        let x = rng.values(3 * 20_000);
        check(&x, &[3, 20_000], 0);
    });
}

#[test]
fn more_rows_than_workgroups_in_one_dimension() {
    let op = Softmax { axis: 1, log: false };
    cases(0xe5, 1, |rng| check_one(&rng.values(65_537 * 2), &[65_537, 2], op));
}

#[test]
fn large_magnitudes() {
    cases(0xe3, 3, |rng| {
        let x: Vec<f32> = (0..300).map(|_| 1e4 * rng.value()).collect();
        check(&x, &[3, 100], 1);
        check(&x, &[3, 100], 0);
        let ends: Vec<f32> = (0..300).map(|_| if rng.chance(0.5) { 1e4 } else { -1e4 }).collect();
        check(&ends, &[3, 100], 1);
    });
}

#[test]
fn constant_rows() {
    for (n, value) in [(1, 3.5), (7, 0.0), (64, -1e4), (100, 1e4), (1000, f32::MAX)] {
        check(&vec![value; 2 * n], &[2, n], 1);
        check(&vec![value; 2 * n], &[n, 2], 0);
    }
}

#[test]
fn masked_elements_are_nothing() {
    let inf = f32::INFINITY;
    let x = tensor(&[2, 4], vec![0.0, -inf, 0.0, -inf, -inf, 7.0, -inf, -inf]);
    for (log, expected) in [
        (false, [0.5, 0.0, 0.5, 0.0, 0.0, 1.0, 0.0, 0.0]),
        (true, [-std::f32::consts::LN_2, -inf, -std::f32::consts::LN_2, -inf, -inf, 0.0, -inf, -inf]),
    ] {
        each(&Case::new(Softmax { axis: 1, log }, &[&x]), &PlanOptions::default(), |label, outputs| {
            for (&y, e) in values(&outputs[0]).iter().zip(expected) {
                assert!(y == e || (y - e).abs() <= 1e-6, "{label}: {y} instead of {e}");
            }
        });
    }
}

#[test]
fn nan_and_infinity_make_their_row_nan() {
    let mut x = vec![1.0; 3 * 300];
    x[7] = f32::NAN;
    x[301] = f32::INFINITY;
    x[300 + 7] = f32::INFINITY;
    for log in [false, true] {
        let case = Case::new(Softmax { axis: 1, log }, &[&tensor(&[3, 300], x.clone())]);
        each(&case, &PlanOptions::default(), |label, outputs| {
            let y = values(&outputs[0]);
            assert!(y[..300].iter().all(|v| v.is_nan()), "{label}: a NaN is lost");
            assert!(y[301].is_nan() && y[307].is_nan(), "{label}: infinities are told apart");
            assert!(y[600..].iter().all(|v| v.is_finite()), "{label}: a NaN leaves its row");
        });
    }
}

#[test]
fn no_elements() {
    for (shape, axis) in [(&[0][..], 0), (&[0, 3], 1), (&[3, 0], 1), (&[3, 0, 2], 1), (&[3, 2, 0], 1)] {
        check(&[], shape, axis);
    }
}

#[test]
fn a_wrong_element_is_seen() {
    let mut rng = Rng::new(0xe4);
    let x = random(&mut rng, &[2, 10]);
    for log in [false, true] {
        let answer = answer(values(&x), &[2, 10], 1, log);
        let mut wrong = x.clone();
        wrong.values_mut::<f32>().unwrap()[3] += 1e-3;
        each(&Case::new(Softmax { axis: 1, log }, &[&wrong]), &PlanOptions::default(), |label, outputs| {
            assert!(within(label, values(&outputs[0]), &answer, c(label, log)).is_err(), "{label}");
        });
    }
    let sums = std::panic::catch_unwind(|| sums_to_one("wrong", &[0.5, 0.49999], &[1, 2], 1));
    assert!(sums.is_err());
}
