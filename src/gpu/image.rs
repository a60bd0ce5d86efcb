//! Kernels over images (`shaders/shared/image.wgsl`): the family for adapters that compute on CPU cores, where a texture
//! is read several times faster than a storage buffer, and workgroup memory and barriers only cost.
//!
//! An operator's file asks here first ([`wanted`]); where its operands suit, the image kernel is recorded, and values
//! stay images from layer to layer. Whatever has no image kernel works on buffers, and is packed or unpacked around.

use super::kernel::Kernel;
use super::memory::fits_image;
use super::operands::Operands;
use super::ops::{INDEX, every_activation};
use super::recording::{BufferId, Packing, Recording};
use crate::error::Result;
use crate::ops::{Activation, Binary, Conv, Gemm, Pool, PoolKind, ReduceKind};
use crate::plan::Site;
use crate::tensor::Tensor;
use crate::window::Axis;

/// Invocations of a workgroup: of kernels that do little for a texel, and of those that do much, so that even few
/// divide evenly over the processor's cores.
const GROUP: usize = 64;
const SMALL_GROUP: usize = 16;
const IMAGE: &str = include_str!("../../shaders/shared/image.wgsl");
const FLOAT: &str = include_str!("../../shaders/shared/float.wgsl");

/// The shape of a tensor as an image: `[images, channels, pixels...]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub images: usize,
    pub channels: usize,
    pub pixels: usize,
}

impl Layout {
    /// The layout of a tensor of this shape; `None` where it has no channels or no elements.
    pub fn of(dims: &[usize]) -> Option<Self> {
        let [images, channels, ref spatial @ ..] = *dims else { return None };
        let layout = Layout { images, channels, pixels: spatial.iter().product() };
        (layout.texels() > 0).then_some(layout)
    }

    /// Texels of one image's channels in depth.
    pub fn depth(&self) -> usize {
        self.channels.div_ceil(4)
    }

    /// Channels in the last texel in depth.
    fn last_lanes(&self) -> u32 {
        (self.channels - 4 * (self.depth() - 1)) as u32
    }

    pub fn texels(&self) -> usize {
        self.images * self.depth() * self.pixels
    }
}

