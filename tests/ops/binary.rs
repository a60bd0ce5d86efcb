//! Functions of two tensors: all kinds, broadcast in every way, and powers with their special cases.

use wgpu_cnn::ops::Binary;
use wgpu_cnn::{Device, Graph, PlanOptions, Tensor};

use crate::harness::{Case, each, gpu, random, tensor, values};
use crate::support::compare::{assert_exact, assert_within, within};
use crate::support::oracle::Answer;
use crate::support::oracle::elementwise::{Binary as Reference, binary};
use crate::support::random::{Rng, cases};

const KINDS: [(Binary, Reference); 8] = [
    (Binary::Add, Reference::Add),
    (Binary::Sub, Reference::Sub),
    (Binary::Mul, Reference::Mul),
    (Binary::Div, Reference::Div),
    (Binary::Pow, Reference::Pow),
    (Binary::Min, Reference::Min),
    (Binary::Max, Reference::Max),
    (Binary::PRelu, Reference::PRelu),
];

/// The oracle grants WGSL's accuracies. A CPU rounds a quotient correctly, to a fifth of that and a margin for the
/// bound's own rounding, and takes powers to better than half of it.
fn c(op: Binary, label: &str) -> f64 {
    match (op, label) {
        (Binary::Div, "cpu") => 0.201,
        (Binary::Pow, "cpu") => 0.5,
        _ => 1.0,
    }
}

fn check((op, theirs): (Binary, Reference), a: &Tensor, b: &Tensor) {
    let answer = binary(theirs, values(a), a.shape(), values(b), b.shape());
    each(&Case::new(op, &[a, b]), &PlanOptions::default(), |label, outputs| {
        assert_eq!(outputs[0].shape()[..], answer.shape[..], "{op:?} {label}");
        let context = format!("{op:?} {} {} {label}", a.shape(), b.shape());
        assert_within(&context, values(&outputs[0]), &answer, c(op, label));
    });
}

/// Operands of these shapes; the first of a power is not negative.
fn operands(rng: &mut Rng, op: Binary, a: &[usize], b: &[usize]) -> (Tensor, Tensor) {
    let (mut a, b) = (random(rng, a), random(rng, b));
    if op == Binary::Pow {
        a.values_mut::<f32>().unwrap().iter_mut().for_each(|v| *v = v.abs());
    }
    (a, b)
}

#[test]
fn every_kind_in_every_pattern() {
    let patterns: &[(&[usize], &[usize])] = &[
        (&[], &[]),
        (&[1], &[1, 1, 1]),
        (&[7], &[]),
        (&[], &[7]),
        (&[65], &[65]),
        (&[8], &[]),
        (&[], &[8]),
        (&[3, 8], &[8]),
        (&[3, 1], &[3, 8]),
        (&[2, 3, 2, 4], &[3, 1, 1]),
        (&[3, 5], &[5]),
        (&[5], &[3, 5]),
        (&[3, 5], &[3, 1]),
        (&[3, 1], &[1, 5]),
        (&[2, 3, 4, 5], &[1, 3, 1, 1]),
        (&[2, 3, 4, 5], &[4, 1]),
        (&[2, 3, 4, 5], &[2, 1, 1, 5]),
        (&[1, 3, 1, 5], &[2, 1, 4, 1]),
        (&[2, 3, 2, 3, 4], &[3, 1, 3, 1]),
        (&[2, 1, 3, 1, 2, 1], &[1, 2, 1, 3, 1, 2]),
        (&[2, 3, 2, 3, 2, 3], &[2, 1, 2, 3, 1, 3]),
        (&[0], &[1]),
        (&[2, 0, 3], &[3]),
        (&[0, 1], &[1, 5]),
        (&[1, 0], &[]),
    ];
    cases(0xb0, 1, |rng| {
        for kind in KINDS {
            for (a, b) in patterns {
                let (a, b) = operands(rng, kind.0, a, b);
                check(kind, &a, &b);
            }
        }
    });
}

#[test]
fn generated_shapes() {
    cases(0xb1, 40, |rng| {
        let rank = rng.range(0..7);
        let full: Vec<usize> = (0..rank).map(|_| rng.range(1..5)).collect();
        let operand = |rng: &mut Rng| {
            let from = rng.range(0..rank + 1) * usize::from(rng.chance(0.5));
            full[from..].iter().map(|&n| if rng.chance(0.3) { 1 } else { n }).collect::<Vec<_>>()
        };
        let (a, b) = (operand(rng), operand(rng));
        let kind = rng.pick(&KINDS);
        let (a, b) = operands(rng, kind.0, &a, &b);
        check(kind, &a, &b);
    });
}

#[test]
fn rows_longer_than_a_task() {
    cases(0xb2, 1, |rng| {
        for (a, b) in [(&[3, 20_000][..], &[20_000][..]), (&[3, 20_000], &[3, 1]), (&[40_000], &[40_000])] {
            let (a, b) = operands(rng, Binary::Sub, a, b);
            check(KINDS[1], &a, &b);
        }
    });
}

