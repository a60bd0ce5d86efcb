//! Layer, instance and group normalisation: every axis, scale and bias that broadcast, statistics, short and long rows.

use wgpu_cnn::graph::Info;
use wgpu_cnn::ops::Normalize;
use wgpu_cnn::{DType, Graph, PlanOptions, Tensor};

use crate::harness::{Case, each, random, tensor, values};
use crate::support::compare::{assert_within, bound, within};
use crate::support::oracle::approx::Approx;
use crate::support::oracle::normalization::{instance_norm, layer_norm};
use crate::support::oracle::reduction::{Reduce, reduce};
use crate::support::oracle::{Answer, count};
use crate::support::random::{Rng, cases};

/// The oracle's formula, but for one more rounding: of the inverse deviation.
const C: f64 = 2.0;

/// 1 / sqrt(variance + epsilon) of each row.
fn inverse(x: &Tensor, op: &Normalize) -> Answer {
    let length = count(&x.shape()[op.axis..]);
    let row = |row: &[f32]| {
        let (row, n) = (row.iter().map(|&v| Approx::exact(v)), Approx::exact(length as f64));
        let mean = Approx::sum(row.clone()) / n;
        let variance = Approx::sum(row.map(|v| (v - mean) * (v - mean))) / n;
        Approx::exact(1.0) / (variance + Approx::exact(op.epsilon)).sqrt()
    };
    let mut shape = x.shape().to_vec();
    shape[op.axis..].fill(1);
    Answer::from_approx(shape, length, values(x).chunks(length).map(row).collect())
}

fn case(op: Normalize, x: &Tensor, scale: Option<&Tensor>, bias: Option<&Tensor>) -> Case {
    let operands = vec![Some(x.clone()), scale.cloned(), bias.cloned()];
    Case { op: op.into(), operands, constants: vec![1] }
}

/// Checks all outputs, with and without the statistics.
fn check(axis: usize, x: &Tensor, scale: Option<&Tensor>, bias: Option<&Tensor>) {
    fn term(t: Option<&Tensor>) -> Option<(&[f32], &[usize])> {
        t.map(|t| (values(t), &t.shape()[..]))
    }
    for statistics in [false, true] {
        let op = Normalize { axis, epsilon: 1e-5, statistics };
        let mut answers = vec![layer_norm(values(x), x.shape(), axis, term(scale), term(bias), op.epsilon)];
        if statistics {
            let axes: Vec<usize> = (axis..x.shape().len()).collect();
            answers.push(reduce(Reduce::Mean, values(x), x.shape(), &axes, true));
            answers.push(inverse(x, &op));
        }
        each(&case(op, x, scale, bias), &PlanOptions::default(), |label, outputs| {
            assert_eq!(outputs.len(), answers.len(), "{label}");
            for (i, (output, answer)) in outputs.iter().zip(&answers).enumerate() {
                let label = format!(
                    "{label}: output {i} of {op:?}, {} scale {:?} bias {:?}",
                    x.shape(),
                    term(scale).map(|t| t.1),
                    term(bias).map(|t| t.1)
                );
                assert_eq!(output.shape()[..], answer.shape[..], "{label}");
                assert_within(&label, values(output), answer, C);
            }
        });
    }
}

/// Nothing, or a tensor of a shape that broadcasts to `shape`.
fn term(rng: &mut Rng, shape: &[usize]) -> Option<Tensor> {
    if rng.chance(0.3) {
        return None;
    }
    let missing = rng.range(0..shape.len() + 1);
    let own: Vec<usize> = shape[missing..].iter().map(|&n| if rng.chance(0.3) { 1 } else { n }).collect();
    Some(random(rng, &own))
}

#[test]
fn every_axis_with_terms_that_broadcast() {
    cases(0x80, 20, |rng| {
        let shape: Vec<usize> = (0..rng.range(1..5)).map(|_| rng.range(1..8)).collect();
        let x = random(rng, &shape);
        for axis in 0..=shape.len() {
            let (scale, bias) = (term(rng, &shape), term(rng, &shape));
            check(axis, &x, scale.as_ref(), bias.as_ref());
        }
    });
}

#[test]
fn rows_about_the_blocks_of_a_sum() {
    cases(0x81, 1, |rng| {
        for length in [1, 127, 128, 129, 255, 256, 257, 1000] {
            let x = random(rng, &[3, length]);
            let (scale, bias) = (random(rng, &[length]), random(rng, &[length]));
            check(1, &x, Some(&scale), Some(&bias));
        }
        // More rows than a workgroup has invocations.
        check(1, &random(rng, &[131, 5]), None, None);
        check(2, &random(rng, &[2, 33, 7, 9]), None, None);
    });
}

