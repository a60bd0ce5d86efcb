//! Values from the ONNX operator documentation.

use super::{count_up, published};
use crate::support::compare::within;
use crate::support::oracle::reduction::{Arg, Reduce, arg, reduce};
use crate::support::random::values;

const TABLE: [f32; 12] = [5.0, 1.0, 20.0, 2.0, 30.0, 1.0, 40.0, 2.0, 55.0, 1.0, 60.0, 2.0];

#[test]
fn published_reductions() {
    let table = |kind| reduce(kind, &TABLE, &[3, 2, 2], &[1], false);
    published(&table(Reduce::Max), &[3, 2], &[20.0, 2.0, 40.0, 2.0, 60.0, 2.0]);
    published(&table(Reduce::Min), &[3, 2], &[5.0, 1.0, 30.0, 1.0, 55.0, 1.0]);
    published(&table(Reduce::Mean), &[3, 2], &[12.5, 1.5, 35.0, 1.5, 57.5, 1.5]);
    let log = [20.00000031, 2.31326169, 40.0000454, 2.31326169, 60.0067153, 2.31326169];
    published(&table(Reduce::LogSumExp), &[3, 2], &log);

    let x = count_up(1, 12);
    let run = |kind, axis: usize, keep| reduce(kind, &x, &[3, 2, 2], &[axis], keep);
    published(&run(Reduce::Sum, 1, false), &[3, 2], &[4.0, 6.0, 12.0, 14.0, 20.0, 22.0]);
    published(&run(Reduce::Prod, 1, true), &[3, 1, 2], &[3.0, 8.0, 35.0, 48.0, 99.0, 120.0]);
    published(&run(Reduce::SumSquare, 1, false), &[3, 2], &[10.0, 20.0, 74.0, 100.0, 202.0, 244.0]);
    published(&run(Reduce::L1, 2, true), &[3, 2, 1], &[3.0, 7.0, 11.0, 15.0, 19.0, 23.0]);
    let l2 = [2.23606798, 5.0, 7.81024968, 10.63014581, 13.45362405, 16.2788206];
    published(&run(Reduce::L2, 2, false), &[3, 2], &l2);
    let logs = run(Reduce::Sum, 1, false).value.iter().map(|v| v.ln()).collect::<Vec<_>>();
    published(&run(Reduce::LogSum, 1, false), &[3, 2], &logs);
}

#[test]
fn several_axes_at_once() {
    let x = count_up(1, 12);
    published(&reduce(Reduce::Sum, &x, &[3, 2, 2], &[0, 2], false), &[2], &[33.0, 45.0]);
    published(&reduce(Reduce::Sum, &x, &[3, 2, 2], &[0, 2], true), &[1, 2, 1], &[33.0, 45.0]);
    let all = reduce(Reduce::Mean, &x, &[3, 2, 2], &[0, 1, 2], false);
    published(&all, &[], &[6.5]);
    assert_eq!(all.terms, 12);
}

#[test]
fn special_reductions() {
    let one = |kind: Reduce, x: &[f64]| kind.of(x).value;
    for kind in Reduce::ALL {
        assert!(one(kind, &[1.0, f64::NAN, 2.0]).is_nan(), "{kind:?}");
    }
    assert!((one(Reduce::LogSumExp, &[1000.0, 1000.0]) - 1000.0 - 2.0_f64.ln()).abs() < 1e-12);
}

#[test]
fn f32_reductions_lie_within_the_bounds() {
    let x: Vec<f32> = values(31, 65).iter().map(|v| v + 1.5).collect();
    let sum = |f: fn(f32) -> f32| x.iter().map(|&v| f(v)).sum::<f32>();
    let evaluate = |kind| match kind {
        Reduce::Sum => sum(|v| v),
        Reduce::Mean => sum(|v| v) / 65.0,
        Reduce::Max => x.iter().copied().fold(f32::MIN, f32::max),
        Reduce::Min => x.iter().copied().fold(f32::MAX, f32::min),
        Reduce::Prod => x.iter().product(),
        Reduce::L1 => sum(f32::abs),
        Reduce::L2 => sum(|v| v * v).sqrt(),
        Reduce::LogSum => sum(|v| v).ln(),
        Reduce::LogSumExp => sum(f32::exp).ln(),
        Reduce::SumSquare => sum(|v| v * v),
    };
    for kind in Reduce::ALL {
        let answer = reduce(kind, &x, &[65], &[0], false);
        let actual = evaluate(kind);
        within(&format!("{kind:?}"), &[actual], &answer, 1.0).unwrap();
        assert!(within("wrong", &[actual * 1.001], &answer, 1.0).is_err(), "{kind:?}");
    }
}

#[test]
fn published_positions() {
    let run = |kind, axis, keep, last| arg(kind, &[2.0, 2.0, 3.0, 10.0], &[2, 2], axis, keep, last);
    let max = run(Arg::Max, 1, true, false);
    assert_eq!((max.shape, max.value), (vec![2, 1], vec![0, 1]));
    assert_eq!(run(Arg::Max, 1, true, true).value, [1, 1]);
    let down = run(Arg::Max, 0, false, false);
    assert_eq!((down.shape, down.value), (vec![2], vec![1, 1]));
    assert_eq!(run(Arg::Min, 1, false, false).value, [0, 0]);
    assert_eq!(run(Arg::Min, 1, false, true).value, [1, 0]);
}
