//! `activation(conv(x))` becomes one convolution that applies the activation to its sums; likewise for `gemm` and
//! `conv_transpose`.

use std::collections::HashSet;

use crate::graph::Graph;
use crate::ops::{Activation, Op};

pub(super) fn run(graph: &mut Graph) {
    let mut fused = HashSet::new();
    for i in 0..graph.nodes.len() {
        let Op::Activation(activation) = graph.nodes[i].op else { continue };
        let Some(input) = graph.nodes[i].inputs[0] else { continue };
        let Some(producer) = graph.sole_producer(input, i) else { continue };
        if set_activation(&mut graph.nodes[producer].op, activation) {
            graph.nodes[producer].outputs = graph.nodes[i].outputs.clone();
            // The merged node's own output is nothing's any more, and must not be found again as a producer.
            graph.nodes[i].outputs.clear();
            fused.insert(i);
        }
    }
    graph.remove_nodes(|i| fused.contains(&i));
}

/// Gives an operator that can take it this activation, unless it has one.
fn set_activation(op: &mut Op, activation: Activation) -> bool {
    match activation_slot(op) {
        Some(slot @ None) => slot.replace(activation).is_none(),
        _ => false,
    }
}

/// Where an operator that can apply an activation to its sums has it.
pub(in crate::graph) fn activation_slot(op: &mut Op) -> Option<&mut Option<Activation>> {
    match op {
        Op::Conv(conv) => Some(&mut conv.activation),
        Op::ConvTranspose(conv) => Some(&mut conv.activation),
        Op::Gemm(gemm) => Some(&mut gemm.activation),
        _ => None,
    }
}
