//! The register tile: a few output positions times one or two blocks of filters, summed in vector registers.
//!
//! A value of the input is loaded once for all filters of the tile and a weight once for all its positions, so that
//! nearly every instruction multiplies and adds.

use std::array::from_fn;
use std::borrow::Cow;

use pulp::{Simd, WithSimd};

use super::{BLOCK, Panel};
use crate::cpu::activation;
use crate::cpu::vectors::arch;
use crate::ops::Activation;
use crate::window::Axis;

/// Vector registers beside the sums: weights, and a value of the input.
const OTHER_REGISTERS: usize = 4;
/// The positions that tiles have, of which the largest whose sums stay in registers come first.
const POSITIONS: [usize; 6] = [14, 8, 7, 6, 4, 1];

/// Whether the sums of so many positions and vectors of filters stay in registers.
const fn fits<S: Simd>(positions: usize, vectors: usize) -> bool {
    positions * vectors + OTHER_REGISTERS <= S::REGISTER_COUNT
}

/// The largest tile of a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Largest {
    pub positions: usize,
    /// Blocks of filters: as many as make two vectors or more.
    pub blocks: usize,
}

impl Largest {
    /// That of the processor that runs this.
    pub fn here() -> Self {
        struct Ask;
        impl WithSimd for Ask {
            type Output = Largest;

            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> Largest {
                let vectors = BLOCK / S::F32_LANES;
                let blocks = if vectors == 1 { 2 } else { 1 };
                let positions =
                    POSITIONS.into_iter().find(|&positions| fits::<S>(positions, blocks * vectors));
                Largest { positions: positions.unwrap_or(1), blocks }
            }
        }
        arch().dispatch(Ask)
    }
}

/// How a window lies over one image.
pub(super) struct Geometry {
    axes: [Axis; 3],
    taps: Cow<'static, [Tap]>,
    /// Taps that lie side by side in the input, run after run.
    run: usize,
    /// Whether windows are of one cell, and lie on one line as long as the input.
    is_line: bool,
    /// Cells of the input.
    cells: usize,
    /// Cells from a block to the next.
    pitch: usize,
    channels: usize,
}

/// A cell of the window, counted from its first one: along the axes, and in cells of the input.
#[derive(Clone)]
struct Tap {
    at: [usize; 3],
    offset: usize,
}

impl Geometry {
    pub fn new(axes: [Axis; 3], channels: usize) -> Self {
        let cells = axes.iter().map(|a| a.input).product();
        // Windows of one cell that lie side by side, line behind line: one long line.
        if axes.iter().all(|a| a.kernel == 1 && a.stride == 1 && a.input == a.output) {
            return Self::line(cells, channels, cells);
        }
        let [_, height, width] = axes;
        let along = |axis: Axis| (0..axis.kernel).map(move |tap| tap * axis.dilation);
        let taps = along(axes[0])
            .flat_map(|z| along(height).flat_map(move |y| along(width).map(move |x| [z, y, x])));
        let offset = |[z, y, x]: [usize; 3]| (z * height.input + y) * width.input + x;
        let taps = taps.map(|at| Tap { at, offset: offset(at) }).collect();
        let run = if width.dilation == 1 { width.kernel } else { 1 };
        Geometry { axes, taps, run, is_line: false, cells, pitch: cells, channels }
    }

    /// Windows of one cell over a line, whose blocks lie `pitch` cells apart.
    pub fn line(cells: usize, channels: usize, pitch: usize) -> Self {
        let unit = Axis { input: 1, output: 1, kernel: 1, stride: 1, dilation: 1, before: 0, after: 0 };
        let line = Axis { input: cells, output: cells, ..unit };
        let taps = Cow::Borrowed(&[Tap { at: [0; 3], offset: 0 }][..]);
        Geometry { axes: [unit, unit, line], taps, run: 1, is_line: true, cells, pitch, channels }
    }

    /// Cells of the input.
    pub fn cells(&self) -> usize {
        self.cells
    }

