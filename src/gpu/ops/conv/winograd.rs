//! 3x3 convolutions in Winograd's form (`src/winograd.rs`): transform the input, multiply, transform back. The products are
//! matrix products of filters and tiles, one for each place in a tile.

use std::ops::Range;

use rayon::prelude::*;

use super::super::INDEX;
use super::super::gemm::{self, Form, Left, Params as Product, Source, last_four};
use super::{Epilogue, GROUP, Layer};
use crate::error::Result;
use crate::gpu::kernel::Kernel;
use crate::gpu::memory::check_size;
use crate::gpu::recording::{Packing, Recording, by_block, write_fours};
use crate::plan::Site;
use crate::tensor::Tensor;
use crate::window::Axis;
use crate::winograd::Winograd;

fn name(form: Winograd) -> String {
    format!("conv_{}", form.name())
}

fn specialise(kernel: Kernel, form: Winograd) -> Kernel {
    kernel.with(include_str!("../../../../shaders/shared/conv_winograd.wgsl")).with(INDEX).winograd(form)
}

fn input_kernel(form: Winograd) -> Kernel {
    let wgsl = include_str!("../../../../shaders/conv_winograd_input.wgsl");
    specialise(Kernel::new(name(form), wgsl, 1, 1), form)
}

/// A tile of four outputs a row stores them at once where every row is whole fours.
fn output_kernel(form: Winograd, width: usize, epilogue: &Epilogue) -> Kernel {
    let wgsl = include_str!("../../../../shaders/conv_winograd_output.wgsl");
    let fours = form == Winograd::Four && width.is_multiple_of(4);
    epilogue.finish4(specialise(Kernel::new(format!("{}_output", name(form)), wgsl, 3, 1), form), fours)
}

pub(super) fn variants() -> Vec<Kernel> {
    let mut all = Winograd::BOTH.map(input_kernel).to_vec();
    for epilogue in Epilogue::EVERY {
        all.push(output_kernel(Winograd::Two, 4, &epilogue));
        all.extend([3, 4].map(|width| output_kernel(Winograd::Four, width, &epilogue)));
    }
    all.extend(Epilogue::every_activation().map(|epilogue| output_kernel(Winograd::Four, 4, &epilogue)));
    all
}

/// A convolution in this form.
pub(super) struct Plan<'a> {
    layer: &'a Layer<'a>,
    weight: &'a Tensor,
    form: Winograd,
    /// Images that are transformed at once.
    images: usize,
    vertical: Axis,
    horizontal: Axis,
}

/// The form for so many tiles of 2x2 and 4x4 outputs. The transforms' work grows with channels and filters, and that of the
/// products with both, so few of either are better off without; so are few positions, which three dispatches take longer
/// than one. Larger tiles take fewer products for an output, but where they reach far beyond the edge it is about as many,
/// and then smaller ones round less. All thresholds are estimates (ncnn starts at 16 channels; ours are for GPUs whose
/// speed the transforms' traffic limits).
fn rule(channels: usize, filters: usize, [small, large]: [usize; 2]) -> Option<Winograd> {
    const LEAST_CHANNELS: usize = 64;
    const LEAST_POSITIONS: usize = 512;
    if channels.min(filters) < LEAST_CHANNELS || 4 * small < LEAST_POSITIONS {
        return None;
    }
    let products = |form: Winograd, tiles: usize| form.side().pow(2) * tiles;
    let [of_small, of_large] = [products(Winograd::Two, small), products(Winograd::Four, large)];
    Some(if 4 * of_large < 3 * of_small { Winograd::Four } else { Winograd::Two })
}

/// The parameters of `shaders/shared/conv_winograd.wgsl`, which documents them.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    channels: u32,
    columns: u32,
    count: u32,
    images: u32,
    first_image: u32,
    tiles: u32,
    across: u32,
    height: u32,
    width: u32,
    pad_top: u32,
    pad_left: u32,
    padding: u32,
}

impl<'a> Plan<'a> {
    /// In the form asked for by name, else by [`rule`]; none where the convolution has no such form or its matrices would be
    /// too large. What is asked for by another name is that.
    pub fn choose(layer: &'a Layer, site: &'a Site, recording: &Recording) -> Option<Self> {
        let (&[vertical, horizontal], Some(weight)) = (layer.axes, site.constant(1)) else { return None };
        if layer.groups != 1 || !Winograd::suits(layer.axes) {
            return None;
        }
        let plan = |form| Plan { layer, weight, form, images: layer.images, vertical, horizontal };
        let plans = Winograd::BOTH.map(plan);
        let form = match site.options.variant {
            Some(asked) => Winograd::BOTH.into_iter().find(|form| asked.starts_with(&name(*form))),
            None if recording.software => None,
            None => rule(layer.channels, layer.filters, plans.map(|plan| layer.images * plan.tiles())),
        };
        let plan = plan(form?);
        let plan = Plan { images: plan.images_at_once(site.options.im2col_cap), ..plan };
        let fits = |words| words > 0 && check_size(&recording.limits, "", words, site.options).is_ok();
        let sizes = [layer.channels, layer.filters].map(|channels| plan.words(channels));
        sizes.into_iter().all(fits).then_some(plan)
    }

    /// As many images as keep the matrices within so many bytes, but one at least.
    fn images_at_once(&self, cap: usize) -> usize {
        let layer = self.layer;
        let of_one = 4 * self.places() * layer.channels.max(layer.filters) * self.tiles();
        (cap / of_one.max(1)).clamp(1, layer.images.max(1))
    }

