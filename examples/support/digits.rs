//! The handwritten digits of `assets/digits`, whose README describes them.

use anyhow::{Context, Result};
use wgpu_cnn::Tensor;
use wgpu_cnn::train::data::{Dataset, Split};

pub const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/digits");

/// Pixels along a side of LeNet-5's input.
pub const SIDE: usize = 32;

/// The test images as LeNet-5's input, `[360, 1, 32, 32]` from 0 to 1, and their labels.
pub fn test() -> Result<(Tensor, Vec<usize>)> {
    let images = Dataset::open(FOLDER, Split::Test, [1, SIDE, SIDE])?;
    let all = images.batches(images.len()).next().context("no test images")??;
    Ok((all.images, all.labels))
}

/// How many of the rows of `logits` `[n, 10]` are largest at their label.
pub fn right(logits: &[f32], labels: &[usize]) -> usize {
    let best = |row: &[f32]| wgpu_cnn::classify::top_k(row, 1).first().map(|(digit, _)| *digit);
    logits.chunks_exact(10).zip(labels).filter(|(row, label)| best(row) == Some(**label)).count()
}
