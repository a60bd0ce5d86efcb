//! What is computed while a model is loaded: constants, shapes, casts, comparisons, ranges.

use super::Refusal;
use super::builder::Val;
use super::elementwise::zip;
use super::node::{Node, integer, size};
use crate::onnx::ElementType;
use crate::ops::Select;
use crate::tensor::{DType, Element, Tensor};

/// Constant. One whose value is a tensor has become a weight when the model was read.
pub(super) fn constant(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let tensor = if let Some(tensor) = n.tensor("value")? {
        tensor
    } else if let Some(value) = n.float("value_float")? {
        Tensor::scalar(value)
    } else if let Some(value) = n.integer("value_int")? {
        Tensor::scalar(value)
    } else if let Some(values) = n.floats("value_floats")? {
        Tensor::new([values.len()], values.to_vec())?
    } else if let Some(values) = n.integers("value_ints")? {
        Tensor::new([values.len()], values.to_vec())?
    } else {
        return Err(Refusal::from("a constant that is neither a tensor nor numbers"));
    };
    Ok(vec![n.to.constant(tensor)])
}

/// ConstantOfShape: one value, of any type, repeated; f32 zero unless stated.
pub(super) fn constant_of_shape(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let dims = n.known_integers(0, "the shape")?.ok_or("input 0 is missing")?;
    let dims = dims.iter().map(|&d| size(d, "a size")).collect::<Result<Vec<_>, _>>()?;
    let value = n.tensor("value")?.unwrap_or_else(|| Tensor::scalar(0f32));
    if value.shape().elements() != 1 {
        return Err(Refusal::from("a value that is not one element"));
    }
    n.to.charge(&dims, if value.dtype() == DType::F32 { 4 } else { 8 })?;
    fn repeated<T: Element>(dims: Vec<usize>, value: &[T]) -> Result<Tensor, Refusal> {
        let count = dims.iter().product();
        Ok(Tensor::new(dims, value.first().map_or(Vec::new(), |&v| vec![v; count]))?)
    }
    let tensor = match value.dtype() {
        DType::F32 => repeated(dims, value.values::<f32>()?)?,
        DType::F64 => repeated(dims, value.values::<f64>()?)?,
        DType::I64 => repeated(dims, value.values::<i64>()?)?,
        DType::Bool => repeated(dims, value.values::<bool>()?)?,
    };
    Ok(vec![n.to.constant(tensor)])
}

/// Shape (from opset 15 of some axes only) and Size. Shapes are always known.
pub(super) fn shape(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let x = n.required(0)?;
    let dims: Vec<i64> = n.to.dims(x).into_iter().map(integer).collect();
    if n.op() == "Size" {
        return Ok(vec![n.to.constant(Tensor::scalar(dims.iter().product::<i64>()))]);
    }
    let rank = integer(dims.len());
    let bound = |value: i64| if value < 0 { value.saturating_add(rank) } else { value }.clamp(0, rank);
    let start = bound(n.integer_or("start", 0)?);
    let count = (bound(n.integer_or("end", rank)?) - start).max(0);
    let part: Vec<i64> = dims.into_iter().skip(size(start, "start")?).take(size(count, "end")?).collect();
    Ok(vec![n.to.constant(Tensor::new([part.len()], part)?)])
}

