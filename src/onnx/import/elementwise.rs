//! Functions of elements: activations, arithmetic, clipping.
//!
//! Opsets: before 7 arithmetic broadcasts by the attributes `broadcast` and `axis`; before 11 Clip has its limits in
//! attributes. Arithmetic on integers is done while the model is loaded, for shapes.

use super::Refusal;
use super::builder::Val;
use super::node::Node;
use crate::onnx::fold::each;
use crate::ops::broadcast::broadcast;
use crate::ops::{Activation, Binary};
use crate::tensor::{DType, Element, Tensor};

/// Abs, Celu, Elu, Exp, Gelu, ... : one input, perhaps parameters.
pub(super) fn unary(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let x = n.required(0)?;
    if n.opset < 6 {
        n.ignore("consumed_inputs")?;
    }
    let op = match n.op() {
        "Abs" => Activation::Abs,
        "Ceil" => Activation::Ceil,
        "Celu" => Activation::Celu { alpha: n.float_or("alpha", 1.0)? },
        "Elu" => Activation::Elu { alpha: n.float_or("alpha", 1.0)? },
        "Erf" => Activation::Erf,
        "Exp" => Activation::Exp,
        "Floor" => Activation::Floor,
        "Gelu" => match n.string_or("approximate", "none")? {
            "none" => Activation::Gelu,
            "tanh" => Activation::GeluTanh,
            other => return Err(Refusal::from(format!("the approximation '{other}'"))),
        },
        "HardSigmoid" => {
            Activation::HardSigmoid { alpha: n.float_or("alpha", 0.2)?, beta: n.float_or("beta", 0.5)? }
        }
        "HardSwish" => Activation::HardSwish,
        "LeakyRelu" => Activation::LeakyRelu { alpha: n.float_or("alpha", 0.01)? },
        "Log" => Activation::Log,
        "Mish" => Activation::Mish,
        "Neg" => Activation::Neg,
        "Reciprocal" => Activation::Reciprocal,
        "Relu" => Activation::Relu,
        "Selu" => {
            let (alpha, gamma) = if n.opset < 6 { (1.6732, 1.0507) } else { (1.673_263_2, 1.050_701) };
            Activation::Selu { alpha: n.float_or("alpha", alpha)?, gamma: n.float_or("gamma", gamma)? }
        }
        "Sigmoid" => Activation::Sigmoid,
        "Softplus" => Activation::Softplus,
        "Softsign" => Activation::Softsign,
        "Sqrt" => Activation::Sqrt,
        "Swish" => Activation::Silu { alpha: n.float_or("alpha", 1.0)? },
        "Tanh" => Activation::Tanh,
        "ThresholdedRelu" => Activation::ThresholdedRelu { alpha: n.float_or("alpha", 1.0)? },
        other => return Err(Refusal::from(format!("the function {other}"))),
    };
    if n.to.dtype(x) == DType::I64 {
        let function = match op {
            Activation::Neg => i64::checked_neg,
            Activation::Abs => i64::checked_abs,
            _ => return Err(Refusal::from("integers")),
        };
        let tensor = n.known(0, "an integer operand")?;
        let values = tensor.map(|t| t.values::<i64>()).transpose()?.unwrap_or_default();
        let values =
            values.iter().map(|&v| function(v)).collect::<Option<Vec<_>>>().ok_or("an integer overflows")?;
        let dims = n.to.dims(x);
        return Ok(vec![n.to.constant(Tensor::new(dims, values)?)]);
    }
    Ok(vec![n.to.emit(op, &[x])?])
}

/// Clip. Limits that are only known at run time become a maximum and a minimum.
pub(super) fn clip(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let x = n.required(0)?;
    if n.opset < 11 {
        n.ignore("consumed_inputs")?;
        let min = n.float_or("min", f32::NEG_INFINITY)?;
        let max = n.float_or("max", f32::INFINITY)?;
        return Ok(vec![n.to.emit(Activation::Clip { min, max }, &[x])?]);
    }
    let (min, max) = (n.input(1), n.input(2));
    let scalar = |v: Option<Val>, absent: f32| match v {
        None => Some(absent),
        Some(v) => n.to.known(v)?.values::<f32>().ok()?.first().copied(),
    };
    if n.to.dtype(x) == DType::F32
        && let (Some(min), Some(max)) = (scalar(min, f32::NEG_INFINITY), scalar(max, f32::INFINITY))
    {
        return Ok(vec![n.to.emit(Activation::Clip { min, max }, &[x])?]);
    }
    let mut y = x;
    for (limit, op) in [(min, Binary::Max), (max, Binary::Min)] {
        if let Some(limit) = limit {
            y = arithmetic(n, op, y, limit)?;
        }
    }
    Ok(vec![y])
}

