//! Nodes whose inputs are all constants are computed now, by the CPU backend.

use std::collections::HashSet;

use crate::error::Result;
use crate::graph::Graph;
use crate::plan::{Plan, PlanOptions};

use super::Passes;

pub(super) fn run(graph: &mut Graph) -> Result<()> {
    let mut folded = HashSet::new();
    for i in 0..graph.nodes.len() {
        let node = &graph.nodes[i];
        let known = node.inputs.iter().flatten().all(|&id| graph.value(id).constant.is_some());
        // Outputs of the network that are constants go on being computed: a plan must have a node to return them from.
        if !known || node.inputs.is_empty() || node.outputs.iter().any(|id| graph.outputs.contains(id)) {
            continue;
        }
        let mut alone = Graph::new(&node.name);
        let mut inputs = Vec::new();
        for (number, id) in node.inputs.iter().enumerate() {
            let tensor = id.and_then(|id| graph.value(id).constant.clone());
            inputs.push(tensor.map(|t| alone.constant(format!("input {number}"), t)));
        }
        let outputs = alone.push_node(&node.name, node.op.clone(), &inputs)?;
        outputs.into_iter().for_each(|id| alone.output(id));
        let options = PlanOptions { passes: Passes::none(), ..PlanOptions::default() };
        let results = Plan::cpu(&alone, &options)?.run_here(&[])?;
        for (id, tensor) in graph.nodes[i].outputs.clone().into_iter().zip(results) {
            graph.values[id.index()].constant = Some(tensor);
        }
        folded.insert(i);
    }
    graph.remove_nodes(|i| folded.contains(&i));
    Ok(())
}
