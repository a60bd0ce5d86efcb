//! Values from the ONNX operator documentation (the examples of each operator) unless stated otherwise,
//! and the error bounds of the functions of one and two elements.

use super::published;
use crate::support::compare::{bound, within};
use crate::support::oracle::activation::Activation::{self, *};
use crate::support::oracle::approx::{Approx, erf};
use crate::support::oracle::elementwise::{Binary, binary};
use crate::support::oracle::{Answer, U};

#[track_caller]
fn check(f: Activation, x: &[f32], y: &[f64]) {
    published(&f.apply(x, &[x.len()]), &[x.len()], y);
}

#[test]
fn published_activations() {
    let x = [-1.0, 0.0, 1.0];
    check(Relu, &x, &[0.0, 0.0, 1.0]);
    check(LeakyRelu { alpha: 0.1 }, &x, &[-0.1, 0.0, 1.0]);
    check(Clip { min: -1.0, max: 1.0 }, &[-2.0, 0.0, 2.0], &[-1.0, 0.0, 1.0]);
    check(Elu { alpha: 2.0 }, &x, &[-1.2642411, 0.0, 1.0]);
    check(Selu { alpha: 2.0, gamma: 3.0 }, &x, &[-3.79272318, 0.0, 3.0]);
    check(Sigmoid, &x, &[0.26894143, 0.5, 0.7310586]);
    check(HardSigmoid { alpha: 0.5, beta: 0.6 }, &x, &[0.1, 0.6, 1.0]);
    check(Tanh, &x, &[-0.76159418, 0.0, 0.76159418]);
    check(Softplus, &x, &[0.31326166, std::f64::consts::LN_2, 1.31326163]);
    check(Softsign, &x, &[-0.5, 0.0, 0.5]);
    check(ThresholdedRelu { alpha: 2.0 }, &[-1.5, 0.0, 1.2, 2.0, 2.2], &[0.0, 0.0, 0.0, 0.0, 2.2_f32.into()]);
    check(Gelu, &x, &[-0.15865526, 0.0, 0.84134474]);
    check(GeluTanh, &x, &[-0.158808, 0.0, 0.841192]);
    check(Exp, &x, &[0.36787944, 1.0, 2.71828175]);
    check(Log, &[1.0, 10.0], &[0.0, 2.30258512]);
    check(Sqrt, &[1.0, 4.0, 9.0], &[1.0, 2.0, 3.0]);
    check(Reciprocal, &[-4.0, 2.0], &[-0.25, 0.5]);
    check(Abs, &x, &[1.0, 0.0, 1.0]);
    check(Neg, &[-4.0, 2.0], &[4.0, -2.0]);
    check(Floor, &[-1.5, 1.2, 2.0], &[-2.0, 1.0, 2.0]);
    check(Ceil, &[-1.5, 1.2], &[-1.0, 2.0]);
}

#[test]
fn activations_without_a_published_example() {
    // By hand: 1·σ(1), 1·(1/6+1/2), tanh(log(1+e)) = ((1+e)²-1)/((1+e)²+1), 2·(exp(-1/2)-1).
    check(Silu { alpha: 1.0 }, &[1.0, -1.0], &[0.7310585786, -0.2689414214]);
    check(Silu { alpha: 2.0 }, &[0.5], &[0.3655292893]);
    check(HardSwish, &[-4.0, 1.0, 3.0, 5.0], &[0.0, 2.0 / 3.0, 3.0, 5.0]);
    let s = (1.0 + std::f64::consts::E).powi(2);
    check(Mish, &[1.0], &[(s - 1.0) / (s + 1.0)]);
    check(Celu { alpha: 2.0 }, &[-1.0, 3.0], &[2.0 * ((-0.5_f64).exp() - 1.0), 3.0]);
}

#[test]
fn the_error_function_has_its_table_values() {
    // Abramowitz and Stegun, table 7.1.
    for (x, y) in
        [(0.5, 0.520_499_877_8), (1.0, 0.842_700_792_9), (1.5, 0.966_105_146_5), (2.0, 0.995_322_265_0)]
    {
        assert!((erf(x) - y).abs() < 1e-10 && erf(-x) == -erf(x), "erf({x}) = {}", erf(x));
    }
    assert_eq!((erf(0.0), erf(7.0), erf(-7.0)), (0.0, 1.0, -1.0));
    check(Erf, &[-1.0, 0.5], &[-0.842_700_792_9, 0.520_499_877_8]);
}

