//! `batch_norm(conv(x))` becomes a convolution with scaled filters; likewise for a linear layer.
//!
//! With `s = scale / sqrt(variance + epsilon)` per output channel, the weights become `w * s` and the bias
//! `(bias - mean) * s + shift` (Jacob et al. 2018, section 3.2).

use std::collections::HashSet;

use crate::error::Result;
use crate::graph::{Graph, ValueId};
use crate::ops::{BatchNorm, Op};
use crate::tensor::Tensor;

pub(super) fn run(graph: &mut Graph) -> Result<()> {
    let mut folded = HashSet::new();
    for i in 0..graph.nodes.len() {
        let Op::BatchNorm(norm) = graph.nodes[i].op else { continue };
        let Some(input) = graph.nodes[i].inputs[0] else { continue };
        let Some(producer) = graph.sole_producer(input, i) else { continue };
        if !takes_scale(graph, producer) {
            continue;
        }
        let Some((scale, shift)) = affine(graph, i, norm)? else { continue };
        let Some(weight) = constant(graph, producer, 1) else { continue };
        if !bias_can_take(graph, producer, scale.len()) {
            continue;
        }

        // Output channels are the first axis of the weights.
        let rows = weight.shape().elements() / scale.len().max(1);
        let mut scaled = weight.clone();
        for (row, s) in scaled.values_mut::<f32>()?.chunks_mut(rows.max(1)).zip(&scale) {
            row.iter_mut().for_each(|w| *w *= s);
        }
        let old: Vec<f32> = match constant(graph, producer, 2) {
            Some(bias) => bias.values::<f32>()?.to_vec(),
            None => vec![0.0; scale.len()],
        };
        let bias = old.iter().zip(&scale).zip(&shift).map(|((b, s), t)| b * s + t).collect::<Vec<f32>>();
        let bias = Tensor::new([scale.len()], bias)?;

        let name = graph.nodes[producer].name.clone();
        let weight = graph.constant(format!("{name} weight with batch norm"), scaled);
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

/// What a norm of constants does to each channel: a scale and a shift. `None` where they are not all constants.
fn affine(graph: &Graph, node: usize, norm: BatchNorm) -> Result<Option<(Vec<f32>, Vec<f32>)>> {
    let parts = [1, 2, 3, 4].map(|i| constant(graph, node, i));
    let [Some(gamma), Some(beta), Some(mean), Some(variance)] = parts else { return Ok(None) };
    let [gamma, beta, mean, variance] =
        [gamma.values::<f32>()?, beta.values()?, mean.values()?, variance.values()?];
    let mut scale = Vec::new();
    let mut shift = Vec::new();
    for c in 0..gamma.len() {
        // In f64, so that folding rounds once.
        let s = f64::from(gamma[c]) / (f64::from(variance[c]) + f64::from(norm.epsilon)).sqrt();
        scale.push(s as f32);
        shift.push((f64::from(beta[c]) - f64::from(mean[c]) * s) as f32);
    }
    Ok(Some((scale, shift)))
}
