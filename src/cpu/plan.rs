//! A graph compiled for the CPU: steps over memory shared by liveness.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::blocked::{self, Compiled, Form};
use super::{Kernel, compile};
use crate::error::{Error, Result};
use crate::graph::{Graph, Info, Node, ValueId};
use crate::memory::{self, Lifetime};
use crate::ops::{Op, Operator};
use crate::plan::{MemoryReport, PlanOptions, Site, StepTime, from_words, roots, to_words};
use crate::tensor::{DType, Tensor};

/// Multiply-accumulates and words moved up to which a run stays on the thread that asked for it: waking others takes
/// longer.
const ALONE: usize = 1 << 20;

/// Where a value's words are during a run.
#[derive(Clone, Copy, Debug)]
enum Place {
    Nowhere,
    Constant(usize),
    Input(usize),
    Slot { slot: usize, len: usize },
}

impl Place {
    fn is_nowhere(self) -> bool {
        matches!(self, Place::Nowhere)
    }
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

/// An empty buffer with room for `len` words.
fn reserved(len: usize) -> Result<Vec<f32>> {
    let mut words = Vec::new();
    words.try_reserve_exact(len).map_err(|e| Error::OutOfMemory {
        device: "CPU".into(),
        reason: format!("{} bytes of activations: {e}", 4 * len as u64),
    })?;
    Ok(words)
}

fn allocate(len: usize) -> Result<Vec<f32>> {
    let mut words = reserved(len)?;
    words.resize(len, f32::NAN);
    Ok(words)
}

fn allocate_all(lens: &[usize]) -> Result<Vec<Vec<f32>>> {
    lens.iter().map(|&len| allocate(len)).collect()
}

/// Fails where the largest value alone is past the memory: before kernels are made, whose tables grow with the batch too.
fn reserve(graph: &Graph) -> Result<()> {
    let outputs = graph.nodes().iter().flat_map(|node| &node.outputs);
    let largest = outputs.map(|id| graph.value(*id).info.shape.elements()).max().unwrap_or(0);
    reserved(largest).map(drop)
}

/// Multiply-accumulates and words moved by all nodes.
fn work(graph: &Graph) -> usize {
    let info = |id: ValueId| &graph.value(id).info;
    let of = |node: &Node| {
        let inputs: Vec<_> = node.inputs.iter().map(|id| id.map(info)).collect();
        let outputs: Vec<_> = node.outputs.iter().map(|id| info(*id)).collect();
        let words = inputs.iter().flatten().chain(&outputs).map(|info| info.shape.elements());
        let macs = usize::try_from(node.op.macs(&inputs, &outputs)).unwrap_or(usize::MAX);
        words.fold(macs, usize::saturating_add)
    };
    graph.nodes().iter().map(of).fold(0, usize::saturating_add)
}

/// A graph compiled for the CPU backend.
pub(crate) struct CpuPlan {
    steps: Vec<Step>,
    constants: Vec<Constant>,
    inputs: usize,
    outputs: Vec<(Place, Info)>,
    slot_sizes: Vec<usize>,
    scratch: usize,
    /// Multiply-accumulates and words moved.
    work: usize,
    memory: MemoryReport,
    /// Arenas that no run is using; as many come to be as runs overlap.
    idle: Mutex<Vec<Arena>>,
}

/// A graph on its way to a plan: the steps so far, and where each value lies in which form.
struct Draft<'a> {
    graph: &'a Graph,
    roots: Vec<usize>,
    steps: Vec<Step>,
    lifetimes: Vec<Lifetime>,
    /// For each root its words by rows, for each value its words in blocks. A slot is a lifetime's number for now.
    plain: Vec<Place>,
    blocked: Vec<Place>,
    constants: Vec<Constant>,
    /// Words of weights.
    weights: usize,
}

impl<'a> Draft<'a> {
    fn new(graph: &'a Graph, options: &PlanOptions) -> Self {
        let mut plain = vec![Place::Nowhere; graph.values().len()];
        for (i, id) in graph.inputs().iter().enumerate() {
            plain[id.index()] = Place::Input(i);
        }
        Draft {
            graph,
            roots: roots(graph, options),
            steps: Vec::new(),
            lifetimes: Vec::new(),
            blocked: vec![Place::Nowhere; plain.len()],
            plain,
            constants: Vec::new(),
            weights: 0,
        }
    }

    /// Memory for a value that the next step writes.
    fn new_value(&mut self, len: usize) -> Place {
        let step = self.steps.len();
        self.lifetimes.push(Lifetime { first: step, last: step, size: len });
        Place::Slot { slot: self.lifetimes.len() - 1, len }
    }

    /// Where a value lies by rows, unpacked by a step of its own if need be.
    fn plain(&mut self, id: ValueId) -> Result<Place> {
        let root = self.roots[id.index()];
        let value = &self.graph.values()[root];
        if self.plain[root].is_nowhere() {
            if let Some(tensor) = &value.constant {
                self.plain[root] = Place::Constant(self.constants.len());
                self.weights += value.info.shape.elements();
                self.constants.push(match value.info.dtype {
                    DType::F32 => Constant::Tensor(tensor.clone()),
                    _ => Constant::Words(to_words(tensor)?.into_iter().map(f32::from_bits).collect()),
                });
            } else if let (&[_, channels, ref spatial @ ..], from) =
                (&value.info.shape[..], self.blocked[root])
            {
                let kernel = blocked::unpack(channels, spatial.iter().product());
                self.plain[root] = self.new_value(value.info.shape.elements());
                self.push(&value.name, "unpack", kernel, vec![from], vec![self.plain[root]]);
            }
        }
        Ok(self.plain[root])
    }

