//! `wgpu-cnn run`: which classes a network sees in pictures, or what an ONNX model makes of arrays.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use wgpu_cnn::classify::{softmax, top_k};
use wgpu_cnn::graph::ValueId;
use wgpu_cnn::ops::Op;
use wgpu_cnn::picture::{self, Preprocess};
use wgpu_cnn::{Graph, Plan};

use crate::output::{self, Progress, milliseconds, short};
use crate::{bench, devices, model, tensors};

/// Classify pictures, or run an ONNX model on arrays
#[derive(clap::Args)]
pub struct Args {
    #[arg(value_name = "MODEL", help = model::help())]
    model: String,
    /// PNG or JPEG files, or folders of them; they are scaled to the network's input
    #[arg(required_unless_present = "output_dir", value_name = "IMAGE|FOLDER")]
    images: Vec<PathBuf>,
    /// An input of an ONNX model, from an array; once for each
    #[arg(long = "input", value_name = "NAME=FILE.npy", value_parser = tensors::named_file, requires = "output_dir")]
    inputs: Vec<(String, PathBuf)>,
    /// Run an ONNX model on arrays and write its outputs to this folder, one .npy file for each
    #[arg(long, value_name = "DIR", conflicts_with_all = ["images", "top", "labels", "mean", "std", "json"])]
    output_dir: Option<PathBuf>,
    /// Where to run: auto (a hardware GPU, else the CPU), cpu, gpu (a software one if there is no other), or a part of
    /// an adapter's name
    #[arg(long, default_value = "auto", value_name = "auto|cpu|gpu|NAME")]
    device: String,
    /// How many classes to show
    #[arg(long, value_name = "K", default_value = "3")]
    top: NonZeroUsize,
    /// Names of the classes, one a line
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// What is subtracted from each channel, in pixels from 0 to 1 [default: ImageNet's for three channels, 0 for one]
    #[arg(long, value_name = "R,G,B", value_delimiter = ',', num_args = 1, allow_hyphen_values = true)]
    mean: Option<Vec<f32>>,
    /// What each channel is then divided by [default: ImageNet's for three channels, 1 for one]
    #[arg(long, value_name = "R,G,B", value_delimiter = ',', num_args = 1, allow_hyphen_values = true)]
    std: Option<Vec<f32>>,
    /// Print one JSON object per image and nothing else
    #[arg(long)]
    json: bool,
}

/// What the network says about one picture.
#[derive(Serialize)]
struct Line<'a> {
    image: String,
    device: &'a str,
    preprocess: Applied<'a>,
    top: Vec<Class<'a>>,
}

/// What was done to the pixels.
#[derive(Serialize)]
struct Applied<'a> {
    mean: &'a [f32],
    std: &'a [f32],
    crop: f32,
}

#[derive(Serialize)]
struct Class<'a> {
    index: usize,
    label: Option<&'a str>,
    probability: f32,
}