    /// The input cell under the first tap of `P` consecutive outputs, along each axis. Before the input these numbers
    /// wrap around, which makes them larger than any cell.
    #[inline(always)]
    fn origins<const P: usize>(&self, first: usize) -> [[usize; 3]; P] {
        let [depth, height, width] = &self.axes;
        let origin = |axis: &Axis, o: usize| (o * axis.stride).wrapping_sub(axis.before);
        let line = first / width.output;
        let mut at = [line / height.output, line % height.output, first % width.output];
        from_fn(|_| {
            let here = [origin(depth, at[0]), origin(height, at[1]), origin(width, at[2])];
            at[2] += 1;
            if at[2] == width.output {
                at = [at[0], at[1] + 1, 0];
                if at[1] == height.output {
                    at = [at[0] + 1, 0, 0];
                }
            }
            here
        })
    }

    /// The number of a cell.
    #[inline(always)]
    fn cell(&self, [z, y, x]: [usize; 3]) -> usize {
        let [_, height, width] = &self.axes;
        z.wrapping_mul(height.input).wrapping_add(y).wrapping_mul(width.input).wrapping_add(x)
    }

    /// Whether a tap of a window that starts there lies on the input.
    #[inline(always)]
    fn on_input(&self, origin: [usize; 3], tap: [usize; 3]) -> bool {
        let [depth, height, width] = &self.axes;
        origin[0].wrapping_add(tap[0]) < depth.input
            && origin[1].wrapping_add(tap[1]) < height.input
            && origin[2].wrapping_add(tap[2]) < width.input
    }

    /// Whether all taps of a window that starts there lie on the input.
    #[inline(always)]
    fn inside(&self, origin: [usize; 3]) -> bool {
        let fits = |(axis, at): (&Axis, usize)| {
            at < axis.input && (axis.kernel - 1) * axis.dilation < axis.input - at
        };
        self.axes.iter().zip(origin).all(fits)
    }
}

/// Consecutive output positions of one image, and one or two blocks of filters.
///
/// `B` is the number of channels that lie side by side in the input.
pub(super) struct Chunk<'a, const B: usize> {
    pub geometry: &'a Geometry,
    pub activation: Option<Activation>,
    /// The image: a cell after another, block after block; what comes after it is not read.
    pub x: &'a [[f32; B]],
    /// The filters' panel.
    pub panel: Panel<'a>,
    /// The same positions as `out`, or empty.
    pub residual: [&'a [f32]; 2],
    /// The positions, of each block of filters; the second may be empty.
    pub out: [&'a mut [f32]; 2],
    /// The first position.
    pub first: usize,
}

impl<const B: usize> WithSimd for Chunk<'_, B> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        // A constant: what other processors need is not compiled.
        match const { BLOCK / S::F32_LANES } {
            1 if self.panel.width > BLOCK => self.tiles::<S, 2>(simd),
            1 => self.tiles::<S, 1>(simd),
            2 => self.tiles::<S, 2>(simd),
            4 => self.tiles::<S, 4>(simd),
            // A processor without vectors.
            _ => self.tiles::<S, 16>(simd),
        }
    }
}

impl<const B: usize> Chunk<'_, B> {
    /// The largest tiles first; what they leave over goes to smaller ones.
    #[inline(always)]
    fn tiles<S: Simd, const V: usize>(&mut self, simd: S) {
        let mut at = 0;
        at = self.tiles_of::<S, 14, V>(simd, at);
        at = self.tiles_of::<S, 8, V>(simd, at);
        at = self.tiles_of::<S, 7, V>(simd, at);
        at = self.tiles_of::<S, 6, V>(simd, at);
        at = self.tiles_of::<S, 4, V>(simd, at);
        self.tiles_of::<S, 1, V>(simd, at);
    }

    #[inline(always)]
    fn tiles_of<S: Simd, const P: usize, const V: usize>(&mut self, simd: S, mut at: usize) -> usize {
        // 15 to 17 divide better by smaller tiles.
        let is_next = |rest: usize| rest >= P && (P != 14 || !(15..18).contains(&rest));
        if const { P > 1 && !fits::<S>(P, V) } {
            return at;
        }
        let positions = self.out[0].len() / BLOCK;
        while is_next(positions - at) {
            simd.vectorize(Tile::<P, V, B> { chunk: self, at });
            at += P;
        }
        at
    }
}

/// `P` positions of a chunk from `at` on, times `V` vectors of filters.
struct Tile<'a, 'b, const P: usize, const V: usize, const B: usize> {
    chunk: &'b mut Chunk<'a, B>,
    at: usize,
}

