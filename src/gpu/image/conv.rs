//! Convolutions and depthwise convolutions over images.

use super::{
    Layout, SMALL_GROUP, is_finite_at_zero, kernel, pack_bias, pack_kernel, row_axis, unpack_kernel, wanted,
};
use crate::error::Result;
use crate::gpu::kernel::Kernel;
use crate::gpu::memory::fits_image;
use crate::gpu::operands::Operands;
use crate::gpu::ops::every_activation;
use crate::gpu::recording::{Packing, Recording};
use crate::ops::{Activation, Conv};
use crate::plan::Site;
use crate::window::Axis;

/// Every kernel of this family that convolutions may choose.
pub(in crate::gpu) fn conv_variants() -> Vec<Kernel> {
    let rows = [
        Row { pixels: 7, kernel: 3, stride: 1, dilation: 1 },
        Row { pixels: 8, kernel: 1, stride: 2, dilation: 1 },
        Row { pixels: 4, kernel: 7, stride: 2, dilation: 2 },
    ];
    let flags = [(false, false), (true, false), (false, true), (true, true)];
    let mut all = vec![pack_kernel(), unpack_kernel()];
    for row in rows {
        for (bias, residual) in flags {
            all.push(conv_kernel(&row, 2, bias, residual, None));
            all.push(depthwise_kernel(&row, bias, residual, None));
        }
    }
    for activation in every_activation() {
        all.push(conv_kernel(&rows[0], 1, true, false, activation));
        all.push(depthwise_kernel(&rows[0], true, false, activation));
    }
    all
}

/// How an output row is cut into what one invocation computes, and what of the convolution specialises the code.
#[derive(Clone, Copy, Debug)]
struct Row {
    pixels: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
}

impl Row {
    /// The number of neighbours, up to eight, that leaves the fewest idle at the end of a row.
    fn new(axis: &Axis) -> Self {
        let waste = |pixels: usize| axis.output.div_ceil(pixels) * pixels - axis.output;
        let pixels = [8, 7, 6, 5, 4].into_iter().min_by_key(|&p| (waste(p), 8 - p)).unwrap_or(8);
        let pixels = pixels.min(axis.output.max(1));
        Row { pixels, kernel: axis.kernel, stride: axis.stride, dilation: axis.dilation }
    }

    fn specialise(&self, kernel: Kernel) -> Kernel {
        kernel
            .with(include_str!("../../../shaders/shared/image_row.wgsl"))
            .constant("PIXELS", self.pixels)
            .constant("KERNEL_WIDTH", self.kernel)
            .constant("STRIDE_X", self.stride)
            .constant("DILATION_X", self.dilation)
    }
}

fn conv_kernel(
    row: &Row,
    filters: usize,
    has_bias: bool,
    has_residual: bool,
    activation: Option<Activation>,
) -> Kernel {
    let kernel = kernel("image_conv", include_str!("../../../shaders/image_conv.wgsl"), 4);
    row.specialise(kernel)
        .constant("FILTERS", filters)
        .flag("HAS_BIAS", has_bias)
        .flag("HAS_RESIDUAL", has_residual)
        .activation(activation)
}

fn depthwise_kernel(row: &Row, has_bias: bool, has_residual: bool, activation: Option<Activation>) -> Kernel {
    let kernel = kernel("image_depthwise", include_str!("../../../shaders/image_depthwise.wgsl"), 4);
    row.specialise(kernel)
        .flag("HAS_BIAS", has_bias)
        .flag("HAS_RESIDUAL", has_residual)
        .activation(activation)
}