/// Prints the top classes of every picture. A picture that cannot be read is reported and makes the exit code 1, and the
/// others are still classified.
pub fn run(args: &Args) -> Result<ExitCode> {
    if let Some(folder) = &args.output_dir {
        let device = devices::open(&args.device)?;
        let inputs = args.inputs.iter().cloned().collect();
        let output = |name: &str| Some(tensors::output_file(folder, name));
        tensors::run_model(&device, Path::new(&args.model), &inputs, output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let start = Instant::now();
    // Both take a moment, and neither needs the other.
    let (model, device) = std::thread::scope(|scope| {
        let device = scope.spawn(|| devices::open(&args.device));
        let model = model::load(&args.model, Some(NonZeroUsize::MIN));
        (model, device.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let (model, device) = (model?, device?);
    let shape = picture::image_shape(&model.graph)?;
    let preprocess = preprocess(args, &model.graph)?;
    let labels = match &args.labels {
        Some(file) => Some(read_labels(file, model.classes()?)?),
        None => model.labels.clone(),
    };
    let files = picture::files(&args.images)?;

    let progress = Progress::new(files.len());
    progress.doing("images");
    let begun = Instant::now();
    let plan = device.compile(&model.graph)?;
    let (compile, pipelines) = (begun.elapsed(), bench::pipelines(&device));
    let mut first = None;
    let mut times = Vec::new();
    for file in &files {
        let begun = Instant::now();
        let input = match picture::load(file, shape, &preprocess) {
            Ok(input) => input,
            Err(e) => {
                progress.aside(|| output::error(&e.into()));
                progress.step();
                continue;
            }
        };
        let probabilities = probabilities(&model.graph, &plan, &input)?;
        times.push(begun.elapsed());
        first.get_or_insert_with(|| start.elapsed());

        let class = |(index, probability)| Class {
            index,
            label: labels.as_ref().and_then(|labels| labels.get(index)).map(String::as_str),
            probability,
        };
        let line = Line {
            image: file.display().to_string(),
            device: &device.info().name,
            preprocess: Applied { mean: &preprocess.mean, std: &preprocess.std, crop: preprocess.crop },
            top: top_k(&probabilities, args.top.get()).into_iter().map(class).collect(),
        };
        progress
            .aside(|| if args.json { output::json_line(&line) } else { output::line(&line.text(&files)) })?;
        progress.step();
    }
    drop(progress);

    if let (Some(first), false) = (first, args.json) {
        let compiled = format!("{} ms, {pipelines} pipelines", short(milliseconds(compile)));
        let images =
            if times.len() == 1 { "1 image".into() } else { format!("median of {} images", times.len()) };
        output::line(&format!(
            "\n{}\ndevice: {}\ntime to first result: {} ms (load; compile: {compiled}; first image: {} ms)\ntime per image: {} ms ({images}: \
             read, run)",
            describe(&preprocess, shape),
            devices::describe(device.info()),
            short(milliseconds(first)),
            short(milliseconds(times[0])),
            short(milliseconds(output::median(&times))),
        ))?;
    }
    Ok(if times.len() == files.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Line<'_> {
    /// The picture and its classes, the names of all `files` padded to one width.
    fn text(&self, files: &[PathBuf]) -> String {
        let width = files.iter().map(|file| file.display().to_string().chars().count()).max().unwrap_or(0);
        let mut text = format!("{:width$}", self.image);
        for Class { index, label, probability } in &self.top {
            let name = label.map_or_else(|| format!("#{index}"), str::to_owned);
            text += &format!("  {name} {:6.2} %", 100. * probability);
        }
        text
    }
}

/// What is usual for the network, with what the command line says in its place.
fn preprocess(args: &Args, graph: &Graph) -> Result<Preprocess> {
    let mut preprocess = Preprocess::for_network(graph)?;
    let channels = preprocess.mean.len();
    let given = [("--mean", &args.mean, &mut preprocess.mean), ("--std", &args.std, &mut preprocess.std)];
    for (option, given, value) in given {
        let Some(given) = given else { continue };
        ensure!(
            given.len() == channels,
            "{option} has {} numbers, but the network's pictures have {channels} channels",
            given.len()
        );
        ensure!(given.iter().all(|v| v.is_finite()), "{option} takes finite numbers");
        value.clone_from(given);
    }
    ensure!(preprocess.std.iter().all(|v| *v != 0.0), "--std is divided by, so it cannot be 0");
    Ok(preprocess)
}

/// What becomes of a picture before the network sees it.
fn describe(Preprocess { mean, std, crop }: &Preprocess, [channels, height, width]: [usize; 3]) -> String {
    let list = |values: &[f32]| values.iter().map(f32::to_string).collect::<Vec<_>>().join(",");
    format!(
        "preprocessing: {height}x{width} pixels, {}, from 0 to 1; mean {}; std {}; crop {crop} of the shorter side",
        if channels == 1 { "grey" } else { "RGB" },
        list(mean),
        list(std)
    )
}

/// The network's output as probabilities, whatever it ends in.
fn probabilities(graph: &Graph, plan: &Plan, input: &wgpu_cnn::Tensor) -> Result<Vec<f32>> {
    let output = plan.run_one(input)?;
    let values = output.values::<f32>()?;
    let producer = |id: ValueId| graph.nodes().iter().find(|node| node.outputs.contains(&id));
    let mut last = graph.outputs().first().and_then(|&id| producer(id));
    while let Some(Op::Reshape(_)) = last.map(|node| &node.op) {
        last = last.and_then(|node| node.inputs[0]).and_then(producer);
    }
    Ok(match last.map(|node| &node.op) {
        Some(Op::Softmax(softmax)) if softmax.log => values.iter().map(|v| v.exp()).collect(),
        Some(Op::Softmax(_)) => values.to_vec(),
        _ => softmax(values),
    })
}

/// The lines of a file of class names, of which there must be one per class.
fn read_labels(file: &Path, classes: usize) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let labels: Vec<String> = text.trim_end().lines().map(|line| line.trim().to_owned()).collect();
    ensure!(
        labels.len() == classes,
        "{}: {} labels for {classes} classes; write one label per line",
        file.display(),
        labels.len()
    );
    Ok(labels)
}
