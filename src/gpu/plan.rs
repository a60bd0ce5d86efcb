//! A recording with memory, pipelines and bind groups: ready to run.

use std::collections::HashMap;

use futures_intrusive::channel::shared::oneshot_channel;
use futures_intrusive::sync::Mutex;

use super::device::GpuDevice;
use super::recording::{BufferId, Content, Recording};
use crate::error::{Error, Result};
use crate::graph::{Graph, Info};
use crate::memory::{self, Lifetime};
use crate::ops::Op;
use crate::plan::{MemoryReport, PlanOptions, Site, from_words, roots, to_words};
use crate::tensor::Tensor;

/// Bytes on either side of a buffer of a checked plan; the largest alignment a binding may ask for.
const FENCE: u64 = 256;
/// What a checked plan fills its first buffer with before a run, the next with the next number, and so on: NaNs that no
/// kernel computes, and that show in whose fence they are copied.
const POISON: u32 = 0x7fc5_5aa5;

/// A buffer or, in a checked plan, the part of it between the fences.
#[derive(Clone)]
struct Region {
    buffer: wgpu::Buffer,
    offset: u64,
    bytes: u64,
    /// What kernels see: in a checked plan also the fence behind the elements, for drivers and bounds checks cut off
    /// what goes past a binding, and a stray access would leave no trace.
    bound: u64,
}

impl Region {
    /// All of a buffer.
    fn whole(buffer: wgpu::Buffer, bytes: u64) -> Self {
        Region { buffer, offset: 0, bytes, bound: bytes }
    }

    /// What lies between the fences of a buffer.
    fn fenced(buffer: wgpu::Buffer, bytes: u64) -> Self {
        Region { buffer, offset: FENCE, bytes, bound: bytes + FENCE }
    }

    fn binding(&self) -> wgpu::BindingResource<'_> {
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &self.buffer,
            offset: self.offset,
            size: wgpu::BufferSize::new(self.bound),
        })
    }
}

struct Step {
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    groups: [u32; 3],
}

/// A fenced buffer of a checked plan.
struct Fence {
    layer: String,
    buffer: wgpu::Buffer,
    poison: u32,
}

/// A network compiled for a GPU.
pub struct GpuPlan {
    device: GpuDevice,
    steps: Vec<Step>,
    inputs: Vec<Region>,
    outputs: Vec<(Region, Info)>,
    readback: wgpu::Buffer,
    fences: Vec<Fence>,
    memory: MemoryReport,
    /// Held while a run uses the plan's buffers.
    turn: Mutex<()>,
}

impl GpuPlan {
    pub(crate) async fn compile(device: &GpuDevice, graph: &Graph, options: &PlanOptions) -> Result<Self> {
        let (recording, inputs, outputs) = record(device, graph, options)?;
        let infos = graph.outputs().iter().map(|value| graph.value(*value).info.clone());
        let plan = Self::build(device, &recording, &inputs, &outputs, infos, options).await?;
        tracing::debug!(
            network = graph.name(),
            device = device.info().name,
            dispatches = plan.steps.len(),
            pipelines = device.pipeline_count(),
            "compiled"
        );
        Ok(plan)
    }

    /// Gives a recording memory, pipelines and bind groups.
    async fn build(
        device: &GpuDevice,
        recording: &Recording,
        inputs: &[BufferId],
        outputs: &[BufferId],
        infos: impl Iterator<Item = Info>,
        options: &PlanOptions,
    ) -> Result<Self> {
        device.check_alive()?;
        check_limits(recording, options)?;

        let kernels: Vec<_> = recording.dispatches.iter().map(|d| &d.kernel).collect();
        let pipelines = device.pipelines(&kernels, options.checked).await?;

        let (parts, outcome) = device.scoped(|| {
            let memory = Memory::allocate(device, recording, outputs, options)?;
            let steps = steps(device, recording, &memory, pipelines);
            Ok((memory, steps))
        });
        outcome.await?;
        let (memory, steps): (Memory, Vec<Step>) = parts?;

        let outputs: Vec<_> = outputs.iter().map(|id| memory.regions[id.0].clone()).zip(infos).collect();
        let bytes: u64 = outputs.iter().map(|(r, _)| r.bytes).sum();
        let (readback, outcome) = device.scoped(|| {
            device.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some("readback"),
                size: bytes.max(4),
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        });
        outcome.await?;
        Ok(GpuPlan {
            device: device.clone(),
            steps,
            inputs: inputs.iter().map(|id| memory.regions[id.0].clone()).collect(),
            outputs,
            readback,
            fences: memory.fences,
            memory: memory.report,
            turn: Mutex::new((), true),
        })
    }

