//! `wgpu-cnn verify`: whether a GPU computes what the CPU does, layer by layer.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use wgpu_cnn::graph::passes::{Passes, optimize};
use wgpu_cnn::graph::{Info, Node, ValueId};
use wgpu_cnn::verify::{Bound, Difference, Operands, bounds, numbers, run_layer};
use wgpu_cnn::{DType, Device, Graph, PlanOptions, Tensor};

use crate::output::{self, Column, Progress};
use crate::{devices, model, tensors};

/// Compare a GPU with the CPU, layer by layer, and fail where they differ by more than rounding explains
///
/// Each layer runs alone on both devices, from the same operands: what the layers before it gave on the CPU. So errors do
/// not add up, and each layer answers for its own. The passes are off, so that every layer is seen as it is written, unless
/// --passes asks for the layers that are left after them.
///
/// The bound is no tolerance that someone chose; it follows from the layer and its operands. A sum of K products
/// (convolution, matrix product, average) may differ by 2 K 2^-24 sum |a b|: in any order of summation each device lies
/// within half of that of the true sum. The sum of magnitudes is what the same layer makes of absolute values. A device that
/// convolves in Winograd's form may add c 2^-24 times the magnitudes of its transforms, over c channels.
/// Functions may differ by what the WGSL specification allows to the built-ins in their formula. What only selects or
/// moves elements must agree bit for bit.
///
/// At last the whole network runs on the GPU as `run` would run it, and its outputs are compared with the CPU's. How far
/// errors carry through a network is estimated, not proved: the bound is how far the outputs move where every layer is
/// off by its bound, up or down at random, with the square root of K in place of K for convolutions and matrix products.
///
/// The exit code is 1 where any difference is past its bound.
#[derive(clap::Args)]
pub struct Args {
    #[arg(value_name = "MODEL", help = model::help())]
    model: String,
    /// The device to verify: gpu (a software one if there is no other), or a part of an adapter's name
    #[arg(long, default_value = "gpu", value_name = "gpu|NAME")]
    device: String,
    /// Images at once [default: 1, or what an ONNX file fixes]
    #[arg(long, value_name = "N")]
    batch: Option<NonZeroUsize>,
    /// An input from an array; the others are random numbers from -1 to 1
    #[arg(long = "input", value_name = "NAME=FILE.npy", value_parser = tensors::named_file)]
    inputs: Vec<(String, PathBuf)>,
    /// Which random numbers
    #[arg(long, value_name = "N", default_value = "0")]
    seed: u64,
    /// Verify the layers that are left after the passes, fused as they run
    #[arg(long)]
    passes: bool,
    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    device: &'a str,
    reference: &'a str,
    layers: Vec<Line>,
    outputs: Vec<Line>,
    passed: bool,
}

/// How a layer, or an output of the whole network, differs.
#[derive(Serialize)]
struct Line {
    name: String,
    op: &'static str,
    error: f64,
    bound: f64,
    /// `None` where the error is past every bound.
    of_bound: Option<f64>,
    source: &'static str,
}

impl Line {
    fn new(name: &str, op: &'static str, difference: Difference, source: &'static str) -> Self {
        let Difference { largest, bound, of_bound } = difference;
        let of_bound = of_bound.is_finite().then_some(of_bound);
        Line { name: name.into(), op, error: largest, bound, of_bound, source }
    }

    fn passed(&self) -> bool {
        self.of_bound.is_some_and(|part| part <= 1.0)
    }
}

/// Prints how far the devices differ.
pub fn verify(args: &Args) -> Result<ExitCode> {
    let device = Device::named(&args.device)?;
    ensure!(!device.is_cpu(), "'{}' is the CPU backend, which is what others are compared with", args.device);
    let cpu = Device::cpu();
    let files: BTreeMap<_, _> = args.inputs.iter().cloned().collect();
    let mut given = tensors::read_all(&files)?;
    let graph = model::load_for(&args.model, args.batch, &mut given)?;
    let mut random = Random(args.seed);
    let inputs: Vec<Tensor> = graph
        .inputs()
        .iter()
        .map(|&id| {
            let value = graph.value(id);
            given.remove(&value.name).map_or_else(|| random.tensor(&value.info), Ok)
        })
        .collect::<Result<_>>()?;

    let layers = if args.passes { optimize(&graph, &Passes::default())? } else { graph.clone() };
    let progress = Progress::new(layers.nodes().len() + 1);
    let mut walk = Walk::new(&layers, &inputs, random);
    let mut lines = Vec::new();
    for node in layers.nodes() {
        progress.doing(&node.name);
        lines.push(walk.step(node, &device)?);
        progress.step();
    }
    progress.doing("the whole network");
    let outputs = walk.whole(&graph, &device, &inputs)?;
    drop(progress);

    let failed: Vec<_> =
        lines.iter().chain(&outputs).filter(|line| !line.passed()).map(|line| line.name.clone()).collect();
    if args.json {
        output::json_line(&Report {
            model: &args.model,
            device: &device.info().name,
            reference: &cpu.info().name,
            layers: lines,
            outputs,
            passed: failed.is_empty(),
        })?;
    } else {
        output::line(&table(lines.iter().chain(&outputs)))?;
        output::line(&format!(
            "\n{}: {}\ncompared with {}",
            if failed.is_empty() { "verified" } else { "wrong" },
            devices::describe(device.info()),
            devices::describe(cpu.info())
        ))?;
    }
    ensure!(failed.is_empty(), "{}: past the bound: {}", args.model, failed.join(", "));
    Ok(ExitCode::SUCCESS)
}

