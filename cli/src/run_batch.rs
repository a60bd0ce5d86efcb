//! `wgpu-cnn run-batch`: many models in one process, as a conformance suite needs it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Deserialize;
use wgpu_cnn::Device;

use crate::{output, tensors};

/// Run ONNX models on arrays, as a manifest lists them
///
/// The manifest has one JSON object per line: {"id": …, "model": path, "inputs": {name: npy}, "outputs": {name: npy},
/// "output_dir": dir}. The reason why an entry cannot be run is written to error.txt in its output_dir, and the next
/// one is run.
#[derive(clap::Args)]
pub struct Args {
    /// The manifest
    #[arg(value_name = "MANIFEST.jsonl")]
    manifest: PathBuf,
    /// Where to run: auto, cpu, gpu, or a part of an adapter's name
    #[arg(long, default_value = "auto", value_name = "auto|cpu|gpu|NAME")]
    device: String,
}

/// One line of a manifest.
#[derive(Deserialize)]
struct Entry {
    model: PathBuf,
    inputs: BTreeMap<String, PathBuf>,
    outputs: BTreeMap<String, PathBuf>,
    output_dir: PathBuf,
}

/// Runs the manifest's entries in order.
pub fn run_batch(args: &Args) -> Result<ExitCode> {
    let device = Device::named(&args.device)?;
    let name = || args.manifest.display().to_string();
    let manifest = BufReader::new(File::open(&args.manifest).with_context(name)?);
    for line in manifest.lines() {
        let line = line.with_context(name)?;
        if line.trim().is_empty() {
            continue;
        }
        let entry: Entry = serde_json::from_str(&line).with_context(name)?;
        let result =
            tensors::run_model(&device, &entry.model, &entry.inputs, |name| entry.outputs.get(name).cloned());
        if let Err(e) = result {
            let file = entry.output_dir.join("error.txt");
            fs::write(&file, output::reason(&e) + "\n").with_context(|| file.display().to_string())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
