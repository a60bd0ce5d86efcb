//! Memory for a recording's buffers and images: shared by liveness, and in a checked plan fenced and poisoned.

use std::collections::HashSet;
use std::ops::Range;

use super::device::GpuDevice;
use super::layers::{self, Layers};
use super::recording::{Buffer, BufferId, Content, Dispatch, Form, Recording};
use super::upload::Uploads;
use crate::error::{Error, Result};
use crate::memory::{self, Access, Arenas, Lifetime};
use crate::plan::{MemoryReport, PlanOptions, to_words};

/// Bytes on either side of a buffer of a checked plan; the largest alignment a binding may ask for.
const FENCE: u64 = 256;
/// What a checked plan fills its first buffer with before a run, the next with the next number, and so on: NaNs that no
/// kernel computes, and that show in whose fence they are copied.
const POISON: u32 = 0x7fc5_5aa5;
/// Texels in a row of weights; `shaders/shared/image.wgsl` counts by it.
const WEIGHTS_WIDTH: u32 = 2048;
const TEXEL_BYTES: u64 = 16;
/// What activations may take in buffers, beside the most that is alive at one step, before a dispatch reads and writes parts
/// of one buffer.
pub(super) const ENOUGH: f64 = 1.15;

/// A buffer or, in a checked plan, the part of it between the fences.
#[derive(Clone)]
pub(super) struct Span {
    pub buffer: wgpu::Buffer,
    pub offset: u64,
    pub bytes: u64,
    /// What kernels see: in a checked plan also the fence behind the elements, for drivers and bounds checks cut off
    /// what goes past a binding, and a stray access would leave no trace.
    bound: u64,
}

impl Span {
    /// All of a buffer.
    pub fn whole(buffer: wgpu::Buffer, bytes: u64) -> Self {
        Span { buffer, offset: 0, bytes, bound: bytes }
    }

    /// What lies between the fences of a buffer.
    fn fenced(buffer: wgpu::Buffer, bytes: u64) -> Self {
        Span { buffer, offset: FENCE, bytes, bound: bytes + FENCE }
    }
}

/// Where a recording's buffer lives.
#[derive(Clone)]
pub(super) enum Region {
    Buffer(Span),
    Image(wgpu::Texture, wgpu::TextureView),
}

impl Region {
    pub fn weights(texture: wgpu::Texture) -> Self {
        let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
        Region::Image(texture, view)
    }

    fn layers(texture: wgpu::Texture, range: Range<u32>) -> Self {
        let view = texture.create_view(&wgpu::TextureViewDescriptor {
            dimension: Some(wgpu::TextureViewDimension::D2Array),
            base_array_layer: range.start,
            array_layer_count: Some(range.len() as u32),
            ..Default::default()
        });
        Region::Image(texture, view)
    }

    /// A little memory of this kind, which holds nothing.
    pub fn stand_in(device: &GpuDevice, kind: Kind) -> Self {
        match kind {
            Kind::Words => Region::Buffer(Span::whole(create_buffer(device, "stand-in", FENCE), FENCE)),
            Kind::Image => {
                // A texture of one layer would be of another kind.
                let size = [layers::WIDTH, layers::LEAST_ROWS, 2];
                Region::layers(create_texture(device, "stand-in", size), 0..2)
            }
            Kind::Row => Region::weights(create_weights(device, "stand-in", weights_size(4))),
            Kind::Rows => Region::weights(create_weights(device, "stand-in", rows_size(4))),
        }
    }

    pub fn binding(&self) -> wgpu::BindingResource<'_> {
        match self {
            Region::Buffer(span) => wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: &span.buffer,
                offset: span.offset,
                size: wgpu::BufferSize::new(span.bound),
            }),
            Region::Image(_, view) => wgpu::BindingResource::TextureView(view),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Region::Buffer(span) => span.bytes,
            Region::Image(texture, _) => {
                let wgpu::Extent3d { width, height, depth_or_array_layers } = texture.size();
                TEXEL_BYTES * [width, height, depth_or_array_layers].map(u64::from).iter().product::<u64>()
            }
        }
    }
}

