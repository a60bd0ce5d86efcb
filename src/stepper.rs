//! A plan whose state stays on the device from one run to the next: a step of training.

#[cfg(not(target_arch = "wasm32"))]
use pollster::block_on;
use std::sync::{Mutex, PoisonError};

use crate::cpu::CpuPlan;
use crate::error::{Error, Result};
use crate::gpu::{GpuDevice, GpuStepper};
use crate::graph::Graph;
use crate::graph::passes::Folded;
use crate::plan::{MemoryReport, PlanOptions, Port, check_inputs, from_words, ports, prepare, to_words};
use crate::tensor::Tensor;

/// Which outputs of a graph are the next values of which inputs, and what is left.
#[derive(Clone, Debug)]
pub(crate) struct Carried {
    /// Numbers of an output and of the input that it becomes.
    pub pairs: Vec<(usize, usize)>,
    /// The inputs that every step is given.
    pub inputs: Vec<usize>,
    /// The outputs that a step returns.
    pub results: Vec<usize>,
}

impl Carried {
    fn new(graph: &Graph, pairs: &[(usize, usize)]) -> Result<Self> {
        let (inputs, outputs) = (graph.inputs(), graph.outputs());
        for (i, &(output, input)) in pairs.iter().enumerate() {
            let (Some(&from), Some(&to)) = (outputs.get(output), inputs.get(input)) else {
                return Err(Error::Graph(format!(
                    "output {output} cannot be carried to input {input}: the graph has {} outputs and {} inputs",
                    outputs.len(),
                    inputs.len()
                )));
            };
            let (from, to) = (graph.value(from), graph.value(to));
            if from.info != to.info {
                return Err(Error::Graph(format!(
                    "'{}' is {} {} and cannot be carried to '{}', which is {} {}",
                    from.name, from.info.dtype, from.info.shape, to.name, to.info.dtype, to.info.shape
                )));
            }
            if pairs[..i].iter().any(|&(_, other)| other == input) {
                return Err(Error::Graph(format!("two outputs are carried to '{}'", to.name)));
            }
            // Copied one after another, such inputs could be overwritten before they are read.
            if outputs[output] != inputs[input] && inputs.contains(&outputs[output]) {
                return Err(Error::Graph(format!(
                    "'{}' is an input itself and cannot be carried to '{}'",
                    from.name, to.name
                )));
            }
        }
        let rest = |count: usize, taken: Vec<usize>| (0..count).filter(|i| !taken.contains(i)).collect();
        Ok(Carried {
            pairs: pairs.to_vec(),
            inputs: rest(inputs.len(), pairs.iter().map(|p| p.1).collect()),
            results: rest(outputs.len(), pairs.iter().map(|p| p.0).collect()),
        })
    }
}

/// A graph compiled to be run step by step, some of its outputs being inputs of the next step
/// ([`crate::Device::compile_stepper`]).
///
/// What is carried stays on the device and is the stepper's state. The other inputs are given to each step, and the
/// other outputs are read back only where they are asked for. Steps from several threads take turns.
pub struct Stepper {
    inputs: Vec<Port>,
    results: Vec<Port>,
    state: Vec<Port>,
    reject_nan: bool,
    backend: Backend,
}

enum Backend {
    Cpu(Box<CpuStepper>),
    Gpu(Box<GpuStepper>),
}

impl Stepper {
    pub(crate) async fn compile(
        gpu: Option<&GpuDevice>,
        graph: &Graph,
        options: &PlanOptions,
        pairs: &[(usize, usize)],
        state: &[Tensor],
    ) -> Result<Self> {
        let carried = Carried::new(graph, pairs)?;
        let all_inputs = ports(graph, graph.inputs());
        let all_outputs = ports(graph, graph.outputs());
        let pick = |all: &[Port], which: &[usize]| which.iter().map(|&i| all[i].clone()).collect();
        let of_state: Vec<_> = carried.pairs.iter().map(|&(_, input)| all_inputs[input].clone()).collect();
        check_inputs(&of_state, state, false)?;
        let (inputs, results) = (pick(&all_inputs, &carried.inputs), pick(&all_outputs, &carried.results));
        let graph = prepare(graph, options, &Folded::default())?;
        let backend = match gpu {
            None => Backend::Cpu(Box::new(CpuStepper::compile(&graph, options, carried, state)?)),
            Some(device) => {
                let stepper = GpuStepper::compile(device, &graph, options, carried).await?;
                stepper.set_state(state).await?;
                Backend::Gpu(Box::new(stepper))
            }
        };
        Ok(Stepper { inputs, results, state: of_state, reject_nan: options.reject_nan, backend })
    }

    /// What every step is given, in order.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// What [`Stepper::step_and_read`] returns, in order.
    pub fn results(&self) -> &[Port] {
        &self.results
    }

    /// What stays on the device, in the order in which it was carried.
    pub fn state_ports(&self) -> &[Port] {
        &self.state
    }

    /// The memory that the stepper holds on its device; its state counts as weights.
    pub fn memory(&self) -> MemoryReport {
        match &self.backend {
            Backend::Cpu(stepper) => stepper.memory(),
            Backend::Gpu(stepper) => stepper.memory(),
        }
    }

