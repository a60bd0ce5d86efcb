//! Gradients as a graph: reverse-mode differentiation that adds nodes to the graph it differentiates.
//!
//! An operator's rule stands in its own file ([`Operator::gradient`]) and is made of operators, so that what it adds is
//! planned, fused and run as everything else is.

use std::collections::{HashMap, HashSet};

use super::passes::activation_slot;
use super::{Graph, Info, Node, ValueId};
use crate::error::{Error, Result};
use crate::ops::rearrange::AxisMap;
use crate::ops::{Binary, Op, OpError, Operator, Rearrange, Reduce, ReduceKind, Reshape};
use crate::tensor::{DType, Tensor};

/// Adds to `graph` the nodes that compute the gradients of `loss` with respect to `wanted`, and returns their values in
/// that order, each of the shape of what it is the gradient to.
///
/// `loss` has one element. `wanted` may be inputs, weights or values between; of a value that the loss does not depend
/// on the gradient is zero. Nodes are added for what lies between `wanted` and the loss alone, under the names of the
/// layers they belong to: `conv1.grad`, `conv1.grad1`. They hold for the shapes the graph has now: a batch size is to be
/// set before.
///
/// Layers on the way may be written anew, to the same effect: an activation fused into a layer stands by itself, and a
/// max pool also returns the positions of its maxima.
///
/// # Errors
/// [`Error::NoGradient`] naming a layer on the way that has none and why, [`Error::Graph`] where the loss is not one
/// f32 element or a wanted value is not f32.
pub fn gradients(graph: &mut Graph, loss: ValueId, wanted: &[ValueId]) -> Result<Vec<ValueId>> {
    check(graph, loss, wanted)?;
    let mut names: HashSet<String> = graph.values.iter().map(|value| value.name.clone()).collect();
    let depends = dependants(graph, wanted);
    split_activations(graph, &depends, &mut names);
    let depends = dependants(graph, wanted);

    let own = graph.nodes.len();
    let mut found = HashMap::new();
    let shape = graph.value(loss).info.shape.to_vec();
    found.insert(loss, filled(graph, "loss.grad", shape, 1.0, &mut names)?);
    for number in (0..own).rev() {
        let node = graph.nodes[number].clone();
        let of_outputs: Vec<_> = node.outputs.iter().map(|id| found.get(id).copied()).collect();
        let wants: Vec<_> = node.inputs.iter().map(|id| id.is_some_and(|id| depends[id.0])).collect();
        if of_outputs.iter().all(Option::is_none) || !wants.contains(&true) {
            continue;
        }
        let of_inputs = vec![None; wants.len()];
        let mut at = Backward { graph, names: &mut names, node, number, wants, of_outputs, of_inputs };
        at.node.op.clone().gradient(&mut at)?;
        at.hand_on(&mut found)?;
    }
    wanted
        .iter()
        .map(|id| match found.get(id) {
            Some(gradient) => Ok(*gradient),
            None => {
                let Info { shape, .. } = graph.value(*id).info.clone();
                let name = format!("{}.grad", graph.value(*id).name);
                let zeros = filled(graph, &name, shape.to_vec(), 0.0, &mut names)?;
                found.insert(*id, zeros);
                Ok(zeros)
            }
        })
        .collect()
}

fn check(graph: &Graph, loss: ValueId, wanted: &[ValueId]) -> Result<()> {
    for id in wanted.iter().chain([&loss]) {
        let Some(value) = graph.values.get(id.0) else {
            return Err(Error::Graph(format!("network '{}' has no value {}", graph.name, id.0)));
        };
        if value.info.dtype != DType::F32 {
            let (name, dtype) = (&value.name, value.info.dtype);
            return Err(Error::Graph(format!("'{name}' holds {dtype}; gradients are of f32 to f32")));
        }
    }
    let value = graph.value(loss);
    if value.info.shape.elements() != 1 {
        return Err(Error::Graph(format!(
            "the loss '{}' has shape {}; gradients are of one element: reduce it to its sum or mean first",
            value.name, value.info.shape
        )));
    }
    Ok(())
}

/// Which values depend on one of `wanted` by f32 alone: an index or a truth value passes no gradient on.
fn dependants(graph: &Graph, wanted: &[ValueId]) -> Vec<bool> {
    let mut depends = vec![false; graph.values.len()];
    wanted.iter().for_each(|id| depends[id.0] = true);
    for node in &graph.nodes {
        if node.inputs.iter().flatten().any(|id| depends[id.0]) {
            for id in &node.outputs {
                depends[id.0] |= graph.value(*id).info.dtype == DType::F32;
            }
        }
    }
    depends
}