#[test]
fn scale_and_bias_per_channel_make_an_instance_norm() {
    cases(0x82, 1, |rng| {
        let shape = [2, 5, 4, 7];
        let (x, scale, bias) = (random(rng, &shape), random(rng, &[5, 1, 1]), random(rng, &[5, 1, 1]));
        let answer = instance_norm(values(&x), &shape, values(&scale), values(&bias), 1e-3);
        let op = Normalize { axis: 2, epsilon: 1e-3, statistics: false };
        each(&case(op, &x, Some(&scale), Some(&bias)), &PlanOptions::default(), |label, outputs| {
            assert_within(label, values(&outputs[0]), &answer, C);
        });
    });
}

#[test]
fn constant_rows_give_the_bias() {
    let bias = tensor(&[1], vec![0.25]);
    for value in [0.0, 1.0, -3.0] {
        check(1, &tensor(&[2, 64], vec![value; 128]), None, Some(&bias));
    }
}

/// Elements of deviation about 0.6 around 10000, where the difference of two mean squares has nothing left to say.
fn offset(rng: &mut Rng) -> Tensor {
    let values = rng.values(4 * 40).iter().map(|v| 1e4 + v).collect();
    tensor(&[4, 40], values)
}

#[test]
fn a_large_mean_does_not_drown_the_variance() {
    cases(0x83, 3, |rng| check(1, &offset(rng), None, None));
}

#[test]
fn a_variance_by_the_mean_of_squares_is_seen() {
    let x = offset(&mut Rng::new(3));
    let answer = layer_norm(values(&x), x.shape(), 1, None, None, 1e-5);
    let wrong: Vec<f32> = (values(&x).chunks(40))
        .flat_map(|row| {
            let mean = row.iter().sum::<f32>() / 40.0;
            let variance = row.iter().map(|x| x * x).sum::<f32>() / 40.0 - mean * mean;
            row.iter().map(move |x| (x - mean) / (variance + 1e-5).sqrt())
        })
        .collect();
    assert!(within("one pass", &wrong, &answer, C).is_err());
    assert!((0..wrong.len()).all(|i| bound(&answer, i, C) < 0.5), "a bound that says something");
}

#[test]
fn a_wrong_bias_is_seen() {
    let mut rng = Rng::new(4);
    let (x, mut bias) = (random(&mut rng, &[3, 17]), random(&mut rng, &[17]));
    let answer = layer_norm(values(&x), &[3, 17], 1, None, Some((values(&bias), &[17])), 1e-5);
    bias.values_mut::<f32>().unwrap()[5] += 1e-3;
    let op = Normalize { axis: 1, epsilon: 1e-5, statistics: false };
    each(&case(op, &x, None, Some(&bias)), &PlanOptions::default(), |label, outputs| {
        assert!(within(label, values(&outputs[0]), &answer, C).is_err(), "{label}");
    });
}

#[test]
fn no_rows_and_rows_of_nothing() {
    for (shape, axis, rows) in [(&[0, 3][..], 1, 0), (&[3, 0], 1, 3), (&[2, 0, 3], 0, 1), (&[2, 0, 3], 2, 0)]
    {
        let op = Normalize { axis, epsilon: 1e-5, statistics: true };
        let (x, scale) = (tensor(shape, vec![]), tensor(&[1], vec![2.0]));
        each(&case(op, &x, Some(&scale), None), &PlanOptions::default(), |label, outputs| {
            assert_eq!(outputs[0].shape()[..], *shape, "{label}");
            // The mean of no elements is 0 / 0.
            for statistic in &outputs[1..] {
                assert_eq!(statistic.shape().elements(), rows, "{label}");
                assert!(values(statistic).iter().all(|v| v.is_nan()), "{label}: {statistic:?}");
            }
        });
    }
}

#[test]
fn what_does_not_broadcast_to_the_input_is_refused() {
    let refused = |axis, scale: &[usize], dtype| {
        let info = |shape: &[usize], dtype| Info {
            shape: tensor(shape, vec![0.0; count(shape)]).shape().clone(),
            dtype,
        };
        let mut graph = Graph::new("case");
        let x = graph.input("x", info(&[2, 3], DType::F32));
        let scale = graph.input("scale", info(scale, dtype));
        let op = Normalize { axis, epsilon: 1e-5, statistics: false };
        graph.push_node("node", op, &[Some(x), Some(scale)]).is_err()
    };
    assert!(!refused(1, &[2, 1], DType::F32));
    assert!(refused(3, &[3], DType::F32), "no such axis");
    assert!(refused(1, &[4], DType::F32), "another size");
    assert!(refused(1, &[5, 2, 3], DType::F32), "an axis more than the input");
    assert!(refused(1, &[3], DType::I64), "another type");
}
