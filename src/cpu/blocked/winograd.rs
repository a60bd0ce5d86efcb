//! Convolutions of 3x3 with stride 1 by Winograd's F(4x4, 3x3): 36 products make 16 outputs, which would take 144.
//!
//! An output tile `Y` of 4x4 comes from 6x6 cells `d` of each channel and its filter `g` as
//! `Y = A' (sum over channels of (G g G') . (B' d B)) A`, where `.` is the elementwise product and `'` transposes
//! (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015, section 4.3). The filters' transforms are
//! constants of the plan. For each of the 36 places in a tile the sum over channels is a matrix product over all tiles.
//!
//! # Rounding
//! With `u = 2^-24` and `c` channels, an output errs by at most `(c + 16) u M`, where `M` is its formula with the absolute
//! values of all matrices and operands: one rounding for the filter's transform, at most 4 along each axis of `B'` and
//! 3 along each of `A'`, one for each channel, and one for the bias. `M` exceeds the sum `|a b|` of the direct
//! convolution, of which it also takes in neighbouring cells and taps.

use std::sync::Arc;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::pieces::{Pieces, Sizes};
use super::tile::{Chunk, Geometry, Largest, activate, in_registers};
use super::weights::{Packed, packed};
use super::{BLOCK, Compiled, Form, PARALLEL, Panel};
use crate::cpu::cores::for_each;
use crate::cpu::vectors::arch;
use crate::cpu::{Kernel, activation};
use crate::error::Result;
use crate::ops::{Activation, Conv};
use crate::plan::Site;
use crate::tensor::Tensor;
use crate::window::Axis;
use crate::winograd::Winograd;

/// Outputs of a tile along an axis, cells under it, and places in both.
const OUTPUTS: usize = 4;
const CELLS: usize = 6;
const PLACES: usize = CELLS * CELLS;

/// Channels, and filters, from which the transforms are a small part of the work.
const MANY: usize = 32;
/// Multiply-accumulates to be saved for each channel and filter: as many as are done while their transforms are read
/// from memory, which are four times as large as the filters.
const WORTH: usize = 512;
/// Words of transforms in work at a time.
const BAND: usize = 1 << 20;

pub(super) fn compile(op: &Conv, site: &Site) -> Result<Option<Compiled>> {
    let (x, out) = (site.dims(0), &site.output(0).shape);
    let weight = match (site.constant(1), site.input(2).is_some(), site.constant(2)) {
        (Some(weight), false, _) => vec![weight],
        (Some(weight), true, Some(bias)) => vec![weight, bias],
        _ => return Ok(None),
    };
    let shape = site.input(0).map(|info| info.shape.clone()).unwrap_or_default();
    let axes = op.axes(&shape).map_err(|e| site.error(e))?;
    let &[height, width] = &axes[..] else { return Ok(None) };
    let fits = |axis: Axis| axis.kernel == 3 && axis.stride == 1 && axis.dilation == 1;
    if op.groups != 1 || !fits(height) || !fits(width) || x.contains(&0) || out.contains(&0) {
        return Ok(None);
    }
    let layout = Layout::new(op, height, width, x[0], x[1], out[1]);
    let asked = match site.options.variant {
        Some("winograd") => true,
        Some(_) => false,
        None => layout.pays() && layout.words() * size_of::<f32>() <= site.options.im2col_cap,
    };
    if !asked {
        return Ok(None);
    }
    let weights = layout.packed(&weight)?;
    let held = weights.words().len();
    let scratch = layout.words();
    let run = move |inputs: &[&[f32]], outputs: &mut [&mut [f32]], scratch: &mut [f32]| {
        let operand = |i: usize| inputs.get(i).copied().unwrap_or_default();
        layout.run(operand(0), weights.words(), operand(3), outputs[0], scratch);
    };
    Ok(Some(Compiled {
        kernel: Kernel { scratch, run: Box::new(run) },
        name: "conv_winograd",
        inputs: vec![Form::Blocked, Form::Unread, Form::Unread, Form::Blocked],
        output: Form::Blocked,
        weights: held,
    }))
}

/// The sizes of a convolution; a line of tiles is as wide as the output.
struct Layout {
    height: Axis,
    width: Axis,
    images: usize,
    channels: usize,
    filters: usize,
    /// Lines of tiles in an image, and tiles in a line.
    lines: usize,
    line: usize,
    /// Lines of tiles, of all images, in work at a time.
    band: usize,
    /// Blocks of filters in a register tile.
    tile_blocks: usize,
    parallel: bool,
    activation: Option<Activation>,
}

