//! Elementwise functions of one image, or of two of the same shape.

use super::{GROUP, Layout, is_finite_at_zero, kernel, wanted};
use crate::error::Result;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::ops::every_activation;
use crate::gpu::recording::Recording;
use crate::ops::{Activation, Binary};
use crate::plan::Site;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct MapParams {
    count: u32,
    padding: [u32; 3],
}

fn map_kernel(function: Option<Binary>, activation: Option<Activation>) -> Option<Kernel> {
    let function = match function {
        Some(Binary::Add) => 0,
        Some(Binary::Sub) => 1,
        Some(Binary::Mul) => 2,
        Some(_) => return None,
        None => 3,
    };
    let kernel = kernel("image_map", include_str!("../../../shaders/image_map.wgsl"), 2);
    Some(kernel.constant("FUNCTION", function).activation(activation))
}

pub(in crate::gpu) fn map_variants() -> Vec<Kernel> {
    every_activation().into_iter().filter_map(|activation| map_kernel(None, activation)).collect()
}

pub(in crate::gpu) fn binary_variants() -> Vec<Kernel> {
    let functions = [Binary::Add, Binary::Sub, Binary::Mul];
    functions.into_iter().filter_map(|function| map_kernel(Some(function), None)).collect()
}

/// An activation, or a sum, difference or product of equal shapes, over images; false where this is none.
pub(in crate::gpu) fn map(
    function: Option<Binary>,
    activation: Option<Activation>,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<bool> {
    let Some(kernel) = map_kernel(function, activation) else { return Ok(false) };
    let Some(y) = Layout::of(&site.output(0).shape) else { return Ok(false) };
    let same = function.is_none() || site.dims(0) == site.dims(1);
    if !same || !wanted(site, recording) || !activation.is_none_or(is_finite_at_zero) {
        return Ok(false);
    }
    let Some(a) = operands.image(0, site, recording)? else { return Ok(false) };
    let b = operands.image(1, site, recording)?;
    let output = operands.image_result(0, y, site, recording);
    let params = MapParams { count: y.texels() as u32, padding: [0; 3] };
    let groups = recording.linear(y.texels(), GROUP);
    recording.dispatch(kernel, &params, &[a, b.unwrap_or(a)], &[output], groups)?;
    Ok(true)
}
