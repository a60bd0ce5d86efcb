//! From rows to blocks and back.

use rayon::prelude::*;

use super::BLOCK;
use crate::cpu::Kernel;
use crate::cpu::activation::grain;

/// Cells that are moved at a time, so that the lines written stay in the first-level cache.
const CELLS: usize = 64;

/// `[n, c, cells]` into blocks. The sizes are not 0.
pub(in crate::cpu) fn pack(channels: usize, cells: usize) -> Kernel {
    Kernel::new(move |inputs, outputs, _| {
        let images = inputs[0].chunks(channels * cells);
        let blocks = images.flat_map(|x| x.chunks(BLOCK * cells)).collect::<Vec<_>>();
        let tasks = outputs[0].par_chunks_mut(BLOCK * cells).zip(blocks);
        tasks.with_min_len(grain(BLOCK * cells)).for_each(|(out, x)| interleave::<BLOCK>(x, cells, out));
    })
}

/// Blocks into `[n, c, cells]`. The sizes are not 0.
pub(in crate::cpu) fn unpack(channels: usize, cells: usize) -> Kernel {
    Kernel::new(move |inputs, outputs, _| {
        let images = outputs[0].chunks_mut(channels * cells);
        let blocks = images.flat_map(|x| x.chunks_mut(BLOCK * cells)).collect::<Vec<_>>();
        let tasks = blocks.into_par_iter().zip(inputs[0].par_chunks(BLOCK * cells));
        tasks.with_min_len(grain(BLOCK * cells)).for_each(|(out, x)| {
            let (x, _) = x.as_chunks::<BLOCK>();
            for (part, x) in x.chunks(CELLS).enumerate() {
                for (lane, out) in out.chunks_mut(cells).enumerate() {
                    let out = &mut out[part * CELLS..][..x.len()];
                    out.iter_mut().zip(x).for_each(|(out, x)| *out = x[lane]);
                }
            }
        });
    })
}

/// Rows of `cells` as the lanes of so many groups of `B`; lanes without a row keep what they hold.
pub(super) fn interleave<const B: usize>(rows: &[f32], cells: usize, out: &mut [f32]) {
    let (out, _) = out.as_chunks_mut::<B>();
    for (part, out) in out.chunks_mut(CELLS).enumerate() {
        for (lane, row) in rows.chunks(cells).enumerate() {
            let row = &row[part * CELLS..][..out.len()];
            out.iter_mut().zip(row).for_each(|(out, x)| out[lane] = *x);
        }
    }
}