    /// How many dispatches a run records.
    pub fn dispatch_count(&self) -> usize {
        self.steps.len()
    }

    /// The buffer of input `i` and the offset in bytes at which its elements start, for a caller that fills it itself.
    pub fn input_buffer(&self, i: usize) -> Option<(&wgpu::Buffer, u64)> {
        self.inputs.get(i).map(|r| (&r.buffer, r.offset))
    }

    /// The buffer of output `i` and the offset in bytes at which its elements start; it holds them until the next run.
    pub fn output_buffer(&self, i: usize) -> Option<(&wgpu::Buffer, u64)> {
        self.outputs.get(i).map(|(r, _)| (&r.buffer, r.offset))
    }

    /// Records the network into the caller's own encoder, from the input buffers to the output buffers.
    ///
    /// The caller submits it on the plan's device, and does not let it overlap with a [`crate::Plan::run`].
    pub fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for step in &self.steps {
            pass.set_pipeline(&step.pipeline);
            pass.set_bind_group(0, &step.bind_group, &[]);
            let [x, y, z] = step.groups;
            pass.dispatch_workgroups(x, y, z);
        }
    }

    pub(crate) fn memory(&self) -> MemoryReport {
        self.memory
    }

    /// Runs the plan over inputs that the caller has checked. With `block`, this thread waits for the GPU; else the
    /// future is woken from another thread, or by the browser.
    pub(crate) async fn run(&self, inputs: &[Tensor], block: bool) -> Result<Vec<Tensor>> {
        let _turn = self.turn.lock().await;
        self.device.check_alive()?;
        let (submission, outcome) = self.device.scoped(|| self.submit(inputs));
        outcome.await?;
        let submission = submission?;
        let words = self.read(&self.readback, submission, block).await?;
        let mut outputs = Vec::new();
        let mut rest = words.as_slice();
        for (_, info) in &self.outputs {
            let (mine, others) = rest.split_at(info.shape.elements().max(1));
            outputs.push(from_words(info, &mine[..info.shape.elements()])?);
            rest = others;
        }
        for fence in &self.fences {
            self.check_fence(fence, block).await?;
        }
        Ok(outputs)
    }

    fn submit(&self, inputs: &[Tensor]) -> Result<wgpu::SubmissionIndex> {
        let queue = self.device.queue();
        for fence in &self.fences {
            let words = fence.buffer.size() as usize / 4;
            queue.write_buffer(&fence.buffer, 0, &fence.poison.to_le_bytes().repeat(words));
        }
        for (region, tensor) in self.inputs.iter().zip(inputs) {
            match tensor.values::<f32>() {
                Ok(values) => queue.write_buffer(&region.buffer, region.offset, bytemuck::cast_slice(values)),
                Err(_) => {
                    queue.write_buffer(
                        &region.buffer,
                        region.offset,
                        bytemuck::cast_slice(&to_words(tensor)?),
                    );
                }
            }
        }
        let mut encoder = self.device.device().create_command_encoder(&Default::default());
        self.encode(&mut encoder);
        let mut at = 0;
        for (region, _) in &self.outputs {
            encoder.copy_buffer_to_buffer(&region.buffer, region.offset, &self.readback, at, region.bytes);
            at += region.bytes;
        }
        Ok(queue.submit([encoder.finish()]))
    }

    /// The words of a mappable buffer once `submission` is done.
    async fn read(
        &self,
        buffer: &wgpu::Buffer,
        submission: wgpu::SubmissionIndex,
        block: bool,
    ) -> Result<Vec<u32>> {
        let mut mapping = Mapping { buffer, pending: true };
        let (sender, receiver) = oneshot_channel();
        buffer.map_async(wgpu::MapMode::Read, .., move |result| {
            // The receiver is gone only where the run's future was dropped.
            let _ = sender.send(result);
        });
        #[cfg(not(target_arch = "wasm32"))]
        if block {
            self.device.wait(submission);
        } else {
            self.device.wait_elsewhere(submission);
        }
        #[cfg(target_arch = "wasm32")]
        let _ = (submission, block);
        let failed = |reason: String| Error::Device { device: self.device.info().name.clone(), reason };
        let mapped = receiver.receive().await;
        mapping.pending = false;
        match mapped {
            Some(Ok(())) => {}
            Some(Err(e)) => {
                self.device.check_alive()?;
                return Err(failed(e.to_string()));
            }
            None => return Err(failed("the readback was abandoned".into())),
        }
        let words = {
            let view = buffer.get_mapped_range(..).map_err(|e| failed(e.to_string()))?;
            bytemuck::pod_collect_to_vec(&view[..])
        };
        buffer.unmap();
        Ok(words)
    }

    async fn check_fence(&self, fence: &Fence, block: bool) -> Result<()> {
        let device = self.device.device();
        let size = fence.buffer.size();
        let ((copy, submission), outcome) = self.device.scoped(|| {
            let copy = device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("fence"),
                size,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            let mut encoder = device.create_command_encoder(&Default::default());
            encoder.copy_buffer_to_buffer(&fence.buffer, 0, &copy, 0, size);
            (copy, self.device.queue().submit([encoder.finish()]))
        });
        outcome.await?;
        let words = self.read(&copy, submission, block).await?;
        let fence_words = (FENCE / 4) as usize;
        let intact = |words: &[u32]| words.iter().all(|&w| w == fence.poison);
        if intact(&words[..fence_words]) && intact(&words[words.len() - fence_words..]) {
            return Ok(());
        }
        Err(Error::OutOfBoundsWrite { layer: fence.layer.clone() })
    }
}