    /// Where a value `[n, c, spatial...]` of f32 lies in blocks, packed by a step of its own if need be.
    fn blocked(&mut self, id: ValueId) -> Result<Place> {
        if self.blocked[id.index()].is_nowhere() {
            let value = self.graph.value(id);
            let from = self.plain(id)?;
            if let [_, channels, spatial @ ..] = &value.info.shape[..] {
                let kernel = blocked::pack(*channels, spatial.iter().product());
                self.blocked[id.index()] = self.new_value(blocked::words(&value.info.shape));
                self.push(&value.name, "pack", kernel, vec![from], vec![self.blocked[id.index()]]);
            }
        }
        Ok(self.blocked[id.index()])
    }

    fn push(
        &mut self,
        layer: &str,
        op: &'static str,
        kernel: Kernel,
        inputs: Vec<Place>,
        outputs: Vec<Place>,
    ) {
        for place in &inputs {
            if let Place::Slot { slot, .. } = *place {
                self.lifetimes[slot].last = self.steps.len();
            }
        }
        let slots = outputs.into_iter().filter_map(|place| match place {
            Place::Slot { slot, len } => Some((slot, len)),
            _ => None,
        });
        self.steps.push(Step { layer: layer.into(), op, kernel, inputs, outputs: slots.collect() });
    }

    /// Adds a node, with the steps that bring its operands into the form it wants.
    fn node(&mut self, node: &Node, options: &PlanOptions) -> Result<()> {
        let site = Site { graph: self.graph, node, options };
        let is_blocked = |i: usize| {
            let id = node.inputs.get(i).copied().flatten();
            id.is_some_and(|id| !self.blocked[id.index()].is_nowhere())
        };
        let compiled = match blocked::compile(&site, &is_blocked)? {
            Some(compiled) => compiled,
            None => Compiled {
                kernel: compile(&site)?,
                name: node.op.name(),
                inputs: vec![Form::Plain; node.inputs.len()],
                output: Form::Plain,
                weights: 0,
            },
        };
        let mut inputs = Vec::new();
        for (id, form) in node.inputs.iter().zip(&compiled.inputs) {
            inputs.push(match (*id, form) {
                (None, _) | (_, Form::Unread) => Place::Nowhere,
                (Some(id), Form::Plain) => self.plain(id)?,
                (Some(id), Form::Blocked) => self.blocked(id)?,
            });
        }
        let mut outputs = Vec::new();
        for id in &node.outputs {
            let shape = &self.graph.value(*id).info.shape;
            outputs.push(match compiled.output {
                Form::Blocked => {
                    self.blocked[id.index()] = self.new_value(blocked::words(shape));
                    self.blocked[id.index()]
                }
                _ => {
                    self.plain[id.index()] = self.new_value(shape.elements());
                    self.plain[id.index()]
                }
            });
        }
        self.weights += compiled.weights;
        self.push(&node.name, compiled.name, compiled.kernel, inputs, outputs);
        Ok(())
    }
}

impl CpuPlan {
    pub fn compile(graph: &Graph, options: &PlanOptions) -> Result<Self> {
        reserve(graph)?;
        let mut draft = Draft::new(graph, options);
        for node in graph.nodes() {
            if !(options.passes.drop_reshape && matches!(node.op, Op::Reshape(_))) {
                draft.node(node, options)?;
            }
        }
        let mut outputs = Vec::new();
        for id in graph.outputs() {
            outputs.push((draft.plain(*id)?, graph.value(*id).info.clone()));
        }
        let Draft { mut steps, mut lifetimes, constants, weights, .. } = draft;
        // Outputs stay to the end.
        for (place, _) in &outputs {
            if let Place::Slot { slot, .. } = *place {
                lifetimes[slot].last = steps.len();
            }
        }
        let slots = memory::assign(&lifetimes);
        let settle = |place: &mut Place| {
            if let Place::Slot { slot, .. } = place {
                *slot = slots.of[*slot];
            }
        };
        outputs.iter_mut().for_each(|(place, _)| settle(place));
        for step in &mut steps {
            step.inputs.iter_mut().for_each(settle);
            step.outputs.iter_mut().for_each(|(slot, _)| *slot = slots.of[*slot]);
        }
        let scratch = steps.iter().map(|step| step.kernel.scratch).max().unwrap_or(0);
        lifetimes.extend(steps.iter().enumerate().map(|(i, step)| Lifetime {
            first: i,
            last: i,
            size: step.kernel.scratch,
        }));
        let words = |n: usize| 4 * n as u64;
        let plan = CpuPlan {
            steps,
            constants,
            inputs: graph.inputs().len(),
            outputs,
            work: work(graph),
            memory: MemoryReport {
                weights: words(weights),
                activations: words(slots.sizes.iter().sum::<usize>() + scratch),
                activations_lower_bound: words(memory::lower_bound(&lifetimes)),
            },
            slot_sizes: slots.sizes,
            scratch,
            idle: Mutex::default(),
        };
        let arena = plan.arena()?;
        plan.idle.lock().unwrap_or_else(PoisonError::into_inner).push(arena);
        Ok(plan)
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
        let mut run = || {
            for (i, step) in self.steps.iter().enumerate() {
                let started = times.is_some().then(Instant::now);
                self.step(step, inputs, &mut arena);
                if let (Some(times), Some(started)) = (times.as_deref_mut(), started) {
                    times[i].push(1e3 * started.elapsed().as_secs_f64());
                }
            }
        };
        if self.work < ALONE {
            run();
        } else {
            // One entry into the thread pool for all steps: each would otherwise wake it for itself.
            rayon::scope(|_| run());
        }
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