/// What a checked plan fills with poison before each run, and, of buffers, looks at the fences of afterwards.
pub(super) struct Fence {
    layer: String,
    region: Region,
    poison: u32,
}

impl Fence {
    /// The fenced buffer; an image has no fences.
    pub fn buffer(&self) -> Option<&wgpu::Buffer> {
        match &self.region {
            Region::Buffer(span) => Some(&span.buffer),
            Region::Image(..) => None,
        }
    }

    /// Fills the memory with this fence's number.
    pub fn poison(&self, queue: &wgpu::Queue) {
        match &self.region {
            Region::Buffer(span) => {
                let words = span.buffer.size() as usize / 4;
                queue.write_buffer(&span.buffer, 0, &self.poison.to_le_bytes().repeat(words));
            }
            Region::Image(texture, _) => {
                let words = self.region.bytes() as usize / 4;
                write_image(queue, texture, &self.poison.to_le_bytes().repeat(words));
            }
        }
    }

    /// [`Error::OutOfBoundsWrite`] where the words of the buffer show that a fence was written.
    pub fn check(&self, words: &[u32]) -> Result<()> {
        let fence = (FENCE / 4) as usize;
        let intact = |words: &[u32]| words.iter().all(|&w| w == self.poison);
        if intact(&words[..fence]) && intact(&words[words.len() - fence..]) {
            return Ok(());
        }
        Err(Error::OutOfBoundsWrite { layer: self.layer.clone() })
    }
}

/// Writes all texels of a texture.
pub(super) fn write_image(queue: &wgpu::Queue, texture: &wgpu::Texture, bytes: &[u8]) {
    let bytes_per_row = texture.width() * TEXEL_BYTES as u32;
    queue.write_texture(
        texture.as_image_copy(),
        bytes,
        wgpu::TexelCopyBufferLayout {
            offset: 0,
            bytes_per_row: Some(bytes_per_row),
            rows_per_image: Some(texture.height()),
        },
        texture.size(),
    );
}

/// What software adapters compile a kernel's code for, once each: they look at which of a texture's width and height are
/// powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Words,
    /// Layers, whose width and rows are powers of two.
    Image,
    /// Weights of one row, whose width is no power of two.
    Row,
    /// Weights of several rows, whose number is no power of two.
    Rows,
}

impl Kind {
    pub fn of(buffer: &Buffer) -> Self {
        match buffer.form {
            Form::Words => Kind::Words,
            Form::Image => Kind::Image,
            Form::Weights if weights_size(buffer.words).1 == 1 => Kind::Row,
            Form::Weights | Form::WeightRows => Kind::Rows,
        }
    }
}

/// Has weights of one row be several where their kernel also reads weights of several, for which it would be compiled once
/// more.
pub(super) fn unify_weights(recording: &mut Recording) {
    let Recording { buffers, dispatches, .. } = recording;
    let reads = |dispatch: &Dispatch, buffers: &[Buffer], kind| {
        dispatch.reads.iter().any(|id| Kind::of(&buffers[id.0]) == kind)
    };
    let of_rows: HashSet<_> =
        dispatches.iter().filter(|d| reads(d, buffers, Kind::Rows)).map(|d| &d.kernel).collect();
    for dispatch in dispatches.iter().filter(|dispatch| of_rows.contains(&dispatch.kernel)) {
        for id in &dispatch.reads {
            let buffer = &mut buffers[id.0];
            // What is computed shares memory with others of its form.
            if Kind::of(buffer) == Kind::Row && !matches!(buffer.content, Content::Computed) {
                buffer.form = Form::WeightRows;
            }
        }
    }
}

