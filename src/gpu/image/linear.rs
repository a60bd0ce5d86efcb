//! Linear layers over images of one pixel.

use super::{Layout, SMALL_GROUP, bias, is_finite_at_zero, kernel_to, result, wanted};
use crate::error::Result;
use crate::gpu::kernel::Kernel;
use crate::gpu::memory::fits_image;
use crate::gpu::operands::Operands;
use crate::gpu::ops::every_activation;
use crate::gpu::recording::{Form, Packing, Recording};
use crate::ops::{Activation, Gemm};
use crate::plan::Site;

const NAME: &str = "image_linear";

fn linear_kernel(form: Form, rows: usize, has_bias: bool, activation: Option<Activation>) -> Kernel {
    kernel_to(form, NAME, include_str!("../../../shaders/image_linear.wgsl"), 3)
        .constant("ROWS", rows)
        .flag("HAS_BIAS", has_bias)
        .activation(activation)
}

pub(in crate::gpu) fn linear_variants() -> Vec<Kernel> {
    let forms = [Form::Image, Form::Words];
    let plain = forms
        .into_iter()
        .flat_map(|form| [linear_kernel(form, 1, false, None), linear_kernel(form, 4, true, None)]);
    let activations = every_activation().into_iter().map(|a| linear_kernel(Form::Image, 1, true, a));
    plain.chain(activations).collect()
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct LinearParams {
    images: u32,
    depth: u32,
    filters: u32,
    last_lanes: u32,
}

/// A linear layer over images of one pixel; false where this product is none.
pub(in crate::gpu) fn linear(
    op: &Gemm,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<bool> {
    let Some(weight) = site.constant(1) else { return Ok(false) };
    let (&[_, _], &[features, inputs]) = (site.dims(0), &weight.shape()[..]) else { return Ok(false) };
    let plain = op.trans_b && !op.trans_a && op.alpha == 1.0 && op.beta == 1.0;
    let vector_bias = site.input(2).is_none() || site.dims(2) == [features];
    let (Some(x), Some(y)) = (Layout::of(site.dims(0)), Layout::of(&site.output(0).shape)) else {
        return Ok(false);
    };
    // A flattened image is read as it lies: the weights are packed in its order.
    let flattened = operands
        .known_image(0, site)
        .filter(|(_, of)| of.images == x.images && of.channels * of.pixels == inputs);
    let of = flattened.map_or(x, |(_, layout)| layout);
    let depth = of.depth() * of.pixels;
    let texels = features.div_ceil(4) * depth * 4;
    let product =
        site.options.variant.is_some_and(|name| name.starts_with("image_conv") || name == "image_filters");
    if !wanted(site, recording)
        || product
        || !plain
        || !vector_bias
        || !fits_image(&recording.limits, 4 * texels)
        || !op.activation.is_none_or(is_finite_at_zero)
    {
        return Ok(false);
    }
    let name = &site.node.name;
    let layout = format!("image linear {} {}", of.channels, of.pixels);
    let packing = Packing::new(layout, move |values, _, texels| pack_linear(values, features, &of, texels));
    let weight = recording.constant_weights(format!("{name} weight"), weight, texels, packing);
    let bias = bias(site, operands, recording)?;
    let input = match flattened {
        Some((image, _)) => image,
        None => match operands.image(0, site, recording)? {
            Some(image) => image,
            None => return Ok(false),
        },
    };
    let (output, form) = result(NAME, y, site, operands, recording);
    let rows = if x.images > 1 { 4 } else { 1 };
    let params = LinearParams {
        images: x.images as u32,
        depth: depth as u32,
        filters: y.depth() as u32,
        last_lanes: y.last_lanes(),
    };
    let groups = recording.linear(x.images.div_ceil(rows) * y.depth(), SMALL_GROUP);
    let kernel = linear_kernel(form, rows, site.input(2).is_some(), op.activation);
    recording.dispatch(kernel, &params, &[input, weight, bias], &[output], groups)?;
    Ok(true)
}

/// `[features, channels, pixels]` as `image_linear` reads it, for inputs of this layout.
fn pack_linear(values: &[f32], features: usize, of: &Layout, texels: &mut [f32]) {
    let depth = of.depth() * of.pixels;
    let inputs = of.channels * of.pixels;
    for f in 0..features {
        for c in 0..of.channels {
            for p in 0..of.pixels {
                let texel = (f / 4 * depth + c / 4 * of.pixels + p) * 4 + f % 4;
                texels[4 * texel + c % 4] = values[f * inputs + c * of.pixels + p];
            }
        }
    }
}
