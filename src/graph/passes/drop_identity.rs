//! Nodes whose output is their input, element for element and in the same shape, are left out.

use std::collections::HashSet;

use crate::graph::{Graph, Node};
use crate::ops::{Op, Rearrange};

pub(super) fn run(graph: &mut Graph) {
    let mut dropped = HashSet::new();
    for i in 0..graph.nodes.len() {
        let node = &graph.nodes[i];
        let (Some(Some(input)), output) = (node.inputs.first().copied(), node.outputs[0]) else { continue };
        // An output keeps its name and so its node.
        if is_identity(graph, node) && !graph.outputs.contains(&output) {
            graph.replace_reads(output, input);
            dropped.insert(i);
        }
    }
    graph.remove_nodes(|i| dropped.contains(&i));
}

fn is_identity(graph: &Graph, node: &Node) -> bool {
    let Some(input) = node.inputs.first().copied().flatten() else { return false };
    let shape = &graph.value(input).info.shape;
    if *shape != graph.value(node.outputs[0]).info.shape {
        return false;
    }
    match &node.op {
        Op::Reshape(_) => true,
        Op::Dropout(_) => node.inputs.get(1).copied().flatten().is_none(),
        Op::Concat(_) => node.inputs.len() == 1,
        Op::Rearrange(op) => op.axes == Rearrange::identity(shape).axes,
        _ => false,
    }
}