/// Width and height of a texture for weights of so many words: one row of as many texels as it takes, or several.
fn weights_size(words: usize) -> (u64, u64) {
    let texels = words.div_ceil(4) as u64;
    if texels < u64::from(WEIGHTS_WIDTH) { (no_power(texels.max(3)), 1) } else { rows_size(words) }
}

/// As [`weights_size`], of several rows. Their number may be one more than it takes, for it would make another [`Kind`].
fn rows_size(words: usize) -> (u64, u64) {
    let width = u64::from(WEIGHTS_WIDTH);
    (width, no_power((words.div_ceil(4) as u64).div_ceil(width).max(3)))
}

fn no_power(n: u64) -> u64 {
    if n.is_power_of_two() { n + 1 } else { n }
}

/// Whether weights or an image of so many words are within the device's limits. An image could be larger: it has more
/// layers than its rows are shorter.
pub(crate) fn fits_image(limits: &wgpu::Limits, words: usize) -> bool {
    let (width, height) = weights_size(words);
    width.max(height) <= u64::from(limits.max_texture_dimension_2d)
}

/// [`Error::TooLarge`] where a buffer that is used is past the device's limits.
pub(super) fn check_limits(recording: &Recording, options: &PlanOptions) -> Result<()> {
    let used: HashSet<_> =
        recording.dispatches.iter().flat_map(|d| d.reads.iter().chain(&d.writes)).collect();
    for (i, buffer) in recording.buffers.iter().enumerate() {
        let computed = matches!(buffer.content, Content::Computed);
        if buffer.form == Form::Words && (!computed || used.contains(&BufferId(i))) {
            check_size(&recording.limits, &buffer.name, buffer.words, options)?;
        }
    }
    Ok(())
}

/// [`Error::TooLarge`] where a buffer of so many words is past the device's limits.
pub(super) fn check_size(
    limits: &wgpu::Limits,
    what: &str,
    words: usize,
    options: &PlanOptions,
) -> Result<()> {
    let fences = if options.checked { 2 * FENCE } else { 0 };
    let bytes = 4 * words as u64 + fences;
    for (limit, limit_name) in [
        (limits.max_storage_buffer_binding_size, "max_storage_buffer_binding_size"),
        (limits.max_buffer_size, "max_buffer_size"),
    ] {
        if bytes > limit {
            return Err(Error::TooLarge { what: what.into(), bytes, limit, limit_name });
        }
    }
    Ok(())
}

/// When what a recording computes is alive, and which parts of shared buffers that takes that is in buffers.
pub(super) struct Placement {
    /// For each buffer of the recording.
    lifetimes: Vec<Option<Lifetime>>,
    /// For each computed buffer of words that is used, in order.
    words: Arenas,
}

impl Placement {
    /// A dispatch reads and writes parts of one buffer only where, without that, all would take more than `enough` times
    /// what is alive at once: what is read may be cached better where it is not writable.
    pub fn new(recording: &Recording, outputs: &[BufferId], enough: f64) -> Self {
        let lifetimes = lifetimes(recording, outputs);
        let values = values(recording, &lifetimes, Form::Words);
        let enough = (enough * memory::lower_bound(&values) as f64) as usize;
        let align = recording.limits.min_storage_buffer_offset_alignment as usize / 4;
        let accesses = accesses(recording, &lifetimes);
        let largest = usize::try_from(recording.limits.max_buffer_size / 4).unwrap_or(usize::MAX);
        let words = memory::place_apart(&values, &accesses, enough, largest, align.max(1));
        Placement { lifetimes, words }
    }

    /// Has dispatches declare writable what they read from a buffer that they also write, as WebGPU asks for.
    pub fn declare(&self, recording: &mut Recording) {
        let numbers = numbers(recording, &self.lifetimes);
        for dispatch in &mut recording.dispatches {
            let arena = |id: &BufferId| numbers[id.0].map(|number| self.words.of[number].0);
            let written: Vec<_> = dispatch.writes.iter().filter_map(arena).collect();
            let is_mixed = |id| arena(id).is_some_and(|arena| written.contains(&arena));
            let mixed: Vec<_> = (0..dispatch.reads.len()).filter(|&i| is_mixed(&dispatch.reads[i])).collect();
            if !mixed.is_empty() {
                dispatch.kernel = dispatch.kernel.clone().writable(&mixed);
            }
        }
    }
}

