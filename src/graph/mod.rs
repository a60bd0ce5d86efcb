//! The graph of a network: operators with attributes, named values, weights. It knows shapes, and nothing of devices.

mod gradient;
mod images;
mod summary;
mod weights;

pub mod passes;

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::ops::{Infer, Op, OpError, Operator};
use crate::tensor::{DType, Shape, Tensor};

pub use gradient::{Backward, gradients};
pub use summary::{LayerSummary, Summary};

/// A value of one [`Graph`]: an input, a weight or what a node computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(usize);

impl ValueId {
    /// The value's position in [`Graph::values`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// The shape and element type of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The sizes of its axes.
    pub shape: Shape,
    /// The type of its elements.
    pub dtype: DType,
}

impl Info {
    /// An f32 value of this shape.
    pub fn f32(shape: Shape) -> Self {
        Info { shape, dtype: DType::F32 }
    }
}

/// A named value.
#[derive(Clone, Debug)]
pub struct Value {
    /// Unique within the graph.
    pub name: String,
    /// Shape and type.
    pub info: Info,
    /// The data, where the value is a weight or another constant.
    pub constant: Option<Tensor>,
}

/// One operator applied to values.
#[derive(Clone, Debug)]
pub struct Node {
    /// The layer's name, unique within the graph.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Its operands in the operator's order; `None` where an optional one is absent.
    pub inputs: Vec<Option<ValueId>>,
    /// What it computes, in the operator's order.
    pub outputs: Vec<ValueId>,
}