/// A straightforward `f32` evaluation of the formulas.
fn in_f32(f: Activation, x: f32) -> f32 {
    let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
    let softplus = |x: f32| x.max(0.0) + (1.0 + (-x.abs()).exp()).ln();
    match f {
        Relu => x.max(0.0),
        LeakyRelu { alpha } => {
            if x < 0.0 {
                alpha * x
            } else {
                x
            }
        }
        Clip { min, max } => x.clamp(min, max),
        Elu { alpha } => {
            if x > 0.0 {
                x
            } else {
                alpha * (x.exp() - 1.0)
            }
        }
        Selu { alpha, gamma } => gamma * if x > 0.0 { x } else { alpha * (x.exp() - 1.0) },
        Celu { alpha } => x.max(0.0) + (alpha * ((x / alpha).exp() - 1.0)).min(0.0),
        Sigmoid => sigmoid(x),
        HardSigmoid { alpha, beta } => (alpha * x + beta).clamp(0.0, 1.0),
        Tanh => x.tanh(),
        Softplus => softplus(x),
        Softsign => x / (1.0 + x.abs()),
        Silu { alpha } => x / (1.0 + (-alpha * x).exp()),
        HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        Gelu | Erf => {
            // Abramowitz and Stegun 7.1.26.
            let z = if f == Erf { x } else { x * std::f32::consts::FRAC_1_SQRT_2 };
            let t = 1.0 / (1.0 + 0.3275911 * z.abs());
            let poly = [1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592_f64]
                .iter()
                .fold(0.0, |sum, &a| (sum + a as f32) * t);
            let erf = (1.0 - poly * (-z * z).exp()).copysign(z);
            if f == Erf { erf } else { 0.5 * x * (1.0 + erf) }
        }
        GeluTanh => {
            let inner = std::f64::consts::FRAC_2_PI.sqrt() as f32 * (x + 0.044715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        }
        Mish => x * softplus(x).tanh(),
        ThresholdedRelu { alpha } => {
            if x > alpha {
                x
            } else {
                0.0
            }
        }
        Exp => x.exp(),
        Log => x.ln(),
        Sqrt => x.sqrt(),
        Reciprocal => 1.0 / x,
        Abs => x.abs(),
        Neg => -x,
        Floor => x.floor(),
        Ceil => x.ceil(),
    }
}

const ALL: [Activation; 26] = [
    Relu,
    LeakyRelu { alpha: 0.01 },
    Clip { min: -0.5, max: 6.0 },
    Elu { alpha: 1.3 },
    Selu { alpha: 1.673_263_2, gamma: 1.050_701 },
    Celu { alpha: 0.7 },
    Sigmoid,
    HardSigmoid { alpha: 0.2, beta: 0.5 },
    Tanh,
    Softplus,
    Softsign,
    Silu { alpha: 1.5 },
    HardSwish,
    Gelu,
    GeluTanh,
    Mish,
    ThresholdedRelu { alpha: 1.0 },
    Erf,
    Exp,
    Log,
    Sqrt,
    Reciprocal,
    Abs,
    Neg,
    Floor,
    Ceil,
];

fn inputs(f: Activation) -> Vec<f32> {
    let positive = matches!(f, Log | Sqrt | Reciprocal);
    (-900..=900).map(|i| i as f32 * 0.1).filter(|&x| !positive || x > 0.0).collect()
}

/// Points between the kinks of all functions.
fn smooth(f: Activation) -> impl Iterator<Item = f64> {
    let positive = matches!(f, Log | Sqrt | Reciprocal);
    (-80..=80).map(|i| f64::from(i) * 0.1 + 0.0123).filter(move |&x| !positive || x > 0.0)
}

#[test]
fn slopes_are_those_of_central_differences() {
    // The difference is off by h^2 / 6 times a third derivative, which is below 20 there, and by rounding.
    const H: f64 = 1e-5;
    let others =
        [LeakyRelu { alpha: -0.5 }, Elu { alpha: -0.7 }, Celu { alpha: -0.7 }, Clip { min: 2.0, max: -1.0 }];
    for f in ALL.into_iter().chain(others) {
        for x in smooth(f) {
            let (low, at, high) = (f.at(x - H).value, f.at(x).value, f.at(x + H).value);
            let difference = (high - low) / (2.0 * H);
            let permitted =
                20.0 * H * H * (1.0 + at.abs() / x.abs().min(1.0).powi(3)) + 1e-15 * at.abs().max(1.0) / H;
            let slope = f.slope(x).value;
            assert!(
                (slope - difference).abs() <= permitted,
                "{f:?} at {x}: {slope}, by differences {difference}"
            );
            if let Some(of_output) = f.slope_of_output(at) {
                let error = (of_output.value - slope).abs();
                assert!(
                    error <= 1e-12 * (1.0 + slope.abs()),
                    "{f:?} at {x}: {slope}, by the output {of_output:?}"
                );
            }
        }
    }
}

#[test]
fn slopes_at_kinks_are_those_of_pytorch() {
    let at = |f: Activation, x: f64| f.slope(x).value;
    assert_eq!((at(Relu, 0.0), at(Abs, 0.0), at(LeakyRelu { alpha: 0.1 }, 0.0)), (0.0, 0.0, 0.1_f32.into()));
    assert_eq!((at(Elu { alpha: 0.5 }, 0.0), at(ThresholdedRelu { alpha: 2.0 }, 2.0)), (0.5, 0.0));
    let relu6 = Clip { min: 0.0, max: 6.0 };
    assert_eq!((at(relu6, 0.0), at(relu6, 6.0), at(relu6, 5.9)), (0.0, 0.0, 1.0));
    assert_eq!((at(HardSwish, -3.0), at(HardSwish, 3.0)), (0.0, 1.0));
    assert_eq!((at(Floor, 2.0), at(Ceil, 0.5), at(Neg, 3.0)), (0.0, 0.0, -1.0));
    assert!(ALL.iter().all(|f| f.slope(f64::NAN).value.is_nan()));
}

#[test]
fn f32_evaluations_lie_within_the_bounds() {
    for f in ALL {
        let x: Vec<f32> = inputs(f).into_iter().filter(|&x| f != Exp || x < 88.0).collect();
        let y: Vec<f32> = x.iter().map(|&x| in_f32(f, x)).collect();
        within(&format!("{f:?}"), &y, &f.apply(&x, &[x.len()]), 1.0).unwrap();
    }
}

#[test]
fn bounds_are_narrow() {
    for f in ALL {
        let x = inputs(f);
        let answer = f.apply(&x, &[x.len()]);
        for (i, &x) in x.iter().enumerate() {
            // tanh alone is allowed 1e-5, exp(x) 6e-7 |x| of itself.
            let size = answer.value[i].abs().max(1.0).max(f64::from(x.abs()));
            assert!(bound(&answer, i, 1.0) < 3e-5 * size, "{f:?}({x}): {:e}", bound(&answer, i, 1.0));
        }
        let wrong: Vec<f32> = answer.value.iter().map(|v| (v + 1e-4 * v.abs().max(100.0)) as f32).collect();
        assert!(within("wrong", &wrong, &answer, 1.0).is_err(), "{f:?}");
    }
}

#[test]
fn an_uncertain_argument_widens_the_bound_by_the_slope() {
    let x = Approx { value: 0.0, error: 1e-3 };
    let slope = |f: Activation, x| f.of(x).error / 1e-3;
    assert!((slope(Tanh, x) - 1.01).abs() < 1e-3);
    assert!((slope(Sigmoid, x) - 0.25).abs() < 1e-2);
    assert!((slope(LeakyRelu { alpha: 0.5 }, Approx { value: -1.0, ..x }) - 0.5).abs() < 1e-3);
    assert_eq!(slope(Relu, Approx { value: -1.0, ..x }), 0.0);
    // Within reach of a kink, and of a jump.
    assert!(slope(Relu, Approx { value: -2e-3, ..x }) > 0.5);
    assert!(Floor.of(Approx { value: 2.999, ..x }).error >= 1.0);
    assert_eq!(Floor.of(Approx { value: 2.5, ..x }).error, 0.0);
}

#[test]
fn after_keeps_the_terms() {
    let sums = Answer { shape: vec![2], value: vec![-1.0, 2.0], magnitude: vec![3.0, 4.0], terms: 9 };
    let relu = Relu.after(&sums);
    assert_eq!((relu.terms, &relu.value, relu.magnitude[0]), (9, &vec![0.0, 2.0], 0.0));
    assert!((relu.magnitude[1] - 4.0).abs() < 1e-9);
}

#[test]
fn special_values() {
    let at = |f: Activation, x: f64| f.at(x).value;
    assert!(ALL.iter().all(|f| at(*f, f64::NAN).is_nan()));
    let (inf, low) = (f64::INFINITY, f64::NEG_INFINITY);
    assert_eq!((at(Relu, low), at(Exp, low), at(Sigmoid, low), at(Tanh, low)), (0.0, 0.0, 0.0, -1.0));
    assert_eq!((at(Sigmoid, inf), at(Exp, inf), at(Log, 0.0)), (1.0, inf, low));
    assert!(at(Log, -1.0).is_nan() && at(Sqrt, -1.0).is_nan());
    for f in [Sigmoid, Tanh, Exp] {
        assert!(f.at(low).error.is_finite(), "{f:?}");
    }
}

#[test]
fn binary_functions() {
    let (a, b) = ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]);
    let check = |op, a: &[f32], b: &[f32], y: &[f64]| {
        published(&binary(op, a, &[a.len()], b, &[b.len()]), &[y.len()], y);
    };
    check(Binary::Add, &a, &b, &[5.0, 7.0, 9.0]);
    check(Binary::Sub, &a, &[3.0, 2.0, 1.0], &[-2.0, 0.0, 2.0]);
    check(Binary::Mul, &a, &b, &[4.0, 10.0, 18.0]);
    check(Binary::Div, &[3.0, 4.0], &[1.0, 2.0], &[3.0, 2.0]);
    check(Binary::Pow, &a, &b, &[1.0, 32.0, 729.0]);
    check(Binary::Pow, &[-2.0], &[3.0], &[-8.0]);
    check(Binary::Min, &a, &[2.0, 2.0, 2.0], &[1.0, 2.0, 2.0]);
    check(Binary::Max, &a, &[2.0, 2.0, 2.0], &[2.0, 2.0, 3.0]);
    check(Binary::PRelu, &[-2.0, 3.0], &[0.25], &[-0.5, 3.0]);
    for op in Binary::ALL {
        assert!(op.at(f32::NAN, 1.0).value.is_nan() && op.at(1.0, f32::NAN).value.is_nan(), "{op:?}");
    }
}

