//! The gradient of a convolution to its filters: a matrix product whose terms are the output positions of all images, both
//! operands found where they lie. There are few sums of very many terms, so the terms are cut into slices.

use super::gemm::{self, Form, Left, Params as Product, Source, last_four};
use super::{INDEX, conv};
use crate::error::Result;
use crate::gpu::cells::{Cells, spatial};
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::Recording;
use crate::ops::ConvWeight;
use crate::plan::Site;

const GROUP: usize = 64;
/// Invocations that the flat kernel's slices make up, where there are lines enough: for a GPU, and for the cores of a
/// processor.
const ENOUGH: usize = 1 << 14;
const ENOUGH_FOR_CORES: usize = 1 << 10;

#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::NoUninit)]
struct Flat {
    channels: u32,
    filters: u32,
    group_channels: u32,
    group_filters: u32,
    count: u32,
    across: u32,
    down: u32,
    lines: u32,
    slice: u32,
    padding: [u32; 3],
    cells: Cells,
}

fn flat_kernel(filters: usize) -> Kernel {
    Kernel::new("conv_weight", include_str!("../../../shaders/conv_weight.wgsl"), 2, 1)
        .with(INDEX)
        .constant("FILTERS", filters)
}

pub(super) fn variants() -> Vec<Kernel> {
    [1, 4].map(flat_kernel).into_iter().chain(gemm::tap_variants()).collect()
}

pub(super) fn record(
    op: &ConvWeight,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<()> {
    let x = site.input(0).map(|info| info.shape.clone()).unwrap_or_default();
    let axes = op.axes(&x).map_err(|e| site.error(e))?;
    let (images, channels) = (x[0], x[1]);
    let filters = site.output(0).shape[0];
    let (of_group, group_filters) = (channels / op.groups, filters / op.groups);
    let positions: usize = axes.iter().map(|a| a.output).product();
    let columns = axes.iter().fold(of_group, |n, a| n * a.kernel);
    let [input, gradient] = [operands.get(0, site, recording)?, operands.get(1, site, recording)?];
    let output = operands.result(0);

    let thin = op.groups > 1 && of_group * group_filters <= 16;
    let flat = match site.options.variant {
        Some(name) => name == "conv_weight",
        None => recording.software || thin,
    };
    if flat {
        let block = if group_filters < 4 { 1 } else { 4 };
        let (across, down) = (columns.div_ceil(4), group_filters.div_ceil(block));
        let width = axes.last().map_or(1, |a| a.output);
        let lines = images * positions / width.max(1);
        let enough = if recording.software { ENOUGH_FOR_CORES } else { ENOUGH };
        let slices = (enough / (across * down * op.groups).max(1)).clamp(1, lines.max(1));
        let slice = lines.div_ceil(slices).max(1);
        let slices = lines.div_ceil(slice).max(1);
        let count = across * down * op.groups * slices;
        let params = Flat {
            channels: channels as u32,
            filters: filters as u32,
            group_channels: of_group as u32,
            group_filters: group_filters as u32,
            count: count as u32,
            across: across as u32,
            down: down as u32,
            lines: lines as u32,
            slice: slice as u32,
            padding: [0; 3],
            cells: Cells::new(&axes),
        };
        let partial = match slices {
            1 => output,
            _ => recording.computed(format!("{} slices", site.node.name), slices * filters * columns),
        };
        let groups = recording.linear(count, GROUP);
        recording.dispatch(flat_kernel(block), &params, &[input, gradient], &[partial], groups)?;
        if slices > 1 {
            gemm::add_slices(partial, slices, filters * columns, output, recording)?;
        }
        return Ok(());
    }

    let plane = axes.iter().map(|a| a.input).product::<usize>();
    let product = Product {
        batch: last_four(&[op.groups], 1, 1),
        a_step: last_four(&[1], group_filters * positions, 0),
        b_step: last_four(&[1], of_group * plane, 0),
        c_step: last_four(&[1], group_filters * columns, 0),
        products: op.groups as u32,
        a_row: positions as u32,
        a_image: (filters * positions) as u32,
        image_step: (channels * plane) as u32,
        input_size: spatial(&axes, |a| a.input, 1),
        output_size: spatial(&axes, |a| a.output, 1),
        stride: spatial(&axes, |a| a.stride, 1),
        before: spatial(&axes, |a| a.before, 0),
        ..Product::new(group_filters, columns, images * positions)
    };
    let taps = recording.words(format!("{} taps", site.node.name), conv::taps(of_group, &axes));
    // Neighbours along the terms are neighbours in memory, as in a transposed matrix.
    let form = Form { trans_b: true, ..Form::default() };
    let operands = (Left::Stored(gradient), Source::Taps { input, taps });
    gemm::dispatch(&form, &product, operands, None, None, output, site, recording)
}
