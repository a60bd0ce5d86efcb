//! `wgpu-cnn inspect`: what a network is made of.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use anyhow::{Result, bail};
use serde::Serialize;
use wgpu_cnn::graph::passes::{Passes, optimize};
use wgpu_cnn::graph::{LayerSummary, Summary};
use wgpu_cnn::onnx::Unsupported;
use wgpu_cnn::receptive::ReceptiveField;
use wgpu_cnn::{Error, Graph};

use crate::output::{self, Column, mebibytes, short};
use crate::{devices, model};

/// Show a network's layers: output shape, parameters, multiply-accumulates, receptive field; and the memory it takes
///
/// The receptive field of a layer is what of the network's input one of its output positions sees: its size, the
/// distance between the fields of neighbouring outputs, and how far the first one reaches into padding. An ONNX model that
/// cannot be imported is listed node by node, with the reason for each.
#[derive(clap::Args)]
pub struct Args {
    #[arg(value_name = "MODEL", help = model::help())]
    model: String,
    /// Images at once [default: 1, or what an ONNX file fixes]
    #[arg(long, value_name = "N")]
    batch: Option<NonZeroUsize>,
    /// Where the memory is counted, as for `run`
    #[arg(long, default_value = "cpu", value_name = "auto|cpu|gpu|NAME")]
    device: String,
    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    layers: Vec<Layer<'a>>,
    parameters: u64,
    macs: u64,
    /// How many layers are left to run after the passes.
    layers_after_passes: usize,
    /// The layers whose operator has no GPU kernel.
    cpu_only: Vec<&'a str>,
    device: &'a str,
    /// `None` where the network does not fit the device.
    memory: Option<Memory>,
}

/// What a plan holds on its device, in bytes.
#[derive(Serialize)]
struct Memory {
    weights: u64,
    peak_activations: u64,
    /// The most activations alive at one layer: no plan of the same layers needs less.
    activations_lower_bound: u64,
}

/// A network that cannot be imported.
#[derive(Serialize)]
struct Refused<'a> {
    model: &'a str,
    unsupported: Vec<Reason<'a>>,
}

#[derive(Serialize)]
struct Reason<'a> {
    node: &'a str,
    op: &'a str,
    domain: &'a str,
    opset: u32,
    reason: &'a str,
}

impl<'a> From<&'a Unsupported> for Reason<'a> {
    fn from(node: &'a Unsupported) -> Self {
        let Unsupported { node, op, domain, opset, reason } = node;
        Reason { node, op, domain, opset: *opset, reason }
    }
}

#[derive(Serialize)]
struct Layer<'a> {
    name: &'a str,
    op: &'a str,
    output: &'a [usize],
    parameters: u64,
    macs: u64,
    receptive_field: Option<Field>,
}

/// A receptive field, one number per spatial axis.
#[derive(Serialize)]
struct Field {
    size: Vec<usize>,
    stride: Vec<usize>,
    padding: Vec<Option<i64>>,
}

impl From<&ReceptiveField> for Field {
    fn from(field: &ReceptiveField) -> Self {
        Field {
            size: field.axes.iter().map(|axis| axis.size).collect(),
            stride: field.axes.iter().map(|axis| axis.stride).collect(),
            padding: field.axes.iter().map(|axis| axis.padding).collect(),
        }
    }
}

