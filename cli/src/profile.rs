//! `wgpu-cnn profile`: where a network's time goes, step by step.

use std::collections::HashMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};
use wgpu_cnn::graph::passes::{Passes, optimize};
use wgpu_cnn::graph::{Info, Node};
use wgpu_cnn::ops::Gemm;
use wgpu_cnn::plan::StepTime;
use wgpu_cnn::{Conv2d, Device, Graph, Network, PlanOptions, Shape, Tensor};

use crate::output::{self, Column, Progress, median, milliseconds, short};
use crate::{bench, devices, model};

/// Measure a network step by step: each layer's kernels, their time and how close they come to the device's peak
///
/// A GPU's steps are timed by its own timestamps, the CPU's by the clock; each figure is a median. GFLOP/s counts two
/// operations per multiply-accumulate of the layer, GB/s each tensor it reads or writes once. The peak is what this
/// library reaches on the device: the fastest of two matrix products and two convolutions, and a copy.
#[derive(clap::Args)]
pub struct Args {
    #[arg(value_name = "MODEL", help = model::help())]
    model: String,
    /// Where to run: auto, cpu, gpu, or a part of an adapter's name
    #[arg(long, default_value = "auto", value_name = "auto|cpu|gpu|NAME")]
    device: String,
    /// Images at once [default: 1, or what an ONNX file fixes]
    #[arg(long, value_name = "N")]
    batch: Option<NonZeroUsize>,
    /// Measured runs
    #[arg(long, value_name = "N", default_value = "20")]
    runs: NonZeroUsize,
    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
    /// Also write the steps, one after the other, as events for chrome://tracing or ui.perfetto.dev
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
}

/// The fastest that the device did simple work.
#[derive(Clone, Copy, Serialize)]
struct Peak {
    gflops: f64,
    gb_per_s: f64,
}

#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    device: &'a str,
    backend: &'a str,
    driver: &'a str,
    batch: usize,
    runs: usize,
    peak: Peak,
    steps: Vec<Row>,
    /// The steps' times together.
    steps_ms: f64,
    /// A whole run, from host memory and back.
    median_ms: f64,
    /// How much longer a whole run is than its steps together; negative where it is shorter.
    difference_ms: f64,
    /// Of a whole run.
    gflops: f64,
}

#[derive(Debug, PartialEq, Serialize)]
struct Row {
    layer: String,
    kernel: String,
    ms: f64,
    /// Of all steps' time.
    time_share: f64,
    /// What the layer does in the time of all its steps; on the longest of them alone.
    rates: Option<Rates>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Rates {
    gflops: f64,
    gb_per_s: f64,
    /// The larger of the two over the peak. Above 1 where an algorithm needs fewer operations than it is counted
    /// with, or where tensors stay in a cache.
    peak_share: f64,
    /// `compute` or `memory`: which of the two is larger.
    bound: &'static str,
}

/// What a layer has to do.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cost {
    macs: u64,
    bytes: u64,
}