/// The lifetimes of the computed buffers of a form that are used, in order.
fn values(recording: &Recording, lifetimes: &[Option<Lifetime>], form: Form) -> Vec<Lifetime> {
    let all = recording.buffers.iter().zip(lifetimes);
    all.filter(|(buffer, _)| buffer.form == form).filter_map(|(_, lifetime)| *lifetime).collect()
}

/// For each buffer of the recording, its number among the computed ones of words that are used.
fn numbers(recording: &Recording, lifetimes: &[Option<Lifetime>]) -> Vec<Option<usize>> {
    let mut numbers = 0..;
    let all = recording.buffers.iter().zip(lifetimes);
    all.map(|(buffer, lifetime)| match (buffer.form, lifetime) {
        (Form::Words, Some(_)) => numbers.next(),
        _ => None,
    })
    .collect()
}

/// What each dispatch reads and writes of the computed buffers of words.
fn accesses(recording: &Recording, lifetimes: &[Option<Lifetime>]) -> Vec<Access> {
    let numbers = numbers(recording, lifetimes);
    let of = |ids: &[BufferId]| ids.iter().filter_map(|id| numbers[id.0]).collect();
    let access = |dispatch: &Dispatch| Access { reads: of(&dispatch.reads), writes: of(&dispatch.writes) };
    recording.dispatches.iter().map(access).collect()
}

/// The memory of a recording's buffers.
pub(super) struct Memory {
    pub regions: Vec<Region>,
    /// The parameters of all dispatches, a stride apart.
    pub params: wgpu::Buffer,
    pub params_stride: u64,
    pub fences: Vec<Fence>,
    pub report: MemoryReport,
}

impl Memory {
    /// Creates and fills what the recording names; what it computes shares memory where it is not alive at once, unless
    /// the plan is checked.
    pub fn allocate(
        device: &GpuDevice,
        recording: &Recording,
        placement: &Placement,
        options: &PlanOptions,
    ) -> Result<Self> {
        let share = |form| Shared::new(device, recording, placement, form, options.checked);
        let (mut words, mut images, mut computed_weights) =
            (share(Form::Words), share(Form::Image), share(Form::Weights));
        let all = [&words, &images, &computed_weights];
        let mut report = MemoryReport {
            activations: all.iter().map(|shared| shared.bytes).sum(),
            // Memory of one form cannot serve another.
            activations_lower_bound: all.iter().map(|shared| shared.least).sum(),
            weights: 0,
        };
        let mut uploads = Uploads::new(device);
        let mut unused = None;
        let mut fences = Vec::new();
        let mut regions = Vec::new();
        for (buffer, lifetime) in recording.buffers.iter().zip(&placement.lifetimes) {
            let bytes = (4 * buffer.words as u64).max(4);
            let region = match &buffer.content {
                Content::Constant { tensor, range } => {
                    let layout = format!("{range:?}");
                    device.weight(tensor, &layout, || {
                        Ok(match tensor.values::<f32>() {
                            Ok(values) => {
                                uploads.words(&buffer.name, bytemuck::cast_slice(&values[range.clone()]))
                            }
                            Err(_) => uploads.words(&buffer.name, &to_words(tensor)?[range.clone()]),
                        })
                    })?
                }
                Content::Packed { tensor, packing } => device.weight(tensor, &packing.layout, || {
                    let values = tensor.values()?;
                    Ok(uploads.packed(buffer, |words| (packing.pack)(values, tensor.shape(), words)))
                })?,
                Content::Words(words) => uploads.words(&buffer.name, words),
                Content::Input if !options.checked => {
                    Region::Buffer(Span::whole(create_buffer(device, &buffer.name, bytes), bytes))
                }
                // What no dispatch touches has no memory of its own.
                Content::Computed if lifetime.is_none() => {
                    let create = || Region::Buffer(Span::whole(create_buffer(device, "unused", 4), 4));
                    unused.get_or_insert_with(create).clone()
                }
                Content::Computed if !options.checked => {
                    let shared = match buffer.form {
                        Form::Words => &mut words,
                        Form::Image => &mut images,
                        Form::Weights | Form::WeightRows => &mut computed_weights,
                    };
                    shared.next()?
                }
                Content::Input | Content::Computed => {
                    let region = alone(device, buffer, &recording.limits);
                    let poison = POISON + fences.len() as u32;
                    fences.push(Fence { layer: buffer.name.clone(), region: region.clone(), poison });
                    region
                }
            };
            if matches!(buffer.content, Content::Constant { .. } | Content::Packed { .. } | Content::Words(_))
            {
                report.weights += region.bytes();
            }
            regions.push(region);
        }
        let (params, params_stride) = params(device, recording);
        Ok(Memory { regions, params, params_stride, fences, report })
    }

