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

/// Where a of a product comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Left {
    /// A matrix in a buffer.
    Stored(BufferId),
    /// A constant in [`pack_rows`]' layout.
    Packed(BufferId),
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

/// How a kernel reads its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Access {
    /// Whether a is in [`pack_rows`]' layout.
    packed_a: bool,
    b: AccessB,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AccessB {
    Stored,
    /// Not transposed, in rows of whole fours.
    Quads,
    Patches,
    Taps,
    /// a and b^T both in rows of whole fours; of few rows only.
    Fours,
}

impl Access {
    const STORED: Access = Access { packed_a: false, b: AccessB::Stored };

    /// The widest access that suits the product's sizes and where its operands start.
    fn new(left: Left, source: Source, form: &Form, params: &Params, tiling: Tiling) -> Self {
        let packed_a = matches!(left, Left::Packed(_));
        let fours = |row: u32, steps: &[u32; 4]| {
            row.is_multiple_of(4) && steps.iter().all(|step| step.is_multiple_of(4))
        };
        let b = match source {
            Source::Patches { .. } => AccessB::Patches,
            Source::Taps { .. } => AccessB::Taps,
            Source::Stored(_) if matches!(tiling, Tiling::Row(_)) => {
                let straight = !form.trans_a && form.trans_b && params.k.is_multiple_of(4) && params.k > 0;
                let aligned = fours(params.a_row, &params.a_step) && fours(params.b_row, &params.b_step);
                if straight && aligned { AccessB::Fours } else { AccessB::Stored }
            }
            Source::Stored(_) => {
                let aligned =
                    params.k > 0 && params.n.is_multiple_of(4) && fours(params.b_row, &params.b_step);
                if !form.trans_b && aligned { AccessB::Quads } else { AccessB::Stored }
            }
        };
        Access { packed_a, b }
    }
}

/// A constant `[groups * m, k]` as `shaders/shared/gemm_a_packed.wgsl` reads it: the rows of each group in fours, zeros past
/// the last, and of each four the elements at each k together.
pub(super) fn pack_rows(values: &[f32], m: usize, k: usize, words: &mut [f32]) {
    let fours = m.div_ceil(4);
    for (row, values) in values.chunks_exact(k.max(1)).enumerate() {
        let (group, row) = (row / m, row % m);
        for (i, value) in values.iter().enumerate() {
            words[((group * fours + row / 4) * k + i) * 4 + row % 4] = *value;
        }
    }
}

/// How a product is cut into pieces of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tiling {
    /// Squares of this side in workgroup memory, of this side per invocation.
    Tiled { side: usize, micro: usize },
    /// This many rows by 4 columns per invocation, from storage.
    Flat(usize),
    /// This many rows by 4 columns per workgroup, whose invocations share out the terms.
    Row(usize),
}

impl Tiling {
    /// Workgroups for `products` products of `m` by `n`.
    fn groups(self, m: usize, n: usize, products: usize, recording: &Recording) -> [u32; 3] {
        match self {
            Tiling::Tiled { side, .. } => recording.linear(self.tiles(m, n, side) * products, 1),
            Tiling::Flat(rows) => recording.linear(m.div_ceil(rows) * n.div_ceil(4) * products, 64),
            Tiling::Row(rows) => recording.linear(m.div_ceil(rows) * n.div_ceil(4) * products, 1),
        }
    }

    fn tiles(self, m: usize, n: usize, side: usize) -> usize {
        m.div_ceil(side) * n.div_ceil(side)
    }
}

const TILINGS: [(&str, Tiling); 7] = [
    ("gemm_tiled_128", Tiling::Tiled { side: 128, micro: 8 }),
    ("gemm_tiled_64", Tiling::Tiled { side: 64, micro: 4 }),
    ("gemm_tiled_32", Tiling::Tiled { side: 32, micro: 4 }),
    ("gemm_flat_4", Tiling::Flat(4)),
    ("gemm_flat_1", Tiling::Flat(1)),
    ("gemm_row_4", Tiling::Row(4)),
    ("gemm_row_1", Tiling::Row(1)),
];

/// Workgroups that keep a GPU busy, as far as one can know without knowing the GPU.
const BUSY: usize = 64;
/// Slices that k is cut into at most, and terms that each has at least.
const MOST_SLICES: usize = 8;
const LEAST_TERMS: usize = 128;

