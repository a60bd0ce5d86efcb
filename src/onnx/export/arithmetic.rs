//! What computes: functions of elements, matrix products, normalisations, reductions.

use super::layout::{Part, slice};
use super::{Layer, float, int, integer, integers, ints, text};
use crate::ops::arg_reduce::{ArgOutput, ArgReduce};
use crate::ops::{Activation, BatchNorm, Binary, Gemm, Lrn, Normalize, OpError, Reduce, ReduceKind, Softmax};

/// A layer that is an activation.
pub(super) fn activation(l: &mut Layer, op: &Activation) -> String {
    let x = l.input(0);
    activate(l, x, Some(op))
}

/// An activation of `x`, if there is one.
pub(super) fn activate(l: &mut Layer, x: String, activation: Option<&Activation>) -> String {
    let Some(activation) = activation else { return x };
    let (op, attributes) = match *activation {
        Activation::Relu => ("Relu", vec![]),
        Activation::LeakyRelu { alpha } => ("LeakyRelu", vec![float("alpha", alpha)]),
        Activation::Clip { min, max } => {
            let min = if min == f32::NEG_INFINITY { String::new() } else { l.scalar("min", min) };
            let max = if max == f32::INFINITY { String::new() } else { l.scalar("max", max) };
            return l.emit("Clip", &[&x, &min, &max], vec![]);
        }
        Activation::Elu { alpha } => ("Elu", vec![float("alpha", alpha)]),
        Activation::Selu { alpha, gamma } => ("Selu", vec![float("alpha", alpha), float("gamma", gamma)]),
        Activation::Celu { alpha } => ("Celu", vec![float("alpha", alpha)]),
        Activation::Sigmoid => ("Sigmoid", vec![]),
        Activation::HardSigmoid { alpha, beta } => {
            ("HardSigmoid", vec![float("alpha", alpha), float("beta", beta)])
        }
        Activation::Tanh => ("Tanh", vec![]),
        Activation::Softplus => ("Softplus", vec![]),
        Activation::Softsign => ("Softsign", vec![]),
        Activation::Silu { alpha } => {
            let scaled = if alpha == 1.0 {
                x.clone()
            } else {
                let alpha = l.scalar("alpha", alpha);
                l.emit("Mul", &[&x, &alpha], vec![])
            };
            let gate = l.emit("Sigmoid", &[&scaled], vec![]);
            return l.emit("Mul", &[&x, &gate], vec![]);
        }
        Activation::HardSwish => ("HardSwish", vec![]),
        Activation::Gelu => ("Gelu", vec![]),
        Activation::GeluTanh => ("Gelu", vec![text("approximate", "tanh")]),
        Activation::Mish => ("Mish", vec![]),
        Activation::ThresholdedRelu { alpha } => ("ThresholdedRelu", vec![float("alpha", alpha)]),
        Activation::Erf => ("Erf", vec![]),
        Activation::Exp => ("Exp", vec![]),
        Activation::Log => ("Log", vec![]),
        Activation::Sqrt => ("Sqrt", vec![]),
        Activation::Reciprocal => ("Reciprocal", vec![]),
        Activation::Abs => ("Abs", vec![]),
        Activation::Neg => ("Neg", vec![]),
        Activation::Floor => ("Floor", vec![]),
        Activation::Ceil => ("Ceil", vec![]),
    };
    l.emit(op, &[&x], attributes)
}

/// Add, ..., PRelu. ONNX's PRelu does not broadcast its first input, so that is repeated where the slope is larger.
pub(super) fn binary(l: &mut Layer, op: Binary) -> String {
    let (mut a, b) = (l.input(0), l.input(1));
    let name = match op {
        Binary::Add => "Add",
        Binary::Sub => "Sub",
        Binary::Mul => "Mul",
        Binary::Div => "Div",
        Binary::Pow => "Pow",
        Binary::Min => "Min",
        Binary::Max => "Max",
        Binary::PRelu => {
            let shape = l.output_shape();
            if l.shape(0) != shape {
                a = expand(l, &a, &shape);
            }
            "PRelu"
        }
    };
    l.emit(name, &[&a, &b], vec![])
}

/// `x` repeated to fill a shape it broadcasts to.
pub(super) fn expand(l: &mut Layer, x: &str, shape: &[usize]) -> String {
    let sizes = l.list("shape", integers(shape));
    l.emit("Expand", &[x, &sizes], vec![])
}

