//! Convolutions and depthwise convolutions over images.

use super::filters::{self, Filters};
use super::pooled::Windows;
use super::winograd::{self, Plan as Winograd};
use super::{
    INPUT, Layout, OUTPUT, SMALL_GROUP, bias, is_finite_at_zero, kernel, pack_kernel, plain_kernel, row_axis,
    unpack_kernel, wanted,
};
use crate::error::Result;
use crate::gpu::kernel::Kernel;
use crate::gpu::memory::fits_image;
use crate::gpu::operands::{Operands, Slice};
use crate::gpu::ops::every_activation;
use crate::gpu::recording::{BufferId, Packing, Recording};
use crate::graph::{Graph, Node};
use crate::ops::{Activation, Conv, Op};
use crate::plan::Site;
use crate::window::Axis;

pub(super) const RESIDUAL: &str = include_str!("../../../shaders/shared/image_residual.wgsl");
const FLAGS: [(bool, bool); 4] = [(false, false), (true, false), (false, true), (true, true)];

/// Every kernel of this family that convolutions may choose.
pub(in crate::gpu) fn conv_variants() -> Vec<Kernel> {
    let mut all = vec![pack_kernel(), unpack_kernel(), filters::pack_kernel()];
    let shapes = [
        Shape { kernel: 3, padded: true, ..Shape::POINTWISE },
        Shape { stride: 2, ..Shape::POINTWISE },
        Shape { kernel: 7, stride: 2, dilation: 2, padded: true, ..Shape::POINTWISE },
    ];
    let tiles = [(7, 4), (8, 1), (3, 3)].map(|(pixels, filters)| Tile { pixels, filters, broadcast: false });
    for (shape, tile) in shapes.iter().zip(tiles) {
        for (bias, residual) in FLAGS {
            let epilogue = Epilogue { bias, residual, activation: None };
            for shape in [shape, &Shape::ROLLED] {
                all.push(conv_kernel(shape, tile, epilogue));
                all.push(conv_kernel(shape, Tile { broadcast: true, ..tile }, epilogue));
            }
            all.push(depthwise_kernel(shape, tile.pixels, epilogue));
        }
    }
    for (max, height, width) in [(true, 2, 2), (false, 1, 3)] {
        let shape = Shape { windows: Some(Windows { max, height, width }), ..shapes[0] };
        for broadcast in [false, true] {
            let tile = Tile { pixels: 2 * width, filters: 2, broadcast };
            all.push(conv_kernel(&shape, tile, Epilogue { bias: true, ..Epilogue::default() }));
        }
    }
    for broadcast in [false, true] {
        for shape in [
            Shape { plane: true, lanes: 1, ..shapes[0] },
            Shape { lanes: 2, ..shapes[0] },
            Shape { lanes: 3, ..shapes[0] },
        ] {
            all.push(conv_kernel(&shape, Tile { broadcast, ..tiles[0] }, Epilogue::default()));
        }
    }
    all.extend(winograd::variants());
    for activation in every_activation() {
        let epilogue = Epilogue { bias: true, residual: false, activation };
        all.push(conv_kernel(&shapes[0], tiles[0], epilogue));
        all.push(depthwise_kernel(&shapes[0], 7, epilogue));
    }
    all
}

/// The kernels that matrix products choose.
pub(super) fn conv_kernels() -> impl Iterator<Item = Kernel> {
    [false, true].into_iter().flat_map(move |broadcast| {
        let tile = Tile { pixels: 8, filters: 4, broadcast };
        let plain = Epilogue::default();
        let kernel = |epilogue| conv_kernel(&Shape::POINTWISE, tile, epilogue);
        [plain, Epilogue { bias: true, ..plain }].map(kernel)
    })
}

/// What of a convolution specialises its code, along a row.
#[derive(Clone, Copy, Debug)]
struct Shape {
    kernel: usize,
    stride: usize,
    dilation: usize,
    /// Whether these three are parameters, so that one kernel serves all of them.
    rolled: bool,
    /// Whether taps may lie outside the input.
    padded: bool,
    /// Channels in a texel of the input.
    lanes: usize,
    /// Whether the input is planes of one channel in a buffer.
    plane: bool,
    /// Of the outputs, where a pool of them is stored.
    windows: Option<Windows>,
}

