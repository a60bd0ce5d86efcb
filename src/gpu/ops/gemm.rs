//! Matrix products: tiles in workgroup memory on GPUs, straight from storage for few rows and on software adapters.

use super::{INDEX, every_activation};
use crate::error::Result;
use crate::gpu::image;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::{BufferId, Recording};
use crate::ops::broadcast::broadcast;
use crate::ops::{Activation, Gemm};
use crate::plan::Site;

/// The parameters of `shaders/shared/gemm.wgsl`, which documents them.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::NoUninit)]
pub(super) struct Params {
    pub batch: [u32; 4],
    pub a_step: [u32; 4],
    pub b_step: [u32; 4],
    pub c_step: [u32; 4],
    pub bias_step: [u32; 4],
    pub products: u32,
    pub m: u32,
    pub n: u32,
    pub k: u32,
    pub a_row: u32,
    pub b_row: u32,
    pub c_row: u32,
    pub start: u32,
    pub c_split: u32,
    pub c_image: u32,
    pub bias_row: u32,
    pub bias_column: u32,
    pub alpha: f32,
    pub beta: f32,
    pub padding: [u32; 2],
}

/// What specialises a matrix product's code, whichever way it is tiled.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Form {
    pub trans_a: bool,
    pub trans_b: bool,
    pub has_bias: bool,
    pub has_residual: bool,
    pub scaled: bool,
    pub activation: Option<Activation>,
}

/// How a product is cut into pieces of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tiling {
    /// Squares of this side in workgroup memory.
    Tiled(usize),
    /// This many rows by 4 columns per invocation, from storage.
    Flat(usize),
}

const TILINGS: [(&str, Tiling); 4] = [
    ("gemm_tiled_64", Tiling::Tiled(64)),
    ("gemm_tiled_32", Tiling::Tiled(32)),
    ("gemm_flat_4", Tiling::Flat(4)),
    ("gemm_flat_1", Tiling::Flat(1)),
];

fn kernel(name: &str, tiling: Tiling, form: &Form) -> Kernel {
    let kernel =
        match tiling {
            Tiling::Tiled(side) => Kernel::new(name, include_str!("../../../shaders/gemm_tiled.wgsl"), 4, 1)
                .constant("TILE", side),
            Tiling::Flat(rows) => Kernel::new(name, include_str!("../../../shaders/gemm_flat.wgsl"), 4, 1)
                .constant("ROWS", rows),
        };
    kernel
        .with(include_str!("../../../shaders/shared/gemm.wgsl"))
        .with(INDEX)
        .flag("TRANS_A", form.trans_a)
        .flag("TRANS_B", form.trans_b)
        .flag("HAS_BIAS", form.has_bias)
        .flag("HAS_RESIDUAL", form.has_residual)
        .flag("SCALED", form.scaled)
        .activation(form.activation)
}

pub(super) fn variants() -> Vec<Kernel> {
    let flags = (0..32).map(|bits: u32| Form {
        trans_a: bits & 1 != 0,
        trans_b: bits & 2 != 0,
        has_bias: bits & 4 != 0,
        has_residual: bits & 8 != 0,
        scaled: bits & 16 != 0,
        activation: None,
    });
    let activations = every_activation().into_iter().map(|activation| Form { activation, ..Form::default() });
    let forms: Vec<_> = flags.chain(activations).collect();
    let kernels =
        TILINGS.iter().flat_map(|(name, tiling)| forms.iter().map(|form| kernel(name, *tiling, form)));
    kernels.chain(image::linear_variants()).collect()
}

/// The tiling for a product: the variant asked for by name, else by this rule.
fn choose(m: usize, n: usize, site: &Site, recording: &Recording) -> (&'static str, Tiling) {
    if let Some(asked) = TILINGS.iter().find(|(name, _)| Some(*name) == site.options.variant) {
        return *asked;
    }
    let tiling = if m < 4 {
        Tiling::Flat(1)
    } else if recording.software {
        Tiling::Flat(4)
    } else if m.min(n) > 32 {
        Tiling::Tiled(64)
    } else {
        Tiling::Tiled(32)
    };
    TILINGS.into_iter().find(|(_, t)| *t == tiling).unwrap_or(TILINGS[0])
}

