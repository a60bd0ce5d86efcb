//! `batch_norm(conv(x))` becomes a convolution with scaled filters; likewise for a linear layer.
//!
//! With `s = scale / sqrt(variance + epsilon)` per output channel, the weights become `w * s` and the bias
//! `(bias - mean) * s + shift` (Jacob et al. 2018, section 3.2).

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use crate::error::Result;
use crate::graph::{Graph, ValueId};
use crate::ops::{BatchNorm, Op};
use crate::tensor::Tensor;

/// Weights that were folded before, so that graphs of the same weights share them once more.
#[derive(Debug, Default)]
pub(crate) struct Folded(Mutex<HashMap<Vec<usize>, Entry>>);

#[derive(Debug)]
struct Entry {
    /// Kept, so that no other tensor takes on the identity of one of them.
    _sources: Vec<Tensor>,
    weight: Tensor,
    bias: Tensor,
}

impl Folded {
    fn get_or(
        &self,
        sources: Vec<Tensor>,
        fold: impl FnOnce() -> Result<(Tensor, Tensor)>,
    ) -> Result<(Tensor, Tensor)> {
        let key = sources.iter().map(Tensor::identity).collect();
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(&key) {
            return Ok((entry.weight.clone(), entry.bias.clone()));
        }
        let (weight, bias) = fold()?;
        entries.insert(key, Entry { _sources: sources, weight: weight.clone(), bias: bias.clone() });
        Ok((weight, bias))
    }
}

pub(super) fn run(graph: &mut Graph, known: &Folded) -> Result<()> {
    let mut folded = HashSet::new();
    for i in 0..graph.nodes.len() {
        let Op::BatchNorm(norm) = graph.nodes[i].op else { continue };
        let Some(input) = graph.nodes[i].inputs[0] else { continue };
        let Some(producer) = graph.sole_producer(input, i) else { continue };
        if !takes_scale(graph, producer) {
            continue;
        }
        let Some(weight) = constant(graph, producer, 1) else { continue };
        let norms: Vec<_> = (1..5).filter_map(|part| constant(graph, i, part)).collect();
        let channels = graph.value(input).info.shape[1];
        if norms.len() < 4 || !bias_can_take(graph, producer, channels) {
            continue;
        }
        let bias = constant(graph, producer, 2);
        let sources = norms.iter().copied().chain([weight]).chain(bias).cloned().collect();
        let (weight, bias) = known.get_or(sources, || fold(weight, bias, &norms, norm))?;

        let name = graph.nodes[producer].name.clone();
        let weight = graph.constant(format!("{name} weight with batch norm"), weight);
        let bias = graph.constant(format!("{name} bias with batch norm"), bias);
        let output = std::mem::take(&mut graph.nodes[i].outputs);
        let node = &mut graph.nodes[producer];
        node.inputs[1] = Some(weight);
        node.inputs.resize(node.inputs.len().max(3), None);
        node.inputs[2] = Some(bias);
        node.outputs = output;
        folded.insert(i);
    }
    graph.remove_nodes(|i| folded.contains(&i));
    Ok(())
}

/// Whether a node is a convolution or linear layer whose sums go out as they are.
fn takes_scale(graph: &Graph, node: usize) -> bool {
    let node = &graph.nodes[node];
    match &node.op {
        Op::Conv(conv) => conv.activation.is_none() && node.inputs.get(3).is_none_or(|r| r.is_none()),
        Op::Gemm(gemm) => {
            let vectors = graph.value(node.outputs[0]).info.shape.len() == 2;
            gemm.trans_b && vectors && gemm.activation.is_none() && gemm.alpha == 1.0 && gemm.beta == 1.0
        }
        _ => false,
    }
}

/// Whether the bias is absent or a constant per channel.
fn bias_can_take(graph: &Graph, node: usize, channels: usize) -> bool {
    match graph.nodes[node].inputs.get(2).copied().flatten() {
        None => true,
        Some(_) => constant(graph, node, 2).is_some_and(|bias| bias.shape()[..] == [channels]),
    }
}

fn constant(graph: &Graph, node: usize, i: usize) -> Option<&Tensor> {
    let id: ValueId = graph.nodes[node].inputs.get(i).copied().flatten()?;
    graph.value(id).constant.as_ref()
}

/// The weight and bias of a layer with the norm of these four constants behind it.
fn fold(
    weight: &Tensor,
    bias: Option<&Tensor>,
    norms: &[&Tensor],
    norm: BatchNorm,
) -> Result<(Tensor, Tensor)> {
    let mut parts = Vec::new();
    for part in norms {
        parts.push(part.values::<f32>()?);
    }
    let bias = bias.map(|bias| bias.values::<f32>()).transpose()?;
    let channels = parts[0].len();
    // Output channels are the first axis of the weights.
    let row = (weight.shape().elements() / channels.max(1)).max(1);
    let mut scaled = weight.clone();
    let mut shifted = Vec::new();
    for (c, weights) in scaled.values_mut::<f32>()?.chunks_mut(row).enumerate() {
        let [scale, shift, mean, variance] = [0, 1, 2, 3].map(|part| f64::from(parts[part][c]));
        // In f64, so that folding rounds once.
        let s = scale / (variance + f64::from(norm.epsilon)).sqrt();
        weights.iter_mut().for_each(|w| *w = (f64::from(*w) * s) as f32);
        let old = bias.map_or(0.0, |bias| f64::from(bias[c]));
        shifted.push(((old - mean) * s + shift) as f32);
    }
    Ok((scaled, Tensor::new([channels], shifted)?))
}