impl Shape {
    const POINTWISE: Shape = Shape {
        kernel: 1,
        stride: 1,
        dilation: 1,
        rolled: false,
        padded: false,
        lanes: 4,
        plane: false,
        windows: None,
    };

    /// With what a row's taps are as parameters, and all else as all can have it.
    const ROLLED: Shape = Shape { rolled: true, padded: true, ..Shape::POINTWISE };

    fn specialise(&self, kernel: Kernel) -> Kernel {
        kernel
            .with(include_str!("../../../shaders/shared/image_row.wgsl"))
            .flag("PADDED", self.padded)
            .constant("KERNEL_WIDTH", self.kernel)
            .constant("STRIDE_X", self.stride)
            .constant("DILATION_X", self.dilation)
    }
}

/// What follows the sums.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Epilogue {
    pub bias: bool,
    /// Whether the code can add a residual; for convolutions that are not depthwise a parameter says whether it does.
    pub residual: bool,
    pub activation: Option<Activation>,
}

impl Epilogue {
    /// All but the residual.
    pub fn specialise(&self, kernel: Kernel) -> Kernel {
        let kernel = kernel.flag("HAS_BIAS", self.bias);
        match self.activation {
            None | Some(Activation::Relu | Activation::Clip { .. }) => {
                kernel.with(include_str!("../../../shaders/shared/image_clamp.wgsl"))
            }
            activation => kernel.activation(activation),
        }
    }

    /// The residual, where it is a constant whether there is one.
    fn specialise_residual(&self, kernel: Kernel) -> Kernel {
        let text = match self.residual {
            true => RESIDUAL,
            false => include_str!("../../../shaders/shared/image_no_residual.wgsl"),
        };
        kernel.with(text).flag("HAS_RESIDUAL", self.residual)
    }

    /// The bounds of `shared/image_clamp.wgsl`.
    pub fn bounds(&self) -> Bounds {
        let (low, high) = match self.activation {
            Some(Activation::Relu) => (0.0, f32::INFINITY),
            Some(Activation::Clip { min, max }) => (min, max),
            _ => (f32::NEG_INFINITY, f32::INFINITY),
        };
        Bounds { low, high }
    }
}

/// What an activation's values lie between; infinities bound nothing.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
pub(super) struct Bounds {
    low: f32,
    high: f32,
}

/// What one invocation of `image_conv` computes, and how it has its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    /// Neighbours of an output row.
    pub pixels: usize,
    /// Texels of filters.
    pub filters: usize,
    /// Whether eight invocations share the weights that each of them reads an eighth of.
    pub broadcast: bool,
}

/// The sizes of a convolution over images: `sets` convolutions side by side, each with its own weights, and each followed by
/// a pool where there are windows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub sets: usize,
    pub images: usize,
    /// Texels in depth of the input, and channels of the output.
    pub depth: usize,
    pub filters: usize,
    /// Channels in a texel of the input: less than four where that has less.
    pub lanes: usize,
    pub vertical: Axis,
    pub horizontal: Axis,
    /// Whether the input, of one channel, is read as it lies in a buffer.
    pub plane: bool,
    pub windows: Option<Windows>,
}

impl Sizes {
    /// One set, read from an image; an axis is a picture of one row, and a 1x1 kernel has no need to know of rows, unless a
    /// pool has.
    pub fn new(x: &Layout, filters: usize, axes: &[Axis], windows: Option<Windows>) -> Option<Self> {
        let (vertical, horizontal) = match axes {
            [x] => (row_axis(), *x),
            [y, x] if windows.is_none() && [y, x].iter().all(|a| is_pointwise(a)) => {
                let pixels = y.input * x.input;
                (row_axis(), Axis { input: pixels, output: pixels, ..row_axis() })
            }
            [y, x] => (*y, *x),
            _ => return None,
        };
        let (images, depth) = (x.images, x.depth());
        let lanes = x.channels.min(4);
        Some(Sizes { sets: 1, images, depth, filters, lanes, vertical, horizontal, plane: false, windows })
    }

