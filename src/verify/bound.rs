//! How far two devices may differ on one operator and the same operands.
//!
//! Each rounds in an order of its own, so each lies within a distance of the true result that follows from the operator;
//! the bound is both distances together. A sum of K products lies within K 2^-24 sum |a b|, in any order (Higham,
//! *Accuracy and Stability of Numerical Algorithms*, section 3.1), and the sum of magnitudes is what the same operator makes
//! of absolute values. Functions are as accurate as the WGSL specification asks of its built-ins (section "Floating
//! Point Accuracy"): quotients 2.5 ULP, exp 3 + 2 |x| ULP, log 3 ULP and within 2^-21 about 1, roots 4.5 ULP, pow as
//! exp2(y log2(x)). What only selects or moves elements has one right answer.

use std::f64::consts::LN_2;

use super::{Operands, on_cpu, winograd};
use crate::error::Result;
use crate::ops::{
    Activation, BatchNorm, Binary, Conv, ConvTranspose, Gemm, Lrn, Normalize, Op, Pool, PoolKind, Reduce,
    ReduceKind, Resample, Softmax,
};
use crate::tensor::{DType, Tensor};
use crate::winograd::Winograd;

/// Half a unit in the last place of 1: what one rounding adds to a number near it.
pub(super) const U: f64 = 1.0 / (1_u32 << 24) as f64;
/// The most that a unit in the last place is of a number.
const ULP: f64 = 2.0 * U;
/// How far log2 may be off between 1/2 and 2.
const LOG: f64 = 1.0 / (1_u32 << 21) as f64;
/// Any operation may flush a result below this to zero.
pub(super) const TINY: f64 = f32::MIN_POSITIVE as f64;

/// How far the elements of an output may differ.
pub struct Bound {
    /// The most for each element; `None` where they must be the same bit for bit.
    errors: Option<Vec<f64>>,
    /// The most that is likely, where that is much less.
    likely: Option<Vec<f64>>,
    /// Where that comes from.
    pub source: &'static str,
}

const EXACT: &str = "exact: bit for bit";
const SUM: &str = "sum: 2 K 2^-24 sum of magnitudes";
const SUM_THEN: &str = "sum: 2 K 2^-24 sum of magnitudes, through the activation";
const WINOGRAD: &str = "Winograd: (c + 16) 2^-24 magnitudes of its transforms";
const WINOGRAD_THEN: &str = "Winograd: (c + 16) 2^-24 magnitudes, through the activation";
const FUNCTION: &str = "function: WGSL's accuracies";
const ROUNDING: &str = "one operation: WGSL's accuracy";
const STATISTICS: &str = "mean and variance: K 2^-24 of their terms";

