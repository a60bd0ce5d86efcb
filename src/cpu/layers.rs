//! A graph's layers, one after another: steps over memory shared by liveness.

use std::time::Instant;

use smallvec::SmallVec;

use super::aligned::{ALIGN, Buffers, reserved};
use super::blocked::{self, Compiled, Form, Part};
use super::cores::on_this_core;
use super::{Kernel, compile};
use crate::error::Result;
use crate::graph::{Graph, Node, ValueId};
use crate::memory::{self, Lifetime};
use crate::ops::{Op, Operator};
use crate::plan::{MemoryReport, PlanOptions, Site, roots, to_words};
use crate::tensor::{DType, Tensor};

/// Multiply-accumulates and words moved up to which a run stays on the thread that asked for it: waking others takes
/// longer.
pub(super) const ALONE: usize = 1 << 20;

/// Where a value's words are during a run. A place in memory is known by its number in the plan's list of lifetimes.
#[derive(Clone, Copy, Debug)]
enum Place {
    Nowhere,
    Constant(usize),
    Input(usize),
    Memory(usize),
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
    /// The numbers of the outputs in memory.
    outputs: Vec<usize>,
    /// The pieces of memory that the step touches, by where they begin. They do not overlap.
    pieces: Vec<Piece>,
}

/// A piece of memory, and what it is to a step.
#[derive(Clone, Copy, Debug)]
struct Piece {
    start: usize,
    len: usize,
    role: Role,
}

#[derive(Clone, Copy, Debug)]
enum Role {
    /// Holds what is known by this number in memory.
    Read(usize),
    /// Becomes this output.
    Write(usize),
    Scratch,
}

/// Operands or outputs of a step; of so many or fewer the list needs no allocation.
pub(super) type List<T> = SmallVec<[T; 8]>;

/// What an error calls a run's memory.
pub(super) const ACTIVATIONS: &str = "activations";

/// Fails where the largest value alone is past the memory: before kernels are made, whose tables grow with the batch too.
fn reserve(graph: &Graph) -> Result<()> {
    let outputs = graph.nodes().iter().flat_map(|node| &node.outputs);
    let largest = outputs.map(|id| graph.value(*id).info.shape.elements()).max().unwrap_or(0);
    reserved(largest, ACTIVATIONS).map(drop)
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

/// A graph's layers as steps.
pub(super) struct Layers {
    steps: Vec<Step>,
    constants: Vec<Constant>,
    inputs: usize,
    outputs: Vec<Place>,
    /// Where each number in memory begins and how many words it has.
    spans: Vec<(usize, usize)>,
    /// Multiply-accumulates and words moved.
    work: usize,
    memory: MemoryReport,
    /// What a run works in: values and scratch.
    arenas: Buffers,
}

/// A number in memory that has none of its own but `len` words of another's, from `start` on.
struct Within {
    part: usize,
    whole: usize,
    start: usize,
    len: usize,
}

/// A graph on its way to a plan: the steps so far, and where each value lies in which form.
struct Draft<'a> {
    graph: &'a Graph,
    roots: Vec<usize>,
    steps: Vec<Step>,
    lifetimes: Vec<Lifetime>,
    /// For each value, where it lies in another, if it does once it is in blocks.
    parts: Vec<Option<Part>>,
    /// In an order in which a number that is a part itself comes before its own parts.
    within: Vec<Within>,
    /// For each root its words by rows, for each value its words in blocks.
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
            parts: blocked::parts(graph),
            within: Vec::new(),
            blocked: vec![Place::Nowhere; plain.len()],
            plain,
            constants: Vec::new(),
            weights: 0,
        }
    }

    /// The number of memory for a value that the next step writes.
    fn new_value(&mut self, len: usize) -> usize {
        let step = self.steps.len();
        self.lifetimes.push(Lifetime { first: step, last: step, size: len });
        self.lifetimes.len() - 1
    }

    /// As [`Draft::new_value`], by rows.
    fn new_plain(&mut self, id: ValueId) -> usize {
        let number = self.new_value(self.graph.value(id).info.shape.elements());
        self.plain[id.index()] = Place::Memory(number);
        number
    }

    /// As [`Draft::new_value`], in blocks: in the memory of what it is part of, if it is.
    fn new_blocked(&mut self, id: ValueId) -> usize {
        let len = blocked::words(&self.graph.value(id).info.shape);
        let number = match self.parts[id.index()] {
            None => self.new_value(len),
            Some(Part { whole, start }) => {
                let whole = match self.blocked[whole.index()] {
                    Place::Memory(number) => number,
                    _ => self.new_blocked(whole),
                };
                let part = self.new_value(0);
                self.within.push(Within { part, whole, start, len });
                part
            }
        };
        self.blocked[id.index()] = Place::Memory(number);
        number
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
                let to = self.new_value(value.info.shape.elements());
                self.plain[root] = Place::Memory(to);
                self.push(&value.name, "unpack", kernel, vec![from], vec![to]);
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
                let to = self.new_blocked(id);
                self.push(&value.name, "pack", kernel, vec![from], vec![to]);
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
        outputs: Vec<usize>,
    ) {
        for place in &inputs {
            if let Place::Memory(number) = *place {
                self.lifetimes[number].last = self.steps.len();
            }
        }
        let pieces = Vec::new();
        self.steps.push(Step { layer: layer.into(), op, kernel, inputs, outputs, pieces });
    }

    /// Adds a node, with the steps that bring its operands into the form it wants.
    fn node(&mut self, node: &Node, options: &PlanOptions) -> Result<()> {
        // A whole that some of its parts were computed into: what is by rows is packed into it, and nothing is copied.
        if node.outputs.iter().any(|id| !self.blocked[id.index()].is_nowhere()) {
            return node.inputs.iter().flatten().try_for_each(|id| self.blocked(*id).map(drop));
        }
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
        let new_output = |id: &ValueId| match compiled.output {
            Form::Blocked => self.new_blocked(*id),
            _ => self.new_plain(*id),
        };
        let outputs = node.outputs.iter().map(new_output).collect();
        self.weights += compiled.weights;
        self.push(&node.name, compiled.name, compiled.kernel, inputs, outputs);
        Ok(())
    }
}

