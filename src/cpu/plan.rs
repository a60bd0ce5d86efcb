//! A graph compiled for the CPU: steps over memory shared by liveness.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::{Kernel, compile};
use crate::error::{Error, Result};
use crate::graph::{Graph, Info};
use crate::memory::{self, Lifetime};
use crate::ops::Op;
use crate::plan::{MemoryReport, PlanOptions, Site, StepTime, from_words, roots, to_words};
use crate::tensor::{DType, Tensor};

/// Where a value's words are during a run.
#[derive(Clone, Copy, Debug)]
enum Place {
    Nowhere,
    Constant(usize),
    Input(usize),
    Slot { slot: usize, len: usize },
}

enum Constant {
    Tensor(Tensor),
    Words(Vec<f32>),
}

struct Step {
    layer: String,
    op: &'static str,
    kernel: Kernel,
    inputs: Vec<Place>,
    outputs: Vec<(usize, usize)>,
}

/// The memory of one run: a buffer per slot and one for scratch.
struct Arena {
    slots: Vec<Vec<f32>>,
    scratch: Vec<f32>,
}

fn allocate(len: usize) -> Result<Vec<f32>> {
    let mut words = Vec::new();
    words.try_reserve_exact(len).map_err(|e| Error::OutOfMemory {
        device: "CPU".into(),
        reason: format!("{} bytes of activations: {e}", 4 * len as u64),
    })?;
    words.resize(len, f32::NAN);
    Ok(words)
}

fn allocate_all(lens: &[usize]) -> Result<Vec<Vec<f32>>> {
    lens.iter().map(|&len| allocate(len)).collect()
}

/// A graph compiled for the CPU backend.
pub(crate) struct CpuPlan {
    steps: Vec<Step>,
    constants: Vec<Constant>,
    inputs: usize,
    outputs: Vec<(Place, Info)>,
    slot_sizes: Vec<usize>,
    scratch: usize,
    memory: MemoryReport,
    /// Arenas that no run is using; as many come to be as runs overlap.
    idle: Mutex<Vec<Arena>>,
}

impl CpuPlan {
    pub fn compile(graph: &Graph, options: &PlanOptions) -> Result<Self> {
        let roots = roots(graph, options);
        let mut places = vec![Place::Nowhere; graph.values().len()];
        let mut constants = Vec::new();
        let mut weights = 0;
        for (i, value) in graph.values().iter().enumerate() {
            let Some(tensor) = &value.constant else { continue };
            places[i] = Place::Constant(constants.len());
            weights += 4 * value.info.shape.elements() as u64;
            constants.push(match value.info.dtype {
                DType::F32 => Constant::Tensor(tensor.clone()),
                _ => Constant::Words(to_words(tensor)?.into_iter().map(f32::from_bits).collect()),
            });
        }
        for (i, id) in graph.inputs().iter().enumerate() {
            places[id.index()] = Place::Input(i);
        }

        // A value is alive from the node that writes it to the last that reads it, outputs to the end.
        let nodes: Vec<_> = graph
            .nodes()
            .iter()
            .filter(|n| !(options.passes.drop_reshape && matches!(n.op, Op::Reshape(_))))
            .collect();
        let mut lifetimes: Vec<Lifetime> = Vec::new();
        let mut lifetime_of = vec![None; graph.values().len()];
        for (step, node) in nodes.iter().enumerate() {
            for id in &node.outputs {
                lifetime_of[id.index()] = Some(lifetimes.len());
                let size = graph.value(*id).info.shape.elements();
                lifetimes.push(Lifetime { first: step, last: step, size });
            }
            for id in node.inputs.iter().flatten() {
                if let Some(l) = lifetime_of[roots[id.index()]] {
                    lifetimes[l].last = step;
                }
            }
        }
        for id in graph.outputs() {
            if let Some(l) = lifetime_of[roots[id.index()]] {
                lifetimes[l].last = nodes.len();
            }
        }
        let slots = memory::assign(&lifetimes);
        for (i, l) in lifetime_of.iter().enumerate() {
            if let Some(l) = *l {
                places[i] = Place::Slot { slot: slots.of[l], len: lifetimes[l].size };
            }
        }

        // Before the kernels, whose tables grow with the batch too.
        let mut arena = Arena { slots: allocate_all(&slots.sizes)?, scratch: Vec::new() };
        let mut steps = Vec::new();
        let mut scratch = 0;
        let mut alive = lifetimes;
        for node in nodes {
            let kernel = compile(&Site { graph, node, options })?;
            scratch = scratch.max(kernel.scratch);
            alive.push(Lifetime { first: steps.len(), last: steps.len(), size: kernel.scratch });
            let inputs =
                node.inputs.iter().map(|id| id.map_or(Place::Nowhere, |id| places[roots[id.index()]]));
            let outputs = node.outputs.iter().filter_map(|id| match places[id.index()] {
                Place::Slot { slot, len } => Some((slot, len)),
                _ => None,
            });
            steps.push(Step {
                layer: node.name.clone(),
                op: node.op.name(),
                kernel,
                inputs: inputs.collect(),
                outputs: outputs.collect(),
            });
        }
        let outputs = graph
            .outputs()
            .iter()
            .map(|id| (places[roots[id.index()]], graph.value(*id).info.clone()))
            .collect();
        let words = |n: usize| 4 * n as u64;
        arena.scratch = allocate(scratch)?;
        Ok(CpuPlan {
            steps,
            constants,
            inputs: graph.inputs().len(),
            outputs,
            memory: MemoryReport {
                weights,
                activations: words(slots.sizes.iter().sum::<usize>() + scratch),
                activations_lower_bound: words(memory::lower_bound(&alive)),
            },
            slot_sizes: slots.sizes,
            scratch,
            idle: Mutex::new(vec![arena]),
        })
    }

