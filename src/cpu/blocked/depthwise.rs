//! Depthwise convolutions: each channel by itself, sixteen side by side.

use std::sync::Arc;

use pulp::{Simd, WithSimd};
use smallvec::SmallVec;

use super::tile::{activate, in_registers};
use super::weights::{Packed, packed};
use super::{BLOCK, Compiled, Form, PARALLEL};
use crate::cpu::cores::for_each;
use crate::cpu::im2col::{cell, cells, on_input, three};
use crate::cpu::vectors::arch;
use crate::cpu::{Kernel, activation};
use crate::error::Result;
use crate::ops::{Activation, Conv};
use crate::plan::Site;
use crate::tensor::Tensor;
use crate::window::Axis;

/// Neighbouring outputs that are summed together.
const POSITIONS: usize = 4;
/// Lines of a window up to which the list of them needs no allocation: those of 3x3x3 and 16x16.
const LINES: usize = 16;

pub(super) fn compile(op: &Conv, site: &Site) -> Result<Option<Compiled>> {
    let (x, out) = (site.dims(0), &site.output(0).shape);
    let depthwise = op.groups == x[1] && out[1] == x[1];
    let asked = match site.options.variant {
        Some("blocked") => true,
        Some("conv_im2col" | "conv_direct") => false,
        _ => x[1] >= BLOCK / 2,
    };
    if !depthwise || !asked || x.contains(&0) || out.contains(&0) {
        return Ok(None);
    }
    let shape = site.input(0).map(|info| info.shape.clone()).unwrap_or_default();
    let axes = three(&op.axes(&shape).map_err(|e| site.error(e))?);
    let taps = cells(&axes, |a| a.kernel);
    let layout = Layout {
        axes,
        channels: x[1],
        taps,
        planes: x[0] * x[1].div_ceil(BLOCK),
        input: cells(&axes, |a| a.input),
        output: cells(&axes, |a| a.output),
        activation: op.activation,
    };
    let weights = match (site.constant(1), site.input(2), site.constant(2)) {
        (Some(weight), None, _) => Some(layout.packed(&[weight])?),
        (Some(weight), Some(_), Some(bias)) => Some(layout.packed(&[weight, bias])?),
        _ => None,
    };
    let form = if weights.is_some() { Form::Unread } else { Form::Plain };
    let scratch = if weights.is_some() { 0 } else { layout.weight_words() };
    let held = weights.as_ref().map_or(0, |w| w.words().len());
    let run = move |inputs: &[&[f32]], outputs: &mut [&mut [f32]], scratch: &mut [f32]| {
        let operand = |i: usize| inputs.get(i).copied().unwrap_or_default();
        let weights = match &weights {
            Some(weights) => weights.words(),
            None => {
                layout.pack(operand(1), operand(2), scratch);
                &*scratch
            }
        };
        layout.run(operand(0), weights, operand(3), outputs[0]);
    };
    Ok(Some(Compiled {
        kernel: Kernel { scratch, run: Box::new(run) },
        name: "conv_depthwise",
        inputs: vec![Form::Blocked, form, form, Form::Blocked],
        output: Form::Blocked,
        weights: held,
    }))
}

struct Layout {
    axes: [Axis; 3],
    channels: usize,
    taps: usize,
    /// Blocks of all images.
    planes: usize,
    /// Cells of a plane of the input, and of the output.
    input: usize,
    output: usize,
    activation: Option<Activation>,
}

impl Layout {
    fn weight_words(&self) -> usize {
        self.channels.next_multiple_of(BLOCK) * (1 + self.taps)
    }

    fn packed(&self, constants: &[&Tensor]) -> Result<Arc<Packed>> {
        packed("conv_depthwise", 0, constants, self.weight_words(), |words| {
            let operand = |i: usize| constants.get(i).and_then(|t| t.values().ok()).unwrap_or_default();
            self.pack(operand(0), operand(1), words);
        })
    }