const FOURS: &str = include_str!("../../../shaders/shared/gemm_fours.wgsl");

fn kernel(name: &str, tiling: Tiling, access: Access, form: &Form) -> Kernel {
    let reads = if matches!(access.b, AccessB::Patches | AccessB::Taps) { 5 } else { 4 };
    let kernel = match tiling {
        Tiling::Tiled { side, micro } => {
            Kernel::new(name, include_str!("../../../shaders/gemm_tiled.wgsl"), reads, 1)
                .constant("TILE", side)
                .constant("MICRO", micro)
        }
        Tiling::Flat(rows) => Kernel::new(name, include_str!("../../../shaders/gemm_flat.wgsl"), reads, 1)
            .constant("ROWS", rows),
        Tiling::Row(rows) => {
            Kernel::new(name, include_str!("../../../shaders/gemm_row.wgsl"), reads, 1).constant("ROWS", rows)
        }
    };
    let a = match access {
        Access { packed_a: true, .. } => include_str!("../../../shaders/shared/gemm_a_packed.wgsl"),
        Access { b: AccessB::Taps, .. } => include_str!("../../../shaders/shared/gemm_images.wgsl"),
        _ => include_str!("../../../shaders/shared/gemm_a.wgsl"),
    };
    let b = match access.b {
        AccessB::Fours => return specialise(kernel.with(FOURS), form),
        AccessB::Stored => include_str!("../../../shaders/shared/gemm_stored.wgsl"),
        AccessB::Quads => include_str!("../../../shaders/shared/gemm_quads.wgsl"),
        AccessB::Patches => include_str!("../../../shaders/shared/gemm_patches.wgsl"),
        AccessB::Taps => include_str!("../../../shaders/shared/gemm_taps.wgsl"),
    };
    // Four elements at once, from single ones where the operand has no better.
    let mut kernel = kernel.with(a).with(b);
    if !access.packed_a {
        kernel = kernel.with(include_str!("../../../shaders/shared/gemm_quad_a.wgsl"));
    }
    if access.b != AccessB::Quads {
        kernel = kernel.with(include_str!("../../../shaders/shared/gemm_quad_b.wgsl"));
    }
    if matches!(tiling, Tiling::Row(_)) {
        kernel = kernel.with(include_str!("../../../shaders/shared/gemm_fours_edge.wgsl"));
    }
    specialise(kernel, form)
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
    let stored = TILINGS
        .iter()
        .flat_map(|(name, tiling)| forms.iter().map(|form| kernel(name, *tiling, Access::STORED, form)));
    let wide = TILINGS.iter().flat_map(|(name, tiling)| {
        let b = if matches!(tiling, Tiling::Row(_)) { AccessB::Fours } else { AccessB::Quads };
        let trans_b = b == AccessB::Fours;
        forms
            .iter()
            .filter(move |form| form.trans_b == trans_b && !(form.trans_a && trans_b))
            .map(move |form| kernel(name, *tiling, Access { packed_a: false, b }, form))
    });
    let kernels = stored.chain(wide);
    let images = image::linear_variants().into_iter().chain(image::product_variants());
    kernels.chain(forms.iter().map(reduce_kernel)).chain(images).collect()
}

/// The kernels that convolutions multiply with.
pub(super) fn conv_variants() -> Vec<Kernel> {
    let form = |has_bias, has_residual| Form { has_bias, has_residual, ..Form::default() };
    let forms = [form(false, false), form(true, false), form(false, true), form(true, true)];
    let patches = |packed_a| Access { packed_a, b: AccessB::Patches };
    let packed = |b| Access { packed_a: true, b };
    let accesses = [patches(false), patches(true), packed(AccessB::Stored), packed(AccessB::Quads)];
    let each = |access: Access| {
        TILINGS.iter().flat_map(move |(name, tiling)| forms.map(|form| kernel(name, *tiling, access, &form)))
    };
    accesses.into_iter().flat_map(each).collect()
}

/// The kernels that sum over a convolution's output positions.
pub(super) fn tap_variants() -> Vec<Kernel> {
    let form = Form { trans_b: true, ..Form::default() };
    let access = Access { packed_a: false, b: AccessB::Taps };
    let kernels = TILINGS.iter().map(|(name, tiling)| kernel(name, *tiling, access, &form));
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
    let nothing = recording.nothing();
    let reads = [partial, nothing, nothing];
    recording.dispatch(reduce_kernel(&Form::default()), &params, &reads, &[output], groups)
}

