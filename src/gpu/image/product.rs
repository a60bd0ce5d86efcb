//! Matrix products as 1x1 convolutions of images: a row of a is a pixel, a column of b a filter. Both are packed by each
//! run, so this pays where many rows meet many columns.

use super::conv::{Epilogue, Sizes, Target, conv_kernels, multiply};
use super::filters::{self, Filters};
use super::{
    Layout, Steps, bias, is_finite_at_zero, pack_from, pack_kernel, row_axis, unpack_kernel, unpack_to,
};
use crate::error::Result;
use crate::gpu::kernel::Kernel;
use crate::gpu::memory::fits_image;
use crate::gpu::operands::Operands;
use crate::gpu::recording::Recording;
use crate::ops::Gemm;
use crate::ops::gemm::Sizes as Products;
use crate::plan::Site;
use crate::window::Axis;

pub(in crate::gpu) fn product_variants() -> Vec<Kernel> {
    conv_kernels().chain([pack_kernel(), unpack_kernel(), filters::pack_kernel()]).collect()
}

/// Fewer multiply-adds than this are not worth the packing and three more dispatches.
const LEAST_WORK: usize = 1 << 17;

/// A product of matrices over images; false where this one is better off without.
pub(in crate::gpu) fn product(
    op: &Gemm,
    products: &Products,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<bool> {
    let &Products { m, n, k, .. } = products;
    // Matrices of the whole batch one after another, or all rows against one b.
    let all: usize = products.batch.iter().product();
    let dense = |steps: &[usize]| {
        let mut step = 1;
        products.batch.iter().zip(steps).rev().all(|(&size, &own)| {
            let fits = size == 1 || own == step;
            step *= size;
            fits
        })
    };
    let single = products.b_steps.iter().zip(&products.batch).all(|(&step, &size)| size == 1 || step == 0);
    let (sets, rows) = match (dense(&products.a_steps), dense(&products.b_steps)) {
        _ if all == 1 => (1, m),
        (true, _) if single && !op.trans_a => (1, all * m),
        (true, true) => (all, m),
        _ => return Ok(false),
    };
    let vector_bias = site.input(2).is_none() || (site.dims(2) == [n] && op.beta == 1.0);
    let asked = match site.options.variant {
        Some(name) => name.starts_with("image_conv") || name == "image_filters",
        None => recording.software && rows >= 8 && n >= 8 && sets * rows * n * k >= LEAST_WORK,
    };
    let empty = sets * rows * n * k == 0;
    let whole = op.activation.is_none_or(is_finite_at_zero);
    if !asked || empty || !vector_bias || op.alpha != 1.0 || !whole {
        return Ok(false);
    }

    let x = Layout { images: sets, channels: k, pixels: rows };
    let y = Layout { images: sets, channels: n, pixels: rows };
    let sizes = Sizes {
        sets,
        images: 1,
        depth: x.depth(),
        filters: n,
        lanes: 4,
        vertical: row_axis(),
        horizontal: Axis { input: rows, output: rows, ..row_axis() },
        plane: false,
        windows: None,
    };
    let epilogue = Epilogue { bias: site.input(2).is_some(), residual: false, activation: op.activation };
    let tile = sizes.choose(epilogue, site.options.variant, recording);
    let filters = Filters { sets, filters: n, channels: k, taps: 1, block: tile.filters };
    if [x.texels(), y.texels(), filters.texels()].iter().any(|&n| !fits_image(&recording.limits, 4 * n)) {
        return Ok(false);
    }
    let name = &site.node.name;
    let [a, b] = [operands.get(0, site, recording)?, operands.get(1, site, recording)?];
    let bias = bias(site, operands, recording)?;
    let (channel, pixel) = if op.trans_a { (m, 1) } else { (1, k) };
    let steps = Steps { image: m * k, channel, pixel };
    let input = pack_from(&format!("{name} a"), a, &x, steps, recording)?;
    let (filter, channel) = if op.trans_b { (k, 1) } else { (1, n) };
    let weight = filters.computed(name, b, [filter, channel, 0], recording)?;
    let output = recording.computed_image(format!("{name} product"), y.texels());
    multiply(&sizes, tile, epilogue, [input, weight, bias], None, (output, Target::default()), recording)?;
    let steps = Steps { image: rows * n, channel: 1, pixel: n };
    unpack_to(operands.result(0), output, &y, steps, recording)?;
    Ok(true)
}