impl Layers {
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
            outputs.push(draft.plain(*id)?);
        }
        let Draft { mut steps, mut lifetimes, within, constants, weights, .. } = draft;
        // Outputs stay to the end.
        for place in &outputs {
            if let Place::Memory(number) = *place {
                lifetimes[number].last = steps.len();
            }
        }
        // A whole stays for its parts.
        for Within { part, whole, .. } in within.iter().rev() {
            lifetimes[*whole].last = lifetimes[*whole].last.max(lifetimes[*part].last);
        }
        let scratch = steps.iter().enumerate();
        let scratch = scratch.map(|(i, step)| Lifetime { first: i, last: i, size: step.kernel.scratch });
        let first_scratch = lifetimes.len();
        lifetimes.extend(scratch);
        let memory::Arena { offsets, size } = memory::place(&lifetimes, ALIGN);
        let mut spans: Vec<_> = offsets.into_iter().zip(lifetimes.iter().map(|l| l.size)).collect();
        for &Within { part, whole, start, len } in &within {
            spans[part] = (spans[whole].0 + start, len);
        }
        for (i, step) in steps.iter_mut().enumerate() {
            step.pieces = pieces(step, first_scratch + i, &spans);
        }
        let words = |n: usize| 4 * n as u64;
        let layers = Layers {
            steps,
            constants,
            inputs: graph.inputs().len(),
            outputs,
            work: work(graph),
            memory: MemoryReport {
                weights: words(weights),
                activations: words(size),
                activations_lower_bound: words(memory::lower_bound(&lifetimes)),
            },
            spans,
            arenas: Buffers::new(size, ACTIVATIONS),
        };
        layers.reserve(1)?;
        Ok(layers)
    }

    /// Makes memory for so many runs at once.
    pub fn reserve(&self, runs: usize) -> Result<()> {
        self.arenas.reserve(runs)
    }

    /// Multiply-accumulates and words moved by a run.
    pub fn work(&self) -> usize {
        self.work
    }

    pub fn memory(&self) -> MemoryReport {
        self.memory
    }

    /// Runs the steps over the words of the inputs and hands those of the outputs to `read`, adding each step's milliseconds
    /// to its list in `times`.
    pub fn run_words<T>(
        &self,
        inputs: &[&[f32]],
        mut times: Option<&mut [Vec<f64>]>,
        read: impl FnOnce(&[&[f32]]) -> T,
    ) -> Result<T> {
        debug_assert_eq!(inputs.len(), self.inputs);
        let mut arena = self.arenas.take()?;
        let memory = arena.words_mut();
        let mut run = || {
            for (i, step) in self.steps.iter().enumerate() {
                let started = times.is_some().then(Instant::now);
                self.step(step, inputs, memory);
                if let (Some(times), Some(started)) = (times.as_deref_mut(), started) {
                    times[i].push(1e3 * started.elapsed().as_secs_f64());
                }
            }
        };
        if self.work < ALONE {
            on_this_core(run);
        } else {
            // One entry into the thread pool for all steps: each would otherwise wake it for itself.
            rayon::scope(|_| run());
        }
        let memory = &*memory;
        let output = |place| match place {
            Place::Memory(number) => {
                let (start, len) = self.spans[number];
                &memory[start..][..len]
            }
            other => self.elsewhere(other, inputs),
        };
        let outputs: List<&[f32]> = self.outputs.iter().map(|&place| output(place)).collect();
        let result = read(&outputs);
        drop(outputs);
        self.arenas.put(arena);
        Ok(result)
    }

    fn step(&self, step: &Step, inputs: &[&[f32]], mut memory: &mut [f32]) {
        let mut known: List<(usize, &[f32])> = List::new();
        let mut outputs: List<&mut [f32]> = step.outputs.iter().map(|_| Default::default()).collect();
        let mut scratch: &mut [f32] = &mut [];
        let mut at = 0;
        for piece in &step.pieces {
            let (mine, rest) = memory[piece.start - at..].split_at_mut(piece.len);
            (memory, at) = (rest, piece.start + piece.len);
            match piece.role {
                Role::Read(number) => known.push((number, mine)),
                Role::Write(output) => outputs[output] = mine,
                Role::Scratch => scratch = mine,
            }
        }
        let operand = |place: &Place| match *place {
            Place::Memory(number) => {
                let found = known.iter().find(|(known, _)| *known == number);
                found.map_or(&[][..], |(_, words)| *words)
            }
            other => self.elsewhere(other, inputs),
        };
        let operands: List<&[f32]> = step.inputs.iter().map(operand).collect();
        (step.kernel.run)(&operands, &mut outputs, scratch);
    }

    /// The layers of the steps and the names of their kernels, in order.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = (&str, &'static str)> {
        self.steps.iter().map(|step| (&*step.layer, step.op))
    }

    /// The words of what is not in memory.
    fn elsewhere<'a>(&'a self, place: Place, inputs: &[&'a [f32]]) -> &'a [f32] {
        match place {
            Place::Nowhere | Place::Memory(_) => &[],
            Place::Input(i) => inputs[i],
            Place::Constant(i) => match &self.constants[i] {
                Constant::Tensor(tensor) => tensor.values().unwrap_or_default(),
                Constant::Words(words) => words,
            },
        }
    }
}