/// Add, Sub, Mul, Div, Pow.
pub(super) fn binary(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let op = match n.op() {
        "Add" => Binary::Add,
        "Sub" => Binary::Sub,
        "Mul" => Binary::Mul,
        "Div" => Binary::Div,
        "Pow" => Binary::Pow,
        other => return Err(Refusal::from(format!("the function {other}"))),
    };
    let (a, b) = (n.required(0)?, n.required(1)?);
    // The exponent may be an integer where the base is a float.
    let b = if op == Binary::Pow && n.to.dtype(a) != DType::I64 { n.as_f32(1)? } else { b };
    let b = n.broadcast_to(a, b)?;
    Ok(vec![arithmetic(n, op, a, b)?])
}

/// Max, Mean, Min, Sum of any number of inputs.
pub(super) fn variadic(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    if n.opset < 6 {
        n.ignore("consumed_inputs")?;
    }
    let op = match n.op() {
        "Max" => Binary::Max,
        "Min" => Binary::Min,
        _ => Binary::Add,
    };
    let inputs = n.all_inputs()?;
    let (&first, rest) = inputs.split_first().ok_or("no inputs")?;
    let mut y = first;
    for &next in rest {
        y = arithmetic(n, op, y, next)?;
    }
    if n.op() == "Mean" && !rest.is_empty() {
        let count = match n.to.dtype(y) {
            DType::F64 => Tensor::scalar(inputs.len() as f64),
            _ => Tensor::scalar(inputs.len() as f32),
        };
        let count = n.to.constant(count);
        y = arithmetic(n, Binary::Div, y, count)?;
    }
    Ok(vec![y])
}

/// PRelu. Before opset 7 a slope per channel belongs to axis 1; after, it broadcasts.
pub(super) fn prelu(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let (x, mut slope) = (n.required(0)?, n.required(1)?);
    if n.opset < 7 {
        n.ignore("consumed_inputs")?;
        let (x, dims) = (n.to.dims(x), n.to.dims(slope));
        if dims.len() == 1 && dims != [1] && x.len() > 2 && x.get(1) == dims.first() {
            let mut channels = dims;
            channels.resize(x.len() - 1, 1);
            slope = n.to.reshape(slope, channels)?;
        }
    }
    let (all, _) = broadcast(&[&n.to.info(x).shape, &n.to.info(slope).shape])?;
    if all != n.to.dims(x) {
        return Err(Refusal::from("the slope does not broadcast to the input"));
    }
    Ok(vec![n.to.emit(Binary::PRelu, &[x, slope])?])
}

/// An operation on two values of one type: floats in the graph, integers at once.
fn arithmetic(n: &mut Node, op: Binary, a: Val, b: Val) -> Result<Val, Refusal> {
    match (n.to.dtype(a), n.to.dtype(b)) {
        (DType::F64, DType::F64) => {
            let result = zip(n, a, b, |a: f64, b: f64| match op {
                Binary::Add => Some(a + b),
                Binary::Sub => Some(a - b),
                Binary::Mul => Some(a * b),
                Binary::Div => Some(a / b),
                Binary::Pow => Some(a.powf(b)),
                // NaN where either is.
                Binary::Min => Some(if a.is_nan() || a < b { a } else { b }),
                Binary::Max => Some(if a.is_nan() || a > b { a } else { b }),
                Binary::PRelu => None,
            })?;
            result.ok_or_else(|| Refusal::from("a function of f64"))
        }
        (DType::F32 | DType::F64, DType::F32 | DType::F64) => n.to.emit(op, &[a, b]),
        (DType::I64, DType::I64) => {
            let name = n.op();
            zip(n, a, b, |a: i64, b: i64| match op {
                Binary::Add => a.checked_add(b),
                Binary::Sub => a.checked_sub(b),
                Binary::Mul => a.checked_mul(b),
                Binary::Div => a.checked_div(b),
                Binary::Pow => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
                Binary::Min => Some(a.min(b)),
                Binary::Max => Some(a.max(b)),
                Binary::PRelu => None,
            })?
            .ok_or_else(|| Refusal::from(format!("{name} of integers overflows or divides by 0")))
        }
        (a, b) => Err(Refusal::from(format!("operands of {a} and {b}"))),
    }
}

/// A function of two known values, broadcast; `None` where the function yields none for some elements.
pub(super) fn zip<T: Element, U: Element>(
    n: &mut Node,
    a: Val,
    b: Val,
    function: impl Fn(T, T) -> Option<U>,
) -> Result<Option<Val>, Refusal> {
    let known = |v: Val| {
        n.to.known(v).cloned().ok_or_else(|| {
            Refusal::from(format!(
                "{} values that are only known at run time: bind the input they come from",
                n.to.dtype(v)
            ))
        })
    };
    let (a, b) = (known(a)?, known(b)?);
    let (shape, strides) = broadcast(&[a.shape(), b.shape()])?;
    n.to.charge(&shape, 8)?;
    let (a, b) = (a.values::<T>()?, b.values::<T>()?);
    let values = each(&shape, &strides).map(|at| match at[..] {
        [i, j] => function(*a.get(i)?, *b.get(j)?),
        _ => None,
    });
    let Some(values) = values.collect::<Option<Vec<U>>>() else { return Ok(None) };
    Ok(Some(n.to.constant(Tensor::new(shape, values)?)))
}
