//! The handwritten digits of `assets/digits`, whose README describes their format.

use anyhow::{Context, Result, ensure};
use wgpu_cnn::Tensor;

pub const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/digits");

/// Pixels along a side of a digit, and along a side of LeNet-5's input.
const DIGIT: usize = 8;
pub const SIDE: usize = 32;

/// The test images as LeNet-5's input, `[360, 1, 32, 32]` from 0 to 1, and their labels.
pub fn test() -> Result<(Tensor, Vec<usize>)> {
    let (shape, pixels) = idx("test-images.idx3-ubyte")?;
    let (_, labels) = idx("test-labels.idx1-ubyte")?;
    ensure!(shape == [labels.len(), DIGIT, DIGIT], "images of {shape:?} for {} labels", labels.len());
    let repeat = SIDE / DIGIT;
    let mut values = Vec::with_capacity(labels.len() * SIDE * SIDE);
    for image in pixels.chunks_exact(DIGIT * DIGIT) {
        for (y, x) in (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (y, x))) {
            values.push(f32::from(image[y / repeat * DIGIT + x / repeat]) / 255.0);
        }
    }
    let labels: Vec<_> = labels.into_iter().map(usize::from).collect();
    Ok((Tensor::new([labels.len(), 1, SIDE, SIDE], values)?, labels))
}

/// The shape and bytes of an IDX file: two zeros, the type 8 (bytes) and the number of axes, a big-endian u32 per axis,
/// then the elements.
fn idx(name: &str) -> Result<(Vec<usize>, Vec<u8>)> {
    let bytes = std::fs::read(format!("{FOLDER}/{name}")).with_context(|| name.to_owned())?;
    let (magic, rest) = bytes.split_first_chunk::<4>().context("no IDX file")?;
    ensure!(magic[..3] == [0, 0, 8], "{name}: not an IDX file of bytes");
    let (axes, elements) =
        rest.split_at_checked(4 * usize::from(magic[3])).context("a broken-off IDX file")?;
    let shape: Vec<usize> =
        axes.chunks_exact(4).map(|a| u32::from_be_bytes([a[0], a[1], a[2], a[3]]) as usize).collect();
    ensure!(shape.iter().product::<usize>() == elements.len(), "{name}: a broken-off IDX file");
    Ok((shape, elements.to_vec()))
}

/// How many of the rows of `logits` `[n, 10]` are largest at their label.
pub fn right(logits: &[f32], labels: &[usize]) -> usize {
    let best = |row: &[f32]| wgpu_cnn::classify::top_k(row, 1).first().map(|(digit, _)| *digit);
    logits.chunks_exact(10).zip(labels).filter(|(row, label)| best(row) == Some(**label)).count()
}