impl Layout {
    fn new(op: &Conv, height: Axis, width: Axis, images: usize, channels: usize, filters: usize) -> Self {
        let (lines, line) = (height.output.div_ceil(OUTPUTS), width.output.div_ceil(OUTPUTS));
        let blocks = channels.div_ceil(BLOCK) + filters.div_ceil(BLOCK);
        let most = BAND / (blocks * BLOCK * PLACES * line);
        // Bands of one size.
        let bands = (images * lines).div_ceil(most.clamp(1, images * lines));
        let macs = (images * lines * line * PLACES).saturating_mul(channels * filters);
        Layout {
            height,
            width,
            images,
            channels,
            filters,
            lines,
            line,
            band: (images * lines).div_ceil(bands),
            tile_blocks: Largest::here().blocks,
            parallel: macs >= PARALLEL,
            activation: op.activation,
        }
    }

    fn pays(&self) -> bool {
        let direct = self.images * self.height.output * self.width.output * 9;
        let tiles = self.images * self.lines * self.line * PLACES;
        self.channels >= MANY && self.filters >= MANY && direct >= tiles + WORTH
    }

    fn blocks(&self) -> usize {
        self.channels.div_ceil(BLOCK)
    }

    fn filter_blocks(&self) -> usize {
        self.filters.div_ceil(BLOCK)
    }

    /// Words of one block's transforms of a band.
    fn plane(&self) -> usize {
        PLACES * self.band * self.line * BLOCK
    }

    /// Words of all transforms of a band, of the input and of the output.
    fn words(&self) -> usize {
        (self.blocks() + self.filter_blocks()) * self.plane()
    }

    /// Rows of a panel: zeros in place of a bias, then the channels.
    fn rows(&self) -> usize {
        1 + self.channels
    }

    /// The transformed filters: biases, then for each place the panels of the groups of filters.
    fn packed(&self, constants: &[&Tensor]) -> Result<Arc<Packed>> {
        let width = self.filter_blocks() * BLOCK;
        let len = width + PLACES * width * self.rows();
        packed("winograd", self.tile_blocks, constants, len, |words| {
            let operand =
                |i: usize| constants.get(i).and_then(|t| t.values::<f32>().ok()).unwrap_or_default();
            let (weight, bias) = (operand(0), operand(1));
            let (biases, places) = words.split_at_mut(width);
            let rows = Winograd::Four.filter_rows();
            biases[..bias.len()].copy_from_slice(bias);
            places.par_chunks_exact_mut(width * self.rows()).enumerate().for_each(|(place, panels)| {
                let (by_y, by_x) = (rows[place / CELLS], rows[place % CELLS]);
                for (group, panel) in panels.chunks_mut(self.tile_blocks * BLOCK * self.rows()).enumerate() {
                    let width = panel.len() / self.rows();
                    for (channel, row) in panel.chunks_exact_mut(width).skip(1).enumerate() {
                        for (i, out) in row.iter_mut().enumerate() {
                            let filter = group * self.tile_blocks * BLOCK + i;
                            let Some(taps) = weight.get((filter * self.channels + channel) * 9..) else {
                                break;
                            };
                            let taps = taps.iter().take(9).enumerate();
                            let terms = taps.map(|(tap, w)| by_y[tap / 3] * by_x[tap % 3] * f64::from(*w));
                            *out = terms.sum::<f64>() as f32;
                        }
                    }
                }
            });
        })
    }