/// The bounds for each output of an operator, `outputs` being the CPU's, and `kernels` the names of those that computed what
/// is compared with them ([`super::Layer::kernels`]): convolutions in Winograd's form round more than sums of products.
///
/// # Errors
/// Those of the operator on the absolute values of its operands, which it computes on the CPU backend.
pub fn bounds(
    op: &Op,
    operands: &Operands,
    outputs: &[Tensor],
    kernels: &[impl AsRef<str>],
) -> Result<Vec<Bound>> {
    let (Some(Some(x)), Some(y)) = (operands.first(), outputs.first()) else { return Ok(all_exact(outputs)) };
    if x.dtype() != DType::F32 || y.dtype() != DType::F32 {
        return Ok(all_exact(outputs));
    }
    let one = |source, errors| Ok(vec![Bound { errors: Some(errors), likely: None, source }]);
    let reals =
        |y: &Tensor| -> Result<Vec<f64>> { Ok(y.values::<f32>()?.iter().copied().map(f64::from).collect()) };
    match op {
        Op::Conv(conv) => {
            let plain = Conv { activation: None, ..conv.clone() };
            let terms = elements_from(operands, 1, 1) + 2;
            let form = kernels.iter().find_map(|name| Winograd::of_kernel(name.as_ref()));
            match form {
                Some(form) => transformed(form, plain, conv.activation, operands, terms),
                None => product(plain.clone().into(), plain.into(), conv.activation, operands, terms),
            }
        }
        Op::ConvTranspose(conv) => {
            let plain = ConvTranspose { activation: None, ..conv.clone() };
            let taps = elements_from(operands, 1, 2);
            let terms = x.shape().get(1).map_or(0, |c| c / conv.groups.max(1)) * taps + 1;
            product(plain.clone().into(), plain.into(), conv.activation, operands, terms)
        }
        Op::ConvWeight(conv) => {
            let dy = operands.get(1).and_then(Option::as_ref).map_or(0, |dy| dy.shape().elements());
            let filters = y.shape().first().copied().unwrap_or(1).max(1);
            one(SUM, sum(conv.clone().into(), operands, dy / filters + 2)?)
        }
        Op::Gemm(gemm) => {
            let plain = Gemm { activation: None, ..gemm.clone() };
            let absolute = Gemm { alpha: gemm.alpha.abs(), beta: gemm.beta.abs(), ..plain.clone() };
            let k = x.shape().iter().rev().nth(usize::from(gemm.trans_a)).copied().unwrap_or(0);
            product(plain.into(), absolute.into(), gemm.activation, operands, k + 3)
        }
        Op::Activation(activation) if is_exact(*activation) => Ok(all_exact(outputs)),
        Op::Activation(activation) => {
            let pairs = reals(x)?.into_iter().zip(reals(y)?);
            one(FUNCTION, pairs.map(|(x, y)| own(*activation, x, y)).collect())
        }
        Op::Binary(Binary::Min | Binary::Max) => Ok(all_exact(outputs)),
        Op::Binary(Binary::Pow) => one(FUNCTION, pow(operands, &reals(y)?)?),
        Op::Binary(binary) => {
            let ulps = if *binary == Binary::Div { 4.0 } else { 1.0 };
            one(ROUNDING, reals(y)?.iter().map(|y| ulps * ULP * y.abs() + TINY).collect())
        }
        Op::Pool(Pool { kind: PoolKind::Max, .. }) => Ok(all_exact(outputs)),
        Op::Pool(pool) => {
            let taps: usize = pool.window.kernel().iter().product();
            match pool.kind {
                PoolKind::Lp { p } => one(FUNCTION, lp_pool(p.into(), taps as f64, &reals(x)?, &reals(y)?)),
                _ => one(SUM, sum(op.clone(), operands, taps + 5)?),
            }
        }
        Op::PoolGradient(pool) => {
            let taps: usize = pool.window.kernel().iter().product();
            one(SUM, sum(op.clone(), operands, taps + 5)?)
        }
        Op::Reduce(reduce) if matches!(reduce.kind, ReduceKind::Max | ReduceKind::Min) => {
            Ok(all_exact(outputs))
        }
        Op::Reduce(reduce) => {
            let count = x.shape().elements() / y.shape().elements().max(1);
            let source = match reduce.kind {
                ReduceKind::Sum | ReduceKind::Mean | ReduceKind::L1 | ReduceKind::SumSquare => SUM,
                _ => FUNCTION,
            };
            one(source, reduced(reduce, operands, count, &reals(y)?)?)
        }
        Op::Resample(resample) => {
            let weights = resample.weights.iter().map(|w| w.abs()).collect();
            let absolute = Resample { weights, ..resample.clone() };
            one(SUM, sum(absolute.into(), operands, resample.taps + 1)?)
        }
        Op::Softmax(softmax) => one(FUNCTION, softmaxed(softmax, x, &reals(y)?)),
        Op::Lrn(lrn) => {
            let pairs = reals(x)?.into_iter().zip(reals(y)?);
            one(FUNCTION, pairs.map(|(x, y)| lrn_error(lrn, x, y)).collect())
        }
        Op::BatchNorm(norm) => one(FUNCTION, batch_norm(norm, operands)?),
        Op::Normalize(norm) => normalized(norm, operands, &reals(y)?, outputs),
        Op::ActivationGradient(op) => {
            let dy = operands.get(1).and_then(Option::as_ref).map(reals).transpose()?.unwrap_or_default();
            let triples = reals(x)?.into_iter().zip(dy).zip(reals(y)?);
            let error = triples.map(|((value, dy), y)| slope_error(op.activation, value, dy, y));
            one(FUNCTION, error.collect())
        }
        Op::Dropout(_) => one(ROUNDING, reals(y)?.iter().map(|y| ULP * y.abs() + TINY).collect()),
        Op::Sgd(_) | Op::Adam(_) => optimizer_step(operands, outputs),
        Op::ArgReduce(_)
        | Op::Concat(_)
        | Op::Gather(_)
        | Op::Im2col(_)
        | Op::Rearrange(_)
        | Op::Reshape(_)
        | Op::Select(_) => Ok(all_exact(outputs)),
    }
}

fn all_exact(outputs: &[Tensor]) -> Vec<Bound> {
    outputs.iter().map(|_| Bound { errors: None, likely: None, source: EXACT }).collect()
}

/// How many elements an operand has for each place along its axes before `axis`.
fn elements_from(operands: &Operands, operand: usize, axis: usize) -> usize {
    let operand = operands.get(operand).and_then(Option::as_ref);
    operand.map_or(0, |tensor| tensor.shape().iter().skip(axis).product())
}

