//! The graph while it is being imported: values that are known or computed, and the nodes that compute them.

use std::collections::{HashMap, HashSet};

use super::Refusal;
use crate::error::Result;
use crate::graph::{Graph, Info, ValueId};
use crate::onnx::element::narrow;
use crate::onnx::fold;
use crate::ops::rearrange::Rearrange;
use crate::ops::{Infer, Op, Operator, Reshape};
use crate::plan::to_words;
use crate::tensor::{DType, Shape, Tensor};

/// A value of a [`Builder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Val(usize);

enum Source {
    Input,
    Constant(Tensor),
    Computed,
}

struct Value {
    info: Info,
    /// Its name in the model; intermediate values of an operator's lowering have none.
    name: Option<String>,
    source: Source,
}

struct Node {
    op: Op,
    inputs: Vec<Option<Val>>,
    outputs: Vec<Val>,
    /// The name of the model's node output that this is a step to.
    scope: String,
}

/// The steps of work above which a node of known inputs is left to the run: some seconds of a processor.
const FOLDED_WORK: u64 = 1 << 32;

/// A graph under construction. What is computed from known values only is computed at once.
pub(super) struct Builder {
    values: Vec<Value>,
    nodes: Vec<Node>,
    scope: String,
    /// Bytes that computed constants may still take.
    allowance: usize,
}

impl Builder {
    /// An empty graph whose computed constants may take so many bytes together.
    pub fn new(allowance: usize) -> Self {
        Builder { values: Vec::new(), nodes: Vec::new(), scope: String::new(), allowance }
    }

    /// Names the nodes that follow after this value of the model.
    pub fn enter(&mut self, scope: &str) {
        self.scope = scope.into();
    }

    fn add(&mut self, info: Info, name: Option<&str>, source: Source) -> Val {
        self.values.push(Value { info, name: name.map(String::from), source });
        Val(self.values.len() - 1)
    }

    /// An input of the graph.
    pub fn input(&mut self, name: &str, info: Info) -> Val {
        self.add(info, Some(name), Source::Input)
    }

    /// A weight of the model.
    pub fn named_constant(&mut self, name: &str, tensor: Tensor) -> Val {
        let info = Info { shape: tensor.shape().clone(), dtype: tensor.dtype() };
        self.add(info, Some(name), Source::Constant(tensor))
    }

    /// A value that is known.
    pub fn constant(&mut self, tensor: Tensor) -> Val {
        let info = Info { shape: tensor.shape().clone(), dtype: tensor.dtype() };
        self.add(info, None, Source::Constant(tensor))
    }

    /// Names a value after its name in the model, unless it has one.
    pub fn name(&mut self, val: Val, name: &str) {
        self.values[val.0].name.get_or_insert_with(|| name.into());
    }

    /// Shape and type.
    pub fn info(&self, val: Val) -> &Info {
        &self.values[val.0].info
    }

    /// The sizes of the axes.
    pub fn dims(&self, val: Val) -> Vec<usize> {
        self.info(val).shape.to_vec()
    }

    /// How many axes there are.
    pub fn rank(&self, val: Val) -> usize {
        self.info(val).shape.len()
    }

    /// The type.
    pub fn dtype(&self, val: Val) -> DType {
        self.info(val).dtype
    }

