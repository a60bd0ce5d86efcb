//! Linear layers over images of one pixel.

use super::{Layout, SMALL_GROUP, is_finite_at_zero, kernel, pack_bias, wanted};
use crate::error::Result;
use crate::gpu::kernel::Kernel;
use crate::gpu::memory::fits_image;
use crate::gpu::operands::Operands;
use crate::gpu::ops::every_activation;
use crate::gpu::recording::Recording;
use crate::ops::{Activation, Gemm};
use crate::plan::Site;

fn linear_kernel(rows: usize, has_bias: bool, activation: Option<Activation>) -> Kernel {
    kernel("image_linear", include_str!("../../../shaders/image_linear.wgsl"), 3)
        .constant("ROWS", rows)
        .flag("HAS_BIAS", has_bias)
        .activation(activation)
}

pub(in crate::gpu) fn linear_variants() -> Vec<Kernel> {
    let activations = every_activation().into_iter().map(|a| linear_kernel(1, true, a));
    [linear_kernel(1, false, None), linear_kernel(4, true, None)].into_iter().chain(activations).collect()
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
    let vector_bias = match (site.input(2), site.constant(2)) {
        (None, _) => true,
        (Some(_), Some(bias)) => bias.shape()[..] == [features],
        _ => false,
    };
    let texels = features.div_ceil(4) * inputs.div_ceil(4) * 4;
    if !wanted(site, recording)
        || !plain
        || !vector_bias
        || !fits_image(&recording.limits, 4 * texels)
        || !op.activation.is_none_or(is_finite_at_zero)
    {
        return Ok(false);
    }
    let (Some(x), Some(y)) = (Layout::of(site.dims(0)), Layout::of(&site.output(0).shape)) else {
        return Ok(false);
    };
    let name = &site.node.name;
    let weight =
        recording.constant_image(format!("{name} weight"), weight, texels, "image linear", pack_linear);
    let bias = site.constant(2).map(|bias| pack_bias(name, bias, recording));
    let Some(input) = operands.image(0, site, recording)? else { return Ok(false) };
    let output = operands.image_result(0, y, site, recording);
    let rows = if x.images > 1 { 4 } else { 1 };
    let params = LinearParams {
        images: x.images as u32,
        depth: x.depth() as u32,
        filters: y.depth() as u32,
        last_lanes: y.last_lanes(),
    };
    let groups = recording.linear(x.images.div_ceil(rows) * y.depth(), SMALL_GROUP);
    let reads = [input, weight, bias.unwrap_or_else(|| recording.nothing())];
    recording.dispatch(
        linear_kernel(rows, bias.is_some(), op.activation),
        &params,
        &reads,
        &[output],
        groups,
    )?;
    Ok(true)
}

/// `[out, in]` as `image_linear` reads it.
fn pack_linear(values: &[f32], shape: &[usize]) -> Vec<f32> {
    let (features, inputs) = (shape[0], shape[1]);
    let depth = inputs.div_ceil(4);
    let mut texels = vec![0.0; features.div_ceil(4) * depth * 16];
    for f in 0..features {
        for c in 0..inputs {
            let texel = (f / 4 * depth + c / 4) * 4 + f % 4;
            texels[4 * texel + c % 4] = values[f * inputs + c];
        }
    }
    texels
}
