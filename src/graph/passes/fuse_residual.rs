//! `conv(x) + y` becomes one convolution that adds `y` to its sums.

use std::collections::HashSet;

use crate::graph::{Graph, ValueId};
use crate::ops::{Binary, Op};

pub(super) fn run(graph: &mut Graph) {
    let mut fused = HashSet::new();
    for i in 0..graph.nodes.len() {
        if graph.nodes[i].op != Op::Binary(Binary::Add) {
            continue;
        }
        let [Some(a), Some(b)] = graph.nodes[i].inputs[..] else { continue };
        // Of two convolutions the one that runs later takes in the other.
        let candidates = [convolution(graph, a, b, i), convolution(graph, b, a, i)];
        let Some((conv, residual)) = candidates.into_iter().flatten().max() else { continue };
        let mut node = graph.nodes[conv].clone();
        node.inputs.resize(3, None);
        node.inputs.push(Some(residual));
        node.outputs = graph.nodes[i].outputs.clone();
        // In the sum's place, where both operands are known.
        graph.nodes[i] = node;
        graph.nodes[conv].outputs.clear();
        fused.insert(conv);
    }
    graph.remove_nodes(|i| fused.contains(&i));
}

/// The convolution that computes `value` for the sum `add` alone, and the `other` operand, if it can take that in.
fn convolution(graph: &Graph, value: ValueId, other: ValueId, add: usize) -> Option<(usize, ValueId)> {
    let producer = graph.sole_producer(value, add)?;
    let node = &graph.nodes[producer];
    let Op::Conv(conv) = &node.op else { return None };
    let free = conv.activation.is_none() && node.inputs.get(3).is_none_or(|r| r.is_none());
    let same_shape = graph.value(value).info == graph.value(other).info;
    (free && same_shape).then_some((producer, other))
}