/// The operands' absolute values.
fn absolute(operands: &Operands) -> Result<Operands> {
    let abs = |tensor: &Tensor| -> Result<Tensor> {
        if tensor.dtype() != DType::F32 {
            return Ok(tensor.clone());
        }
        let values = tensor.values::<f32>()?.iter().map(|v| v.abs()).collect();
        Tensor::new(tensor.shape().to_vec(), values)
    };
    operands.iter().map(|operand| operand.as_ref().map(abs).transpose()).collect()
}

/// For sums of so many products: `magnitudes` computes them from absolute operands.
fn sum(magnitudes: Op, operands: &Operands, terms: usize) -> Result<Vec<f64>> {
    let magnitude = on_cpu(magnitudes, &absolute(operands)?)?;
    let terms = terms as f64;
    Ok(magnitude.values::<f32>()?.iter().map(|&m| 2.0 * terms * (U * f64::from(m) + TINY)).collect())
}

/// For sums of so many products that an activation follows.
fn product(
    plain: Op,
    magnitudes: Op,
    activation: Option<Activation>,
    operands: &Operands,
    terms: usize,
) -> Result<Vec<Bound>> {
    let errors = sum(magnitudes, operands, terms)?;
    through(activation, plain, operands, errors, terms, [SUM, SUM_THEN])
}

/// For a convolution that one side computes as sums of so many products and the other in Winograd's form.
fn transformed(
    form: Winograd,
    plain: Conv,
    activation: Option<Activation>,
    operands: &Operands,
    terms: usize,
) -> Result<Vec<Bound>> {
    let absolute = absolute(operands)?;
    let magnitude = on_cpu(plain.clone(), &absolute)?;
    let direct = magnitude.values::<f32>()?;
    let winograd = winograd::errors(form, &plain, &absolute, direct)?;
    let sums = direct.iter().map(|&m| terms as f64 * (U * f64::from(m) + TINY));
    let errors = sums.zip(winograd).map(|(a, b)| a + b).collect();
    through(activation, plain.into(), operands, errors, terms, [WINOGRAD, WINOGRAD_THEN])
}