/// Cast and CastLike. Floats of all widths are f32 here, so casts between them change nothing; other casts are done at
/// load, but for that of truth values to floats.
pub(super) fn cast(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let x = n.required(0)?;
    n.ignore("saturate")?;
    n.ignore("round_mode")?;
    let (dtype, range) = if n.op() == "CastLike" {
        let like = n.required(1)?;
        (n.to.dtype(like), None)
    } else if n.opset < 6 {
        return Err(Refusal::from("a cast to a type given by name"));
    } else {
        let number = n.integer("to")?.ok_or("attribute 'to' is missing")?;
        let element = i32::try_from(number).map(ElementType::from_number).map_err(|_| "attribute 'to'")?;
        (element.dtype().ok_or_else(|| Refusal::from(format!("a cast to {element}")))?, element.integers())
    };
    let from = n.to.dtype(x);
    let floats = |dtype| matches!(dtype, DType::F32 | DType::F64);
    if floats(from) && floats(dtype) {
        return Ok(vec![x]);
    }
    if from == dtype && (from != DType::I64 || n.to.known(x).is_none()) {
        return Ok(vec![x]);
    }
    let dims = n.to.dims(x);
    let Some(tensor) = n.to.known(x).cloned() else {
        if from == DType::Bool && dtype == DType::F32 {
            let (one, zero) = (n.to.constant(Tensor::scalar(1f32)), n.to.constant(Tensor::scalar(0f32)));
            return Ok(vec![n.to.emit(Select, &[x, one, zero])?]);
        }
        return Err(Refusal::from(format!("a cast of {from} to {dtype} at run time")));
    };
    n.to.charge(&dims, 8)?;
    let integers = |values: &mut dyn Iterator<Item = Option<i64>>| -> Result<Tensor, Refusal> {
        let (least, most) = range.unwrap_or((i64::MIN, i64::MAX));
        let values = values.map(|v| v.filter(|v| (least..=most).contains(v))).collect::<Option<Vec<_>>>();
        Ok(Tensor::new(dims.clone(), values.ok_or("a cast of a number to an integer type it does not fit")?)?)
    };
    let tensor = match (from, dtype) {
        (DType::I64, DType::F32) => {
            Tensor::new(dims, tensor.values::<i64>()?.iter().map(|&v| v as f32).collect::<Vec<_>>())?
        }
        (DType::I64, DType::Bool) => {
            Tensor::new(dims, tensor.values::<i64>()?.iter().map(|&v| v != 0).collect::<Vec<_>>())?
        }
        (DType::F32, DType::Bool) => {
            Tensor::new(dims, tensor.values::<f32>()?.iter().map(|&v| v != 0.0).collect::<Vec<_>>())?
        }
        (DType::Bool, DType::F32) => {
            Tensor::new(dims, tensor.values::<bool>()?.iter().map(|&v| f32::from(v)).collect::<Vec<_>>())?
        }
        (DType::Bool, DType::I64) => {
            integers(&mut tensor.values::<bool>()?.iter().map(|&v| Some(i64::from(v))))?
        }
        (DType::I64, DType::I64) => integers(&mut tensor.values::<i64>()?.iter().map(|&v| Some(v)))?,
        (DType::F32, DType::I64) => {
            integers(&mut tensor.values::<f32>()?.iter().map(|&v| whole(f64::from(v))))?
        }
        (DType::F64, DType::I64) => integers(&mut tensor.values::<f64>()?.iter().map(|&v| whole(v)))?,
        (DType::F64, DType::Bool) => {
            Tensor::new(dims, tensor.values::<f64>()?.iter().map(|&v| v != 0.0).collect::<Vec<_>>())?
        }
        (DType::F32 | DType::F64, _) | (DType::Bool, DType::Bool) | (_, DType::F64) => tensor,
    };
    Ok(vec![n.to.constant(tensor)])
}

/// The integer towards 0.
fn whole(value: f64) -> Option<i64> {
    // 2^63 is the first float past the largest integer; NaN is in no range.
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value);
    fits.then_some(value as i64)
}

/// Equal, Greater, GreaterOrEqual, Less, LessOrEqual.
pub(super) fn compare(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    fn holds<T: PartialOrd>(op: &str, a: &T, b: &T) -> bool {
        match op {
            "Equal" => a == b,
            "Greater" => a > b,
            "GreaterOrEqual" => a >= b,
            "Less" => a < b,
            _ => a <= b,
        }
    }
    let (a, b) = (n.required(0)?, n.required(1)?);
    let b = n.broadcast_to(a, b)?;
    let op = n.op();
    let compared = match n.to.dtype(a) {
        DType::F32 => zip(n, a, b, |a: f32, b: f32| Some(holds(op, &a, &b)))?,
        DType::F64 => zip(n, a, b, |a: f64, b: f64| Some(holds(op, &a, &b)))?,
        DType::I64 => zip(n, a, b, |a: i64, b: i64| Some(holds(op, &a, &b)))?,
        DType::Bool => zip(n, a, b, |a: bool, b: bool| Some(holds(op, &a, &b)))?,
    };
    Ok(compared.into_iter().collect())
}

