//! Steps of Adam and AdamW.

use wgpu_cnn::ops::Adam;
use wgpu_cnn::{Device, Error, Graph, PlanOptions, Tensor};

use crate::harness::{Case, each, gpu, random, tensor, values};
use crate::support::compare::{assert_within, within};
use crate::support::oracle::training::{Adam as Reference, adam};
use crate::support::random::{Rng, cases};

const ADAM: Adam = Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, decoupled: false };

/// Those of PyTorch's defaults, and decays of either kind.
const KINDS: [Adam; 5] = [
    ADAM,
    Adam { weight_decay: 0.01, decoupled: true, ..ADAM },
    Adam { weight_decay: 0.01, ..ADAM },
    Adam { beta1: 0.0, beta2: 0.5, epsilon: 1e-3, weight_decay: 0.1, decoupled: true },
    Adam { beta1: 0.95, beta2: 0.0, epsilon: 0.1, weight_decay: 0.3, decoupled: false },
];

fn reference(op: Adam) -> Reference {
    let Adam { beta1, beta2, epsilon, weight_decay, decoupled } = op;
    Reference { beta1, beta2, epsilon, weight_decay, decoupled }
}

/// The rates of step `t`, from 1.
fn rates(op: Adam, rate: f32, t: i32) -> [f32; 3] {
    let correction = |beta: f32| (1.0 / (1.0 - f64::from(beta).powi(t))) as f32;
    [rate, correction(op.beta1), correction(op.beta2)]
}

fn check(op: Adam, rates: [f32; 3], [w, g, m, v]: [&Tensor; 4]) {
    let answers = adam(reference(op), rates, [values(w), values(g), values(m), values(v)]);
    let case = Case::new(op, &[w, g, m, v, &tensor(&[3], rates.to_vec())]);
    each(&case, &PlanOptions::default(), |label, outputs| {
        for (output, answer) in outputs.iter().zip(&answers) {
            assert_eq!(output.shape(), w.shape(), "{label}");
            assert_within(&format!("{op:?} {label}"), values(output), answer, 1.0);
        }
        assert_eq!(outputs.len(), 3);
    });
}

/// Weights, a gradient and moments; the second is never negative.
fn operands(rng: &mut Rng, shape: &[usize]) -> [Tensor; 4] {
    let mut v = random(rng, shape);
    v.values_mut::<f32>().unwrap().iter_mut().for_each(|v| *v *= *v);
    [random(rng, shape), random(rng, shape), random(rng, shape), v]
}

#[test]
fn every_kind_and_awkward_sizes() {
    cases(0xf0, 1, |rng| {
        for op in KINDS {
            for shape in [&[1][..], &[63], &[64], &[5, 13], &[2, 3, 1, 17], &[0], &[16_385]] {
                let [w, g, m, v] = operands(rng, shape);
                check(op, rates(op, 1e-3, 3), [&w, &g, &m, &v]);
            }
        }
    });
}

#[test]
fn the_first_step_from_nothing() {
    let mut rng = Rng::new(0xf1);
    let zeros = Tensor::zeros([40]).unwrap();
    let [w, g, ..] = operands(&mut rng, &[40]);
    for op in KINDS {
        check(op, rates(op, 1e-3, 1), [&w, &g, &zeros, &zeros]);
    }
    // Nothing is divided by 0 where there is no gradient.
    let mut small = values(&g).to_vec();
    small[..4].copy_from_slice(&[0.0, -0.0, 1e-18, -1e-12]);
    check(ADAM, rates(ADAM, 1e-3, 1), [&w, &tensor(&[40], small), &zeros, &zeros]);
}

#[test]
fn generated_settings() {
    cases(0xf2, 12, |rng| {
        let op = Adam {
            beta1: rng.unit() as f32,
            beta2: rng.unit() as f32,
            epsilon: rng.pick(&[1e-8, 1e-5, 1e-2]),
            weight_decay: 0.1 * rng.unit() as f32,
            decoupled: rng.chance(0.5),
        };
        let shape = [rng.size(33), rng.size(17)];
        let [w, g, m, v] = operands(rng, &shape);
        check(op, rates(op, rng.unit() as f32, rng.range(1..1000) as i32), [&w, &g, &m, &v]);
    });
}

/// The first step of Adam moves every weight by the learning rate against its gradient's sign, whatever its size
/// (Kingma and Ba 2015, section 2.1); and a constant gradient does so in every step.
#[test]
fn steps_are_as_long_as_the_rate() {
    for device in [&Device::cpu(), gpu()] {
        let mut graph = Graph::new("step");
        let like = |n: usize| wgpu_cnn::graph::Info::f32(wgpu_cnn::Shape::new([n]).unwrap());
        let mut ids: Vec<_> = ["w", "m", "v"].iter().map(|name| graph.input(*name, like(3))).collect();
        let g = graph.constant("g", tensor(&[3], vec![0.001, -1.0, 50.0]));
        ids.insert(1, g);
        ids.push(graph.input("rates", like(3)));
        let ids: Vec<_> = ids.into_iter().map(Some).collect();
        for id in graph.push_node("adam", ADAM, &ids).unwrap() {
            graph.output(id);
        }
        let plan = device.compile(&graph).unwrap();
        let mut state = vec![Tensor::zeros([3]).unwrap(); 3];
        for t in 1..=20 {
            state.push(tensor(&[3], rates(ADAM, 0.01, t).to_vec()));
            state = plan.run(&state).unwrap();
            for (w, sign) in values(&state[0]).iter().zip([-1.0, 1.0, -1.0]) {
                let expected = sign * 0.01 * t as f32;
                assert!((w - expected).abs() < 1e-4 * expected.abs(), "step {t}: {w} instead of {expected}");
            }
        }
    }
}

#[test]
fn operands_that_do_not_go_together_are_refused() {
    for wrong in 0..5 {
        let mut graph = Graph::new("step");
        let ids: Vec<_> = (0..5)
            .map(|i| {
                let n = if i == wrong {
                    4
                } else if i == 4 {
                    3
                } else {
                    2
                };
                graph.constant(format!("{i}"), Tensor::zeros([n]).unwrap())
            })
            .collect();
        assert!(matches!(graph.push("step", ADAM, &ids), Err(Error::Shape { op: "adam", .. })), "{wrong}");
        assert!(graph.push("step", ADAM, &ids[..4]).is_err());
    }
}

#[test]
fn a_wrong_step_is_seen() {
    let mut rng = Rng::new(0xf3);
    let [w, g, m, v] = operands(&mut rng, &[50]);
    let of = |op, rates| adam(reference(op), rates, [values(&w), values(&g), values(&m), values(&v)]);
    let (op, right_rates) = (KINDS[1], rates(KINDS[1], 0.1, 2));
    let right = of(op, right_rates);
    let coupled = Adam { decoupled: false, ..op };
    let uncorrected = [right_rates[0], 1.0, 1.0];
    for wrong in [of(coupled, right_rates), of(op, uncorrected), of(op, rates(op, -0.1, 2))] {
        assert!(within("wrong", &wrong[0].to_f32(), &right[0], 1.0).is_err());
    }
    let slower = of(Adam { beta1: 0.91, beta2: 0.99, ..op }, right_rates);
    for i in 1..3 {
        assert!(within("wrong", &slower[i].to_f32(), &right[i], 1.0).is_err());
    }
}