    pub fn memory(&self) -> MemoryReport {
        self.memory
    }

    fn arena(&self) -> Result<Arena> {
        Ok(Arena { slots: allocate_all(&self.slot_sizes)?, scratch: allocate(self.scratch)? })
    }

    /// Runs the steps over `inputs`, which the caller has checked.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.run_timed(inputs, None)
    }

    /// As [`CpuPlan::run`], adding each step's milliseconds to its list in `times`.
    fn run_timed(&self, inputs: &[Tensor], times: Option<&mut [Vec<f64>]>) -> Result<Vec<Tensor>> {
        let integers: Vec<Option<Vec<f32>>> = inputs
            .iter()
            .map(|t| match t.dtype() {
                DType::F32 => Ok(None),
                _ => to_words(t).map(|w| Some(w.into_iter().map(f32::from_bits).collect())),
            })
            .collect::<Result<_>>()?;
        let inputs: Vec<&[f32]> = inputs
            .iter()
            .zip(&integers)
            .map(|(tensor, words)| words.as_deref().or(tensor.values().ok()).unwrap_or_default())
            .collect();
        self.run_words(&inputs, times, |outputs| {
            let outputs = outputs.iter().zip(&self.outputs);
            outputs.map(|(words, (_, info))| from_words(info, bytemuck::cast_slice(words))).collect()
        })?
    }

    /// Runs the steps over the words of the inputs and hands those of the outputs to `read`.
    pub fn run_words<T>(
        &self,
        inputs: &[&[f32]],
        mut times: Option<&mut [Vec<f64>]>,
        read: impl FnOnce(&[&[f32]]) -> T,
    ) -> Result<T> {
        debug_assert_eq!(inputs.len(), self.inputs);
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut arena = idle.map_or_else(|| self.arena(), Ok)?;
        // One entry into the thread pool for all steps: each would otherwise wake it for itself.
        rayon::scope(|_| {
            for (i, step) in self.steps.iter().enumerate() {
                let started = Instant::now();
                self.step(step, inputs, &mut arena);
                if let Some(times) = times.as_deref_mut() {
                    times[i].push(1e3 * started.elapsed().as_secs_f64());
                }
            }
        });
        let outputs: Vec<&[f32]> =
            self.outputs.iter().map(|(place, _)| self.words(*place, inputs, &arena.slots)).collect();
        let result = read(&outputs);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(arena);
        Ok(result)
    }

    fn step(&self, step: &Step, inputs: &[&[f32]], arena: &mut Arena) {
        // The outputs' buffers leave the arena while the inputs are borrowed from it.
        let mut taken: Vec<_> =
            step.outputs.iter().map(|&(slot, _)| std::mem::take(&mut arena.slots[slot])).collect();
        let mut outputs: Vec<&mut [f32]> =
            taken.iter_mut().zip(&step.outputs).map(|(buffer, &(_, len))| &mut buffer[..len]).collect();
        let operands: Vec<&[f32]> =
            step.inputs.iter().map(|&place| self.words(place, inputs, &arena.slots)).collect();
        (step.kernel.run)(&operands, &mut outputs, &mut arena.scratch[..step.kernel.scratch]);
        for (buffer, &(slot, _)) in taken.into_iter().zip(&step.outputs) {
            arena.slots[slot] = buffer;
        }
    }

    /// Runs the plan so many times over inputs that the caller has checked, and measures its steps.
    pub fn profile(&self, inputs: &[Tensor], runs: usize) -> Result<Vec<StepTime>> {
        let mut times = vec![Vec::new(); self.steps.len()];
        for _ in 0..runs {
            self.run_timed(inputs, Some(times.as_mut_slice()))?;
        }
        Ok(self.steps.iter().zip(times).map(|(s, t)| StepTime::median(&s.layer, s.op, t)).collect())
    }

    fn words<'a>(&'a self, place: Place, inputs: &[&'a [f32]], slots: &'a [Vec<f32>]) -> &'a [f32] {
        match place {
            Place::Nowhere => &[],
            Place::Input(i) => inputs[i],
            Place::Slot { slot, len } => &slots[slot][..len],
            Place::Constant(i) => match &self.constants[i] {
                Constant::Tensor(tensor) => tensor.values().unwrap_or_default(),
                Constant::Words(words) => words,
            },
        }
    }
}
