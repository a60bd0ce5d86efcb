//! Classic filters over a photo: what a convolution does before anything is learned.
//!
//! Each filter is one convolution of one network. The strength of an edge, `sqrt(x² + y²)` of the two Sobel filters, is
//! part of the network too. Run with
//!
//! ```sh
//! cargo run --release --example filters -- [--device auto|cpu|gpu|NAME] [--width PIXELS]
//! ```

use std::time::Instant;

use anyhow::{Context, Result};
use image::imageops::{self, FilterType};
use wgpu_cnn::graph::Info;
use wgpu_cnn::ops::{Activation, Binary, Conv};
use wgpu_cnn::picture::{self, GrayImage};
use wgpu_cnn::window::Window;
use wgpu_cnn::{Device, Graph, Shape, Tensor};

use options::options;

#[path = "support/options.rs"]
mod options;
#[path = "support/output.rs"]
mod output;

const PHOTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/images/china.jpg");

/// A square kernel, and how its output is shown: `base + gain * value`, 0 being black and 1 white.
struct Filter {
    name: &'static str,
    side: usize,
    kernel: Vec<f32>,
    base: f32,
    gain: f32,
}

impl Filter {
    /// A filter whose output is a picture again.
    fn new<const N: usize>(name: &'static str, kernel: [f32; N]) -> Self {
        Filter { name, side: N.isqrt(), kernel: kernel.into(), base: 0.0, gain: 1.0 }
    }

    /// A filter whose output is positive and negative: 0 is shown as middle grey.
    fn signed<const N: usize>(name: &'static str, kernel: [f32; N]) -> Self {
        Filter { base: 0.5, gain: 0.25, ..Self::new(name, kernel) }
    }

    /// A Gaussian of standard deviation 2, as wide a blur as the mean over 7x7.
    fn gaussian() -> Self {
        let side = 13;
        let bell = |i: usize| (-(i as f32 - 6.0).powi(2) / 8.0).exp();
        let kernel: Vec<f32> = (0..side * side).map(|i| bell(i / side) * bell(i % side)).collect();
        let sum: f32 = kernel.iter().sum();
        let kernel = kernel.iter().map(|weight| weight / sum).collect();
        Filter { name: "Gaussian blur", side, kernel, base: 0.0, gain: 1.0 }
    }
}

fn filters() -> Vec<Filter> {
    vec![
        Filter::new("original", [1.0]),
        Filter::new("box blur", [1.0 / 49.0; 49]),
        Filter::gaussian(),
        Filter::new("sharpen", [0.0, -1.0, 0.0, -1.0, 5.0, -1.0, 0.0, -1.0, 0.0]),
        Filter::new("emboss", [-2.0, -1.0, 0.0, -1.0, 1.0, 1.0, 0.0, 1.0, 2.0]),
        Filter::signed("Laplacian edge", [-1.0, -1.0, -1.0, -1.0, 8.0, -1.0, -1.0, -1.0, -1.0]),
        Filter::signed("Sobel x", [-1.0, 0.0, 1.0, -2.0, 0.0, 2.0, -1.0, 0.0, 1.0]),
        Filter::signed("Sobel y", [-1.0, -2.0, -1.0, 0.0, 0.0, 0.0, 1.0, 2.0, 1.0]),
    ]
}

/// A network from a grey photo `[1, 1, h, w]` to one output per filter and the Sobel filters' magnitude.
fn network(filters: &[Filter], h: usize, w: usize) -> wgpu_cnn::Result<Graph> {
    let mut graph = Graph::new("filters");
    let photo = graph.input("photo", Info::f32(Shape::new([1, 1, h, w])?));
    let mut squares = Vec::new();
    for Filter { name, side, kernel, .. } in filters {
        let kernel = Tensor::new([1, 1, *side, *side], kernel.clone())?;
        let kernel = graph.constant(format!("{name} kernel"), kernel);
        let filtered = graph.push(*name, Conv::new(Window::new([*side, *side])), &[photo, kernel])?;
        graph.output(filtered);
        if name.starts_with("Sobel") {
            squares.push(graph.push(format!("{name} squared"), Binary::Mul, &[filtered, filtered])?);
        }
    }
    let sum = graph.push("sum of squares", Binary::Add, &squares)?;
    let magnitude = graph.push("Sobel magnitude", Activation::Sqrt, &[sum])?;
    graph.output(magnitude);
    Ok(graph)
}

/// The photo in grey at this width, `[1, 1, h, w]` from 0 to 1.
fn photo(width: u32) -> Result<Tensor> {
    let photo = image::open(PHOTO).context(PHOTO)?.to_luma32f();
    let height = (photo.height() * width / photo.width()).max(1);
    let photo = imageops::resize(&photo, width, height, FilterType::Triangle);
    Ok(Tensor::new([1, 1, height as usize, width as usize], photo.into_raw())?)
}

/// The middle `h` x `w` of a filter's output, shown as the filter asks for and cut off at black and white.
fn show(output: &Tensor, filter: &Filter, h: usize, w: usize) -> Result<GrayImage> {
    let side = |axis: usize| output.shape()[axis] as u32;
    let values = output.values::<f32>()?;
    let level = |value: f32| ((filter.base + filter.gain * value).clamp(0.0, 1.0) * 255.0).round() as u8;
    let pixels = values.iter().map(|&value| level(value)).collect();
    let picture = GrayImage::from_raw(side(3), side(2), pixels).context("one value per pixel")?;
    let (w, h) = (w as u32, h as u32);
    Ok(imageops::crop_imm(&picture, (side(3) - w) / 2, (side(2) - h) / 2, w, h).to_image())
}

fn main() -> Result<()> {
    let [device, width] = options(["--device", "--width"])?;
    let device = Device::named(device.as_deref().unwrap_or("gpu"))?;
    let width = width.map_or(Ok(320), |width| width.parse()).context("--width takes a number of pixels")?;
    anyhow::ensure!((32..=4096).contains(&width), "--width takes 32 to 4096 pixels");

    let photo = photo(width)?;
    let (h, w) = (photo.shape()[2], photo.shape()[3]);
    let mut filters = filters();
    let plan = device.compile(&network(&filters, h, w)?)?;
    plan.run(std::slice::from_ref(&photo))?;
    let begun = Instant::now();
    let outputs = plan.run(&[photo])?;
    println!("device: {}", device.info());
    println!("{} filters over {w} x {h} pixels: {:.2?}\n", filters.len(), begun.elapsed());

    filters.push(Filter { gain: 0.5, ..Filter::new("Sobel magnitude", [1.0]) });
    // Without padding a filter's output loses the border that its window would hang over.
    let border = filters.iter().map(|filter| filter.side).max().unwrap_or(1) - 1;
    let mut tiles = Vec::new();
    for (output, filter) in outputs.iter().zip(&filters) {
        let name = filter.name;
        let [low, high] = range(output.values()?);
        println!("{name:<16} outputs from {low:6.2} to {high:5.2}");
        tiles.push(show(output, filter, h - border, w - border)?);
    }
    println!("\nThe picture shows them in this order, row by row.");
    output::save("filters.png", &picture::grid(&tiles, 3, 1))
}

fn range(values: &[f32]) -> [f32; 2] {
    values.iter().fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], &v| [low.min(v), high.max(v)])
}
