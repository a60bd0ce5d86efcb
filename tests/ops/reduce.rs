//! Reductions: all kinds over all sets of axes, long rows, no elements, and what is not finite.

use wgpu_cnn::PlanOptions;
use wgpu_cnn::ops::{Reduce, ReduceKind};

use crate::harness::{Case, each, random, tensor, values};
use crate::support::compare::{assert_within, within};
use crate::support::oracle::reduction::{Reduce as Reference, reduce};
use crate::support::random::{Rng, cases};

/// The bound covers every order of the sum.
const C: f64 = 1.0;

const KINDS: [(ReduceKind, Reference); 10] = [
    (ReduceKind::Sum, Reference::Sum),
    (ReduceKind::Mean, Reference::Mean),
    (ReduceKind::Max, Reference::Max),
    (ReduceKind::Min, Reference::Min),
    (ReduceKind::Prod, Reference::Prod),
    (ReduceKind::L1, Reference::L1),
    (ReduceKind::L2, Reference::L2),
    (ReduceKind::LogSum, Reference::LogSum),
    (ReduceKind::LogSumExp, Reference::LogSumExp),
    (ReduceKind::SumSquare, Reference::SumSquare),
];

/// Values for a kind: about 1 for a product, which else would vanish, and positive for a logarithm.
fn operand(rng: &mut Rng, kind: ReduceKind, shape: &[usize]) -> Vec<f32> {
    let n = shape.iter().product();
    let from = |rng: &mut Rng, low: f32, high: f32| low + (high - low) * rng.unit() as f32;
    (0..n)
        .map(|_| match kind {
            ReduceKind::Prod => from(rng, 0.9, 1.1) * if rng.chance(0.3) { -1.0 } else { 1.0 },
            ReduceKind::LogSum => from(rng, 0.01, 2.0),
            ReduceKind::LogSumExp => from(rng, -20.0, 20.0),
            _ => rng.value(),
        })
        .collect()
}

/// Axes of `None` are those past the first two.
fn check(
    rng: &mut Rng,
    (kind, theirs): (ReduceKind, Reference),
    shape: &[usize],
    axes: Option<&[usize]>,
    keep_dims: bool,
) {
    let x = operand(rng, kind, shape);
    let spatial: Vec<usize> = (2..shape.len()).collect();
    let answer = reduce(theirs, &x, shape, axes.unwrap_or(&spatial), keep_dims);
    let op = Reduce { kind, axes: axes.map(<[usize]>::to_vec), keep_dims };
    let context = format!("{op:?} of {shape:?}");
    each(&Case::new(op, &[&tensor(shape, x)]), &PlanOptions::default(), |label, outputs| {
        assert_eq!(outputs[0].shape()[..], answer.shape[..], "{context} {label}");
        assert_within(&format!("{context} {label}"), values(&outputs[0]), &answer, C);
    });
}

fn subset(bits: usize, rank: usize) -> Vec<usize> {
    (0..rank).filter(|axis| bits >> axis & 1 == 1).collect()
}

#[test]
fn every_kind_over_every_set_of_axes() {
    cases(0xd0, 1, |rng| {
        for kind in KINDS {
            for shape in [&[][..], &[13], &[3, 7], &[3, 1, 5], &[2, 5, 3, 4]] {
                for bits in 0..1 << shape.len() {
                    let axes = subset(bits, shape.len());
                    let keep_dims = rng.chance(0.5);
                    check(rng, kind, shape, Some(&axes), keep_dims);
                }
            }
        }
    });
}

#[test]
fn kept_and_dropped_axes() {
    cases(0xd1, 1, |rng| {
        for bits in 0..8 {
            for keep_dims in [false, true] {
                check(rng, KINDS[0], &[2, 3, 4], Some(&subset(bits, 3)), keep_dims);
            }
        }
    });
}

#[test]
fn generated_reductions() {
    cases(0xd2, 40, |rng| {
        let rank = rng.range(1..7);
        let shape: Vec<usize> = (0..rank).map(|_| rng.range(1..6)).collect();
        let axes = subset(rng.range(0..1 << rank), rank);
        let (kind, keep_dims) = (rng.pick(&KINDS), rng.chance(0.5));
        check(rng, kind, &shape, Some(&axes), keep_dims);
    });
}

#[test]
fn long_rows() {
    cases(0xd3, 1, |rng| {
        for kind in KINDS {
            check(rng, kind, &[3, 1000], Some(&[1]), false);
            check(rng, kind, &[4097, 3], Some(&[0]), false);
            check(rng, kind, &[2, 65, 3, 67], Some(&[1, 3]), true);
        }
        for n in [255, 256, 257, 2052, 70_001] {
            check(rng, KINDS[0], &[n], Some(&[0]), false);
        }
        // More outputs than a task of the CPU, or than a workgroup, takes at once.
        check(rng, KINDS[0], &[3, 20_000], Some(&[0]), false);
        check(rng, KINDS[2], &[20_000, 3], Some(&[1]), false);
    });
}