/// The tiling for so many products: the variant asked for by name, else by [`rule`].
fn choose(
    sizes: (usize, usize, usize),
    products: usize,
    rows_of_terms: bool,
    site: &Site,
    recording: &Recording,
) -> (&'static str, Tiling) {
    if let Some(asked) = TILINGS.iter().find(|(name, _)| Some(*name) == site.options.variant) {
        return *asked;
    }
    let invocations = recording.limits.max_compute_invocations_per_workgroup as usize;
    let tiling = rule(sizes, products, rows_of_terms, recording.software, invocations);
    *TILINGS.iter().find(|(_, known)| *known == tiling).unwrap_or(&TILINGS[0])
}

/// The largest tile that keeps the device busy reads the least. Few rows are better off without tiles, and where neighbouring
/// terms of both operands are neighbours in storage, a workgroup shares them out. Processors that are no GPU have no use for
/// workgroup memory.
fn rule(
    (m, n, k): (usize, usize, usize),
    products: usize,
    rows_of_terms: bool,
    software: bool,
    invocations: usize,
) -> Tiling {
    if software {
        return Tiling::Flat(if m < 4 { 1 } else { 4 });
    }
    if m <= 4 && rows_of_terms && k >= LEAST_TERMS {
        return Tiling::Row(if m == 1 { 1 } else { 4 });
    }
    if m < 4 {
        return Tiling::Flat(1);
    }
    let busy = |tiling: &Tiling| match *tiling {
        Tiling::Tiled { side, micro } => {
            let full = 4 * m.min(n) > 3 * side || side == 32;
            let enough = tiling.tiles(m, n, side) * products >= BUSY || side == 32;
            full && enough && (side / micro).pow(2) <= invocations
        }
        Tiling::Flat(_) | Tiling::Row(_) => false,
    };
    TILINGS.iter().map(|(_, tiling)| *tiling).find(busy).unwrap_or(Tiling::Flat(4))
}

/// How many slices k is cut into: as asked for by name, else where a GPU would have too few tiles to be busy and each
/// slice still has many terms.
fn slices(tiles: usize, k: usize, variant: Option<&str>, software: bool) -> usize {
    match variant {
        Some("gemm_reduce") => k.min(3),
        Some(_) => 1,
        None if software => 1,
        None => (BUSY / tiles.max(1)).min(k / LEAST_TERMS).clamp(1, MOST_SLICES),
    }
}

