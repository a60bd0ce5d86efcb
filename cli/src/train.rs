//! `wgpu-cnn train`: a network learns from labelled images.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::Serialize;
use wgpu_cnn::train::data::{Dataset, Split};
use wgpu_cnn::train::{
    self, Checkpoint, Clip, Decay, Ending, EpochReport, Evaluation, Event, Loss, Optimizer, Schedule,
    TrainOptions, Trainer,
};
use wgpu_cnn::{Device, Graph, onnx, picture, zoo};

use crate::output::{self, Progress, mebibytes, short};
use crate::{devices, model, plot};

/// Train a network on labelled images and test it on others
///
/// The defaults are those that the bundled LeNet-5 was trained with. Ctrl-C saves what is there; --resume goes on, to the
/// same weights as without a break.
#[derive(clap::Args)]
pub struct Args {
    /// The network: fully_connected, a name that `inspect` knows, or an ONNX file
    #[arg(value_name = "MODEL")]
    model: String,
    /// A folder with MNIST's four files (plain or .gz), or with train/ and test/, each a folder of pictures per class
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,
    /// Where to train: auto (a hardware GPU, else the CPU), cpu, gpu (a software one if there is no other), or a part of
    /// an adapter's name
    #[arg(long, default_value = "auto", value_name = "auto|cpu|gpu|NAME")]
    device: String,
    /// Where the trained weights go: a safetensors file, or the whole network as .onnx
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// What training starts from: random weights, the model's own, or a safetensors file [default: random; own for an ONNX
    /// file]
    #[arg(long, value_name = "random|own|FILE")]
    start: Option<String>,
    /// How often every image is seen
    #[arg(long, value_name = "N", default_value = "40", value_parser = clap::value_parser!(u64).range(1..))]
    epochs: u64,
    /// Images per step
    #[arg(long, value_name = "N", default_value = "32")]
    batch: std::num::NonZeroUsize,
    /// Chooses random weights, the order of the images and their augmentation; the same seed gives the same weights
    #[arg(long, value_name = "S", default_value = "0")]
    seed: u64,
    #[command(flatten)]
    rule: Rule,
    #[command(flatten)]
    images: Images,
    /// Layers that stay as they are, by name or by what comes before a dot in it; `all-but-head` is all but the last
    #[arg(long, value_name = "LAYER,...", value_delimiter = ',')]
    freeze: Vec<String>,
    /// Write the state here after every epoch
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Go on from a checkpoint, with the same settings as before
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// End after so many epochs without a better one on the held-back images
    #[arg(long, value_name = "EPOCHS", requires = "validation")]
    patience: Option<u64>,
    /// Write a line per epoch here
    #[arg(long, value_name = "FILE.csv")]
    history: Option<PathBuf>,
    /// Draw loss and accuracy by epoch
    #[arg(long, value_name = "FILE.png")]
    curves: Option<PathBuf>,
    /// Draw which classes the test images are taken for
    #[arg(long, value_name = "FILE.png")]
    confusion: Option<PathBuf>,
    /// Print JSON lines, one per epoch and one for the result
    #[arg(long)]
    json: bool,
}

/// How weights follow their gradients.
#[derive(clap::Args)]
struct Rule {
    /// The update rule
    #[arg(long, value_enum, default_value = "adamw")]
    optimizer: OptimizerName,
    /// The highest learning rate
    #[arg(long, value_name = "RATE", default_value = "0.004")]
    lr: f64,
    /// How the learning rate changes: along a cosine to 0, not at all, or tenfold down after each third of the epochs
    #[arg(long, value_enum, default_value = "cosine")]
    schedule: ScheduleName,
    /// Over so many first epochs the learning rate rises linearly
    #[arg(long, value_name = "EPOCHS", default_value = "0")]
    warm_up: u64,
    /// Momentum of sgd
    #[arg(long, value_name = "M", default_value = "0.9")]
    momentum: f32,
    /// Weight decay
    #[arg(long, value_name = "D", default_value = "0.01")]
    weight_decay: f32,
    /// Scale gradients down to this norm where theirs is larger
    #[arg(long, value_name = "NORM", conflicts_with = "clip_value")]
    clip_norm: Option<f32>,
    /// Cut each element of the gradients off at this size
    #[arg(long, value_name = "SIZE")]
    clip_value: Option<f32>,
    /// How much of each target is spread over all classes
    #[arg(long, value_name = "PART", default_value = "0.1")]
    label_smoothing: f32,
}

