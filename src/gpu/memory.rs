//! Memory for a recording's buffers and images: shared by liveness, and in a checked plan fenced and poisoned.

use std::collections::HashSet;
use std::ops::Range;

use super::device::GpuDevice;
use super::layers::{self, Layers};
use super::recording::{Buffer, BufferId, Content, Form, Recording};
use crate::error::{Error, Result};
use crate::memory::{self, Lifetime};
use crate::plan::{MemoryReport, PlanOptions, to_words};

/// Bytes on either side of a buffer of a checked plan; the largest alignment a binding may ask for.
const FENCE: u64 = 256;
/// What a checked plan fills its first buffer with before a run, the next with the next number, and so on: NaNs that no
/// kernel computes, and that show in whose fence they are copied.
const POISON: u32 = 0x7fc5_5aa5;
/// Texels in a row of weights of more than one; `shaders/shared/image.wgsl` counts by it.
const WEIGHTS_WIDTH: u32 = 2048;
const TEXEL_BYTES: u64 = 16;

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
    fn whole(buffer: wgpu::Buffer, bytes: u64) -> Self {
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
    fn weights(texture: wgpu::Texture) -> Self {
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
        let weights = |texels| Region::weights(create_weights(device, "stand-in", 4 * texels));
        match kind {
            Kind::Words => Region::Buffer(Span::whole(create_buffer(device, "stand-in", FENCE), FENCE)),
            Kind::Image => {
                // A texture of one layer would be of another kind.
                let size = [layers::WIDTH, layers::LEAST_ROWS, 2];
                Region::layers(create_texture(device, "stand-in", size), 0..2)
            }
            Kind::Row => weights(1),
            Kind::Rows => weights(WEIGHTS_WIDTH as usize),
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

/// All texels of a texture.
fn write_image(queue: &wgpu::Queue, texture: &wgpu::Texture, bytes: &[u8]) {
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
            Form::Weights => Kind::Rows,
        }
    }
}

/// Width and height of a texture for weights of so many words: one row of as many texels as it takes, or rows of
/// [`WEIGHTS_WIDTH`], and one more where their number would make another [`Kind`] of it.
fn weights_size(words: usize) -> (u64, u64) {
    let (texels, width) = (words.div_ceil(4) as u64, u64::from(WEIGHTS_WIDTH));
    let no_power = |n: u64| if n.is_power_of_two() { n + 1 } else { n };
    match texels.div_ceil(width) {
        _ if texels < width => (no_power(texels.max(3)), 1),
        rows => (width, no_power(rows.max(3))),
    }
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
        outputs: &[BufferId],
        options: &PlanOptions,
    ) -> Result<Self> {
        let lifetimes = lifetimes(recording, outputs);
        let share = |form| Shared::new(device, recording, &lifetimes, form, options.checked);
        let (mut words, mut images, mut computed_weights) =
            (share(Form::Words), share(Form::Image), share(Form::Weights));
        let all = [&words, &images, &computed_weights];
        let mut report = MemoryReport {
            activations: all.iter().map(|shared| shared.bytes).sum(),
            // Memory of one form cannot serve another.
            activations_lower_bound: all.iter().map(|shared| shared.least).sum(),
            weights: 0,
        };
        let mut unused = None;
        let mut fences = Vec::new();
        let mut regions = Vec::new();
        for (buffer, lifetime) in recording.buffers.iter().zip(&lifetimes) {
            let bytes = (4 * buffer.words as u64).max(4);
            let fill = |words: &[u32]| filled(device, &buffer.name, buffer.form, words);
            let region = match &buffer.content {
                Content::Constant { tensor, range } => {
                    let layout = format!("{range:?}");
                    device.weight(tensor, &layout, || {
                        Ok(match tensor.values::<f32>() {
                            Ok(values) => fill(bytemuck::cast_slice(&values[range.clone()])),
                            Err(_) => fill(&to_words(tensor)?[range.clone()]),
                        })
                    })?
                }
                Content::Packed { tensor, packing } => device.weight(tensor, &packing.layout, || {
                    let words: Vec<u32> =
                        bytemuck::allocation::cast_vec((packing.pack)(tensor.values()?, tensor.shape()));
                    Ok(fill(&words))
                })?,
                Content::Words(words) => fill(words),
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
                        Form::Weights => &mut computed_weights,
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

fn create_buffer(device: &GpuDevice, label: &str, bytes: u64) -> wgpu::Buffer {
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
        usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_DST,
        view_formats: &[],
    })
}

/// A texture for weights of so many words.
fn create_weights(device: &GpuDevice, label: &str, words: usize) -> wgpu::Texture {
    let (width, height) = weights_size(words);
    create_texture(device, label, [width as u32, height as u32, 1])
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
        Form::Weights => Region::weights(create_weights(device, &buffer.name, buffer.words)),
    }
}

/// A constant's memory, which holds these words.
fn filled(device: &GpuDevice, label: &str, form: Form, words: &[u32]) -> Region {
    match form {
        // Values are not constant: those that are images are computed.
        Form::Words | Form::Image => {
            let bytes = (4 * words.len() as u64).max(4);
            let buffer = create_buffer(device, label, bytes);
            device.queue().write_buffer(&buffer, 0, bytemuck::cast_slice(words));
            Region::Buffer(Span::whole(buffer, bytes))
        }
        Form::Weights => {
            let texture = create_weights(device, label, words.len());
            let mut whole = words.to_vec();
            whole.resize(4 * texture.width() as usize * texture.height() as usize, 0);
            write_image(device.queue(), &texture, bytemuck::cast_slice(&whole));
            Region::weights(texture)
        }
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
        lifetimes: &[Option<Lifetime>],
        form: Form,
        checked: bool,
    ) -> Self {
        let mine: Vec<_> = recording
            .buffers
            .iter()
            .zip(lifetimes)
            .filter(|(buffer, _)| buffer.form == form)
            .filter_map(|(_, lifetime)| *lifetime)
            .collect();
        let device = (!checked).then_some(device);
        let (regions, bytes) = match form {
            Form::Words => {
                share_buffers(device, &mine, &apart(recording, lifetimes, form), &recording.limits)
            }
            Form::Image => share_layers(device, &mine, &recording.limits),
            Form::Weights => share_weights(device, &mine),
        };
        Shared { regions: regions.into_iter(), bytes, least: 4 * memory::lower_bound(&mine) as u64 }
    }

    fn next(&mut self) -> Result<Region> {
        self.regions.next().ok_or_else(|| Error::Graph("a value has no memory".into()))
    }
}

/// Memory for values in buffers, where there is a device to make it on, and how many bytes it takes. What a dispatch
/// reads has another buffer than what it writes.
fn share_buffers(
    device: Option<&GpuDevice>,
    values: &[Lifetime],
    apart: &[Vec<usize>],
    limits: &wgpu::Limits,
) -> (Vec<Region>, u64) {
    let align = limits.min_storage_buffer_offset_alignment as usize / 4;
    let arenas = memory::place_apart(values, apart, align.max(1));
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

/// For each computed buffer of a form that is used, in order, those that a dispatch reads where it is written, or writes
/// where it is read.
fn apart(recording: &Recording, lifetimes: &[Option<Lifetime>], form: Form) -> Vec<Vec<usize>> {
    let mut count = 0;
    let mut number = |(buffer, lifetime): (&Buffer, &Option<Lifetime>)| {
        let is_mine = buffer.form == form && lifetime.is_some();
        count += usize::from(is_mine);
        is_mine.then(|| count - 1)
    };
    let numbers: Vec<_> = recording.buffers.iter().zip(lifetimes).map(&mut number).collect();
    let mut apart = vec![Vec::new(); count];
    for dispatch in &recording.dispatches {
        for read in dispatch.reads.iter().filter_map(|id| numbers[id.0]) {
            for written in dispatch.writes.iter().filter_map(|id| numbers[id.0]) {
                apart[read].push(written);
                apart[written].push(read);
            }
        }
    }
    apart
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
    let create = |&words: &usize| Region::weights(create_weights(device, "activations", words));
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
    use crate::gpu::operands::record_on;
    use crate::graph::passes::optimize;
    use crate::zoo;

    /// Networks, the most that their activations may take in buffers beside the most that is alive at one step, and why:
    /// what a dispatch reads and what it writes have different buffers, whose sizes together are more than what is alive at
    /// once where each is filled at another step.
    const NETWORKS: [(&str, f64); 6] = [
        ("lenet5", 1.15),
        // The first layer and its pool are 3.2 and 0.8 MB; two parts and what they are joined to, 1.6 MB twice, do not
        // fit into the same two buffers.
        ("squeezenet1_1", 1.21),
        ("mobilenet_v2", 1.15),
        // The same with Winograd's transforms, 1.8 MB twice, beside a residual.
        ("resnet18", 1.32),
        ("resnet50", 1.17),
        ("vgg16", 1.15),
    ];

    /// Of a plan for a GPU that is no software adapter.
    fn ratio(name: &str) -> f64 {
        let limits = wgpu::Limits {
            max_storage_buffer_binding_size: 1 << 30,
            max_buffer_size: 1 << 30,
            ..wgpu::Limits::default()
        };
        let options = PlanOptions::default();
        let graph = optimize(&zoo::load(name).unwrap(), &options.passes).unwrap();
        let (recording, _, outputs) =
            record_on(Recording::new(limits, false), &graph, &options, &[]).unwrap();
        assert!(recording.buffers.iter().all(|buffer| buffer.form == Form::Words));
        let lifetimes = lifetimes(&recording, &outputs);
        let values: Vec<_> = lifetimes.iter().flatten().copied().collect();
        let apart = apart(&recording, &lifetimes, Form::Words);
        let (_, used) = share_buffers(None, &values, &apart, &recording.limits);
        let least = 4 * memory::lower_bound(&values) as u64;
        println!("{name}: {used} bytes, at least {least}: {:.3}", used as f64 / least as f64);
        assert!(least > 0 && used >= least);
        used as f64 / least as f64
    }

    #[test]
    fn activations_in_buffers_stay_near_the_lower_bound() {
        for (name, most) in NETWORKS {
            let ratio = ratio(name);
            assert!(ratio <= most, "{name}: {ratio}");
        }
    }
}