/// A network with all shapes known: nodes in an order in which each can run after those before it.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    name: String,
    values: Vec<Value>,
    nodes: Vec<Node>,
    inputs: Vec<ValueId>,
    outputs: Vec<ValueId>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Self {
        Graph { name: name.into(), ..Graph::default() }
    }

    /// The network's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All values; a [`ValueId`] is an index into them.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The value with this id.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }

    /// The nodes in an order in which they can run.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// What a run is given, in order.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// What a run returns, in order.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// For each value how many operands it is, and outputs of the graph.
    pub(crate) fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.values.len()];
        let read = self.nodes.iter().flat_map(|node| node.inputs.iter().flatten());
        read.chain(&self.outputs).for_each(|id| uses[id.index()] += 1);
        uses
    }

    /// The value of this name, if there is one.
    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.values.iter().position(|v| v.name == name).map(ValueId)
    }

    fn add(&mut self, name: String, info: Info, constant: Option<Tensor>) -> ValueId {
        self.values.push(Value { name, info, constant });
        ValueId(self.values.len() - 1)
    }

    /// Adds an input of the network.
    pub fn input(&mut self, name: impl Into<String>, info: Info) -> ValueId {
        let id = self.add(name.into(), info, None);
        self.inputs.push(id);
        id
    }

    /// Adds a weight or another constant.
    pub fn constant(&mut self, name: impl Into<String>, tensor: Tensor) -> ValueId {
        let info = Info { shape: tensor.shape().clone(), dtype: tensor.dtype() };
        self.add(name.into(), info, Some(tensor))
    }

    /// Declares a value as an output of the network.
    pub fn output(&mut self, id: ValueId) {
        self.outputs.push(id);
    }

    /// Adds a node and returns its first output.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Window`], naming the layer, what it expects and what it was given.
    pub fn push(
        &mut self,
        name: impl Into<String>,
        op: impl Into<Op>,
        inputs: &[ValueId],
    ) -> Result<ValueId> {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        Ok(self.push_node(name, op, &inputs)?[0])
    }

    /// Adds a node, some of whose optional inputs may be absent, and returns all its outputs.
    ///
    /// The first output has the node's name, the others that name and their number.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn push_node(
        &mut self,
        name: impl Into<String>,
        op: impl Into<Op>,
        inputs: &[Option<ValueId>],
    ) -> Result<Vec<ValueId>> {
        let (name, op) = (name.into(), op.into());
        let infos = self.infer(&name, &op, inputs)?;
        let outputs: Vec<_> = infos
            .into_iter()
            .enumerate()
            .map(|(i, info)| {
                let name = if i == 0 { name.clone() } else { format!("{name}:{i}") };
                self.add(name, info, None)
            })
            .collect();
        self.nodes.push(Node { name, op, inputs: inputs.to_vec(), outputs: outputs.clone() });
        Ok(outputs)
    }

    fn infer(&self, name: &str, op: &Op, inputs: &[Option<ValueId>]) -> Result<Vec<Info>> {
        let infos: Vec<_> = inputs.iter().map(|id| id.map(|id| &self.value(id).info)).collect();
        let mut inputs = Infer::new(&infos);
        let outputs = op.infer(&mut inputs).and_then(|outputs| inputs.finish().map(|()| outputs));
        outputs.map_err(|e| self.op_error(name, op, e))
    }

    pub(crate) fn op_error(&self, layer: &str, op: &Op, e: OpError) -> Error {
        let layer = layer.to_string();
        match e {
            OpError::Shape { expected, actual } => Error::Shape { layer, op: op.name(), expected, actual },
            OpError::Window(source) => Error::Window { layer, source },
            OpError::TrainingOnly => Error::Onnx {
                path: None,
                reason: format!(
                    "layer '{layer}' ({}) is part of a training step, for which ONNX has no operators; export the \
                     network that is trained",
                    op.name()
                ),
            },
        }
    }

    /// The same network for inputs of other shapes, given in the order of [`Graph::inputs`]; weights are shared.
    ///
    /// # Errors
    /// As [`Graph::push`], where a layer cannot take what the new shapes lead to.
    pub fn with_input_shapes(&self, shapes: &[Shape]) -> Result<Self> {
        if shapes.len() != self.inputs.len() {
            return Err(Error::Graph(format!(
                "{} input shapes for {} inputs",
                shapes.len(),
                self.inputs.len()
            )));
        }
        let mut graph = self.clone();
        for (&id, shape) in self.inputs.iter().zip(shapes) {
            graph.values[id.0].info.shape = shape.clone();
        }
        graph.infer_again()?;
        Ok(graph)
    }

    /// The same network with other constants, which may differ in shape from those that they replace.
    ///
    /// # Errors
    /// As [`Graph::push`], where a layer cannot take the new shapes.
    pub(crate) fn with_constants(&self, constants: HashMap<ValueId, Tensor>) -> Result<Self> {
        let mut graph = self.clone();
        for (id, tensor) in constants {
            let value = &mut graph.values[id.0];
            value.info = Info { shape: tensor.shape().clone(), dtype: tensor.dtype() };
            value.constant = Some(tensor);
        }
        graph.infer_again()?;
        Ok(graph)
    }

    /// Finds the shapes of all that is computed, after those of inputs or constants have changed.
    fn infer_again(&mut self) -> Result<()> {
        for i in 0..self.nodes.len() {
            let node = &self.nodes[i];
            let infos = self.infer(&node.name, &node.op, &node.inputs)?;
            for (&id, info) in self.nodes[i].outputs.iter().zip(infos) {
                self.values[id.0].info = info;
            }
        }
        Ok(())
    }

    /// The same network for `batch` images at once: axis 0 of every input is `batch` long.
    ///
    /// # Errors
    /// As [`Graph::with_input_shapes`].
    pub fn with_batch(&self, batch: usize) -> Result<Self> {
        let shapes: Result<Vec<_>> = self
            .inputs
            .iter()
            .map(|&id| {
                let mut dims = self.value(id).info.shape.to_vec();
                if let Some(first) = dims.first_mut() {
                    *first = batch;
                }
                Shape::new(dims)
            })
            .collect();
        self.with_input_shapes(&shapes?)
    }

    /// The same network returning the named values instead: layer outputs to look at, or an earlier end.
    ///
    /// # Errors
    /// [`Error::Graph`] naming the first value that does not exist.
    pub fn with_outputs(&self, names: &[&str]) -> Result<Self> {
        let mut graph = self.clone();
        graph.outputs = names
            .iter()
            .map(|name| self.find(name).ok_or_else(|| Error::Graph(format!("no value is called '{name}'"))))
            .collect::<Result<_>>()?;
        Ok(graph)
    }

    /// Checks what the constructors cannot: unique names, and that the graph has an output.
    ///
    /// # Errors
    /// [`Error::Graph`].
    pub fn check(&self) -> Result<()> {
        let mut seen = HashMap::new();
        for value in &self.values {
            if seen.insert(value.name.as_str(), ()).is_some() {
                return Err(Error::Graph(format!("two values are called '{}'", value.name)));
            }
        }
        if self.outputs.is_empty() {
            return Err(Error::Graph(format!("network '{}' has no output", self.name)));
        }
        Ok(())
    }
}