/// The sizes of a convolution's rows: what its kernels' parameters end with.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Rows {
    input_height: u32,
    input_width: u32,
    output_height: u32,
    output_width: u32,
    kernel_height: u32,
    stride_y: u32,
    dilation_y: u32,
    pad_top: u32,
    pad_left: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct ConvParams {
    count: u32,
    across: u32,
    depth: u32,
    filters: u32,
    last_lanes: u32,
    rows: Rows,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct DepthwiseParams {
    count: u32,
    across: u32,
    depth: u32,
    rows: Rows,
}

/// A convolution or depthwise convolution over images; false where this one has no such kernel.
pub(in crate::gpu) fn conv(
    op: &Conv,
    axes: &[Axis],
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<bool> {
    let (Some(x), Some(y)) = (Layout::of(site.dims(0)), Layout::of(&site.output(0).shape)) else {
        return Ok(false);
    };
    let Some(weight) = site.constant(1) else { return Ok(false) };
    let constant_bias = site.input(2).is_none() || site.constant(2).is_some();
    // One axis is a picture of one row.
    let (vertical, horizontal) = match axes {
        [x] => (row_axis(), *x),
        [y, x] => (*y, *x),
        _ => return Ok(false),
    };
    let depthwise = op.groups == x.channels && y.channels == x.channels && op.groups > 1;
    let row = Row::new(&horizontal);
    if !wanted(site, recording)
        || !constant_bias
        || !(op.groups == 1 || depthwise)
        || !op.activation.is_none_or(is_finite_at_zero)
    {
        return Ok(false);
    }

    let [filters, of_group, ref kernel @ ..] = weight.shape()[..] else { return Ok(false) };
    let taps: usize = kernel.iter().product();
    let name = &site.node.name;
    let (texels, layout, packing): (_, _, Packing) = if depthwise {
        (x.depth() * taps, "image depthwise", pack_depthwise)
    } else {
        (of_group.div_ceil(4) * taps * 4 * filters.div_ceil(4), "image conv", pack_filters)
    };
    if !fits_image(&recording.limits, 4 * texels) {
        return Ok(false);
    }
    let weight = recording.constant_image(format!("{name} weight"), weight, texels, layout, packing);
    let bias = site.constant(2).map(|bias| pack_bias(name, bias, recording));
    let Some(input) = operands.image(0, site, recording)? else { return Ok(false) };
    let residual = operands.image(3, site, recording)?;
    let output = operands.image_result(0, y, site, recording);

    let rows = Rows {
        input_height: vertical.input as u32,
        input_width: horizontal.input as u32,
        output_height: vertical.output as u32,
        output_width: horizontal.output as u32,
        kernel_height: vertical.kernel as u32,
        stride_y: vertical.stride as u32,
        dilation_y: vertical.dilation as u32,
        pad_top: vertical.before as u32,
        pad_left: horizontal.before as u32,
    };
    let across = horizontal.output.div_ceil(row.pixels);
    let bias_or_none = bias.unwrap_or_else(|| recording.nothing());
    let reads = [input, weight, bias_or_none, residual.unwrap_or(input)];
    if depthwise {
        let count = across * vertical.output * x.depth() * x.images;
        let params =
            DepthwiseParams { count: count as u32, across: across as u32, depth: x.depth() as u32, rows };
        let kernel = depthwise_kernel(&row, bias.is_some(), residual.is_some(), op.activation);
        let groups = recording.linear(count, SMALL_GROUP);
        recording.dispatch(kernel, &params, &reads, &[output], groups)?;
    } else {
        let blocks = if y.depth() > 1 { 2 } else { 1 };
        let count = across * vertical.output * y.depth().div_ceil(blocks) * x.images;
        let params = ConvParams {
            count: count as u32,
            across: across as u32,
            depth: x.depth() as u32,
            filters: y.depth() as u32,
            last_lanes: y.last_lanes(),
            rows,
        };
        let kernel = conv_kernel(&row, blocks, bias.is_some(), residual.is_some(), op.activation);
        let groups = recording.linear(count, SMALL_GROUP);
        recording.dispatch(kernel, &params, &reads, &[output], groups)?;
    }
    Ok(true)
}

/// `[c_out, c_in, kernel...]` as `image_conv` reads it.
fn pack_filters(values: &[f32], shape: &[usize]) -> Vec<f32> {
    let (filters, channels) = (shape[0], shape[1]);
    let taps: usize = shape[2..].iter().product();
    let (depth, blocks) = (channels.div_ceil(4), filters.div_ceil(4));
    let mut texels = vec![0.0; depth * taps * 4 * blocks * 4];
    for f in 0..filters {
        for c in 0..channels {
            for tap in 0..taps {
                let texel = ((c / 4 * taps + tap) * 4 + c % 4) * blocks + f / 4;
                texels[4 * texel + f % 4] = values[(f * channels + c) * taps + tap];
            }
        }
    }
    texels
}

/// `[c, 1, kernel...]` as `image_depthwise` reads it.
fn pack_depthwise(values: &[f32], shape: &[usize]) -> Vec<f32> {
    let taps: usize = shape[2..].iter().product();
    let mut texels = vec![0.0; shape[0].div_ceil(4) * taps * 4];
    for (i, value) in values.iter().enumerate() {
        let (c, tap) = (i / taps, i % taps);
        texels[4 * (c / 4 * taps + tap) + c % 4] = *value;
    }
    texels
}
