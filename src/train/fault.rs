//! Where a step of training first leaves the range of numbers.

use crate::device::Device;
use crate::error::Result;
use crate::graph::Graph;
use crate::graph::passes::Passes;
use crate::plan::PlanOptions;
use crate::tensor::{DType, Tensor};

/// The first of the graph's inputs and nodes, in order, with a value that is NaN or infinite, in words.
///
/// All nodes are run as they were written, and all their values read back: slow and large, once a training has failed.
pub(crate) fn first_fault(device: &Device, graph: &Graph, inputs: &[Tensor]) -> Result<String> {
    for (&id, tensor) in graph.inputs().iter().zip(inputs) {
        if !is_finite(tensor) {
            return Ok(format!("the input '{}'", graph.value(id).name));
        }
    }
    let values = graph.nodes().iter().map(|node| (node, graph.value(node.outputs[0])));
    let values: Vec<_> = values.filter(|(_, value)| value.info.dtype == DType::F32).collect();
    let names: Vec<_> = values.iter().map(|(_, value)| value.name.as_str()).collect();
    let options = PlanOptions { passes: Passes::none(), reject_nan: false, ..PlanOptions::default() };
    let outputs = device.compile_with(&graph.with_outputs(&names)?, &options)?.run(inputs)?;
    let first = values.iter().zip(&outputs).find(|(_, tensor)| !is_finite(tensor));
    Ok(match first {
        Some(((node, _), _)) => format!("'{}' ({})", node.name, node.op.name()),
        None => "a layer that is finite when run by itself".into(),
    })
}

/// Whether no element is NaN or infinite; integers never are.
pub(crate) fn is_finite(tensor: &Tensor) -> bool {
    tensor.values::<f32>().map_or(true, |values| values.iter().all(|v| v.is_finite()))
}