/// Gives an activation that is fused into a layer a node of its own, so that no rule but its own need know it. The
/// planner fuses it again where nothing else reads the layer's sums.
fn split_activations(graph: &mut Graph, depends: &[bool], names: &mut HashSet<String>) {
    let mut nodes = Vec::new();
    for mut node in std::mem::take(&mut graph.nodes) {
        let on_the_way = depends[node.outputs[0].0];
        let fused = activation_slot(&mut node.op).filter(|_| on_the_way).and_then(Option::take);
        let Some(activation) = fused else {
            nodes.push(node);
            continue;
        };
        let output = node.outputs[0];
        let sums =
            graph.add(fresh(names, &format!("{}.sum", node.name)), graph.value(output).info.clone(), None);
        let name = format!("{}.activation", node.name);
        node.outputs = vec![sums];
        nodes.push(node);
        nodes.push(Node { name, op: activation.into(), inputs: vec![Some(sums)], outputs: vec![output] });
    }
    graph.nodes = nodes;
}

/// A name that no value has yet: `base`, or with a number behind it.
fn fresh(names: &mut HashSet<String>, base: &str) -> String {
    let numbered = (1..).map(|number| format!("{base}{number}"));
    let free = std::iter::once(base.to_string()).chain(numbered).find(|name| !names.contains(name));
    let name = free.unwrap_or_default();
    names.insert(name.clone());
    name
}

/// A value of this shape with the same number throughout. A node computes it, so that it may be an output.
fn filled(
    graph: &mut Graph,
    name: &str,
    shape: Vec<usize>,
    number: f32,
    names: &mut HashSet<String>,
) -> Result<ValueId> {
    let one = graph.constant(fresh(names, &format!("{name}.constant")), Tensor::scalar(number));
    graph.push(fresh(names, name), expansion(&[], &shape), &[one])
}

/// Repeats a tensor of shape `from` to the shape `to`, which it broadcasts to.
fn expansion(from: &[usize], to: &[usize]) -> Rearrange {
    let missing = to.len() - from.len();
    let axes = to.iter().enumerate().map(|(axis, &size)| {
        let own = axis.checked_sub(missing).filter(|&own| from[own] == size);
        AxisMap { input_axis: own, size, start: 0, step: i64::from(own.is_some()) }
    });
    Rearrange { axes: axes.collect(), ..Rearrange::identity(&[]) }
}

/// What an operator's gradient rule sees and adds to: a node, the gradients of its outputs, and the graph.
///
/// A rule sets the gradient of each input that is wanted ([`Backward::wants`]), of that input's shape.
pub struct Backward<'a> {
    graph: &'a mut Graph,
    names: &'a mut HashSet<String>,
    node: Node,
    /// The node's place in the graph.
    number: usize,
    wants: Vec<bool>,
    of_outputs: Vec<Option<ValueId>>,
    of_inputs: Vec<Option<ValueId>>,
}