    /// The buffer of an input or output, which is never an image.
    pub fn span(&self, id: BufferId) -> Result<Span> {
        match &self.regions[id.0] {
            Region::Buffer(span) => Ok(span.clone()),
            Region::Image(..) => Err(Error::Graph("an input or output of a plan is an image".into())),
        }
    }
}

pub(super) fn create_buffer(device: &GpuDevice, label: &str, bytes: u64) -> wgpu::Buffer {
    device.device().create_buffer(&wgpu::BufferDescriptor {
        label: Some(label),
        size: bytes.next_multiple_of(4).max(4),
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    })
}

/// A texture of so many columns, rows and layers.
fn create_texture(device: &GpuDevice, label: &str, [width, height, layers]: [u32; 3]) -> wgpu::Texture {
    device.device().create_texture(&wgpu::TextureDescriptor {
        label: Some(label),
        size: wgpu::Extent3d { width, height, depth_or_array_layers: layers },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: wgpu::TextureFormat::Rgba32Float,
        usage: wgpu::TextureUsages::STORAGE_BINDING
            | wgpu::TextureUsages::TEXTURE_BINDING
            | wgpu::TextureUsages::COPY_DST,
        view_formats: &[],
    })
}

/// A texture for weights, of this width and height.
fn create_weights(device: &GpuDevice, label: &str, (width, height): (u64, u64)) -> wgpu::Texture {
    create_texture(device, label, [width as u32, height as u32, 1])
}

/// A texture for a buffer that is weights.
pub(super) fn weights_texture(device: &GpuDevice, buffer: &Buffer) -> wgpu::Texture {
    let size = if buffer.form == Form::WeightRows { rows_size } else { weights_size };
    create_weights(device, &buffer.name, size(buffer.words))
}

/// Memory of a checked plan's input or computed buffer, which it shares with nothing.
fn alone(device: &GpuDevice, buffer: &Buffer, limits: &wgpu::Limits) -> Region {
    match buffer.form {
        Form::Words => {
            let bytes = 4 * buffer.words.max(1) as u64;
            Region::Buffer(Span::fenced(create_buffer(device, &buffer.name, bytes + 2 * FENCE), bytes))
        }
        Form::Image => {
            let rows = Layers::rows_for(buffer.words / 4, limits);
            let layers = layers::count(buffer.words / 4, rows);
            let texture = create_texture(device, &buffer.name, [layers::WIDTH, rows, layers]);
            Region::layers(texture, 0..layers)
        }
        Form::Weights | Form::WeightRows => Region::weights(weights_texture(device, buffer)),
    }
}

/// The memory that computed buffers of one form share.
struct Shared {
    /// For each of them that is used, in order; of a checked plan none.
    regions: std::vec::IntoIter<Region>,
    bytes: u64,
    /// The most bytes that are alive at one step.
    least: u64,
}

