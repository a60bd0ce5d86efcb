//! 3x3 convolutions over images in Winograd's form: transform, multiply, transform back.

use super::conv::{Bounds, Epilogue, LOAD, RESIDUAL, STORE, Sizes, Target, Tile, multiply};
use super::filters::Filters;
use super::{Layout, OUTPUT, SMALL_GROUP, plain_kernel, row_axis};
use crate::error::Result;
use crate::gpu::kernel::Kernel;
use crate::gpu::memory::fits_image;
use crate::gpu::ops::every_activation;
use crate::gpu::recording::{BufferId, Packing, Recording};
use crate::plan::Site;
use crate::tensor::Tensor;
use crate::window::Axis;
use crate::winograd::Winograd;

fn name(form: Winograd) -> String {
    format!("image_{}", form.name())
}

/// A transform, which loads a whole tile.
fn transform(name: &str, wgsl: &str, reads: usize, form: Winograd) -> Kernel {
    let input = include_str!("../../../shaders/shared/image_input_called.wgsl");
    plain_kernel(name, wgsl, reads).with(input).with(OUTPUT).winograd(form)
}

fn input_kernel(form: Winograd) -> Kernel {
    let wgsl = include_str!("../../../shaders/image_winograd_input.wgsl");
    transform(&name(form), wgsl, 1, form).activation(None)
}

fn output_kernel(form: Winograd, epilogue: Epilogue) -> Kernel {
    let wgsl = include_str!("../../../shaders/image_winograd_output.wgsl");
    let kernel = transform(&format!("{}_output", name(form)), wgsl, 3, form).with(RESIDUAL);
    epilogue.specialise(kernel)
}

pub(super) fn variants() -> Vec<Kernel> {
    let mut all = Vec::new();
    for form in Winograd::BOTH {
        all.push(input_kernel(form));
        for bias in [false, true] {
            all.push(output_kernel(form, Epilogue { bias, ..Epilogue::default() }));
        }
    }
    let epilogue = |activation| Epilogue { bias: true, residual: false, activation };
    all.extend(every_activation().into_iter().map(|a| output_kernel(Winograd::Four, epilogue(a))));
    all
}

