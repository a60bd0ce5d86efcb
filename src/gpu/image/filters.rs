//! The weights of `shaders/image_conv.wgsl`: of constants packed once, of others by each run.

use std::ops::Range;

use rayon::prelude::*;

use super::{GROUP, plain_kernel};
use crate::error::Result;
use crate::gpu::kernel::Kernel;
use crate::gpu::recording::{BufferId, Packing, Recording, by_block, write_fours};
use crate::tensor::Tensor;

/// Banks of filters, for convolutions that differ in nothing else.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filters {
    pub sets: usize,
    pub filters: usize,
    pub channels: usize,
    pub taps: usize,
    /// Texels of filters that one invocation computes.
    pub block: usize,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    texels: u32,
    blocks: u32,
    block: u32,
    depth: u32,
    taps: u32,
    filters: u32,
    channels: u32,
    set_step: u32,
    filter_step: u32,
    channel_step: u32,
    tap_step: u32,
    padding: u32,
}

pub(super) fn pack_kernel() -> Kernel {
    plain_kernel("image_filters", include_str!("../../../shaders/image_filters.wgsl"), 1).activation(None)
}

impl Filters {
    fn depth(&self) -> usize {
        self.channels.div_ceil(4)
    }

    fn blocks(&self) -> usize {
        self.filters.div_ceil(4 * self.block)
    }

    /// Texels of one set.
    fn set(&self) -> usize {
        self.blocks() * self.depth() * self.taps * self.block * 4
    }

    pub fn texels(&self) -> usize {
        self.sets * self.set()
    }

    /// Constant weights `[filters, channels, taps]`, of one set.
    pub fn constant(self, name: &str, weight: &Tensor, recording: &mut Recording) -> BufferId {
        let layout = format!("image conv {}", self.block);
        let pack = move |values: &[f32], _: &[usize], words: &mut [f32]| {
            self.pack(words, |filters, c, tap, sets| {
                for (lane, f) in filters.enumerate() {
                    sets[0][lane] = values[(f * self.channels + c) * self.taps + tap];
                }
            });
        };
        recording.constant_weights(
            format!("{name} weight"),
            weight,
            self.texels(),
            Packing::new(layout, pack),
        )
    }

    /// Writes the words of the texture; `weights` writes the weights of up to four filters, at a channel and a tap, in each
    /// set.
    pub fn pack(
        &self,
        words: &mut [f32],
        weights: impl Fn(Range<usize>, usize, usize, &mut [[f32; 4]]) + Sync,
    ) {
        let blocks = by_block(words, self.sets, self.blocks());
        blocks.into_par_iter().enumerate().for_each(|(block, mut parts)| {
            let mut sets = vec![[0.0; 4]; self.sets];
            let first = 4 * self.block * block;
            let end = self.filters.min(first + 4 * self.block);
            for c in 0..self.channels {
                for tap in 0..self.taps {
                    for (four, filter) in (first..end).step_by(4).enumerate() {
                        if end - filter < 4 {
                            sets.fill([0.0; 4]);
                        }
                        weights(filter..end.min(filter + 4), c, tap, &mut sets);
                        let texel = ((c / 4 * self.taps + tap) * self.block + four) * 4 + c % 4;
                        write_fours(&mut parts, texel, &sets);
                    }
                }
            }
        });
    }

    /// Weights that a run computes: in a buffer, so many elements apart from filter to filter, channel to channel and tap
    /// to tap, and set after set.
    pub fn computed(
        &self,
        name: &str,
        weight: BufferId,
        [filter_step, channel_step, tap_step]: [usize; 3],
        recording: &mut Recording,
    ) -> Result<BufferId> {
        let image = recording.computed_weights(format!("{name} weight"), self.texels());
        let params = Params {
            texels: self.texels() as u32,
            blocks: self.blocks() as u32,
            block: self.block as u32,
            depth: self.depth() as u32,
            taps: self.taps as u32,
            filters: self.filters as u32,
            channels: self.channels as u32,
            set_step: (self.filters * self.channels * self.taps) as u32,
            filter_step: filter_step as u32,
            channel_step: channel_step as u32,
            tap_step: tap_step as u32,
            padding: 0,
        };
        let groups = recording.linear(self.texels(), GROUP);
        recording.dispatch(pack_kernel(), &params, &[weight], &[image], groups)?;
        Ok(image)
    }
}