/// Gemm for two matrices; for batches of them Transpose, MatMul, Mul and Add.
pub(super) fn gemm(l: &mut Layer, op: &Gemm) -> String {
    let (a, b, c) = (l.input(0), l.input(1), l.input(2));
    let y = if l.shape(0).len() == 2 && l.shape(1).len() == 2 {
        let attributes = vec![
            float("alpha", op.alpha),
            float("beta", op.beta),
            int("transA", i64::from(op.trans_a)),
            int("transB", i64::from(op.trans_b)),
        ];
        l.emit("Gemm", &[&a, &b, &c], attributes)
    } else {
        let a = if op.trans_a { transposed(l, &a, l.shape(0).len()) } else { a };
        let b = if op.trans_b { transposed(l, &b, l.shape(1).len()) } else { b };
        let product = l.emit("MatMul", &[&a, &b], vec![]);
        let product = scaled(l, product, "alpha", op.alpha);
        if c.is_empty() {
            product
        } else {
            let c = scaled(l, c, "beta", op.beta);
            l.emit("Add", &[&product, &c], vec![])
        }
    };
    activate(l, y, op.activation.as_ref())
}

/// The matrices of a batch transposed.
fn transposed(l: &mut Layer, x: &str, rank: usize) -> String {
    let mut order: Vec<usize> = (0..rank).collect();
    order.swap(rank - 2, rank - 1);
    l.emit("Transpose", &[x], vec![ints("perm", integers(&order))])
}

fn scaled(l: &mut Layer, x: String, what: &str, factor: f32) -> String {
    if factor == 1.0 {
        return x;
    }
    let factor = l.scalar(what, factor);
    l.emit("Mul", &[&x, &factor], vec![])
}

pub(super) fn softmax(l: &mut Layer, op: &Softmax) -> String {
    let name = if op.log { "LogSoftmax" } else { "Softmax" };
    l.emit(name, &[&l.input(0)], vec![int("axis", integer(op.axis))])
}

pub(super) fn batch_norm(l: &mut Layer, op: &BatchNorm) -> String {
    let inputs: Vec<_> = (0..5).map(|i| l.input(i)).collect();
    let inputs: Vec<_> = inputs.iter().map(String::as_str).collect();
    l.emit("BatchNormalization", &inputs, vec![float("epsilon", op.epsilon)])
}

/// LayerNormalization or InstanceNormalization where scale and bias have the shapes these ask for, else the formula.
pub(super) fn normalize(l: &mut Layer, op: &Normalize) -> Result<Vec<String>, OpError> {
    let x = l.input(0);
    let (scale, bias) = (l.input(1), l.input(2));
    let shape = l.shape(0);
    let normalised = &shape[op.axis..];
    let fits = |i: usize, wanted: &[usize]| l.info(i).map(|info| info.shape[..] == *wanted);

    if !normalised.is_empty() && fits(1, normalised) == Some(true) && fits(2, normalised) != Some(false) {
        let attributes = vec![int("axis", integer(op.axis)), float("epsilon", op.epsilon)];
        let outputs = if op.statistics { 3 } else { 1 };
        return Ok(l.nodes("LayerNormalization", &[&x, &scale, &bias], attributes, outputs));
    }
    if let [_, channels, spatial @ ..] = &shape[..]
        && op.axis == 2
        && !spatial.is_empty()
        && !op.statistics
    {
        let mut per_channel = vec![*channels];
        per_channel.resize(1 + spatial.len(), 1);
        if fits(1, &per_channel) == Some(true) && fits(2, &per_channel) == Some(true) {
            let scale = l.reshape(&scale, &[*channels]);
            let bias = l.reshape(&bias, &[*channels]);
            let attributes = vec![float("epsilon", op.epsilon)];
            return Ok(vec![l.emit("InstanceNormalization", &[&x, &scale, &bias], attributes)]);
        }
    }

    let axes: Vec<usize> = (op.axis..shape.len()).collect();
    let mean = reduced(l, ReduceKind::Mean, &x, &axes, true);
    let centred = l.emit("Sub", &[&x, &mean], vec![]);
    let squares = l.emit("Mul", &[&centred, &centred], vec![]);
    let variance = reduced(l, ReduceKind::Mean, &squares, &axes, true);
    let epsilon = l.scalar("epsilon", op.epsilon);
    let kept = l.emit("Add", &[&variance, &epsilon], vec![]);
    let deviation = l.emit("Sqrt", &[&kept], vec![]);
    let inverse = l.emit("Reciprocal", &[&deviation], vec![]);
    let mut y = l.emit("Mul", &[&centred, &inverse], vec![]);
    if !scale.is_empty() {
        y = l.emit("Mul", &[&y, &scale], vec![]);
    }
    if !bias.is_empty() {
        y = l.emit("Add", &[&y, &bias], vec![]);
    }
    Ok(if op.statistics { vec![y, mean, inverse] } else { vec![y] })
}

