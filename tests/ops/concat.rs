//! Concatenation of two to five tensors along every axis, in every type, bit for bit.

use wgpu_cnn::graph::Info;
use wgpu_cnn::ops::{Activation, Concat, Conv};
use wgpu_cnn::tensor::Element;
use wgpu_cnn::window::Window;
use wgpu_cnn::{Device, Graph, PlanOptions, Tensor};

use crate::harness::{Case, each, gpu, tensor, values};
use crate::support::compare::assert_exact;
use crate::support::oracle::layout::concat;
use crate::support::random::{Rng, cases};

/// Joins tensors of these shapes, filled by `element`, and hands the results and what they should be to `same`.
fn check<T: Element>(
    rng: &mut Rng,
    shapes: &[Vec<usize>],
    axis: usize,
    element: impl Fn(&mut Rng) -> T,
    same: impl Fn(&str, &[T], &[T]),
) {
    let data: Vec<Vec<T>> = shapes
        .iter()
        .map(|shape| (0..shape.iter().product::<usize>()).map(|_| element(rng)).collect())
        .collect();
    let parts: Vec<(&[T], &[usize])> = data.iter().zip(shapes).map(|(d, s)| (&d[..], &s[..])).collect();
    let expected = concat(&parts, axis);
    let tensors: Vec<Tensor> =
        data.iter().zip(shapes).map(|(d, s)| Tensor::new(s.clone(), d.clone()).unwrap()).collect();
    let case = Case::new(Concat { axis }, &tensors.iter().collect::<Vec<_>>());
    each(&case, &PlanOptions::default(), |label, outputs| {
        let label = format!("{shapes:?} along {axis}, {label}");
        assert_eq!(outputs[0].shape()[..], expected.shape[..], "{label}");
        same(&label, outputs[0].values().unwrap(), &expected.value);
    });
}

fn floats(rng: &mut Rng, shapes: &[Vec<usize>], axis: usize) {
    check(rng, shapes, axis, |rng| if rng.chance(0.05) { -0.0 } else { rng.value() }, assert_exact);
}

fn integers(rng: &mut Rng, shapes: &[Vec<usize>], axis: usize) {
    // The range of the device's 32 bits.
    let element = |rng: &mut Rng| i64::from(rng.next_u64() as i32);
    check(rng, shapes, axis, element, |label, a, b| assert_eq!(a, b, "{label}"));
}

/// Shapes that agree but for `axis`.
fn shapes(
    rng: &mut Rng,
    shape: &[usize],
    axis: usize,
    count: usize,
    sizes: std::ops::Range<usize>,
) -> Vec<Vec<usize>> {
    let part = |_| {
        let mut part = shape.to_vec();
        part[axis] = rng.range(sizes.clone());
        part
    };
    (0..count).map(part).collect()
}

#[test]
fn every_axis_and_count() {
    cases(0xf0, 1, |rng| {
        for shape in [&[4][..], &[3, 5], &[2, 3, 4], &[2, 3, 4, 5], &[2, 1, 3, 2, 2]] {
            for axis in 0..shape.len() {
                let count = rng.range(2..6);
                let parts = shapes(rng, shape, axis, count, 1..7);
                floats(rng, &parts, axis);
                integers(rng, &parts, axis);
            }
        }
        for count in 1..6 {
            let parts = shapes(rng, &[2, 3, 5], 1, count, 1..9);
            floats(rng, &parts, 1);
        }
    });
}

#[test]
fn generated_parts() {
    cases(0xf1, 30, |rng| {
        let rank = rng.range(1..5);
        let shape: Vec<usize> = (0..rank).map(|_| rng.size(9)).collect();
        let axis = rng.range(0..rank);
        let count = rng.range(1..6);
        let parts = shapes(rng, &shape, axis, count, 0..9);
        floats(rng, &parts, axis);
    });
}

