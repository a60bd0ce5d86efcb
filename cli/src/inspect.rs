//! `wgpu-cnn inspect`: what a network is made of.

use std::num::NonZeroUsize;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use wgpu_cnn::graph::{LayerSummary, Summary};
use wgpu_cnn::receptive::ReceptiveField;

use crate::model;
use crate::output::{self, Column};

/// Show a network's layers: output shape, parameters, multiply-accumulates, receptive field
///
/// The receptive field of a layer is what of the network's input one of its output positions sees: its size, the
/// distance between the fields of neighbouring outputs, and how far the first one reaches into padding.
#[derive(clap::Args)]
pub struct Args {
    #[arg(value_name = "MODEL", help = model::help())]
    model: String,
    /// Images at once
    #[arg(long, value_name = "N", default_value = "1")]
    batch: NonZeroUsize,
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

/// Prints a network's layers and totals.
pub fn inspect(args: &Args) -> Result<ExitCode> {
    let name = &args.model;
    let summary = model::load(name)?.graph.with_batch(args.batch.get())?.summary();
    if args.json {
        output::json_line(&report(name, &summary))?;
    } else {
        output::line(&table(&summary))?;
        let Summary { parameters, macs, .. } = summary;
        let batch = args.batch;
        output::line(&format!("\n{name}, batch {batch}: {parameters} parameters, {macs} MACs"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn report<'a>(model: &'a str, summary: &'a Summary) -> Report<'a> {
    let layer = |layer: &'a LayerSummary| Layer {
        name: &layer.name,
        op: layer.op,
        output: &layer.output,
        parameters: layer.parameters,
        macs: layer.macs,
        receptive_field: layer.receptive_field.as_ref().map(Field::from),
    };
    Report {
        model,
        layers: summary.layers.iter().map(layer).collect(),
        parameters: summary.parameters,
        macs: summary.macs,
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