impl Shared {
    fn new(
        device: &GpuDevice,
        recording: &Recording,
        placement: &Placement,
        form: Form,
        checked: bool,
    ) -> Self {
        let values = values(recording, &placement.lifetimes, form);
        let device = (!checked).then_some(device);
        let (regions, bytes) = match form {
            Form::Words => share_buffers(device, &values, &placement.words),
            Form::Image => share_layers(device, &values, &recording.limits),
            Form::Weights | Form::WeightRows => share_weights(device, &values),
        };
        Shared { regions: regions.into_iter(), bytes, least: 4 * memory::lower_bound(&values) as u64 }
    }

    fn next(&mut self) -> Result<Region> {
        self.regions.next().ok_or_else(|| Error::Graph("a value has no memory".into()))
    }
}

/// Memory for values in buffers, where there is a device to make it on, and how many bytes it takes.
fn share_buffers(device: Option<&GpuDevice>, values: &[Lifetime], arenas: &Arenas) -> (Vec<Region>, u64) {
    let bytes = arenas.sizes.iter().map(|&words| 4 * words as u64).sum();
    let Some(device) = device else { return (Vec::new(), bytes) };
    let create = |&words: &usize| create_buffer(device, "activations", 4 * words as u64);
    let buffers: Vec<_> = arenas.sizes.iter().map(create).collect();
    let region = |(value, &(arena, offset)): (&Lifetime, &(usize, usize))| {
        let bytes = 4 * value.size as u64;
        let buffer = buffers[arena].clone();
        Region::Buffer(Span { buffer, offset: 4 * offset as u64, bytes, bound: bytes })
    };
    (values.iter().zip(&arenas.of).map(region).collect(), bytes)
}

/// As [`share_buffers`], for images.
fn share_layers(
    device: Option<&GpuDevice>,
    values: &[Lifetime],
    limits: &wgpu::Limits,
) -> (Vec<Region>, u64) {
    let texels = |value: &Lifetime| Lifetime { size: value.size.div_ceil(4), ..*value };
    let layers = Layers::place(&values.iter().map(texels).collect::<Vec<_>>(), limits);
    let bytes = TEXEL_BYTES * layers.texels() as u64;
    let Some(device) = device else { return (Vec::new(), bytes) };
    let create = |&count: &u32| create_texture(device, "activations", [layers::WIDTH, layers.rows, count]);
    let textures: Vec<_> = layers.textures.iter().map(create).collect();
    let region = |(texture, range): (usize, Range<u32>)| Region::layers(textures[texture].clone(), range);
    (layers.of.into_iter().map(region).collect(), bytes)
}

/// As [`share_buffers`], for weights.
fn share_weights(device: Option<&GpuDevice>, values: &[Lifetime]) -> (Vec<Region>, u64) {
    let slots = memory::assign(values);
    let texels = |&words: &usize| {
        let (width, height) = weights_size(words);
        width * height
    };
    let bytes = TEXEL_BYTES * slots.sizes.iter().map(texels).sum::<u64>();
    let Some(device) = device else { return (Vec::new(), bytes) };
    let create = |&words: &usize| Region::weights(create_weights(device, "activations", weights_size(words)));
    let textures: Vec<_> = slots.sizes.iter().map(create).collect();
    (slots.of.into_iter().map(|slot| textures[slot].clone()).collect(), bytes)
}

