//! Pooling in blocks: by windows, or whole planes at once.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{BLOCK, Compiled, Form};
use crate::cpu::cores::{Spread, grain};
use crate::cpu::im2col::{cell, cells, three};
use crate::cpu::pool::divisors;
use crate::cpu::vectors::arch;
use crate::cpu::{Kernel, binary, vectorised};
use crate::error::Result;
use crate::ops::{Pool, PoolKind, Reduce, ReduceKind};
use crate::plan::Site;
use crate::window::Axis;

/// Maximum and average pooling without indices.
pub(super) fn compile(op: &Pool, site: &Site) -> Result<Option<Compiled>> {
    let shape = site.input(0).map(|info| info.shape.clone()).unwrap_or_default();
    let axes = three(&op.axes(&shape).map_err(|e| site.error(e))?);
    let count_include_pad = match op.kind {
        PoolKind::Max => None,
        PoolKind::Average { count_include_pad } => Some(count_include_pad),
        PoolKind::Lp { .. } => return Ok(None),
    };
    if op.indices.is_some() || shape.contains(&0) {
        return Ok(None);
    }
    let windows = Windows {
        axes,
        spans: axes.map(|axis| spans(&axis)),
        divisors: count_include_pad.map(|include| divisors(&axes, include)),
    };
    let (input, output) = (BLOCK * cells(&axes, |a| a.input), BLOCK * cells(&axes, |a| a.output));
    let tasks = grain(output.saturating_mul(cells(&axes, |a| a.kernel)));
    let kernel = Kernel::new(move |inputs, outputs, _| {
        let planes = outputs[0].par_chunks_mut(output).zip(inputs[0].par_chunks(input));
        planes.spread(tasks).for_each(|(out, x)| {
            arch().dispatch(Plane { windows: &windows, x, out });
        });
    });
    Ok(Some(Compiled::wordwise("pool", kernel, 1)))
}

/// The cells on the input that the windows cover.
struct Windows {
    axes: [Axis; 3],
    /// For each axis and output along it.
    spans: [Vec<Span>; 3],
    /// For averages, for each axis and output along it, a factor of the divisor.
    divisors: Option<[Vec<usize>; 3]>,
}

/// So many cells, from the first one in steps of the dilation.
#[derive(Clone, Copy)]
struct Span {
    first: usize,
    count: usize,
}

fn spans(axis: &Axis) -> Vec<Span> {
    let span = |o: usize| {
        let mut covered = (0..axis.kernel).filter_map(|tap| cell(axis, o, tap));
        match covered.next() {
            Some(first) => Span { first, count: 1 + covered.count() },
            None => Span { first: 0, count: 0 },
        }
    };
    (0..axis.output).map(span).collect()
}

/// One block of one image.
struct Plane<'a> {
    windows: &'a Windows,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Plane<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match const { BLOCK / S::F32_LANES } {
            1 => self.pool::<S, 1>(simd),
            2 => self.pool::<S, 2>(simd),
            4 => self.pool::<S, 4>(simd),
            _ => self.pool::<S, 16>(simd),
        }
    }
}

