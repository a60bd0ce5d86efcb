//! `peer ENGINE MODEL.onnx --input IN.npy [--output OUT.npy] [--runs N] [--warm-up N] [--threads N]`: runs an ONNX file of
//! one input and one output on another engine, and prints its times in milliseconds as one JSON object.

#[cfg(feature = "burn")]
mod burn_wgpu;
mod rten_cpu;
mod tract_cpu;

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use npyz::{NpyFile, WriterBuilder};
use serde_json::json;

/// An array of f32 in C order.
#[derive(Clone)]
struct Array {
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// A loaded model: one call is one run, from an input in host memory to an output there.
type Run = Box<dyn FnMut(&Array) -> Result<Array>>;

struct Args {
    engine: String,
    model: PathBuf,
    input: PathBuf,
    output: Option<PathBuf>,
    runs: usize,
    warm_up: usize,
    threads: usize,
}

fn main() -> Result<()> {
    let args = arguments()?;
    let input = read(&args.input).with_context(|| args.input.display().to_string())?;

    let begun = Instant::now();
    let mut run = load(&args)?;
    let load = milliseconds(begun);
    let mut timed = || {
        let begun = Instant::now();
        let output = run(&input)?;
        Ok::<_, anyhow::Error>((milliseconds(begun), output))
    };
    let (first, output) = timed()?;
    for _ in 0..args.warm_up {
        timed()?;
    }
    let times = (0..args.runs).map(|_| Ok(timed()?.0)).collect::<Result<Vec<f64>>>()?;

    if let Some(file) = &args.output {
        write(file, &output).with_context(|| file.display().to_string())?;
    }
    println!("{}", json!({"load_ms": load, "first_ms": first, "times_ms": times}));
    Ok(())
}

fn load(args: &Args) -> Result<Run> {
    match args.engine.as_str() {
        "tract" => tract_cpu::load(&args.model, args.threads),
        "rten" => rten_cpu::load(&args.model, args.threads),
        #[cfg(feature = "burn")]
        "burn-wgpu" => burn_wgpu::load(&args.model),
        other => {
            bail!("no engine is called '{other}'; there are tract, rten and, with feature burn, burn-wgpu")
        }
    }
}

fn milliseconds(since: Instant) -> f64 {
    1e3 * since.elapsed().as_secs_f64()
}

fn arguments() -> Result<Args> {
    let mut words = std::env::args().skip(1);
    let mut next = |what: &str| words.next().with_context(|| format!("{what} is missing"));
    let (engine, model) = (next("ENGINE")?, next("MODEL.onnx")?.into());
    let (mut input, mut output) = (None, None);
    let (mut runs, mut warm_up, mut threads) = (20, 3, 2);
    while let Ok(option) = next("an option") {
        let value = next(&option)?;
        match option.as_str() {
            "--input" => input = Some(PathBuf::from(value)),
            "--output" => output = Some(PathBuf::from(value)),
            "--runs" => runs = value.parse()?,
            "--warm-up" => warm_up = value.parse()?,
            "--threads" => threads = value.parse()?,
            _ => bail!("unknown option '{option}'"),
        }
    }
    let input = input.context("--input is missing")?;
    Ok(Args { engine, model, input, output, runs, warm_up, threads })
}

fn read(path: &Path) -> Result<Array> {
    let file = NpyFile::new(BufReader::new(File::open(path)?))?;
    let shape = file.shape().iter().map(|&size| size as usize).collect();
    Ok(Array { shape, values: file.into_vec()? })
}

fn write(path: &Path, array: &Array) -> Result<()> {
    let shape: Vec<u64> = array.shape.iter().map(|&size| size as u64).collect();
    let file = BufWriter::new(File::create(path)?);
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(file).begin_nd()?;
    writer.extend(array.values.iter().copied())?;
    Ok(writer.finish()?)
}