/// A buffer that is being mapped. A run that is dropped while it waits leaves the buffer as it was, for the next run.
struct Mapping<'a> {
    buffer: &'a wgpu::Buffer,
    pending: bool,
}

impl Drop for Mapping<'_> {
    fn drop(&mut self) {
        if self.pending {
            self.buffer.unmap();
        }
    }
}

/// The dispatches of a graph, and the buffers of its inputs and outputs.
fn record(
    device: &GpuDevice,
    graph: &Graph,
    options: &PlanOptions,
) -> Result<(Recording, Vec<BufferId>, Vec<BufferId>)> {
    let mut recording = Recording::new(device.device().limits(), device.is_software());
    // Before the operators record: they would cut what is far too large into very many pieces.
    for value in graph.values().iter().filter(|value| value.constant.is_none()) {
        check_size(&recording.limits, &value.name, value.info.shape.elements(), options)?;
    }
    let roots = roots(graph, options);
    let mut buffers: Vec<Option<BufferId>> = vec![None; graph.values().len()];
    let mut inputs = Vec::new();
    for id in graph.inputs() {
        let value = graph.value(*id);
        let buffer = recording.input(&value.name, value.info.shape.elements());
        buffers[id.index()] = Some(buffer);
        inputs.push(buffer);
    }
    for node in graph.nodes() {
        if options.passes.drop_reshape && matches!(node.op, Op::Reshape(_)) {
            continue;
        }
        for id in &node.outputs {
            let value = graph.value(*id);
            buffers[id.index()] = Some(recording.computed(&value.name, value.info.shape.elements()));
        }
        let operands: Vec<_> =
            node.inputs.iter().map(|id| id.and_then(|id| buffers[roots[id.index()]])).collect();
        let results: Vec<_> = node.outputs.iter().filter_map(|id| buffers[id.index()]).collect();
        let mut operands = Operands { buffers: operands, results };
        super::ops::record(&Site { graph, node, options }, &mut operands, &mut recording)?;
    }
    let mut outputs = Vec::new();
    for id in graph.outputs() {
        let root = roots[id.index()];
        let value = &graph.values()[root];
        let buffer = match (buffers[root], &value.constant) {
            (Some(buffer), _) => buffer,
            (None, Some(tensor)) => recording.constant(&value.name, tensor),
            (None, None) => return Err(Error::Graph(format!("nothing computes '{}'", value.name))),
        };
        buffers[root] = Some(buffer);
        outputs.push(buffer);
    }
    Ok((recording, inputs, outputs))
}

/// The buffers of a node's operands while it is recorded. A constant has none until the operator asks for it, because
/// it may want only pieces of it, or another layout.
pub(crate) struct Operands {
    buffers: Vec<Option<BufferId>>,
    results: Vec<BufferId>,
}