#[test]
fn parts_without_elements() {
    cases(0xf2, 1, |rng| {
        for axis in 0..3 {
            let mut parts = vec![vec![2, 3, 4]; 3];
            for empty in 0..3 {
                parts[empty][axis] = 0;
                floats(rng, &parts, axis);
                integers(rng, &parts, axis);
            }
        }
        floats(rng, &[vec![0, 2], vec![0, 3]], 1);
    });
}

#[test]
fn parts_longer_than_a_task() {
    cases(0xf3, 1, |rng| {
        floats(rng, &[vec![2, 20_000], vec![2, 3], vec![2, 17_001]], 1);
        floats(rng, &[vec![20_000, 2], vec![3, 2]], 0);
    });
}

#[test]
fn truth_values() {
    cases(0xf4, 1, |rng| {
        let parts = [vec![3, 5], vec![3, 2]];
        check(rng, &parts, 1, |rng| rng.chance(0.5), |label, a, b| assert_eq!(a, b, "{label}"));
    });
}

#[test]
fn a_value_and_itself() {
    let x = crate::harness::tensor(&[2, 2], vec![1.0, 2.0, 3.0, 4.0]);
    let mut graph = Graph::new("twice");
    let id = graph.input("x", wgpu_cnn::graph::Info::f32(x.shape().clone()));
    let joined = graph.push("joined", Concat { axis: 1 }, &[id, id, id]).unwrap();
    graph.output(joined);
    for device in [&Device::cpu(), gpu()] {
        let y = device.compile(&graph).unwrap().run_one(&x).unwrap();
        let expected = [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0, 3.0, 4.0];
        assert_exact(&device.info().name, values(&y), &expected);
    }
}

/// Convolutions and others joined, in a whole network: on software adapters convolutions write their part in place. Small
/// odd integers, so that sums are exact and both devices must agree bit for bit.
#[test]
fn convolutions_joined_in_a_network() {
    cases(0xcc, 1, |rng| {
        let mut integers = |shape: &[usize]| {
            let count = shape.iter().product();
            tensor(shape, (0..count).map(|_| 2.0 * rng.range(0..4) as f32 - 3.0).collect())
        };
        let x = integers(&[2, 4, 5, 6]);
        let mut graph = Graph::new("joined");
        let input = graph.input("x", Info::f32(x.shape().clone()));
        let mut conv = |graph: &mut Graph, name: &str, filters: usize, kernel: usize, groups: usize, on| {
            let weight =
                graph.constant(format!("{name} w"), integers(&[filters, 4 / groups, kernel, kernel]));
            let bias = graph.constant(format!("{name} b"), integers(&[filters]));
            let window = Window::new([kernel, kernel]).padding(kernel / 2);
            let op = Conv { groups, ..Conv::new(window) };
            graph.push_node(name, op, &[Some(on), Some(weight), Some(bias)]).expect("a convolution")[0]
        };
        let one = conv(&mut graph, "one", 8, 1, 1, input);
        let depthwise = conv(&mut graph, "depthwise", 4, 3, 4, input);
        let twice = conv(&mut graph, "twice", 4, 3, 1, input);
        let relu = graph.push("relu", Activation::Relu, &[twice]).expect("an activation");
        let last = conv(&mut graph, "last", 3, 3, 1, twice);
        let joined = graph.push("joined", Concat { axis: 1 }, &[one, depthwise, twice, relu, last]);
        let joined = joined.expect("parts that can be joined");
        graph.output(joined);
        let mut options = PlanOptions::default();
        let run = |device: &Device, options: &PlanOptions| {
            let plan = device.compile_with(&graph, options).expect("a network that compiles");
            plan.run(std::slice::from_ref(&x)).expect("a network that runs")
        };
        let expected = run(&Device::cpu(), &options);
        for checked in [false, true] {
            options.checked = checked;
            let actual = run(gpu(), &options);
            assert_exact("joined", values(&actual[0]), values(&expected[0]));
        }
    });
}
