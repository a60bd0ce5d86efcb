//! A recording with memory, pipelines and bind groups: ready to run.

use futures_intrusive::channel::shared::oneshot_channel;
use futures_intrusive::sync::Mutex;

use super::device::GpuDevice;
use super::kernel::Kernel;
use super::memory::{ENOUGH, Fence, Memory, Placement, Span, check_limits, unify_weights};
use super::operands::record;
use super::recording::{BufferId, Recording};
use super::transfer;
use crate::error::{Error, Result};
use crate::graph::{Graph, Info};
#[cfg(not(target_arch = "wasm32"))]
use crate::plan::StepTime;
use crate::plan::{MemoryReport, PlanOptions, blanks};
use crate::tensor::Tensor;

struct Step {
    layer: String,
    kernel: Kernel,
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    groups: [u32; 3],
}

impl Step {
    fn bind(&self, pass: &mut wgpu::ComputePass) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
    }

    fn record(&self, pass: &mut wgpu::ComputePass) {
        self.bind(pass);
        let [x, y, z] = self.groups;
        pass.dispatch_workgroups(x, y, z);
    }
}

/// A network compiled for a GPU.
pub struct GpuPlan {
    pub(super) device: GpuDevice,
    steps: Vec<Step>,
    pub(super) inputs: Vec<Span>,
    pub(super) outputs: Vec<(Span, Info)>,
    pub(super) readback: wgpu::Buffer,
    pub(super) fences: Vec<Fence>,
    memory: MemoryReport,
    /// Held while a run uses the plan's buffers.
    turn: Mutex<()>,
}

