//! Weights to start from: all of a network's drawn anew, or those of a new last layer on top of trained ones.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::graph::{Graph, Node, ValueId};
use crate::ops::{Op, Operator};
use crate::random::Random;
use crate::tensor::Tensor;

/// The same network with all its weights drawn anew from this seed, as [`crate::Network`] draws them: normal with variance
/// `2 / inputs of a unit` (He et al. 2015), biases 0, norms that change nothing.
///
/// # Errors
/// None for a graph that has passed [`Graph::check`].
pub fn fresh_weights(network: &Graph, seed: u64) -> Result<Graph> {
    let mut graph = network.clone();
    let mut random = Random::new(seed);
    let mut drawn = HashMap::new();
    for node in network.nodes() {
        for (input, id) in weights_of(network, node) {
            if drawn.contains_key(&id) {
                continue;
            }
            let shape = network.value(id).info.shape.to_vec();
            drawn.insert(id, start(&node.op, input, shape, &mut random)?);
        }
    }
    for (id, tensor) in drawn {
        graph.set_constant(id, tensor)?;
    }
    Ok(graph)
}

/// The same network for another number of classes: its last layer with weights is one of `classes` outputs with new
/// weights, drawn from this seed; all others stay. Train it with [`layers_below_head`] frozen, or all of it at a low rate.
///
/// # Errors
/// [`Error::Training`] where the last layer with weights is neither linear nor a convolution;
/// [`Error::Shape`] where a layer behind it cannot take another number of classes.
pub fn new_head(network: &Graph, classes: usize, seed: u64) -> Result<Graph> {
    let head = weighted_layers(network)
        .last()
        .ok_or_else(|| Error::Training(format!("'{}' has no layer with weights", network.name())))?;
    // The axis of the weights that counts outputs.
    let outputs = match &head.op {
        Op::Conv(conv) if conv.groups == 1 => 0,
        Op::Gemm(gemm) => usize::from(!gemm.trans_b),
        other => {
            return Err(Error::Training(format!(
                "the last layer with weights, '{}', is a {}; a head is a linear layer or a convolution",
                head.name,
                other.name()
            )));
        }
    };
    let mut random = Random::new(seed);
    let mut new = HashMap::new();
    for (input, id) in weights_of(network, head) {
        let mut shape = network.value(id).info.shape.to_vec();
        let axis = if input == 1 { outputs } else { shape.len().saturating_sub(1) };
        if let Some(size) = shape.get_mut(axis) {
            *size = classes;
        }
        new.insert(id, start(&head.op, input, shape, &mut random)?);
    }
    network.with_constants(new)
}

/// The names of all layers with weights but the last: what is frozen where only a new head is trained.
pub fn layers_below_head(network: &Graph) -> Vec<String> {
    let mut names: Vec<_> = weighted_layers(network).map(|node| node.name.clone()).collect();
    names.pop();
    names
}

fn weighted_layers(network: &Graph) -> impl Iterator<Item = &Node> {
    network.nodes().iter().filter(|node| weights_of(network, node).next().is_some())
}

/// The constants among a node's operands that are its weights, with their places: those trained, and a batch norm's
/// statistics.
fn weights_of<'a>(network: &'a Graph, node: &'a Node) -> impl Iterator<Item = (usize, ValueId)> + 'a {
    let statistics: &[usize] = if matches!(node.op, Op::BatchNorm(_)) { &[3, 4] } else { &[] };
    let places = node.op.trained_inputs().iter().chain(statistics);
    let inputs = places.filter_map(|&i| Some((i, node.inputs.get(i).copied().flatten()?)));
    inputs.filter(|&(_, id)| network.value(id).constant.is_some())
}

/// What the weights at operand `input` start as.
fn start(op: &Op, input: usize, shape: Vec<usize>, random: &mut Random) -> Result<Tensor> {
    let elements = shape.iter().product();
    let value = match (op, input) {
        (Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm(_), 1) => {
            let inputs = match op {
                Op::Gemm(gemm) if !gemm.trans_b => shape[shape.len().saturating_sub(2)],
                Op::ConvTranspose(conv) => {
                    shape[0] / conv.groups.max(1) * shape[2..].iter().product::<usize>()
                }
                _ => shape[1..].iter().product(),
            };
            let mut values = vec![0.0; elements];
            random.fill_he(&mut values, inputs);
            return Tensor::new(shape, values);
        }
        (Op::BatchNorm(_), 1 | 4) | (Op::Normalize(_), 1) => 1f32,
        _ => 0.0,
    };
    Tensor::new(shape, vec![value; elements])
}
