//! One layer alone, on given operands.

use anyhow::Result;
use wgpu_cnn::graph::passes::Passes;
use wgpu_cnn::graph::{Graph, Info, Node};
use wgpu_cnn::ops::Op;
use wgpu_cnn::{Device, PlanOptions, Tensor};

/// Operands in the operator's order; `None` where an optional one is absent.
pub type Operands = Vec<Option<Tensor>>;

/// The outputs of a layer of `graph` for these operands. Those that are constants of the graph are so here, too, which
/// decides how kernels see them.
pub fn run(device: &Device, graph: &Graph, node: &Node, operands: &Operands) -> Result<Vec<Tensor>> {
    let constants = node.inputs.iter().map(|id| id.is_some_and(|id| graph.value(id).constant.is_some()));
    run_with(device, &node.name, &node.op, operands, constants)
}

/// The first output of an operator on the CPU.
pub fn on_cpu(op: impl Into<Op>, operands: &Operands) -> Result<Tensor> {
    let none = operands.iter().map(|_| false);
    let outputs = run_with(&Device::cpu(), "layer", &op.into(), operands, none)?;
    outputs.into_iter().next().ok_or_else(|| anyhow::anyhow!("an operator without outputs"))
}

fn run_with(
    device: &Device,
    name: &str,
    op: &Op,
    operands: &Operands,
    constants: impl Iterator<Item = bool>,
) -> Result<Vec<Tensor>> {
    let mut graph = Graph::new(name);
    let mut inputs = Vec::new();
    let mut ids = Vec::new();
    for (i, (operand, constant)) in operands.iter().zip(constants).enumerate() {
        ids.push(operand.as_ref().map(|tensor| {
            let name = format!("operand {i} of {name}");
            if constant {
                return graph.constant(name, tensor.clone());
            }
            inputs.push(tensor.clone());
            graph.input(name, Info { shape: tensor.shape().clone(), dtype: tensor.dtype() })
        }));
    }
    for output in graph.push_node(name, op.clone(), &ids)? {
        graph.output(output);
    }
    let mut options = PlanOptions::default();
    options.passes = Passes::none();
    options.reject_nan = false;
    if device.is_cpu() {
        // Sums of products, which the bounds are about, and not Winograd's sums of transforms.
        options.variant = Some("blocked");
    }
    Ok(device.compile_with(&graph, &options)?.run(&inputs)?)
}
