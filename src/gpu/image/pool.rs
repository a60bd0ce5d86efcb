//! Pooling and global pooling over images.

use super::{FLOAT, GROUP, Layout, kernel, kernel_to, result, row_axis, wanted};
use crate::error::Result;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::{Form, Recording};
use crate::ops::{Pool, PoolKind, ReduceKind};
use crate::plan::Site;
use crate::window::Axis;

fn pool_kernel(max: bool, count_padding: bool, kernel_width: usize) -> Kernel {
    kernel("image_pool", include_str!("../../../shaders/image_pool.wgsl"), 1)
        .with(FLOAT)
        .flag("MAX", max)
        .flag("COUNT_PADDING", count_padding)
        .constant("KERNEL_WIDTH", kernel_width)
        .activation(None)
}

pub(in crate::gpu) fn pool_variants() -> Vec<Kernel> {
    vec![pool_kernel(true, false, 3), pool_kernel(false, false, 2), pool_kernel(false, true, 1)]
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct PoolParams {
    count: u32,
    input_height: u32,
    input_width: u32,
    output_height: u32,
    output_width: u32,
    kernel_height: u32,
    stride_y: u32,
    stride_x: u32,
    dilation_y: u32,
    dilation_x: u32,
    pad_top: u32,
    pad_left: u32,
    pad_bottom: u32,
    pad_right: u32,
    lowest: f32,
}

/// Max or average pooling over images, which the convolution before it may have computed; false where this one has no such
/// kernel.
pub(in crate::gpu) fn pool(
    op: &Pool,
    axes: &[Axis],
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<bool> {
    if operands.is_computed(site) {
        return Ok(true);
    }
    let (max, count_padding) = match op.kind {
        PoolKind::Max => (true, false),
        PoolKind::Average { count_include_pad } => (false, count_include_pad),
        _ => return Ok(false),
    };
    let (vertical, horizontal) = match axes {
        [x] => (row_axis(), *x),
        [y, x] => (*y, *x),
        _ => return Ok(false),
    };
    let Some(y) = Layout::of(&site.output(0).shape) else { return Ok(false) };
    if op.indices.is_some() || !wanted(site, recording) {
        return Ok(false);
    }
    // The kernel's width is part of the code.
    if horizontal.kernel > 64 {
        return Ok(false);
    }
    // The padding channels of a window that sees nothing would be minus infinity, and times a weight of 0 NaN.
    let sees = |a: &Axis| a.dilation == 1 && a.before < a.kernel && a.after < a.kernel;
    if max && !(sees(&vertical) && sees(&horizontal)) {
        return Ok(false);
    }
    let Some(input) = operands.image(0, site, recording)? else { return Ok(false) };
    let output = operands.image_result(0, y, site, recording);
    let params = PoolParams {
        count: y.texels() as u32,
        input_height: vertical.input as u32,
        input_width: horizontal.input as u32,
        output_height: vertical.output as u32,
        output_width: horizontal.output as u32,
        kernel_height: vertical.kernel as u32,
        stride_y: vertical.stride as u32,
        stride_x: horizontal.stride as u32,
        dilation_y: vertical.dilation as u32,
        dilation_x: horizontal.dilation as u32,
        pad_top: vertical.before as u32,
        pad_left: horizontal.before as u32,
        pad_bottom: vertical.after as u32,
        pad_right: horizontal.after as u32,
        lowest: f32::NEG_INFINITY,
    };
    let groups = recording.linear(y.texels(), GROUP);
    let kernel = pool_kernel(max, count_padding, horizontal.kernel);
    recording.dispatch(kernel, &params, &[input], &[output], groups)?;
    Ok(true)
}

const GLOBAL: &str = "image_global";

fn global_kernel(form: Form, max: bool) -> Kernel {
    kernel_to(form, GLOBAL, include_str!("../../../shaders/image_global.wgsl"), 1)
        .with(FLOAT)
        .flag("MAX", max)
        .activation(None)
}

pub(in crate::gpu) fn global_variants() -> Vec<Kernel> {
    let forms = [Form::Image, Form::Words];
    forms.into_iter().flat_map(|form| [false, true].map(|max| global_kernel(form, max))).collect()
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct GlobalParams {
    count: u32,
    pixels: u32,
    filters: u32,
    last_lanes: u32,
}

/// Global pooling of an image that is nothing else yet; false where this reduction is none.
pub(in crate::gpu) fn global(
    kind: ReduceKind,
    axes: &[usize],
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<bool> {
    let dims = site.dims(0);
    let max = match kind {
        ReduceKind::Mean => false,
        ReduceKind::Max => true,
        _ => return Ok(false),
    };
    let spatial = axes.iter().copied().eq(2..dims.len()) && dims.len() > 2;
    let (Some(x), Some(y)) = (Layout::of(dims), Layout::of(&site.output(0).shape)) else { return Ok(false) };
    // Without keep_dims the output has the same images, channels and single pixels.
    if !spatial || !wanted(site, recording) || (y.images, y.channels, y.pixels) != (x.images, x.channels, 1) {
        return Ok(false);
    }
    let Some(input) = operands.image(0, site, recording)? else { return Ok(false) };
    let (output, form) = result(GLOBAL, y, site, operands, recording);
    let params = GlobalParams {
        count: y.texels() as u32,
        pixels: x.pixels as u32,
        filters: y.depth() as u32,
        last_lanes: y.last_lanes(),
    };
    let groups = recording.linear(y.texels(), GROUP);
    recording.dispatch(global_kernel(form, max), &params, &[input], &[output], groups)?;
    Ok(true)
}