impl Backward<'_> {
    /// Input `i` of the node, if it is there.
    pub fn input(&self, i: usize) -> Option<ValueId> {
        self.node.inputs.get(i).copied().flatten()
    }

    /// Input `i` of the node, which the operator cannot do without.
    ///
    /// # Errors
    /// [`Error::NoGradient`] where it is absent.
    pub fn operand(&self, i: usize) -> Result<ValueId> {
        self.input(i).ok_or_else(|| self.refuse(format!("it lacks input {i}")))
    }

    /// Output `i` of the node.
    pub fn output(&self, i: usize) -> ValueId {
        self.node.outputs[i]
    }

    /// Shape and type of any value.
    pub fn info(&self, id: ValueId) -> &Info {
        &self.graph.value(id).info
    }

    /// The sizes of a value's axes.
    pub fn dims(&self, id: ValueId) -> Vec<usize> {
        self.info(id).shape.to_vec()
    }

    /// The data of a value that is a constant.
    pub fn known(&self, id: ValueId) -> Option<&Tensor> {
        self.graph.value(id).constant.as_ref()
    }

    /// The gradient of the loss to the first output.
    ///
    /// # Errors
    /// [`Error::NoGradient`] where the loss depends on further outputs alone.
    pub fn gradient(&self) -> Result<ValueId> {
        self.gradient_of_output(0).ok_or_else(|| self.refuse("of its outputs but the first"))
    }

    /// The gradient of the loss to output `i`; `None` where the loss does not depend on it.
    pub fn gradient_of_output(&self, i: usize) -> Option<ValueId> {
        self.of_outputs.get(i).copied().flatten()
    }

    /// Whether the gradient to input `i` is wanted.
    pub fn wants(&self, i: usize) -> bool {
        self.wants.get(i).copied().unwrap_or(false)
    }

    /// States the gradient to input `i`; passed over where it is not wanted.
    pub fn set(&mut self, i: usize, gradient: ValueId) {
        if let Some(slot) = self.of_inputs.get_mut(i) {
            *slot = Some(gradient);
        }
    }

    /// The error of a rule that cannot be: why, and what to do instead.
    pub fn refuse(&self, reason: impl ToString) -> Error {
        Error::NoGradient {
            layer: self.node.name.clone(),
            op: self.node.op.name(),
            reason: reason.to_string(),
        }
    }

    /// The error of an operator that cannot take its inputs.
    pub(crate) fn error(&self, e: OpError) -> Error {
        self.graph.op_error(&self.node.name, &self.node.op, e)
    }

    /// Adds a node and returns its first output.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn push(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Result<ValueId> {
        Ok(self.push_all(op, inputs)?[0])
    }

    /// Adds a node and returns all its outputs.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn push_all(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Result<Vec<ValueId>> {
        let name = fresh(self.names, &format!("{}.grad", self.node.name));
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        self.graph.push_node(name, op, &inputs)
    }

    /// Adds a constant.
    pub fn constant(&mut self, tensor: Tensor) -> ValueId {
        let name = fresh(self.names, &format!("{}.grad.constant", self.node.name));
        self.graph.constant(name, tensor)
    }

    /// Puts an operator in the place of the node's own that computes the same first outputs and more; all its outputs.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub(crate) fn extend(&mut self, op: impl Into<Op>) -> Result<Vec<ValueId>> {
        let op = op.into();
        let infos = self.graph.infer(&self.node.name, &op, &self.node.inputs)?;
        for (i, info) in infos.into_iter().enumerate().skip(self.node.outputs.len()) {
            let name = fresh(self.names, &format!("{}:{i}", self.node.name));
            self.node.outputs.push(self.graph.add(name, info, None));
        }
        self.node.op = op;
        self.graph.nodes[self.number] = self.node.clone();
        Ok(self.node.outputs.clone())
    }

    /// The value times a number.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn scale(&mut self, value: ValueId, by: f32) -> Result<ValueId> {
        if by == 1.0 {
            return Ok(value);
        }
        let by = self.constant(Tensor::scalar(by));
        self.push(Binary::Mul, &[value, by])
    }

    /// The value under another shape of as many elements.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn reshape(&mut self, value: ValueId, shape: &[usize]) -> Result<ValueId> {
        if self.info(value).shape[..] == *shape {
            return Ok(value);
        }
        self.push(Reshape::To(shape.to_vec()), &[value])
    }

    /// The value repeated to a shape that it broadcasts to.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn expand_to(&mut self, value: ValueId, shape: &[usize]) -> Result<ValueId> {
        let from = self.dims(value);
        if from == shape {
            return Ok(value);
        }
        self.push(expansion(&from, shape), &[value])
    }

    /// The sum of the value over these axes, which stay, one long.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn sum_over(&mut self, value: ValueId, axes: Vec<usize>) -> Result<ValueId> {
        if axes.is_empty() {
            return Ok(value);
        }
        self.push(Reduce { kind: ReduceKind::Sum, axes: Some(axes), keep_dims: true }, &[value])
    }

    /// The sum over each channel of a value `[n, c, spatial...]`, of shape `[c]`.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn sum_per_channel(&mut self, value: ValueId) -> Result<ValueId> {
        let dims = self.dims(value);
        let sum = self.sum_over(value, (0..dims.len()).filter(|&axis| axis != 1).collect())?;
        self.reshape(sum, &dims[1..2])
    }

    /// The value summed to a shape that broadcasts to its own: what a gradient does where an operand was repeated.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn sum_to(&mut self, value: ValueId, shape: &[usize]) -> Result<ValueId> {
        let from = self.dims(value);
        let missing = from.len() - shape.len();
        let repeated = |&axis: &usize| axis < missing || shape[axis - missing] != from[axis];
        let sum = self.sum_over(value, (0..from.len()).filter(repeated).collect())?;
        self.reshape(sum, shape)
    }

    /// Adds what the rule found to the gradients of the node's inputs.
    fn hand_on(self, found: &mut HashMap<ValueId, ValueId>) -> Result<()> {
        let mut at = self;
        for i in 0..at.wants.len() {
            let Some(input) = at.input(i).filter(|_| at.wants(i)) else { continue };
            let gradient = at.of_inputs[i].ok_or_else(|| at.refuse(format!("to its input {i}")))?;
            if at.info(gradient) != at.info(input) {
                let (got, wanted) = (&at.info(gradient).shape, &at.info(input).shape);
                return Err(at.refuse(format!("its rule gives {got} for input {i} of {wanted}")));
            }
            let sum = match found.get(&input) {
                Some(&before) => at.push(Binary::Add, &[before, gradient])?,
                None => gradient,
            };
            found.insert(input, sum);
        }
        Ok(())
    }
}