impl Operands {
    /// The buffer of operand `i`, which must not be absent.
    pub fn get(&mut self, i: usize, site: &Site, recording: &mut Recording) -> Result<BufferId> {
        self.optional(i, site, recording)
            .ok_or_else(|| Error::Graph(format!("layer '{}' lacks input {i}", site.node.name)))
    }

    /// The buffer of operand `i`, if it is there.
    pub fn optional(&mut self, i: usize, site: &Site, recording: &mut Recording) -> Option<BufferId> {
        let known = self.buffers.get(i).copied().flatten();
        let constant = || {
            let tensor = site.constant(i)?;
            let name = &site.graph.value(site.node.inputs[i]?).name;
            Some(recording.constant(name, tensor))
        };
        known.or_else(constant)
    }

    /// The buffer of output `i`.
    pub fn result(&self, i: usize) -> BufferId {
        self.results[i]
    }
}

fn check_limits(recording: &Recording, options: &PlanOptions) -> Result<()> {
    let mut buffers = recording.buffers.iter();
    buffers.try_for_each(|buffer| check_size(&recording.limits, &buffer.name, buffer.words, options))
}

fn check_size(limits: &wgpu::Limits, what: &str, words: usize, options: &PlanOptions) -> Result<()> {
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
struct Memory {
    regions: Vec<Region>,
    params: wgpu::Buffer,
    params_stride: u64,
    fences: Vec<Fence>,
    report: MemoryReport,
}

impl Memory {
    fn allocate(
        device: &GpuDevice,
        recording: &Recording,
        outputs: &[BufferId],
        options: &PlanOptions,
    ) -> Result<Self> {
        let create = |label: &str, bytes: u64, usage| {
            device.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size: bytes.next_multiple_of(4).max(4),
                usage: usage | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            })
        };
        let storage = wgpu::BufferUsages::STORAGE;
        let lifetimes = lifetimes(recording, outputs);
        let slots = memory::assign(&lifetimes.iter().flatten().copied().collect::<Vec<_>>());
        let slot_buffers: Vec<_> = match options.checked {
            true => Vec::new(),
            false => {
                slots.sizes.iter().map(|&words| create("activations", 4 * words as u64, storage)).collect()
            }
        };
        let mut report = MemoryReport {
            activations: 4 * slots.sizes.iter().sum::<usize>() as u64,
            activations_lower_bound: 4 * memory::lower_bound(
                &lifetimes.iter().flatten().copied().collect::<Vec<_>>(),
            ) as u64,
            weights: 0,
        };
        let mut fences = Vec::new();
        let mut constants: HashMap<(usize, usize, usize), Region> = HashMap::new();
        let mut regions = Vec::new();
        let mut next_slot = slots.of.iter();
        for (buffer, lifetime) in recording.buffers.iter().zip(&lifetimes) {
            let bytes = (4 * buffer.words as u64).max(4);
            let region = match &buffer.content {
                Content::Constant { tensor, range } => {
                    let key = (tensor.identity(), range.start, range.end);
                    if let Some(region) = constants.get(&key) {
                        regions.push(region.clone());
                        continue;
                    }
                    let region = Region::whole(create(&buffer.name, bytes, storage), bytes);
                    let queue = device.queue();
                    match tensor.values::<f32>() {
                        Ok(v) => {
                            queue.write_buffer(&region.buffer, 0, bytemuck::cast_slice(&v[range.clone()]))
                        }
                        Err(_) => queue.write_buffer(
                            &region.buffer,
                            0,
                            bytemuck::cast_slice(&to_words(tensor)?[range.clone()]),
                        ),
                    }
                    report.weights += bytes;
                    constants.insert(key, region.clone());
                    region
                }
                Content::Words(words) => {
                    let region = Region::whole(create(&buffer.name, bytes, storage), bytes);
                    device.queue().write_buffer(&region.buffer, 0, bytemuck::cast_slice(words));
                    report.weights += bytes;
                    region
                }
                Content::Input if !options.checked => {
                    Region::whole(create(&buffer.name, bytes, storage), bytes)
                }
                Content::Computed if !options.checked && lifetime.is_some() => {
                    let slot = next_slot.next().copied().unwrap_or_default();
                    Region::whole(slot_buffers[slot].clone(), bytes)
                }
                Content::Input | Content::Computed => {
                    let whole = create(&buffer.name, bytes + 2 * FENCE, storage);
                    let poison = POISON + fences.len() as u32;
                    fences.push(Fence { layer: buffer.name.clone(), buffer: whole.clone(), poison });
                    Region::fenced(whole, bytes)
                }
            };
            regions.push(region);
        }

        let align = u64::from(recording.limits.min_uniform_buffer_offset_alignment);
        let largest = recording.dispatches.iter().map(|d| d.params.len() as u64).max().unwrap_or(0);
        let params_stride = largest.max(16).next_multiple_of(align);
        let mut bytes = vec![0; recording.dispatches.len() * params_stride as usize];
        for (dispatch, at) in recording.dispatches.iter().zip(bytes.chunks_exact_mut(params_stride as usize))
        {
            at[..dispatch.params.len()].copy_from_slice(&dispatch.params);
        }
        let params = create("params", bytes.len() as u64, wgpu::BufferUsages::UNIFORM);
        if !bytes.is_empty() {
            device.queue().write_buffer(&params, 0, &bytes);
        }
        Ok(Memory { regions, params, params_stride, fences, report })
    }
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