    fn run(&self, x: &[f32], weights: &[f32], residual: &[f32], out: &mut [f32], scratch: &mut [f32]) {
        let (biases, panels) = weights.split_at(self.filter_blocks() * BLOCK);
        let (cells, products) = scratch.split_at_mut(self.blocks() * self.plane());
        let (blocks, line) = (self.filter_blocks(), self.width.output * BLOCK);
        let plane = self.height.output * line;
        let sizes = Sizes { image: blocks * plane, block: plane, piece: OUTPUTS * line, group: 1 };
        let mut outputs = Pieces::new(out, sizes);
        for first in (0..self.images * self.lines).step_by(self.band) {
            let band = self.band.min(self.images * self.lines - first);
            let tiles = band * self.line;
            let plane_words = PLACES * tiles * BLOCK;
            let cells = &mut cells[..self.blocks() * plane_words];
            let products = &mut products[..self.filter_blocks() * plane_words];

            let tasks = cells.chunks_exact_mut(plane_words).enumerate();
            let tasks = tasks.map(|(block, out)| Input { layout: self, x, block, first, out });
            for_each(tasks, self.parallel, |input| arch().dispatch(input));

            self.multiply(tiles, cells, panels, products);

            let tasks = (first * blocks..(first + band) * blocks).zip(outputs.by_ref());
            let tasks = tasks.map(|(task, [out, _])| {
                let (line, block) = (task / blocks, task % blocks);
                let plane = line / self.lines * blocks + block;
                let at = plane * self.height.output + line % self.lines * OUTPUTS;
                let residual = residual.get(at * self.width.output * BLOCK..).unwrap_or_default();
                Output {
                    layout: self,
                    products: &products[block * plane_words..][..plane_words],
                    tile: (line - first) * self.line,
                    bias: &biases[block * BLOCK..][..BLOCK],
                    residual: residual.get(..out.len()).unwrap_or_default(),
                    out,
                }
            });
            for_each(tasks, self.parallel, |output| arch().dispatch(output));
        }
    }

    /// For each place, the product of the input's transforms with the filters'.
    fn multiply(&self, tiles: usize, cells: &[f32], panels: &[f32], products: &mut [f32]) {
        let geometry = Geometry::line(tiles, self.channels, PLACES * tiles);
        let (x, _) = cells.as_chunks::<BLOCK>();
        let (blocks, piece) = (self.filter_blocks(), tiles * BLOCK);
        let block = PLACES * piece;
        let sizes = Sizes { image: blocks * block, block, piece, group: self.tile_blocks };
        let width = blocks * BLOCK;
        let groups = blocks.div_ceil(self.tile_blocks);
        let mut products = Pieces::new(products, sizes);
        let tasks = products.by_ref().enumerate().map(|(task, out)| {
            let (place, group) = (task / groups, task % groups);
            let first = group * self.tile_blocks;
            let panel_width = BLOCK * self.tile_blocks.min(blocks - first);
            let words = &panels[(place * width + first * BLOCK) * self.rows()..][..panel_width * self.rows()];
            Chunk {
                geometry: &geometry,
                activation: None,
                x: &x[place * tiles..],
                panel: Panel { words, width: panel_width },
                residual: [&[], &[]],
                out,
                first: 0,
            }
        });
        for_each(tasks, self.parallel, |chunk| arch().dispatch(chunk));
    }
}

/// `of(0)` to `of(5)`. The compiler leaves `map` and `from_fn` as calls, which are not compiled for the vectors that they move.
#[inline(always)]
fn six<T>(of: impl Fn(usize) -> T) -> [T; CELLS] {
    [of(0), of(1), of(2), of(3), of(4), of(5)]
}

/// A one-dimensional transform of six vectors: `B'`.
#[inline(always)]
fn input_transform<S: Simd>(simd: S, [d0, d1, d2, d3, d4, d5]: [S::f32s; CELLS]) -> [S::f32s; CELLS] {
    let add_times = |c: f32, x: S::f32s, y: S::f32s| simd.mul_add_e_f32s(simd.splat_f32s(c), x, y);
    let (even, odd) = (add_times(-4.0, d2, d4), add_times(-4.0, d1, d3));
    let (even_half, odd_half) = (simd.sub_f32s(d4, d2), simd.sub_f32s(d3, d1));
    [
        add_times(4.0, d0, add_times(-5.0, d2, d4)),
        simd.add_f32s(even, odd),
        simd.sub_f32s(even, odd),
        add_times(2.0, odd_half, even_half),
        add_times(-2.0, odd_half, even_half),
        add_times(4.0, d1, add_times(-5.0, d3, d5)),
    ]
}

/// A one-dimensional transform of six vectors into four: `A'`.
#[inline(always)]
fn output_transform<S: Simd>(simd: S, [m0, m1, m2, m3, m4, m5]: [S::f32s; CELLS]) -> [S::f32s; OUTPUTS] {
    let add_times = |c: f32, x: S::f32s, y: S::f32s| simd.mul_add_e_f32s(simd.splat_f32s(c), x, y);
    let (near, near_odd) = (simd.add_f32s(m1, m2), simd.sub_f32s(m1, m2));
    let (far, far_odd) = (simd.add_f32s(m3, m4), simd.sub_f32s(m3, m4));
    [
        simd.add_f32s(simd.add_f32s(m0, near), far),
        add_times(2.0, far_odd, near_odd),
        add_times(4.0, far, near),
        add_times(8.0, far_odd, simd.add_f32s(near_odd, m5)),
    ]
}

