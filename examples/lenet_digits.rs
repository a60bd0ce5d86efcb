//! LeNet-5 on 360 handwritten digits that it was not trained on, on the GPU and on the CPU: how many are right, how far
//! the logits are from NumPy's, how long an image takes, and which digits it takes for another.
//!
//! ```sh
//! cargo run --release --example lenet_digits
//! ```

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use wgpu_cnn::{Device, Error, Graph, Plan, Tensor, classify, picture, zoo};

#[path = "support/digits.rs"]
mod digits;
#[path = "support/output.rs"]
mod output;

/// What these weights get right of the test images.
const RIGHT: usize = 351;

fn main() -> Result<()> {
    let (images, labels) = digits::test()?;
    let expected = expected_logits(labels.len())?;
    let lenet = zoo::lenet5()?;
    let mut devices = vec![Device::cpu()];
    match Device::gpu() {
        Ok(gpu) => devices.insert(0, gpu),
        Err(Error::NoDevice { .. }) => {
            println!("no GPU adapter on this machine, not even a software one: CPU only\n")
        }
        Err(e) => return Err(e.into()),
    }

    let mut logits = Vec::new();
    for device in devices {
        println!("{}", device.info());
        logits = run(&device, &lenet, &images)?;
        let right = digits::right(&logits, &labels);
        let far = logits.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("  {right} of {} right ({:.2} %)", labels.len(), 100.0 * right as f64 / labels.len() as f64);
        println!("  logits at most {far:.1e} from NumPy's");
        ensure!(right == RIGHT, "these weights get {RIGHT} right, not {right}");
    }

    println!("\nWhat it takes for another, in the picture's order:");
    let mut tiles = Vec::new();
    for (i, (row, label)) in logits.chunks_exact(10).zip(&labels).enumerate() {
        let [(first, p), ..] = classify::top_k(&classify::softmax(row), 1)[..] else { continue };
        if first != *label {
            println!("  image {i:>3}: {label}, taken for {first} ({:.0} %)", 100.0 * p);
            let pixels = digits::SIDE * digits::SIDE;
            let image =
                images.values::<f32>()?.get(i * pixels..(i + 1) * pixels).context("an image per label")?;
            tiles.push(picture::to_grey_image(image, digits::SIDE, digits::SIDE));
        }
    }
    output::save("lenet_digits.png", &picture::grid(&tiles, 7, 3))
}

/// The logits of all images at once. Says how long an image takes that way, and alone.
fn run(device: &Device, lenet: &Graph, images: &Tensor) -> Result<Vec<f32>> {
    let count = images.shape()[0];
    let pixels = digits::SIDE * digits::SIDE;
    let first = images.values::<f32>()?.get(..pixels).context("there is an image")?;
    let first = Tensor::new([1, 1, digits::SIDE, digits::SIDE], first.to_vec())?;
    let (alone, _) = timed(&device.compile(lenet)?, &first, 50)?;
    let (together, logits) = timed(&device.compile(&lenet.with_batch(count)?)?, images, 5)?;
    let together = together / count as f64;
    println!("  {alone:.3} ms per image one at a time, {together:.3} ms in a batch of {count}");
    Ok(logits.values::<f32>()?.to_vec())
}

/// The median time of some runs in milliseconds, and the output.
fn timed(plan: &Plan, input: &Tensor, runs: usize) -> Result<(f64, Tensor)> {
    let output = plan.run_one(input)?;
    let mut times = Vec::new();
    for _ in 0..runs {
        let begun = Instant::now();
        plan.run_one(input)?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok((1e3 * times[runs / 2].as_secs_f64(), output))
}

/// The logits that NumPy computed from the same weights, for `count` images.
fn expected_logits(count: usize) -> Result<Vec<f32>> {
    let path = format!("{}/test-logits.npy", digits::FOLDER);
    let file = npyz::NpyFile::new(std::fs::File::open(&path).context(path)?)?;
    ensure!(file.shape() == [count as u64, 10], "logits of {:?} for {count} images", file.shape());
    Ok(file.into_vec::<f32>()?)
}
