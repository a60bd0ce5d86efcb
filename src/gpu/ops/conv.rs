//! Convolution: a matrix product of filters and patches, which are found where they lie in the input; where the kernel is
//! 1x1 they are the input. Asked for by name, the patches are unfolded into a matrix first (im2col), a piece at a time.
//!
//! 3x3 kernels of many channels have Winograd's form, pictures of few channels are summed in tiles of workgroup memory,
//! depthwise convolutions four outputs at a time, and other thin groups one by one.

mod depthwise;
mod stem;
mod winograd;

use super::gemm::{self, Form, Left, Params as Product, Source, last_four, pack_rows};
use super::im2col::{self, Layout};
use super::{INDEX, every_activation};
use crate::error::Result;
use crate::gpu::cells::{Cells, spatial};
use crate::gpu::image;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::{BufferId, Packing, Recording};
use crate::ops::{Activation, Conv};
use crate::plan::Site;
use crate::window::Axis;

const GROUP: usize = 64;
/// The products of a group's channels and filters up to which it is too thin for a matrix.
const THIN: usize = 16;

#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::NoUninit)]
struct Direct {
    channels: u32,
    filters: u32,
    group_channels: u32,
    group_filters: u32,
    count: u32,
    padding: [u32; 3],
    cells: Cells,
}

/// What follows the sums of a convolution.
#[derive(Clone, Copy, Debug)]
struct Epilogue {
    has_bias: bool,
    has_residual: bool,
    activation: Option<Activation>,
}

impl Epilogue {
    /// Without an activation.
    const EVERY: [Epilogue; 4] = {
        const fn plain(has_bias: bool, has_residual: bool) -> Epilogue {
            Epilogue { has_bias, has_residual, activation: None }
        }
        [plain(false, false), plain(true, false), plain(false, true), plain(true, true)]
    };

    /// With a bias and each activation.
    fn every_activation() -> impl Iterator<Item = Epilogue> {
        let activated = |activation| Epilogue { has_bias: true, has_residual: false, activation };
        every_activation().into_iter().map(activated)
    }

    fn specialise(&self, kernel: Kernel) -> Kernel {
        kernel
            .flag("HAS_BIAS", self.has_bias)
            .flag("HAS_RESIDUAL", self.has_residual)
            .activation(self.activation)
    }

    /// For a kernel that finishes four neighbours of a row together, where `fours` says whether all rows are whole fours.
    fn finish4(&self, kernel: Kernel, fours: bool) -> Kernel {
        let [store, residual] = match fours {
            true => [
                include_str!("../../../shaders/shared/store_fours.wgsl"),
                include_str!("../../../shaders/shared/residual_fours.wgsl"),
            ],
            false => [
                include_str!("../../../shaders/shared/store_each.wgsl"),
                include_str!("../../../shaders/shared/residual_each.wgsl"),
            ],
        };
        let finish = include_str!("../../../shaders/shared/conv_finish.wgsl");
        self.specialise(kernel.with(finish).with(store).with(residual))
    }
}

/// A convolution's sizes, and the buffers of what it reads and writes beside its weights.
struct Layer<'a> {
    axes: &'a [Axis],
    groups: usize,
    images: usize,
    channels: usize,
    filters: usize,
    activation: Option<Activation>,
    input: BufferId,
    bias: Option<BufferId>,
    residual: Option<BufferId>,
    output: BufferId,
}

impl Layer<'_> {
    fn epilogue(&self) -> Epilogue {
        Epilogue {
            has_bias: self.bias.is_some(),
            has_residual: self.residual.is_some(),
            activation: self.activation,
        }
    }

    /// What is bound as the bias and the residual.
    fn added(&self, recording: &mut Recording) -> [BufferId; 2] {
        recording.or_nothing([self.bias, self.residual])
    }
}

fn direct_kernel(epilogue: Epilogue) -> Kernel {
    let wgsl = include_str!("../../../shaders/conv_direct.wgsl");
    epilogue.specialise(Kernel::new("conv_direct", wgsl, 4, 1).with(INDEX))
}