/// Transforms one block of channels of a band: for each place, all tiles.
struct Input<'a> {
    layout: &'a Layout,
    x: &'a [f32],
    block: usize,
    /// The first line of tiles, counted over all images.
    first: usize,
    out: &'a mut [f32],
}

impl WithSimd for Input<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Layout { height, width, .. } = self.layout;
        let vectors = BLOCK / S::F32_LANES;
        let (x, _) = S::as_simd_f32s(self.x);
        let (out, _) = S::as_mut_simd_f32s(self.out);
        let place = out.len() / PLACES;
        let zero = simd.splat_f32s(0.0);
        for tile in 0..place / vectors {
            let line = self.first + tile / self.layout.line;
            let (image, y) = (line / self.layout.lines, line % self.layout.lines * OUTPUTS);
            let x_at = tile % self.layout.line * OUTPUTS;
            let plane = (image * self.layout.blocks() + self.block) * height.input * width.input;
            for v in 0..vectors {
                let cell = |row: usize, column: usize| {
                    let y = (y + row).wrapping_sub(height.before);
                    let x_at = (x_at + column).wrapping_sub(width.before);
                    match y < height.input && x_at < width.input {
                        true => x[(plane + y * width.input + x_at) * vectors + v],
                        false => zero,
                    }
                };
                let mut columns = [[zero; CELLS]; CELLS];
                for column in 0..CELLS {
                    let d = six(
                        #[inline(always)]
                        |row| cell(row, column),
                    );
                    columns[column] = input_transform(simd, d);
                }
                for row in 0..CELLS {
                    let d = six(
                        #[inline(always)]
                        |column| columns[column][row],
                    );
                    let transformed = input_transform(simd, d);
                    for column in 0..CELLS {
                        out[(row * CELLS + column) * place + tile * vectors + v] = transformed[column];
                    }
                }
            }
        }
    }
}

/// One line of tiles of one block of filters.
struct Output<'a> {
    layout: &'a Layout,
    /// The block's products: for each place, all tiles.
    products: &'a [f32],
    /// The first tile.
    tile: usize,
    bias: &'a [f32],
    /// The same cells as `out`, or empty.
    residual: &'a [f32],
    /// Up to four lines of cells.
    out: &'a mut [f32],
}

impl WithSimd for Output<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let vectors = BLOCK / S::F32_LANES;
        let width = self.layout.width.output;
        let (products, _) = S::as_simd_f32s(self.products);
        let (bias, _) = S::as_simd_f32s(self.bias);
        let (residual, _) = S::as_simd_f32s(self.residual);
        let place = products.len() / PLACES;
        let zero = simd.splat_f32s(0.0);
        let (out, _) = S::as_mut_simd_f32s(&mut *self.out);
        let height = out.len() / (width * vectors);
        for tile in 0..self.layout.line {
            for v in 0..vectors {
                let mut columns = [[zero; OUTPUTS]; CELLS];
                for column in 0..CELLS {
                    let m = six(
                        #[inline(always)]
                        |row| products[(row * CELLS + column) * place + (self.tile + tile) * vectors + v],
                    );
                    columns[column] = output_transform(simd, m);
                }
                for row in 0..OUTPUTS {
                    let m = six(
                        #[inline(always)]
                        |column| columns[column][row],
                    );
                    let mut sums = output_transform(simd, m);
                    for column in 0..OUTPUTS {
                        let x = tile * OUTPUTS + column;
                        if row < height && x < width {
                            let at = (row * width + x) * vectors + v;
                            sums[column] = simd.add_f32s(sums[column], bias[v]);
                            if let Some(residual) = residual.get(at) {
                                sums[column] = simd.add_f32s(sums[column], *residual);
                            }
                            activate(simd, self.layout.activation, &mut sums[column..=column]);
                            out[at] = sums[column];
                        }
                    }
                }
            }
        }
        if !in_registers(self.layout.activation) {
            activation::apply(self.layout.activation, self.out);
        }
    }
}