/// And, Not, Or, Xor.
pub(super) fn logic(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let op = n.op();
    let a = n.required(0)?;
    let b = if op == "Not" { a } else { n.required(1)? };
    let b = if op == "Not" { b } else { n.broadcast_to(a, b)? };
    let result = zip(n, a, b, |a: bool, b: bool| {
        Some(match op {
            "And" => a && b,
            "Or" => a || b,
            "Xor" => a != b,
            _ => !a,
        })
    })?;
    Ok(result.into_iter().collect())
}

/// Mod: with the sign of the divisor, or where `fmod` is set of the dividend.
pub(super) fn modulo(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let (a, b) = (n.required(0)?, n.required(1)?);
    let of_dividend = n.flag("fmod", false)?;
    let result = match (n.to.dtype(a), of_dividend) {
        (DType::I64, true) => zip(n, a, b, i64::checked_rem)?,
        (DType::I64, false) => zip(n, a, b, |a: i64, b: i64| {
            let rest = a.checked_rem(b)?;
            Some(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
        })?,
        (DType::F32, true) => zip(n, a, b, |a: f32, b: f32| Some(a % b))?,
        _ => return Err(Refusal::from("floats without 'fmod'")),
    };
    Ok(vec![result.ok_or("a division by 0")?])
}

/// Range, of integers or floats.
pub(super) fn range(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    n.ignore("stash_type")?;
    let first = n.required(0)?;
    if n.to.dtype(first) == DType::I64 {
        let part = |i: usize| -> Result<i64, Refusal> {
            let values = n.known_integers(i, "a range")?;
            Ok(values.and_then(|v| v.first().copied()).ok_or("a range without start, limit or delta")?)
        };
        let (start, limit, delta) = (i128::from(part(0)?), i128::from(part(1)?), i128::from(part(2)?));
        if delta == 0 {
            return Err(Refusal::from("a range of step 0"));
        }
        let span = limit - start;
        let whole = span / delta;
        let count = if span % delta != 0 { whole + i128::from((span < 0) == (delta < 0)) } else { whole };
        let count = usize::try_from(count.max(0)).map_err(|_| "a range without end")?;
        n.to.charge(&[count], 8)?;
        let mut values = Vec::with_capacity(count);
        let mut next = start;
        for _ in 0..count {
            values.push(i64::try_from(next).map_err(|_| "an integer overflows")?);
            next += delta;
        }
        return Ok(vec![n.to.constant(Tensor::new([count], values)?)]);
    }
    let part = |i: usize| -> Result<f32, Refusal> {
        let values = n.known_floats(i, "a range")?;
        Ok(values.and_then(|v| v.first().copied()).ok_or("a range without start, limit or delta")?)
    };
    let (start, limit, delta) = (part(0)?, part(1)?, part(2)?);
    let count = ((f64::from(limit) - f64::from(start)) / f64::from(delta)).ceil().max(0.0);
    if !count.is_finite() || count > f64::from(u32::MAX) {
        return Err(Refusal::from("a range without end"));
    }
    // Checked just now: a whole number below 2^32.
    let count = count as usize;
    n.to.charge(&[count], 4)?;
    let values: Vec<f32> = (0..count).map(|i| start + i as f32 * delta).collect();
    Ok(vec![n.to.constant(Tensor::new([count], values)?)])
}

/// NonZero: the places of elements that are not 0, `[rank, count]`.
pub(super) fn non_zero(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let tensor = n.known(0, "the input")?.cloned().ok_or("input 0 is missing")?;
    let places: Vec<usize> = match tensor.dtype() {
        DType::F32 => tensor.values::<f32>()?.iter().map(|&v| v != 0.0).collect::<Vec<_>>(),
        DType::F64 => tensor.values::<f64>()?.iter().map(|&v| v != 0.0).collect(),
        DType::I64 => tensor.values::<i64>()?.iter().map(|&v| v != 0).collect(),
        DType::Bool => tensor.values::<bool>()?.to_vec(),
    }
    .into_iter()
    .enumerate()
    .filter_map(|(i, there)| there.then_some(i))
    .collect();
    let shape = tensor.shape();
    n.to.charge(&[shape.len(), places.len()], 8)?;
    let rows = shape.strides().into_iter().zip(shape.iter());
    let values: Vec<i64> = rows
        .flat_map(|(stride, &size)| places.iter().map(move |place| integer(place / stride % size.max(1))))
        .collect();
    Ok(vec![n.to.constant(Tensor::new([shape.len(), places.len()], values)?)])
}
