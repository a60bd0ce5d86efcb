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
mod pooled;
mod product;
mod winograd;

pub(super) use concat::{concat, concat_variants, slices};
pub(super) use conv::{conv, conv_variants};
pub(super) use linear::{linear, linear_variants};
pub(super) use map::{binary_variants, map, map_variants};
pub(super) use pool::{global, global_variants, pool, pool_variants};
pub(super) use pooled::{Pooled, pools};
pub(super) use product::{product, product_variants};

use super::kernel::Kernel;
use super::memory::fits_image;
use super::operands::Operands;
use super::ops::INDEX;
use super::recording::{BufferId, Form, Packing, Recording};
use crate::error::Result;
use crate::graph::Graph;
use crate::ops::{Activation, Op};
use crate::plan::Site;
use crate::window::Axis;

/// Invocations of a workgroup: of kernels that do little for a texel, and of those that do much, so that even few
/// divide evenly over the processor's cores.
const GROUP: usize = 64;
const SMALL_GROUP: usize = 16;
const IMAGE: &str = include_str!("../../../shaders/shared/image.wgsl");
const INPUT: &str = include_str!("../../../shaders/shared/image_input.wgsl");
const OUTPUT: &str = include_str!("../../../shaders/shared/image_output.wgsl");
const WORDS: &str = include_str!("../../../shaders/shared/image_words.wgsl");
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

