//! Memory for a recording's buffers and images: shared by liveness, and in a checked plan fenced and poisoned.

use std::collections::HashSet;

use super::device::GpuDevice;
use super::recording::{Buffer, BufferId, Content, Form, Recording};
use crate::error::{Error, Result};
use crate::memory::{self, Lifetime};
use crate::plan::{MemoryReport, PlanOptions, to_words};

/// Bytes on either side of a buffer of a checked plan; the largest alignment a binding may ask for.
const FENCE: u64 = 256;
/// What a checked plan fills its first buffer with before a run, the next with the next number, and so on: NaNs that no
/// kernel computes, and that show in whose fence they are copied.
const POISON: u32 = 0x7fc5_5aa5;
/// Texels in a row of an image of more than one; `shaders/shared/image.wgsl` counts by it.
const IMAGE_WIDTH: u32 = 2048;
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
    fn image(texture: wgpu::Texture) -> Self {
        let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
        Region::Image(texture, view)
    }

    /// A little memory of this kind, which holds nothing.
    pub fn stand_in(device: &GpuDevice, kind: Kind) -> Self {
        let side = |power| if power { 4 } else { 3 };
        match kind {
            Kind::Words => Region::Buffer(Span::whole(create_buffer(device, "stand-in", FENCE), FENCE)),
            Kind::Image { powers: [width, height] } => {
                Region::image(create_image(device, "stand-in", (side(width), side(height))))
            }
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
                TEXEL_BYTES * u64::from(texture.width()) * u64::from(texture.height())
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

/// All texels of an image.
fn write_image(queue: &wgpu::Queue, texture: &wgpu::Texture, bytes: &[u8]) {
    let bytes_per_row = texture.width() * TEXEL_BYTES as u32;
    queue.write_texture(
        texture.as_image_copy(),
        bytes,
        wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(bytes_per_row), rows_per_image: None },
        texture.size(),
    );
}

/// What software adapters compile a kernel's code for, once each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Words,
    /// Whether width and height are powers of two.
    Image {
        powers: [bool; 2],
    },
}

impl Kind {
    /// Of a buffer with memory for itself; one that shares an image may be of another kind.
    pub fn of(buffer: &Buffer) -> Self {
        let (width, height) = match (buffer.form, &buffer.content) {
            (Form::Words, _) => return Kind::Words,
            (Form::Image, Content::Packed { .. }) => weights_size(buffer.words),
            (Form::Image, _) => image_size(buffer.words),
        };
        Kind::Image { powers: [width, height].map(u64::is_power_of_two) }
    }
}

/// Width and height of an image that holds so many words: one row of as many texels as it takes, or rows of
/// [`IMAGE_WIDTH`].
fn image_size(words: usize) -> (u64, u64) {
    let (texels, width) = (words.div_ceil(4).max(1) as u64, u64::from(IMAGE_WIDTH));
    if texels <= width { (texels, 1) } else { (width, texels.div_ceil(width)) }
}

/// As [`image_size`] for weights, which are of two [`Kind`]s: the width of one row is no power of two, nor is the number of
/// several.
fn weights_size(words: usize) -> (u64, u64) {
    let no_power = |n: u64| if n.is_power_of_two() { n + 1 } else { n };
    let (width, height) = image_size(words);
    match height {
        1 if width < u64::from(IMAGE_WIDTH) => (no_power(width.max(3)), 1),
        _ => (width, no_power(height.max(3))),
    }
}

/// Whether an image of so many words is within the device's limits.
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
    /// Creates and fills what the recording names; what it computes shares slots where it is not alive at once, unless
    /// the plan is checked.
    pub fn allocate(
        device: &GpuDevice,
        recording: &Recording,
        outputs: &[BufferId],
        options: &PlanOptions,
    ) -> Result<Self> {
        let lifetimes = lifetimes(recording, outputs);
        let mut slots = Slots::new(device, recording, &lifetimes, Form::Words, options.checked);
        let mut image_slots = Slots::new(device, recording, &lifetimes, Form::Image, options.checked);
        let mut report = MemoryReport {
            activations: slots.bytes + image_slots.bytes,
            // Memory of one form cannot serve the other.
            activations_lower_bound: slots.least + image_slots.least,
            weights: 0,
        };
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
                Content::Computed if lifetime.is_none() => slots.any(device),
                Content::Computed if !options.checked => match buffer.form {
                    Form::Words => slots.next(bytes),
                    Form::Image => image_slots.next(bytes),
                },
                Content::Input | Content::Computed => {
                    let region = match buffer.form {
                        Form::Words => {
                            let whole = create_buffer(device, &buffer.name, bytes + 2 * FENCE);
                            Region::Buffer(Span::fenced(whole, bytes))
                        }
                        Form::Image => {
                            Region::image(create_image(device, &buffer.name, image_size(buffer.words)))
                        }
                    };
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

fn create_image(device: &GpuDevice, label: &str, (width, height): (u64, u64)) -> wgpu::Texture {
    device.device().create_texture(&wgpu::TextureDescriptor {
        label: Some(label),
        size: wgpu::Extent3d { width: width as u32, height: height as u32, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: wgpu::TextureFormat::Rgba32Float,
        usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_DST,
        view_formats: &[],
    })
}

/// Memory that holds these words.
fn filled(device: &GpuDevice, label: &str, form: Form, words: &[u32]) -> Region {
    match form {
        Form::Words => {
            let bytes = (4 * words.len() as u64).max(4);
            let buffer = create_buffer(device, label, bytes);
            device.queue().write_buffer(&buffer, 0, bytemuck::cast_slice(words));
            Region::Buffer(Span::whole(buffer, bytes))
        }
        Form::Image => {
            let texture = create_image(device, label, weights_size(words.len()));
            let mut whole = words.to_vec();
            whole.resize(4 * texture.width() as usize * texture.height() as usize, 0);
            write_image(device.queue(), &texture, bytemuck::cast_slice(&whole));
            Region::image(texture)
        }
    }
}

/// The memory that computed buffers of one form share.
struct Slots {
    of: std::vec::IntoIter<usize>,
    regions: Vec<Region>,
    bytes: u64,
    /// The most bytes that are alive at one step.
    least: u64,
}

impl Slots {
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
        let slots = memory::assign(&mine);
        let create = |&words: &usize| match form {
            Form::Words => {
                let bytes = 4 * words as u64;
                Region::Buffer(Span::whole(create_buffer(device, "activations", bytes), bytes))
            }
            Form::Image => Region::image(create_image(device, "activations", image_size(words))),
        };
        let regions = if checked { Vec::new() } else { slots.sizes.iter().map(create).collect() };
        let bytes = |&words: &usize| match form {
            Form::Words => 4 * words as u64,
            Form::Image => {
                let (width, height) = image_size(words);
                TEXEL_BYTES * width * height
            }
        };
        Slots {
            of: slots.of.into_iter(),
            regions,
            bytes: slots.sizes.iter().map(bytes).sum(),
            least: 4 * memory::lower_bound(&mine) as u64,
        }
    }

    /// The slot of the next computed buffer, of which `bytes` are its own.
    fn next(&mut self, bytes: u64) -> Region {
        let slot = self.of.next().unwrap_or_default();
        match &self.regions[slot] {
            Region::Buffer(span) => Region::Buffer(Span::whole(span.buffer.clone(), bytes)),
            image => image.clone(),
        }
    }

    /// Some memory, for what is never used.
    fn any(&self, device: &GpuDevice) -> Region {
        let spare = || Region::Buffer(Span::whole(create_buffer(device, "unused", 4), 4));
        self.regions.first().cloned().unwrap_or_else(spare)
    }
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
