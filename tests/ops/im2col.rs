//! Patches laid out as columns, bit for bit: one to three axes, strides, dilation and asymmetric padding.

use wgpu_cnn::graph::Info;
use wgpu_cnn::ops::Im2col;
use wgpu_cnn::window::{Padding, Window};
use wgpu_cnn::{Error, Graph, PlanOptions, Shape, Tensor};

use crate::harness::{Case, each, tensor, values};
use crate::support::compare::{assert_exact, exact};
use crate::support::oracle::convolution::{Window as Reference, im2col};
use crate::support::oracle::{Exact, count};
use crate::support::random::{Rng, cases};

fn op(window: &Reference) -> Im2col {
    let window = Window::new(window.kernel.clone())
        .stride(window.stride.clone())
        .dilation(window.dilation.clone())
        .padding(Padding::Explicit(window.pads.clone()));
    Im2col { window }
}

/// Random numbers with a few that arithmetic would change.
fn input(rng: &mut Rng, shape: &[usize]) -> Tensor {
    const SPECIAL: [f32; 5] = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -0.0, 1e-42];
    let element = |rng: &mut Rng| if rng.chance(0.1) { rng.pick(&SPECIAL) } else { rng.value() };
    tensor(shape, (0..count(shape)).map(|_| element(rng)).collect())
}

/// The matrix of one group: `[n, c * kernel elements, output positions]`.
fn answer(x: &Tensor, window: &Reference) -> Exact<f32> {
    let Exact { shape, value } = im2col(values(x), x.shape(), 1, window);
    Exact { shape: vec![shape[0], shape[2], shape[3]], value }
}

fn check(rng: &mut Rng, shape: &[usize], window: &Reference) {
    let x = input(rng, shape);
    let answer = answer(&x, window);
    each(&Case::new(op(window), &[&x]), &PlanOptions::default(), |label, outputs| {
        let label = format!("{label}: {shape:?} {window:?}");
        assert_eq!(outputs[0].shape()[..], answer.shape[..], "{label}");
        assert_exact(&label, values(&outputs[0]), &answer.value);
    });
}

#[test]
fn generated_patches() {
    cases(0x12c0, 80, |rng| {
        let rank = rng.range(1..4);
        let largest = [40, 13, 6][rank - 1];
        let mut shape = vec![rng.range(1..4), rng.range(1..6)];
        let (mut kernel, mut stride, mut dilation, mut pads) = (vec![], vec![], vec![], vec![]);
        for _ in 0..rank {
            kernel.push(rng.range(1..4));
            stride.push(rng.range(1..4));
            dilation.push(rng.range(1..4));
            pads.push((rng.range(0..4), rng.range(0..4)));
            let extent = dilation.last().unwrap() * (kernel.last().unwrap() - 1) + 1;
            let padding = pads.last().unwrap().0 + pads.last().unwrap().1;
            // From an input that fits only with its padding to one well past a tile.
            let least = extent.saturating_sub(padding).max(1);
            shape.push(rng.range(least..least + largest));
        }
        let window = Reference::new(&kernel).stride(&stride).dilation(&dilation).pads(&pads);
        check(rng, &shape, &window);
    });
}

#[test]
fn awkward_sizes() {
    cases(0x12c1, 1, |rng| {
        for side in [1, 3, 13, 17, 63, 64, 65] {
            check(rng, &[1, 2, side, 3], &Reference::new(&[1, 3]));
            check(rng, &[2, 1, side], &Reference::new(&[3]).pads(&[(1, 1)]));
        }
    });
}

#[test]
fn empty_batches_and_channels() {
    cases(0x12c2, 1, |rng| {
        check(rng, &[0, 3, 5, 5], &Reference::new(&[3, 3]));
        check(rng, &[2, 0, 5, 5], &Reference::new(&[3, 3]));
    });
}

#[test]
fn a_wrong_element_is_seen() {
    let mut rng = Rng::new(11);
    let window = Reference::new(&[2, 3]).stride(&[2, 1]).pads(&[(1, 0), (0, 2)]);
    let mut x = input(&mut rng, &[2, 3, 6, 5]);
    let answer = answer(&x, &window);
    x.values_mut::<f32>().unwrap()[7] = 0.125;
    each(&Case::new(op(&window), &[&x]), &PlanOptions::default(), |label, outputs| {
        assert!(exact(label, values(&outputs[0]), &answer.value).is_err(), "{label}");
    });
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let push = |shape: &[usize], window: Reference| {
        let mut graph = Graph::new("refused");
        let x = graph.input("x", Info::f32(Shape::new(shape).unwrap()));
        graph.push("patches", op(&window), &[x]).unwrap_err()
    };
    match push(&[1, 2, 5], Reference::new(&[3, 3])) {
        Error::Shape { layer, op: "im2col", .. } => assert_eq!(layer, "patches"),
        other => panic!("{other}"),
    }
    match push(&[1, 2, 5, 2], Reference::new(&[3, 3])) {
        Error::Window { layer, .. } => assert_eq!(layer, "patches"),
        other => panic!("{other}"),
    }
}