impl GpuPlan {
    pub(crate) async fn compile(device: &GpuDevice, graph: &Graph, options: &PlanOptions) -> Result<Self> {
        #[cfg(not(target_arch = "wasm32"))]
        let choices = super::tune::choices(device, graph, options).await?;
        // Browsers blur the time too much to measure by.
        #[cfg(target_arch = "wasm32")]
        let choices = Vec::new();
        let (recording, inputs, outputs) = record(device, graph, options, &choices)?;
        let infos = graph.outputs().iter().map(|value| graph.value(*value).info.clone());
        let plan = Self::build(device, recording, &inputs, &outputs, infos, options).await?;
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
    pub(super) async fn build(
        device: &GpuDevice,
        recording: Recording,
        inputs: &[BufferId],
        outputs: &[BufferId],
        infos: impl Iterator<Item = Info>,
        options: &PlanOptions,
    ) -> Result<Self> {
        // Software adapters keep what is large in images, and would have to compile every other form of a kernel.
        let enough = if recording.software { f64::INFINITY } else { ENOUGH };
        let placement = Placement::new(&recording, outputs, enough);
        Self::build_placed(device, recording, &placement, inputs, outputs, infos, options).await
    }

    /// As [`Self::build`], with what is computed in these places.
    pub(super) async fn build_placed(
        device: &GpuDevice,
        mut recording: Recording,
        placement: &Placement,
        inputs: &[BufferId],
        outputs: &[BufferId],
        infos: impl Iterator<Item = Info>,
        options: &PlanOptions,
    ) -> Result<Self> {
        device.check_alive()?;
        check_limits(&recording, options)?;

        unify_weights(&mut recording);
        // What a checked plan computes shares nothing.
        if !options.checked {
            placement.declare(&mut recording);
        }
        let pipelines = device.pipelines(&recording, options.checked).await?;
        // A checked plan binds memory of other kinds, and its speed does not matter. Browsers do not show what is software.
        #[cfg(not(target_arch = "wasm32"))]
        let warming =
            (device.is_software() && !options.checked).then(|| device.warm(&recording, &pipelines.new));

        let (parts, outcome) = device.scoped(|| {
            let memory = Memory::allocate(device, &recording, placement, options)?;
            let steps = steps(device, &recording, &memory, pipelines.all);
            Ok((memory, steps))
        });
        outcome.await?;
        let (memory, steps): (Memory, Vec<Step>) = parts?;
        #[cfg(not(target_arch = "wasm32"))]
        if let Some(warming) = warming {
            warming.finish(device, |pass, dispatch| steps[dispatch].bind(pass)).await?;
        }

        let outputs: Vec<_> = outputs
            .iter()
            .map(|&id| memory.span(id))
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .zip(infos)
            .collect();
        let readback = transfer::readback(device, "readback", outputs.iter().map(|(span, _)| span)).await?;
        Ok(GpuPlan {
            device: device.clone(),
            steps,
            inputs: inputs.iter().map(|&id| memory.span(id)).collect::<Result<_>>()?,
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
        self.steps.iter().for_each(|step| step.record(&mut pass));
    }

    /// Runs the plan over what its input buffers hold, and measures each dispatch as [`GpuPlan::times`] does.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) async fn profile(&self, runs: usize) -> Result<Vec<StepTime>> {
        let samples = self.times(runs).await?;
        let time = |(step, samples): (&Step, _)| StepTime {
            constants: step.kernel.constants().to_vec(),
            workgroups: Some(step.groups),
            ..StepTime::median(&step.layer, step.kernel.name(), samples)
        };
        Ok(self.steps.iter().zip(samples).map(time).collect())
    }

    /// The milliseconds of each dispatch in so many runs over what the input buffers hold: by timestamps of the GPU, or
    /// where it has none by the clock, each dispatch submitted alone.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) async fn times(&self, runs: usize) -> Result<Vec<Vec<f64>>> {
        let _turn = self.turn.lock().await;
        self.device.check_alive()?;
        let mut samples = vec![Vec::new(); self.steps.len()];
        for _ in 0..runs {
            if self.device.device().features().contains(wgpu::Features::TIMESTAMP_QUERY) {
                self.time_by_gpu(&mut samples).await?;
            } else {
                self.time_by_clock(&mut samples).await?;
            }
        }
        Ok(samples)
    }

    /// Adds a sample for each dispatch.
    #[cfg(not(target_arch = "wasm32"))]
    async fn time_by_gpu(&self, samples: &mut [Vec<f64>]) -> Result<()> {
        // A query set holds 4096 timestamps, two per dispatch.
        const AT_ONCE: usize = 2048;
        for (steps, samples) in self.steps.chunks(AT_ONCE).zip(samples.chunks_mut(AT_ONCE)) {
            let ((buffer, submission), outcome) = self.device.scoped(|| self.submit_timed(steps));
            outcome.await?;
            let ticks = self.read(&buffer, submission, true, bytemuck::pod_collect_to_vec::<u8, u64>).await?;
            for (i, samples) in samples.iter_mut().enumerate() {
                let elapsed = ticks[2 * i + 1].saturating_sub(ticks[2 * i]) as f64;
                let period = f64::from(self.device.queue().get_timestamp_period());
                samples.push(elapsed * period / 1e6);
            }
        }
        Ok(())
    }

    /// Adds a sample for each dispatch.
    #[cfg(not(target_arch = "wasm32"))]
    async fn time_by_clock(&self, samples: &mut [Vec<f64>]) -> Result<()> {
        for (step, samples) in self.steps.iter().zip(samples) {
            let begun = std::time::Instant::now();
            let (submission, outcome) = self.device.scoped(|| {
                let mut encoder = self.device.device().create_command_encoder(&Default::default());
                step.record(&mut encoder.begin_compute_pass(&Default::default()));
                self.device.queue().submit([encoder.finish()])
            });
            self.device.wait(submission);
            samples.push(1e3 * begun.elapsed().as_secs_f64());
            outcome.await?;
        }
        Ok(())
    }

    /// The kernels of the plan's dispatches, in order.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn kernels(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|step| step.kernel.name())
    }