/// A convolution in this form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    form: Winograd,
    images: usize,
    channels: usize,
    filters: usize,
    vertical: Axis,
    horizontal: Axis,
    /// Of the products.
    tile: Tile,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct InputParams {
    count: u32,
    tiles: u32,
    across: u32,
    all_tiles: u32,
    depth: u32,
    height: u32,
    width: u32,
    pad_top: u32,
    pad_left: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct OutputParams {
    count: u32,
    tiles: u32,
    across: u32,
    all_tiles: u32,
    filters: u32,
    last_lanes: u32,
    start: u32,
    gap: u32,
    bounds: Bounds,
    height: u32,
    width: u32,
    has_residual: u32,
}

impl Plan {
    /// The form asked for by name, else the one that costs less than `direct`; none where the convolution has no such form
    /// or its images would be too large.
    pub fn choose(
        axes: &[Axis],
        x: &Layout,
        filters: usize,
        direct: usize,
        variant: Option<&str>,
        recording: &Recording,
    ) -> Option<Self> {
        let &[vertical, horizontal] = axes else { return None };
        if !Winograd::suits(axes) {
            return None;
        }
        let plan = |form| {
            let (images, channels) = (x.images, x.channels);
            let tile = Tile { pixels: 1, filters: 1, broadcast: false };
            let plan = Plan { form, images, channels, filters, vertical, horizontal, tile };
            Plan { tile: plan.sizes().choose(Epilogue::default(), None, recording), ..plan }
        };
        let plans = Winograd::BOTH.map(plan);
        let chosen = match variant {
            Some(asked) if asked.starts_with("image_conv") => None,
            Some(asked) if plans.iter().any(|p| asked.starts_with(&name(p.form))) => {
                plans.iter().find(|p| asked.starts_with(&name(p.form)))
            }
            _ => plans.iter().filter(|p| p.cost() < direct).min_by_key(|p| p.cost()),
        };
        let fits = |p: &&Plan| {
            let texels = [p.input_texels(), p.output_texels(), p.bank().texels()];
            texels.iter().all(|n| fits_image(&recording.limits, 4 * n))
        };
        chosen.filter(fits).copied()
    }

    fn tiles(&self) -> usize {
        self.form.tiles(&self.vertical) * self.form.tiles(&self.horizontal)
    }

    fn products(&self) -> usize {
        self.form.side().pow(2)
    }

    fn input_texels(&self) -> usize {
        self.products() * self.channels.div_ceil(4) * self.images * self.tiles()
    }

    fn output_texels(&self) -> usize {
        self.products() * self.filters.div_ceil(4) * self.images * self.tiles()
    }

    /// The products, each a 1x1 convolution of all tiles.
    fn sizes(&self) -> Sizes {
        let tiles = self.images * self.tiles();
        Sizes {
            sets: self.products(),
            images: 1,
            depth: self.channels.div_ceil(4),
            filters: self.filters,
            lanes: 4,
            vertical: row_axis(),
            horizontal: Axis { input: tiles, output: tiles, ..row_axis() },
            plane: false,
            windows: None,
        }
    }

    fn bank(&self) -> Filters {
        Filters {
            sets: self.products(),
            filters: self.filters,
            channels: self.channels,
            taps: 1,
            block: self.tile.filters,
        }
    }

    /// In the unit of [`Sizes::cost`].
    pub fn cost(&self) -> usize {
        /// A transform's arithmetic for one texel of a tile.
        const TRANSFORM: usize = 10;
        /// Two more dispatches.
        const DISPATCHES: usize = 100_000;
        let product = self.sizes().cost(self.tile);
        let (inputs, outputs) = (self.input_texels().div_ceil(8), self.output_texels().div_ceil(8));
        let results = outputs * self.form.outputs().pow(2) / self.products();
        let transforms = inputs * (LOAD + TRANSFORM + STORE) + outputs * (LOAD + TRANSFORM) + results * STORE;
        product + transforms + DISPATCHES
    }

    pub fn record(
        &self,
        epilogue: Epilogue,
        weight: &Tensor,
        [input, bias]: [BufferId; 2],
        residual: Option<BufferId>,
        (output, target): (BufferId, Target),
        site: &Site,
        recording: &mut Recording,
    ) -> Result<()> {
        let name = &site.node.name;
        let (form, bank, sizes) = (self.form, self.bank(), self.sizes());
        let packing =
            Packing::new(format!("image winograd {form:?} {}", bank.block), move |values, _, words| {
                bank.pack(words, |filters, channel, _, products| {
                    form.four_filters(values, bank.channels, filters, channel, products);
                });
            });
        let weight = recording.constant_weights(format!("{name} weight"), weight, bank.texels(), packing);

        let across = form.tiles(&self.horizontal) as u32;
        let (tiles, all_tiles) = (self.tiles() as u32, (self.images * self.tiles()) as u32);
        let depth = self.channels.div_ceil(4);
        let count = depth * self.images * self.tiles();
        let params = InputParams {
            count: count as u32,
            tiles,
            across,
            all_tiles,
            depth: depth as u32,
            height: self.vertical.input as u32,
            width: self.horizontal.input as u32,
            pad_top: self.vertical.before as u32,
            pad_left: self.horizontal.before as u32,
        };
        let tiled = recording.computed_image(format!("{name} tiles"), self.input_texels());
        let groups = recording.linear(count, SMALL_GROUP);
        recording.dispatch(input_kernel(form), &params, &[input], &[tiled], groups)?;

        let products = recording.computed_image(format!("{name} products"), self.output_texels());
        let reads = [tiled, weight, recording.nothing()];
        let to = (products, Target::default());
        multiply(&sizes, self.tile, Epilogue::default(), reads, None, to, recording)?;

        let filters = self.filters.div_ceil(4);
        let count = filters * self.images * self.tiles();
        let params = OutputParams {
            count: count as u32,
            tiles,
            across,
            all_tiles,
            filters: filters as u32,
            last_lanes: (self.filters - 4 * (filters - 1)) as u32,
            start: target.start as u32,
            gap: target.gap as u32,
            bounds: epilogue.bounds(),
            height: self.vertical.output as u32,
            width: self.horizontal.output as u32,
            has_residual: u32::from(residual.is_some()),
        };
        let groups = recording.linear(count, SMALL_GROUP);
        let reads = [products, bias, residual.unwrap_or(input)];
        recording.dispatch(output_kernel(form, epilogue), &params, &reads, &[output], groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(channels: usize, side: usize, variant: Option<&str>) -> Option<Winograd> {
        let recording = Recording::new(wgpu::Limits::default(), true);
        let axis = Axis { kernel: 3, before: 1, after: 1, input: side, output: side, ..row_axis() };
        let x = Layout { images: 1, channels, pixels: side * side };
        let direct = Sizes::new(&x, channels, &[axis; 2], None).expect("two axes");
        let direct = direct.cost(direct.choose(Epilogue::default(), None, &recording));
        Plan::choose(&[axis; 2], &x, channels, direct, variant, &recording).map(|plan| plan.form)
    }

    #[test]
    fn every_branch_of_the_choice() {
        assert_eq!(chosen(128, 28, None), Some(Winograd::Four));
        assert_eq!(chosen(4, 28, None), None);
        assert_eq!(chosen(4, 28, Some("image_winograd_2")), Some(Winograd::Two));
        assert_eq!(chosen(4, 28, Some("image_winograd_4_output")), Some(Winograd::Four));
        assert_eq!(chosen(128, 28, Some("image_conv")), None);
        // The default limits' textures have 8192 rows of 2048 texels, fewer than the tiles of so large a picture.
        assert_eq!(chosen(128, 2048, Some("image_winograd_2")), None);
        let x = Layout { images: 1, channels: 8, pixels: 49 };
        let wide = Axis { kernel: 5, input: 7, output: 3, ..row_axis() };
        let recording = Recording::new(wgpu::Limits::default(), true);
        assert!(Plan::choose(&[wide; 2], &x, 8, usize::MAX, None, &recording).is_none());
    }
}