    /// The data, if they are known.
    pub fn known(&self, val: Val) -> Option<&Tensor> {
        match &self.values[val.0].source {
            Source::Constant(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// Takes the bytes of a constant that is about to be computed from the allowance.
    pub fn charge(&mut self, shape: &[usize], bytes_per_element: usize) -> Result<(), Refusal> {
        let bytes = Shape::new(shape)?.elements().checked_mul(bytes_per_element);
        match bytes.and_then(|bytes| self.allowance.checked_sub(bytes)) {
            Some(rest) => {
                self.allowance = rest;
                Ok(())
            }
            None => Err(Refusal::from(format!(
                "a constant of {} elements would pass the limit for computed constants",
                crate::ops::dims(shape)
            ))),
        }
    }

    /// Applies an operator. If all its inputs are known its outputs are, too.
    pub fn emit_all(&mut self, op: impl Into<Op>, inputs: &[Option<Val>]) -> Result<Vec<Val>, Refusal> {
        let op = op.into();
        let mut inputs = inputs.to_vec();
        let stays = fold::moves(&op)
            && inputs.iter().flatten().all(|&v| self.known(v).is_some() && self.dtype(v) != DType::F32);
        if !stays {
            for val in inputs.iter_mut().flatten() {
                *val = self.single(*val)?;
            }
        }
        let infos: Vec<Option<&Info>> = inputs.iter().map(|v| v.map(|v| self.info(v))).collect();
        let mut operands = Infer::new(&infos);
        let outputs = op.infer(&mut operands)?;
        operands.finish()?;
        let work = work(&op, &infos, &outputs);

        let known: Option<Vec<_>> =
            inputs.iter().map(|v| v.map_or(Some(None), |v| self.known(v).map(Some))).collect();
        if outputs.iter().all(|o| o.shape.elements() == 0) {
            return outputs.into_iter().map(|o| Ok(self.constant(empty(o)?))).collect();
        }
        if let Some(known) = known
            && work <= FOLDED_WORK
        {
            let known: Vec<Option<Tensor>> = known.into_iter().map(|t| t.cloned()).collect();
            if !matches!(op, Op::Reshape(_)) {
                for output in &outputs {
                    self.charge(&output.shape, if output.dtype == DType::F32 { 4 } else { 8 })?;
                }
            }
            let known: Vec<_> = known.iter().map(Option::as_ref).collect();
            let tensors = fold::evaluate(&op, &known, &outputs)?;
            return Ok(tensors.into_iter().map(|t| self.constant(t)).collect());
        }
        Ok(self.push(op, inputs, outputs))
    }

    /// The value, or where it is known in f64, the same in f32: nothing at run time computes in f64.
    fn single(&mut self, val: Val) -> Result<Val, Refusal> {
        let Some(values) = self.known(val).and_then(|t| t.values::<f64>().ok()) else { return Ok(val) };
        let values: Vec<f32> = values.iter().map(|&v| narrow(v)).collect();
        let tensor = Tensor::new(self.dims(val), values)?;
        let name = self.values[val.0].name.take();
        let single = self.constant(tensor);
        self.values[single.0].name = name;
        Ok(single)
    }

    fn push(&mut self, op: Op, inputs: Vec<Option<Val>>, outputs: Vec<Info>) -> Vec<Val> {
        let outputs: Vec<_> =
            outputs.into_iter().map(|info| self.add(info, None, Source::Computed)).collect();
        self.nodes.push(Node { op, inputs, outputs: outputs.clone(), scope: self.scope.clone() });
        outputs
    }

    /// As [`Builder::emit_all`], for an operator of one output and no absent input.
    pub fn emit(&mut self, op: impl Into<Op>, inputs: &[Val]) -> Result<Val, Refusal> {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        let outputs = self.emit_all(op, &inputs)?;
        outputs.first().copied().ok_or_else(|| Refusal::from("an operator without outputs"))
    }

    /// The same elements under another shape.
    pub fn reshape(&mut self, val: Val, shape: Vec<usize>) -> Result<Val, Refusal> {
        if self.info(val).shape[..] == shape[..] {
            return Ok(val);
        }
        self.emit(Reshape::To(shape), &[val])
    }

    /// Axis `i` of the result is axis `order[i]`.
    pub fn transpose(&mut self, val: Val, order: &[usize]) -> Result<Val, Refusal> {
        if order.is_sorted() {
            return Ok(val);
        }
        let op = Rearrange::transpose(&self.info(val).shape, order);
        self.emit(op, &[val])
    }

    /// The graph that computes `outputs`, which get these names, from all inputs; nodes that nothing reads are left
    /// out.
    pub fn finish(mut self, name: &str, outputs: &[(Val, &str)]) -> Result<Graph> {
        // An output that no node computes, or that is another output too, gets a node of its own to carry its name. What
        // does not fit a device's 32-bit words stays a constant.
        let mut named = HashSet::new();
        let outputs: Vec<Val> = outputs
            .iter()
            .map(|&(val, name)| {
                let value = &mut self.values[val.0];
                let own = match &value.source {
                    Source::Computed => named.insert(val),
                    Source::Constant(tensor) => to_words(tensor).is_err(),
                    Source::Input => value.name.as_deref() == Some(name),
                };
                let val = if own {
                    val
                } else {
                    if value.name.as_deref() == Some(name) {
                        value.name = None;
                    }
                    self.enter(name);
                    let info = self.info(val).clone();
                    let copy =
                        self.push(Reshape::To(info.shape.to_vec()).into(), vec![Some(val)], vec![info]);
                    copy.first().copied().unwrap_or(val)
                };
                self.values[val.0].name = Some(name.into());
                val
            })
            .collect();

        let mut alive = vec![false; self.values.len()];
        for val in &outputs {
            alive[val.0] = true;
        }
        for node in self.nodes.iter().rev() {
            if node.outputs.iter().any(|v| alive[v.0]) {
                for input in node.inputs.iter().flatten() {
                    alive[input.0] = true;
                }
            }
        }

        let mut names = Names::new(self.values.iter().filter_map(|v| v.name.as_deref()));
        let mut graph = Graph::new(name);
        let mut ids: HashMap<Val, ValueId> = HashMap::new();
        for (i, value) in self.values.iter().enumerate() {
            let id = match &value.source {
                Source::Input => graph.input(value.name.clone().unwrap_or_default(), value.info.clone()),
                Source::Constant(tensor) if alive[i] => {
                    let name = value.name.clone().unwrap_or_else(|| names.fresh("constant", 1));
                    graph.constant(name, tensor.clone())
                }
                _ => continue,
            };
            ids.insert(Val(i), id);
        }
        for node in self.nodes {
            if !node.outputs.iter().any(|v| alive[v.0]) {
                continue;
            }
            let own = node.outputs.first().and_then(|v| self.values[v.0].name.clone());
            let name = own.unwrap_or_else(|| {
                names.fresh(&format!("{}/{}", node.scope, node.op.name()), node.outputs.len())
            });
            let inputs: Vec<_> = node.inputs.iter().map(|v| v.and_then(|v| ids.get(&v).copied())).collect();
            let computed = graph.push_node(name, node.op, &inputs)?;
            ids.extend(node.outputs.iter().copied().zip(computed));
        }
        for val in outputs {
            if let Some(&id) = ids.get(&val) {
                graph.output(id);
            }
        }
        Ok(graph)
    }
}

/// About how many steps an operator takes.
fn work(op: &Op, inputs: &[Option<&Info>], outputs: &[Info]) -> u64 {
    let elements = |info: &Info| info.shape.elements() as u64;
    let all: u64 = inputs.iter().flatten().copied().chain(outputs).map(elements).sum();
    let of_each: usize = match op {
        Op::Pool(pool) => pool.window.kernel().iter().product(),
        Op::Lrn(lrn) => lrn.size,
        Op::Resample(resample) => resample.taps,
        _ => 1,
    };
    let macs = op.macs(inputs, &outputs.iter().collect::<Vec<_>>());
    all.saturating_mul(of_each as u64).saturating_add(macs)
}

/// A tensor without elements.
fn empty(info: Info) -> Result<Tensor> {
    let shape = info.shape.to_vec();
    match info.dtype {
        DType::F32 => Tensor::new(shape, Vec::<f32>::new()),
        DType::F64 => Tensor::new(shape, Vec::<f64>::new()),
        DType::I64 => Tensor::new(shape, Vec::<i64>::new()),
        DType::Bool => Tensor::new(shape, Vec::<bool>::new()),
    }
}

/// Names that are taken, so that new ones are not.
struct Names(HashSet<String>);

impl Names {
    fn new<'a>(taken: impl Iterator<Item = &'a str>) -> Self {
        Names(taken.map(String::from).collect())
    }

    /// A name like `base` for a node of so many outputs.
    fn fresh(&mut self, base: &str, outputs: usize) -> String {
        let mut number = 1;
        loop {
            let name = if number == 1 { base.to_string() } else { format!("{base}_{number}") };
            number += 1;
            let all: Vec<_> =
                std::iter::once(name.clone()).chain((1..outputs).map(|i| format!("{name}:{i}"))).collect();
            if all.iter().all(|name| !self.0.contains(name)) {
                self.0.extend(all);
                return name;
            }
        }
    }
}
