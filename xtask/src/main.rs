//! Development tasks, run as `cargo xtask TASK`.

mod adapter;
mod step;

use std::process::ExitCode;

use anyhow::{Result, bail};
use step::{Steps, cargo};

const USAGE: &str = "\
usage: cargo xtask test [-- ARGS]

test    build everything, make sure a GPU adapter is there, run every test;
        ARGS go to `cargo test --workspace` as they are";

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
        ["help" | "-h" | "--help"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("{USAGE}"),
    }
}

/// Every check that needs a build: never passes for want of an adapter.
fn test(passed_on: &[&str]) -> Result<()> {
    let mut steps = Steps::default();
    // The targets `cargo test` builds, so that wgpu is built with one set of features and not once
    // without and once with the tests' dependencies. This program is running and stays as it is.
    steps.run("build", || {
        let targets = ["--bins", "--tests", "--examples"];
        step::run(cargo("build --workspace --exclude xtask").args(targets))
    })?;
    steps.run("adapter", adapter::ensure)?;
    steps.run("tests", || step::run(cargo("test --workspace").args(passed_on)))
}