    /// For each block the biases and then tap by tap the weights of its channels.
    fn pack(&self, weight: &[f32], bias: &[f32], out: &mut [f32]) {
        for (block, out) in out.chunks_exact_mut(BLOCK * (1 + self.taps)).enumerate() {
            let (rows, _) = out.as_chunks_mut::<BLOCK>();
            for (row, out) in rows.iter_mut().enumerate() {
                for (lane, out) in out.iter_mut().enumerate() {
                    let channel = block * BLOCK + lane;
                    let value = match row.checked_sub(1) {
                        None => bias.get(channel),
                        Some(tap) => weight.get(channel * self.taps + tap),
                    };
                    *out = value.copied().unwrap_or(0.0);
                }
            }
        }
    }

    fn run(&self, x: &[f32], weights: &[f32], residual: &[f32], out: &mut [f32]) {
        let parallel = self.planes * self.output * self.taps * BLOCK >= PARALLEL;
        let width = self.axes[2].output;
        let lines = self.output / width;
        // Lines of a task: whole planes, unless there are too few of them for all cores.
        let parts = if parallel { (4 * rayon::current_num_threads()).div_ceil(self.planes) } else { 1 };
        let part = lines.div_ceil(parts);
        let blocks = self.channels.div_ceil(BLOCK);
        let tasks = out.chunks_exact_mut(self.output * BLOCK).enumerate().flat_map(|(plane, out)| {
            out.chunks_mut(part * width * BLOCK).enumerate().map(move |(i, out)| {
                let at = (plane * self.output + i * part * width) * BLOCK;
                Lines {
                    layout: self,
                    x: &x[plane * self.input * BLOCK..][..self.input * BLOCK],
                    weights: &weights[plane % blocks * BLOCK * (1 + self.taps)..][..BLOCK * (1 + self.taps)],
                    residual: if residual.is_empty() { &[] } else { &residual[at..][..out.len()] },
                    out,
                    first: i * part,
                }
            })
        });
        for_each(tasks, parallel, |lines| arch().dispatch(lines));
    }
}

/// Lines of one plane from `first` on.
struct Lines<'a> {
    layout: &'a Layout,
    x: &'a [f32],
    /// Biases, then weights tap by tap.
    weights: &'a [f32],
    residual: &'a [f32],
    out: &'a mut [f32],
    first: usize,
}

impl WithSimd for Lines<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match const { BLOCK / S::F32_LANES } {
            1 => self.sum::<S, 1>(simd),
            2 => self.sum::<S, 2>(simd),
            4 => self.sum::<S, 4>(simd),
            _ => self.sum::<S, 16>(simd),
        }
    }
}