/// Prints a row per step, or one JSON object.
pub fn profile(args: &Args) -> Result<ExitCode> {
    // What is fused into a layer is part of its cost, so the fused graph is what is counted.
    let graph = optimize(&model::load(&args.model, args.batch)?.graph, &Passes::default())?;
    let mut options = PlanOptions::default();
    options.passes = Passes::none();
    options.passes.drop_reshape = true;

    let runs = args.runs.get();
    let progress = Progress::new(3 + runs);
    let device = devices::open(&args.device)?;
    progress.doing("compile");
    let plan = device.compile_with(&graph, &options)?;
    progress.step();
    let inputs = inputs(&graph)?;
    progress.doing("steps");
    let steps = plan.profile(&inputs, runs)?;
    progress.step();
    progress.doing("whole runs");
    let mut times = Vec::new();
    for _ in 0..runs {
        let begun = Instant::now();
        plan.run(&inputs)?;
        times.push(begun.elapsed());
        progress.step();
    }
    drop(plan);
    progress.doing("peak");
    let peak = peak(&device)?;
    drop(progress);

    let report = report(args, &device, &graph, steps, median(&times), peak);
    if let Some(file) = &args.trace {
        fs::write(file, trace(&report).to_string()).with_context(|| file.display().to_string())?;
    }
    if args.json {
        output::json_line(&report)?;
    } else {
        output::line(&text(&report, devices::describe(device.info())))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn inputs(graph: &Graph) -> Result<Vec<Tensor>> {
    graph.inputs().iter().map(|&id| bench::input(&graph.value(id).info.shape)).collect()
}

/// The fastest of two matrix products and two convolutions, all with weights prepared at plan time; and a ReLU over 64 MiB,
/// which copies but for the signs.
fn peak(device: &Device) -> Result<Peak> {
    let times = |graph: &Graph| -> Result<Vec<f64>> {
        let steps = device.compile(graph)?.profile(&inputs(graph)?, 3)?;
        Ok(steps.iter().map(|step| step.milliseconds).collect())
    };
    let pointwise = Network::new("pointwise", [1024, 32, 32]).conv2d(Conv2d::new(1024, 1)).build()?;
    let convolution =
        Network::new("convolution", [256, 28, 28]).conv2d(Conv2d::new(256, 3).padding(1)).build()?;
    let mut gflops: f64 = 0.0;
    for graph in [product(512)?, product(1024)?, pointwise, convolution] {
        // Without what prepares its operands.
        let longest = times(&graph)?.into_iter().fold(0.0, f64::max);
        gflops = gflops.max(2e-6 * graph.summary().macs as f64 / longest);
    }
    let copy = Network::new("copy", [16, 1024, 1024]).relu().build()?;
    // Where it takes several steps, each reads and writes everything.
    let shortest = times(&copy)?.into_iter().fold(f64::INFINITY, f64::min);
    Ok(Peak { gflops, gb_per_s: 2e-6 * f64::from(64 << 20) / shortest })
}

/// `[n, n]` times `[n, n]`.
fn product(n: usize) -> Result<Graph> {
    let mut graph = Graph::new("product");
    let a = graph.input("a", Info::f32(Shape::new([n, n])?));
    let b = graph.constant("b", bench::input(&[n, n])?);
    let product = graph.push("product", Gemm::default(), &[a, b])?;
    graph.output(product);
    Ok(graph)
}

/// What each layer has to do, by its name.
fn costs(graph: &Graph) -> HashMap<String, Cost> {
    let layers = graph.summary().layers;
    let bytes = |node: &Node| -> u64 {
        let values = node.inputs.iter().flatten().chain(&node.outputs);
        // Every element is 32 bits wide on a device.
        values.map(|&id| 4 * graph.value(id).info.shape.elements() as u64).sum()
    };
    let costs = layers.iter().zip(graph.nodes());
    costs.map(|(layer, node)| (layer.name.clone(), Cost { macs: layer.macs, bytes: bytes(node) })).collect()
}

/// A row per step. A layer's rates are over the time of all its steps, and stand at the longest.
fn rows(steps: Vec<StepTime>, costs: &HashMap<String, Cost>, peak: Peak) -> Vec<Row> {
    let total: f64 = steps.iter().map(|step| step.milliseconds).sum();
    let mut layers: HashMap<String, (f64, usize)> = HashMap::new();
    for (i, step) in steps.iter().enumerate() {
        let (time, longest) = layers.entry(step.layer.clone()).or_insert((0.0, i));
        *time += step.milliseconds;
        if step.milliseconds > steps[*longest].milliseconds {
            *longest = i;
        }
    }
    let rates = |i: usize, layer: &str| {
        let (cost, &(time, longest)) = (costs.get(layer)?, layers.get(layer)?);
        (i == longest && time > 0.0).then(|| Rates::new(*cost, time, peak))
    };
    let row = |(i, step): (usize, StepTime)| Row {
        rates: rates(i, &step.layer),
        time_share: if total > 0.0 { step.milliseconds / total } else { 0.0 },
        layer: step.layer,
        kernel: step.kernel,
        ms: step.milliseconds,
    };
    steps.into_iter().enumerate().map(row).collect()
}

impl Rates {
    fn new(cost: Cost, ms: f64, peak: Peak) -> Self {
        let (gflops, gb_per_s) = (2e-6 * cost.macs as f64 / ms, 1e-6 * cost.bytes as f64 / ms);
        let (compute, memory) = (gflops / peak.gflops, gb_per_s / peak.gb_per_s);
        let bound = if compute >= memory { "compute" } else { "memory" };
        Rates { gflops, gb_per_s, peak_share: compute.max(memory), bound }
    }
}

fn report<'a>(
    args: &'a Args,
    device: &'a Device,
    graph: &Graph,
    steps: Vec<StepTime>,
    run: Duration,
    peak: Peak,
) -> Report<'a> {
    let steps_ms = steps.iter().map(|step| step.milliseconds).sum();
    let median_ms = milliseconds(run);
    Report {
        model: &args.model,
        device: &device.info().name,
        backend: &device.info().backend,
        driver: &device.info().driver,
        batch: model::batch(graph),
        runs: args.runs.get(),
        peak,
        steps: rows(steps, &costs(graph), peak),
        steps_ms,
        median_ms,
        difference_ms: median_ms - steps_ms,
        gflops: 2e-6 * graph.summary().macs as f64 / median_ms,
    }
}

