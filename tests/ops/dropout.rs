//! Dropout: the same elements everywhere, as many as the rate says, and nothing at all without a step.

use wgpu_cnn::graph::passes::{Passes, optimize};
use wgpu_cnn::ops::Dropout;
use wgpu_cnn::{Error, Graph, PlanOptions, Tensor};

use crate::harness::{Case, each, random, tensor, values};
use crate::support::compare::{assert_exact, exact};
use crate::support::oracle::training::dropout;
use crate::support::random::{Rng, cases};

fn step_of_f32(step: f32) -> (Tensor, u32) {
    (tensor(&[1], vec![step]), step.to_bits())
}

fn step_of_i64(step: i64) -> (Tensor, u32) {
    (Tensor::new([], vec![step]).unwrap(), step as u32)
}

fn check(op: Dropout, (step, bits): (Tensor, u32), x: &Tensor) {
    let expected = dropout(op.rate, op.seed, bits, values(x), x.shape());
    each(&Case::new(op, &[x, &step]), &PlanOptions::default(), |label, outputs| {
        assert_eq!(outputs[0].shape()[..], expected.shape, "{label}");
        assert_exact(&format!("{op:?} {label}"), values(&outputs[0]), &expected.value);
    });
}

#[test]
fn the_same_elements_are_dropped_everywhere() {
    cases(0xd0, 12, |rng| {
        let rank = rng.range(0..5);
        let shape: Vec<usize> = (0..rank).map(|_| rng.size(17)).collect();
        let x = random(rng, &shape);
        let op = Dropout { rate: rng.pick(&[0.0, 0.1, 0.25, 0.5, 0.9, 0.999]), seed: rng.next_u64() };
        let step = if rng.chance(0.5) {
            step_of_f32(rng.range(0..100_000) as f32)
        } else {
            step_of_i64(rng.range(0..100_000) as i64 - 50_000)
        };
        check(op, step, &x);
    });
}

#[test]
fn sizes_beside_a_workgroup_and_a_task() {
    let mut rng = Rng::new(0xd1);
    for n in [0, 1, 63, 64, 65, 16_383, 16_384, 16_385, 65_535 * 64 + 65] {
        check(Dropout { rate: 0.5, seed: 7 }, step_of_i64(3), &random(&mut rng, &[n]));
    }
}

#[test]
fn without_a_step_nothing_is_dropped() {
    let mut rng = Rng::new(0xd2);
    let x = random(&mut rng, &[3, 65]);
    each(&Case::new(Dropout { rate: 0.5, seed: 7 }, &[&x]), &PlanOptions::default(), |label, outputs| {
        assert_exact(label, values(&outputs[0]), values(&x));
    });
    let graph = |step: bool| {
        let mut graph = Graph::new("net");
        let mut ids = vec![graph.input("x", wgpu_cnn::graph::Info::f32(x.shape().clone()))];
        if step {
            ids.push(graph.constant("step", tensor(&[1], vec![1.0])));
        }
        let y = graph.push("drop", Dropout { rate: 0.5, seed: 7 }, &ids).unwrap();
        let y = graph.push("relu", wgpu_cnn::Activation::Relu, &[y]).unwrap();
        graph.output(y);
        optimize(&graph, &Passes::default()).unwrap()
    };
    assert_eq!((graph(false).nodes().len(), graph(true).nodes().len()), (1, 2));
}

/// How far the share of elements dropped is from the rate, in its standard deviations.
fn deviation(dropped: usize, n: usize, rate: f64) -> f64 {
    (dropped as f64 - n as f64 * rate).abs() / (n as f64 * rate * (1.0 - rate)).sqrt()
}

#[test]
fn as_many_are_dropped_as_the_rate_says() {
    const N: usize = 1 << 16;
    for rate in [0.05, 0.5, 0.8] {
        for seed in [0, 1, u64::MAX, 0x1234_5678_9abc_def0] {
            for step in 0..8 {
                let op = Dropout { rate, seed };
                let dropped = (0..N as u32).filter(|&i| op.drops(step, i)).count();
                let deviation = deviation(dropped, N, f64::from(rate));
                assert!(deviation < 4.5, "{op:?} step {step}: {dropped}, off by {deviation} deviations");
            }
        }
    }
}

#[test]
fn positions_steps_and_seeds_are_independent() {
    const N: usize = 1 << 16;
    let op = |seed| Dropout { rate: 0.5, seed };
    // Of two independent masks of rate 1/2 the elements differ in half of the places.
    let differ = |label: &str, other: &dyn Fn(u32, u32) -> bool| {
        for step in 0..4 {
            let count = (0..N as u32).filter(|&i| op(5).drops(step, i) != other(step, i)).count();
            let deviation = deviation(count, N, 0.5);
            assert!(deviation < 4.5, "{label} step {step}: {count} differ, off by {deviation} deviations");
        }
    };
    for near in [1, 2, 3, 8, 28, 32, 64, 784, 1024] {
        differ(&format!("{near} positions on"), &|step, i| op(5).drops(step, i + near));
    }
    for later in [1, 2, 3, 16, 1000] {
        differ(&format!("{later} steps later"), &|step, i| op(5).drops(step + later, i));
        differ("as many as an f32", &|step, i| op(5).drops(((step + later) as f32).to_bits(), i));
    }
    for seed in [4, 6, 7, 5 + (1 << 32), u64::MAX] {
        differ(&format!("seed {seed}"), &|step, i| op(seed).drops(step, i));
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let push = |rate: f32, step: Option<Tensor>| {
        let mut graph = Graph::new("net");
        let mut ids = vec![graph.constant("x", tensor(&[2], vec![1.0, 2.0]))];
        ids.extend(step.map(|step| graph.constant("step", step)));
        graph.push("drop", Dropout { rate, seed: 0 }, &ids)
    };
    assert!(push(0.0, None).is_ok());
    for rate in [-0.1, 1.0, 2.0, f32::NAN, f32::INFINITY] {
        let error = push(rate, None).unwrap_err();
        assert!(matches!(&error, Error::Shape { layer, .. } if layer == "drop"), "{error}");
    }
    for step in [tensor(&[2], vec![1.0, 2.0]), Tensor::new([1], vec![true]).unwrap()] {
        assert!(push(0.5, Some(step)).is_err());
    }
}

#[test]
fn another_mask_is_seen() {
    let x = vec![1.0; 200];
    let expected = dropout(0.5, 1, 2, &x, &[200]).value;
    for other in
        [dropout(0.5, 1, 3, &x, &[200]), dropout(0.5, 2, 2, &x, &[200]), dropout(0.4, 1, 2, &x, &[200])]
    {
        assert!(exact("other", &other.value, &expected).is_err());
    }
}
