//! One step of training as a graph: forward, loss, gradients and update, from the old weights to the new ones.
//!
//! The graph has no memory of its own. What a step changes - weights, moments, running statistics, sums for the report -
//! comes in as inputs and goes out as outputs, and a [`crate::Stepper`] carries these from run to run on the device.

use std::collections::{HashMap, HashSet};

use super::{Clip, Loss, Optimizer};
use crate::error::{Error, Result};
use crate::graph::{Graph, Info, Node, ValueId, gradients};
use crate::ops::arg_reduce::ArgOutput;
use crate::ops::{
    Activation, ArgReduce, BatchNorm, Binary, Dropout, Op, Operator, Reduce, ReduceKind, Reshape,
};
use crate::tensor::{DType, Shape, Tensor};

/// How much of a batch's mean and variance goes into the running ones that inference uses; PyTorch's default.
const STATISTICS_MOMENTUM: f32 = 0.1;

/// What a step of training does to a network.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Recipe<'a> {
    pub loss: Loss,
    pub optimizer: Optimizer,
    pub clip: Option<Clip>,
    /// Layers that stay as they are, by name or by what their names start with.
    pub frozen: &'a [String],
    /// Chooses the masks of dropout.
    pub seed: u64,
}

/// What one tensor of the state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A weight of the network, trained.
    Parameter,
    /// A running mean or variance of the network.
    Statistic,
    /// The optimiser's memory of a weight.
    Moment,
    /// A sum over the epoch's steps, for the report.
    Metric,
}

/// One tensor of the state.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    /// Its name in checkpoints: that of the weight, and behind it for moments which one.
    pub name: String,
    pub role: Role,
    /// The constant of the network that it replaces.
    pub of: Option<ValueId>,
    pub start: Tensor,
}

/// A training step.
///
/// Inputs: the state, then images `[batch, c, h, w]`, targets `[batch, classes]`, the optimiser's rates, and where the
/// network has dropout the number of the step. Outputs: the new state, then the loss.
#[derive(Debug)]
pub(crate) struct TrainingGraph {
    pub graph: Graph,
    pub state: Vec<Slot>,
    /// Whether the step's number is an input.
    pub takes_step: bool,
}

/// The metrics, which are the last of the state.
pub(crate) const METRICS: [&str; 2] = ["training:epoch_loss", "training:epoch_correct"];

impl TrainingGraph {
    /// The step that trains `network`, in its form for inference, on `batch` images at once.
    ///
    /// # Errors
    /// [`Error::Training`] where the loss cannot take the network's output, nothing is left to train, a name to freeze
    /// fits no layer, or a batch is too small for its own statistics; [`Error::Shape`] where a layer cannot take the
    /// batch or has no gradient.
    pub fn new(network: &Graph, batch: usize, recipe: &Recipe) -> Result<Self> {
        recipe.loss.check(network)?;
        recipe.optimizer.check()?;
        if network.inputs().len() != 1 {
            return Err(Error::Training(format!(
                "networks of one input, images, are trained; this one has {}",
                network.inputs().len()
            )));
        }
        if batch == 0 {
            return Err(Error::Training("a batch has at least one image".into()));
        }
        Self::build(&network.with_batch(batch)?, recipe)
    }

    /// The pairs of an output and the input that it is in the next step.
    pub fn carried(&self) -> Vec<(usize, usize)> {
        (0..self.state.len()).map(|i| (i, i)).collect()
    }

    /// The state that the first step starts from.
    pub fn start(&self) -> Vec<Tensor> {
        self.state.iter().map(|slot| slot.start.clone()).collect()
    }
}