#[test]
fn binary_functions_broadcast() {
    let sum = binary(Binary::Add, &[10.0, 20.0], &[2, 1, 1], &[1.0, 2.0, 3.0], &[3, 1]);
    published(&sum, &[2, 3, 1], &[11.0, 12.0, 13.0, 21.0, 22.0, 23.0]);
}

#[test]
#[should_panic(expected = "do not broadcast")]
fn shapes_that_do_not_broadcast_are_refused() {
    binary(Binary::Add, &[0.0; 2], &[2], &[0.0; 3], &[3]);
}

#[test]
fn binary_bounds_hold_and_are_narrow() {
    let x: Vec<f32> = (1..=400).map(|i| i as f32 * 0.037).collect();
    let y: Vec<f32> = (1..=400).map(|i| (i * 7 % 31) as f32 * 0.11 - 1.3).collect();
    let f32_of = |op, a: f32, b: f32| match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Pow => (b * a.log2()).exp2(),
        Binary::Min => a.min(b),
        Binary::Max => a.max(b),
        Binary::PRelu => {
            if a < 0.0 {
                a * b
            } else {
                a
            }
        }
    };
    for op in Binary::ALL {
        let answer = binary(op, &x, &[400], &y, &[400]);
        let actual: Vec<f32> = x.iter().zip(&y).map(|(&a, &b)| f32_of(op, a, b)).collect();
        within(&format!("{op:?}"), &actual, &answer, 1.0).unwrap();
        // exp2 of at most 8 makes 38 U, log2 of at most 4 in 3 ULP, times y of at most 2.1, some 35 U more.
        let slack = if op == Binary::Pow { 100.0 } else { 5.1 };
        for i in 0..400 {
            assert!(
                answer.magnitude[i] <= slack * answer.value[i].abs(),
                "{op:?}: {}",
                answer.magnitude[i] * U
            );
        }
    }
}
