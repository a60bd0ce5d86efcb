//! `wgpu-cnn bench`: how fast a network runs on one device and another.

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use wgpu_cnn::plan::Tuning;
use wgpu_cnn::{Device, Error, Graph, Plan, PlanOptions, Tensor};

use crate::output::{self, Column, Progress, mebibytes, median, milliseconds, short};
use crate::{devices, model};

/// Runs after the first and before the measured ones: caches are filled and clocks are up by then.
const WARM_UP: usize = 2;

/// Measure a network on several devices, side by side
///
/// The devices' runs alternate, so that whatever else the machine does hits them alike. A run takes the input from host
/// memory and has the output back there. GFLOP/s counts two operations per multiply-accumulate.
///
/// With --tune each adapter is measured a second time with kernels chosen by measuring instead of by rule: for each layer
/// of a shape not met before up to eight are timed, of which those win whose output also agrees with the CPU's. That may
/// take minutes; what it finds is kept in the user's cache folder (or the one named by WGPU_CNN_CACHE).
#[derive(clap::Args)]
pub struct Args {
    #[arg(value_name = "MODEL", help = model::help())]
    model: String,
    /// Images at once [default: 1, or what an ONNX file fixes]
    #[arg(long, value_name = "N")]
    batch: Option<NonZeroUsize>,
    /// Measured runs
    #[arg(long, value_name = "N", default_value = "20")]
    runs: NonZeroUsize,
    /// A device to measure, as for `run`; may be given several times [default: gpu and cpu]
    #[arg(long, value_name = "auto|cpu|gpu|NAME")]
    device: Vec<String>,
    /// Also measure with kernels chosen by measuring
    #[arg(long)]
    tune: bool,
    /// Print one JSON object per device instead
    #[arg(long)]
    json: bool,
}

/// A device's compiled network and what was measured of it.
struct Entry {
    device: Device,
    tuning: Tuning,
    plan: Plan,
    compile: Duration,
    pipelines: usize,
    first: Duration,
    times: Vec<Duration>,
}

#[derive(Serialize)]
struct Line<'a> {
    model: &'a str,
    device: &'a str,
    backend: &'a str,
    tuning: &'a str,
    batch: usize,
    runs: usize,
    compile_ms: f64,
    pipelines: usize,
    measured_layers: usize,
    first_ms: f64,
    median_ms: f64,
    min_ms: f64,
    images_per_s: f64,
    gflops: f64,
    weights_bytes: u64,
    peak_activation_bytes: u64,
}

