//! Rewrites of a graph into one that computes the same with less work. Each can be switched off.

mod drop_identity;
mod fold_batch_norm;
mod fold_constants;
mod fold_padding;
mod fuse_activation;
mod fuse_residual;
mod merge_common;

use super::{Graph, Node, ValueId};
use crate::error::Result;

pub(crate) use fold_batch_norm::Folded;
pub(in crate::graph) use fuse_activation::activation_slot;

/// Which rewrites [`optimize`] applies. All by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Passes {
    /// Nodes of constants alone become constants.
    pub fold_constants: bool,
    /// Nodes that change nothing are left out.
    pub drop_identity: bool,
    /// Nodes that compute the same from the same are computed once.
    pub merge_common: bool,
    /// Zeros padded in front of a convolution become its own padding.
    pub fold_padding: bool,
    /// A batch norm behind a convolution or linear layer becomes part of its weights.
    pub fold_batch_norm: bool,
    /// A sum that a convolution alone goes into is added in the convolution's kernel.
    pub fuse_residual: bool,
    /// An activation that alone reads a convolution or matrix product becomes part of it.
    pub fuse_activation: bool,
    /// A reshape's output lives in its input's memory, so nothing is copied.
    pub drop_reshape: bool,
}

impl Default for Passes {
    fn default() -> Self {
        Self::uniform(true)
    }
}

impl Passes {
    /// None of them: the graph runs as it was written.
    pub fn none() -> Self {
        Self::uniform(false)
    }

    fn uniform(on: bool) -> Self {
        Passes {
            fold_constants: on,
            drop_identity: on,
            merge_common: on,
            fold_padding: on,
            fold_batch_norm: on,
            fuse_residual: on,
            fuse_activation: on,
            drop_reshape: on,
        }
    }
}

/// The graph after the chosen rewrites. Inputs and outputs keep names, shapes and order.
///
/// # Errors
/// [`crate::Error`] where a constant node cannot be computed.
pub fn optimize(graph: &Graph, passes: &Passes) -> Result<Graph> {
    optimize_with(graph, passes, &Folded::default())
}

/// As [`optimize`], with weights folded before taken from `folded` and new ones kept there.
pub(crate) fn optimize_with(graph: &Graph, passes: &Passes, folded: &Folded) -> Result<Graph> {
    let mut graph = graph.clone();
    if passes.fold_constants {
        fold_constants::run(&mut graph)?;
    }
    if passes.drop_identity {
        drop_identity::run(&mut graph);
    }
    if passes.merge_common {
        merge_common::run(&mut graph);
    }
    if passes.fold_padding {
        fold_padding::run(&mut graph);
    }
    if passes.fold_batch_norm {
        fold_batch_norm::run(&mut graph, folded)?;
    }
    if passes.fuse_residual {
        fuse_residual::run(&mut graph);
    }
    if passes.fuse_activation {
        fuse_activation::run(&mut graph);
    }
    graph.drop_unused();
    Ok(graph)
}

/// What the rewrites ask of a graph and do to it.
impl Graph {
    /// The number of the node that computes a value, if its only reader is to be `reader` and it is no output: a node
    /// that may be merged into that reader.
    fn sole_producer(&self, value: ValueId, reader: usize) -> Option<usize> {
        let reads = |node: &Node| node.inputs.iter().flatten().filter(|&&id| id == value).count();
        let all: usize = self.nodes.iter().map(reads).sum();
        if all != 1 || reads(&self.nodes[reader]) != 1 || self.outputs.contains(&value) {
            return None;
        }
        self.nodes.iter().position(|n| n.outputs.first() == Some(&value))
    }

    /// Makes every reader of `from` read `to`. Outputs keep their names, so an output cannot be replaced.
    fn replace_reads(&mut self, from: ValueId, to: ValueId) {
        for id in self.nodes.iter_mut().flat_map(|n| n.inputs.iter_mut()).flatten() {
            if *id == from {
                *id = to;
            }
        }
    }

    /// Removes the nodes whose number `unwanted` accepts.
    fn remove_nodes(&mut self, unwanted: impl Fn(usize) -> bool) {
        let mut number = 0;
        self.nodes.retain(|_| {
            number += 1;
            !unwanted(number - 1)
        });
    }

    /// Removes nodes whose outputs nothing reads, and then values that nothing names.
    fn drop_unused(&mut self) {
        let mut used = vec![false; self.values.len()];
        for id in self.inputs.iter().chain(&self.outputs) {
            used[id.0] = true;
        }
        for node in self.nodes.iter().rev() {
            if node.outputs.iter().any(|id| used[id.0]) {
                for id in node.inputs.iter().flatten().chain(&node.outputs) {
                    used[id.0] = true;
                }
            }
        }
        self.nodes.retain(|n| n.outputs.iter().any(|id| used[id.0]));
        let mut place = Vec::new();
        let mut count = 0;
        for &used in &used {
            place.push(ValueId(count));
            count += usize::from(used);
        }
        let mut number = 0;
        self.values.retain(|_| {
            number += 1;
            used[number - 1]
        });
        let nodes = self.nodes.iter_mut();
        let ids = nodes.flat_map(|n| n.inputs.iter_mut().flatten().chain(&mut n.outputs));
        for id in ids.chain(&mut self.inputs).chain(&mut self.outputs) {
            *id = place[id.0];
        }
    }
}