/// Sums of so many terms that are off by `errors`, and an activation that may follow.
fn through(
    activation: Option<Activation>,
    plain: Op,
    operands: &Operands,
    errors: Vec<f64>,
    terms: usize,
    [source, source_then]: [&'static str; 2],
) -> Result<Vec<Bound>> {
    // Roundings go either way, so K of them most likely add up to the square root of K (Higham and Mary, *A New Approach
    // to Probabilistic Rounding Error Analysis*, 2019).
    let likely: Vec<f64> = errors.iter().map(|e| e / (terms as f64).sqrt()).collect();
    let Some(activation) = activation else {
        return Ok(vec![Bound { errors: Some(errors), likely: Some(likely), source }]);
    };
    let arguments = on_cpu(plain, operands)?;
    let errors = moved(activation, &arguments, &errors)?;
    let likely = moved(activation, &arguments, &likely)?;
    Ok(vec![Bound { errors: Some(errors), likely: Some(likely), source: source_then }])
}

/// How far an activation's values may be off where its arguments are off by `errors`.
fn moved(activation: Activation, arguments: &Tensor, errors: &[f64]) -> Result<Vec<f64>> {
    let apply = |side: f64| -> Result<Tensor> {
        let shifted = arguments.values::<f32>()?.iter().zip(errors).map(|(&x, e)| {
            let x = (f64::from(x) + side * e) as f32;
            if side > 0.0 { x.next_up() } else { x.next_down() }
        });
        let shifted = Tensor::new(arguments.shape().to_vec(), shifted.collect())?;
        on_cpu(activation, &vec![Some(shifted)])
    };
    let (low, high) = (apply(-1.0)?, apply(1.0)?);
    let at = on_cpu(activation, &vec![Some(arguments.clone())])?;
    let sides = low.values::<f32>()?.iter().zip(high.values::<f32>()?);
    let at = arguments.values::<f32>()?.iter().zip(at.values::<f32>()?);
    let error = |((&low, &high), (&x, &y)): ((&f32, &f32), (&f32, &f32))| {
        let (low, high, x, y) = (f64::from(low), f64::from(high), f64::from(x), f64::from(y));
        let moved = (low - y).abs().max((high - y).abs());
        moved + if is_exact(activation) { 0.0 } else { own(activation, x, y) }
    };
    Ok(sides.zip(at).map(error).collect())
}

/// The activations that select or negate.
fn is_exact(activation: Activation) -> bool {
    use Activation::{Abs, Ceil, Clip, Floor, Neg, Relu, ThresholdedRelu};
    matches!(activation, Relu | Clip { .. } | ThresholdedRelu { .. } | Abs | Neg | Floor | Ceil)
}

/// How far an activation may be off by its own arithmetic at `x`, where its value is `y`: the accuracies of the built-ins
/// in its formula, half an ULP for each other operation, and two for the CPU's own functions.
fn own(activation: Activation, x: f64, y: f64) -> f64 {
    // Exponentials of less than -128 are 0.
    let far = |x: f64| x.abs().min(128.0);
    let a = far(x);
    let ulps = |n: f64| n * ULP * y.abs();
    let error = match activation {
        Activation::LeakyRelu { .. } => ulps(1.0),
        Activation::Elu { .. } | Activation::Selu { .. } => ulps(12.0),
        Activation::Celu { .. } => ulps(15.0),
        Activation::Sigmoid => ulps(8.0 + 2.0 * a),
        Activation::HardSigmoid { alpha, beta } => {
            ulps(1.0) + ULP * ((f64::from(alpha) * x).abs() + f64::from(beta).abs())
        }
        Activation::Tanh => ulps(16.0),
        Activation::Softplus | Activation::Mish => ulps(14.0 + 2.0 * a),
        Activation::Softsign => ulps(4.0),
        Activation::Silu { alpha } => ulps(10.0 + 3.0 * far(f64::from(alpha) * x)),
        Activation::HardSwish => ulps(2.0) + ULP * x.abs() * (0.5 * a.min(3.0) + 0.5),
        // Both halves of 1 + erf cancel below zero, so the error is a part of x rather than of the result.
        Activation::Gelu => 6.0 * ULP * x.abs(),
        Activation::GeluTanh => ulps(10.0 + 5.0 * far(1.6 * (x + 0.044_715 * x * x * x))),
        Activation::Erf => ulps(8.0),
        Activation::Exp => ulps(5.0 + 2.0 * a),
        Activation::Log if (0.5..=2.0).contains(&x) => LOG + ulps(1.0),
        Activation::Log => ulps(4.0),
        Activation::Sqrt => ulps(6.0),
        Activation::Reciprocal => ulps(4.0),
        _ => f64::INFINITY,
    };
    error + 4.0 * TINY * (1.0 + a)
}

/// How far `dy` times the slope of a function at `value` may be off: a part of the result, and where the slope is a
/// difference, as in `1 - y^2`, a part of `dy`.
fn slope_error(activation: Activation, value: f64, dy: f64, y: f64) -> f64 {
    let scale = match activation {
        Activation::Celu { alpha } => 1.0 / f64::from(alpha).abs(),
        Activation::Silu { alpha } => f64::from(alpha).abs().max(1.0),
        _ => 1.0,
    };
    let a = (scale * value.abs()).min(128.0);
    ULP * ((8.0 + 2.0 * a) * y.abs() + (16.0 + 4.0 * a) * dy.abs()) + 4.0 * TINY * (1.0 + a)
}

/// How far an optimiser's outputs may be off: each is a sum of a few terms of the operands, whose magnitudes add up to
/// no more than those of the operands and of the step taken.
fn optimizer_step(operands: &Operands, outputs: &[Tensor]) -> Result<Vec<Bound>> {
    let mut magnitudes = vec![0.0; outputs[0].shape().elements()];
    // The rates are the last operand.
    for tensor in operands.iter().rev().skip(1).flatten() {
        for (sum, v) in magnitudes.iter_mut().zip(tensor.values::<f32>()?) {
            *sum += f64::from(v.abs());
        }
    }
    outputs
        .iter()
        .map(|output| {
            let values = output.values::<f32>()?;
            let errors = magnitudes.iter().zip(values).map(|(sum, &y)| {
                let y = f64::from(y.abs());
                // Squares of gradients among them.
                16.0 * ULP * (sum + sum * sum + y) + TINY
            });
            Ok(Bound { errors: Some(errors.collect()), likely: None, source: FUNCTION })
        })
        .collect()
}

/// The relative error of `x` to the power `exponent`, where `log` is the size of `exponent * log2(x)`.
fn power(exponent: f64, log: f64) -> f64 {
    LN_2 * (3.0 * ULP * log + exponent.abs() * LOG) + (5.0 + 2.0 * log) * ULP
}

/// The size of a number's binary logarithm, of f32's range where the number is 0 or infinite.
fn log_size(x: f64) -> f64 {
    x.abs().log2().abs().min(150.0)
}

fn pow(operands: &Operands, y: &[f64]) -> Result<Vec<f64>> {
    let [Some(a), Some(b)] = &absolute(operands)?[..] else { return Ok(vec![0.0; y.len()]) };
    let nothing = Tensor::zeros(a.shape().to_vec())?;
    let exponents = on_cpu(Binary::Max, &vec![Some(nothing), Some(b.clone())])?;
    let error = |(&y, &b): (&f64, &f32)| y.abs() * power(b.into(), log_size(y)) + TINY;
    Ok(y.iter().zip(exponents.values::<f32>()?).map(error).collect())
}

/// `(sum |x|^p)^(1/p)` over at most `taps` terms.
fn lp_pool(p: f64, taps: f64, x: &[f64], y: &[f64]) -> Vec<f64> {
    let widest = x.iter().filter(|x| **x != 0.0).map(|&x| p * log_size(x)).fold(0.0, f64::max);
    let inner = power(p, widest) + taps * ULP;
    let flushed = (taps * TINY).powf(1.0 / p);
    y.iter().map(|&y| y.abs() * (inner / p + power(1.0 / p, log_size(y))) + flushed).collect()
}

fn reduced(reduce: &Reduce, operands: &Operands, count: usize, y: &[f64]) -> Result<Vec<f64>> {
    let n = count as f64;
    let of_kind = |kind| Reduce { kind, ..reduce.clone() };
    Ok(match reduce.kind {
        ReduceKind::Sum | ReduceKind::Mean | ReduceKind::L1 | ReduceKind::SumSquare => {
            sum(reduce.clone().into(), operands, count + 6)?
        }
        ReduceKind::L2 => y.iter().map(|y| (0.5 * n + 7.0) * ULP * y.abs() + (n * TINY).sqrt()).collect(),
        ReduceKind::Prod => {
            // What is flushed on the way may be multiplied by everything above 1 that follows.
            let [Some(x)] = &absolute(operands)?[..] else { return Ok(vec![0.0; y.len()]) };
            let one = Tensor::scalar(1f32);
            let above_one = on_cpu(Binary::Max, &vec![Some(x.clone()), Some(one)])?;
            let growth = on_cpu(reduce.clone(), &vec![Some(above_one)])?;
            let error = |(y, &growth): (&f64, &f32)| n * ULP * y.abs() + n * TINY * f64::from(growth);
            y.iter().zip(growth.values::<f32>()?).map(error).collect()
        }
        ReduceKind::LogSum => {
            let total = on_cpu(of_kind(ReduceKind::Sum), operands)?;
            let off = sum(of_kind(ReduceKind::Sum).into(), operands, count + 1)?;
            let error = |((y, &total), off): ((&f64, &f32), f64)| {
                off / (f64::from(total) - off).max(0.0) + 2.0 * LOG + 4.0 * ULP * y.abs()
            };
            y.iter().zip(total.values::<f32>()?).zip(off).map(error).collect()
        }
        ReduceKind::LogSumExp => y.iter().map(|y| log_of_exponentials(n) + 2.0 * ULP * y.abs()).collect(),
        _ => vec![f64::INFINITY; y.len()],
    })
}

/// The relative error of a sum of n exponentials exp(x - max). Their arguments, weighted by them, are at most ln n on
/// average, for that is the most that the entropy of n things can be.
fn of_exponentials(n: f64) -> f64 {
    (5.0 + 3.0 * n.max(1.0).ln() + 0.5 * n) * ULP
}

/// The error of its logarithm, which is at most ln n.
fn log_of_exponentials(n: f64) -> f64 {
    of_exponentials(n) + 4.0 * n.max(1.0).ln() * ULP + 2.0 * LOG
}

fn softmaxed(softmax: &Softmax, x: &Tensor, y: &[f64]) -> Vec<f64> {
    let n = x.shape().get(softmax.axis).map_or(1.0, |&n| n as f64);
    let error = |&y: &f64| {
        if softmax.log {
            return log_of_exponentials(n) + 3.0 * ULP * y.abs();
        }
        // exp(-d) / sum, where the sum is at least 1.
        let d = (-y.ln()).min(128.0);
        y * (of_exponentials(n) + (8.0 + 3.0 * d) * ULP) + 4.0 * TINY
    };
    y.iter().map(error).collect()
}

fn lrn_error(lrn: &Lrn, x: f64, y: f64) -> f64 {
    if x == 0.0 {
        return TINY;
    }
    // The divisor is x / y.
    let beta = f64::from(lrn.beta);
    let sum = beta.abs() * (lrn.size as f64 + 5.0) * U;
    y.abs() * (2.0 * sum + power(beta, log_size(x / y)) + 3.0 * ULP) + 4.0 * TINY * (1.0 + x.abs())
}

/// `(|x| + |mean|) |scale| / sqrt(variance + epsilon) + |bias|`, times the roundings on the way: of the root 4.5 ULP, of
/// the quotient 2.5, of each other operation a half, and the CPU's.
fn batch_norm(norm: &BatchNorm, operands: &Operands) -> Result<Vec<f64>> {
    let mut magnitudes = absolute(operands)?;
    if let Some(Some(mean)) = magnitudes.get_mut(3) {
        mean.values_mut::<f32>()?.iter_mut().for_each(|m| *m = -*m);
    }
    // The variance keeps its sign.
    if let (Some(to), Some(from)) = (magnitudes.get_mut(4), operands.get(4)) {
        to.clone_from(from);
    }
    let magnitude = on_cpu(*norm, &magnitudes)?;
    Ok(magnitude.values::<f32>()?.iter().map(|&m| 12.0 * (ULP * f64::from(m) + TINY)).collect())
}

fn normalized(norm: &Normalize, operands: &Operands, y: &[f64], outputs: &[Tensor]) -> Result<Vec<Bound>> {
    let Some(Some(x)) = operands.first() else { return Ok(all_exact(outputs)) };
    let length: usize = x.shape().iter().skip(norm.axis).product();
    if length == 0 {
        return Ok(all_exact(outputs));
    }
    let n = length as f64;
    let (mut quotients, mut means, mut inverses) = (Vec::with_capacity(y.len()), Vec::new(), Vec::new());
    for row in x.values::<f32>()?.chunks(length) {
        let row = || row.iter().copied().map(f64::from);
        let mean = row().sum::<f64>() / n;
        let variance = row().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n + f64::from(norm.epsilon);
        let inverse = 1.0 / variance.sqrt();
        let of_mean = (n + 6.0) * U * row().map(f64::abs).sum::<f64>() / n + TINY;
        // The variance about a mean that is off grows by the square of that.
        let of_inverse = 0.5 * ((n + 8.0) * U + of_mean * of_mean / variance) + 8.0 * ULP;
        quotients.extend(row().map(|x| {
            let shift = of_mean + U * (x.abs() + mean.abs());
            (inverse * (shift + (x - mean).abs() * (of_inverse + 2.0 * U))) as f32
        }));
        means.push(2.0 * of_mean);
        inverses.push(2.0 * inverse * of_inverse);
    }
    let mut errors = Some(Tensor::new(x.shape().to_vec(), quotients)?);
    let terms = absolute(operands)?;
    let term = |i: usize| terms.get(i).cloned().flatten();
    if let Some(scale) = term(1) {
        errors = Some(on_cpu(Binary::Mul, &vec![errors, Some(scale)])?);
    }
    // Each rounding of a product and of a sum is of what the result and the bias are together.
    let mut sizes = Some(Tensor::new(x.shape().to_vec(), y.iter().map(|y| 2.0 * y.abs() as f32).collect())?);
    if let Some(bias) = term(2) {
        sizes = Some(on_cpu(Binary::Add, &vec![sizes, Some(bias)])?);
    }
    let mut all = Vec::new();
    if let (Some(errors), Some(sizes)) = (errors, sizes) {
        let pairs = errors.values::<f32>()?.iter().zip(sizes.values::<f32>()?);
        all.push(pairs.map(|(&e, &s)| 2.0 * (f64::from(e) + U * f64::from(s)) + 4.0 * TINY).collect());
    }
    all.extend([means, inverses]);
    let bounds =
        all.into_iter().map(|errors| Bound { errors: Some(errors), likely: None, source: STATISTICS });
    Ok(bounds.take(outputs.len()).collect())
}

/// How two outputs differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// The largest difference of two elements; infinite where only one of them is NaN.
    pub largest: f64,
    /// The bound of the element that comes nearest to its own.
    pub bound: f64,
    /// That element's difference over its bound; more than 1 is past it, and infinite past every bound.
    pub of_bound: f64,
}