    /// The tiles of an image.
    fn tiles(&self) -> usize {
        self.form.tiles(&self.vertical) * self.form.tiles(&self.horizontal)
    }

    /// The places in a tile, and so the matrices.
    fn places(&self) -> usize {
        self.form.side().pow(2)
    }

    /// The columns of the matrices: the tiles of so many images, and more to make rows whole fours.
    fn columns(&self, images: usize) -> usize {
        (images * self.tiles()).next_multiple_of(4)
    }

    /// The elements of all matrices of so many channels.
    fn words(&self, channels: usize) -> usize {
        self.places() * channels * self.columns(self.images)
    }

    /// Of the transform of so many channels of some images' pictures of this size.
    fn params(&self, images: Range<usize>, channels: usize, height: usize, width: usize) -> Params {
        let columns = self.columns(images.len());
        Params {
            channels: channels as u32,
            columns: columns as u32,
            count: (channels * columns) as u32,
            images: images.len() as u32,
            first_image: images.start as u32,
            tiles: self.tiles() as u32,
            across: self.form.tiles(&self.horizontal) as u32,
            height: height as u32,
            width: width as u32,
            pad_top: self.vertical.before as u32,
            pad_left: self.horizontal.before as u32,
            padding: 0,
        }
    }

    pub fn record(&self, site: &Site, recording: &mut Recording) -> Result<()> {
        let &Layer { channels, filters, input, output, .. } = self.layer;
        let Plan { form, vertical, horizontal, .. } = *self;
        let (name, places) = (&site.node.name, self.places());
        let rows = filters.next_multiple_of(4);
        let layout = format!("winograd {form:?}");
        let packing = Packing::new(layout, move |values, _, words| pack(form, values, channels, words));
        let words = places * rows * channels;
        let weight = recording.packed(format!("{name} weight"), self.weight, words, packing);
        // These serve all pieces in turn.
        let of_input = recording.computed(format!("{name} tiles"), self.words(channels));
        let of_output = recording.computed(format!("{name} products"), self.words(filters));
        let output_kernel = output_kernel(form, horizontal.output, &self.layer.epilogue());
        let [bias, residual] = self.layer.added(recording);

        for start in (0..self.layer.images).step_by(self.images) {
            let images = start..self.layer.images.min(start + self.images);
            let columns = self.columns(images.len());
            let params = self.params(images.clone(), channels, vertical.input, horizontal.input);
            let groups = recording.linear(channels * columns, GROUP);
            recording.dispatch(input_kernel(form), &params, &[input], &[of_input], groups)?;

            let product = Product {
                batch: last_four(&[places], 1, 1),
                a_step: last_four(&[rows * channels], 1, 0),
                b_step: last_four(&[channels * columns], 1, 0),
                c_step: last_four(&[filters * columns], 1, 0),
                products: places as u32,
                ..Product::new(filters, columns, channels)
            };
            let operands = (Left::Packed(weight), Source::Stored(of_input));
            gemm::dispatch(&Form::default(), &product, operands, None, None, of_output, site, recording)?;

            let params = self.params(images, filters, vertical.output, horizontal.output);
            let reads = [of_output, bias, residual];
            let groups = recording.linear(filters * columns, GROUP);
            recording.dispatch(output_kernel.clone(), &params, &reads, &[output], groups)?;
        }
        Ok(())
    }
}

/// Filters of 3x3 in this form: for each place in a tile the matrix `[filters, channels]`, as [`gemm::pack_rows`] packs it.
fn pack(form: Winograd, values: &[f32], channels: usize, words: &mut [f32]) {
    let filters = values.len() / (9 * channels);
    let places = form.side().pow(2);
    let blocks = by_block(words, places, filters.div_ceil(4));
    blocks.into_par_iter().enumerate().for_each(|(four, mut parts)| {
        let mut transformed = vec![[0.0; 4]; places];
        let four = 4 * four..filters.min(4 * four + 4);
        for channel in 0..channels {
            form.four_filters(values, channels, four.clone(), channel, &mut transformed);
            write_fours(&mut parts, channel, &transformed);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_branch_of_the_rule() {
        // The tiles of a square picture of this side.
        let chosen = |channels, filters, side: usize| {
            rule(channels, filters, [side.div_ceil(2).pow(2), side.div_ceil(4).pow(2)])
        };
        assert_eq!(chosen(64, 64, 56), Some(Winograd::Four));
        // Few channels, few filters, few positions.
        assert_eq!(chosen(63, 64, 56), None);
        assert_eq!(chosen(64, 63, 56), None);
        assert_eq!(chosen(512, 512, 14), None);
        // A tile of 4x4 for the last row and column, and each of one position.
        assert_eq!(rule(64, 64, [32 * 25, 32 * 9]), Some(Winograd::Two));
        assert_eq!(rule(64, 64, [32 * 49, 32 * 16]), Some(Winograd::Four));
    }

    #[test]
    fn a_matrix_for_each_place_in_a_tile() {
        // Two filters of one channel, each of one corner.
        let mut filters = [0.0; 18];
        (filters[0], filters[9]) = (4.0, 8.0);
        let mut matrices = [0.0; 64];
        pack(Winograd::Two, &filters, 1, &mut matrices);
        assert_eq!(matrices[..8], [4.0, 8.0, 0.0, 0.0, 2.0, 4.0, 0.0, 0.0]);
    }
}
