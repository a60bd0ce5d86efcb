//! Kernels over images (`shaders/shared/image.wgsl`): the family for adapters that compute on CPU cores, where a texture
//! is read several times faster than a storage buffer, and workgroup memory and barriers only cost.
//!
//! An operator's file asks here first ([`wanted`]); where its operands suit, the image kernel is recorded, and values
//! stay images from layer to layer. Whatever has no image kernel works on buffers, and is packed or unpacked around.

mod concat;
mod conv;
mod filters;
mod linear;
mod map;
mod pool;
mod product;
mod winograd;

pub(super) use concat::{concat, concat_variants, slices};
pub(super) use conv::{conv, conv_variants};
pub(super) use linear::{linear, linear_variants};
pub(super) use map::{binary_variants, map, map_variants};
pub(super) use pool::{global, global_variants, pool, pool_variants};
pub(super) use product::{product, product_variants};

use super::kernel::Kernel;
use super::memory::fits_image;
use super::operands::Operands;
use super::ops::INDEX;
use super::recording::{BufferId, Packing, Recording};
use crate::error::Result;
use crate::ops::Activation;
use crate::plan::Site;
use crate::window::Axis;

/// Invocations of a workgroup: of kernels that do little for a texel, and of those that do much, so that even few
/// divide evenly over the processor's cores.
const GROUP: usize = 64;
const SMALL_GROUP: usize = 16;
const IMAGE: &str = include_str!("../../../shaders/shared/image.wgsl");
const INPUT: &str = include_str!("../../../shaders/shared/image_input.wgsl");
const OUTPUT: &str = include_str!("../../../shaders/shared/image_output.wgsl");
const FLOAT: &str = include_str!("../../../shaders/shared/float.wgsl");

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

/// Whether a tensor of this shape has an image within the device's limits.
pub(super) fn fits(dims: &[usize], limits: &wgpu::Limits) -> bool {
    Layout::of(dims).is_some_and(|layout| fits_image(limits, 4 * layout.texels()))
}

/// Whether an operator should work on images: on software adapters, unless a kernel was asked for by name that is none
/// of them; and the shapes of what it reads and writes have images that fit.
fn wanted(site: &Site, recording: &Recording) -> bool {
    let asked = match site.options.variant {
        Some(name) => name.starts_with("image"),
        None => recording.software,
    };
    let fits = |dims: &[usize]| fits(dims, &recording.limits);
    asked && fits(site.dims(0)) && fits(&site.output(0).shape)
}

/// How far apart the elements of an image are in a buffer.
#[derive(Clone, Copy, Debug)]
struct Steps {
    image: usize,
    channel: usize,
    pixel: usize,
}

impl Steps {
    /// Of a tensor `[images, channels, pixels]`.
    fn of(layout: &Layout) -> Self {
        Steps { image: layout.channels * layout.pixels, channel: layout.pixels, pixel: 1 }
    }
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Transfer {
    texels: u32,
    channels: u32,
    depth: u32,
    pixels: u32,
    image_step: u32,
    channel_step: u32,
    pixel_step: u32,
    padding: u32,
}

impl Transfer {
    fn new(layout: &Layout, steps: Steps) -> Self {
        Transfer {
            texels: layout.texels() as u32,
            channels: layout.channels as u32,
            depth: layout.depth() as u32,
            pixels: layout.pixels as u32,
            image_step: steps.image as u32,
            channel_step: steps.channel as u32,
            pixel_step: steps.pixel as u32,
            padding: 0,
        }
    }
}

/// A kernel from buffers or weights to such.
fn plain_kernel(name: &str, wgsl: &str, reads: usize) -> Kernel {
    Kernel::new(name, wgsl, reads, 1).with(IMAGE).with(INDEX)
}

/// A kernel from an image to an image.
fn kernel(name: &str, wgsl: &str, reads: usize) -> Kernel {
    plain_kernel(name, wgsl, reads).with(INPUT).with(OUTPUT)
}

fn pack_kernel() -> Kernel {
    let wgsl = include_str!("../../../shaders/image_pack.wgsl");
    plain_kernel("image_pack", wgsl, 1).with(OUTPUT).activation(None)
}

fn unpack_kernel() -> Kernel {
    let wgsl = include_str!("../../../shaders/image_unpack.wgsl");
    plain_kernel("image_unpack", wgsl, 1).with(INPUT).activation(None)
}

/// An image of what a buffer holds.
pub(crate) fn pack(
    name: &str,
    buffer: BufferId,
    layout: &Layout,
    recording: &mut Recording,
) -> Result<BufferId> {
    pack_from(name, buffer, layout, Steps::of(layout), recording)
}

fn pack_from(
    name: &str,
    buffer: BufferId,
    layout: &Layout,
    steps: Steps,
    recording: &mut Recording,
) -> Result<BufferId> {
    let image = recording.computed_image(name, layout.texels());
    let groups = recording.linear(layout.texels(), GROUP);
    recording.dispatch(pack_kernel(), &Transfer::new(layout, steps), &[buffer], &[image], groups)?;
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
    unpack_to(buffer, image, layout, Steps::of(layout), recording)?;
    Ok(buffer)
}

fn unpack_to(
    buffer: BufferId,
    image: BufferId,
    layout: &Layout,
    steps: Steps,
    recording: &mut Recording,
) -> Result<()> {
    let groups = recording.linear(layout.texels(), GROUP);
    recording.dispatch(unpack_kernel(), &Transfer::new(layout, steps), &[image], &[buffer], groups)
}

/// An axis of one pixel.
fn row_axis() -> Axis {
    Axis { input: 1, output: 1, kernel: 1, stride: 1, dilation: 1, before: 0, after: 0 }
}

/// Whether the padding channels of an image, which are zeros before the activation, stay finite behind it.
fn is_finite_at_zero(activation: Activation) -> bool {
    !matches!(activation, Activation::Log | Activation::Reciprocal)
}

/// The values, with zeros up to a whole texel.
fn pack_whole_texels(values: &[f32], _shape: &[usize]) -> Vec<f32> {
    let mut texels = values.to_vec();
    texels.resize(values.len().next_multiple_of(4), 0.0);
    texels
}

/// The bias of a convolution or linear layer, operand 2, in whole texels, of which the last may end in anything. It is
/// read once, so it may as well be a buffer; textures are few.
fn bias(site: &Site, operands: &mut Operands, recording: &mut Recording) -> Result<BufferId> {
    let name = format!("{} bias", site.node.name);
    if let Some(bias) = site.constant(2) {
        let words = bias.shape().elements().next_multiple_of(4);
        return Ok(recording.packed(name, bias, words, Packing::new("image bias", pack_whole_texels)));
    }
    let Some(bias) = operands.optional(2, site, recording)? else { return Ok(recording.nothing()) };
    let channels = site.dims(2).iter().product::<usize>();
    if channels % 4 == 0 {
        return Ok(bias);
    }
    let whole = recording.computed(name, channels.next_multiple_of(4));
    super::ops::copy_buffer(bias, whole, channels, recording)?;
    Ok(whole)
}