fn steps(
    device: &GpuDevice,
    recording: &Recording,
    memory: &Memory,
    pipelines: Vec<wgpu::ComputePipeline>,
) -> Vec<Step> {
    let mut steps = Vec::new();
    for (i, (dispatch, pipeline)) in recording.dispatches.iter().zip(pipelines).enumerate() {
        let params = wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &memory.params,
            offset: i as u64 * memory.params_stride,
            size: wgpu::BufferSize::new(dispatch.params.len().max(16) as u64),
        });
        let buffers = dispatch.reads.iter().chain(&dispatch.writes).map(|id| memory.regions[id.0].binding());
        let entries: Vec<_> = std::iter::once(params)
            .chain(buffers)
            .enumerate()
            .map(|(binding, resource)| wgpu::BindGroupEntry { binding: binding as u32, resource })
            .collect();
        let bind_group = device.device().create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(dispatch.kernel.name()),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        steps.push(Step { pipeline, bind_group, groups: dispatch.groups });
    }
    steps
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::gpu::Kernel;
    use crate::tensor::{Shape, Tensor};

    /// Copies as many elements as its parameter says.
    const COPIER: &str = "
        @group(0) @binding(0) var<uniform> count: u32;
        @group(0) @binding(1) var<storage, read> input: array<f32>;
        @group(0) @binding(2) var<storage, read_write> output: array<f32>;
        @compute @workgroup_size(1)
        fn main(@builtin(global_invocation_id) id: vec3<u32>) {
            if id.x < count { output[id.x] = input[id.x]; }
        }";

    /// A plan over four elements of which a kernel writes `count`.
    fn written(count: u32) -> Result<Tensor> {
        pollster::block_on(async {
            let device = GpuDevice::open(|_| true).await?.expect("the tests need a GPU adapter");
            let mut options = PlanOptions::default();
            options.checked = true;
            let mut recording = Recording::new(device.device().limits(), device.is_software());
            let (x, y) = (recording.input("x", 4), recording.computed("the layer", 4));
            let kernel = Kernel::new("copier", COPIER, 1, 1);
            recording.dispatch(kernel, &[count, 0, 0, 0], &[x], &[y], [8, 1, 1])?;
            let infos = [Info::f32(Shape::new([4])?)];
            let plan = GpuPlan::build(&device, &recording, &[x], &[y], infos.into_iter(), &options).await?;
            let outputs = plan.run(&[Tensor::new([4], vec![1f32, 2.0, 3.0, 4.0])?], true).await?;
            Ok(outputs[0].clone())
        })
    }

    #[test]
    fn a_kernel_that_writes_its_output_passes_the_fences() {
        assert_eq!(written(4).unwrap().values::<f32>().unwrap(), [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn an_element_that_no_kernel_writes_is_nan() {
        let output = written(3).unwrap();
        let values = output.values::<f32>().unwrap();
        assert_eq!(values[..3], [1.0, 2.0, 3.0]);
        assert!(values[3].is_nan());
    }

    #[test]
    fn an_element_past_the_output_breaks_a_fence() {
        match written(5) {
            Err(Error::OutOfBoundsWrite { layer }) => assert_eq!(layer, "the layer"),
            other => panic!("{other:?}"),
        }
    }
}
