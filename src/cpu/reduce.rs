//! Reductions, along contiguous elements with several partial results at once, or across them line by line.

use rayon::prelude::*;

use super::Kernel;
use super::binary::{larger, smaller};
use super::cores::{GRAIN, Spread, grain};
use crate::error::Result;
use crate::ops::{Reduce, ReduceKind};
use crate::plan::Site;

/// Partial results of a contiguous reduction.
const LANES: usize = 16;

pub(super) fn compile(op: &Reduce, site: &Site) -> Result<Kernel> {
    let dims = site.dims(0);
    let layout = Layout::new(dims, &op.axes(dims.len()));
    let (kind, count) = (op.kind, layout.count());
    let scratch = match kind {
        ReduceKind::LogSumExp => site.output(0).shape.elements(),
        _ => 0,
    };
    let add = |sum: f32, x: f32| sum + x;
    let run = move |inputs: &[&[f32]], outputs: &mut [&mut [f32]], scratch: &mut [f32]| {
        let (x, out) = (inputs[0], &mut *outputs[0]);
        match kind {
            ReduceKind::Sum => layout.fold(x, out, 0.0, add, add),
            ReduceKind::Mean => {
                layout.fold(x, out, 0.0, add, add);
                out.iter_mut().for_each(|out| *out /= count as f32);
            }
            ReduceKind::Max => layout.fold(x, out, f32::NEG_INFINITY, larger, larger),
            ReduceKind::Min => layout.fold(x, out, f32::INFINITY, smaller, smaller),
            ReduceKind::Prod => layout.fold(x, out, 1.0, |p, x| p * x, |p, q| p * q),
            ReduceKind::L1 => layout.fold(x, out, 0.0, |sum, x| sum + x.abs(), add),
            ReduceKind::L2 => {
                layout.fold(x, out, 0.0, |sum, x| sum + x * x, add);
                out.iter_mut().for_each(|out| *out = out.sqrt());
            }
            ReduceKind::LogSum => {
                layout.fold(x, out, 0.0, add, add);
                out.iter_mut().for_each(|out| *out = out.ln());
            }
            ReduceKind::LogSumExp => {
                // exp(x - max) does not overflow.
                layout.fold(x, scratch, f32::NEG_INFINITY, larger, larger);
                layout.fold_about(scratch, x, out, 0.0, |sum, x, max| sum + (x - max).exp(), add);
                for (out, &max) in out.iter_mut().zip(&*scratch) {
                    *out = if max.is_finite() { max + out.ln() } else { max };
                }
            }
            ReduceKind::SumSquare => layout.fold(x, out, 0.0, |sum, x| sum + x * x, add),
        }
    };
    Ok(Kernel { scratch, run: Box::new(run) })
}

/// Where the elements of each output lie in the input.
struct Layout {
    /// Sizes and strides of the axes kept, without `line`.
    kept: Vec<(usize, usize)>,
    /// Contiguous outputs whose elements lie side by side: the product of the last axes, if those are kept; else 1.
    line: usize,
    /// Contiguous elements of one output: the product of the last axes, if those are reduced; else 1.
    run: usize,
    /// Where the runs of the first output start.
    runs: Vec<usize>,
}

impl Layout {
    fn new(dims: &[usize], axes: &[usize]) -> Self {
        let mut layout = Layout { kept: Vec::new(), line: 1, run: 1, runs: vec![0] };
        let mut reduced = Vec::new();
        let mut stride = 1;
        // Axes of one element may count as either.
        for (axis, &len) in dims.iter().enumerate().rev().filter(|(_, len)| **len != 1) {
            match axes.contains(&axis) {
                true if layout.kept.is_empty() && layout.line == 1 && reduced.is_empty() => layout.run *= len,
                true => reduced.push((len, stride)),
                false if layout.run == 1 && layout.kept.is_empty() && reduced.is_empty() => {
                    layout.line *= len
                }
                false => layout.kept.push((len, stride)),
            }
            stride *= len;
        }
        layout.kept.reverse();
        for &(len, stride) in reduced.iter().rev() {
            let starts = &layout.runs;
            layout.runs = starts.iter().flat_map(|at| (0..len).map(move |i| at + i * stride)).collect();
        }
        layout
    }

    /// The elements of each output.
    fn count(&self) -> usize {
        self.run * self.runs.len()
    }

    /// The first element of the first output of a line.
    fn start(&self, mut line: usize) -> usize {
        let mut at = 0;
        for &(len, stride) in self.kept.iter().rev() {
            at += line % len * stride;
            line /= len;
        }
        at
    }

    fn fold(
        &self,
        x: &[f32],
        out: &mut [f32],
        init: f32,
        step: impl Fn(f32, f32) -> f32 + Sync,
        join: impl Fn(f32, f32) -> f32 + Sync,
    ) {
        self.fold_about(&[], x, out, init, |result, x, _| step(result, x), join);
    }

    /// Folds the elements of each output, in an order that the shape alone decides; `step` is also given the output's
    /// pivot, 0 where there are none.
    #[inline(always)]
    fn fold_about(
        &self,
        pivots: &[f32],
        x: &[f32],
        out: &mut [f32],
        init: f32,
        step: impl Fn(f32, f32, f32) -> f32 + Sync,
        join: impl Fn(f32, f32) -> f32 + Sync,
    ) {
        if self.line == 1 {
            let outputs = out.par_iter_mut().enumerate().spread(grain(self.count()));
            outputs.for_each(|(i, out)| {
                let pivot = pivots.get(i).copied().unwrap_or(0.0);
                let start = self.start(i);
                *out = init;
                for at in &self.runs {
                    let run = &x[start + at..][..self.run];
                    *out = join(*out, fold_run(run, init, |result, x| step(result, x, pivot), &join));
                }
            });
            return;
        }
        let chunk = grain(self.count()).clamp(64, GRAIN);
        out.par_chunks_mut(chunk).enumerate().for_each(|(i, mut out)| {
            let mut first = i * chunk;
            while !out.is_empty() {
                let (line, column) = (first / self.line, first % self.line);
                let start = self.start(line) + column;
                let (part, rest) = out.split_at_mut(out.len().min(self.line - column));
                let pivots = pivots.get(first..).unwrap_or_default();
                part.fill(init);
                for at in &self.runs {
                    let x = &x[start + at..][..part.len()];
                    if pivots.is_empty() {
                        part.iter_mut().zip(x).for_each(|(out, &x)| *out = step(*out, x, 0.0));
                    } else {
                        let x = x.iter().zip(pivots);
                        part.iter_mut().zip(x).for_each(|(out, (&x, &pivot))| *out = step(*out, x, pivot));
                    }
                }
                first += part.len();
                out = rest;
            }
        });
    }
}

/// Folds contiguous elements; `init` is neutral to `join`.
#[inline(always)]
fn fold_run(x: &[f32], init: f32, step: impl Fn(f32, f32) -> f32, join: impl Fn(f32, f32) -> f32) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [init; LANES];
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = step(*lane, x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = step(*lane, x);
    }
    lanes.into_iter().fold(init, join)
}
