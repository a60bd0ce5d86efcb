//! The gradient of pooling over one to three axes: overlapping windows, windows in the padding, ceil mode and dilation.

use wgpu_cnn::graph::Info;
use wgpu_cnn::ops::{PoolGradient, PoolKind};
use wgpu_cnn::window::{Padding, Window};
use wgpu_cnn::{DType, Error, Graph, PlanOptions, Shape, Tensor};

use crate::harness::{Case, each, random, values};
use crate::support::compare::{assert_within, within};
use crate::support::oracle::convolution::Window as Reference;
use crate::support::oracle::pooling::{average_pool_gradient, max_pool, max_pool_gradient};
use crate::support::random::{Rng, cases};

/// The oracle's bound already counts every operation of the formula; this leaves room for another order of the sum.
const C: f64 = 2.0;

fn op(kind: PoolKind, window: &Reference, sizes: &[usize]) -> PoolGradient {
    let window = Window::new(window.kernel.clone())
        .stride(window.stride.clone())
        .dilation(window.dilation.clone())
        .padding(Padding::Explicit(window.pads.clone()))
        .ceil_mode(window.ceil);
    PoolGradient { kind, window, sizes: sizes.to_vec() }
}

/// A window and an input shape for it, such that every window reads an element.
fn generated(rng: &mut Rng) -> (Vec<usize>, Reference) {
    let rank = rng.range(1..4);
    let largest = [40, 12, 6][rank - 1];
    let per_axis = |rng: &mut Rng, range: std::ops::Range<usize>| -> Vec<usize> {
        (0..rank).map(|_| rng.range(range.clone())).collect()
    };
    let mut window = Reference::new(&per_axis(rng, 1..5))
        .stride(&per_axis(rng, 1..4))
        .dilation(&per_axis(rng, 1..4))
        .ceil(rng.chance(0.5));
    let mut shape = vec![rng.range(1..4), rng.range(1..5)];
    for axis in 0..rank {
        // With less padding than a step, every window has a tap on the input.
        let (step, extent) = (window.dilation[axis], window.extent(axis));
        window.pads[axis] = (rng.range(0..step.min(extent)), rng.range(0..step.min(extent)));
        shape.push(extent + rng.range(0..largest));
    }
    (shape, window)
}

fn check(rng: &mut Rng, shape: &[usize], window: &Reference) {
    let x = random(rng, shape);
    let (maxima, positions) = max_pool(values(&x), shape, window, 0);
    let dy = random(rng, &maxima.shape);
    let indices = Tensor::new(maxima.shape.clone(), positions.value.clone()).unwrap();
    let answer = max_pool_gradient(values(&dy), &positions.value, shape);
    let max = Case::new(op(PoolKind::Max, window, &shape[2..]), &[&dy, &indices]);
    each(&max, &PlanOptions::default(), |label, outputs| {
        assert_eq!(outputs[0].shape()[..], *shape, "{label}: {window:?}");
        assert_within(&format!("{label}: max {shape:?} {window:?}"), values(&outputs[0]), &answer, C);
    });
    for count_include_pad in [false, true] {
        let answer = average_pool_gradient(values(&dy), shape, window, count_include_pad);
        let kind = PoolKind::Average { count_include_pad };
        let average = Case::new(op(kind, window, &shape[2..]), &[&dy]);
        each(&average, &PlanOptions::default(), |label, outputs| {
            assert_eq!(outputs[0].shape()[..], *shape, "{label}: {window:?}");
            assert_within(
                &format!("{label}: {kind:?} {shape:?} {window:?}"),
                values(&outputs[0]),
                &answer,
                C,
            );
        });
    }
}

#[test]
fn generated_pools() {
    cases(0x940, 60, |rng| {
        let (shape, window) = generated(rng);
        check(rng, &shape, &window);
    });
}

#[test]
fn awkward_sizes() {
    cases(0x941, 1, |rng| {
        for side in [3, 13, 17, 63, 64, 65] {
            let window = Reference::new(&[2, 3]).stride(&[2, 1]).pads(&[(1, 0), (0, 2)]).ceil(true);
            check(rng, &[1, 3, side, 3], &window);
            check(rng, &[2, 1, side], &Reference::new(&[3]).stride(&[2]));
        }
        check(rng, &[2, 65, 1], &Reference::new(&[1]));
        check(rng, &[0, 3, 4, 4], &Reference::new(&[2, 2]));
        check(rng, &[2, 0, 4, 4], &Reference::new(&[2, 2]));
    });
}

/// A window without an element has no maximum, and its mean is 0 whatever the input: it passes nothing on.
#[test]
fn windows_in_the_padding_alone() {
    let window = Reference::new(&[2]).stride(&[2]).pads(&[(2, 2)]);
    let dy = Tensor::new([1, 1, 4], vec![8f32, 4.0, 2.0, 1.0]).unwrap();
    let indices = Tensor::new([1, 1, 4], vec![-1i64, 0, 3, -1]).unwrap();
    let max = Case::new(op(PoolKind::Max, &window, &[4]), &[&dy, &indices]);
    each(&max, &PlanOptions::default(), |label, outputs| {
        assert_eq!(values(&outputs[0]), [4.0, 0.0, 0.0, 2.0], "{label}");
    });
    for count_include_pad in [false, true] {
        let average = op(PoolKind::Average { count_include_pad }, &window, &[4]);
        each(&Case::new(average, &[&dy]), &PlanOptions::default(), |label, outputs| {
            assert_eq!(values(&outputs[0]), [2.0, 2.0, 1.0, 1.0], "{label}");
        });
    }
}

#[test]
fn a_wrong_element_is_seen() {
    let mut rng = Rng::new(12);
    let window = Reference::new(&[2, 2]);
    let mut dy = random(&mut rng, &[1, 2, 5, 5]);
    let average = average_pool_gradient(values(&dy), &[1, 2, 6, 6], &window, true);
    dy.values_mut::<f32>().unwrap()[8] += 1e-3;
    let case = Case::new(op(PoolKind::Average { count_include_pad: true }, &window, &[6, 6]), &[&dy]);
    each(&case, &PlanOptions::default(), |label, outputs| {
        assert!(within(label, values(&outputs[0]), &average, C).is_err(), "{label}");
    });
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let push = |kind, dy: &[usize], indices: Option<DType>| {
        let mut graph = Graph::new("refused");
        let shape = Shape::new(dy).unwrap();
        let dy = graph.input("dy", Info::f32(shape.clone()));
        let indices = indices.map(|dtype| graph.input("indices", Info { shape, dtype }));
        let inputs: Vec<_> = [dy].into_iter().chain(indices).collect();
        graph.push("dx", op(kind, &Reference::new(&[2, 2]), &[5, 5]), &inputs).unwrap_err()
    };
    for error in [
        push(PoolKind::Max, &[1, 2, 4, 5], Some(DType::I64)),
        push(PoolKind::Max, &[1, 2, 4, 4], None),
        push(PoolKind::Max, &[1, 2, 4, 4], Some(DType::F32)),
        push(PoolKind::Average { count_include_pad: true }, &[1, 2, 4, 4], Some(DType::I64)),
        push(PoolKind::Lp { p: 2.0 }, &[1, 2, 4, 4], None),
    ] {
        assert!(
            matches!(&error, Error::Shape { layer, op: "pool_gradient", .. } if layer == "dx"),
            "{error}"
        );
    }
}