impl<const P: usize, const V: usize, const B: usize> WithSimd for Tile<'_, '_, P, V, B> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Tile { chunk, at } = self;
        let geometry = chunk.geometry;
        let (panel, _) = S::as_simd_f32s(chunk.panel.words).0.as_chunks::<V>();
        let Some((&bias, weights)) = panel.split_first() else { return };
        let first = chunk.first + at;
        let stride = geometry.axes[2].stride;
        let (mut origins, mut cells) = ([[0; 3]; P], [0; P]);
        let mut in_line = geometry.is_line;
        if in_line {
            for p in 0..P {
                cells[p] = first + p;
            }
        } else {
            origins = geometry.origins(first);
            for p in 0..P {
                cells[p] = geometry.cell(origins[p]);
            }
            in_line = cells[P - 1] == cells[0].wrapping_add((P - 1) * stride)
                && origins.iter().all(|&origin| geometry.inside(origin));
        }
        let chunk_x = (&*chunk, weights);
        // Cells at distances that are known when this is compiled need one address between them.
        let mut sums = match (in_line, stride) {
            _ if const { B < BLOCK } => sum_runs(simd, chunk_x, [bias; P], cells),
            (true, 1) => sum(
                simd,
                chunk_x,
                [bias; P],
                #[inline(always)]
                |block, tap| {
                    let x = &block[cells[0].wrapping_add(tap.offset)..][..P];
                    Some(from_fn(
                        #[inline(always)]
                        |p| &x[p],
                    ))
                },
            ),
            (true, 2) => sum(
                simd,
                chunk_x,
                [bias; P],
                #[inline(always)]
                |block, tap| {
                    let x = &block[cells[0].wrapping_add(tap.offset)..][..2 * P - 1];
                    Some(from_fn(
                        #[inline(always)]
                        |p| &x[2 * p],
                    ))
                },
            ),
            _ => sum(
                simd,
                chunk_x,
                [bias; P],
                #[inline(always)]
                |block, tap| {
                    let mut any = false;
                    let mut x = [&[0.0; B]; P];
                    for p in 0..P {
                        if geometry.on_input(origins[p], tap.at) {
                            x[p] = &block[cells[p].wrapping_add(tap.offset)];
                            any = true;
                        }
                    }
                    any.then_some(x)
                },
            ),
        };

        // The sums stay in registers only if every index into them is known to the compiler.
        let per_block = BLOCK / S::F32_LANES;
        let range = at * BLOCK..(at + P) * BLOCK;
        for v in 0..V {
            let (block, lane) = (v / per_block, v % per_block);
            if let Some(residual) = chunk.residual[block].get(range.clone()) {
                let (residual, _) = S::as_simd_f32s(residual);
                for p in 0..P {
                    sums[p][v] = simd.add_f32s(sums[p][v], residual[p * per_block + lane]);
                }
            }
        }
        activate(simd, chunk.activation, sums.as_flattened_mut());
        for v in 0..V {
            let (block, lane) = (v / per_block, v % per_block);
            let (out, _) = S::as_mut_simd_f32s(&mut chunk.out[block][range.clone()]);
            for p in 0..P {
                out[p * per_block + lane] = sums[p][v];
            }
        }
        if !in_registers(chunk.activation) {
            for out in chunk.out.iter_mut().filter(|out| !out.is_empty()) {
                activation::apply(chunk.activation, &mut out[range.clone()]);
            }
        }
    }
}

/// Adds to the sums all channels under all taps times their weights. `find` gives a block's values under a tap, or `None`
/// where all of them are padding.
#[inline(always)]
fn sum<'a, S: Simd, const P: usize, const V: usize, const B: usize>(
    simd: S,
    (chunk, mut weights): (&'a Chunk<B>, &[[S::f32s; V]]),
    mut sums: [[S::f32s; V]; P],
    find: impl Fn(&'a [[f32; B]], &Tap) -> Option<[&'a [f32; B]; P]>,
) -> [[S::f32s; V]; P] {
    let geometry = chunk.geometry;
    let mut channels = geometry.channels;
    for block in chunk.x.chunks(geometry.pitch).take(channels.div_ceil(B)) {
        let block = &block[..geometry.cells];
        let lanes = channels.min(B);
        channels -= lanes;
        for tap in &*geometry.taps {
            let (here, rest) = weights.split_at(lanes);
            weights = rest;
            if let Some(x) = find(block, tap) {
                multiply_add(simd, x, here, &mut sums);
            }
        }
    }
    sums
}