    /// Height and width of a window: of a single output, where there is no pool.
    fn window(&self) -> (usize, usize) {
        self.windows.map_or((1, 1), |windows| (windows.height, windows.width))
    }

    /// Rows and columns of windows.
    fn stored(&self) -> (usize, usize) {
        let (height, width) = self.window();
        (self.vertical.output / height, self.horizontal.output / width)
    }

    /// Pieces of a row of windows.
    fn across(&self, tile: Tile) -> usize {
        self.stored().1.div_ceil(tile.pixels / self.window().1)
    }

    fn shape(&self) -> Shape {
        let axis = &self.horizontal;
        let padded = [axis, &self.vertical].iter().any(|a| a.before > 0 || a.after > 0);
        let Sizes { lanes, plane, windows, .. } = *self;
        Shape {
            kernel: axis.kernel,
            stride: axis.stride,
            dilation: axis.dilation,
            padded,
            lanes,
            plane,
            windows,
            rolled: false,
        }
    }

    /// Whether the taps of a row are rolled into the loop over channels and rows: where they find few of their pixels in
    /// registers.
    fn is_rolled(&self) -> bool {
        let Axis { stride, dilation, .. } = self.horizontal;
        !self.plane && self.windows.is_none() && (stride > 1 || dilation > 1)
    }

    fn kernel(&self, tile: Tile, epilogue: Epilogue) -> Kernel {
        let shape = if self.is_rolled() { Shape::ROLLED } else { self.shape() };
        conv_kernel(&shape, tile, epilogue)
    }

    /// Pieces of rows that meet the same weights, and invocations for them.
    fn pieces(&self, tile: Tile) -> (usize, usize) {
        let count = self.across(tile) * self.stored().0 * self.images;
        (count, if tile.broadcast { count.next_multiple_of(GROUP) } else { count })
    }

    fn invocations(&self, tile: Tile) -> usize {
        self.pieces(tile).1 * self.filters.div_ceil(4).div_ceil(tile.filters) * self.sets
    }

    /// What the convolution costs with this tile, in multiply-adds of one invocation ([`LOAD`], [`STORE`]).
    pub fn cost(&self, tile: Tile) -> usize {
        let Shape { kernel, stride, dilation, .. } = self.shape();
        // Taps in each round of the loop, and rounds for a row of taps.
        let rolled = self.is_rolled();
        let (kernel, rounds, lanes) = if rolled { (1, kernel, 4) } else { (kernel, 1, self.lanes) };
        // A tap that sees the pixels of the one before it, moved by one, loads one.
        let phases = if dilation == 1 && stride <= 2 { stride.min(kernel) } else { kernel };
        let pixels = tile.pixels * phases + kernel - phases;
        let weights = if tile.broadcast { tile.filters.div_ceil(2) } else { 4 * tile.filters };
        let sums = tile.pixels * tile.filters;
        let (products, load) = (4 * lanes, if self.plane { LOAD_WORD } else { LOAD });
        // llvmpipe copies all sums once per round of the loop around them.
        let round = products * sums * kernel + load * pixels + LOAD * weights * kernel + 4 * sums;
        let (height, width) = self.window();
        let invocation = height * self.depth * self.vertical.kernel * rounds * round + sums / width * STORE;
        // Few workgroups may leave cores without work.
        self.invocations(tile).div_ceil(GROUP).next_multiple_of(4) * invocation
    }

