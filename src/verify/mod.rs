//! Whether two devices compute the same: one layer at a time on given operands, and how far the outputs may differ.

mod bound;
mod winograd;

pub use bound::{Bound, Difference, bounds, numbers};

use crate::cpu::CpuPlan;
use crate::error::{Error, Result};
use crate::graph::passes::Passes;
use crate::graph::{Graph, Info, Node};
use crate::ops::Op;
use crate::plan::PlanOptions;
use crate::tensor::Tensor;

/// Operands in the operator's order; `None` where an optional one is absent.
pub type Operands = Vec<Option<Tensor>>;

/// A graph of one layer of `graph`, and its inputs: the operands that are no constants of `graph`. Those that are remain
/// so, which decides how kernels see them, with the values given here.
///
/// # Errors
/// [`Error::Shape`] where the operator cannot take the operands.
pub fn alone(graph: &Graph, node: &Node, operands: &Operands) -> Result<(Graph, Vec<Tensor>)> {
    let constants = node.inputs.iter().map(|id| id.is_some_and(|id| graph.value(id).constant.is_some()));
    single(&node.name, &node.op, operands, constants)
}

/// What a device made of a layer.
pub struct Layer {
    /// The layer's outputs, in order.
    pub outputs: Vec<Tensor>,
    /// The names of the kernels that computed them, in order.
    pub kernels: Vec<String>,
}

/// Runs a layer of `graph` on a device for these operands.
///
/// # Errors
/// As [`alone`], [`crate::Device::compile`] and [`crate::Plan::run`].
#[cfg(not(target_arch = "wasm32"))]
pub fn run_layer(device: &crate::Device, graph: &Graph, node: &Node, operands: &Operands) -> Result<Layer> {
    let (graph, inputs) = alone(graph, node, operands)?;
    let options = if device.is_cpu() { term_by_term() } else { as_written() };
    let plan = device.compile_with(&graph, &options)?;
    Ok(Layer { outputs: plan.run(&inputs)?, kernels: plan.kernels() })
}

/// What others are compared with: the outputs of a graph on the CPU, as it is written.
pub(crate) fn reference(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    CpuPlan::compile(graph, &term_by_term())?.run(inputs)
}

/// The first output of an operator on the CPU.
fn on_cpu(op: impl Into<Op>, operands: &Operands) -> Result<Tensor> {
    let (graph, inputs) = single("layer", &op.into(), operands, operands.iter().map(|_| false))?;
    let outputs = reference(&graph, &inputs)?;
    outputs.into_iter().next().ok_or_else(|| Error::Graph("an operator without outputs".into()))
}

/// Options by which a layer runs as it is, whatever its operands hold.
fn as_written() -> PlanOptions {
    PlanOptions { passes: Passes::none(), reject_nan: false, ..PlanOptions::default() }
}

/// As [`as_written`], for the CPU: with sums of products, which the bounds are about, and not Winograd's of transforms.
fn term_by_term() -> PlanOptions {
    PlanOptions { variant: Some("blocked"), ..as_written() }
}

fn single(
    name: &str,
    op: &Op,
    operands: &Operands,
    constants: impl Iterator<Item = bool>,
) -> Result<(Graph, Vec<Tensor>)> {
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
    Ok((graph, inputs))
}