pub(super) fn variants() -> Vec<Kernel> {
    let direct = Epilogue::EVERY.into_iter().chain(Epilogue::every_activation()).map(direct_kernel);
    direct
        .chain(depthwise::variants())
        .chain(winograd::variants())
        .chain(stem::variants())
        .chain(gemm::conv_variants())
        .chain(image::conv_variants())
        .collect()
}

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    Direct,
    Matrix,
}

/// The path asked for by name (a variant of another kernel than these leaves the rule in force), else by this rule:
/// a group of few channels and filters is a product too thin for a matrix.
fn choose(op: &Conv, channels: usize, filters: usize, site: &Site) -> Path {
    match site.options.variant {
        Some("conv_direct") => Path::Direct,
        Some("im2col") => Path::Matrix,
        _ if op.groups > 1 && channels / op.groups * (filters / op.groups) <= THIN => Path::Direct,
        _ => Path::Matrix,
    }
}

/// Whether the patches are the input itself.
fn is_pointwise(axes: &[Axis]) -> bool {
    axes.iter().all(|a| a.kernel == 1 && a.stride == 1 && a.before == 0 && a.after == 0)
}

pub(super) fn record(
    op: &Conv,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<()> {
    let x = site.input(0).map(|info| info.shape.clone()).unwrap_or_default();
    let axes = op.axes(&x).map_err(|e| site.error(e))?;
    if image::conv(op, &axes, site, operands, recording)? {
        return Ok(());
    }
    let (images, channels) = (x[0], x[1]);
    let filters = site.output(0).shape[1];
    let layer = Layer {
        axes: &axes,
        groups: op.groups,
        images,
        channels,
        filters,
        activation: op.activation,
        input: operands.get(0, site, recording)?,
        bias: operands.optional(2, site, recording)?,
        residual: operands.optional(3, site, recording)?,
        output: operands.result(0),
    };
    let Layer { input, bias, residual, output, .. } = layer;

    if let Some(plan) = winograd::Plan::choose(&layer, site, recording) {
        return plan.record(site, recording);
    }
    if let Some(slide) = depthwise::choose(&layer, site.options.variant) {
        let weight = operands.get(1, site, recording)?;
        return depthwise::record(&layer, slide, weight, recording);
    }

    if let Some(plan) = stem::Plan::choose(&layer, site, recording) {
        return plan.record(site, recording);
    }

    if choose(op, channels, filters, site) == Path::Direct {
        let count = site.output(0).shape.elements();
        let params = Direct {
            channels: channels as u32,
            filters: filters as u32,
            group_channels: (channels / op.groups) as u32,
            group_filters: (filters / op.groups) as u32,
            count: count as u32,
            padding: [0; 3],
            cells: Cells::new(&axes),
        };
        let weight = operands.get(1, site, recording)?;
        let kernel = direct_kernel(layer.epilogue());
        let [bias, residual] = layer.added(recording);
        let reads = [input, weight, bias, residual];
        let groups = recording.linear(count, GROUP);
        return recording.dispatch(kernel, &params, &reads, &[output], groups);
    }

    let form = Form {
        has_bias: bias.is_some(),
        has_residual: residual.is_some(),
        activation: op.activation,
        ..Form::default()
    };
    let positions: usize = axes.iter().map(|a| a.output).product();
    let (m, k) = (filters / op.groups, axes.iter().fold(channels / op.groups, |n, a| n * a.kernel));
    // A constant of four filters or more is packed so that a load brings four of them.
    let groups = op.groups;
    let (weight, a_rows) = match site.constant(1) {
        Some(constant) if m >= 4 => {
            let packing = Packing::new(format!("rows {groups}"), move |values, _, words| {
                pack_rows(values, m, k, words)
            });
            let (name, rows) = (format!("{} weight", site.node.name), m.next_multiple_of(4));
            // A binding must hold an element, also where there are no terms.
            let words = (groups * rows * k).max(4);
            (Left::Packed(recording.packed(name, constant, words, packing)), rows)
        }
        _ => (Left::Stored(operands.get(1, site, recording)?), m),
    };
    // Filters times the columns of one image (pointwise), or of all images' patches.
    let product = Product {
        batch: last_four(&[op.groups], 1, 1),
        a_step: last_four(&[1], a_rows * k, 0),
        c_step: last_four(&[1], m * positions, 0),
        bias_step: last_four(&[1], m, 0),
        products: op.groups as u32,
        c_row: positions as u32,
        c_split: positions.max(1) as u32,
        c_image: (filters * positions) as u32,
        bias_row: 1,
        ..Product::new(m, 0, k)
    };

    let explicit = site.options.variant == Some("im2col");
    if is_pointwise(&axes) && !explicit {
        let product = Product {
            batch: last_four(&[images, op.groups], 1, 1),
            a_step: last_four(&[0, a_rows * k], 1, 0),
            b_step: last_four(&[channels * positions, k * positions], 1, 0),
            c_step: last_four(&[filters * positions, m * positions], 1, 0),
            products: (images * op.groups) as u32,
            n: positions as u32,
            b_row: positions as u32,
            ..product
        };
        let operands = (weight, Source::Stored(input));
        return gemm::dispatch(&form, &product, operands, bias, residual, output, site, recording);
    }

    let columns = images * positions;
    if !explicit {
        let plane = axes.iter().map(|a| a.input).product::<usize>();
        let product = Product {
            n: columns as u32,
            b_step: last_four(&[1], channels / op.groups * plane, 0),
            image_step: (channels * plane) as u32,
            input_size: spatial(&axes, |a| a.input, 1),
            output_size: spatial(&axes, |a| a.output, 1),
            stride: spatial(&axes, |a| a.stride, 1),
            before: spatial(&axes, |a| a.before, 0),
            ..product
        };
        let taps = recording.words(format!("{} taps", site.node.name), taps(channels / op.groups, &axes));
        let operands = (weight, Source::Patches { input, taps });
        return gemm::dispatch(&form, &product, operands, bias, residual, output, site, recording);
    }

    let rows = op.groups * k;
    let cap = (site.options.im2col_cap as u64).min(recording.limits.max_storage_buffer_binding_size) as usize;
    let per_piece = (cap / 4 / rows.max(1)).clamp(1, columns.max(1));
    // One matrix serves all pieces in turn.
    let matrix = recording.computed(format!("{} im2col", site.node.name), rows * per_piece);
    for start in (0..columns).step_by(per_piece) {
        let count = per_piece.min(columns - start);
        let layout = Layout { row_step: count, split: count, image_step: 0 };
        im2col::dispatch(&axes, channels, (start, count), &layout, input, matrix, recording)?;
        let piece = Product {
            n: count as u32,
            b_row: count as u32,
            b_step: last_four(&[1], k * count, 0),
            start: start as u32,
            ..product
        };
        let operands = (weight, Source::Stored(matrix));
        gemm::dispatch(&form, &piece, operands, bias, residual, output, site, recording)?;
    }
    Ok(())
}

/// The table of `shaders/shared/gemm_patches.wgsl`: for each channel and tap the offset in elements, and the cells along
/// (depth, height, width), from the first tap of the first channel.
pub(super) fn taps(channels: usize, axes: &[Axis]) -> Vec<u32> {
    let [depth, height, width] = std::array::from_fn(|i| match (i + axes.len()).checked_sub(3) {
        Some(axis) => axes[axis],
        None => Axis { input: 1, output: 1, kernel: 1, stride: 1, dilation: 1, before: 0, after: 0 },
    });
    // Without channels one tap that nothing reads: a binding must hold an element.
    let mut words = if channels == 0 { vec![0; 4] } else { Vec::new() };
    for channel in 0..channels {
        for z in (0..depth.kernel).map(|tap| tap * depth.dilation) {
            for y in (0..height.kernel).map(|tap| tap * height.dilation) {
                for x in (0..width.kernel).map(|tap| tap * width.dilation) {
                    let offset = ((channel * depth.input + z) * height.input + y) * width.input + x;
                    words.extend([offset, z, y, x].map(|n| n as u32));
                }
            }
        }
    }
    words
}