/// Whether an operator should work on images: on software adapters, unless a kernel was asked for by name that is none
/// of them; and the shapes of what it reads and writes have images that fit.
pub(super) fn wanted(site: &Site, recording: &Recording) -> bool {
    let asked = match site.options.variant {
        Some(name) => name.starts_with("image"),
        None => recording.software,
    };
    let fits = |dims: &[usize]| {
        Layout::of(dims).is_some_and(|layout| fits_image(&recording.limits, 4 * layout.texels()))
    };
    asked && fits(site.dims(0)) && fits(&site.output(0).shape)
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Transfer {
    texels: u32,
    channels: u32,
    depth: u32,
    pixels: u32,
}

impl Transfer {
    fn new(layout: &Layout) -> Self {
        Transfer {
            texels: layout.texels() as u32,
            channels: layout.channels as u32,
            depth: layout.depth() as u32,
            pixels: layout.pixels as u32,
        }
    }
}

fn kernel(name: &str, wgsl: &str, reads: usize) -> Kernel {
    Kernel::new(name, wgsl, reads, 1).with(IMAGE).with(INDEX)
}

fn pack_kernel() -> Kernel {
    kernel("image_pack", include_str!("../../shaders/image_pack.wgsl"), 1).activation(None)
}

fn unpack_kernel() -> Kernel {
    kernel("image_unpack", include_str!("../../shaders/image_unpack.wgsl"), 1).activation(None)
}

/// An image of what a buffer holds.
pub(crate) fn pack(
    name: &str,
    buffer: BufferId,
    layout: &Layout,
    recording: &mut Recording,
) -> Result<BufferId> {
    let image = recording.computed_image(name, layout.texels());
    let groups = recording.linear(layout.texels(), GROUP);
    recording.dispatch(pack_kernel(), &Transfer::new(layout), &[buffer], &[image], groups)?;
    Ok(image)
}

/// A buffer of what an image holds.
pub(crate) fn unpack(
    name: &str,
    image: BufferId,
    layout: &Layout,
    recording: &mut Recording,
) -> Result<BufferId> {
    let buffer = recording.computed(name, layout.images * layout.channels * layout.pixels);
    let groups = recording.linear(layout.texels(), GROUP);
    recording.dispatch(unpack_kernel(), &Transfer::new(layout), &[image], &[buffer], groups)?;
    Ok(buffer)
}

/// Every kernel of this family that convolutions may choose.
pub(super) fn conv_variants() -> Vec<Kernel> {
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
    let kernel = kernel("image_conv", include_str!("../../shaders/image_conv.wgsl"), 4);
    row.specialise(kernel)
        .constant("FILTERS", filters)
        .flag("HAS_BIAS", has_bias)
        .flag("HAS_RESIDUAL", has_residual)
        .activation(activation)
}

fn depthwise_kernel(row: &Row, has_bias: bool, has_residual: bool, activation: Option<Activation>) -> Kernel {
    let kernel = kernel("image_depthwise", include_str!("../../shaders/image_depthwise.wgsl"), 4);
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
pub(super) fn conv(
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

/// An axis of one pixel.
fn row_axis() -> Axis {
    Axis { input: 1, output: 1, kernel: 1, stride: 1, dilation: 1, before: 0, after: 0 }
}

/// Whether the padding channels of an image, which are zeros before the activation, stay finite behind it.
fn is_finite_at_zero(activation: Activation) -> bool {
    !matches!(activation, Activation::Log | Activation::Reciprocal)
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

/// The values, with zeros up to a whole texel.
fn pack_whole_texels(values: &[f32], _shape: &[usize]) -> Vec<f32> {
    let mut texels = values.to_vec();
    texels.resize(values.len().next_multiple_of(4), 0.0);
    texels
}

/// A bias per channel, in whole texels. It is read once, so it may as well be a buffer; textures are few.
fn pack_bias(name: &str, bias: &Tensor, recording: &mut Recording) -> BufferId {
    let words = bias.shape().elements().next_multiple_of(4);
    recording.packed(format!("{name} bias"), bias, words, "image bias", pack_whole_texels)
}

fn linear_kernel(rows: usize, has_bias: bool, activation: Option<Activation>) -> Kernel {
    kernel("image_linear", include_str!("../../shaders/image_linear.wgsl"), 3)
        .constant("ROWS", rows)
        .flag("HAS_BIAS", has_bias)
        .activation(activation)
}

pub(super) fn linear_variants() -> Vec<Kernel> {
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
pub(super) fn linear(
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

fn pool_kernel(max: bool, count_padding: bool) -> Kernel {
    kernel("image_pool", include_str!("../../shaders/image_pool.wgsl"), 1)
        .with(FLOAT)
        .flag("MAX", max)
        .flag("COUNT_PADDING", count_padding)
        .activation(None)
}

pub(super) fn pool_variants() -> Vec<Kernel> {
    vec![pool_kernel(true, false), pool_kernel(false, false), pool_kernel(false, true)]
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
    kernel_width: u32,
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

/// Max or average pooling over images; false where this one has no such kernel.
pub(super) fn pool(
    op: &Pool,
    axes: &[Axis],
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<bool> {
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
        kernel_width: horizontal.kernel as u32,
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
    recording.dispatch(pool_kernel(max, count_padding), &params, &[input], &[output], groups)?;
    Ok(true)
}

fn global_kernel(max: bool) -> Kernel {
    kernel("image_global", include_str!("../../shaders/image_global.wgsl"), 1)
        .with(FLOAT)
        .flag("MAX", max)
        .activation(None)
}

pub(super) fn global_variants() -> Vec<Kernel> {
    vec![global_kernel(false), global_kernel(true)]
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct GlobalParams {
    count: u32,
    pixels: u32,
    padding: [u32; 2],
}

/// Global pooling of an image that is nothing else yet; false where this reduction is none.
pub(super) fn global(
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
    let output = operands.image_result(0, y, site, recording);
    let params = GlobalParams { count: y.texels() as u32, pixels: x.pixels as u32, padding: [0; 2] };
    let groups = recording.linear(y.texels(), GROUP);
    recording.dispatch(global_kernel(max), &params, &[input], &[output], groups)?;
    Ok(true)
}

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
    let kernel = kernel("image_map", include_str!("../../shaders/image_map.wgsl"), 2);
    Some(kernel.constant("FUNCTION", function).activation(activation))
}

pub(super) fn map_variants() -> Vec<Kernel> {
    every_activation().into_iter().filter_map(|activation| map_kernel(None, activation)).collect()
}

pub(super) fn binary_variants() -> Vec<Kernel> {
    let functions = [Binary::Add, Binary::Sub, Binary::Mul];
    functions.into_iter().filter_map(|function| map_kernel(Some(function), None)).collect()
}

/// An activation, or a sum, difference or product of equal shapes, over images; false where this is none.
pub(super) fn map(
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

fn concat_kernel() -> Kernel {
    kernel("image_concat", include_str!("../../shaders/image_concat.wgsl"), 1).activation(None)
}

pub(super) fn concat_variants() -> Vec<Kernel> {
    vec![concat_kernel()]
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct ConcatParams {
    count: u32,
    own: u32,
    whole: u32,
    start: u32,
}

/// Channels of images one after another, where all but the last input have a multiple of four; false elsewhere.
pub(super) fn concat(
    axis: usize,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<bool> {
    let inputs: Option<Vec<_>> = (0..site.node.inputs.len()).map(|i| Layout::of(site.dims(i))).collect();
    let (Some(inputs), Some(y)) = (inputs, Layout::of(&site.output(0).shape)) else { return Ok(false) };
    let whole_texels =
        inputs.split_last().is_some_and(|(_, front)| front.iter().all(|x| x.channels % 4 == 0));
    let floats = site.output(0).dtype == crate::tensor::DType::F32;
    if axis != 1 || !floats || !whole_texels || !wanted(site, recording) {
        return Ok(false);
    }
    let mut images = Vec::new();
    for i in 0..inputs.len() {
        let Some(image) = operands.image(i, site, recording)? else { return Ok(false) };
        images.push(image);
    }
    let output = operands.image_result(0, y, site, recording);
    let mut start = 0;
    for (x, image) in inputs.iter().zip(images) {
        let own = x.depth() * x.pixels;
        let params = ConcatParams {
            count: x.texels() as u32,
            own: own as u32,
            whole: (y.depth() * y.pixels) as u32,
            start: start as u32,
        };
        let groups = recording.linear(x.texels(), GROUP);
        recording.dispatch(concat_kernel(), &params, &[image], &[output], groups)?;
        start += own;
    }
    Ok(true)
}
