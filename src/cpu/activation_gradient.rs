//! The gradient of activations: one pass over the values and the gradients of the outputs.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, PI};

use rayon::prelude::*;

use super::activation::{clip, erf, sigmoid};
use super::cores::{GRAIN, Spread};
use super::{Kernel, vectorised};
use crate::error::Result;
use crate::ops::{Activation, ActivationGradient};
use crate::plan::Site;

pub(super) fn compile(op: &ActivationGradient, _site: &Site) -> Result<Kernel> {
    let activation = op.activation;
    Ok(Kernel::new(move |inputs, outputs, _| {
        let operands = inputs[0].par_chunks(GRAIN).zip(inputs[1].par_chunks(GRAIN));
        outputs[0].par_chunks_mut(GRAIN).zip(operands).spread(1).for_each(|(out, (value, dy))| {
            vectorised(|| multiply(activation, Slices { value, dy, out }));
        });
    }))
}

struct Slices<'a> {
    value: &'a [f32],
    dy: &'a [f32],
    out: &'a mut [f32],
}

/// Each `dy` times the derivative at `value`: the formulas of `shaders/shared/activation_gradient.wgsl`, which says
/// which are of the activation's input and which of its output.
#[inline(always)]
fn multiply(activation: Activation, at: Slices) {
    let of_output = activation.gradient_from_output();
    match activation {
        Activation::Relu => by(at, |y| step(y, 0.0, 0.0, 1.0)),
        Activation::LeakyRelu { alpha } => by(at, |v| step(v, 0.0, alpha, 1.0)),
        Activation::Clip { min, max } => by(at, |y| inside(y, min, max, 1.0)),
        Activation::Elu { alpha } if of_output => by(at, |y| if y > 0.0 { 1.0 } else { y + alpha }),
        Activation::Elu { alpha } => by(at, |x| if x > 0.0 { 1.0 } else { alpha * x.exp() }),
        Activation::Selu { alpha, gamma } if of_output => {
            by(at, |y| if y > 0.0 { gamma } else { y + gamma * alpha });
        }
        Activation::Selu { alpha, gamma } => {
            by(at, |x| if x > 0.0 { gamma } else { gamma * (alpha * x.exp()) });
        }
        Activation::Celu { alpha } => by(at, |y| if y > 0.0 { 1.0 } else { y / alpha + 1.0 }),
        Activation::Sigmoid => by(at, |y| y * (1.0 - y)),
        Activation::HardSigmoid { alpha, .. } => by(at, |y| inside(y, 0.0, 1.0, alpha)),
        Activation::Tanh => by(at, |y| (1.0 - y) * (1.0 + y)),
        Activation::Softplus => by(at, |y| -(-y).exp_m1()),
        Activation::Softsign => by(at, |x| {
            let q = 1.0 / (1.0 + x.abs());
            q * q
        }),
        Activation::Silu { alpha } => by(at, |x| {
            let t = clip(alpha * x, -128.0, 128.0);
            gate_slope(t, t)
        }),
        Activation::HardSwish => by(at, |x| {
            let middle = step(x, -3.0, 0.0, x / 3.0 + 0.5);
            if x >= 3.0 { 1.0 } else { middle }
        }),
        Activation::Gelu => by(at, |x| {
            let x = clip(x, -20.0, 20.0);
            let density = (-0.5 * x * x).exp() * (0.5 * FRAC_1_SQRT_2 * FRAC_2_SQRT_PI);
            0.5 * (1.0 + erf(x * FRAC_1_SQRT_2)) + x * density
        }),
        Activation::GeluTanh => {
            let scale = 2.0 * (2.0 / PI).sqrt();
            by(at, |x| {
                let x = clip(x, -12.0, 12.0);
                let square = 0.044_715 * x * x;
                gate_slope(scale * (x + square * x), scale * (x + 3.0 * square * x))
            });
        }
        Activation::Mish => by(at, |x| {
            let x = clip(x, -128.0, 128.0);
            let e = (-x.abs()).exp();
            let (n, m) = if x > 0.0 { (1.0 + 2.0 * e, 2.0 * e * e) } else { (e * (e + 2.0), 2.0) };
            let sum = n + m;
            n / sum + x * sigmoid(x) * (m / sum) * ((n + sum) / sum)
        }),
        Activation::ThresholdedRelu { alpha } => by(at, |v| step(v, alpha, 0.0, 1.0)),
        Activation::Erf => by(at, |x| FRAC_2_SQRT_PI * (-x * x).exp()),
        Activation::Exp => by(at, |y| y),
        Activation::Log => by(at, |x| 1.0 / x),
        Activation::Sqrt => by(at, |y| 0.5 / y),
        Activation::Reciprocal => by(at, |y| -y * y),
        Activation::Abs => by(at, |x| if x < 0.0 { -1.0 } else { step(x, 0.0, 0.0, 1.0) }),
        Activation::Neg => by(at, |_| -1.0),
        Activation::Floor | Activation::Ceil => by(at, |_| 0.0),
    }
}

#[inline(always)]
fn by(at: Slices, slope: impl Fn(f32) -> f32) {
    for (out, (&value, &dy)) in at.out.iter_mut().zip(at.value.iter().zip(at.dy)) {
        *out = dy * slope(value);
    }
}

/// `above` where `v` is above the threshold, else `below`.
#[inline(always)]
fn step(v: f32, threshold: f32, below: f32, above: f32) -> f32 {
    let low = if v <= threshold { below } else { v };
    if v > threshold { above } else { low }
}

/// `slope` strictly between two bounds, else 0; an infinite one bounds nothing.
#[inline(always)]
fn inside(y: f32, low: f32, high: f32, slope: f32) -> f32 {
    let outside = (y <= low && low > f32::NEG_INFINITY) || (y >= high && high < f32::INFINITY);
    if outside {
        0.0
    } else if y.is_nan() {
        y
    } else {
        slope
    }
}

/// The derivative of `x * sigmoid(t(x))`, given `t` and `x * t'`; `t` so small that its exponential does not overflow.
#[inline(always)]
fn gate_slope(t: f32, moved: f32) -> f32 {
    let e = (-t.abs()).exp();
    let gate = if t < 0.0 { e } else { 1.0 };
    (gate + moved * (e / (1.0 + e))) / (1.0 + e)
}
