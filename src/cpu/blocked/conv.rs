//! Convolutions of one group, in register tiles, straight from the input: no patches are unfolded.

use std::sync::Arc;

use rayon::prelude::*;

use super::pieces::{Pieces, Sizes};
use super::tile::{Chunk, Geometry, Largest};
use super::weights::{Packed, packed};
use super::{BLOCK, Compiled, Form, PARALLEL, Panel};
use crate::cpu::Kernel;
use crate::cpu::cores::{Spread, for_each, grain};
use crate::cpu::im2col::three;
use crate::cpu::vectors::arch;
use crate::error::Result;
use crate::ops::{Activation, Conv};
use crate::plan::Site;
use crate::tensor::Tensor;
use crate::window::Axis;

/// Filters are padded to whole blocks, but not to more than this many times their number.
const MOST_PADDING: usize = 3;
/// Bytes of input that stay in a core's second-level cache while one group of filters after another passes over them.
const NEAR: usize = 1 << 18;

/// Multiply-accumulates of a task, at least.
const TASK: usize = 1 << 17;

pub(super) fn compile(op: &Conv, site: &Site) -> Result<Option<Compiled>> {
    let (x, out) = (site.dims(0), &site.output(0).shape);
    let asked = match site.options.variant {
        Some("blocked") => true,
        Some("conv_im2col" | "conv_direct") => false,
        _ => out[1].next_multiple_of(BLOCK) <= MOST_PADDING * out[1],
    };
    if op.groups != 1 || !asked || x.contains(&0) || out.contains(&0) {
        return Ok(None);
    }
    let shape = site.input(0).map(|info| info.shape.clone()).unwrap_or_default();
    let axes = three(&op.axes(&shape).map_err(|e| site.error(e))?);
    // Pictures: a block of so few channels would be mostly empty. They are copied with zeros around them.
    let padded = axes.map(|a| Axis { input: a.before + a.input + a.after, before: 0, after: 0, ..a });
    let copied = padded.iter().fold(4 * x[0] * x[1], |bytes, axis| bytes.saturating_mul(axis.input));
    let few = matches!(x[1], 1 | 3) && copied <= site.options.im2col_cap;
    let layout = Layout::new(op, axes, Geometry::new(if few { padded } else { axes }, x[1]), x, out);

    let weights = match (site.constant(1), site.input(2), site.constant(2)) {
        (Some(weight), None, _) => Some(layout.packed(&[weight])?),
        (Some(weight), Some(_), Some(bias)) => Some(layout.packed(&[weight, bias])?),
        _ => None,
    };
    let form = |packed: bool| if packed { Form::Unread } else { Form::Plain };
    let inputs = vec![
        if few { Form::Plain } else { Form::Blocked },
        form(weights.is_some()),
        form(weights.is_some()),
        Form::Blocked,
    ];
    let panels = if weights.is_some() { 0 } else { layout.panel_words() };
    let gathered = if few { x[0] * x[1] * layout.geometry.cells() } else { 0 };
    let held = weights.as_ref().map_or(0, |w| w.words().len());
    let run = move |inputs: &[&[f32]], outputs: &mut [&mut [f32]], scratch: &mut [f32]| {
        let operand = |i: usize| inputs.get(i).copied().unwrap_or_default();
        let (gathered, panel_words) = scratch.split_at_mut(gathered);
        let panels = match &weights {
            Some(weights) => weights.words(),
            None => {
                layout.pack(operand(1), operand(2), panel_words);
                &*panel_words
            }
        };
        let (x, residual) = (operand(0), operand(3));
        match layout.channels {
            1 if few => {
                layout.gather::<1>(x, gathered);
                layout.run::<1>(gathered, panels, residual, outputs[0]);
            }
            3 if few => {
                layout.gather::<3>(x, gathered);
                layout.run::<3>(gathered, panels, residual, outputs[0]);
            }
            _ => layout.run::<BLOCK>(x, panels, residual, outputs[0]),
        }
    };
    Ok(Some(Compiled {
        kernel: Kernel { scratch: gathered + panels, run: Box::new(run) },
        name: "conv_blocked",
        inputs,
        output: Form::Blocked,
        weights: held,
    }))
}

/// The sizes of a convolution and how it is shared out.
struct Layout {
    axes: [Axis; 3],
    geometry: Geometry,
    channels: usize,
    filters: usize,
    taps: usize,
    /// Cells of the output.
    cells: usize,
    /// Blocks of filters in a tile.
    tile_blocks: usize,
    /// Output positions of a task.
    chunk: usize,
    parallel: bool,
    activation: Option<Activation>,
}

impl Layout {
    fn new(op: &Conv, axes: [Axis; 3], geometry: Geometry, x: &[usize], out: &[usize]) -> Self {
        let (images, channels, filters) = (x[0], x[1], out[1]);
        let cells: usize = out[2..].iter().product();
        let taps: usize = op.window.kernel().iter().product();
        let macs = (images * cells * filters).saturating_mul(channels * taps);
        let parallel = macs >= PARALLEL;
        let Largest { positions, blocks: tile_blocks } = Largest::here();

        let groups = filters.div_ceil(BLOCK * tile_blocks);
        let near = NEAR / (size_of::<f32>() * channels * geometry.cells().div_ceil(cells)) / positions;
        let tasks = if parallel { (macs / TASK).min(16 * rayon::current_num_threads()) } else { 1 };
        let tiles = cells.div_ceil(positions).div_ceil(tasks.div_ceil(images * groups).max(1));
        let chunk = positions * near.min(tiles).max(1);
        let activation = op.activation;
        Layout { axes, geometry, channels, filters, taps, cells, tile_blocks, chunk, parallel, activation }
    }

