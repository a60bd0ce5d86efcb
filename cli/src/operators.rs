//! `wgpu-cnn operators`: what an ONNX file may be made of.

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use wgpu_cnn::onnx;

use crate::output::{self, Column};

/// List the ONNX operators that are read, with the opsets covered
#[derive(clap::Args)]
pub struct Args {
    /// Print the page docs/OPERATORS.md
    #[arg(long)]
    markdown: bool,
    /// Print one JSON object per operator instead
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
}

#[derive(Serialize)]
struct Line {
    operator: &'static str,
    first_opset: u32,
    last_opset: u32,
}

/// Prints the operators by name.
pub fn operators(args: &Args) -> Result<ExitCode> {
    if args.json {
        for (operator, opsets) in onnx::operators() {
            output::json_line(&Line { operator, first_opset: *opsets.start(), last_opset: *opsets.end() })?;
        }
    } else if args.markdown {
        output::line(&page())?;
    } else {
        output::line(&table())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table() -> String {
    let header = [("operator", Column::Left), ("first opset", Column::Right), ("last opset", Column::Right)];
    let rows: Vec<_> = onnx::operators()
        .map(|(name, opsets)| vec![name.to_owned(), opsets.start().to_string(), opsets.end().to_string()])
        .collect();
    output::table(&header, &rows)
}

fn page() -> String {
    format!(
        "# ONNX operators\n\nThe {} operators of ONNX's default domain that are read, with the first and the last opset \
         covered. Between\nthem every version of an operator is read as its own opset defines it. What a file asks for \
         beyond that is refused\nwhen it is loaded, with the complete list of nodes and reasons.\n\nWritten by `wgpu-cnn \
         operators --markdown`.\n\n{}",
        onnx::operators().count(),
        table()
    )
}