impl Lines<'_> {
    #[inline(always)]
    fn sum<S: Simd, const V: usize>(self, simd: S) {
        let layout = self.layout;
        let [depth, height, width] = &layout.axes;
        let (x, _) = S::as_simd_f32s(self.x).0.as_chunks::<V>();
        let Some((bias, weights)) = S::as_simd_f32s(self.weights).0.as_chunks::<V>().0.split_first() else {
            return;
        };
        // Between the border outputs all taps lie on the input: the first one does from `start` on, the last to `end`.
        let (first, _) = on_input(width, 0);
        let (last, _) = on_input(width, width.kernel - 1);
        let (start, end) = if first.start < last.end { (first.start, last.end) } else { (0, 0) };

        let mut lines: SmallVec<[_; LINES]> = SmallVec::new();
        for (i, out) in self.out.chunks_exact_mut(width.output * BLOCK).enumerate() {
            let line = self.first + i;
            lines.clear();
            for (tap, weights) in weights.chunks_exact(width.kernel).enumerate() {
                let z = cell(depth, line / height.output, tap / height.kernel);
                let y = cell(height, line % height.output, tap % height.kernel);
                if let (Some(z), Some(y)) = (z, y) {
                    lines.push((weights, &x[(z * height.input + y) * width.input..][..width.input]));
                }
            }
            let (sums, _) = S::as_mut_simd_f32s(out);
            let (sums, _) = sums.as_chunks_mut::<V>();
            sums.fill(*bias);
            for o in (0..start).chain(end..width.output) {
                for (weights, x) in &lines {
                    for (tap, weights) in weights.iter().enumerate() {
                        if let Some(at) = cell(width, o, tap) {
                            sums[o] = multiply_add(simd, &x[at], weights, sums[o]);
                        }
                    }
                }
            }
            if start < end {
                let from = start * width.stride - width.before;
                let sums = &mut sums[start..end];
                match (width.kernel, width.stride, width.dilation) {
                    (3, 1, 1) => interior::<S, V, 3, 1>(simd, &lines, from, sums),
                    (3, 2, 1) => interior::<S, V, 3, 2>(simd, &lines, from, sums),
                    (5, 1, 1) => interior::<S, V, 5, 1>(simd, &lines, from, sums),
                    (5, 2, 1) => interior::<S, V, 5, 2>(simd, &lines, from, sums),
                    (7, 1, 1) => interior::<S, V, 7, 1>(simd, &lines, from, sums),
                    _ => {
                        for (weights, x) in &lines {
                            for (tap, weights) in weights.iter().enumerate() {
                                let x = x[from + tap * width.dilation..].iter().step_by(width.stride);
                                for (sum, x) in sums.iter_mut().zip(x) {
                                    *sum = multiply_add(simd, x, weights, *sum);
                                }
                            }
                        }
                    }
                }
            }
            let residual = self.residual.get(i * width.output * BLOCK..).unwrap_or_default();
            let (residual, _) = S::as_simd_f32s(residual);
            let sums = sums.as_flattened_mut();
            sums.iter_mut().zip(residual).for_each(|(sum, residual)| *sum = simd.add_f32s(*sum, *residual));
            activate(simd, layout.activation, sums);
            if !in_registers(layout.activation) {
                activation::apply(layout.activation, out);
            }
        }
    }
}

/// Lines of weights and of the input under them.
type Pairs<'a, V> = [(&'a [V], &'a [V])];

/// Outputs all of whose `K` taps along a line are on the input; the first one's are from cell `from` on.
#[inline(always)]
fn interior<S: Simd, const V: usize, const K: usize, const STRIDE: usize>(
    simd: S,
    lines: &Pairs<[S::f32s; V]>,
    from: usize,
    out: &mut [[S::f32s; V]],
) {
    let (most, rest) = out.as_chunks_mut::<POSITIONS>();
    let done = most.len() * POSITIONS;
    for (i, sums) in most.iter_mut().enumerate() {
        add_taps::<S, V, K, STRIDE, POSITIONS>(simd, lines, from + i * POSITIONS * STRIDE, sums);
    }
    for (i, sum) in rest.iter_mut().enumerate() {
        let sums = std::array::from_mut(sum);
        add_taps::<S, V, K, STRIDE, 1>(simd, lines, from + (done + i) * STRIDE, sums);
    }
}

#[inline(always)]
fn add_taps<S: Simd, const V: usize, const K: usize, const STRIDE: usize, const P: usize>(
    simd: S,
    lines: &Pairs<[S::f32s; V]>,
    from: usize,
    out: &mut [[S::f32s; V]; P],
) {
    let mut sums = *out;
    for (weights, x) in lines {
        let x = &x[from..][..(P - 1) * STRIDE + K];
        let Some(weights) = weights.first_chunk::<K>() else { return };
        for p in 0..P {
            for k in 0..K {
                sums[p] = multiply_add(simd, &x[p * STRIDE + k], &weights[k], sums[p]);
            }
        }
    }
    *out = sums;
}

#[inline(always)]
fn multiply_add<S: Simd, const V: usize>(
    simd: S,
    x: &[S::f32s; V],
    weight: &[S::f32s; V],
    sum: [S::f32s; V],
) -> [S::f32s; V] {
    std::array::from_fn(|v| simd.mul_add_e_f32s(x[v], weight[v], sum[v]))
}