/// Records one batch of products.
pub(super) fn dispatch(
    form: &Form,
    params: &Params,
    [a, b]: [BufferId; 2],
    bias: Option<BufferId>,
    residual: Option<BufferId>,
    c: BufferId,
    site: &Site,
    recording: &mut Recording,
) -> Result<()> {
    let (m, n, products) = (params.m as usize, params.n as usize, params.products as usize);
    let (name, tiling) = choose(m, n, site, recording);
    let groups = match tiling {
        Tiling::Tiled(side) => recording.linear(m.div_ceil(side) * n.div_ceil(side) * products, 1),
        Tiling::Flat(rows) => recording.linear(m.div_ceil(rows) * n.div_ceil(4) * products, 64),
    };
    // An operand that is absent keeps its binding; its code is compiled away.
    let reads = [a, b, bias.unwrap_or(a), residual.unwrap_or(a)];
    recording.dispatch(kernel(name, tiling, form), params, &reads, &[c], groups)
}

pub(super) fn record(
    op: &Gemm,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<()> {
    if image::linear(op, site, operands, recording)? {
        return Ok(());
    }
    let shape = |i| site.input(i).map(|info| info.shape.clone()).unwrap_or_default();
    let sizes = op.sizes(&shape(0), &shape(1)).map_err(|e| site.error(e))?;
    let (m, n, k) = (sizes.m, sizes.n, sizes.k);
    let a = operands.get(0, site, recording)?;
    let bias = operands.optional(2, site, recording)?;
    let out = &site.output(0).shape;
    let (_, steps) = broadcast(&[out, site.dims(2)]).map_err(|e| site.error(e))?;
    let (out_steps, bias_steps) = (&steps[0], &steps[1]);
    let rank = sizes.batch.len();
    let form = Form {
        trans_a: op.trans_a,
        trans_b: op.trans_b,
        has_bias: bias.is_some(),
        has_residual: false,
        scaled: op.alpha != 1.0 || op.beta != 1.0,
        activation: op.activation,
    };

    // Columns are cut where a constant b would not fit one binding; its rows are then columns of the product.
    let limit = recording.limits.max_storage_buffer_binding_size.min(recording.limits.max_buffer_size);
    let products: usize = sizes.batch.iter().product();
    let per_piece = match site.constant(1) {
        Some(_) if op.trans_b && products == 1 && k > 0 => (limit as usize / 4 / k).clamp(1, n.max(1)),
        _ => n.max(1),
    };
    let name = site.node.inputs[1].map_or("b", |id| &site.graph.value(id).name);
    for start in (0..n).step_by(per_piece) {
        let columns = per_piece.min(n - start);
        let b = match site.constant(1) {
            Some(tensor) if columns < n => {
                recording.constant_range(name, tensor, start * k..(start + columns) * k)
            }
            _ => operands.get(1, site, recording)?,
        };
        let params = Params {
            batch: last_four(&sizes.batch, 1, 1),
            a_step: last_four(&sizes.a_steps, m * k, 0),
            b_step: last_four(&sizes.b_steps, k * n, 0),
            c_step: last_four(&out_steps[..rank], 1, 0),
            bias_step: last_four(&bias_steps[..rank], 1, 0),
            products: products as u32,
            m: m as u32,
            n: columns as u32,
            k: k as u32,
            a_row: if op.trans_a { m } else { k } as u32,
            b_row: if op.trans_b { k } else { n } as u32,
            c_row: n as u32,
            start: start as u32,
            c_split: n as u32,
            c_image: 0,
            bias_row: bias_steps[rank] as u32,
            bias_column: bias_steps[rank + 1] as u32,
            alpha: op.alpha,
            beta: op.beta,
            padding: [0; 2],
        };
        dispatch(&form, &params, [a, b], bias, None, operands.result(0), site, recording)?;
    }
    Ok(())
}

/// At most four values, each times `unit`, behind as many of `fill` as make them four.
pub(super) fn last_four(values: &[usize], unit: usize, fill: u32) -> [u32; 4] {
    let mut four = [fill; 4];
    for (to, from) in four.iter_mut().rev().zip(values.iter().rev()) {
        *to = (from * unit) as u32;
    }
    four
}
