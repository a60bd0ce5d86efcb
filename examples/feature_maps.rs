//! What each layer of LeNet-5 makes of one digit, as a picture: a row per layer, from the input down to the ten logits.
//!
//! ```sh
//! cargo run --release --example feature_maps -- [--image FILE] [--device auto|cpu|gpu|NAME]
//! ```

use anyhow::{Context, Result};
use image::imageops::{self, FilterType};
use wgpu_cnn::classify::{softmax, top_k};
use wgpu_cnn::picture::{self, GrayImage, Preprocess};
use wgpu_cnn::{Device, Tensor, zoo};

use options::options;
use tiles::tiles;

#[path = "support/options.rs"]
mod options;
#[path = "support/output.rs"]
mod output;
#[path = "support/tiles.rs"]
mod tiles;

const DIGIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/digits/images/digit-0010-is-5.png");

/// Width of the picture; a layer's maps share it.
const WIDTH: usize = 852;
/// The largest width of one map.
const MAP: usize = 140;
/// Height of a layer without spatial axes, one bar per unit.
const BARS: u32 = 24;

fn main() -> Result<()> {
    let [file, device] = options(["--image", "--device"])?;
    let device = Device::named(device.as_deref().unwrap_or("auto"))?;
    let lenet = zoo::lenet5()?;
    let digit = picture::load(
        file.as_deref().unwrap_or(DIGIT),
        picture::image_shape(&lenet)?,
        &Preprocess::for_network(&lenet)?,
    )?;

    // Every layer's output is asked for, so none is fused away or overwritten. Flattening shows nothing new.
    let summary = lenet.summary();
    let layers: Vec<_> = summary.layers.iter().filter(|layer| layer.op != "reshape").collect();
    let names: Vec<_> = layers.iter().map(|layer| layer.name.as_str()).collect();
    let plan = device.compile(&lenet.with_outputs(&names)?)?;
    let outputs = plan.run(std::slice::from_ref(&digit))?;

    println!("device: {}\n", device.info());
    println!("{:<8} {:<12} {:>8} {:>8}  receptive field", "layer", "output", "smallest", "largest");
    let mut rows = vec![row(&digit)?];
    for (layer, output) in layers.iter().zip(&outputs) {
        let values = output.values::<f32>()?;
        let low = values.iter().copied().fold(f32::INFINITY, f32::min);
        let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let field = layer.receptive_field.as_ref().filter(|_| output.shape().len() == 4);
        let field = field.map_or("everything".to_owned(), ToString::to_string);
        println!("{:<8} {:<12} {low:>8.2} {high:>8.2}  {field}", layer.name, output.shape().to_string());
        rows.push(row(output)?);
    }

    let logits = outputs.last().context("LeNet-5 has layers")?;
    let best = top_k(&softmax(logits.values()?), 3);
    let best: Vec<_> = best.iter().map(|(digit, p)| format!("{digit} {:.2} %", 100.0 * p)).collect();
    println!("\nLeNet-5 sees: {}", best.join(", "));
    output::save("feature_maps.png", &stacked(&rows))
}

/// A layer's output `[1, c, h, w]` as a row of maps, or `[1, units]` as a row of bars; one grey scale for all of it.
fn row(output: &Tensor) -> Result<GrayImage> {
    let values = output.values::<f32>()?;
    if let [_, channels, h, w] = output.shape()[..] {
        let scale = MAP.min(WIDTH / channels - 2) / w;
        return Ok(picture::grid(&tiles(values, channels, h, w), channels, scale));
    }
    let units = values.len();
    let bars = picture::to_grey_image(values, 1, units);
    Ok(imageops::resize(&bars, (units * (WIDTH / units)) as u32, BARS, FilterType::Nearest))
}

/// Pictures one below another on white.
fn stacked(rows: &[GrayImage]) -> GrayImage {
    const GAP: u32 = 8;
    let width = rows.iter().map(|row| row.width()).max().unwrap_or(0);
    let height = rows.iter().map(|row| row.height() + GAP).sum::<u32>().saturating_sub(GAP);
    let mut picture = GrayImage::from_pixel(width, height, image::Luma([255]));
    let mut y = 0;
    for row in rows {
        imageops::replace(&mut picture, row, 0, y);
        y += i64::from(row.height() + GAP);
    }
    picture
}
