//! A plan on a GPU whose state stays there: after its dispatches, in the same submission, carried outputs are copied to
//! the inputs that they are the next values of.

use futures_intrusive::sync::Mutex;

use super::device::GpuDevice;
use super::plan::GpuPlan;
use super::transfer;
use crate::error::Result;
use crate::graph::Graph;
use crate::plan::{MemoryReport, PlanOptions, blanks};
use crate::stepper::Carried;
use crate::tensor::Tensor;

pub(crate) struct GpuStepper {
    plan: GpuPlan,
    carried: Carried,
    /// Where the outputs that are not carried are read from.
    results: wgpu::Buffer,
    /// The step handed in last, held while another is. A step waits for the one before the last, so that the queue
    /// does not grow without end.
    turn: Mutex<Option<wgpu::SubmissionIndex>>,
}

impl GpuStepper {
    pub async fn compile(
        device: &GpuDevice,
        graph: &Graph,
        options: &PlanOptions,
        carried: Carried,
    ) -> Result<Self> {
        let plan = GpuPlan::compile(device, graph, options).await?;
        let spans = carried.results.iter().map(|&i| &plan.outputs[i].0);
        let results = transfer::readback(device, "results", spans).await?;
        Ok(GpuStepper { plan, carried, results, turn: Mutex::new(None, true) })
    }

    pub fn memory(&self) -> MemoryReport {
        let state = self.carried.pairs.iter().map(|&(_, input)| self.plan.inputs[input].bytes);
        let mut report = self.plan.memory();
        report.weights += state.sum::<u64>();
        report
    }

    /// One step over inputs that the caller has checked; with `read`, waits for the outputs that are not carried.
    pub async fn step(&self, inputs: &[Tensor], read: bool, block: bool) -> Result<Vec<Tensor>> {
        let mut last = self.turn.lock().await;
        self.plan.device.check_alive()?;
        if !self.plan.fences.is_empty() {
            let state = self.read_state(block).await?;
            let queue = self.plan.device.queue();
            self.plan.fences.iter().for_each(|fence| fence.poison(queue));
            self.write_state(&state)?;
        }
        let (submission, outcome) = self.plan.device.scoped(|| self.submit(inputs, read));
        outcome.await?;
        let submission = submission?;
        let before = last.replace(submission.clone());
        if !read {
            #[cfg(not(target_arch = "wasm32"))]
            if let Some(before) = before {
                self.plan.device.wait(before);
            }
            #[cfg(target_arch = "wasm32")]
            drop(before);
            return Ok(Vec::new());
        }
        for fence in &self.plan.fences {
            self.plan.check_fence(fence, block).await?;
        }
        let results = self.carried.results.iter().map(|&i| &self.plan.outputs[i].1);
        let mut results = blanks(results)?;
        self.plan
            .read(&self.results, submission, block, |words| transfer::split(words, &mut results))
            .await??;
        Ok(results)
    }

    fn submit(&self, inputs: &[Tensor], read: bool) -> Result<wgpu::SubmissionIndex> {
        let plan = &self.plan;
        let queue = plan.device.queue();
        for (&i, tensor) in self.carried.inputs.iter().zip(inputs) {
            transfer::write(queue, &plan.inputs[i], tensor)?;
        }
        let mut encoder = plan.device.device().create_command_encoder(&Default::default());
        plan.encode(&mut encoder);
        // Before the state moves on: a result may be an input as it was.
        if read {
            let results = self.carried.results.iter().map(|&i| &plan.outputs[i].0);
            transfer::copy_all(&mut encoder, results, &self.results);
        }
        for &(output, input) in &self.carried.pairs {
            let (from, to) = (&plan.outputs[output].0, &plan.inputs[input]);
            // An input that is its own next value stays where it is.
            if from.buffer != to.buffer {
                encoder.copy_buffer_to_buffer(&from.buffer, from.offset, &to.buffer, to.offset, to.bytes);
            }
        }
        Ok(queue.submit([encoder.finish()]))
    }

    /// The state as the last step left it.
    pub async fn state(&self, block: bool) -> Result<Vec<Tensor>> {
        let _turn = self.turn.lock().await;
        self.plan.device.check_alive()?;
        self.read_state(block).await
    }

    async fn read_state(&self, block: bool) -> Result<Vec<Tensor>> {
        let plan = &self.plan;
        let (submission, outcome) = plan.device.scoped(|| {
            let mut encoder = plan.device.device().create_command_encoder(&Default::default());
            let state = self.carried.pairs.iter().map(|&(_, input)| &plan.inputs[input]);
            // It holds all outputs, the carried ones among them, which are as large as the state.
            transfer::copy_all(&mut encoder, state, &plan.readback);
            plan.device.queue().submit([encoder.finish()])
        });
        outcome.await?;
        let mut state = blanks(self.carried.pairs.iter().map(|&(output, _)| &plan.outputs[output].1))?;
        plan.read(&plan.readback, submission, block, |words| transfer::split(words, &mut state)).await??;
        Ok(state)
    }

    /// Sets the state to tensors that the caller has checked.
    pub async fn set_state(&self, state: &[Tensor]) -> Result<()> {
        let _turn = self.turn.lock().await;
        self.plan.device.check_alive()?;
        let (written, outcome) = self.plan.device.scoped(|| self.write_state(state));
        outcome.await?;
        written
    }

    fn write_state(&self, state: &[Tensor]) -> Result<()> {
        for (&(_, input), tensor) in self.carried.pairs.iter().zip(state) {
            transfer::write(self.plan.device.queue(), &self.plan.inputs[input], tensor)?;
        }
        Ok(())
    }
}