/// LRN. Sums over an even number of channels, which few runtimes have, are average pools over the channels.
pub(super) fn lrn(l: &mut Layer, op: &Lrn) -> String {
    let x = l.input(0);
    let shape = l.shape(0);
    if op.size % 2 == 1 || shape.elements() == 0 {
        let attributes = vec![
            int("size", integer(op.size)),
            float("alpha", op.alpha),
            float("beta", op.beta),
            float("bias", op.bias),
        ];
        return l.emit("LRN", &[&x], attributes);
    }
    let rest = shape[2..].iter().product();
    let squares = l.emit("Mul", &[&x, &x], vec![]);
    let rows = l.reshape(&squares, &[shape[0], 1, shape[1], rest]);
    let before = (op.size - 1) / 2;
    let after = op.size - 1 - before;
    let attributes = vec![
        ints("kernel_shape", [integer(op.size), 1]),
        ints("pads", [integer(before), 0, integer(after), 0]),
        int("count_include_pad", 1),
    ];
    let means = l.emit("AveragePool", &[&rows], attributes);
    let means = l.reshape(&means, &shape);
    let (alpha, bias, beta) =
        (l.scalar("alpha", op.alpha), l.scalar("bias", op.bias), l.scalar("beta", op.beta));
    let scaled = l.emit("Mul", &[&means, &alpha], vec![]);
    let sum = l.emit("Add", &[&scaled, &bias], vec![]);
    let divisor = l.emit("Pow", &[&sum, &beta], vec![]);
    l.emit("Div", &[&x, &divisor], vec![])
}

pub(super) fn reduce(l: &mut Layer, op: &Reduce) -> String {
    let x = l.input(0);
    let rank = l.shape(0).len();
    let global = match op.kind {
        ReduceKind::Mean => Some("GlobalAveragePool"),
        ReduceKind::Max => Some("GlobalMaxPool"),
        _ => None,
    };
    match global {
        Some(name) if op.axes.is_none() && op.keep_dims && rank > 2 => l.emit(name, &[&x], vec![]),
        _ => reduced(l, op.kind, &x, &op.axes(rank), op.keep_dims),
    }
}

/// A reduction. Over no axes, which ONNX takes for all of them, it is a function of each element.
fn reduced(l: &mut Layer, kind: ReduceKind, x: &str, axes: &[usize], keep_dims: bool) -> String {
    if axes.is_empty() {
        return match kind {
            ReduceKind::Sum
            | ReduceKind::Mean
            | ReduceKind::Max
            | ReduceKind::Min
            | ReduceKind::Prod
            | ReduceKind::LogSumExp => l.emit("Identity", &[x], vec![]),
            ReduceKind::L1 | ReduceKind::L2 => l.emit("Abs", &[x], vec![]),
            ReduceKind::LogSum => l.emit("Log", &[x], vec![]),
            ReduceKind::SumSquare => l.emit("Mul", &[x, x], vec![]),
        };
    }
    let name = match kind {
        ReduceKind::Sum => "ReduceSum",
        ReduceKind::Mean => "ReduceMean",
        ReduceKind::Max => "ReduceMax",
        ReduceKind::Min => "ReduceMin",
        ReduceKind::Prod => "ReduceProd",
        ReduceKind::L1 => "ReduceL1",
        ReduceKind::L2 => "ReduceL2",
        ReduceKind::LogSum => "ReduceLogSum",
        ReduceKind::LogSumExp => "ReduceLogSumExp",
        ReduceKind::SumSquare => "ReduceSumSquare",
    };
    let axes = l.list("axes", integers(axes));
    l.emit(name, &[x, &axes], vec![int("keepdims", i64::from(keep_dims))])
}

/// ArgMax and ArgMin, or Hardmax. For the least element Hardmax looks at what is negated, for the last one at what is
/// reversed.
pub(super) fn arg_reduce(l: &mut Layer, op: &ArgReduce) -> String {
    let x = l.input(0);
    let axis = int("axis", integer(op.axis));
    match op.output {
        ArgOutput::Index => {
            let name = if op.largest { "ArgMax" } else { "ArgMin" };
            let last = int("select_last_index", i64::from(op.select_last));
            l.emit(name, &[&x], vec![axis, int("keepdims", 1), last])
        }
        ArgOutput::OneHot => {
            let x = if op.largest { x } else { l.emit("Neg", &[&x], vec![]) };
            let x = if op.select_last { reversed(l, &x, op.axis) } else { x };
            let y = l.emit("Hardmax", &[&x], vec![axis]);
            if op.select_last { reversed(l, &y, op.axis) } else { y }
        }
    }
}

fn reversed(l: &mut Layer, x: &str, axis: usize) -> String {
    let last = integer(l.shape(0)[axis]);
    slice(l, x, &[Part { axis, start: -1, end: -last - 1, step: -1 }])
}