impl Difference {
    /// Of outputs without elements.
    const NONE: Difference = Difference { largest: 0.0, bound: 0.0, of_bound: 0.0 };

    /// Adds one element.
    fn add(&mut self, difference: f64, bound: f64) {
        let of_bound = match difference {
            0.0 => 0.0,
            _ if bound.is_finite() && bound > 0.0 => difference / bound,
            _ => f64::INFINITY,
        };
        self.largest = self.largest.max(difference);
        if of_bound > self.of_bound || (self.of_bound == 0.0 && bound > self.bound) {
            (self.bound, self.of_bound) = (bound, of_bound);
        }
    }
}

impl Bound {
    /// A bound of every element alike.
    pub fn uniform(error: f64, elements: usize, source: &'static str) -> Self {
        Bound { errors: Some(vec![error; elements]), likely: None, source }
    }

    /// The bound of an element.
    fn at(&self, element: usize) -> f64 {
        self.errors.as_ref().and_then(|errors| errors.get(element)).copied().unwrap_or(0.0)
    }

    /// The most that an element is likely to differ.
    pub fn likely(&self, element: usize) -> f64 {
        let likely = self.likely.as_ref().and_then(|likely| likely.get(element));
        likely.copied().unwrap_or_else(|| self.at(element))
    }

