//! Development tasks, run as `cargo xtask TASK`.

mod adapter;
mod bundle;
mod onnx;
mod step;

use std::process::ExitCode;

use anyhow::{Result, bail};
use step::{Steps, cargo};

const USAGE: &str = "\
usage: cargo xtask test [-- ARGS]
       cargo xtask onnx
       cargo xtask bundle

test    build everything, make sure a GPU adapter is there, run every test and the ONNX suite;
        ARGS go to `cargo test --workspace` as they are
onnx    the ONNX suite alone: official tests, random graphs and networks, on CPU and GPU
bundle  pack release tests, benches and the command line for a machine that has a GPU and no Rust";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[String]) -> Result<()> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["test"] => test(&[]),
        ["test", "--", ref passed_on @ ..] => test(passed_on),
        ["onnx"] => onnx::run(&mut prepared()?),
        ["bundle"] => bundle::bundle(),
        ["help" | "-h" | "--help"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("{USAGE}"),
    }
}

/// Every check that needs a build: never passes for want of an adapter or of Python.
fn test(passed_on: &[&str]) -> Result<()> {
    let mut steps = prepared()?;
    steps.run("tests", || step::run(cargo("test --workspace").args(passed_on)))?;
    onnx::run(&mut steps)
}

/// Everything built, and an adapter there.
fn prepared() -> Result<Steps> {
    let mut steps = Steps::default();
    // The targets `cargo test` builds, so that wgpu is built with one set of features and not once
    // without and once with the tests' dependencies. This program is running and stays as it is.
    steps.run("build", || {
        let targets = ["--bins", "--tests", "--examples"];
        step::run(cargo("build --workspace --exclude xtask").args(targets))
    })?;
    steps.run("adapter", adapter::ensure)?;
    Ok(steps)
}
