//! `wgpu-cnn run`: which classes a network sees in pictures, or what an ONNX model makes of arrays.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use wgpu_cnn::classify::{softmax, top_k};
use wgpu_cnn::ops::Op;
use wgpu_cnn::picture::{self, Preprocess};
use wgpu_cnn::{Device, Graph, Plan};

use crate::output::{self, Progress, milliseconds, short};
use crate::{devices, model, tensors};

/// Classify pictures, or run an ONNX model on arrays
#[derive(clap::Args)]
pub struct Args {
    #[arg(value_name = "MODEL", help = model::help())]
    model: String,
    /// PNG or JPEG files, or folders of them; they are scaled to the network's input
    #[arg(required_unless_present = "inputs", value_name = "IMAGE|FOLDER")]
    images: Vec<PathBuf>,
    /// An input of an ONNX model, from an array; once for each
    #[arg(
        long = "input", id = "inputs", value_name = "NAME=FILE.npy", value_parser = named_file,
        conflicts_with_all = ["images", "top", "labels", "json"], requires = "output_dir"
    )]
    inputs: Vec<(String, PathBuf)>,
    /// The folder for the outputs of an ONNX model, one .npy file for each
    #[arg(long, value_name = "DIR", requires = "inputs")]
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
    /// Print one JSON object per image and nothing else
    #[arg(long)]
    json: bool,
}

/// What the network says about one picture.
#[derive(Serialize)]
struct Line<'a> {
    image: String,
    device: &'a str,
    top: Vec<Class<'a>>,
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
        let device = Device::named(&args.device)?;
        let inputs = args.inputs.iter().cloned().collect();
        let output = |name: &str| Some(tensors::output_file(folder, name));
        tensors::run_model(&device, Path::new(&args.model), &inputs, output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let start = Instant::now();
    let model = model::load(&args.model)?;
    let shape = picture::image_shape(&model.graph)?;
    let preprocess = Preprocess::for_network(&model.graph)?;
    let labels = match &args.labels {
        Some(file) => Some(read_labels(file, model.classes()?)?),
        None => model.labels.clone(),
    };
    let files = picture::files(&args.images)?;

    let progress = Progress::new(files.len());
    progress.doing("images");
    let device = Device::named(&args.device)?;
    let plan = device.compile(&model.graph)?;
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
            top: top_k(&probabilities, args.top.get()).into_iter().map(class).collect(),
        };
        progress
            .aside(|| if args.json { output::json_line(&line) } else { output::line(&line.text(&files)) })?;
        progress.step();
    }
    drop(progress);

    if let (Some(first), false) = (first, args.json) {
        let images =
            if times.len() == 1 { "1 image".into() } else { format!("median of {} images", times.len()) };
        output::line(&format!(
            "\ndevice: {}\ntime to first result: {} ms (load, compile, first image)\ntime per image: {} ms ({images}: \
             read, run)",
            devices::describe(device.info()),
            short(milliseconds(first)),
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

/// The network's output as probabilities, whatever it ends in.
fn probabilities(graph: &Graph, plan: &Plan, input: &wgpu_cnn::Tensor) -> Result<Vec<f32>> {
    let output = plan.run_one(input)?;
    let values = output.values::<f32>()?;
    let last =
        graph.outputs().first().and_then(|id| graph.nodes().iter().find(|node| node.outputs.contains(id)));
    Ok(match last.map(|node| &node.op) {
        Some(Op::Softmax(softmax)) if softmax.log => values.iter().map(|v| v.exp()).collect(),
        Some(Op::Softmax(_)) => values.to_vec(),
        _ => softmax(values),
    })
}

/// `NAME=FILE`; the name may hold `=` itself.
fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.rsplit_once('=').ok_or("expected NAME=FILE.npy")?;
    Ok((name.into(), file.into()))
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