    /// Compares an output with what it should be; they have one shape.
    pub fn judge(&self, expected: &Tensor, actual: &Tensor) -> Difference {
        let mut result = Difference::NONE;
        for (i, (expected, actual)) in numbers(expected).into_iter().zip(numbers(actual)).enumerate() {
            let exact = self.errors.is_none();
            // Subnormal numbers may be flushed even where nothing is computed.
            let flushed = expected.abs() < TINY && expected != 0.0 && actual == 0.0;
            let same =
                expected == actual && (!exact || expected.is_sign_negative() == actual.is_sign_negative());
            let difference = match (expected.is_nan(), actual.is_nan()) {
                (true, true) => 0.0,
                (false, false) if same || (exact && flushed) => 0.0,
                (false, false) => (clamp(expected) - clamp(actual)).abs().max(f64::MIN_POSITIVE),
                _ => f64::INFINITY,
            };
            result.add(difference, self.at(i));
        }
        result
    }
}

/// Infinity counts as the largest f32: rounding may take one for the other.
fn clamp(x: f64) -> f64 {
    x.clamp(-f64::from(f32::MAX), f64::from(f32::MAX))
}

/// A tensor's elements, of whatever type.
pub fn numbers(tensor: &Tensor) -> Vec<f64> {
    if let Ok(values) = tensor.values::<f32>() {
        values.iter().copied().map(f64::from).collect()
    } else if let Ok(values) = tensor.values::<f64>() {
        values.to_vec()
    } else if let Ok(values) = tensor.values::<i64>() {
        values.iter().map(|&v| v as f64).collect()
    } else {
        tensor
            .values::<bool>()
            .map_or_else(|_| Vec::new(), |v| v.iter().map(|&v| f64::from(u8::from(v))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::Window;

    fn tensor(shape: &[usize], f: impl Fn(f64) -> f64) -> Tensor {
        let count: usize = shape.iter().product();
        let values = (1..=count).map(|i| f((i as f64 * 0.618_033_988_749_895).fract()) as f32).collect();
        Tensor::new(shape.to_vec(), values).unwrap()
    }

    /// One of each operator that computes.
    fn cases() -> Vec<(Op, Operands)> {
        let x = tensor(&[2, 4, 6, 6], |v| 4.0 * v - 2.0);
        let positive = tensor(&[2, 4, 6, 6], |v| v + 0.1);
        let per_channel = |low: f64| Some(tensor(&[4], move |v| v + low));
        let weight = Some(tensor(&[4, 4, 3, 3], |v| v - 0.5));
        let matrix = |rows, columns| Some(tensor(&[rows, columns], |v| v - 0.5));
        let window = || Window::new([2, 2]);
        let all = Some(vec![2, 3]);
        let reduce = |kind| Reduce { kind, axes: all.clone(), keep_dims: true }.into();
        let x = || Some(x.clone());
        let positive = || Some(positive.clone());
        let mut cases: Vec<(Op, Operands)> = vec![
            (Conv::new(Window::new([3, 3])).into(), vec![x(), weight.clone(), per_channel(0.0)]),
            (
                Conv { activation: Some(Activation::Tanh), ..Conv::new(Window::new([3, 3])) }.into(),
                vec![x(), weight, None],
            ),
            (
                Gemm { alpha: -0.5, beta: 2.0, ..Gemm::linear() }.into(),
                vec![matrix(3, 7), matrix(5, 7), matrix(1, 5)],
            ),
            (Pool::new(PoolKind::Average { count_include_pad: true }, window()).into(), vec![x()]),
            (Pool::new(PoolKind::Lp { p: 3.0 }, window()).into(), vec![x()]),
            (Softmax { axis: 1, log: false }.into(), vec![x()]),
            (Softmax { axis: 1, log: true }.into(), vec![x()]),
            (Lrn { size: 3, alpha: 1e-1, beta: 0.75, bias: 1.0 }.into(), vec![x()]),
            (
                BatchNorm { epsilon: 1e-5 }.into(),
                vec![x(), per_channel(0.0), per_channel(-0.5), per_channel(-0.5), per_channel(0.1)],
            ),
            (
                Normalize { axis: 2, epsilon: 1e-5, statistics: true }.into(),
                vec![x(), Some(tensor(&[6], |v| v)), Some(tensor(&[6], |v| v - 0.5))],
            ),
            (reduce(ReduceKind::LogSum), vec![positive()]),
            (Binary::Pow.into(), vec![positive(), x()]),
        ];
        cases.extend([Binary::Add, Binary::Mul, Binary::Div].map(|op| (op.into(), vec![x(), positive()])));
        let kinds = [
            ReduceKind::Sum,
            ReduceKind::Mean,
            ReduceKind::L1,
            ReduceKind::L2,
            ReduceKind::Prod,
            ReduceKind::LogSumExp,
            ReduceKind::SumSquare,
        ];
        cases.extend(kinds.map(|kind| (reduce(kind), vec![x()])));
        let functions = [
            Activation::LeakyRelu { alpha: 0.1 },
            Activation::Elu { alpha: 1.0 },
            Activation::SELU,
            Activation::Celu { alpha: 0.7 },
            Activation::Sigmoid,
            Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
            Activation::Tanh,
            Activation::Softplus,
            Activation::Softsign,
            Activation::SILU,
            Activation::HardSwish,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::Mish,
            Activation::Erf,
            Activation::Exp,
        ];
        cases.extend(functions.map(|f| (f.into(), vec![x()])));
        let on_positive = [Activation::Log, Activation::Sqrt, Activation::Reciprocal];
        cases.extend(on_positive.map(|f| (f.into(), vec![positive()])));
        cases
    }

    fn outputs(op: &Op, operands: &Operands) -> Vec<Tensor> {
        let mut graph = crate::Graph::new("case");
        let constants: Vec<_> = operands
            .iter()
            .enumerate()
            .map(|(i, t)| t.clone().map(|t| graph.constant(format!("operand {i}"), t)))
            .collect();
        for id in graph.push_node("node", op.clone(), &constants).unwrap() {
            graph.output(id);
        }
        crate::Device::cpu().compile(&graph).unwrap().run(&[]).unwrap()
    }

    #[test]
    fn every_bound_takes_the_result_itself_and_refuses_a_thousandth_more() {
        for (op, operands) in cases() {
            let right = outputs(&op, &operands);
            let bounds = bounds(&op, &operands, &right, &[""]).unwrap();
            assert_eq!(bounds.len(), right.len(), "{op:?}");
            for (bound, right) in bounds.iter().zip(&right) {
                let same = bound.judge(right, right);
                assert_eq!((same.largest, same.of_bound), (0.0, 0.0), "{op:?}");
                assert!(same.bound.is_finite() && same.bound > 0.0, "{op:?}: {same:?}");
                let values = right.values::<f32>().unwrap();
                let largest = values.iter().map(|v| v.abs()).fold(0.0, f32::max);
                let wrong = values.iter().map(|v| v + 1e-3 * largest).collect();
                let wrong = Tensor::new(right.shape().to_vec(), wrong).unwrap();
                assert!(bound.judge(right, &wrong).of_bound > 1.0, "{op:?}");
            }
        }
    }

    #[test]
    fn what_moves_elements_must_keep_their_bits() {
        let of = |values: &[f32]| Tensor::new([values.len()], values.to_vec()).unwrap();
        let exact = Bound { errors: None, likely: None, source: EXACT };
        let judge = |a: &[f32], b: &[f32]| exact.judge(&of(a), &of(b)).of_bound;
        let right = [1.0, f32::NAN, f32::INFINITY, -0.0, 1e-40];
        assert_eq!(judge(&right, &right), 0.0);
        assert_eq!(judge(&[1e-40], &[0.0]), 0.0, "a flushed subnormal");
        for (i, wrong) in [1f32.next_up(), 0.0, f32::MAX, 0.0, 2e-40].into_iter().enumerate() {
            let mut changed = right;
            changed[i] = wrong;
            assert_eq!(judge(&right, &changed), f64::INFINITY, "element {i}");
        }
    }

    #[test]
    fn a_bound_that_is_no_number_permits_nothing() {
        let of = |v: f32| Tensor::scalar(v);
        let judge = |bound, a, b| Bound::uniform(bound, 1, SUM).judge(&of(a), &of(b)).of_bound;
        assert_eq!(judge(1.0, 2.0, 2.5), 0.5);
        assert_eq!(judge(f64::NAN, 2.0, 2.5), f64::INFINITY);
        assert_eq!(judge(f64::INFINITY, 2.0, 2.5), f64::INFINITY);
        assert_eq!(judge(1.0, 2.0, f32::NAN), f64::INFINITY);
        assert_eq!(judge(0.0, 2.0, 2.0), 0.0);
    }
}