    /// Takes one step and reads nothing back. On a GPU it returns before the step is done, and waits for the step
    /// before the last.
    ///
    /// # Errors
    /// As [`crate::Plan::run`]; what goes wrong on a GPU may be reported by a later call.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn step(&self, inputs: &[Tensor]) -> Result<()> {
        block_on(self.take(inputs, false, true)).map(|_| ())
    }

    /// As [`Stepper::step`], without blocking the thread.
    ///
    /// # Errors
    /// As [`Stepper::step`].
    pub async fn step_async(&self, inputs: &[Tensor]) -> Result<()> {
        self.take(inputs, false, false).await.map(|_| ())
    }

    /// Takes one step and waits for the outputs that are not carried.
    ///
    /// # Errors
    /// As [`crate::Plan::run`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn step_and_read(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        block_on(self.take(inputs, true, true))
    }

    /// As [`Stepper::step_and_read`], without blocking the thread.
    ///
    /// # Errors
    /// As [`Stepper::step_and_read`].
    pub async fn step_and_read_async(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.take(inputs, true, false).await
    }

    async fn take(&self, inputs: &[Tensor], read: bool, block: bool) -> Result<Vec<Tensor>> {
        check_inputs(&self.inputs, inputs, self.reject_nan)?;
        match &self.backend {
            Backend::Cpu(stepper) => stepper.step(inputs, read),
            Backend::Gpu(stepper) => stepper.step(inputs, read, block).await,
        }
    }

    /// The state, read back.
    ///
    /// # Errors
    /// From the GPU, as [`crate::Plan::run`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn state(&self) -> Result<Vec<Tensor>> {
        match &self.backend {
            Backend::Cpu(stepper) => stepper.state(),
            Backend::Gpu(stepper) => block_on(stepper.state(true)),
        }
    }

    /// As [`Stepper::state`], without blocking the thread.
    ///
    /// # Errors
    /// As [`Stepper::state`].
    pub async fn state_async(&self) -> Result<Vec<Tensor>> {
        match &self.backend {
            Backend::Cpu(stepper) => stepper.state(),
            Backend::Gpu(stepper) => stepper.state(false).await,
        }
    }

    /// Replaces the state. Where the tensors do not fit, it stays as it was.
    ///
    /// # Errors
    /// [`Error::Input`] where a tensor has another shape or type than the state; from the GPU, as [`crate::Plan::run`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn set_state(&self, state: &[Tensor]) -> Result<()> {
        block_on(self.set_state_async(state))
    }

    /// As [`Stepper::set_state`], without blocking the thread.
    ///
    /// # Errors
    /// As [`Stepper::set_state`].
    pub async fn set_state_async(&self, state: &[Tensor]) -> Result<()> {
        check_inputs(&self.state, state, false)?;
        match &self.backend {
            Backend::Cpu(stepper) => stepper.set_state(state),
            Backend::Gpu(stepper) => stepper.set_state(state).await,
        }
    }
}

struct CpuStepper {
    plan: CpuPlan,
    carried: Carried,
    /// The graph's inputs and outputs.
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    /// Held while a step is taken.
    memory: Mutex<Memory>,
}

/// The words of every input, the carried ones being the state, and room for the next state.
struct Memory {
    inputs: Vec<Vec<f32>>,
    next: Vec<Vec<f32>>,
}

fn copy_words(tensor: &Tensor, to: &mut [f32]) -> Result<()> {
    match tensor.values::<f32>() {
        Ok(values) => to.copy_from_slice(values),
        Err(_) => bytemuck::cast_slice_mut(to).copy_from_slice(&to_words(tensor)?),
    }
    Ok(())
}

impl CpuStepper {
    fn compile(graph: &Graph, options: &PlanOptions, carried: Carried, state: &[Tensor]) -> Result<Self> {
        let plan = CpuPlan::compile(graph, options)?;
        let inputs = ports(graph, graph.inputs());
        let zeros = |port: &Port| vec![0.0; port.info.shape.elements()];
        let memory = Memory {
            inputs: inputs.iter().map(zeros).collect(),
            next: carried.pairs.iter().map(|&(_, input)| zeros(&inputs[input])).collect(),
        };
        let outputs = ports(graph, graph.outputs());
        let stepper = CpuStepper { plan, carried, inputs, outputs, memory: Mutex::new(memory) };
        stepper.set_state(state)?;
        Ok(stepper)
    }

    fn memory(&self) -> MemoryReport {
        let mut report = self.plan.memory();
        let state =
            self.carried.pairs.iter().map(|&(_, input)| self.inputs[input].info.shape.elements() as u64);
        report.weights += 4 * state.sum::<u64>();
        report
    }

    fn step(&self, inputs: &[Tensor], read: bool) -> Result<Vec<Tensor>> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let Memory { inputs: words, next } = &mut *memory;
        for (&i, tensor) in self.carried.inputs.iter().zip(inputs) {
            copy_words(tensor, &mut words[i])?;
        }
        let slices: Vec<&[f32]> = words.iter().map(Vec::as_slice).collect();
        let results = self.plan.run_words(&slices, None, |outputs| {
            for (&(output, _), next) in self.carried.pairs.iter().zip(&mut *next) {
                next.copy_from_slice(outputs[output]);
            }
            let results = self.carried.results.iter().filter(|_| read);
            results.map(|&i| from_words(&self.outputs[i].info, bytemuck::cast_slice(outputs[i]))).collect()
        })?;
        for (&(_, input), next) in self.carried.pairs.iter().zip(next) {
            std::mem::swap(&mut words[input], next);
        }
        results
    }

    fn state(&self) -> Result<Vec<Tensor>> {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.carried.pairs.iter().map(|&(_, input)| {
            from_words(&self.inputs[input].info, bytemuck::cast_slice(&memory.inputs[input]))
        });
        state.collect()
    }

    fn set_state(&self, state: &[Tensor]) -> Result<()> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        for (&(_, input), tensor) in self.carried.pairs.iter().zip(state) {
            copy_words(tensor, &mut memory.inputs[input])?;
        }
        Ok(())
    }
}