impl TrainingGraph {
    fn build(network: &Graph, recipe: &Recipe) -> Result<Self> {
        let nodes = live_nodes(network);
        let frozen = frozen_nodes(&nodes, recipe.frozen)?;
        let mut graph = Graph::new(format!("{} training", network.name()));
        let mut values: HashMap<ValueId, ValueId> = HashMap::new();

        // The state comes first: parameters, their moments, statistics, metrics.
        let trained = nodes.iter().zip(&frozen).filter(|(_, frozen)| !**frozen).map(|(node, _)| *node);
        let weights = distinct(trained.clone().flat_map(|node| trained_weights(network, node)));
        if weights.is_empty() {
            let reason =
                if recipe.frozen.is_empty() { "has no weights" } else { "has none that is not frozen" };
            return Err(Error::Training(format!("there is nothing to train: '{}' {reason}", network.name())));
        }
        let statistics =
            distinct(trained.flat_map(|node| statistics_of(network, node).into_iter().flatten()));
        let mut state = Vec::new();
        let mut declare = |graph: &mut Graph, slot: Slot| {
            let info = Info { shape: slot.start.shape().clone(), dtype: DType::F32 };
            let input = graph.input(&slot.name, info);
            state.push(slot);
            input
        };
        for &id in &weights {
            let slot = Slot::of_network(network, id, Role::Parameter);
            values.insert(id, declare(&mut graph, slot));
        }
        let mut moments = Vec::new();
        for &id in &weights {
            let value = network.value(id);
            for moment in recipe.optimizer.moments() {
                let name = format!("{}:{moment}", value.name);
                let start = Tensor::zeros(value.info.shape.to_vec())?;
                moments.push(declare(&mut graph, Slot { name, role: Role::Moment, of: None, start }));
            }
        }
        for &id in &statistics {
            let slot = Slot::of_network(network, id, Role::Statistic);
            values.insert(id, declare(&mut graph, slot));
        }
        let metrics = METRICS.map(|name| {
            let start = Tensor::scalar(0f32);
            declare(&mut graph, Slot { name: name.into(), role: Role::Metric, of: None, start })
        });

        let input = network.inputs()[0];
        values.insert(input, graph.input(&network.value(input).name, network.value(input).info.clone()));
        let output = network.outputs()[0];
        let targets = graph.input("training:targets", network.value(output).info.clone());
        let rates = Shape::new([recipe.optimizer.rate_count()])?;
        let rates = graph.input("training:rates", Info::f32(rates));
        let takes_step = nodes.iter().any(|node| matches!(node.op, Op::Dropout(_)));
        let step = if takes_step {
            let info = Info { shape: Shape::new([1])?, dtype: DType::I64 };
            Some(graph.input("training:step", info))
        } else {
            None
        };

        let mut forward =
            Forward { network, graph, values, step, seed: recipe.seed, statistics: HashMap::new() };
        for (node, frozen) in nodes.iter().zip(frozen) {
            forward.add(node, frozen)?;
        }
        let Forward { mut graph, values, statistics: mut updated, .. } = forward;

        let output = values[&output];
        let loss = recipe.loss.add(&mut graph, output, targets)?;
        let parameters: Vec<_> = weights.iter().map(|id| values[id]).collect();
        let mut slopes = gradients(&mut graph, loss, &parameters)?;
        if let Some(clip) = &recipe.clip {
            slopes = clip.add(&mut graph, &slopes)?;
        }
        let mut new_moments = Vec::new();
        let per_weight = recipe.optimizer.moments().len();
        for (i, (&weight, &slope)) in parameters.iter().zip(&slopes).enumerate() {
            let name = format!("{}:update", graph.value(weight).name);
            let moments = &moments[i * per_weight..][..per_weight];
            let new = recipe.optimizer.add(&mut graph, &name, weight, slope, moments, rates)?;
            graph.output(new[0]);
            new_moments.extend_from_slice(&new[1..]);
        }
        for id in new_moments {
            graph.output(id);
        }
        for id in &statistics {
            let id = updated.remove(id).unwrap_or(values[id]);
            graph.output(id);
        }
        let correct = correct(&mut graph, output, targets)?;
        for ((total, name), term) in metrics.into_iter().zip(METRICS).zip([loss, correct]) {
            let total = graph.push(format!("{name}:update"), Binary::Add, &[total, term])?;
            graph.output(total);
        }
        graph.output(loss);
        graph.check()?;
        Ok(TrainingGraph { graph, state, takes_step })
    }
}

impl Slot {
    fn of_network(network: &Graph, id: ValueId, role: Role) -> Self {
        let value = network.value(id);
        let start = value.constant.clone().unwrap_or_else(|| Tensor::scalar(0f32));
        Slot { name: value.name.clone(), role, of: Some(id), start }
    }
}