    /// Submits these steps, each between two timestamps, and their copy into a mappable buffer.
    #[cfg(not(target_arch = "wasm32"))]
    fn submit_timed(&self, steps: &[Step]) -> (wgpu::Buffer, wgpu::SubmissionIndex) {
        let device = self.device.device();
        let count = 2 * steps.len().max(1) as u32;
        let queries = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("profile"),
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        let buffer = |usage| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("profile"),
                size: 8 * u64::from(count),
                usage,
                mapped_at_creation: false,
            })
        };
        let resolved = buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
        let readable = buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        let mut encoder = device.create_command_encoder(&Default::default());
        for (i, step) in steps.iter().enumerate() {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &queries,
                    beginning_of_pass_write_index: Some(2 * i as u32),
                    end_of_pass_write_index: Some(2 * i as u32 + 1),
                }),
            });
            step.record(&mut pass);
        }
        encoder.resolve_query_set(&queries, 0..count, &resolved, 0);
        encoder.copy_buffer_to_buffer(&resolved, 0, &readable, 0, 8 * u64::from(count));
        (readable, self.device.queue().submit([encoder.finish()]))
    }

    pub(crate) fn memory(&self) -> MemoryReport {
        self.memory
    }

    /// The outputs of [`GpuPlan::run_into`].
    pub(crate) async fn run(&self, inputs: &[Tensor], block: bool) -> Result<Vec<Tensor>> {
        let mut outputs = blanks(self.outputs.iter().map(|(_, info)| info))?;
        self.run_into(inputs, &mut outputs, block).await?;
        Ok(outputs)
    }

    /// Runs the plan over inputs and into outputs that the caller has checked. With `block`, this thread waits for the GPU;
    /// else the future is woken from another thread, or by the browser.
    pub(crate) async fn run_into(
        &self,
        inputs: &[Tensor],
        outputs: &mut [Tensor],
        block: bool,
    ) -> Result<()> {
        let _turn = self.turn.lock().await;
        self.device.check_alive()?;
        let (submission, outcome) = self.device.scoped(|| self.submit(inputs));
        outcome.await?;
        let submission = submission?;
        // Outputs are written last, and only where nothing went wrong.
        for fence in &self.fences {
            self.check_fence(fence, block).await?;
        }
        self.read(&self.readback, submission, block, |words| transfer::split(words, outputs)).await?
    }

    fn submit(&self, inputs: &[Tensor]) -> Result<wgpu::SubmissionIndex> {
        let queue = self.device.queue();
        self.fences.iter().for_each(|fence| fence.poison(queue));
        for (span, tensor) in self.inputs.iter().zip(inputs) {
            transfer::write(queue, span, tensor)?;
        }
        let mut encoder = self.device.device().create_command_encoder(&Default::default());
        self.encode(&mut encoder);
        transfer::copy_all(&mut encoder, self.outputs.iter().map(|(span, _)| span), &self.readback);
        Ok(queue.submit([encoder.finish()]))
    }

    /// What `view` makes of the bytes of a mappable buffer once `submission` is done.
    pub(super) async fn read<T>(
        &self,
        buffer: &wgpu::Buffer,
        submission: wgpu::SubmissionIndex,
        block: bool,
        view: impl FnOnce(&[u8]) -> T,
    ) -> Result<T> {
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
        let viewed = view(&buffer.get_mapped_range(..).map_err(|e| failed(e.to_string()))?[..]);
        buffer.unmap();
        Ok(viewed)
    }

    pub(super) async fn check_fence(&self, fence: &Fence, block: bool) -> Result<()> {
        let Some(buffer) = fence.buffer() else { return Ok(()) };
        let device = self.device.device();
        let size = buffer.size();
        let ((copy, submission), outcome) = self.device.scoped(|| {
            let copy = device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("fence"),
                size,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            let mut encoder = device.create_command_encoder(&Default::default());
            encoder.copy_buffer_to_buffer(buffer, 0, &copy, 0, size);
            (copy, self.device.queue().submit([encoder.finish()]))
        });
        outcome.await?;
        self.read(&copy, submission, block, |words| fence.check(&bytemuck::pod_collect_to_vec(words))).await?
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
        steps.push(Step {
            layer: dispatch.layer.clone(),
            kernel: dispatch.kernel.clone(),
            pipeline,
            bind_group,
            groups: dispatch.groups,
        });
    }
    steps
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::gpu::image;
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
            let device =
                GpuDevice::open(|_| true, &Default::default()).await?.expect("the tests need a GPU adapter");
            let options = PlanOptions { checked: true, ..PlanOptions::default() };
            let mut recording = Recording::new(device.device().limits(), device.is_software());
            let (x, y) = (recording.input("x", 4), recording.computed("the layer", 4));
            let kernel = Kernel::new("copier", COPIER, 1, 1);
            recording.dispatch(kernel, &[count, 0, 0, 0], &[x], &[y], [8, 1, 1])?;
            let infos = [Info::f32(Shape::new([4])?)];
            let plan = GpuPlan::build(&device, recording, &[x], &[y], infos.into_iter(), &options).await?;
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

    /// Elements that are packed into an image, by so many workgroups fewer than it takes, and unpacked again.
    fn packed(fewer: u32, checked: bool) -> Vec<f32> {
        // More texels than a layer has.
        let layout = image::Layout { images: 1, channels: 4, pixels: 300 };
        let tensor = Tensor::new([1, 4, 300], (0..1200).map(|i| i as f32).collect()).unwrap();
        pollster::block_on(async {
            let device = GpuDevice::open(|_| true, &Default::default()).await.unwrap().expect("an adapter");
            let mut recording = Recording::new(device.device().limits(), device.is_software());
            let x = recording.input("x", 1200);
            let packed = image::pack("packed", x, &layout, &mut recording).unwrap();
            recording.dispatches[0].groups[0] -= fewer;
            let y = image::unpack("y", packed, &layout, &mut recording).unwrap();
            let infos = [Info::f32(tensor.shape().clone())].into_iter();
            let options = PlanOptions { checked, ..PlanOptions::default() };
            let plan = GpuPlan::build(&device, recording, &[x], &[y], infos, &options).await.unwrap();
            let outputs = plan.run(&[tensor], true).await.unwrap();
            outputs[0].values::<f32>().unwrap().to_vec()
        })
    }

    #[test]
    fn a_texel_that_no_kernel_writes_is_nan() {
        for checked in [false, true] {
            assert!(packed(0, checked).iter().enumerate().all(|(i, &value)| value == i as f32));
        }
        // A workgroup packs 64 texels; the last one has pixels 256 to 299 of all channels.
        let values = packed(1, true);
        assert!(values.iter().enumerate().all(|(i, value)| value.is_nan() == (i % 300 >= 256)), "{values:?}");
    }

    /// An input's first 640 elements, again and again, by way of values of which two have to lie in one buffer for what is
    /// least, where the kernel's text says so of its input.
    fn handed_on(declaration: &str, enough: f64) -> Result<Tensor> {
        let wgsl = "
            @group(0) @binding(0) var<uniform> counts: vec2<u32>;
            DECLARATION
            @group(0) @binding(2) var<storage, read_write> output: array<f32>;
            @compute @workgroup_size(64)
            fn main(@builtin(global_invocation_id) id: vec3<u32>) {
                if id.x < counts.y { output[id.x] = input[id.x % counts.x]; }
            }";
        let kernel = Kernel::new("repeat", &wgsl.replace("DECLARATION", declaration), 1, 1);
        pollster::block_on(async {
            let device =
                GpuDevice::open(|_| true, &Default::default()).await?.expect("the tests need a GPU adapter");
            let mut recording = Recording::new(device.device().limits(), false);
            let sizes = [6400, 6400, 640, 3840, 3840];
            let input = recording.input("0", sizes[0]);
            let mut last = input;
            for (i, pair) in sizes.windows(2).enumerate() {
                let next = recording.computed(format!("{}", i + 1), pair[1]);
                let counts = [pair[0] as u32, pair[1] as u32, 0, 0];
                recording.dispatch(kernel.clone(), &counts, &[last], &[next], [100, 1, 1])?;
                last = next;
            }
            let placement = Placement::new(&recording, &[last], enough);
            let infos = [Info::f32(Shape::new([3840])?)].into_iter();
            let options = PlanOptions::default();
            let (from, to) = ([input], [last]);
            let plan = GpuPlan::build_placed(&device, recording, &placement, &from, &to, infos, &options);
            let x = Tensor::new([6400], (0..6400).map(|i| i as f32).collect())?;
            Ok(plan.await?.run(&[x], true).await?[0].clone())
        })
    }

    #[test]
    fn a_dispatch_reads_and_writes_one_buffer_only_as_it_declares() {
        let declaration = "@group(0) @binding(1) var<storage, read> input: array<f32>;";
        // Which is not known for one that can be made writable.
        let other = declaration.replace("storage, read", "storage,read");
        for (declaration, enough) in
            [(declaration, 1.0), (declaration, f64::INFINITY), (&other, f64::INFINITY)]
        {
            let output = handed_on(declaration, enough).unwrap();
            let values = output.values::<f32>().unwrap();
            assert!(values.iter().enumerate().all(|(i, &value)| value == (i % 640) as f32), "{enough}");
        }
        match handed_on(&other, 1.0) {
            Err(Error::Device { reason, .. }) => assert!(reason.contains("STORAGE_READ"), "{reason}"),
            unexpected => panic!("{unexpected:?}"),
        }
    }

    #[test]
    fn an_element_past_the_output_breaks_a_fence() {
        match written(5) {
            Err(Error::OutOfBoundsWrite { layer }) => assert_eq!(layer, "the layer"),
            other => panic!("{other:?}"),
        }
    }
}