/// Measures and prints one column, or one JSON object, per device.
pub fn bench(args: &Args) -> Result<ExitCode> {
    let graph = model::load(&args.model, args.batch)?.graph;
    let mut devices: Vec<_> = open(&args.device)?.into_iter().map(|device| (device, Tuning::Rule)).collect();
    if args.tune {
        // Opened anew: a device of its own compiles what it needs.
        let tuned: Vec<_> = open(&args.device)?.into_iter().filter(|device| !device.is_cpu()).collect();
        devices.extend(tuned.into_iter().map(|device| (device, Tuning::Measured)));
    }
    let entries = measure(&graph, devices, args.runs.get())?;
    let macs = graph.summary().macs;
    let batch = model::batch(&graph);
    let lines: Vec<_> = entries.iter().map(|entry| line(args, batch, macs, entry)).collect();
    if args.json {
        lines.iter().try_for_each(output::json_line)?;
    } else {
        output::line(&table(args, batch, &entries, &lines))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The devices of these names; where none are asked for, the best adapter and the CPU.
fn open(names: &[String]) -> Result<Vec<Device>> {
    if !names.is_empty() {
        return names.iter().map(|name| Ok(devices::open(name)?)).collect();
    }
    match devices::open("gpu") {
        Ok(gpu) => Ok(vec![gpu, Device::cpu()]),
        Err(Error::NoDevice { .. }) => {
            output::note("note: there is no GPU adapter on this machine, not even a software one");
            Ok(vec![Device::cpu()])
        }
        Err(e) => Err(e.into()),
    }
}

fn measure(graph: &Graph, devices: Vec<(Device, Tuning)>, runs: usize) -> Result<Vec<Entry>> {
    let progress = Progress::new(devices.len() * (2 + WARM_UP + runs));
    progress.doing("compile");
    let mut entries = Vec::new();
    for (device, tuning) in devices {
        let mut options = PlanOptions::default();
        options.tuning = tuning;
        let begun = Instant::now();
        let plan = device.compile_with(graph, &options)?;
        let compile = begun.elapsed();
        progress.step();
        let pipelines = pipelines(&device);
        let (first, times) = (Duration::ZERO, Vec::new());
        entries.push(Entry { device, tuning, plan, compile, pipelines, first, times });
    }

    let inputs: Vec<Tensor> =
        graph.inputs().iter().map(|&id| input(&graph.value(id).info.shape)).collect::<Result<_>>()?;
    for round in 0..1 + WARM_UP + runs {
        progress.doing(if round <= WARM_UP { "warm up" } else { "measure" });
        for entry in &mut entries {
            let begun = Instant::now();
            entry.plan.run(&inputs)?;
            let time = begun.elapsed();
            match round {
                0 => entry.first = time,
                round if round <= WARM_UP => {}
                _ => entry.times.push(time),
            }
            progress.step();
        }
    }
    Ok(entries)
}

/// How many pipelines the device has compiled; the CPU backend has none.
pub fn pipelines(device: &Device) -> usize {
    device.as_gpu().map_or(0, |gpu| gpu.pipeline_count())
}

/// Numbers in 0..1, the same on every run: the fractional parts of multiples of the golden ratio.
pub fn input(shape: &[usize]) -> Result<Tensor> {
    let elements = shape.iter().product();
    let mut values = Vec::new();
    values.try_reserve_exact(elements).with_context(|| format!("an input of {elements} numbers"))?;
    values.extend((1..=elements as u64).map(|i| (i as f64 * 0.618_033_988_749_895).fract() as f32));
    Ok(Tensor::new(shape, values)?)
}

fn line<'a>(args: &'a Args, batch: usize, macs: u64, entry: &'a Entry) -> Line<'a> {
    let (info, memory) = (entry.device.info(), entry.plan.memory());
    let median = median(&entry.times);
    let per_second = |amount: f64| amount / median.as_secs_f64();
    Line {
        model: &args.model,
        device: &info.name,
        backend: &info.backend,
        tuning: tuning(entry.tuning),
        batch,
        runs: args.runs.get(),
        compile_ms: milliseconds(entry.compile),
        pipelines: entry.pipelines,
        measured_layers: entry.device.as_gpu().map_or(0, |gpu| gpu.measurement_count()),
        first_ms: milliseconds(entry.first),
        median_ms: milliseconds(median),
        min_ms: milliseconds(entry.times.iter().min().copied().unwrap_or_default()),
        images_per_s: per_second(batch as f64),
        gflops: per_second(2e-9 * macs as f64),
        weights_bytes: memory.weights,
        peak_activation_bytes: memory.activations,
    }
}

fn tuning(tuning: Tuning) -> &'static str {
    if tuning == Tuning::Measured { "measured" } else { "rule" }
}

/// A column per device, a row per number.
fn table(args: &Args, batch: usize, entries: &[Entry], lines: &[Line]) -> String {
    let title = format!("{}, batch {batch}, {} runs", args.model, args.runs);
    let names = lines.iter().map(|line| (line.device, Column::Right));
    let header: Vec<_> = [(title.as_str(), Column::Left)].into_iter().chain(names).collect();

    let row = |title: &str, cells: Vec<String>| [vec![title.to_owned()], cells].concat();
    let number = |title, value: fn(&Line) -> f64| row(title, lines.iter().map(|l| short(value(l))).collect());
    let infos = || entries.iter().map(|entry| entry.device.info());
    let rows = [
        row("kind", infos().map(|info| devices::kind(info).to_owned()).collect()),
        row("backend", infos().map(|info| info.backend.clone()).collect()),
        row("driver", infos().map(|info| info.driver.clone()).collect()),
        row("kernels chosen by", lines.iter().map(|line| line.tuning.to_owned()).collect()),
        row("layers measured", lines.iter().map(|line| line.measured_layers.to_string()).collect()),
        number("compile, ms", |l| l.compile_ms),
        row("pipelines compiled", lines.iter().map(|line| line.pipelines.to_string()).collect()),
        number("first run, ms", |l| l.first_ms),
        number("median run, ms", |l| l.median_ms),
        number("fastest run, ms", |l| l.min_ms),
        number("images/s", |l| l.images_per_s),
        number("GFLOP/s", |l| l.gflops),
        number("weights, MiB", |l| mebibytes(l.weights_bytes)),
        number("peak activations, MiB", |l| mebibytes(l.peak_activation_bytes)),
    ];
    output::table(&header, &rows)
}