#[test]
fn more_outputs_than_workgroups_in_one_dimension() {
    cases(0xd7, 1, |rng| check(rng, KINDS[0], &[65_537, 2], Some(&[1]), false));
}

#[test]
fn global_pooling() {
    cases(0xd4, 1, |rng| {
        for kind in KINDS {
            check(rng, kind, &[2, 3, 7, 9], None, true);
        }
        for shape in [&[2, 3][..], &[2, 3, 65], &[1, 5, 3, 4, 5]] {
            for keep_dims in [false, true] {
                check(rng, KINDS[1], shape, None, keep_dims);
            }
        }
    });
}

#[test]
fn no_elements() {
    cases(0xd5, 1, |rng| {
        for kind in KINDS {
            check(rng, kind, &[0], Some(&[0]), false);
            check(rng, kind, &[2, 0, 3], Some(&[1]), true);
            check(rng, kind, &[3, 0], Some(&[1]), false);
            check(rng, kind, &[0, 3], Some(&[1]), false);
            check(rng, kind, &[0, 0], Some(&[0, 1]), false);
        }
    });
}

#[test]
fn nan_and_infinity() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let rows =
        [[1.0, nan, 2.0], [nan, 1.0, inf], [inf, 1.0, 2.0], [-inf, 1.0, -3.0], [inf, -inf, 0.0], [-inf; 3]];
    let log_sum_exp = (1.0_f32.exp() + (-3.0_f32).exp()).ln();
    let expected = [
        (ReduceKind::Sum, [nan, nan, inf, -inf, nan, -inf]),
        (ReduceKind::Mean, [nan, nan, inf, -inf, nan, -inf]),
        (ReduceKind::Max, [nan, nan, inf, 1.0, inf, -inf]),
        (ReduceKind::Min, [nan, nan, 1.0, -inf, -inf, -inf]),
        (ReduceKind::Prod, [nan, nan, inf, inf, nan, -inf]),
        (ReduceKind::L1, [nan, nan, inf, inf, inf, inf]),
        (ReduceKind::L2, [nan, nan, inf, inf, inf, inf]),
        (ReduceKind::LogSumExp, [nan, nan, inf, log_sum_exp, inf, -inf]),
        (ReduceKind::SumSquare, [nan, nan, inf, inf, inf, inf]),
    ];
    let by_row = tensor(&[6, 3], rows.concat());
    let by_column = tensor(&[3, 6], (0..18).map(|i| rows[i % 6][i / 6]).collect());
    for (kind, expected) in expected {
        for (x, axis) in [(&by_row, 1), (&by_column, 0)] {
            let op = Reduce { kind, axes: Some(vec![axis]), keep_dims: false };
            each(&Case::new(op, &[x]), &PlanOptions::default(), |label, outputs| {
                for (i, (&y, e)) in values(&outputs[0]).iter().zip(expected).enumerate() {
                    let same = y == e || (y.is_nan() && e.is_nan()) || (y - e).abs() < 1e-5;
                    assert!(same, "{kind:?} of {:?} along axis {axis}, {label}: {y}, expected {e}", rows[i]);
                }
            });
        }
    }
}

#[test]
fn exponentials_do_not_overflow() {
    let x: Vec<f32> = [1e4, -1e4, 1e4].repeat(100);
    for shift in [0.0, 1e4, -1e4] {
        let x: Vec<f32> = x.iter().map(|v| v + shift).collect();
        let answer = reduce(Reference::LogSumExp, &x, &[300], &[0], false);
        let op = Reduce { kind: ReduceKind::LogSumExp, axes: Some(vec![0]), keep_dims: false };
        each(&Case::new(op, &[&tensor(&[300], x)]), &PlanOptions::default(), |label, outputs| {
            assert_within(label, values(&outputs[0]), &answer, C);
        });
    }
}

#[test]
fn a_wrong_element_is_seen() {
    let mut rng = Rng::new(0xd6);
    let x = random(&mut rng, &[4, 9]);
    let answer = reduce(Reference::Sum, values(&x), &[4, 9], &[1], false);
    let mut wrong = x.clone();
    wrong.values_mut::<f32>().unwrap()[7] += 1e-4;
    let op = Reduce { kind: ReduceKind::Sum, axes: Some(vec![1]), keep_dims: false };
    each(&Case::new(op, &[&wrong]), &PlanOptions::default(), |label, outputs| {
        assert!(within(label, values(&outputs[0]), &answer, C).is_err(), "{label}");
    });
}
