//! `wgpu-cnn`: runs, inspects and measures convolutional networks on the GPU or the CPU.

mod bench;
mod devices;
mod inspect;
mod model;
mod output;
mod run;
mod run_batch;
mod tensors;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Convolutional networks on any GPU, or on the CPU
#[derive(Parser)]
#[command(name = "wgpu-cnn", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Devices(devices::Args),
    Run(run::Args),
    RunBatch(run_batch::Args),
    Inspect(inspect::Args),
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Devices(args) => devices::devices(&args),
        Command::Run(args) => run::run(&args),
        Command::RunBatch(args) => run_batch::run_batch(&args),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Bench(args) => bench::bench(&args),
    };
    match result {
        Ok(code) => code,
        Err(e) if output::is_closed_pipe(&e) => ExitCode::SUCCESS,
        Err(e) => {
            output::error(&e);
            ExitCode::FAILURE
        }
    }
}
