//! Reshapes: copied where they are kept, free where they are dropped, and the same bits either way.

use wgpu_cnn::graph::Info;
use wgpu_cnn::graph::passes::Passes;
use wgpu_cnn::ops::{Activation, Binary, Reshape};
use wgpu_cnn::{Device, Graph, PlanOptions, Tensor};

use crate::harness::{Case, each, gpu, random, tensor, values};
use crate::support::compare::assert_exact;
use crate::support::random::{Rng, cases};

fn check(x: &Tensor, op: Reshape, shape: &[usize]) {
    each(&Case::new(op.clone(), &[x]), &PlanOptions::default(), |label, outputs| {
        assert_eq!(outputs[0].shape()[..], *shape, "{op:?} of {} {label}", x.shape());
        assert_exact(label, values(&outputs[0]), values(x));
    });
}

#[test]
fn flatten_at_every_axis() {
    cases(0x70, 1, |rng| {
        for shape in [&[][..], &[5], &[3, 4], &[2, 3, 4, 5], &[2, 0, 3], &[1, 1, 1]] {
            let x = random(rng, shape);
            for axis in 0..=shape.len() {
                let sizes = [shape[..axis].iter().product(), shape[axis..].iter().product()];
                check(&x, Reshape::Flatten { axis }, &sizes);
            }
        }
    });
}

#[test]
fn generated_shapes() {
    cases(0x71, 20, |rng| {
        let mut shape: Vec<usize> = (0..rng.range(0..5)).map(|_| rng.size(9)).collect();
        let x = random(rng, &shape);
        // Another order of the sizes, with ones in between.
        for i in (1..shape.len()).rev() {
            shape.swap(i, rng.range(0..i + 1));
        }
        shape.insert(rng.range(0..shape.len() + 1), 1);
        check(&x, Reshape::To(shape.clone()), &shape);
    });
}

#[test]
fn integers_and_truth_values() {
    let integers = Tensor::new([2, 3], vec![0_i64, -1, 7, i32::MAX.into(), i32::MIN.into(), 3]).unwrap();
    let truths = Tensor::new([2, 3], vec![true, false, false, true, true, false]).unwrap();
    for x in [integers, truths] {
        each(&Case::new(Reshape::To(vec![3, 2]), &[&x]), &PlanOptions::default(), |label, outputs| {
            assert_eq!(outputs[0], x.reshape([3, 2]).unwrap(), "{label}");
        });
    }
}

/// A graph whose reshapes end in outputs, follow each other, and keep their input alive past its last own reader.
fn chain(x: &Tensor, constant: &Tensor) -> Graph {
    let mut graph = Graph::new("chain");
    let input = graph.input("x", Info::f32(x.shape().clone()));
    let to = |graph: &mut Graph, name: &str, id, shape: &[usize]| {
        graph.push(name, Reshape::To(shape.to_vec()), &[id]).unwrap()
    };
    let seen = to(&mut graph, "input reshaped", input, &[24]);
    let a = graph.push("a", Activation::Neg, &[input]).unwrap();
    let b = to(&mut graph, "b", a, &[6, 4]);
    let c = to(&mut graph, "c", b, &[2, 12]);
    let d = graph.push("d", Activation::Relu, &[c]).unwrap();
    let e = graph.push("e", Activation::Neg, &[d]).unwrap();
    let back = to(&mut graph, "back", e, &[2, 3, 4]);
    let sum = graph.push("sum", Binary::Sub, &[back, a]).unwrap();
    let weight = graph.constant("weight", constant.clone());
    let weight = to(&mut graph, "weight reshaped", weight, &[3, 4]);
    let scaled = graph.push("scaled", Binary::Mul, &[sum, weight]).unwrap();
    let flat = graph.push("flat", Reshape::Flatten { axis: 1 }, &[scaled]).unwrap();
    for id in [seen, c, flat, weight] {
        graph.output(id);
    }
    graph
}

#[test]
fn dropped_and_copied_reshapes_give_the_same_bits() {
    let mut rng = Rng::new(0x72);
    let (x, constant) = (random(&mut rng, &[2, 3, 4]), random(&mut rng, &[12]));
    let graph = chain(&x, &constant);
    let scaled: Vec<f32> = values(&x)
        .iter()
        .enumerate()
        .map(|(i, &x)| {
            let a = -x;
            let e = -(if a > 0.0 { a } else { 0.0 });
            (e - a) * values(&constant)[i % 12]
        })
        .collect();
    let negated: Vec<f32> = values(&x).iter().map(|v| -v).collect();
    let expected = [
        tensor(&[24], values(&x).to_vec()),
        tensor(&[2, 12], negated),
        tensor(&[2, 12], scaled),
        tensor(&[3, 4], values(&constant).to_vec()),
    ];
    for device in [&Device::cpu(), gpu()] {
        for (drop_reshape, checked) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut options = PlanOptions::default();
            options.passes = Passes::none();
            options.passes.drop_reshape = drop_reshape;
            options.checked = checked;
            let plan = device.compile_with(&graph, &options).unwrap();
            // The second run meets what the first left in memory.
            for _ in 0..2 {
                for (y, expected) in plan.run(std::slice::from_ref(&x)).unwrap().iter().zip(&expected) {
                    let label = format!("{} drop {drop_reshape} checked {checked}", device.info().name);
                    assert_eq!(y.shape(), expected.shape(), "{label}");
                    assert_exact(&label, values(y), values(expected));
                }
            }
        }
    }
}

#[test]
fn a_dropped_reshape_needs_no_memory() {
    let mut rng = Rng::new(0x73);
    let (x, constant) = (random(&mut rng, &[2, 3, 4]), random(&mut rng, &[12]));
    let graph = chain(&x, &constant);
    let need = |device: &Device, drop_reshape| {
        let mut options = PlanOptions::default();
        options.passes = Passes::none();
        options.passes.drop_reshape = drop_reshape;
        device.compile_with(&graph, &options).unwrap().memory().activations
    };
    for device in [&Device::cpu(), gpu()] {
        assert!(need(device, true) < need(device, false), "{}", device.info().name);
    }
}