/// For each value how many nodes may read it as an image. Values that live in one memory are one: `roots` says which.
pub(super) fn readers(graph: &Graph, roots: &[usize]) -> Vec<usize> {
    let mut readers = vec![0; roots.len()];
    for node in graph.nodes() {
        use Op::{Activation, Binary, Concat, Conv, Gemm, Pool, Reduce};
        if matches!(node.op, Activation(_) | Binary(_) | Concat(_) | Conv(_) | Gemm(_) | Pool(_) | Reduce(_))
        {
            node.inputs.iter().flatten().for_each(|id| readers[roots[id.index()]] += 1);
        }
    }
    readers
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

/// A kernel from an image to images of one pixel, or to words, which its name then says.
fn kernel_to(form: Form, name: &str, wgsl: &str, reads: usize) -> Kernel {
    match form {
        Form::Words => plain_kernel(&format!("{name}_words"), wgsl, reads).with(INPUT).with(WORDS),
        _ => kernel(name, wgsl, reads),
    }
}

/// Where a kernel of this name writes output 0: as words where no kernel over images reads it, unless the kernel is asked
/// for that writes images.
fn result(
    name: &str,
    layout: Layout,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> (BufferId, Form) {
    if operands.is_read_as_words(site) && site.options.variant != Some(name) {
        return (operands.result(0), Form::Words);
    }
    (operands.image_result(0, layout, site, recording), Form::Image)
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
fn pack_whole_texels(values: &[f32], _shape: &[usize], texels: &mut [f32]) {
    texels[..values.len()].copy_from_slice(values);
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

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::gpu::device::GpuDevice;
    use crate::gpu::operands::{Choice, record_on};
    use crate::gpu::plan::GpuPlan;
    use crate::gpu::tune::numbers;
    use crate::graph::passes::optimize;
    use crate::network::{Conv2d, Network};
    use crate::plan::PlanOptions;
    use crate::tensor::Tensor;
    use crate::zoo;

    /// The kernels of a network's dispatches with the variants that `choices` name.
    pub(super) fn kernels(
        graph: &Graph,
        choices: &[Choice],
        options: &PlanOptions,
        software: bool,
    ) -> Vec<String> {
        let recording = Recording::new(wgpu::Limits::default(), software);
        let graph = optimize(graph, &options.passes).expect("a network that can be rewritten");
        let (recording, ..) = record_on(recording, &graph, options, choices).expect("a network that records");
        recording.dispatches.iter().map(|dispatch| dispatch.kernel.name().to_string()).collect()
    }

    fn by_rule(network: Network) -> Vec<String> {
        kernels(&network.build().expect("a network"), &[], &PlanOptions::default(), true)
    }

    fn asked(network: Network, variant: &'static str) -> Vec<String> {
        let options = PlanOptions { variant: Some(variant), ..PlanOptions::default() };
        kernels(&network.build().expect("a network"), &[], &options, true)
    }

    /// The bits that a network of one input computes by these kernels, which `alter` is given the texts of.
    fn bits(
        device: &GpuDevice,
        network: &Graph,
        variant: Option<&'static str>,
        alter: impl Fn(&str) -> String,
    ) -> Vec<u32> {
        let options = PlanOptions { variant, ..PlanOptions::default() };
        let graph = optimize(network, &options.passes).expect("a network that can be rewritten");
        let recording = Recording::new(device.device().limits(), true);
        let (mut recording, from, to) =
            record_on(recording, &graph, &options, &[]).expect("a network that records");
        for dispatch in &mut recording.dispatches {
            let source = alter(dispatch.kernel.source());
            dispatch.kernel = Kernel::new("altered", &source, dispatch.reads.len(), dispatch.writes.len());
        }
        let infos = graph.outputs().iter().map(|id| graph.value(*id).info.clone());
        let shape = &graph.value(graph.inputs()[0]).info.shape;
        let input = Tensor::new(shape.to_vec(), numbers(shape.elements())).expect("as many elements");
        let outputs = pollster::block_on(async {
            GpuPlan::build(device, recording, &from, &to, infos, &options).await?.run(&[input], true).await
        });
        let outputs = outputs.expect("a network that runs");
        outputs[0].values::<f32>().expect("floats").iter().map(|value| value.to_bits()).collect()
    }

    #[test]
    fn fewer_kernels_compute_the_same_bits_and_corrupted_ones_do_not() {
        let device = pollster::block_on(GpuDevice::open(|_| true, &Default::default()));
        let device = device.expect("an adapter that opens").expect("the tests need a GPU adapter");
        let conv = || Network::new("net", [1, 13, 12]).seed(3).conv2d(Conv2d::new(5, 3));
        let means = conv().average_pool(2).flatten().linear(7).build().expect("a network");
        let maxima = conv().max_pool(2).flatten().linear(7).build().expect("a network");
        let corruptions = [
            (&means, "select(value, vec4<f32>(), is_first) + next", "next"),
            (&means, "value / f32(WINDOW_X * WINDOW_Y)", "value"),
            (&means, "y * WINDOW_Y + wy", "y * WINDOW_Y"),
            (&means, "x * WINDOW_X * stride", "x * stride"),
            (&means, "input[min(pixel,", "input[min(pixel + 1u,"),
            (&means, "output[start + k]", "output[start]"),
            (&means, "first + k < channels", "first + k + 1u < channels"),
            (&maxima, "next > value", "next < value"),
            (&maxima, "vec4(is_first) | ", ""),
        ];
        let same = |net: Network| net.conv2d(Conv2d::new(5, 3).padding(1));
        let residual = conv().add(&same, &|net| net).build().expect("a network");
        for network in [&means, &maxima, &residual].map(|network| network.with_batch(3).expect("a batch")) {
            // By this name pools, packing and unpacking are kernels of their own.
            let apart = bits(&device, &network, Some("image_linear"), str::to_string);
            assert_eq!(bits(&device, &network, None, str::to_string), apart);
        }
        for (network, from, to) in corruptions {
            let right = bits(&device, network, None, str::to_string);
            let altered = Cell::new(0);
            let wrong = bits(&device, network, None, |source| {
                altered.set(altered.get() + usize::from(source.contains(from)));
                source.replace(from, to)
            });
            assert!(altered.get() > 0, "no kernel has '{from}'");
            assert_ne!(right, wrong, "'{to}' for '{from}'");
        }
    }

    #[test]
    fn lenet5_is_five_kernels() {
        let lenet = zoo::lenet5().expect("a network");
        let linear = ["image_linear", "image_linear", "image_linear_words"];
        let expected = [&["image_conv_plane", "image_conv"][..], &linear].concat();
        assert_eq!(kernels(&lenet, &[], &PlanOptions::default(), true), expected);
    }

    #[test]
    fn planes_of_one_channel_are_read_as_they_lie() {
        let net = |channels| Network::new("net", [channels, 12, 12]);
        let conv = |net: Network| net.conv2d(Conv2d::new(8, 3));
        assert_eq!(by_rule(conv(net(1))), ["image_conv_plane", "image_unpack"]);
        assert_eq!(by_rule(conv(net(2))), ["image_pack", "image_conv", "image_unpack"]);
        assert_eq!(asked(conv(net(1)), "image_conv")[0], "image_pack");
        assert_eq!(asked(conv(net(1)), "image_conv_plane")[0], "image_conv_plane");
        assert_eq!(asked(conv(net(2)), "image_conv_plane")[1], "image_conv");
        // What is there as an image stays one, and so does what another layer wants as one.
        let after = conv(net(3).conv2d(Conv2d::new(1, 1)));
        assert_eq!(by_rule(after), ["image_pack", "image_conv", "image_conv", "image_unpack"]);
        let twice = net(1).add(&|net| net.conv2d(Conv2d::new(1, 3).padding(1)), &|net| net.relu());
        assert_eq!(by_rule(twice).iter().filter(|name| *name == "image_pack").count(), 1);
        // Of several channels in as many groups the kernel is another.
        assert_eq!(by_rule(net(2).conv2d(Conv2d::new(2, 3).groups(2)))[0], "image_pack");
    }

    #[test]
    fn what_no_layer_reads_as_an_image_is_written_as_words() {
        let linear = || Network::new("net", [8, 6, 6]).global_average_pool().flatten().linear(10);
        let pack = "image_pack";
        assert_eq!(by_rule(linear()), [pack, "image_global", "image_linear_words"]);
        assert_eq!(by_rule(linear().softmax())[..3], [pack, "image_global", "image_linear_words"]);
        let two = by_rule(linear().linear(3));
        assert_eq!(two, [pack, "image_global", "image_linear", "image_linear_words"]);
        let both = |net: Network| net.add(&|net| net.linear(10), &|net| net);
        assert_eq!(by_rule(both(linear())).last().map(String::as_str), Some("image_unpack"));
        // Also where it is given out as another shape.
        let global = || Network::new("net", [8, 6, 6]).global_average_pool().flatten();
        assert_eq!(by_rule(global()), [pack, "image_global_words"]);
        assert_eq!(asked(global(), "image_global"), [pack, "image_global", "image_unpack"]);
        assert_eq!(asked(linear(), "image_linear").last().map(String::as_str), Some("image_unpack"));
        assert_eq!(
            asked(linear(), "image_linear_words").last().map(String::as_str),
            Some("image_linear_words")
        );
        // An output that a layer reads too is an image first.
        let mut graph = linear().linear(3).build().expect("a network");
        let first = graph.nodes().iter().rev().nth(1).expect("a layer").outputs[0];
        graph.output(first);
        let kernels = kernels(&graph, &[], &PlanOptions::default(), true);
        assert_eq!(kernels[2..], ["image_linear", "image_linear_words", "image_unpack"]);
    }
}
