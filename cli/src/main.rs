//! `wgpu-cnn`: runs, inspects, verifies and measures convolutional networks on the GPU or the CPU.

mod bench;
mod devices;
mod export;
mod inspect;
mod model;
mod operators;
mod output;
mod plot;
mod profile;
mod run;
mod run_batch;
mod tensors;
mod train;
mod verify;

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
    Verify(verify::Args),
    Train(train::Args),
    Bench(bench::Args),
    Export(export::Args),
    Profile(profile::Args),
    Operators(operators::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Devices(args) => devices::devices(&args),
        Command::Run(args) => run::run(&args),
        Command::RunBatch(args) => run_batch::run_batch(&args),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Verify(args) => verify::verify(&args),
        Command::Train(args) => train::train(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Export(args) => export::export(&args),
        Command::Profile(args) => profile::profile(&args),
        Command::Operators(args) => operators::operators(&args),
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
