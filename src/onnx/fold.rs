//! Evaluation on the host, while a model is loaded: nodes all of whose inputs are known.

use super::import::Refusal;
use crate::error::Result;
use crate::graph::passes::Passes;
use crate::graph::{Graph, Info};
use crate::ops::broadcast::broadcast;
use crate::ops::rearrange::{Border, OUTSIDE, Rearrange};
use crate::ops::{Concat, Gather, Op, Select};
use crate::plan::{Plan, PlanOptions};
use crate::tensor::{DType, Element, Shape, Tensor};

/// Whether an operator only moves elements, of any type.
pub(super) fn moves(op: &Op) -> bool {
    matches!(op, Op::Reshape(_) | Op::Rearrange(_) | Op::Concat(_) | Op::Gather(_) | Op::Select(_))
}

/// The outputs of an operator for known inputs, whose shapes it has accepted.
///
/// What moves elements works on every type, everything else on f32 with the CPU backend's kernels.
pub(super) fn evaluate(
    op: &Op,
    inputs: &[Option<&Tensor>],
    outputs: &[Info],
) -> Result<Vec<Tensor>, Refusal> {
    let dtype = outputs.first().map(|o| o.dtype);
    let moved = match dtype {
        Some(DType::F32) => moved::<f32>(op, inputs, outputs, |border| border),
        Some(DType::F64) => moved::<f64>(op, inputs, outputs, f64::from),
        Some(DType::I64) => moved::<i64>(op, inputs, outputs, |_| 0),
        Some(DType::Bool) => moved::<bool>(op, inputs, outputs, |_| false),
        None => None,
    };
    match moved {
        Some(tensor) => Ok(vec![tensor?]),
        None => computed(op, inputs),
    }
}

fn moved<T: Element + Default>(
    op: &Op,
    inputs: &[Option<&Tensor>],
    outputs: &[Info],
    border: impl Fn(f32) -> T,
) -> Option<Result<Tensor>> {
    let of = |i: usize| inputs.get(i).copied().flatten();
    let data = |i: usize| of(i).and_then(|t| Some((t.shape(), t.values::<T>().ok()?)));
    let shape = outputs.first()?.shape.to_vec();
    let values = match op {
        Op::Reshape(_) => return Some(of(0)?.reshape(shape)),
        Op::Rearrange(op) => {
            let (shape, x) = data(0)?;
            let fill = match op.border {
                Border::Constant(value) => border(value),
                _ => T::default(),
            };
            rearrange(op, shape, x, fill)
        }
        Op::Concat(op) => concat(op, &(0..inputs.len()).map(data).collect::<Option<Vec<_>>>()?),
        Op::Gather(op) => {
            let (shape, x) = data(0)?;
            gather(op, shape, x, of(1)?.values::<i64>().ok()?)
        }
        Op::Select(Select) => {
            let condition = of(0)?;
            let ((a_shape, a), (b_shape, b)) = (data(1)?, data(2)?);
            let (_, strides) = broadcast(&[condition.shape(), a_shape, b_shape]).ok()?;
            let condition = condition.values::<bool>().ok()?;
            each(&shape, &strides)
                .map(|at| match at[..] {
                    [c, i, _] if *condition.get(c)? => a.get(i).copied(),
                    [_, _, i] => b.get(i).copied(),
                    _ => None,
                })
                .collect::<Option<_>>()?
        }
        _ => return None,
    };
    Some(Tensor::new(shape, values))
}

/// The node alone, compiled for the CPU.
fn computed(op: &Op, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>, Refusal> {
    let mut graph = Graph::new("constant");
    let operands: Vec<_> = inputs
        .iter()
        .enumerate()
        .map(|(i, tensor)| {
            let tensor = (*tensor)?;
            Some(
                graph.input(format!("in:{i}"), Info { shape: tensor.shape().clone(), dtype: tensor.dtype() }),
            )
        })
        .collect();
    for id in graph.push_node("out", op.clone(), &operands)? {
        graph.output(id);
    }
    let options = PlanOptions { passes: Passes::none(), reject_nan: false, ..PlanOptions::default() };
    let known: Vec<Tensor> = inputs.iter().copied().flatten().cloned().collect();
    Ok(Plan::cpu(&graph, &options)?.run_here(&known)?)
}

/// The position in each of several tensors, by the strides of each, of every element of `shape` in row-major order.
pub(super) fn each<'a>(
    shape: &'a [usize],
    strides: &'a [Vec<usize>],
) -> impl Iterator<Item = Vec<usize>> + 'a {
    let count: usize = shape.iter().product();
    let mut at = vec![0; shape.len()];
    (0..count).map(move |_| {
        let places = strides
            .iter()
            .map(|strides| at.iter().zip(strides).map(|(i, s)| i * s).sum())
            .collect::<Vec<usize>>();
        for (i, &size) in at.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < size {
                break;
            }
            *i = 0;
        }
        places
    })
}

