//! Channels of several values one after another: a value that only a concatenation reads is computed where it belongs in the
//! whole, and nothing is copied.

use super::BLOCK;
use crate::graph::{Graph, Info, ValueId};
use crate::ops::Op;
use crate::tensor::DType;

/// Where a value in blocks lies within another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cpu) struct Part {
    pub whole: ValueId,
    /// The first word.
    pub start: usize,
}

/// For each value, where it lies in what it is joined into. That is so for all values of a concatenation or none: they are
/// read by nothing else and have whole blocks of channels, and of one image, for those of several would not be contiguous.
pub(in crate::cpu) fn parts(graph: &Graph) -> Vec<Option<Part>> {
    let mut parts = vec![None; graph.values().len()];
    let uses = graph.uses();
    for node in graph.nodes() {
        let Op::Concat(op) = &node.op else { continue };
        let (whole, inputs) = (node.outputs[0], || node.inputs.iter().flatten().copied());
        let fits = |info: &Info| match info.shape[..] {
            [1, channels, ..] => channels.is_multiple_of(BLOCK) && info.dtype == DType::F32,
            _ => false,
        };
        if op.axis != 1 || !inputs().all(|id| uses[id.index()] == 1 && fits(&graph.value(id).info)) {
            continue;
        }
        let mut start = 0;
        for id in inputs() {
            parts[id.index()] = Some(Part { whole, start });
            start += graph.value(id).info.shape.elements();
        }
    }
    parts
}