    /// The tiles whose code is small enough to be compiled in a moment.
    fn tiles(&self, broadcast: bool) -> impl Iterator<Item = Tile> {
        // Few layers of a network have strides, and what is compiled for them alone should be little.
        let most_sums = if self.horizontal.stride == 1 { 32 } else { 16 };
        const MOST_CODE: usize = 96;
        let kernel = if self.is_rolled() { 1 } else { self.horizontal.kernel };
        let width = self.window().1;
        let pixels = (1..=self.stored().1.max(1)).map(move |windows| windows * width);
        let pixels = pixels.take_while(move |&pixels| pixels <= 8.max(width));
        let filters = 1..=self.filters.div_ceil(4).clamp(1, 4);
        pixels
            .flat_map(move |pixels| filters.clone().map(move |filters| Tile { pixels, filters, broadcast }))
            .filter(move |t| {
                let sums = t.pixels * t.filters;
                sums == width || (sums <= most_sums && sums * kernel <= MOST_CODE)
            })
    }

    /// The cheapest tile, or of those that cost little more the cheapest that the recording has a kernel for already; with
    /// or without broadcast where a kernel is asked for by name.
    pub fn choose(&self, epilogue: Epilogue, variant: Option<&str>, recording: &Recording) -> Tile {
        /// Part of a layer's time. llvmpipe compiles such a kernel for 0.1 s, which a few hundredths of a layer's time make
        /// up for after thousands of runs.
        const LITTLE: usize = 20;
        let broadcasts: &[bool] = match (variant, recording.subgroups) {
            (Some("image_conv" | "image_conv_plane"), _) | (_, false) => &[false],
            (Some("image_conv_broadcast" | "image_conv_plane_broadcast"), true) => &[true],
            (_, true) => &[true, false],
        };
        let tiles = || broadcasts.iter().flat_map(|&broadcast| self.tiles(broadcast));
        let cheapest = tiles().min_by_key(|&tile| self.cost(tile));
        let least = Tile { pixels: self.window().1, filters: 1, broadcast: broadcasts[0] };
        let cheapest = cheapest.unwrap_or(least);
        let cost = self.cost(cheapest);
        let known = |tile: &Tile| recording.has(&self.kernel(*tile, epilogue));
        let close = tiles().filter(|&tile| self.cost(tile) <= cost + cost / LITTLE);
        close.filter(known).min_by_key(|&tile| self.cost(tile)).unwrap_or(cheapest)
    }
}

/// Whether an output sees the one input at its place.
fn is_pointwise(axis: &Axis) -> bool {
    axis.kernel == 1 && axis.stride == 1 && axis.before == 0 && axis.after == 0
}

/// Invocations of a workgroup of `image_conv`.
const GROUP: usize = 8;

/// What it costs to load and to store a texel, and to load a word of a buffer, in multiply-adds, as measured on llvmpipe: 5,
/// 60 and 16 ns beside 0.27 ns for eight invocations.
pub(super) const LOAD: usize = 18;
const LOAD_WORD: usize = 60;
pub(super) const STORE: usize = 220;

fn conv_kernel(shape: &Shape, tile: Tile, epilogue: Epilogue) -> Kernel {
    let name = match (shape.plane, tile.broadcast) {
        (false, false) => "image_conv",
        (false, true) => "image_conv_broadcast",
        (true, false) => "image_conv_plane",
        (true, true) => "image_conv_plane_broadcast",
    };
    let input = match shape.plane {
        true => include_str!("../../../shaders/shared/image_plane.wgsl"),
        false => INPUT,
    };
    let weights = match tile.broadcast {
        true => include_str!("../../../shaders/shared/image_weights_broadcast.wgsl"),
        false => include_str!("../../../shaders/shared/image_weights.wgsl"),
    };
    let wgsl = include_str!("../../../shaders/image_conv.wgsl");
    let kernel = plain_kernel(name, wgsl, 4).with(input).with(OUTPUT).with(weights);
    let kernel = if tile.broadcast { kernel.subgroups() } else { kernel };
    let kernel = match shape.windows {
        Some(windows) => windows.specialise(kernel),
        None => kernel.with(include_str!("../../../shaders/shared/image_each.wgsl")),
    };
    let kernel = shape
        .specialise(kernel)
        .flag("ROLLED", shape.rolled)
        .constant("LANES", shape.lanes)
        .constant("PIXELS", tile.pixels)
        .constant("FILTERS", tile.filters);
    epilogue.specialise_residual(epilogue.specialise(kernel))
}