fn rearrange<T: Copy>(op: &Rearrange, shape: &Shape, x: &[T], fill: T) -> Vec<T> {
    let tables = op.tables(shape);
    let inside = |step: u32| usize::try_from(step).ok().filter(|_| step != OUTSIDE);
    let read = |place: Option<usize>| place.and_then(|p| x.get(p).copied()).unwrap_or(fill);
    let Some((last, outer)) = tables.split_last() else {
        return vec![read(Some(0))];
    };
    let count: usize = op.axes.iter().map(|a| a.size).product();
    let mut out = Vec::with_capacity(count);
    let mut at = vec![0; outer.len()];
    while out.len() < count {
        let base = outer.iter().zip(&at).try_fold(0, |sum, (table, &i)| Some(sum + inside(table[i])?));
        out.extend(last.iter().map(|&step| read(base.and_then(|base| Some(base + inside(step)?)))));
        for (i, axis) in at.iter_mut().zip(outer).rev() {
            *i += 1;
            if *i < axis.len() {
                break;
            }
            *i = 0;
        }
    }
    out
}

fn concat<T: Copy>(op: &Concat, parts: &[(&Shape, &[T])]) -> Vec<T> {
    let rows = parts.first().map_or(0, |(shape, _)| shape[..op.axis].iter().product());
    let mut out = Vec::with_capacity(parts.iter().map(|(_, values)| values.len()).sum());
    for row in 0..rows {
        for (shape, values) in parts {
            let length: usize = shape[op.axis..].iter().product();
            out.extend_from_slice(&values[row * length..(row + 1) * length]);
        }
    }
    out
}

fn gather<T: Copy + Default>(op: &Gather, shape: &Shape, x: &[T], indices: &[i64]) -> Vec<T> {
    let rows: usize = shape[..op.axis].iter().product();
    let size = shape[op.axis];
    let inner: usize = shape[op.axis + 1..].iter().product();
    let mut out = Vec::with_capacity(rows * indices.len() * inner);
    for row in 0..rows {
        for &index in indices {
            let from_end = i64::try_from(size).ok().and_then(|size| index.checked_add(size));
            let index = if index < 0 { from_end.unwrap_or(-1) } else { index };
            match usize::try_from(index).ok().filter(|&i| i < size) {
                Some(i) => out.extend_from_slice(&x[(row * size + i) * inner..][..inner]),
                None => out.extend(std::iter::repeat_n(T::default(), inner)),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::rearrange::AxisMap;

    #[test]
    fn borders_read_where_they_should() {
        let x = [1, 2, 3];
        let shape = Shape::new([3]).unwrap();
        let read = |border| {
            let axes = vec![AxisMap { input_axis: Some(0), size: 9, start: -3, step: 1 }];
            rearrange(&Rearrange { axes, border }, &shape, &x, 0)
        };
        assert_eq!(read(Border::Constant(0.0)), [0, 0, 0, 1, 2, 3, 0, 0, 0]);
        assert_eq!(read(Border::Edge), [1, 1, 1, 1, 2, 3, 3, 3, 3]);
        assert_eq!(read(Border::Reflect), [2, 3, 2, 1, 2, 3, 2, 1, 2]);
        assert_eq!(read(Border::Wrap), [1, 2, 3, 1, 2, 3, 1, 2, 3]);
    }

    #[test]
    fn integers_move_without_passing_through_32_bits() {
        let x = Tensor::new([2, 2], vec![i64::MAX, 1, 2, i64::MIN]).unwrap();
        let op = Op::from(Rearrange::transpose(&[2, 2], &[1, 0]));
        let info = Info { shape: x.shape().clone(), dtype: DType::I64 };
        let outputs = evaluate(&op, &[Some(&x)], &[info]).ok().unwrap();
        assert_eq!(outputs[0].values::<i64>().unwrap(), [i64::MAX, 2, 1, i64::MIN]);
    }
}
