//! Elementwise functions of two arguments, by runs along which neither operand changes its step.

use rayon::prelude::*;

use super::Kernel;
use super::cores::{GRAIN, Spread};
use crate::error::Result;
use crate::ops::Binary;
use crate::ops::broadcast::{Span, spans};
use crate::plan::Site;

pub(super) fn compile(op: &Binary, site: &Site) -> Result<Kernel> {
    let op = *op;
    let axes = spans([site.dims(0), site.dims(1)]).map_err(|e| site.error(e))?;
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

fn zip(spans: &[Span<2>], a: &[f32], b: &[f32], out: &mut [f32], f: impl Fn(f32, f32) -> f32 + Sync) {
    let Some((run, outer)) = spans.split_last() else { return };
    out.par_chunks_mut(GRAIN).enumerate().spread(1).for_each(|(chunk, mut out)| {
        let mut at = chunk * GRAIN;
        while !out.is_empty() {
            let (mut row, column) = (at / run.size, at % run.size);
            let (mut a_at, mut b_at) = (column * run.steps[0], column * run.steps[1]);
            for span in outer.iter().rev() {
                a_at += row % span.size * span.steps[0];
                b_at += row % span.size * span.steps[1];
                row /= span.size;
            }
            let len = out.len().min(run.size - column);
            let (part, rest) = out.split_at_mut(len);
            match (run.steps[0], run.steps[1]) {
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
