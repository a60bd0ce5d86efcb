//! Weighted taps along one axis: any weights, the tables of every way to resize, and taps that must not be read.

use wgpu_cnn::graph::Info;
use wgpu_cnn::ops::Resample;
use wgpu_cnn::{Graph, PlanOptions, Tensor};

use crate::harness::{Case, each, random, tensor, values};
use crate::support::compare::{assert_exact, assert_within};
use crate::support::oracle::resize::{Coordinate, Mode, Nearest, Resize};
use crate::support::oracle::{Answer, count, per_index, position, with_axis};
use crate::support::random::{Rng, cases};

/// The rounding of one product and one sum, with a margin for another order.
const C: f64 = 2.0;

/// The operator's definition, in f64.
fn weighted(op: &Resample, x: &Tensor) -> Answer {
    let shape = with_axis(x.shape(), op.axis, op.indices.len() / op.taps);
    let products = |index: &[usize]| -> Vec<f64> {
        (0..op.taps)
            .map(|tap| index[op.axis] * op.taps + tap)
            .filter(|&tap| op.weights[tap] != 0.0)
            .map(|tap| {
                let from = position(&with_axis(index, op.axis, op.indices[tap]), x.shape());
                f64::from(op.weights[tap]) * f64::from(values(x)[from])
            })
            .collect()
    };
    Answer {
        value: per_index(&shape, |index| products(index).iter().sum()),
        magnitude: per_index(&shape, |index| products(index).iter().map(|p| p.abs()).sum()),
        terms: op.taps,
        shape,
    }
}

fn check(op: &Resample, x: &Tensor, answer: &Answer) {
    each(&Case::new(op.clone(), &[x]), &PlanOptions::default(), |label, outputs| {
        assert_eq!(outputs[0].shape()[..], answer.shape[..], "{label}");
        assert_within(&format!("{label}: {op:?} of {}", x.shape()), values(&outputs[0]), answer, C);
    });
}

#[test]
fn any_weights_along_any_axis() {
    cases(0x90, 30, |rng| {
        let shape: Vec<usize> = (0..rng.range(1..5)).map(|_| rng.range(1..8)).collect();
        let axis = rng.range(0..shape.len());
        let (positions, taps) = (rng.size(33), rng.range(1..6));
        let weight = |rng: &mut Rng| if rng.chance(0.2) { 0.0 } else { rng.value() };
        let op = Resample {
            axis,
            taps,
            indices: (0..positions * taps).map(|_| rng.range(0..shape[axis])).collect(),
            weights: (0..positions * taps).map(|_| weight(rng)).collect(),
        };
        let x = random(rng, &shape);
        check(&op, &x, &weighted(&op, &x));
    });
}

#[test]
fn no_positions_and_no_lines() {
    let op = |indices: &[usize]| Resample {
        axis: 1,
        taps: 1,
        indices: indices.to_vec(),
        weights: vec![1.0; indices.len()],
    };
    for (shape, op) in [(&[2, 3][..], op(&[])), (&[0, 3], op(&[2, 0])), (&[2, 3, 0], op(&[1]))] {
        let x = tensor(shape, vec![0.5; count(shape)]);
        check(&op, &x, &weighted(&op, &x));
    }
}

/// The table by which the oracle resizes an axis of `n` elements to `out`: what it makes of the unit vectors.
fn table(resize: &Resize, axis: usize, n: usize, out: usize, scale: f64) -> Resample {
    let unit = per_index(&[n, n], |i| f32::from(i[0] == i[1]));
    let dense = resize.apply(&unit, &[n, n], &[out, n], &[scale, 1.0]).value;
    let rows: Vec<Vec<(usize, f32)>> = (dense.chunks(n))
        .map(|row| (0..n).filter(|&i| row[i] != 0.0).map(|i| (i, row[i] as f32)).collect())
        .collect();
    let taps = rows.iter().map(Vec::len).max().unwrap_or(1);
    // Positions with fewer taps are filled up by some that weigh nothing.
    let padded =
        |row: &Vec<(usize, f32)>| row.iter().copied().chain(std::iter::repeat((0, 0.0))).take(taps).collect();
    let all: Vec<(usize, f32)> = rows.iter().flat_map::<Vec<_>, _>(padded).collect();
    let (indices, weights) = all.into_iter().unzip();
    Resample { axis, taps, indices, weights }
}