/// What becomes of the images.
#[derive(clap::Args)]
struct Images {
    /// Shift each training image by up to so many pixels of the network's input, anew each time
    #[arg(long, value_name = "PIXELS", default_value = "4")]
    shift: usize,
    /// Mirror half of the training images, anew each time
    #[arg(long)]
    flip: bool,
    /// Hold back this part of the training images, and keep the weights of the epoch that is best on them
    #[arg(long, value_name = "PART")]
    validation: Option<f64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum OptimizerName {
    Sgd,
    Adam,
    Adamw,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScheduleName {
    Cosine,
    Constant,
    Step,
}

/// One epoch as a JSON line.
#[derive(Serialize)]
struct Epoch {
    epoch: u64,
    learning_rate: f64,
    train_loss: f64,
    train_accuracy: f64,
    validation_loss: Option<f64>,
    validation_accuracy: Option<f64>,
    images_per_s: f64,
    seconds: f64,
}

/// The last JSON line.
#[derive(Serialize)]
struct Outcome<'a> {
    test_accuracy: f64,
    epochs: u64,
    seconds: f64,
    images_per_s: f64,
    device: &'a str,
}

/// Trains, tests and saves.
pub fn train(args: &Args) -> Result<ExitCode> {
    let device = Device::named(&args.device)?;
    let network = network(args)?;
    let shape = picture::image_shape(&network)?;
    let all = Dataset::open(&args.data, Split::Train, shape)?;
    let test = Dataset::open(&args.data, Split::Test, shape)?;
    let network = with_classes(network, all.classes(), args)?;
    let (train, held_back) = match args.images.validation {
        None => (all, None),
        Some(part) => {
            let (train, validation) = all.split(part, args.seed)?;
            (train, Some(validation))
        }
    };
    let steps = (train.len() / args.batch.get()) as u64;
    let options = options(args, &network, steps)?;
    let mut trainer = Trainer::new(&device, &network, options)?;
    if let Some(file) = &args.resume {
        trainer.resume(Checkpoint::load(file)?).with_context(|| file.display().to_string())?;
    }
    if !args.json {
        output::line(&format!(
            "device: {}\n{}: {} weights; {} training and {} test images of {} classes",
            devices::describe(device.info()),
            args.model,
            network.summary().parameters,
            train.len(),
            test.len(),
            test.classes(),
        ))?;
    }

    let started = Instant::now();
    let stop = stop_on_ctrl_c()?;
    // Without held-back images the test images are watched, and choose nothing.
    let watched = held_back.as_ref().unwrap_or(&test);
    let ending = run(args, &mut trainer, &train, watched, steps, &stop)?;
    let seconds = started.elapsed().as_secs_f64();
    write_history(args, trainer.history())?;
    if ending == Ending::Stopped {
        return stopped(args, &trainer);
    }

    let trained = match trainer.best()? {
        Some((best, _)) if held_back.is_some() => best,
        _ => trainer.network()?,
    };
    let loss = loss(args);
    let result = train::evaluate(&device, &trained, &test, args.batch.get(), &loss)?;
    if let Some(file) = &args.confusion {
        plot::confusion(
            file,
            &format!("{} on the test images", args.model),
            &result.confusion,
            test.class_names(),
        )?;
    }
    if let Some(file) = &args.out {
        save(&trained, file)?;
    }
    finish(args, &device, &trainer, &result, test.len(), seconds)?;
    Ok(ExitCode::SUCCESS)
}

/// The network that is trained, with the weights that it starts from.
fn network(args: &Args) -> Result<Graph> {
    let is_file = Path::new(&args.model).extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx"));
    let network = match args.model.as_str() {
        // As many weights as LeNet-5, less seven.
        "fully_connected" => zoo::fully_connected("fully_connected", [1, 32, 32], &[57, 48], 10)?,
        model => model::load(model, Some(std::num::NonZeroUsize::MIN))?.graph,
    };
    let start = args.start.as_deref().unwrap_or(if is_file { "own" } else { "random" });
    Ok(match start {
        "own" => network,
        "random" => train::fresh_weights(&network, args.seed)?,
        file => {
            let mut network = network;
            network.load_weights(file)?;
            network
        }
    })
}

/// The network for so many classes: with a new last layer where it has another number.
fn with_classes(network: Graph, classes: usize, args: &Args) -> Result<Graph> {
    let output = network.outputs().first().map(|&id| network.value(id).info.shape.to_vec());
    if output.and_then(|shape| shape.get(1).copied()) == Some(classes) {
        return Ok(network);
    }
    output::note(&format!(
        "note: {} gets a new last layer for the {classes} classes of the images",
        args.model
    ));
    Ok(train::new_head(&network, classes, args.seed)?)
}

fn loss(args: &Args) -> Loss {
    Loss::CrossEntropy { label_smoothing: args.rule.label_smoothing }
}

fn options(args: &Args, network: &Graph, steps: u64) -> Result<TrainOptions> {
    let rule = &args.rule;
    let optimizer = match rule.optimizer {
        OptimizerName::Sgd => Optimizer::sgd(rule.momentum),
        OptimizerName::Adam => Optimizer::adam(),
        OptimizerName::Adamw => Optimizer::adamw(),
    };
    let decay = match rule.schedule {
        ScheduleName::Cosine => Decay::Cosine { floor: 0.0 },
        ScheduleName::Constant => Decay::Constant,
        ScheduleName::Step => Decay::Step { every: (args.epochs * steps).div_ceil(3).max(1), factor: 0.1 },
    };
    if !(rule.lr > 0.0 && rule.lr.is_finite()) {
        bail!("--lr is above 0, not {}", rule.lr);
    }
    let mut options = TrainOptions::default();
    options.epochs = args.epochs;
    options.batch = args.batch.get();
    options.seed = args.seed;
    options.loss = loss(args);
    options.optimizer = optimizer.weight_decay(rule.weight_decay);
    options.schedule = Schedule { peak: rule.lr, warm_up: rule.warm_up * steps, decay };
    options.clip = rule.clip_norm.map(Clip::Norm).or(rule.clip_value.map(Clip::Value));
    options.frozen = match args.freeze.as_slice() {
        [all] if all == "all-but-head" => train::layers_below_head(network),
        names => names.to_vec(),
    };
    options.augment.shift = args.images.shift;
    options.augment.flip = args.images.flip;
    options.patience = args.patience;
    options.checkpoint = args.checkpoint.clone();
    Ok(options)
}

/// Runs the epochs that are left, with a progress bar and a line for each.
fn run(
    args: &Args,
    trainer: &mut Trainer,
    train: &Dataset,
    watched: &Dataset,
    steps: u64,
    stop: &AtomicBool,
) -> Result<Ending> {
    let progress = Progress::new(usize::try_from(args.epochs * steps)?);
    progress.at(trainer.history().len() as u64 * steps);
    let mut printed = Ok(());
    let mut last_loss = f32::NAN;
    let ending = trainer.run(train, Some(watched), &mut |event| {
        match event {
            Event::Step { epoch, step, loss, images_per_s, .. } => {
                last_loss = loss.unwrap_or(last_loss);
                progress.doing(&format!(
                    "epoch {epoch}/{}, loss {last_loss:.4}, {images_per_s:.0} images/s",
                    args.epochs
                ));
                progress.at((epoch - 1) * steps + step);
            }
            Event::Epoch(report) => printed = progress.aside(|| print_epoch(args, report)),
            _ => {}
        }
        if printed.is_err() || stop.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    printed.map(|()| ending)
}

fn print_epoch(args: &Args, report: &EpochReport) -> Result<()> {
    if args.json {
        return output::json_line(&Epoch {
            epoch: report.epoch,
            learning_rate: report.learning_rate,
            train_loss: report.train_loss,
            train_accuracy: report.train_accuracy,
            validation_loss: report.validation_loss,
            validation_accuracy: report.validation_accuracy,
            images_per_s: report.images_per_s,
            seconds: report.seconds,
        });
    }
    let watched = match (report.validation_loss, report.validation_accuracy) {
        (Some(loss), Some(accuracy)) => {
            let name = if args.images.validation.is_some() { "validation" } else { "test" };
            format!(", {name} loss {loss:.4}, {:5.2} %", 100.0 * accuracy)
        }
        _ => String::new(),
    };
    output::line(&format!(
        "epoch {:>3}: loss {:.4}, {:5.2} %{watched}, {:.0} images/s",
        report.epoch,
        report.train_loss,
        100.0 * report.train_accuracy,
        report.images_per_s
    ))
}

/// A flag that Ctrl-C sets; a second Ctrl-C ends the program at once.
fn stop_on_ctrl_c() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })?;
    Ok(stop)
}

