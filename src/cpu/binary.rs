//! Elementwise functions of two arguments, by runs along which neither operand changes its step.

use rayon::prelude::*;

use super::Kernel;
use super::activation::GRAIN;
use crate::error::Result;
use crate::ops::Binary;
use crate::ops::gemm::broadcast;
use crate::plan::Site;

pub(super) fn compile(op: &Binary, site: &Site) -> Result<Kernel> {
    let op = *op;
    let (dims, strides) = broadcast(&[site.dims(0), site.dims(1)]).map_err(|e| site.error(e))?;
    let axes = merge(&dims, &strides[0], &strides[1]);
    Ok(Kernel::new(move |inputs, outputs, _| {
        let (a, b, out) = (inputs[0], inputs[1], &mut *outputs[0]);
        match op {
            Binary::Add => zip(&axes, a, b, out, |a, b| a + b),
            Binary::Sub => zip(&axes, a, b, out, |a, b| a - b),
            Binary::Mul => zip(&axes, a, b, out, |a, b| a * b),
            Binary::Div => zip(&axes, a, b, out, |a, b| a / b),
            Binary::Pow => zip(&axes, a, b, out, f32::powf),
            Binary::Min => zip(&axes, a, b, out, smaller),
            Binary::Max => zip(&axes, a, b, out, larger),
            Binary::PRelu => zip(&axes, a, b, out, |a, b| if a < 0.0 { a * b } else { a }),
        }
    }))
}

/// The larger of two, or NaN where one of them is.
#[inline(always)]
pub(super) fn larger(a: f32, b: f32) -> f32 {
    if a > b || a.is_nan() { a } else { b }
}

/// The smaller of two, or NaN where one of them is.
#[inline(always)]
pub(super) fn smaller(a: f32, b: f32) -> f32 {
    if a < b || a.is_nan() { a } else { b }
}

/// An axis of the output and the operands' steps along it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    len: usize,
    a: usize,
    b: usize,
}

/// The axes with neighbours joined wherever both operands go on from one to the next; never none.
fn merge(dims: &[usize], a: &[usize], b: &[usize]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for ((&len, &a), &b) in dims.iter().zip(a).zip(b).filter(|((len, _), _)| **len != 1) {
        match spans.last_mut() {
            Some(last) if last.a == a * len && last.b == b * len => {
                *last = Span { len: last.len * len, a, b };
            }
            _ => spans.push(Span { len, a, b }),
        }
    }
    if spans.is_empty() {
        spans.push(Span { len: 1, a: 0, b: 0 });
    }
    spans
}

fn zip(spans: &[Span], a: &[f32], b: &[f32], out: &mut [f32], f: impl Fn(f32, f32) -> f32 + Sync) {
    let Some((run, outer)) = spans.split_last() else { return };
    out.par_chunks_mut(GRAIN).enumerate().for_each(|(chunk, mut out)| {
        let mut at = chunk * GRAIN;
        while !out.is_empty() {
            let (mut row, column) = (at / run.len, at % run.len);
            let (mut a_at, mut b_at) = (column * run.a, column * run.b);
            for span in outer.iter().rev() {
                a_at += row % span.len * span.a;
                b_at += row % span.len * span.b;
                row /= span.len;
            }
            let len = out.len().min(run.len - column);
            let (part, rest) = out.split_at_mut(len);
            match (run.a, run.b) {
                (0, 0) => part.fill(f(a[a_at], b[b_at])),
                (0, _) => {
                    let a = a[a_at];
                    part.iter_mut().zip(&b[b_at..]).for_each(|(out, &b)| *out = f(a, b));
                }
                (_, 0) => {
                    let b = b[b_at];
                    part.iter_mut().zip(&a[a_at..]).for_each(|(out, &a)| *out = f(a, b));
                }
                // The last axis of a contiguous operand has step 1.
                _ => {
                    let operands = a[a_at..].iter().zip(&b[b_at..]);
                    part.iter_mut().zip(operands).for_each(|(out, (&a, &b))| *out = f(a, b));
                }
            }
            at += len;
            out = rest;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_joined_only_where_both_operands_go_on() {
        let spans = |a: &[usize], b: &[usize]| {
            let (dims, strides) = broadcast(&[a, b]).unwrap();
            merge(&dims, &strides[0], &strides[1]).iter().map(|s| (s.len, s.a, s.b)).collect::<Vec<_>>()
        };
        assert_eq!(spans(&[2, 3, 4], &[2, 3, 4]), [(24, 1, 1)]);
        assert_eq!(spans(&[2, 3, 4, 5], &[3, 1, 1]), [(2, 60, 0), (3, 20, 1), (20, 1, 0)]);
        assert_eq!(spans(&[2, 3], &[]), [(6, 1, 0)]);
        assert_eq!(spans(&[2, 1], &[1, 3]), [(2, 1, 0), (3, 0, 1)]);
        assert_eq!(spans(&[1], &[]), [(1, 0, 0)]);
    }
}