#[test]
fn nan_and_infinity() {
    let special = [0.0, -0.0, 1.0, -2.5, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let n = special.len();
    let (a, b) = (tensor(&[n, 1], special.to_vec()), tensor(&[n], special.to_vec()));
    for (op, theirs) in KINDS.into_iter().filter(|(op, _)| *op != Binary::Pow) {
        let expected = binary(theirs, &special, &[n, 1], &special, &[n]).to_f32();
        each(&Case::new(op, &[&a, &b]), &PlanOptions::default(), |label, outputs| {
            let y = values(&outputs[0]);
            for (i, (&y, &expected)) in y.iter().zip(&expected).enumerate() {
                let (a, b) = (special[i / n], special[i % n]);
                // The reference forms no quotient of MAX and 2.5 to the last bit.
                let same = y == expected
                    || (y.is_nan() && expected.is_nan())
                    || (op == Binary::Div && (y - expected).abs() <= 3.0 * f32::EPSILON * expected.abs());
                // A PRelu passes a zero or larger on without looking at the slope.
                let unused = op == Binary::PRelu && b.is_nan() && a >= 0.0 && y == a;
                // An underflowing quotient may be flushed.
                let flushed = op == Binary::Div && expected.abs() < f32::MIN_POSITIVE && y == 0.0;
                assert!(same || unused || flushed, "{op:?}({a}, {b}) {label}: {y} instead of {expected}");
            }
        });
    }
}

/// Powers by the rules of C (ISO C, F.10.4.4), which `f64::powf` keeps; errors as the oracle has them, and none
/// where it has no bound, which is at special cases and exponents past all reason.
fn powers(a: &[f32], b: &[f32]) -> Answer {
    let pairs = a.iter().flat_map(|&a| b.iter().map(move |&b| (a, b)));
    let (value, magnitude) = pairs
        .map(|(a, b)| {
            let value = f64::from(a).powf(b.into());
            let one = binary(Reference::Pow, &[a], &[1], &[b], &[1]);
            let has_bound = one.value[0].is_finite() && one.magnitude[0].is_finite();
            (value, if has_bound { one.magnitude[0] } else { 0.0 })
        })
        .unzip();
    Answer { shape: vec![a.len(), b.len()], value, magnitude, terms: 1 }
}

#[test]
fn powers_keep_the_rules_of_c() {
    let inf = f32::INFINITY;
    let bases = [0.0, 1.0, 0.5, 1.5, 2.0, 10.0, inf, -0.0, -1.0, -0.5, -1.5, -2.0, -10.0, -inf, f32::NAN];
    let exponents: Vec<f32> = [0.0, 0.5, 1.0, 2.0, 2.5, 3.0, 15.0, 16.0, 17.0, 33.0, 34.0, 1e10, inf]
        .into_iter()
        .flat_map(|y| [y, -y])
        .chain([f32::NAN])
        .collect();
    let (a, b) = (tensor(&[bases.len(), 1], bases.to_vec()), tensor(&[exponents.len()], exponents.clone()));
    let answer = powers(&bases, &exponents);
    each(&Case::new(Binary::Pow, &[&a, &b]), &PlanOptions::default(), |label, outputs| {
        let y = values(&outputs[0]);
        assert_within(&format!("{label}, bases {bases:?}, exponents {exponents:?}"), y, &answer, 1.0);
        for (i, (&y, &expected)) in y.iter().zip(&answer.value).enumerate() {
            let (a, b) = (bases[i / exponents.len()], exponents[i % exponents.len()]);
            let signed = y == 0.0 && expected == 0.0 && a.abs() != 0.5 && a.abs() < 1.5;
            assert!(!signed || y.is_sign_negative() == expected.is_sign_negative(), "{a}^{b} {label}: {y:?}");
        }
    });
}

#[test]
fn negative_bases_take_integer_exponents() {
    cases(0xb3, 3, |rng| {
        let a: Vec<f32> = (0..200).map(|_| -3.0 * rng.unit() as f32).collect();
        let b: Vec<f32> = (-20..=20).map(|i| i as f32).collect();
        let answer = powers(&a, &b);
        let operands = [&tensor(&[200, 1], a), &tensor(&[b.len()], b)];
        each(&Case::new(Binary::Pow, &operands), &PlanOptions::default(), |label, outputs| {
            assert_within(label, values(&outputs[0]), &answer, c(Binary::Pow, label));
        });
    });
}

#[test]
fn a_value_and_itself() {
    let x = tensor(&[3], vec![1.0, -2.0, 0.25]);
    let mut graph = Graph::new("twice");
    let info = wgpu_cnn::graph::Info::f32(x.shape().clone());
    let id = graph.input("x", info);
    let sum = graph.push("sum", Binary::Add, &[id, id]).unwrap();
    graph.output(sum);
    for device in [&Device::cpu(), gpu()] {
        let y = device.compile(&graph).unwrap().run_one(&x).unwrap();
        assert_exact(&device.info().name, values(&y), &[2.0, -4.0, 0.5]);
    }
}

#[test]
fn a_wrong_operand_is_seen() {
    let mut rng = Rng::new(0xb4);
    for (op, theirs) in KINDS {
        let (a, b) = operands(&mut rng, op, &[4, 5], &[5]);
        let answer = binary(theirs, values(&a), &[4, 5], values(&b), &[5]);
        let mut wrong = a.clone();
        wrong.values_mut::<f32>().unwrap().iter_mut().for_each(|v| *v += 1e-3);
        each(&Case::new(op, &[&wrong, &b]), &PlanOptions::default(), |label, outputs| {
            assert!(within(label, values(&outputs[0]), &answer, c(op, label)).is_err(), "{op:?} {label}");
        });
    }
}