/// The parameters of all dispatches in one buffer, and the bytes from one to the next.
fn params(device: &GpuDevice, recording: &Recording) -> (wgpu::Buffer, u64) {
    let align = u64::from(recording.limits.min_uniform_buffer_offset_alignment);
    let largest = recording.dispatches.iter().map(|d| d.params.len() as u64).max().unwrap_or(0);
    let stride = largest.max(16).next_multiple_of(align);
    let mut bytes = vec![0; recording.dispatches.len() * stride as usize];
    for (dispatch, at) in recording.dispatches.iter().zip(bytes.chunks_exact_mut(stride as usize)) {
        at[..dispatch.params.len()].copy_from_slice(&dispatch.params);
    }
    let params = device.device().create_buffer(&wgpu::BufferDescriptor {
        label: Some("params"),
        size: (bytes.len() as u64).max(16),
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    device.queue().write_buffer(&params, 0, &bytes);
    (params, stride)
}

/// For each computed buffer, from the dispatch that first writes it to the last that touches it.
fn lifetimes(recording: &Recording, outputs: &[BufferId]) -> Vec<Option<Lifetime>> {
    let mut lifetimes: Vec<Option<Lifetime>> = vec![None; recording.buffers.len()];
    let end = recording.dispatches.len();
    let touched = recording
        .dispatches
        .iter()
        .enumerate()
        .flat_map(|(step, d)| d.writes.iter().chain(&d.reads).map(move |&id| (step, id)))
        .chain(outputs.iter().map(|&id| (end, id)));
    for (step, id) in touched {
        if matches!(recording.buffers[id.0].content, Content::Computed) {
            let size = recording.buffers[id.0].words.max(1);
            lifetimes[id.0].get_or_insert(Lifetime { first: step, last: step, size }).last = step;
        }
    }
    lifetimes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::kernel::Kernel;
    use crate::gpu::operands::record_on;
    use crate::gpu::recording::Packing;
    use crate::graph::passes::optimize;
    use crate::tensor::Tensor;
    use crate::zoo;

    const NETWORKS: [&str; 6] = ["lenet5", "squeezenet1_1", "mobilenet_v2", "resnet18", "resnet50", "vgg16"];

    /// A network's dispatches and outputs as they are planned for a GPU that is no software adapter.
    fn recorded(name: &str, batch: usize) -> (Recording, Vec<BufferId>) {
        let limits = wgpu::Limits {
            max_storage_buffer_binding_size: 1 << 30,
            max_buffer_size: 1 << 30,
            ..wgpu::Limits::default()
        };
        let options = PlanOptions::default();
        let network = zoo::load(name).unwrap().with_batch(batch).unwrap();
        let graph = optimize(&network, &options.passes).unwrap();
        let (recording, _, outputs) =
            record_on(Recording::new(limits, false), &graph, &options, &[]).unwrap();
        assert!(recording.buffers.iter().all(|buffer| buffer.form == Form::Words));
        (recording, outputs)
    }

    /// How many dispatches read and write parts of one buffer; or which one binds what WebGPU forbids or declares writable
    /// what it need not.
    fn mixing(recording: &Recording, placement: &Placement) -> std::result::Result<usize, String> {
        let numbers = numbers(recording, &placement.lifetimes);
        let mut count = 0;
        for (step, dispatch) in recording.dispatches.iter().enumerate() {
            let is_writable = |i| i >= dispatch.reads.len() || dispatch.kernel.is_writable(i);
            let ids = dispatch.reads.iter().chain(&dispatch.writes).enumerate();
            let place = |(i, id): (usize, &BufferId)| {
                let (arena, start) = placement.words.of[numbers[id.0]?];
                Some((i, is_writable(i), arena, start..start + recording.buffers[id.0].words))
            };
            let bound: Vec<_> = ids.filter_map(place).collect();
            let mut needed = Vec::new();
            for (i, i_writable, arena, range) in &bound {
                for (j, j_writable, other, other_range) in
                    bound.iter().filter(|(j, _, other, _)| j > i && other == arena)
                {
                    let overlap = range.start < other_range.end && other_range.start < range.end;
                    if i_writable != j_writable || (overlap && *i_writable) {
                        return Err(format!(
                            "dispatch {step} binds {i} and {j} to {arena}, {range:?}, and {other}, {other_range:?}"
                        ));
                    }
                    if *j >= dispatch.reads.len() && *i < dispatch.reads.len() {
                        needed.push(*i);
                    }
                }
            }
            if (0..dispatch.reads.len()).any(|i| is_writable(i) && !needed.contains(&i)) {
                return Err(format!("dispatch {step} declares too much writable"));
            }
            count += usize::from(!needed.is_empty());
        }
        Ok(count)
    }

    #[test]
    fn only_weights_that_meet_larger_ones_have_rows_to_spare() {
        let mut recording = Recording::new(wgpu::Limits::default(), true);
        let tensor = Tensor::zeros([1]).unwrap();
        let mut weights = |texels| {
            let packing = Packing::new("", |_, _, _| ());
            recording.constant_weights("", &tensor, texels, packing)
        };
        let [large, small, alone] = [5000, 10, 10].map(&mut weights);
        let computed = recording.computed_weights("", 10);
        let kernel = |name: &str| Kernel::new(name, "", 1, 0);
        for (name, read) in [("a", large), ("a", small), ("a", computed), ("b", alone)] {
            recording.dispatch(kernel(name), &0u32, &[read], &[], [1; 3]).unwrap();
        }
        unify_weights(&mut recording);
        let forms = [large, small, alone, computed].map(|id| recording.buffers[id.0].form);
        assert_eq!(forms, [Form::Weights, Form::WeightRows, Form::Weights, Form::Weights]);
        let sizes = [weights_size(40), rows_size(40), weights_size(4 * 5000), rows_size(4 * 2048 * 4)];
        assert_eq!(sizes, [(10, 1), (2048, 3), (2048, 3), (2048, 5)]);
    }

    #[test]
    fn activations_in_buffers_stay_near_the_lower_bound() {
        for (name, batch) in NETWORKS.iter().flat_map(|name| [(name, 1), (name, 8)]) {
            let (mut recording, outputs) = recorded(name, batch);
            let begun = std::time::Instant::now();
            let placement = Placement::new(&recording, &outputs, ENOUGH);
            let elapsed = begun.elapsed();
            placement.declare(&mut recording);
            let mixing = mixing(&recording, &placement).unwrap();
            let least = memory::lower_bound(&values(&recording, &placement.lifetimes, Form::Words));
            let ratio = placement.words.sizes.iter().sum::<usize>() as f64 / least as f64;
            let all = recording.dispatches.len();
            println!("{name}, batch {batch}: {ratio:.3}, {mixing} of {all} dispatches mix, in {elapsed:?}");
            assert!((1.0..=ENOUGH).contains(&ratio), "{name}: {ratio}");
        }
    }

    #[test]
    fn a_dispatch_that_mixes_declares_it() {
        let (recording, outputs) = recorded("squeezenet1_1", 1);
        for (enough, least) in [(f64::INFINITY, 0), (ENOUGH, 1), (1.0, 2)] {
            let placement = Placement::new(&recording, &outputs, enough);
            let mut declared = recording.clone();
            placement.declare(&mut declared);
            let count = mixing(&declared, &placement).unwrap();
            assert!(count >= least && (count == 0) == (least == 0), "{count} mix");
            assert_eq!(mixing(&recording, &placement).is_err(), count > 0);
            // Of what is declared, nothing may be missing, and nothing be too much.
            let is_declared = |i: &usize| declared.dispatches[*i] != recording.dispatches[*i];
            let changed: Vec<_> = (0..declared.dispatches.len()).filter(is_declared).collect();
            assert_eq!(changed.len(), count);
            for i in changed {
                let mut other = declared.clone();
                other.dispatches[i].kernel = recording.dispatches[i].kernel.clone();
                assert!(mixing(&other, &placement).is_err(), "dispatch {i}");
            }
            let kernel = declared.dispatches[0].kernel.clone();
            declared.dispatches[0].kernel = kernel.writable(&[0]);
            assert!(mixing(&declared, &placement).is_err());
        }
    }
}
