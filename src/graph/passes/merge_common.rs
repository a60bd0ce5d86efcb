//! Nodes with the same operator, attributes and inputs are computed once.

use std::collections::{HashMap, HashSet};

use crate::graph::Graph;

pub(super) fn run(graph: &mut Graph) {
    let mut seen = HashMap::new();
    let mut merged = HashSet::new();
    for i in 0..graph.nodes.len() {
        let node = &graph.nodes[i];
        // Attributes are floats too, which do not hash; their text tells them apart exactly.
        let key = (format!("{:?}", node.op), node.inputs.clone());
        let Some(&first) = seen.get(&key) else {
            seen.insert(key, i);
            continue;
        };
        // An output keeps its name and so its node.
        if node.outputs.iter().any(|id| graph.outputs.contains(id)) {
            continue;
        }
        let pairs: Vec<_> =
            node.outputs.iter().copied().zip(graph.nodes[first].outputs.iter().copied()).collect();
        for (from, to) in pairs {
            graph.replace_reads(from, to);
        }
        merged.insert(i);
    }
    graph.remove_nodes(|i| merged.contains(&i));
}