/// Saves a training that was broken off, and says how it goes on.
fn stopped(args: &Args, trainer: &Trainer) -> Result<ExitCode> {
    let file = args.checkpoint.clone().unwrap_or_else(|| match &args.out {
        Some(out) => out.with_extension("checkpoint"),
        None => "training.checkpoint".into(),
    });
    trainer.checkpoint()?.save(&file)?;
    output::note(&format!(
        "stopped; saved as {}; the same command with --resume {} goes on",
        file.display(),
        file.display()
    ));
    Ok(ExitCode::from(130))
}

fn write_history(args: &Args, history: &[EpochReport]) -> Result<()> {
    if let Some(file) = &args.history {
        let optional = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        let mut text = String::from(
            "epoch,learning_rate,train_loss,train_accuracy,validation_loss,validation_accuracy,images_per_s,seconds\n",
        );
        for r in history {
            text += &format!(
                "{},{},{},{},{},{},{:.1},{:.3}\n",
                r.epoch,
                r.learning_rate,
                r.train_loss,
                r.train_accuracy,
                optional(r.validation_loss),
                optional(r.validation_accuracy),
                r.images_per_s,
                r.seconds
            );
        }
        std::fs::write(file, text).with_context(|| file.display().to_string())?;
    }
    if let Some(file) = &args.curves {
        let epoch = |r: &EpochReport| plot::Epoch {
            number: r.epoch,
            train_loss: r.train_loss,
            train_accuracy: r.train_accuracy,
            validation_loss: r.validation_loss,
            validation_accuracy: r.validation_accuracy,
        };
        let title = match args.images.validation {
            Some(_) => args.model.clone(),
            None => format!("{} (validation: the test images)", args.model),
        };
        plot::curves(file, &title, &history.iter().map(epoch).collect::<Vec<_>>())?;
    }
    Ok(())
}

