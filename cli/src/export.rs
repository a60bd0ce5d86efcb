//! `wgpu-cnn export`: a network as an ONNX file.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use wgpu_cnn::onnx;

use crate::{model, output};

/// Write a network as an ONNX file, weights included
#[derive(clap::Args)]
pub struct Args {
    #[arg(value_name = "MODEL", help = model::help())]
    model: String,
    /// The file; it appears whole or not at all
    #[arg(value_name = "OUT.onnx")]
    file: PathBuf,
    /// Images at once; unless given, as many as the file fixes, else one
    #[arg(long, value_name = "N")]
    batch: Option<NonZeroUsize>,
}

/// Writes the file and says what is in it.
pub fn export(args: &Args) -> Result<ExitCode> {
    let graph = model::load(&args.model, args.batch)?.graph;
    onnx::save(&graph, &args.file)?;
    let parameters = graph.summary().parameters;
    output::line(&format!("{}: {}, {parameters} parameters", args.file.display(), args.model))?;
    Ok(ExitCode::SUCCESS)
}