/// Prints a network's layers and totals, or why there is none.
pub fn inspect(args: &Args) -> Result<ExitCode> {
    let name = &args.model;
    let device = devices::open(&args.device)?;
    let graph = match model::load(name, args.batch) {
        Ok(model) => model.graph,
        Err(e) => match e.downcast_ref() {
            Some(Error::Unsupported(nodes)) => return refused(args, nodes),
            _ => return Err(e),
        },
    };
    let summary = graph.summary();
    let after = optimize(&graph, &Passes::default())?.nodes().len();
    let cpu_only = cpu_only(&graph);
    let (memory, too_large) = match device.compile(&graph) {
        Ok(plan) => (Some(plan.memory()), None),
        Err(e @ (Error::TooLarge { .. } | Error::OutOfMemory { .. })) => (None, Some(e)),
        Err(e) => return Err(e.into()),
    };
    if args.json {
        return output::json_line(&Report {
            model: name,
            layers: summary.layers.iter().map(layer).collect(),
            parameters: summary.parameters,
            macs: summary.macs,
            layers_after_passes: after,
            cpu_only,
            device: &device.info().name,
            memory: memory.map(|memory| Memory {
                weights: memory.weights,
                peak_activations: memory.activations,
                activations_lower_bound: memory.activations_lower_bound,
            }),
        })
        .map(|()| ExitCode::SUCCESS);
    }
    output::line(&table(&summary))?;
    let Summary { layers, parameters, macs } = summary;
    let memory = match (memory, too_large) {
        (Some(memory), _) => {
            let size = |bytes| format!("{} MiB", short(mebibytes(bytes)));
            format!(
                "weights {}, peak activations {} (lower bound {})",
                size(memory.weights),
                size(memory.activations),
                size(memory.activations_lower_bound)
            )
        }
        (None, e) => format!("none, it does not fit: {}", e.map_or_else(String::new, |e| e.to_string())),
    };
    let on_cpu = match &cpu_only[..] {
        [] => "none, there is a GPU kernel for every one".to_owned(),
        some => some.join(", "),
    };
    output::line(&format!(
        "\n{name}, batch {}: {parameters} parameters, {macs} MACs\npasses: {} layers as written, {after} to run\nmemory on \
         {}: {memory}\nlayers that run on the CPU alone: {on_cpu}",
        model::batch(&graph),
        layers.len(),
        devices::describe(device.info())
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints why each node cannot be imported, and fails.
fn refused(args: &Args, nodes: &[Unsupported]) -> Result<ExitCode> {
    if args.json {
        let unsupported = nodes.iter().map(Reason::from).collect();
        output::json_line(&Refused { model: &args.model, unsupported })?;
    } else {
        let header = ["node", "operator", "domain", "opset", "reason"].map(|title| (title, Column::Left));
        let row = |u: &Unsupported| {
            vec![u.node.clone(), u.op.clone(), u.domain.clone(), u.opset.to_string(), u.reason.clone()]
        };
        output::line(&output::table(&header, &nodes.iter().map(row).collect::<Vec<_>>()))?;
    }
    bail!("{}: {} of its nodes cannot be imported", args.model, nodes.len())
}

/// The layers whose operator has no GPU kernel.
fn cpu_only(graph: &Graph) -> Vec<&str> {
    let on_gpu: HashSet<_> = wgpu_cnn::gpu::variants().into_iter().map(|(op, _)| op).collect();
    let nodes = graph.nodes().iter().filter(|node| !on_gpu.contains(node.op.name()));
    nodes.map(|node| node.name.as_str()).collect()
}

fn layer(layer: &LayerSummary) -> Layer<'_> {
    Layer {
        name: &layer.name,
        op: layer.op,
        output: &layer.output,
        parameters: layer.parameters,
        macs: layer.macs,
        receptive_field: layer.receptive_field.as_ref().map(Field::from),
    }
}

fn table(summary: &Summary) -> String {
    let header = [
        ("layer", Column::Left),
        ("operator", Column::Left),
        ("output", Column::Left),
        ("parameters", Column::Right),
        ("MACs", Column::Right),
        ("receptive field", Column::Left),
    ];
    let row = |layer: &LayerSummary| {
        vec![
            layer.name.clone(),
            layer.op.to_owned(),
            layer.output.to_string(),
            layer.parameters.to_string(),
            layer.macs.to_string(),
            layer.receptive_field.as_ref().map_or("-".to_owned(), ToString::to_string),
        ]
    };
    output::table(&header, &summary.layers.iter().map(row).collect::<Vec<_>>())
}