fn table<'a>(lines: impl Iterator<Item = &'a Line>) -> String {
    let header = [
        ("layer", Column::Left),
        ("operator", Column::Left),
        ("largest error", Column::Right),
        ("bound", Column::Right),
        ("error/bound", Column::Right),
        ("bound by", Column::Left),
    ];
    let number = |value: f64| if value == 0.0 { "0".to_owned() } else { format!("{value:.2e}") };
    let row = |line: &Line| {
        vec![
            line.name.clone(),
            line.op.to_owned(),
            number(line.error),
            number(line.bound),
            line.of_bound.map_or_else(|| "past it".to_owned(), |part| format!("{part:.4}")),
            line.source.to_owned(),
        ]
    };
    output::table(&header, &lines.map(row).collect::<Vec<_>>())
}

/// The values of a graph, one layer after another, on the CPU: as they are, and as they may be.
struct Walk<'a> {
    graph: &'a Graph,
    values: Vec<Option<Tensor>>,
    /// The values where every layer is off by the most that is likely, up or down at random.
    disturbed: Vec<Option<Tensor>>,
    random: Random,
}

impl<'a> Walk<'a> {
    fn new(graph: &'a Graph, inputs: &[Tensor], random: Random) -> Self {
        let mut values: Vec<_> = graph.values().iter().map(|value| value.constant.clone()).collect();
        for (id, input) in graph.inputs().iter().zip(inputs) {
            values[id.index()] = Some(input.clone());
        }
        Walk { graph, disturbed: values.clone(), values, random }
    }

    /// Runs a layer on the CPU and on `device`, and compares.
    fn step(&mut self, node: &Node, device: &Device) -> Result<Line> {
        let operands = |values: &[Option<Tensor>]| -> Operands {
            node.inputs.iter().map(|id| id.and_then(|id| values[id.index()].clone())).collect()
        };
        let given = operands(&self.values);
        let cpu = Device::cpu();
        let expected = run_layer(&cpu, self.graph, node, &given)?.outputs;
        let actual = run_layer(device, self.graph, node, &given)?;
        let disturbed = run_layer(&cpu, self.graph, node, &operands(&self.disturbed))?.outputs;
        let bounds = bounds(&node.op, &given, &expected, &actual.kernels)
            .with_context(|| format!("the bound of layer '{}'", node.name))?;
        ensure!(bounds.len() == expected.len(), "layer '{}' has more outputs than bounds", node.name);

        let worst = expected.iter().zip(&actual.outputs).zip(&bounds).map(|((expected, actual), bound)| {
            Line::new(&node.name, node.op.name(), bound.judge(expected, actual), bound.source)
        });
        let part = |line: &Line| line.of_bound.unwrap_or(f64::INFINITY);
        let line = worst.reduce(|a, b| if part(&b) > part(&a) { b } else { a });
        let line = line.with_context(|| format!("layer '{}' has no output", node.name))?;
        for (((id, expected), mut disturbed), bound) in
            node.outputs.iter().zip(expected).zip(disturbed).zip(&bounds)
        {
            if let Ok(values) = disturbed.values_mut::<f32>() {
                for (i, value) in values.iter_mut().enumerate() {
                    let error = bound.likely(i);
                    if error.is_finite() {
                        *value = (f64::from(*value) + self.random.sign() * error) as f32;
                    }
                }
            }
            self.values[id.index()] = Some(expected);
            self.disturbed[id.index()] = Some(disturbed);
        }
        Ok(line)
    }

    /// Runs the whole of `graph`, of which this walk saw the layers, on `device`, and compares its outputs.
    fn whole(&self, graph: &Graph, device: &Device, inputs: &[Tensor]) -> Result<Vec<Line>> {
        let mut options = PlanOptions::default();
        options.reject_nan = false;
        let actual = device.compile_with(graph, &options)?.run(inputs)?;
        let mut lines = Vec::new();
        for (id, actual) in self.graph.outputs().iter().zip(&actual) {
            let of = |values: &[Option<Tensor>], id: &ValueId| values[id.index()].clone();
            let (Some(expected), Some(disturbed)) = (of(&self.values, id), of(&self.disturbed, id)) else {
                continue;
            };
            let pairs = numbers(&expected).into_iter().zip(numbers(&disturbed));
            let moved = pairs.map(|(a, b)| (a - b).abs()).filter(|d| d.is_finite()).fold(0.0, f64::max);
            let bound =
                Bound::uniform(moved, actual.shape().elements(), "estimate: likely errors carried on");
            let name = format!("output {}", self.graph.value(*id).name);
            lines.push(Line::new(&name, "whole network", bound.judge(&expected, actual), bound.source));
        }
        Ok(lines)
    }
}

/// Seeded random numbers that are the same on every machine: SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 1 or -1.
    fn sign(&mut self) -> f64 {
        if self.next() >> 63 == 0 { 1.0 } else { -1.0 }
    }

    /// A tensor for an input: numbers from -1 to 1, truth values, or zeros where integers are asked for, which are
    /// positions and have to exist.
    fn tensor(&mut self, info: &Info) -> Result<Tensor> {
        let elements = info.shape.elements();
        let shape = info.shape.to_vec();
        Ok(match info.dtype {
            DType::I64 => Tensor::new(shape, vec![0i64; elements])?,
            DType::Bool => Tensor::new(shape, (0..elements).map(|_| self.sign() > 0.0).collect())?,
            _ => {
                let mut values = Vec::new();
                values
                    .try_reserve_exact(elements)
                    .with_context(|| format!("an input of {elements} numbers"))?;
                values.extend((0..elements).map(|_| (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0));
                Tensor::new(shape, values)?
            }
        })
    }
}
