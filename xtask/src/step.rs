//! Running commands and saying what ran and for how long.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// The steps of a task; prints each one's time as it ends, and all of them once more at the end.
#[derive(Default)]
pub struct Steps {
    done: Vec<(&'static str, Duration)>,
}

impl Steps {
    /// Runs one step; an error names the step.
    pub fn run<T>(&mut self, name: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("xtask: {name}");
        let start = Instant::now();
        let result = work();
        let time = start.elapsed();
        self.done.push((name, time));
        let outcome = if result.is_ok() { "done" } else { "failed" };
        eprintln!("xtask: {name} {outcome} in {:.1} s", time.as_secs_f64());
        result.context(name)
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        let times: Vec<String> =
            (self.done.iter()).map(|(name, time)| format!("{name} {:.1} s", time.as_secs_f64())).collect();
        eprintln!("xtask: {}", times.join(", "));
    }
}

/// A command that starts in the workspace's root; `line` is split at spaces.
pub fn command(line: &str) -> Command {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).current_dir(root());
    command
}

/// The workspace's root.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// `cargo` with these arguments, in the workspace's root.
pub fn cargo(arguments: &str) -> Command {
    command(&format!("cargo {arguments}"))
}

/// Prints the command and runs it; an error unless it exits with 0.
pub fn run(command: &mut Command) -> Result<()> {
    let line = display(command);
    eprintln!("$ {line}");
    let status = command.status().with_context(|| line.clone())?;
    ensure!(status.success(), "`{line}` ended with {status}");
    Ok(())
}

/// Prints the command and returns what it writes to stdout; an error unless it exits with 0.
pub fn output(command: &mut Command) -> Result<String> {
    let line = display(command);
    eprintln!("$ {line}");
    let output = (command.stderr(std::process::Stdio::inherit()).output()).with_context(|| line.clone())?;
    ensure!(output.status.success(), "`{line}` ended with {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn display(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    words.join(" ")
}