/// As [`sum`], where the input has no borders and all its channels lie side by side: so do all values under a run of taps.
#[inline(always)]
fn sum_runs<S: Simd, const P: usize, const V: usize, const B: usize>(
    simd: S,
    (chunk, mut weights): (&Chunk<B>, &[[S::f32s; V]]),
    mut sums: [[S::f32s; V]; P],
    cells: [usize; P],
) -> [[S::f32s; V]; P] {
    let x = chunk.x.as_flattened();
    let geometry = chunk.geometry;
    for tap in geometry.taps.iter().step_by(geometry.run) {
        let (here, rest) = weights.split_at(geometry.run * B);
        weights = rest;
        let mut values = [&[][..]; P];
        for p in 0..P {
            values[p] = &x[(cells[p] + tap.offset) * B..][..here.len()];
        }
        for (i, weights) in here.iter().enumerate() {
            add(
                simd,
                #[inline(always)]
                |p| values[p][i],
                weights,
                &mut sums,
            );
        }
    }
    sums
}

/// Adds to the sums of each position its channels times their weights.
#[inline(always)]
fn multiply_add<S: Simd, const P: usize, const V: usize, const B: usize>(
    simd: S,
    x: [&[f32; B]; P],
    weights: &[[S::f32s; V]],
    sums: &mut [[S::f32s; V]; P],
) {
    // By fours, of which the compiler makes one piece without branches.
    let (fours, rest) = weights.as_chunks::<4>();
    for (i, four) in fours.iter().enumerate().take(B / 4) {
        for (lane, weights) in four.iter().enumerate() {
            add(
                simd,
                #[inline(always)]
                |p| x[p][4 * i + lane],
                weights,
                sums,
            );
        }
    }
    for (i, weights) in rest.iter().enumerate() {
        add(
            simd,
            #[inline(always)]
            |p| x[p][4 * fours.len() + i],
            weights,
            sums,
        );
    }
}

/// Adds to the sums of each position a value of it times the weights.
#[inline(always)]
fn add<S: Simd, const P: usize, const V: usize>(
    simd: S,
    value: impl Fn(usize) -> f32,
    weights: &[S::f32s; V],
    sums: &mut [[S::f32s; V]; P],
) {
    for p in 0..P {
        let x = simd.splat_f32s(value(p));
        for v in 0..V {
            sums[p][v] = simd.mul_add_e_f32s(x, weights[v], sums[p][v]);
        }
    }
}

/// The activations that [`activate`] knows.
pub(super) fn in_registers(activation: Option<Activation>) -> bool {
    matches!(activation, None | Some(Activation::Relu | Activation::Clip { .. } | Activation::Tanh))
}

/// Applies those that take few registers; any other leaves the values as they are. NaN stays NaN.
#[inline(always)]
pub(super) fn activate<S: Simd>(simd: S, activation: Option<Activation>, values: &mut [S::f32s]) {
    let (min, max) = match activation {
        Some(Activation::Relu) => (0.0, f32::INFINITY),
        Some(Activation::Clip { min, max }) => (min, max),
        Some(Activation::Tanh) => {
            for value in values {
                *value = activation::tanh(simd, *value);
            }
            return;
        }
        _ => return,
    };
    for value in values {
        *value = activation::bounded(simd, *value, min, max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each width is a feature of `pulp`; without it vectors are scalars, many times slower and without a word.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn vectors_are_as_wide_as_the_processor_has_them() {
        let (avx2, avx512) = (is_x86_feature_detected!("avx2"), is_x86_feature_detected!("avx512vl"));
        let expected = match pulp::Arch::new() {
            pulp::Arch::V4(_) => Largest { positions: 14, blocks: 2 },
            pulp::Arch::V3(_) => {
                assert!(!avx512);
                Largest { positions: 6, blocks: 1 }
            }
            _ => {
                assert!(!avx2);
                Largest { positions: 1, blocks: 1 }
            }
        };
        assert_eq!(Largest::here(), expected);
    }
}
