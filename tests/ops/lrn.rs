//! Local response normalisation: even and odd sizes, more channels summed than there are, two to five axes.

use wgpu_cnn::PlanOptions;
use wgpu_cnn::ops::Lrn;

use crate::harness::{Case, each, random, values};
use crate::support::compare::{assert_within, within};
use crate::support::oracle::normalization::lrn;
use crate::support::random::{Rng, cases};

/// The kernels evaluate the oracle's formula.
const C: f64 = 1.0;

fn check(rng: &mut Rng, shape: &[usize], op: Lrn) {
    let x = random(rng, shape);
    let answer = lrn(values(&x), shape, op.size, op.alpha, op.beta, op.bias);
    each(&Case::new(op, &[&x]), &PlanOptions::default(), |label, outputs| {
        assert_eq!(outputs[0].shape()[..], *shape, "{label}");
        assert_within(&format!("{label}: {op:?} of {shape:?}"), values(&outputs[0]), &answer, C);
    });
}

#[test]
fn generated() {
    cases(0xf0, 30, |rng| {
        let mut shape = vec![rng.range(1..4), rng.range(1..10)];
        shape.extend((0..rng.range(0..4)).map(|_| rng.range(1..8)));
        let op = Lrn {
            size: rng.range(1..12),
            // Large enough to be seen in the result.
            alpha: rng.pick(&[0.1, 1.0, 3.0]),
            beta: rng.pick(&[0.5, 0.75, 1.0, 2.0]),
            bias: rng.pick(&[0.5, 1.0, 2.0]),
        };
        check(rng, &shape, op);
    });
}

#[test]
fn every_size_about_few_channels() {
    cases(0xf1, 1, |rng| {
        for size in (1..=8).chain([1000, usize::MAX]) {
            check(rng, &[2, 5, 3], Lrn { size, alpha: 1.0, beta: 0.75, bias: 1.0 });
        }
    });
}

#[test]
fn as_in_alexnet_and_of_nothing() {
    cases(0xf2, 1, |rng| {
        let op = Lrn { size: 5, alpha: 1e-4, beta: 0.75, bias: 1.0 };
        check(rng, &[1, 33, 13, 13], op);
        check(rng, &[0, 3, 2], op);
        check(rng, &[2, 0, 2], op);
        check(rng, &[2, 3, 0], op);
    });
}

#[test]
fn a_shifted_window_is_seen() {
    let x = random(&mut Rng::new(5), &[1, 6, 4]);
    let answer = lrn(values(&x), &[1, 6, 4], 3, 1.0, 0.75, 1.0);
    // Size 4 over the same quotient: one more channel after.
    let op = Lrn { size: 4, alpha: 4.0 / 3.0, beta: 0.75, bias: 1.0 };
    each(&Case::new(op, &[&x]), &PlanOptions::default(), |label, outputs| {
        assert!(within(label, values(&outputs[0]), &answer, C).is_err(), "{label}");
    });
}
