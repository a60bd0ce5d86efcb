//! From rows to blocks and back.

use rayon::prelude::*;

use super::BLOCK;
use crate::cpu::Kernel;
use crate::cpu::cores::{Spread, grain};

/// Cells that are moved at a time, so that the lines written stay in the first-level cache.
const CELLS: usize = 64;

/// `[n, c, cells]` into blocks. The sizes are not 0.
pub(in crate::cpu) fn pack(channels: usize, cells: usize) -> Kernel {
    let (image, blocks, block) = (channels * cells, channels.div_ceil(BLOCK), BLOCK * cells);
    Kernel::new(move |inputs, outputs, _| {
        let images = outputs[0].par_chunks_mut(blocks * block).zip(inputs[0].par_chunks(image));
        images.spread(grain(image)).for_each(|(out, x)| {
            let blocks = out.par_chunks_mut(block).zip(x.par_chunks(block));
            blocks.spread(grain(block)).for_each(|(out, x)| interleave(x, cells, out));
        });
    })
}

/// Blocks into `[n, c, cells]`. The sizes are not 0.
pub(in crate::cpu) fn unpack(channels: usize, cells: usize) -> Kernel {
    let (image, blocks, block) = (channels * cells, channels.div_ceil(BLOCK), BLOCK * cells);
    Kernel::new(move |inputs, outputs, _| {
        let images = outputs[0].par_chunks_mut(image).zip(inputs[0].par_chunks(blocks * block));
        images.spread(grain(image)).for_each(|(out, x)| {
            let blocks = out.par_chunks_mut(block).zip(x.par_chunks(block));
            blocks.spread(grain(block)).for_each(|(out, x)| separate(x, cells, out));
        });
    })
}

/// Up to 16 rows of `cells` as the lanes of a block; lanes without a row keep what they hold.
fn interleave(rows: &[f32], cells: usize, out: &mut [f32]) {
    let (out, _) = out.as_chunks_mut::<BLOCK>();
    for (part, out) in out.chunks_mut(CELLS).enumerate() {
        for (lane, row) in rows.chunks(cells).enumerate() {
            let row = &row[part * CELLS..][..out.len()];
            out.iter_mut().zip(row).for_each(|(out, x)| out[lane] = *x);
        }
    }
}

/// The lanes of a block as up to 16 rows of `cells`.
fn separate(x: &[f32], cells: usize, rows: &mut [f32]) {
    let (x, _) = x.as_chunks::<BLOCK>();
    for (part, x) in x.chunks(CELLS).enumerate() {
        for (lane, row) in rows.chunks_mut(cells).enumerate() {
            let row = &mut row[part * CELLS..][..x.len()];
            row.iter_mut().zip(x).for_each(|(out, x)| *out = x[lane]);
        }
    }
}