fn text(report: &Report, device: String) -> String {
    use Column::{Left, Right};
    let header = [
        ("layer", Left),
        ("kernel", Left),
        ("ms", Right),
        ("time", Right),
        ("GFLOP/s", Right),
        ("GB/s", Right),
        ("of peak", Right),
    ];
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let rate = |row: &Row, value: fn(Rates) -> f64| row.rates.map_or_else(String::new, |r| short(value(r)));
    let row = |row: &Row| {
        vec![
            row.layer.clone(),
            row.kernel.clone(),
            short(row.ms),
            percent(row.time_share),
            rate(row, |r| r.gflops),
            rate(row, |r| r.gb_per_s),
            row.rates.map_or_else(String::new, |r| format!("{} {}", percent(r.peak_share), r.bound)),
        ]
    };
    let rows: Vec<_> = report.steps.iter().map(row).collect();
    format!(
        "{}\n\n{}, batch {}, {} runs\ndevice: {device}\npeak measured: {} GFLOP/s, {} GB/s\n\
         steps: {} ms; a whole run: {} ms, {} GFLOP/s\n{}",
        output::table(&header, &rows),
        report.model,
        report.batch,
        report.runs,
        short(report.peak.gflops),
        short(report.peak.gb_per_s),
        short(report.steps_ms),
        short(report.median_ms),
        short(report.gflops),
        difference(report.difference_ms),
    )
}

/// What the steps' sum and a whole run differ by, and why they may.
fn difference(ms: f64) -> String {
    if ms >= 0.0 {
        format!(
            "difference: {} ms outside the steps (copies from and to host memory, submission, waiting)",
            short(ms)
        )
    } else {
        let why = "timing separates steps that a whole run does not";
        format!("difference: the steps add up to {} ms more than a whole run ({why})", short(-ms))
    }
}

/// The steps one after the other, in the Trace Event Format; times are in microseconds.
fn trace(report: &Report) -> Value {
    let title = format!("{}, batch {}, on {}", report.model, report.batch, report.device);
    let mut events = vec![json!({"name": "process_name", "ph": "M", "pid": 1, "args": {"name": title}})];
    let mut start = 0.0;
    for row in &report.steps {
        let duration = 1e3 * row.ms;
        events.push(json!({
            "name": row.layer, "cat": row.kernel, "ph": "X", "pid": 1, "tid": 1, "ts": start, "dur": duration,
            "args": {"kernel": row.kernel, "rates": row.rates},
        }));
        start += duration;
    }
    json!({"displayTimeUnit": "ms", "traceEvents": events})
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEAK: Peak = Peak { gflops: 100.0, gb_per_s: 10.0 };

    fn step(layer: &str, kernel: &str, milliseconds: f64) -> StepTime {
        StepTime { layer: layer.into(), kernel: kernel.into(), milliseconds }
    }

    #[test]
    fn a_layer_is_rated_over_all_its_steps_at_the_longest() {
        let costs = HashMap::from([
            ("conv".to_owned(), Cost { macs: 50_000_000, bytes: 2_000_000 }),
            ("relu".to_owned(), Cost { macs: 0, bytes: 4_000_000 }),
        ]);
        let steps =
            vec![step("conv", "im2col", 0.5), step("conv", "gemm", 1.5), step("relu", "activation", 2.0)];
        let rows = rows(steps, &costs, PEAK);
        assert_eq!(rows[0].rates, None);
        let conv = Rates { gflops: 50.0, gb_per_s: 1.0, peak_share: 0.5, bound: "compute" };
        assert_eq!(rows[1].rates, Some(conv));
        let relu = Rates { gflops: 0.0, gb_per_s: 2.0, peak_share: 0.2, bound: "memory" };
        assert_eq!(rows[2].rates, Some(relu));
        let shares: Vec<_> = rows.iter().map(|row| row.time_share).collect();
        assert_eq!(shares, [0.125, 0.375, 0.5]);
    }

    #[test]
    fn a_step_of_no_known_layer_has_no_rates() {
        assert_eq!(rows(vec![step("other", "copy", 1.0)], &HashMap::new(), PEAK)[0].rates, None);
    }

    #[test]
    fn fused_layers_keep_their_names_and_costs() {
        let network = Network::new("two", [2, 4, 4]).conv2d(Conv2d::new(3, 1)).relu().build().unwrap();
        let costs = costs(&optimize(&network, &Passes::default()).unwrap());
        // 2*16 inputs, 3*2 weights, 3 biases and 3*16 outputs.
        let conv = Cost { macs: 3 * 2 * 16, bytes: 4 * (32 + 6 + 3 + 48) };
        assert_eq!(costs.values().copied().collect::<Vec<_>>(), [conv]);
    }

    #[test]
    fn a_difference_is_told_with_its_sign() {
        assert!(difference(1.25).starts_with("difference: 1.250 ms outside the steps"));
        assert!(difference(-0.5).contains("0.500 ms more than a whole run"));
    }
}