impl Plane<'_> {
    #[inline(always)]
    fn pool<S: Simd, const V: usize>(self, simd: S) {
        let [depth, height, width] = &self.windows.axes;
        let [along_z, along_y, along_x] = &self.windows.spans;
        let (x, _) = S::as_simd_f32s(self.x).0.as_chunks::<V>();
        let (out, _) = S::as_mut_simd_f32s(self.out).0.as_chunks_mut::<V>();
        let max = self.windows.divisors.is_none();
        let init = [simd.splat_f32s(if max { f32::NEG_INFINITY } else { 0.0 }); V];
        for (line, out) in out.chunks_exact_mut(width.output).enumerate() {
            let (out_z, out_y) = (line / height.output, line % height.output);
            let (z, y) = (along_z[out_z], along_y[out_y]);
            for (out, span) in out.iter_mut().zip(along_x) {
                let mut result = init;
                for z in (0..z.count).map(|tap| z.first + tap * depth.dilation) {
                    for y in (0..y.count).map(|tap| y.first + tap * height.dilation) {
                        let x = &x[(z * height.input + y) * width.input + span.first..];
                        for tap in 0..span.count {
                            let x = &x[tap * width.dilation];
                            for v in 0..V {
                                result[v] = if max {
                                    larger(simd, x[v], result[v])
                                } else {
                                    simd.add_f32s(result[v], x[v])
                                };
                            }
                        }
                    }
                }
                *out = result;
            }
            if let Some([by_z, by_y, by_x]) = &self.windows.divisors {
                let lines = by_z[out_z].saturating_mul(by_y[out_y]);
                for (out, x) in out.iter_mut().zip(by_x) {
                    // A window without elements has the sum 0, and keeps it.
                    let divisor = simd.splat_f32s(lines.saturating_mul(*x).max(1) as f32);
                    *out = out.map(|sum| simd.div_f32s(sum, divisor));
                }
            }
        }
    }
}

/// The larger of two, or NaN where one of them is.
#[inline(always)]
fn larger<S: Simd>(simd: S, x: S::f32s, max: S::f32s) -> S::f32s {
    let larger = simd.select_f32s(simd.greater_than_f32s(x, max), x, max);
    simd.select_f32s(simd.equal_f32s(x, x), larger, x)
}

/// A sum, mean, maximum or minimum of all cells of each channel, into a plain value.
pub(super) fn global(op: &Reduce, site: &Site) -> Option<Compiled> {
    let dims = site.dims(0);
    let &[_, channels, ref spatial @ ..] = dims else { return None };
    let cells: usize = spatial.iter().product();
    if !op.axes(dims.len()).into_iter().eq(2..dims.len()) || dims.contains(&0) {
        return None;
    }
    let reduce: fn(&[f32]) -> [f32; BLOCK] = match op.kind {
        ReduceKind::Sum | ReduceKind::Mean => |x| vectorised(|| reduce(x, 0.0, |sum, x| sum + x)),
        ReduceKind::Max => |x| vectorised(|| reduce(x, f32::NEG_INFINITY, binary::larger)),
        ReduceKind::Min => |x| vectorised(|| reduce(x, f32::INFINITY, binary::smaller)),
        _ => return None,
    };
    let divisor = if op.kind == ReduceKind::Mean { cells as f32 } else { 1.0 };
    let kernel = Kernel::new(move |inputs, outputs, _| {
        let blocked = channels.next_multiple_of(BLOCK) * cells;
        let images = outputs[0].par_chunks_mut(channels).zip(inputs[0].par_chunks(blocked));
        images.spread(grain(blocked)).for_each(|(out, x)| {
            let blocks = out.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK * cells));
            blocks.spread(grain(BLOCK * cells)).for_each(|(out, x)| {
                out.iter_mut().zip(reduce(x)).for_each(|(out, x)| *out = x / divisor);
            });
        });
    });
    Some(Compiled { kernel, name: "reduce", inputs: vec![Form::Blocked], output: Form::Plain, weights: 0 })
}

/// Folds the cells of a block, every fourth into one of four partial results, which do not wait for each other.
#[inline(always)]
fn reduce(x: &[f32], init: f32, step: impl Fn(f32, f32) -> f32) -> [f32; BLOCK] {
    let fold = |into: &mut [f32; BLOCK], x: &[f32; BLOCK]| {
        into.iter_mut().zip(x).for_each(|(out, x)| *out = step(*out, *x));
    };
    let (fours, rest) = x.as_chunks::<BLOCK>().0.as_chunks::<4>();
    let mut partial = [[init; BLOCK]; 4];
    for four in fours {
        partial.iter_mut().zip(four).for_each(|(partial, x)| fold(partial, x));
    }
    partial.iter_mut().zip(rest).for_each(|(partial, x)| fold(partial, x));
    let [mut result, others @ ..] = partial;
    others.iter().for_each(|partial| fold(&mut result, partial));
    result
}
