//! `activation(conv(x))` becomes one convolution that applies the activation to its sums; likewise for `gemm`.

use crate::graph::Graph;
use crate::ops::{Activation, Op};

pub(super) fn run(mut graph: Graph) -> Graph {
    let readers = graph.readers();
    let mut fused = vec![false; graph.nodes.len()];
    for i in 0..graph.nodes.len() {
        let Op::Activation(activation) = graph.nodes[i].op else { continue };
        let Some(input) = graph.nodes[i].inputs[0] else { continue };
        let Some(producer) = graph.nodes.iter().position(|n| n.outputs.contains(&input)) else { continue };
        if readers[input.index()].len() > 1 || graph.outputs.contains(&input) {
            continue;
        }
        if set_activation(&mut graph.nodes[producer].op, activation) {
            graph.nodes[producer].outputs = graph.nodes[i].outputs.clone();
            fused[i] = true;
        }
    }
    let mut fused = fused.into_iter();
    graph.nodes.retain(|_| !fused.next().unwrap_or(false));
    graph
}

/// Gives an operator that can take it this activation, unless it has one.
fn set_activation(op: &mut Op, activation: Activation) -> bool {
    let slot = match op {
        Op::Conv(conv) => &mut conv.activation,
        Op::Gemm(gemm) => &mut gemm.activation,
        _ => return false,
    };
    slot.is_none() && slot.replace(activation).is_none()
}