/// Records one batch of products; of `params.batch` at most the last three axes are more than one long.
pub(super) fn dispatch(
    form: &Form,
    params: &Params,
    (left, b): (Left, Source),
    bias: Option<BufferId>,
    residual: Option<BufferId>,
    c: BufferId,
    site: &Site,
    recording: &mut Recording,
) -> Result<()> {
    let (m, n, products) = (params.m as usize, params.n as usize, params.products as usize);
    let k = params.k as usize;
    let rows_of_terms = !form.trans_a && form.trans_b && matches!(b, Source::Stored(_));
    let (name, tiling) = choose((m, n, k), products, rows_of_terms, site, recording);
    let access = Access::new(left, b, form, params, tiling);
    let (Left::Stored(a) | Left::Packed(a)) = left;
    let tiles = match tiling {
        Tiling::Tiled { side, .. } => tiling.tiles(m, n, side) * products,
        Tiling::Flat(_) | Tiling::Row(_) => usize::MAX,
    };
    let slices =
        if params.batch[0] == 1 { slices(tiles, k, site.options.variant, recording.software) } else { 1 };
    let multiply = |form: &Form, params: &Params, bias, residual, c, recording: &mut Recording| {
        let groups = tiling.groups(m, n, params.products as usize, recording);
        // An operand that is absent keeps its binding; its code is compiled away.
        let [bias, residual] = recording.or_nothing([bias, residual]);
        match b {
            Source::Stored(b) => {
                let reads = [a, b, bias, residual];
                recording.dispatch(kernel(name, tiling, access, form), params, &reads, &[c], groups)
            }
            Source::Patches { input, taps } | Source::Taps { input, taps } => {
                let reads = [a, input, bias, residual, taps];
                recording.dispatch(kernel(name, tiling, access, form), params, &reads, &[c], groups)
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
    let [bias, residual] = recording.or_nothing([bias, residual]);
    let reads = [partial, bias, residual];
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
    if image::product(op, &sizes, site, operands, recording)? {
        return Ok(());
    }
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
        let operands = (Left::Stored(a), Source::Stored(b));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_branch_of_the_rule() {
        let gpu = |m, n, k| rule((m, n, k), 1, false, false, 256);
        let linear = |m, n, k| rule((m, n, k), 1, true, false, 256);
        let tiled = |side, micro| Tiling::Tiled { side, micro };
        assert_eq!(gpu(1024, 1024, 64), tiled(128, 8));
        // Too few tiles of 128 to be busy, then too few of 64; a tile that would be mostly empty; and many products.
        assert_eq!(gpu(512, 512, 64), tiled(64, 4));
        assert_eq!(gpu(128, 128, 64), tiled(32, 4));
        assert_eq!(gpu(40, 8192, 64), tiled(32, 4));
        assert_eq!(rule((128, 128, 64), 64, false, false, 256), tiled(128, 8));
        // A device of small workgroups.
        assert_eq!(rule((1024, 1024, 64), 1, false, false, 64), tiled(32, 4));
        assert_eq!(rule((1024, 1024, 64), 1, false, false, 32), Tiling::Flat(4));
        // Few rows.
        assert_eq!(gpu(3, 1000, 4096), Tiling::Flat(1));
        assert_eq!(linear(1, 1000, 4096), Tiling::Row(1));
        assert_eq!(linear(4, 1000, 4096), Tiling::Row(4));
        assert_eq!(linear(1, 1000, 16), Tiling::Flat(1));
        assert_eq!(rule((1, 1000, 4096), 1, true, true, 256), Tiling::Flat(1));
        assert_eq!(rule((64, 64, 64), 1, true, true, 256), Tiling::Flat(4));
    }

    #[test]
    fn every_branch_of_cutting_along_k() {
        assert_eq!(slices(1, 4096, None, false), MOST_SLICES);
        assert_eq!(slices(16, 4096, None, false), 4);
        assert_eq!(slices(16, 300, None, false), 2);
        assert_eq!(slices(BUSY, 4096, None, false), 1);
        assert_eq!(slices(1, 4096, None, true), 1);
        assert_eq!(slices(1, 4096, Some("gemm_tiled_64"), false), 1);
        assert_eq!(slices(1, 4096, Some("gemm_reduce"), false), 3);
        assert_eq!(slices(1, 2, Some("gemm_reduce"), false), 2);
    }

    #[test]
    fn the_widest_access_that_suits() {
        let (a, b) = (BufferId(0), BufferId(1));
        let stored = |form: Form, params: &Params, tiling| {
            Access::new(Left::Stored(a), Source::Stored(b), &form, params, tiling).b
        };
        let linear = Form { trans_b: true, ..Form::default() };
        let transposed = Params { b_row: 8, ..Params::new(1, 6, 8) };
        assert_eq!(stored(linear, &transposed, Tiling::Row(1)), AccessB::Fours);
        let odd = Params { b_row: 7, ..Params::new(1, 6, 7) };
        assert_eq!(stored(linear, &odd, Tiling::Row(1)), AccessB::Stored);
        assert_eq!(stored(Form::default(), &Params::new(8, 8, 3), Tiling::Flat(4)), AccessB::Quads);
        assert_eq!(stored(Form::default(), &Params::new(8, 6, 3), Tiling::Flat(4)), AccessB::Stored);
        assert_eq!(stored(linear, &transposed, Tiling::Flat(4)), AccessB::Stored);
        let patches = Source::Patches { input: b, taps: b };
        let access = Access::new(Left::Packed(a), patches, &linear, &transposed, Tiling::Flat(4));
        assert_eq!(access, Access { packed_a: true, b: AccessB::Patches });
    }

    #[test]
    fn rows_in_fours() {
        // Two groups of a row of two terms.
        let mut words = [0.0; 16];
        pack_rows(&[1.0, 2.0, 3.0, 4.0], 1, 2, &mut words);
        assert_eq!(words, [1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0]);
    }
}