    /// Rows of a panel.
    fn rows(&self) -> usize {
        1 + self.channels * self.taps
    }

    fn panel_words(&self) -> usize {
        self.filters.next_multiple_of(BLOCK) * self.rows()
    }

    /// The filters of a group as a panel.
    fn panel<'a>(&self, panels: &'a [f32], group: usize) -> Panel<'a> {
        let first = group * self.tile_blocks * BLOCK;
        let width = (self.filters - first).next_multiple_of(BLOCK).min(self.tile_blocks * BLOCK);
        Panel { words: &panels[first * self.rows()..][..width * self.rows()], width }
    }

    /// The panels of constants: a weight, and perhaps a bias.
    fn packed(&self, constants: &[&Tensor]) -> Result<Arc<Packed>> {
        packed("conv_blocked", self.tile_blocks, constants, self.panel_words(), |panels| {
            let operand = |i: usize| constants.get(i).and_then(|t| t.values().ok()).unwrap_or_default();
            self.pack(operand(0), operand(1), panels);
        })
    }

    /// Writes the panels of `[filters, channels, taps...]` and a bias per filter, or none.
    fn pack(&self, weight: &[f32], bias: &[f32], panels: &mut [f32]) {
        let (channels, taps) = (self.channels, self.taps);
        let panels = panels.par_chunks_mut(self.tile_blocks * BLOCK * self.rows());
        panels.enumerate().for_each(|(group, panel)| {
            let width = panel.len() / self.rows();
            let first = group * self.tile_blocks * BLOCK;
            let mut rows = panel.chunks_exact_mut(width);
            let mut next = |value: &dyn Fn(usize) -> Option<f32>| {
                let row = rows.next().unwrap_or_default().iter_mut().enumerate();
                row.for_each(|(filter, out)| *out = value(first + filter).unwrap_or(0.0));
            };
            next(&|filter| bias.get(filter).copied());
            for block in (0..channels).step_by(BLOCK) {
                for tap in 0..taps {
                    for channel in block..channels.min(block + BLOCK) {
                        next(&|filter| weight.get((filter * channels + channel) * taps + tap).copied());
                    }
                }
            }
        });
    }

    /// A plain input of `B` channels with these side by side, and zeros around it as far as windows reach.
    fn gather<const B: usize>(&self, x: &[f32], out: &mut [f32]) {
        let [depth, height, width] = self.axes;
        let cells = depth.input * height.input * width.input;
        let (out, _) = out.as_chunks_mut::<B>();
        let tasks = out.par_chunks_mut(self.geometry.cells()).zip(x.par_chunks(B * cells));
        tasks.spread(grain(B * cells)).for_each(|(out, x)| {
            let lines = out.chunks_exact_mut(width.before + width.input + width.after);
            for (line, out) in lines.enumerate() {
                let high = height.before + height.input + height.after;
                let z = (line / high).wrapping_sub(depth.before);
                let y = (line % high).wrapping_sub(height.before);
                if z >= depth.input || y >= height.input {
                    out.fill([0.0; B]);
                    continue;
                }
                out[..width.before].fill([0.0; B]);
                out[width.before + width.input..].fill([0.0; B]);
                let out = &mut out[width.before..][..width.input];
                for channel in 0..B {
                    let x = &x[channel * cells + (z * height.input + y) * width.input..][..width.input];
                    out.iter_mut().zip(x).for_each(|(out, x)| out[channel] = *x);
                }
            }
        });
    }

    fn run<const B: usize>(&self, x: &[f32], panels: &[f32], residual: &[f32], out: &mut [f32]) {
        let (plane, blocks) = (self.cells * BLOCK, self.filters.div_ceil(BLOCK));
        let sizes =
            Sizes { image: blocks * plane, block: plane, piece: self.chunk * BLOCK, group: self.tile_blocks };
        let (pieces, groups) = (self.cells.div_ceil(self.chunk), blocks.div_ceil(self.tile_blocks));
        let (x, _) = x.as_chunks::<B>();
        let x_image = self.channels.div_ceil(B) * self.geometry.cells();
        // By reference, for it is large to move.
        let mut out = Pieces::new(out, sizes);
        let tasks = out.by_ref().enumerate().map(|(task, out)| {
            let (task, group) = (task / groups, task % groups);
            let (n, first) = (task / pieces, task % pieces * self.chunk);
            let at = n * sizes.image + group * self.tile_blocks * plane + first * BLOCK;
            let residual = [0, 1].map(|i| match residual.get(at + i * plane..) {
                Some(residual) if !residual.is_empty() => &residual[..out[i].len()],
                _ => &[],
            });
            Chunk {
                geometry: &self.geometry,
                activation: self.activation,
                x: &x[n * x_image..][..x_image],
                panel: self.panel(panels, group),
                residual,
                out,
                first,
            }
        });
        for_each(tasks, self.parallel, |chunk| arch().dispatch(chunk));
    }
}
