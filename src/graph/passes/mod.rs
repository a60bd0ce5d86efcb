//! Rewrites of a graph into one that computes the same with less work. Each can be switched off.

mod fuse_activation;

use super::Graph;

/// Which rewrites [`optimize`] applies. All by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Passes {
    /// An activation that alone reads a convolution or matrix product becomes part of it.
    pub fuse_activation: bool,
    /// A reshape's output lives in its input's memory, so nothing is copied.
    pub drop_reshape: bool,
}

impl Default for Passes {
    fn default() -> Self {
        Passes { fuse_activation: true, drop_reshape: true }
    }
}

impl Passes {
    /// None of them: the graph runs as it was written.
    pub fn none() -> Self {
        Passes { fuse_activation: false, drop_reshape: false }
    }
}

/// The graph after the chosen rewrites. Inputs and outputs keep names, shapes and order.
pub fn optimize(graph: &Graph, passes: &Passes) -> Graph {
    let mut graph = graph.clone();
    if passes.fuse_activation {
        graph = fuse_activation::run(graph);
    }
    graph
}