#[test]
fn every_way_to_resize() {
    use Coordinate::*;
    cases(0x91, 10, |rng| {
        for coordinate in [HalfPixel, HalfPixelSymmetric, PytorchHalfPixel, AlignCorners, Asymmetric] {
            for mode in [Mode::Nearest, Mode::Linear, Mode::Cubic] {
                let resize = Resize {
                    mode,
                    coordinate,
                    nearest: rng.pick(&[
                        Nearest::RoundPreferFloor,
                        Nearest::RoundPreferCeil,
                        Nearest::Floor,
                        Nearest::Ceil,
                    ]),
                    exclude_outside: mode == Mode::Cubic && rng.chance(0.3),
                    ..Resize::default()
                };
                let shape: Vec<usize> = (0..rng.range(1..5)).map(|_| rng.range(1..6)).collect();
                let axis = rng.range(0..shape.len());
                let out = rng.range(1..12);
                let mut scales = vec![1.0; shape.len()];
                scales[axis] = out as f64 / shape[axis] as f64;
                let op = table(&resize, axis, shape[axis], out, scales[axis]);
                let x = random(rng, &shape);
                let answer = resize.apply(values(&x), &shape, &with_axis(&shape, axis, out), &scales);
                if mode != Mode::Nearest {
                    check(&op, &x, &answer);
                    continue;
                }
                each(&Case::new(op.clone(), &[&x]), &PlanOptions::default(), |label, outputs| {
                    assert_eq!(outputs[0].shape()[..], answer.shape[..], "{label}");
                    let label = format!("{label}: {resize:?} of {shape:?} to {out}");
                    assert_exact(&label, values(&outputs[0]), &answer.to_f32());
                });
            }
        }
    });
}

#[test]
fn what_weighs_nothing_is_not_read() {
    let x = tensor(&[2, 3], vec![1.0, f32::INFINITY, 3.0, f32::NAN, 5.0, -0.0]);
    let op = Resample {
        axis: 1,
        taps: 2,
        indices: vec![0, 1, 1, 0, 1, 2, 2, 1, 0, 2, 1, 0],
        weights: vec![1.0, 0.0, 0.0, 2.0, 0.0, 1.0, 1.0, -0.0, 0.5, 0.5, 0.0, 0.0],
    };
    let expected = [1.0, 2.0, 3.0, 3.0, 2.0, 0.0, f32::NAN, f32::NAN, -0.0, -0.0, f32::NAN, 0.0];
    each(&Case::new(op, &[&x]), &PlanOptions::default(), |label, outputs| {
        assert_exact(label, values(&outputs[0]), &expected);
    });
}

#[test]
fn a_table_that_does_not_fit_is_refused() {
    let refused = |axis, taps, indices: &[usize], weights: usize| {
        let mut graph = Graph::new("case");
        let x = graph.input("x", Info::f32(tensor(&[2, 3], vec![0.0; 6]).shape().clone()));
        let op = Resample { axis, taps, indices: indices.to_vec(), weights: vec![1.0; weights] };
        graph.push_node("node", op, &[Some(x)]).is_err()
    };
    assert!(!refused(1, 2, &[0, 2], 2));
    assert!(refused(2, 2, &[0, 1], 2), "no such axis");
    assert!(refused(1, 2, &[0, 3], 2), "an index past the axis");
    assert!(refused(1, 2, &[0, 1, 2], 3), "half a position");
    assert!(refused(1, 2, &[0, 1], 1), "a weight missing");
    assert!(refused(1, 0, &[], 0), "no taps");
}
