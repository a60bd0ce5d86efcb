//! What the commands print: tables, JSON lines, progress and errors.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// Writes a line to stdout.
pub fn line(text: &str) -> Result<()> {
    Ok(writeln!(io::stdout().lock(), "{text}")?)
}

/// Writes a line of JSON to stdout.
pub fn json_line(value: &impl Serialize) -> Result<()> {
    line(&serde_json::to_string(value)?)
}

/// Writes `error: ` and the reason as one line to stderr.
pub fn error(error: &anyhow::Error) {
    note(&format!("error: {}", reason(error)));
}

/// Writes a line to stderr, whether or not anyone still reads it.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether the reader of our output has gone, as `head` does once it has enough.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

/// An error, its causes and what to do about it, on one line.
pub fn reason(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // The library's errors already quote their cause.
        if !text.ends_with(&cause) {
            let separator = if text.is_empty() { "" } else { ": " };
            text = text + separator + &cause;
        }
    }
    if let Some(advice) = error.downcast_ref().and_then(advice) {
        text = text + "; " + advice;
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What to do about an error whose own text does not say it.
fn advice(error: &wgpu_cnn::Error) -> Option<&'static str> {
    use wgpu_cnn::Error;
    match error {
        Error::NoDevice { .. } => Some("or use --device cpu, which is always there"),
        Error::TooLarge { .. } | Error::OutOfMemory { .. } | Error::ShapeOverflow(_) => {
            Some("use a smaller batch or network, or another --device")
        }
        _ => None,
    }
}

/// How a column of a table is set.
#[derive(Clone, Copy, PartialEq)]
pub enum Column {
    Left,
    Right,
}

/// A table in Markdown whose columns line up in plain text too. The rows have as many cells as the header.
pub fn table(header: &[(&str, Column)], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].as_str()).chain([header[column].0]);
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut text = String::new();
    let mut push = |cells: &[&str]| {
        for ((cell, (_, column)), width) in cells.iter().zip(header).zip(&widths) {
            // Writing to a string cannot fail.
            let _ = match column {
                Column::Left => write!(text, "| {cell:<width$} "),
                Column::Right => write!(text, "| {cell:>width$} "),
            };
        }
        text.push_str("|\n");
    };
    push(&header.iter().map(|(title, _)| *title).collect::<Vec<_>>());
    let rules: Vec<String> = header
        .iter()
        .zip(&widths)
        .map(|((_, column), width)| match column {
            Column::Left => "-".repeat(*width),
            Column::Right => "-".repeat(width - 1) + ":",
        })
        .collect();
    push(&rules.iter().map(String::as_str).collect::<Vec<_>>());
    for row in rows {
        push(&row.iter().map(String::as_str).collect::<Vec<_>>());
    }
    text.truncate(text.trim_end().len());
    text
}

/// A number with four significant digits, more before the decimal point.
pub fn short(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 1000. => 0,
        v if v >= 100. => 1,
        v if v >= 10. => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

/// Bytes in MiB.
pub fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// A duration in milliseconds.
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e6
}

/// The middle one of some durations, or the mean of the middle two; zero for none.
pub fn median(durations: &[Duration]) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    match sorted.len() {
        0 => Duration::ZERO,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2,
    }
}

/// A progress bar on stderr that appears after a second, and only on a terminal; gone once dropped.
pub struct Progress {
    bar: ProgressBar,
    /// Shows the bar when its time has come; ends early once the sender is dropped.
    show: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    const DELAY: Duration = Duration::from_secs(1);

    /// Over so many steps.
    pub fn new(steps: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(steps as u64), ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}") {
            bar.set_style(style);
        }
        let show = io::stderr().is_terminal().then(|| {
            let (sender, dropped) = mpsc::channel::<()>();
            let shown = bar.clone();
            let thread = thread::spawn(move || {
                if dropped.recv_timeout(Self::DELAY) == Err(RecvTimeoutError::Timeout) {
                    shown.set_draw_target(ProgressDrawTarget::stderr());
                    shown.enable_steady_tick(Duration::from_millis(200));
                }
            });
            (sender, thread)
        });
        Progress { bar, show }
    }

    /// Says what the next steps are.
    pub fn doing(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// One step is done.
    pub fn step(&self) {
        self.bar.inc(1);
    }

    /// So many steps are done.
    pub fn at(&self, steps: u64) {
        self.bar.set_position(steps);
    }

    /// Runs `print`, which writes to the terminal, with the bar out of its way.
    pub fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.show.take() {
            drop(sender);
            let _ = thread.join();
        }
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".into(), "1".into()], vec!["longer".into(), "12345".into()]];
        let expected = "\
| name   |     n |
| ------ | ----: |
| a      |     1 |
| longer | 12345 |";
        assert_eq!(table(&[("name", Column::Left), ("n", Column::Right)], &rows), expected);
    }

    #[test]
    fn the_median_of_an_even_count_is_between_the_middle_two() {
        let ms =
            |values: &[u64]| median(&values.iter().map(|&v| Duration::from_millis(v)).collect::<Vec<_>>());
        assert_eq!(ms(&[4, 1, 9]), Duration::from_millis(4));
        assert_eq!(ms(&[8, 1, 9, 4]), Duration::from_millis(6));
        assert_eq!(ms(&[]), Duration::ZERO);
    }

    #[test]
    fn an_error_is_one_line_that_says_each_thing_once() {
        let source = io::Error::new(io::ErrorKind::NotFound, "not there");
        let error = wgpu_cnn::Error::Io { path: "a.txt".into(), source };
        assert_eq!(reason(&error.into()), "a.txt: not there");
        let error = wgpu_cnn::Error::Weights(vec!["missing a".into(), "missing b".into()]);
        assert_eq!(reason(&error.into()), "the weights do not fit the network: missing a missing b");
        let error = anyhow::anyhow!("inner").context("outer");
        assert_eq!(reason(&error), "outer: inner");
    }

    #[test]
    fn numbers_keep_four_digits() {
        assert_eq!([0.12345, 12.345, 123.45, 12345.6].map(short), ["0.123", "12.35", "123.5", "12346"]);
    }
}