/// The nodes that the network's output depends on, in order.
fn live_nodes(network: &Graph) -> Vec<&Node> {
    let mut wanted: HashSet<ValueId> = network.outputs().iter().copied().collect();
    let mut live = Vec::new();
    for node in network.nodes().iter().rev() {
        if node.outputs.iter().any(|id| wanted.contains(id)) {
            wanted.extend(node.inputs.iter().flatten());
            live.push(node);
        }
    }
    live.reverse();
    live
}

/// For each node whether a name to freeze is its own or what comes before a dot in it.
fn frozen_nodes(nodes: &[&Node], names: &[String]) -> Result<Vec<bool>> {
    let fits = |node: &Node, name: &str| {
        node.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    for name in names {
        if !nodes.iter().any(|node| fits(node, name)) {
            let layers = nodes.iter().filter(|node| !node.op.trained_inputs().is_empty());
            let layers: Vec<_> = layers.map(|node| node.name.as_str()).collect();
            return Err(Error::Training(format!(
                "no layer to freeze is called '{name}'; there are: {}",
                layers.join(", ")
            )));
        }
    }
    Ok(nodes.iter().map(|node| names.iter().any(|name| fits(node, name))).collect())
}

/// The constants of a node that training changes.
fn trained_weights<'a>(network: &'a Graph, node: &'a Node) -> impl Iterator<Item = ValueId> + 'a {
    let inputs = node.op.trained_inputs().iter().filter_map(|&i| node.inputs.get(i).copied().flatten());
    inputs.filter(|&id| network.value(id).constant.is_some() && network.value(id).info.dtype == DType::F32)
}

/// The running mean and variance of a batch norm that has them as constants.
fn statistics_of(network: &Graph, node: &Node) -> Option<[ValueId; 2]> {
    match (&node.op, &node.inputs[..]) {
        (Op::BatchNorm(_), &[_, _, _, Some(mean), Some(variance)]) => {
            let both = [mean, variance];
            both.iter().all(|&id| network.value(id).constant.is_some()).then_some(both)
        }
        _ => None,
    }
}

fn distinct(ids: impl Iterator<Item = ValueId>) -> Vec<ValueId> {
    let mut seen = HashSet::new();
    ids.filter(|&id| seen.insert(id)).collect()
}

/// How many rows of `output` are largest where `targets` are; a scalar.
fn correct(graph: &mut Graph, output: ValueId, targets: ValueId) -> Result<ValueId> {
    let best = ArgReduce { largest: true, axis: 1, select_last: false, output: ArgOutput::OneHot };
    let best = graph.push("training:prediction", best, &[output])?;
    let hits = graph.push("training:hits", Binary::Mul, &[best, targets])?;
    let sum = Reduce { kind: ReduceKind::Sum, axes: Some(vec![0, 1]), keep_dims: false };
    graph.push("training:correct", sum, &[hits])
}

/// The network's nodes as training computes them, copied one by one.
struct Forward<'a> {
    network: &'a Graph,
    graph: Graph,
    /// Of the network's values, those of the training graph.
    values: HashMap<ValueId, ValueId>,
    step: Option<ValueId>,
    seed: u64,
    /// New values of running statistics.
    statistics: HashMap<ValueId, ValueId>,
}