fn save(network: &Graph, file: &Path) -> Result<()> {
    if file.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx")) {
        onnx::save(network, file)?;
    } else {
        network.save_weights(file)?;
    }
    Ok(())
}

/// Prints what came of it.
fn finish(
    args: &Args,
    device: &Device,
    trainer: &Trainer,
    result: &Evaluation,
    images: usize,
    seconds: f64,
) -> Result<()> {
    let history = trainer.history();
    let rates = history.iter().map(|r| Duration::from_secs_f64(1.0 / r.images_per_s)).collect::<Vec<_>>();
    let images_per_s = 1.0 / output::median(&rates).as_secs_f64();
    if args.json {
        return output::json_line(&Outcome {
            test_accuracy: result.accuracy,
            epochs: history.len() as u64,
            seconds,
            images_per_s,
            device: &device.info().name,
        });
    }
    let memory = trainer.memory();
    let right: u64 = (0..result.confusion.len()).map(|class| result.confusion[class][class]).sum();
    output::line(&format!(
        "\ntest: {:.2} % ({right} of {images}), loss {:.4}\n{} epochs in {} s, {} images/s\nmemory of a step: {} MiB of \
         weights and moments, {} MiB of activations (lower bound {} MiB)",
        100.0 * result.accuracy,
        result.loss,
        history.len(),
        short(seconds),
        short(images_per_s),
        short(mebibytes(memory.weights)),
        short(mebibytes(memory.activations)),
        short(mebibytes(memory.activations_lower_bound)),
    ))?;
    if let Some(file) = &args.out {
        output::line(&format!("saved as {}", file.display()))?;
    }
    Ok(())
}
