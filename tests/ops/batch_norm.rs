//! Batch normalisation of tensors of every rank, and of nothing.

use wgpu_cnn::PlanOptions;
use wgpu_cnn::ops::BatchNorm;

use crate::harness::{Case, each, random, tensor, values};
use crate::support::compare::{assert_within, within};
use crate::support::oracle::Answer;
use crate::support::oracle::normalization::batch_norm;
use crate::support::random::{Rng, cases};

/// The oracle's bound covers the formula in any order, with WGSL's root and quotient; here a rounding is saved or added.
const C_GPU: f64 = 1.5;
/// A CPU rounds roots and quotients correctly.
const C_CPU: f64 = 1.0;

struct Problem {
    case: Case,
    answer: Answer,
    shape: Vec<usize>,
}

fn pose(rng: &mut Rng, shape: &[usize], epsilon: f32, smallest_variance: f32) -> Problem {
    let channels = shape[1];
    let x = random(rng, shape);
    let [scale, bias, mean] = [(); 3].map(|()| random(rng, &[channels]));
    let variance = (0..channels).map(|_| smallest_variance + rng.value().abs()).collect();
    let variance = tensor(&[channels], variance);
    let list = |i: usize, t: &[&wgpu_cnn::Tensor]| values(t[i]).to_vec();
    let operands = [&x, &scale, &bias, &mean, &variance];
    let answer = batch_norm(
        values(&x),
        shape,
        &list(1, &operands),
        &list(2, &operands),
        &list(3, &operands),
        &list(4, &operands),
        epsilon,
    );
    let mut case = Case::new(BatchNorm { epsilon }, &operands);
    if rng.chance(0.5) {
        case = case.constants(&[1, 2, 3, 4]);
    }
    Problem { case, answer, shape: shape.to_vec() }
}

fn c(label: &str) -> f64 {
    if label == "cpu" { C_CPU } else { C_GPU }
}

fn check(problem: &Problem) {
    each(&problem.case, &PlanOptions::default(), |label, outputs| {
        assert_eq!(outputs[0].shape()[..], problem.shape[..], "{label}");
        let context = format!("{:?} {label}", problem.shape);
        assert_within(&context, values(&outputs[0]), &problem.answer, c(label));
    });
}

#[test]
fn every_rank() {
    cases(0x60, 1, |rng| {
        for shape in [&[3, 5][..], &[2, 65, 7], &[2, 3, 8, 9], &[1, 2, 3, 4, 5], &[1, 1], &[2, 3, 150, 70]] {
            for epsilon in [1e-5, 1e-3, 0.0] {
                check(&pose(rng, shape, epsilon, 0.01));
            }
        }
    });
}

#[test]
fn generated_tensors() {
    cases(0x61, 20, |rng| {
        let mut shape = vec![rng.range(1..4), rng.size(33)];
        shape.extend((0..rng.range(0..4)).map(|_| rng.size(7)).collect::<Vec<_>>());
        let epsilon = rng.pick(&[1e-5, 1e-3, 0.1]);
        check(&pose(rng, &shape, epsilon, 0.0));
    });
}

#[test]
fn no_elements() {
    cases(0x62, 1, |rng| {
        for shape in [&[0, 3, 4][..], &[2, 0, 4], &[2, 3, 0], &[0, 3]] {
            check(&pose(rng, shape, 1e-5, 0.1));
        }
    });
}

#[test]
fn a_channel_of_one_value_becomes_its_bias() {
    let x = tensor(&[2, 2, 3], [[0.25; 3], [-2.0; 3]].concat().repeat(2));
    let one = |values: [f32; 2]| tensor(&[2], values.to_vec());
    let (scale, bias) = (one([3.0, -1.0]), one([0.5, -7.0]));
    let (mean, variance) = (one([0.25, -2.0]), one([0.0, 0.0]));
    let case = Case::new(BatchNorm { epsilon: 1e-5 }, &[&x, &scale, &bias, &mean, &variance]);
    each(&case, &PlanOptions::default(), |label, outputs| {
        assert_eq!(values(&outputs[0]), [[0.5; 3], [-7.0; 3]].concat().repeat(2), "{label}");
    });
}

#[test]
fn a_wrong_statistic_is_seen() {
    let mut rng = Rng::new(0x63);
    for operand in 1..5 {
        let mut problem = pose(&mut rng, &[2, 3, 4], 1e-5, 0.1);
        let wrong = problem.case.operands[operand].as_mut().unwrap();
        wrong.values_mut::<f32>().unwrap()[1] += 1e-3;
        each(&problem.case, &PlanOptions::default(), |label, outputs| {
            let judged = within(label, values(&outputs[0]), &problem.answer, c(label));
            assert!(judged.is_err(), "operand {operand} {label}");
        });
    }
}
