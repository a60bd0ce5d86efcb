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
    pub k_step: [u32; 4],
    pub products: u32,
    pub m: u32,
    pub n: u32,
    pub k: u32,
    pub slice: u32,
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
    pub slices: u32,
    pub slice_step: u32,
    pub image_step: u32,
    pub a_image: u32,
    pub padding: u32,
    pub input_size: [u32; 4],
    pub output_size: [u32; 4],
    pub stride: [u32; 4],
    pub before: [u32; 4],
}

impl Params {
    /// One product of these sizes, c contiguous, over nothing yet.
    pub fn new(m: usize, n: usize, k: usize) -> Self {
        Params {
            batch: [1; 4],
            a_step: [0; 4],
            b_step: [0; 4],
            c_step: [0; 4],
            bias_step: [0; 4],
            k_step: [0; 4],
            products: 1,
            m: m as u32,
            n: n as u32,
            k: k as u32,
            slice: k as u32,
            a_row: k as u32,
            b_row: n as u32,
            c_row: n as u32,
            start: 0,
            c_split: n.max(1) as u32,
            c_image: 0,
            bias_row: 0,
            bias_column: 0,
            alpha: 1.0,
            beta: 1.0,
            slices: 1,
            slice_step: 0,
            image_step: 0,
            a_image: 0,
            padding: 0,
            input_size: [1; 4],
            output_size: [1; 4],
            stride: [1; 4],
            before: [0; 4],
        }
    }
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

/// Where b of a product comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// A matrix in a buffer.
    Stored(BufferId),
    /// The patches of a convolution's input, by a table of the taps.
    Patches { input: BufferId, taps: BufferId },
    /// Those patches transposed, for a product over output positions; a is then the gradient to the outputs.
    Taps { input: BufferId, taps: BufferId },
}

/// How a product is cut into pieces of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tiling {
    /// Squares of this side in workgroup memory, of this side per invocation.
    Tiled { side: usize, micro: usize },
    /// This many rows by 4 columns per invocation, from storage.
    Flat(usize),
}

impl Tiling {
    /// Workgroups for `products` products of `m` by `n`.
    fn groups(self, m: usize, n: usize, products: usize, recording: &Recording) -> [u32; 3] {
        match self {
            Tiling::Tiled { side, .. } => recording.linear(self.tiles(m, n, side) * products, 1),
            Tiling::Flat(rows) => recording.linear(m.div_ceil(rows) * n.div_ceil(4) * products, 64),
        }
    }

    fn tiles(self, m: usize, n: usize, side: usize) -> usize {
        m.div_ceil(side) * n.div_ceil(side)
    }
}

const TILINGS: [(&str, Tiling); 5] = [
    ("gemm_tiled_128", Tiling::Tiled { side: 128, micro: 8 }),
    ("gemm_tiled_64", Tiling::Tiled { side: 64, micro: 4 }),
    ("gemm_tiled_32", Tiling::Tiled { side: 32, micro: 4 }),
    ("gemm_flat_4", Tiling::Flat(4)),
    ("gemm_flat_1", Tiling::Flat(1)),
];

/// Workgroups that keep a GPU busy, as far as one can know without knowing the GPU.
const BUSY: usize = 64;
/// Slices that k is cut into at most, and terms that each has at least.
const MOST_SLICES: usize = 8;
const LEAST_TERMS: usize = 128;

/// How a product finds its operands: the kind of a [`Source`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lookup {
    Stored,
    Patches,
    Taps,
}

fn kernel(name: &str, tiling: Tiling, lookup: Lookup, form: &Form) -> Kernel {
    let reads = if lookup == Lookup::Stored { 4 } else { 5 };
    let kernel = match tiling {
        Tiling::Tiled { side, micro } => {
            Kernel::new(name, include_str!("../../../shaders/gemm_tiled.wgsl"), reads, 1)
                .constant("TILE", side)
                .constant("MICRO", micro)
        }
        Tiling::Flat(rows) => Kernel::new(name, include_str!("../../../shaders/gemm_flat.wgsl"), reads, 1)
            .constant("ROWS", rows),
    };
    let a = match lookup {
        Lookup::Stored | Lookup::Patches => include_str!("../../../shaders/shared/gemm_a.wgsl"),
        Lookup::Taps => include_str!("../../../shaders/shared/gemm_images.wgsl"),
    };
    let b = match lookup {
        Lookup::Stored => include_str!("../../../shaders/shared/gemm_stored.wgsl"),
        Lookup::Patches => include_str!("../../../shaders/shared/gemm_patches.wgsl"),
        Lookup::Taps => include_str!("../../../shaders/shared/gemm_taps.wgsl"),
    };
    specialise(kernel.with(a).with(b), form)
}

