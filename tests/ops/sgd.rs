//! Steps of gradient descent.

use wgpu_cnn::ops::Sgd;
use wgpu_cnn::{Device, Error, Graph, PlanOptions, Tensor};

use crate::harness::{Case, each, gpu, random, tensor, values};
use crate::support::compare::{assert_within, within};
use crate::support::oracle::training::sgd;
use crate::support::random::{Rng, cases};

const KINDS: [Sgd; 5] = [
    Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 },
    Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.0 },
    Sgd { momentum: 0.0, nesterov: false, weight_decay: 5e-4 },
    Sgd { momentum: 0.9, nesterov: true, weight_decay: 5e-4 },
    Sgd { momentum: 0.99, nesterov: false, weight_decay: 0.1 },
];

fn check(op: Sgd, rate: f32, [w, g, v]: [&Tensor; 3]) {
    let answers = sgd([op.momentum, op.weight_decay, rate], op.nesterov, [values(w), values(g), values(v)]);
    let case = Case::new(op, &[w, g, v, &tensor(&[1], vec![rate])]);
    each(&case, &PlanOptions::default(), |label, outputs| {
        for (output, answer) in outputs.iter().zip(&answers) {
            assert_eq!(output.shape(), w.shape(), "{label}");
            assert_within(&format!("{op:?} {label}"), values(output), answer, 1.0);
        }
        assert_eq!(outputs.len(), 2);
    });
}

fn operands(rng: &mut Rng, shape: &[usize]) -> [Tensor; 3] {
    [random(rng, shape), random(rng, shape), random(rng, shape)]
}

#[test]
fn every_kind_and_awkward_sizes() {
    cases(0xe0, 1, |rng| {
        for op in KINDS {
            for shape in [&[1][..], &[63], &[64], &[5, 13], &[2, 3, 1, 17], &[0], &[16_385]] {
                let [w, g, v] = operands(rng, shape);
                check(op, 0.05, [&w, &g, &v]);
            }
        }
    });
}

#[test]
fn generated_settings() {
    cases(0xe1, 12, |rng| {
        let op = Sgd {
            momentum: rng.unit() as f32,
            nesterov: rng.chance(0.5),
            weight_decay: 0.1 * rng.unit() as f32,
        };
        let shape = [rng.size(33), rng.size(17)];
        let [w, g, v] = operands(rng, &shape);
        check(op, rng.unit() as f32, [&w, &g, &v]);
    });
}

/// f(w) = (w1^2 + 10 w2^2) / 2 from (1, 1), whose gradient is (w1, 10 w2). By hand: `torch.optim.SGD` with lr 0.1 and
/// momentum 0.5 goes to (0.9, 0), (0.76, -0.5), (0.614, -0.25).
#[test]
fn a_path_worked_out_by_hand() {
    for device in [&Device::cpu(), gpu()] {
        let mut graph = Graph::new("step");
        let like = wgpu_cnn::graph::Info::f32(wgpu_cnn::Shape::new([2]).unwrap());
        let (w, v) = (graph.input("w", like.clone()), graph.input("v", like));
        let curvature = graph.constant("curvature", tensor(&[2], vec![1.0, 10.0]));
        let rate = graph.constant("rate", tensor(&[1], vec![0.1]));
        let g = graph.push("g", wgpu_cnn::ops::Binary::Mul, &[w, curvature]).unwrap();
        let op = Sgd { momentum: 0.5, nesterov: false, weight_decay: 0.0 };
        let new = graph.push_node("sgd", op, &[Some(w), Some(g), Some(v), Some(rate)]).unwrap();
        new.into_iter().for_each(|id| graph.output(id));
        let plan = device.compile(&graph).unwrap();
        let mut state = vec![tensor(&[2], vec![1.0, 1.0]), Tensor::zeros([2]).unwrap()];
        for expected in [[0.9, 0.0], [0.76, -0.5], [0.614, -0.25]] {
            state = plan.run(&state).unwrap();
            for (y, e) in values(&state[0]).iter().zip(expected) {
                assert!((y - e).abs() < 1e-6, "{y} instead of {e}");
            }
        }
    }
}

#[test]
fn operands_that_do_not_go_together_are_refused() {
    let op = KINDS[1];
    let shapes: [[&[usize]; 4]; 4] = [
        [&[2], &[3], &[2], &[1]],
        [&[2], &[2], &[1], &[1]],
        [&[2], &[2], &[2], &[2]],
        [&[2], &[2], &[2], &[]],
    ];
    for shapes in shapes {
        let mut graph = Graph::new("step");
        let ids: Vec<_> = shapes
            .iter()
            .enumerate()
            .map(|(i, shape)| graph.constant(format!("{i}"), Tensor::zeros(*shape).unwrap()))
            .collect();
        assert!(matches!(graph.push("step", op, &ids), Err(Error::Shape { op: "sgd", .. })), "{shapes:?}");
        assert!(graph.push("step", op, &ids[..3]).is_err());
    }
}

#[test]
fn a_wrong_step_is_seen() {
    let mut rng = Rng::new(0xe2);
    let [w, g, v] = operands(&mut rng, &[50]);
    let of = |settings, nesterov| sgd(settings, nesterov, [values(&w), values(&g), values(&v)]);
    let right = of([0.9, 0.01, 0.1], false);
    for wrong in [of([0.9, 0.01, -0.1], false), of([0.9, 0.0, 0.1], false), of([0.9, 0.01, 0.1], true)] {
        assert!(within("wrong", &wrong[0].to_f32(), &right[0], 1.0).is_err());
    }
    assert!(within("wrong", &of([0.8, 0.01, 0.1], false)[1].to_f32(), &right[1], 1.0).is_err());
}