fn depthwise_kernel(shape: &Shape, pixels: usize, epilogue: Epilogue) -> Kernel {
    let kernel = kernel("image_depthwise", include_str!("../../../shaders/image_depthwise.wgsl"), 4);
    let kernel = shape.specialise(kernel).constant("PIXELS", pixels);
    epilogue.specialise_residual(epilogue.specialise(kernel))
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

impl Rows {
    fn new(sizes: &Sizes) -> Self {
        let Sizes { vertical, horizontal, .. } = sizes;
        let (height, width) = sizes.stored();
        Rows {
            input_height: vertical.input as u32,
            input_width: horizontal.input as u32,
            output_height: height as u32,
            output_width: width as u32,
            kernel_height: vertical.kernel as u32,
            stride_y: vertical.stride as u32,
            dilation_y: vertical.dilation as u32,
            pad_top: vertical.before as u32,
            pad_left: horizontal.before as u32,
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct ConvParams {
    count: u32,
    lanes: u32,
    across: u32,
    images: u32,
    total: u32,
    depth: u32,
    filters: u32,
    last_lanes: u32,
    start: u32,
    gap: u32,
    bounds: Bounds,
    rows: Rows,
    kernel_width: u32,
    stride_x: u32,
    dilation_x: u32,
    has_residual: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct DepthwiseParams {
    count: u32,
    across: u32,
    depth: u32,
    start: u32,
    gap: u32,
    bounds: Bounds,
    rows: Rows,
}

/// Where an output's texels go in its image: behind so many, and so many are between its images.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Target {
    pub start: usize,
    pub gap: usize,
}

impl Target {
    pub fn new(slice: Option<Slice>, own: &Layout) -> Self {
        slice.map_or(Target::default(), |slice| Target {
            start: slice.start * own.pixels,
            gap: (slice.layout.depth() - own.depth()) * own.pixels,
        })
    }
}

/// Records the convolutions of these sizes with weights in [`Filters`]' layout.
pub(super) fn multiply(
    sizes: &Sizes,
    tile: Tile,
    epilogue: Epilogue,
    [input, weight, bias]: [BufferId; 3],
    residual: Option<BufferId>,
    (output, target): (BufferId, Target),
    recording: &mut Recording,
) -> Result<()> {
    let (count, lanes) = sizes.pieces(tile);
    let total = sizes.invocations(tile);
    let params = ConvParams {
        count: count as u32,
        lanes: lanes as u32,
        across: sizes.across(tile) as u32,
        images: sizes.images as u32,
        total: total as u32,
        depth: sizes.depth as u32,
        filters: sizes.filters.div_ceil(4) as u32,
        last_lanes: (sizes.filters - 4 * (sizes.filters.div_ceil(4) - 1)) as u32,
        start: target.start as u32,
        gap: target.gap as u32,
        bounds: epilogue.bounds(),
        rows: Rows::new(sizes),
        kernel_width: sizes.horizontal.kernel as u32,
        stride_x: sizes.horizontal.stride as u32,
        dilation_x: sizes.horizontal.dilation as u32,
        has_residual: u32::from(residual.is_some()),
    };
    // A kernel that can add a residual has an image bound for it.
    let absent = if epilogue.residual { input } else { recording.nothing() };
    let reads = [input, weight, bias, residual.unwrap_or(absent)];
    let groups = recording.linear(total, GROUP);
    recording.dispatch(sizes.kernel(tile, epilogue), &params, &reads, &[output], groups)
}

/// Whether a convolution of the network adds a residual: then kernels of those that do serve the others too.
fn adds_residuals(graph: &Graph) -> bool {
    let adds =
        |node: &Node| matches!(node.op, Op::Conv(_)) && node.inputs.get(3).is_some_and(Option::is_some);
    graph.nodes().iter().any(adds)
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
    let plane = reads_plane(&x, site.options.variant).then(|| operands.plain(0, site)).flatten();
    let sizes = |windows| {
        let sizes = Sizes::new(&x, y.channels, axes, windows)?;
        Some(Sizes { plane: plane.is_some(), ..sizes })
    };
    let Some(plain) = sizes(None) else { return Ok(false) };
    let depthwise = op.groups == x.channels && y.channels == x.channels && op.groups > 1;
    if !wanted(site, recording)
        || !(op.groups == 1 || depthwise && site.constant(1).is_some())
        || !op.activation.is_none_or(is_finite_at_zero)
    {
        return Ok(false);
    }

    let name = &site.node.name;
    let has_residual = site.input(3).is_some();
    let epilogue = Epilogue {
        bias: site.input(2).is_some(),
        // Beside a plane there is no image to bind where none is added.
        residual: has_residual || plain.is_rolled() || plane.is_none() && adds_residuals(site.graph),
        activation: op.activation,
    };
    let alone = Epilogue { residual: false, ..epilogue };
    let taps = axes.iter().map(|a| a.kernel).product();
    let tile = plain.choose(epilogue, site.options.variant, recording);
    let cost = plain.cost(tile);
    let winograd = match site.constant(1) {
        Some(weight) if !depthwise => {
            Winograd::choose(axes, &x, y.channels, cost, site.options.variant, recording)
                .map(|plan| (plan, weight))
        }
        _ => None,
    };
    // With the pool that follows, where that costs less than the two apart.
    let cost = winograd.as_ref().map_or(cost, |(plan, _)| plan.cost());
    let pooled = operands.pool(site).filter(|_| !depthwise && !has_residual).and_then(|pool| {
        let sizes = sizes(Some(pool.windows))?;
        let tile = sizes.choose(alone, None, recording);
        (sizes.cost(tile) < cost + pool.cost()).then_some((pool, sizes, tile))
    });
    let (sizes, tile) = pooled.map_or((plain, tile), |(_, sizes, tile)| (sizes, tile));
    let winograd = winograd.filter(|_| pooled.is_none());
    let filters = Filters { filters: y.channels, channels: x.channels, taps, block: tile.filters, sets: 1 };
    let texels = if depthwise { x.depth() * taps } else { filters.texels() };
    if winograd.is_none() && !fits_image(&recording.limits, 4 * texels) {
        return Ok(false);
    }
    let input = match plane.filter(|_| winograd.is_none()) {
        Some(plane) => plane,
        None => match operands.image(0, site, recording)? {
            Some(image) => image,
            None => return Ok(false),
        },
    };
    let bias = bias(site, operands, recording)?;
    let residual = operands.image(3, site, recording)?;
    if let Some((plan, weight)) = winograd {
        let (output, slice) = operands.slice_result(0, y, site, recording);
        let target = (output, Target::new(slice, &y));
        plan.record(epilogue, weight, [input, bias], residual, target, site, recording)?;
        return Ok(true);
    }
    let weight = match site.constant(1) {
        Some(weight) if depthwise => {
            let packing = Packing::new("image depthwise", pack_depthwise);
            recording.constant_weights(format!("{name} weight"), weight, texels, packing)
        }
        Some(weight) => filters.constant(name, weight, recording),
        None => {
            let weight = operands.get(1, site, recording)?;
            filters.computed(name, weight, [x.channels * taps, taps, 1], recording)?
        }
    };
    let reads = [input, weight, bias];
    if let Some((pool, ..)) = pooled {
        let output = operands.pool_result(&pool, site, recording);
        multiply(&sizes, tile, alone, reads, None, (output, Target::default()), recording)?;
        return Ok(true);
    }
    let (output, slice) = operands.slice_result(0, y, site, recording);
    let target = Target::new(slice, &y);
    if !depthwise {
        multiply(&sizes, tile, epilogue, reads, residual, (output, target), recording)?;
        return Ok(true);
    }
    let pixels = depthwise_pixels(&sizes.horizontal);
    let across = sizes.horizontal.output.div_ceil(pixels);
    let count = across * sizes.vertical.output * x.depth() * x.images;
    let params = DepthwiseParams {
        count: count as u32,
        across: across as u32,
        depth: x.depth() as u32,
        start: target.start as u32,
        gap: target.gap as u32,
        bounds: epilogue.bounds(),
        rows: Rows::new(&sizes),
    };
    let kernel = depthwise_kernel(&sizes.shape(), pixels, Epilogue { residual: has_residual, ..epilogue });
    let reads = [input, weight, bias, residual.unwrap_or(recording.nothing())];
    let groups = recording.linear(count, SMALL_GROUP);
    recording.dispatch(kernel, &params, &reads, &[output], groups)?;
    Ok(true)
}

/// Whether a convolution reads its input as it lies in a buffer, where nothing else wants an image of it. Of a single channel
/// each texel would be one word beside three zeros, to be multiplied as others are. Of two and more a word is loaded for each,
/// which takes three times as long as a texel, so that one pass of packing them costs less.
fn reads_plane(x: &Layout, variant: Option<&str>) -> bool {
    x.channels == 1 && variant.is_none_or(|name| name.starts_with("image_conv_plane"))
}

/// The number of neighbours, up to eight, that leaves the fewest idle at the end of a row; of several the first of this list,
/// for many networks' widths are seven times a power of two, and layers alike share a kernel.
fn depthwise_pixels(axis: &Axis) -> usize {
    let waste = |pixels: usize| axis.output.div_ceil(pixels) * pixels - axis.output;
    let pixels = [7, 8, 6, 5, 4].into_iter().min_by_key(|&p| waste(p)).unwrap_or(8);
    pixels.min(axis.output.max(1))
}

/// `[c, 1, kernel...]` as `image_depthwise` reads it.
fn pack_depthwise(values: &[f32], shape: &[usize], texels: &mut [f32]) {
    let taps: usize = shape[2..].iter().product();
    for (i, value) in values.iter().enumerate() {
        let (c, tap) = (i / taps, i % taps);
        texels[4 * (c / 4 * taps + tap) + c % 4] = *value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(images: usize, channels: usize, filters: usize, side: usize, kernel: usize) -> Sizes {
        let pad = kernel / 2;
        let axis = Axis { kernel, before: pad, after: pad, input: side, output: side, ..row_axis() };
        let x = Layout { images, channels, pixels: side * side };
        Sizes::new(&x, filters, &[axis; 2], None).expect("two axes")
    }

    fn recording(subgroups: bool) -> Recording {
        let mut recording = Recording::new(wgpu::Limits::default(), true);
        recording.subgroups = subgroups;
        recording
    }

    fn choose(sizes: Sizes, variant: Option<&str>, subgroups: bool) -> Tile {
        sizes.choose(Epilogue::default(), variant, &recording(subgroups))
    }

    #[test]
    fn every_branch_of_the_choice() {
        let many = sizes(1, 64, 64, 28, 3);
        assert!(choose(many, None, true).broadcast);
        assert!(!choose(many, None, false).broadcast);
        assert!(!choose(many, Some("image_conv"), true).broadcast);
        // One pixel would leave seven of eight invocations without work.
        let one = sizes(1, 64, 64, 1, 1);
        assert!(!choose(one, None, true).broadcast);
        assert!(choose(one, Some("image_conv_broadcast"), true).broadcast);
        assert!(!choose(one, Some("image_conv_broadcast"), false).broadcast);
    }

    #[test]
    fn a_kernel_that_is_there_is_taken_if_it_costs_little_more() {
        let sizes = sizes(1, 64, 64, 56, 1);
        let cheapest = choose(sizes, None, true);
        let cost = |tile: &Tile| sizes.cost(*tile) as f64 / sizes.cost(cheapest) as f64;
        let others = || sizes.tiles(true).filter(|tile| *tile != cheapest);
        let (close, far) = (others().find(|t| cost(t) < 1.04), others().find(|t| cost(t) > 1.06));
        for (tile, expected) in [(close.expect("a close one"), close), (far.expect("a far one"), None)] {
            let mut recording = recording(true);
            let kernel = |epilogue| conv_kernel(&sizes.shape(), tile, epilogue);
            let ids = [recording.nothing(); 4];
            recording.dispatch(kernel(Epilogue::default()), &[0u32; 4], &ids, &ids[..1], [1; 3]).unwrap();
            let chosen = sizes.choose(Epilogue::default(), None, &recording);
            assert_eq!(chosen, expected.unwrap_or(cheapest));
            // Another epilogue is another kernel.
            let biased = Epilogue { bias: true, ..Epilogue::default() };
            assert_eq!(sizes.choose(biased, None, &recording), cheapest);
        }
    }

    #[test]
    fn strided_and_dilated_convolutions_share_a_kernel() {
        let tile = Tile { pixels: 4, filters: 4, broadcast: true };
        let of = |channels, kernel, stride, dilation| {
            let plain = sizes(1, channels, 64, 28, kernel);
            let sizes = Sizes { horizontal: Axis { stride, dilation, ..plain.horizontal }, ..plain };
            sizes.kernel(tile, Epilogue { bias: true, ..Epilogue::default() })
        };
        let first = of(3, 7, 2, 1);
        for other in [of(64, 3, 2, 1), of(64, 1, 2, 1), of(5, 5, 3, 2), of(64, 3, 1, 2)] {
            assert_eq!(other, first);
        }
        assert_ne!(of(64, 3, 1, 1), first);
    }

    #[test]
    fn tiles_are_whole_windows() {
        for (width, side) in [(2, 28), (3, 28), (2, 3), (3, 3)] {
            let windows = Some(Windows { max: true, height: 2, width });
            for plane in [false, true] {
                let sizes = Sizes { windows, plane, ..sizes(1, 1, 24, side, 3) };
                let tile = choose(sizes, None, true);
                assert!(tile.pixels.is_multiple_of(width) && tile.pixels <= side, "{tile:?}");
                // As many invocations as it takes for all windows.
                let windows = sizes.stored();
                assert_eq!(windows, (side / 2, side / width));
                assert!(sizes.across(tile) * tile.pixels >= width * windows.1);
            }
        }
        // However wide the kernel, a window is a tile.
        let wide =
            Sizes { windows: Some(Windows { max: true, height: 1, width: 3 }), ..sizes(1, 4, 4, 99, 97) };
        assert_eq!(choose(wide, None, false), Tile { pixels: 3, filters: 1, broadcast: false });
    }

    #[test]
    fn every_branch_of_the_limit_to_sums() {
        let sums = |channels, stride| {
            let axis = Axis { kernel: 3, stride, input: 56, output: 54 / stride, ..row_axis() };
            let x = Layout { images: 1, channels, pixels: 56 * 56 };
            let tile = choose(Sizes::new(&x, 64, &[axis; 2], None).expect("two axes"), None, true);
            tile.pixels * tile.filters
        };
        let [plain, strided, first] = [sums(64, 1), sums(64, 2), sums(3, 2)];
        let few = 9..=16;
        assert!(plain > 16 && few.contains(&strided) && few.contains(&first), "{plain} {strided} {first}");
    }

    #[test]
    fn tiles_divide_what_they_can() {
        // 24 filters are six texels, 49 pixels seven times seven.
        let tile = choose(sizes(1, 144, 24, 56, 1), None, true);
        assert_eq!(6 % tile.filters, 0, "{tile:?}");
        // Rows of 7 are one piece each.
        assert_eq!(choose(sizes(1, 64, 64, 7, 3), None, false).pixels, 7);
        // A wide kernel's code stays small.
        let wide = choose(sizes(1, 4, 64, 112, 11), None, true);
        assert!(wide.pixels * wide.filters * 11 <= 96, "{wide:?}");
        // Without rows to tell apart, a plane is one row.
        assert_eq!(sizes(1, 64, 64, 7, 1).horizontal.output, 49);
    }
}