/// The pieces of memory that a step touches. Those without words are no pieces.
fn pieces(step: &Step, scratch: usize, spans: &[(usize, usize)]) -> Vec<Piece> {
    let numbers = |place: &Place| match *place {
        Place::Memory(number) => Some((number, Role::Read(number))),
        _ => None,
    };
    let mut touched: Vec<_> = step.inputs.iter().filter_map(numbers).collect();
    // An operand may be there twice.
    touched.sort_by_key(|&(number, _)| number);
    touched.dedup_by_key(|(number, _)| *number);
    touched.extend(step.outputs.iter().enumerate().map(|(i, &number)| (number, Role::Write(i))));
    touched.push((scratch, Role::Scratch));
    let piece = |(number, role): (usize, Role)| {
        let (start, len) = spans[number];
        Piece { start, len, role }
    };
    let mut pieces: Vec<_> = touched.into_iter().map(piece).filter(|piece| piece.len > 0).collect();
    pieces.sort_by_key(|piece| piece.start);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::passes::{Passes, optimize};
    use crate::network::{Conv2d, Network, Pool2d};

    const IMAGE: [usize; 3] = [3, 13, 17];

    /// What a network's branches are joined into, and a convolution over that.
    fn joined(branches: &[&dyn Fn(Network) -> Network]) -> Graph {
        let net = Network::new("joined", IMAGE).conv2d(Conv2d::new(32, 3)).relu().concat(branches);
        optimize(&net.conv2d(Conv2d::new(5, 3)).build().unwrap(), &Passes::default()).unwrap()
    }

    /// The same network, each branch an output behind its own: read twice, they have memory of their own.
    fn apart(graph: &Graph) -> Graph {
        let concats = graph.nodes().iter().filter(|node| matches!(node.op, Op::Concat(_)));
        let read = concats.flat_map(|node| node.inputs.iter().flatten());
        let names = graph.outputs().iter().chain(read).map(|id| graph.value(*id).name.as_str());
        graph.with_outputs(&names.collect::<Vec<_>>()).unwrap()
    }

    /// The kernels of a network, the memory it takes and the bits of its first output.
    fn run(graph: &Graph) -> (Vec<&'static str>, u64, Vec<u32>) {
        let layers = Layers::compile(graph, &PlanOptions::default()).unwrap();
        let elements = graph.value(graph.inputs()[0]).info.shape.elements();
        let input: Vec<f32> = (0..elements).map(|i| (i as f32 * 0.37).sin()).collect();
        let run =
            || layers.run_words(&[&input], None, |words| bytemuck::cast_slice(words[0]).to_vec()).unwrap();
        // Twice: what the first run leaves behind must not matter.
        let bits = run();
        assert_eq!(run(), bits);
        (layers.steps().map(|(_, kernel)| kernel).collect(), layers.memory().activations, bits)
    }

    fn count(kernels: &[&str], name: &str) -> usize {
        kernels.iter().filter(|kernel| **kernel == name).count()
    }

    /// Asserts that nothing is copied to be joined but what `packed` values by rows are.
    fn assert_in_place(branches: &[&dyn Fn(Network) -> Network], packed: usize) {
        let graph = joined(branches);
        let ((kernels, memory, bits), (kernels_apart, memory_apart, bits_apart)) =
            (run(&graph), run(&apart(&graph)));
        assert_eq!((count(&kernels, "concat"), count(&kernels, "pack")), (0, packed), "{kernels:?}");
        assert!(count(&kernels_apart, "concat") > 0, "{kernels_apart:?}");
        assert!(memory < memory_apart, "{memory} and {memory_apart} bytes");
        assert_eq!(bits, bits_apart);
    }

    fn conv(filters: usize, kernel: usize) -> impl Fn(Network) -> Network {
        move |net| net.conv2d(Conv2d::new(filters, kernel).padding(kernel / 2)).relu()
    }

    #[test]
    fn values_in_blocks_are_computed_where_they_are_joined() {
        let pooled = |net: Network| net.max_pool(Pool2d::new(3).stride(1).padding(1));
        assert_in_place(&[&conv(64, 1), &conv(48, 3)], 0);
        assert_in_place(&[&conv(16, 5), &pooled, &conv(32, 1)], 0);
    }

    #[test]
    fn what_is_joined_twice_is_computed_where_it_is_joined_last() {
        let inner = |net: Network| net.concat(&[&conv(16, 1), &conv(48, 3)]);
        assert_in_place(&[&inner, &conv(16, 3)], 0);
        assert_in_place(&[&conv(16, 3), &inner], 0);
    }

    #[test]
    fn values_by_rows_are_packed_where_they_are_joined() {
        let normalized = |net: Network| net.relu().batch_norm();
        assert_in_place(&[&conv(64, 1), &normalized], 1);
        assert_in_place(&[&normalized, &conv(64, 1)], 1);
    }

    #[test]
    fn values_that_would_lie_in_several_places_are_copied() {
        let same = |net: Network| net;
        let graph = joined(&[&conv(16, 1), &conv(16, 3)]);
        for graph in [
            joined(&[&conv(16, 1), &conv(24, 1)]),
            joined(&[&same, &same]),
            joined(&[&same, &conv(16, 1)]),
            graph.with_batch(2).unwrap(),
        ] {
            let (kernels, _, bits) = run(&graph);
            assert_eq!(count(&kernels, "concat"), 1, "{kernels:?}");
            assert_eq!(bits, run(&apart(&graph)).2);
        }
        assert_eq!(count(&run(&graph).0, "concat"), 0);
    }
}
