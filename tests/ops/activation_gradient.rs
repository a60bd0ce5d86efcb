//! Gradients of activations: every kind at all magnitudes, at kinks, and what is not finite.

use std::collections::BTreeSet;

use wgpu_cnn::ops::Activation::{self, *};
use wgpu_cnn::ops::ActivationGradient;
use wgpu_cnn::{Error, Graph, PlanOptions};

use crate::activation::{ALL, c, reference, sweep};
use crate::harness::{Case, each, random, tensor, values};
use crate::support::compare::{assert_exact, assert_within, within};
use crate::support::oracle::Answer;
use crate::support::random::{Rng, cases};

/// What the operator takes for these inputs of the function.
fn value_at(activation: Activation, x: &[f32]) -> Vec<f32> {
    if activation.gradient_from_output() {
        reference(activation).apply(x, &[x.len()]).to_f32()
    } else {
        x.to_vec()
    }
}

fn gradient(activation: Activation, value: &[f32], dy: &[f32], shape: &[usize]) -> Answer {
    reference(activation).gradient(activation.gradient_from_output(), value, dy, shape)
}

fn check(activation: Activation, value: &[f32], dy: &[f32], shape: &[usize]) {
    let answer = gradient(activation, value, dy, shape);
    let operands = [&tensor(shape, value.to_vec()), &tensor(shape, dy.to_vec())];
    each(
        &Case::new(ActivationGradient { activation }, &operands),
        &PlanOptions::default(),
        |label, outputs| {
            assert_eq!(outputs[0].shape()[..], *shape, "{label}");
            assert_within(&format!("{activation:?} {label}"), values(&outputs[0]), &answer, c(label));
        },
    );
}

#[test]
fn every_kind_has_a_kernel() {
    let kinds: BTreeSet<String> =
        ALL.iter().map(|a| format!("{a:?}").split(' ').next().unwrap().to_string()).collect();
    let kernels =
        wgpu_cnn::gpu::variants().iter().filter(|(_, kernel)| kernel.name() == "activation_gradient").count();
    // ELU and SELU twice, at their outputs and at their inputs.
    assert_eq!(kinds.len() + 2, kernels);
}

#[test]
fn every_kind_over_all_magnitudes() {
    cases(0xa8, 1, |rng| {
        let mut x: Vec<f32> = sweep().into_iter().filter(|x| x.is_finite()).collect();
        x.extend((0..300).map(|_| 4.0 * rng.normal()));
        // As many as are whole fours.
        x.truncate(x.len() / 4 * 4);
        for &activation in ALL {
            let value = value_at(activation, &x);
            check(activation, &value, &rng.values(x.len()), &[x.len()]);
        }
    });
}

#[test]
fn kinks_have_the_slope_of_pytorch() {
    let kinks = [
        (Relu, 0.0, 0.0),
        (LeakyRelu { alpha: 0.25 }, 0.0, 0.25),
        (LeakyRelu { alpha: -0.5 }, 0.0, -0.5),
        (Clip { min: 0.0, max: 6.0 }, 0.0, 0.0),
        (Clip { min: 0.0, max: 6.0 }, 6.0, 0.0),
        (Elu { alpha: 0.5 }, 0.0, 0.5),
        (Elu { alpha: -0.5 }, 0.0, -0.5),
        (HardSigmoid { alpha: 0.2, beta: 0.5 }, 0.0, 0.0),
        (HardSigmoid { alpha: 0.2, beta: 0.5 }, 1.0, 0.0),
        (HardSwish, -3.0, 0.0),
        (HardSwish, 3.0, 1.0),
        (ThresholdedRelu { alpha: 1.0 }, 1.0, 0.0),
        (Abs, 0.0, 0.0),
    ];
    for (activation, value, slope) in kinks {
        let operands = [&tensor(&[1], vec![value]), &tensor(&[1], vec![2.0])];
        each(
            &Case::new(ActivationGradient { activation }, &operands),
            &PlanOptions::default(),
            |label, outputs| {
                assert_exact(&format!("{activation:?} {label}"), values(&outputs[0]), &[2.0 * slope]);
            },
        );
    }
}

#[test]
fn far_arguments_have_the_slope_of_the_asymptote() {
    // Functions whose slope is a sum of terms that overflow.
    let x = [-f32::INFINITY, f32::MIN, -1e30, -200.0, 200.0, 1e30, f32::MAX, f32::INFINITY];
    for activation in [Activation::SILU, HardSwish, Gelu, GeluTanh, Mish] {
        let case = Case::new(
            ActivationGradient { activation },
            &[&tensor(&[8], x.to_vec()), &tensor(&[8], vec![1.0; 8])],
        );
        each(&case, &PlanOptions::default(), |label, outputs| {
            let y = values(&outputs[0]);
            assert_eq!(y, [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0], "{activation:?} {label}");
        });
    }
}

#[test]
fn nan_stays_nan() {
    for &activation in ALL.iter().filter(|a| !matches!(a, Neg | Floor | Ceil)) {
        let operands = [&tensor(&[3], vec![f32::NAN, 0.5, -f32::NAN]), &tensor(&[3], vec![1.0; 3])];
        each(
            &Case::new(ActivationGradient { activation }, &operands),
            &PlanOptions::default(),
            |label, outputs| {
                let y = values(&outputs[0]);
                assert!(y[0].is_nan() && !y[1].is_nan() && y[2].is_nan(), "{activation:?} {label}: {y:?}");
            },
        );
    }
}

#[test]
fn generated_shapes() {
    cases(0xa9, 20, |rng| {
        let rank = rng.range(0..5);
        let shape: Vec<usize> = (0..rank).map(|_| rng.size(9)).collect();
        let n = shape.iter().product();
        let activation = rng.pick(ALL);
        let value = value_at(activation, &rng.values(n));
        check(activation, &value, &rng.values(n), &shape);
    });
}

#[test]
fn sizes_beside_a_workgroup() {
    let mut rng = Rng::new(0xaa);
    for n in [0, 1, 63, 64, 65, 129, 16_384, 16_385] {
        check(Relu, &rng.values(n), &rng.values(n), &[n]);
        check(Activation::SILU, &rng.values(n), &rng.values(n), &[n]);
    }
}

#[test]
fn operands_of_different_shapes_are_refused() {
    let mut rng = Rng::new(0xab);
    let (value, dy) = (random(&mut rng, &[2, 3]), random(&mut rng, &[3, 2]));
    let mut graph = Graph::new("case");
    let ids = [graph.constant("value", value), graph.constant("dy", dy)];
    let error = graph.push("node", ActivationGradient { activation: Relu }, &ids).unwrap_err();
    assert!(matches!(&error, Error::Shape { op: "activation_gradient", .. }), "{error}");
}

#[test]
fn a_wrong_slope_is_seen() {
    let mut rng = Rng::new(0xac);
    let (x, dy) = (rng.values(40), rng.values(40));
    for &activation in ALL.iter().filter(|a| !matches!(a, Neg | Floor | Ceil)) {
        let value = value_at(activation, &x);
        let answer = gradient(activation, &value, &dy, &[40]);
        let sign_lost: Vec<f32> = answer.value.iter().map(|&v| -v as f32).collect();
        let unscaled: Vec<f32> = answer.value.iter().map(|&v| 1.001 * v as f32).collect();
        let all_zero = answer.value.iter().all(|&v| v == 0.0 || v.is_nan());
        for wrong in [sign_lost, unscaled] {
            assert!(all_zero || within("wrong", &wrong, &answer, c("gpu")).is_err(), "{activation:?}");
        }
    }
}