fn reduce_kernel(form: &Form) -> Kernel {
    specialise(Kernel::new("gemm_reduce", include_str!("../../../shaders/gemm_reduce.wgsl"), 3, 1), form)
}

fn specialise(kernel: Kernel, form: &Form) -> Kernel {
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
    let kernels = TILINGS
        .iter()
        .flat_map(|(name, tiling)| forms.iter().map(|form| kernel(name, *tiling, Lookup::Stored, form)));
    kernels.chain(forms.iter().map(reduce_kernel)).chain(image::linear_variants()).collect()
}

/// The kernels that convolutions multiply patches with.
pub(super) fn patch_variants() -> Vec<Kernel> {
    let form = |has_bias, has_residual| Form { has_bias, has_residual, ..Form::default() };
    let forms = [form(false, false), form(true, false), form(false, true), form(true, true)];
    let kernels = TILINGS
        .iter()
        .flat_map(|(name, tiling)| forms.iter().map(|form| kernel(name, *tiling, Lookup::Patches, form)));
    kernels.collect()
}

/// The kernels that sum over a convolution's output positions.
pub(super) fn tap_variants() -> Vec<Kernel> {
    let form = Form { trans_b: true, ..Form::default() };
    let kernels = TILINGS.iter().map(|(name, tiling)| kernel(name, *tiling, Lookup::Taps, &form));
    kernels.chain([reduce_kernel(&form)]).collect()
}

/// Adds up so many slices of `count` elements each, one after another.
pub(super) fn add_slices(
    partial: BufferId,
    slices: usize,
    count: usize,
    output: BufferId,
    recording: &mut Recording,
) -> Result<()> {
    let params = Params { slices: slices as u32, slice_step: count as u32, ..Params::new(1, count, slices) };
    let groups = recording.linear(count, 64);
    recording.dispatch(reduce_kernel(&Form::default()), &params, &[partial; 3], &[output], groups)
}

/// The tiling for so many products: the variant asked for by name, else by this rule. The largest tile that keeps the
/// device busy reads the least; few rows, and processors that are no GPU, are better off without tiles.
fn choose(m: usize, n: usize, products: usize, site: &Site, recording: &Recording) -> (&'static str, Tiling) {
    if let Some(asked) = TILINGS.iter().find(|(name, _)| Some(*name) == site.options.variant) {
        return *asked;
    }
    let invocations = recording.limits.max_compute_invocations_per_workgroup as usize;
    let busy = |(_, tiling): &&(&str, Tiling)| match *tiling {
        Tiling::Tiled { side, micro } => {
            let full = 4 * m.min(n) > 3 * side || side == 32;
            let enough = tiling.tiles(m, n, side) * products >= BUSY || side == 32;
            full && enough && (side / micro).pow(2) <= invocations
        }
        Tiling::Flat(_) => false,
    };
    let flat = |rows| TILINGS.iter().find(|(_, tiling)| *tiling == Tiling::Flat(rows));
    let chosen = if m < 4 {
        flat(1)
    } else if recording.software {
        flat(4)
    } else {
        TILINGS.iter().find(busy).or(flat(4))
    };
    *chosen.unwrap_or(&TILINGS[0])
}

/// How many slices k is cut into: as asked for by name, else where a GPU would have too few tiles to be busy and each
/// slice still has many terms.
fn slices(tiles: usize, k: usize, site: &Site, recording: &Recording) -> usize {
    match site.options.variant {
        Some("gemm_reduce") => k.min(3),
        Some(_) => 1,
        None if recording.software => 1,
        None => (BUSY / tiles.max(1)).min(k / LEAST_TERMS).clamp(1, MOST_SLICES),
    }
}