impl Forward<'_> {
    fn add(&mut self, node: &Node, frozen: bool) -> Result<()> {
        let inputs: Vec<_> = node.inputs.iter().map(|id| id.map(|id| self.value(id))).collect();
        if let (Op::BatchNorm(norm), false) = (&node.op, frozen)
            && let Some(statistics) = statistics_of(self.network, node)
        {
            let output = self.batch_norm(node, *norm, &inputs, statistics)?;
            self.values.insert(node.outputs[0], output);
            return Ok(());
        }
        let outputs = match &node.op {
            Op::Dropout(dropout) => {
                let seed = dropout.seed.wrapping_add(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                self.graph.push_node(&node.name, Dropout { seed, ..*dropout }, &[inputs[0], self.step])?
            }
            op => self.graph.push_node(&node.name, op.clone(), &inputs)?,
        };
        self.values.extend(node.outputs.iter().copied().zip(outputs));
        Ok(())
    }

    /// The training graph's value for one of the network's; a constant comes along when it is first asked for.
    fn value(&mut self, id: ValueId) -> ValueId {
        if let Some(&known) = self.values.get(&id) {
            return known;
        }
        let value = self.network.value(id);
        let tensor = value.constant.clone().unwrap_or_else(|| Tensor::scalar(0f32));
        let new = self.graph.constant(&value.name, tensor);
        self.values.insert(id, new);
        new
    }

    /// `(x - mean) / sqrt(variance + epsilon) * scale + bias` with mean and (biased) variance of the batch, and the running
    /// ones moved towards them, the variance without bias (Ioffe & Szegedy 2015, algorithms 1 and 2, with the running
    /// averages that PyTorch keeps).
    fn batch_norm(
        &mut self,
        node: &Node,
        norm: BatchNorm,
        inputs: &[Option<ValueId>],
        [running_mean, running_variance]: [ValueId; 2],
    ) -> Result<ValueId> {
        let &[Some(x), Some(scale), Some(bias), ..] = inputs else {
            return Err(Error::Training(format!("'{}' lacks an input", node.name)));
        };
        let name = &node.name;
        let shape = self.graph.value(x).info.shape.clone();
        let channels = shape[1];
        let count = shape.elements() / channels.max(1);
        if count < 2 {
            return Err(Error::Training(format!(
                "'{name}' normalises {count} value per channel by its own mean and variance, which leaves 0; use a \
                 larger batch, or freeze the layer"
            )));
        }
        let mut per_channel = vec![1; shape.len()];
        per_channel[1] = channels;
        let axes: Vec<_> = (0..shape.len()).filter(|&axis| axis != 1).collect();
        let mean = Reduce { kind: ReduceKind::Mean, axes: Some(axes), keep_dims: true };

        let graph = &mut self.graph;
        let average = graph.push(format!("{name}:mean"), mean.clone(), &[x])?;
        let centred = graph.push(format!("{name}:centred"), Binary::Sub, &[x, average])?;
        let squares = graph.push(format!("{name}:squares"), Binary::Mul, &[centred, centred])?;
        let variance = graph.push(format!("{name}:variance"), mean, &[squares])?;
        let epsilon = graph.constant(format!("{name}:epsilon"), Tensor::scalar(norm.epsilon));
        let above_zero = graph.push(format!("{name}:above_zero"), Binary::Add, &[variance, epsilon])?;
        let deviation = graph.push(format!("{name}:deviation"), Activation::Sqrt, &[above_zero])?;
        let normal = graph.push(format!("{name}:normal"), Binary::Div, &[centred, deviation])?;
        let to_channels = Reshape::To(per_channel);
        let scale = graph.push(format!("{name}:scale"), to_channels.clone(), &[scale])?;
        let bias = graph.push(format!("{name}:shift"), to_channels, &[bias])?;
        let scaled = graph.push(format!("{name}:scaled"), Binary::Mul, &[normal, scale])?;
        let output = graph.push(name, Binary::Add, &[scaled, bias])?;

        let unbiased = count as f32 / (count - 1) as f32;
        for (running, batch, factor) in [(running_mean, average, 1.0), (running_variance, variance, unbiased)]
        {
            let old = self.statistics.get(&running).copied().unwrap_or(self.values[&running]);
            let graph = &mut self.graph;
            let name = format!("{name}:{}", graph.value(old).name);
            let batch = graph.push(format!("{name}:batch"), Reshape::To(vec![channels]), &[batch])?;
            let part = graph.constant(format!("{name}:part"), Tensor::scalar(STATISTICS_MOMENTUM * factor));
            let kept = graph.constant(format!("{name}:rest"), Tensor::scalar(1.0 - STATISTICS_MOMENTUM));
            let new = graph.push(format!("{name}:new"), Binary::Mul, &[batch, part])?;
            let kept = graph.push(format!("{name}:kept"), Binary::Mul, &[old, kept])?;
            let updated = graph.push(format!("{name}:update"), Binary::Add, &[kept, new])?;
            self.statistics.insert(running, updated);
        }
        Ok(output)
    }
}
