//! Places of extremes: every axis, ties, NaN and infinities, as an index and one-hot, bit for bit.

use wgpu_cnn::ops::ArgReduce;
use wgpu_cnn::ops::arg_reduce::ArgOutput;
use wgpu_cnn::{PlanOptions, Tensor};

use crate::harness::{Case, each, tensor, values};
use crate::support::compare::assert_exact;
use crate::support::oracle::reduction::{Arg, arg};
use crate::support::oracle::{count, per_index, position, with_axis};
use crate::support::random::{Rng, cases};

/// Checks both outputs for both extremes and both rules for ties, along one axis.
///
/// NaN counts as an infinity of the wanted sign, so `x` must not hold both.
fn check(x: &Tensor, axis: usize) {
    let shape = &x.shape()[..];
    for (largest, select_last) in [(true, false), (true, true), (false, false), (false, true)] {
        let (kind, infinity) =
            if largest { (Arg::Max, f32::INFINITY) } else { (Arg::Min, f32::NEG_INFINITY) };
        let numbers: Vec<f32> = values(x).iter().map(|&v| if v.is_nan() { infinity } else { v }).collect();
        let index = arg(kind, &numbers, shape, axis, true, select_last);
        let one_hot: Vec<f32> = per_index(shape, |at| {
            let winner = index.value[position(&with_axis(at, axis, 0), &index.shape)];
            f32::from(at[axis] as i64 == winner)
        });
        for output in [ArgOutput::Index, ArgOutput::OneHot] {
            let op = ArgReduce { largest, axis, select_last, output };
            each(&Case::new(op, &[x]), &PlanOptions::default(), |label, outputs| {
                let label = format!("{label}: {op:?} of {shape:?}");
                match output {
                    ArgOutput::Index => {
                        assert_eq!(outputs[0].shape()[..], index.shape[..], "{label}");
                        assert_eq!(outputs[0].values::<i64>().unwrap(), index.value, "{label}");
                    }
                    ArgOutput::OneHot => {
                        assert_eq!(outputs[0].shape()[..], *shape, "{label}");
                        assert_exact(&label, values(&outputs[0]), &one_hot);
                    }
                }
            });
        }
    }
}

/// A tensor of a few different values, so that most extremes are tied.
fn tied(rng: &mut Rng, shape: &[usize], among: &[f32]) -> Tensor {
    tensor(shape, (0..count(shape)).map(|_| rng.pick(among)).collect())
}

#[test]
fn ties_and_special_values_along_every_axis() {
    cases(0xd0, 8, |rng| {
        let shape: Vec<usize> = (0..rng.range(1..5)).map(|_| rng.range(1..6)).collect();
        for among in [
            &[-1.0, -0.0, 0.0, 1.0][..],
            &[f32::NEG_INFINITY, -2.0, 2.0, f32::INFINITY],
            &[f32::NAN, -1.0, 1.0, 3.0, 3.0],
            &[f32::NAN],
        ] {
            let x = tied(rng, &shape, among);
            for axis in 0..shape.len() {
                check(&x, axis);
            }
        }
    });
}

#[test]
fn long_axes_and_many_lines() {
    cases(0xd1, 1, |rng| {
        for (shape, axis) in [(&[3, 1000][..], 1), (&[1000, 3], 0), (&[2, 33, 65], 1), (&[130, 7], 1)] {
            let x = tensor(shape, rng.values(count(shape)));
            check(&x, axis);
        }
    });
}

#[test]
fn no_lines() {
    check(&tensor(&[0, 3], vec![]), 1);
    check(&tensor(&[3, 0], vec![]), 0);
}