/// Records one batch of products; of `params.batch` at most the last three axes are more than one long.
pub(super) fn dispatch(
    form: &Form,
    params: &Params,
    (a, b): (BufferId, Source),
    bias: Option<BufferId>,
    residual: Option<BufferId>,
    c: BufferId,
    site: &Site,
    recording: &mut Recording,
) -> Result<()> {
    let (m, n, products) = (params.m as usize, params.n as usize, params.products as usize);
    let (name, tiling) = choose(m, n, products, site, recording);
    let tiles = match tiling {
        Tiling::Tiled { side, .. } => tiling.tiles(m, n, side) * products,
        Tiling::Flat(_) => usize::MAX,
    };
    let k = params.k as usize;
    let slices = if params.batch[0] == 1 { slices(tiles, k, site, recording) } else { 1 };
    let multiply = |form: &Form, params: &Params, bias, residual, c, recording: &mut Recording| {
        let groups = tiling.groups(m, n, params.products as usize, recording);
        // An operand that is absent keeps its binding; its code is compiled away.
        match b {
            Source::Stored(b) => {
                let reads = [a, b, Option::unwrap_or(bias, a), Option::unwrap_or(residual, a)];
                recording.dispatch(kernel(name, tiling, Lookup::Stored, form), params, &reads, &[c], groups)
            }
            Source::Patches { input, taps } | Source::Taps { input, taps } => {
                let lookup = if matches!(b, Source::Taps { .. }) { Lookup::Taps } else { Lookup::Patches };
                let reads = [a, input, Option::unwrap_or(bias, a), Option::unwrap_or(residual, a), taps];
                recording.dispatch(kernel(name, tiling, lookup, form), params, &reads, &[c], groups)
            }
        }
    };
    if slices <= 1 {
        return multiply(form, params, bias, residual, c, recording);
    }

    // The first batch axis counts the slices; each slice of each product is a matrix of its own, one after another.
    let slice = k.div_ceil(slices);
    let slices = k.div_ceil(slice);
    let matrix = m * n;
    let inner = [1, 2, 3].map(|axis| params.batch[axis] as usize);
    let c_step = [matrix * products, matrix * inner[1] * inner[2], matrix * inner[2], matrix];
    let partial = recording.computed(format!("{} slices", site.node.name), slices * products * matrix);
    let cut = Params {
        batch: [slices as u32, params.batch[1], params.batch[2], params.batch[3]],
        k_step: [slice as u32, 0, 0, 0],
        c_step: c_step.map(|step| step as u32),
        products: (slices * products) as u32,
        slice: slice as u32,
        start: 0,
        c_row: n as u32,
        c_split: n.max(1) as u32,
        c_image: 0,
        ..*params
    };
    let plain = Form { trans_a: form.trans_a, trans_b: form.trans_b, ..Form::default() };
    multiply(&plain, &cut, None, None, partial, recording)?;
    let sum = Params {
        b_step: [0, c_step[1] as u32, c_step[2] as u32, c_step[3] as u32],
        slices: slices as u32,
        slice_step: c_step[0] as u32,
        ..*params
    };
    let reads = [partial, bias.unwrap_or(partial), residual.unwrap_or(partial)];
    let groups = recording.linear(m * n * products, 64);
    recording.dispatch(reduce_kernel(form), &sum, &reads, &[c], groups)
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
    let result = operands.result(0);
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
            a_row: if op.trans_a { m } else { k } as u32,
            b_row: if op.trans_b { k } else { n } as u32,
            c_row: n as u32,
            start: start as u32,
            c_split: n as u32,
            bias_row: bias_steps[rank] as u32,
            bias_column: bias_steps[rank + 1] as u32,
            alpha: op.alpha,
            beta: op.beta,
            ..Params::new(m, columns, k)
        };
        let operands = (a, Source::Stored(b));
        dispatch(&form, &params, operands, bias, None, result, site, recording)?;
    }
    Ok(())
}

/// At most four values, each times `unit`, behind as many of `fill` as make them four.
pub(in crate::gpu) fn last_four(values: &[usize], unit: usize, fill: u32) -> [u32; 4] {
    let mut four = [fill; 4];
    for (to, from) in four.iter_mut().rev().zip(values.iter().rev()) {
        *to = (from * unit) as u32;
    }
    four
}
