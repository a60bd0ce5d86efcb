//! A fully connected network against a convolutional one: how many weights each needs as the image grows, and what
//! becomes of their first layer's outputs when the image moves by a pixel. Then both are trained in the same way, and read
//! digits that were moved.
//!
//! The first two need no training: they hold for any weights. The fully connected layer and the convolution beside it
//! have seeded random weights. The last trains LeNet-5 and a fully connected network of as many weights, each on digits as
//! they are and on digits moved at random: four trainings, about a minute on two cores.
//!
//! ```sh
//! cargo run --release --example fully_connected_vs_conv -- [--device auto|cpu|gpu|NAME]
//! ```

use std::ops::ControlFlow;

use anyhow::{Context, Result};
use image::imageops::{self, FilterType};
use wgpu_cnn::train::data::{Dataset, Split};
use wgpu_cnn::train::{self, Loss, Optimizer, Schedule, TrainOptions, Trainer};
use wgpu_cnn::{Conv2d, Device, Graph, Network, Tensor, picture, zoo};

use digits::SIDE;
use options::options;
use tiles::tiles;

#[path = "support/digits.rs"]
mod digits;
#[path = "support/options.rs"]
mod options;
#[path = "support/output.rs"]
mod output;
#[path = "support/tiles.rs"]
mod tiles;

/// Filters of the convolution and units of the fully connected layer that are compared.
const FILTERS: usize = 6;
const UNITS: usize = 120;
/// Side of the convolution's maps: 32 less its kernel of 5, plus 1.
const MAP: usize = 28;

fn main() -> Result<()> {
    let [device] = options(["--device"])?;
    let device = Device::named(device.as_deref().unwrap_or("auto"))?;
    println!("device: {}\n", device.info());
    weights()?;
    let (images, labels) = digits::test()?;
    first_layers(&device, &images)?;
    trained(&device, &images, &labels)
}

/// LeNet-5's layers over images of this side.
fn lenet(side: usize) -> wgpu_cnn::Result<Graph> {
    Network::new("lenet", [1, side, side])
        .conv2d(Conv2d::new(6, 5))
        .tanh()
        .average_pool(2)
        .conv2d(Conv2d::new(16, 5))
        .tanh()
        .average_pool(2)
        .flatten()
        .linear(120)
        .tanh()
        .linear(84)
        .tanh()
        .linear(10)
        .build()
}

fn weights() -> Result<()> {
    println!("Weights as the image grows, one channel\n");
    println!("{:<12} {:>22} {:>10} {:>15} {:>15}", "", "fully connected", "LeNet-5's", "LeNet-5's", "");
    println!(
        "{:<12} {:>22} {:>10} {:>15} {:>15}",
        "image", "120, 84, 10", "in all", "convolutions", "fully connected"
    );
    for side in [16, 32, 64, 128, 256] {
        let full = zoo::fully_connected("fully connected", [1, side, side], &[120, 84], 10)?.summary();
        let lenet = lenet(side)?.summary();
        let conv: u64 = lenet.layers.iter().filter(|l| l.op == "conv").map(|l| l.parameters).sum();
        println!(
            "{:<12} {:>22} {:>10} {conv:>15} {:>15}",
            format!("{side} x {side}"),
            full.parameters,
            lenet.parameters,
            lenet.parameters - conv,
        );
    }
    println!(
        "\nA convolution has as many weights for a large image as for a small one. What grows in LeNet-5 is its own"
    );
    println!("first fully connected layer, over maps of a quarter of the image's side.\n");
    Ok(())
}

/// Images `[n, 1, 32, 32]` moved right by so many pixels; zeros come in, and what leaves is lost.
fn moved(images: &Tensor, pixels: usize) -> Result<Tensor> {
    let mut values = Vec::with_capacity(images.shape().elements());
    for row in images.values::<f32>()?.chunks_exact(SIDE) {
        values.extend(std::iter::repeat_n(0.0, pixels));
        values.extend(&row[..SIDE - pixels]);
    }
    Ok(Tensor::new(images.shape().to_vec(), values)?)
}

/// The root mean square of `a - b`, relative to that of `b`.
fn change(pairs: impl Iterator<Item = (f32, f32)>) -> f64 {
    let (difference, size) = pairs.fold((0.0, 0.0), |(difference, size), (a, b)| {
        (difference + f64::from(a - b).powi(2), size + f64::from(b).powi(2))
    });
    (difference / size).sqrt()
}

/// The maps `[n, filters, 28, 28]` of an image moved by `pixels` beside those of the image itself, moved as far: all
/// cells but the columns that only one of them has.
fn realigned<'a>(
    after: &'a [f32],
    before: &'a [f32],
    pixels: usize,
) -> impl Iterator<Item = (f32, f32)> + 'a {
    let rows = after.chunks_exact(MAP).zip(before.chunks_exact(MAP));
    rows.flat_map(move |(after, before)| after[pixels..].iter().copied().zip(before.iter().copied()))
}

fn first_layers(device: &Device, images: &Tensor) -> Result<()> {
    let count = images.shape()[0];
    let conv = Network::new("conv", [1, SIDE, SIDE]).conv2d(Conv2d::new(FILTERS, 5)).build()?;
    let full = Network::new("fully connected", [1, SIDE, SIDE]).flatten().linear(UNITS).build()?;
    let conv = device.compile(&conv.with_batch(count)?)?;
    let full = device.compile(&full.with_batch(count)?)?;
    let outputs = |pixels| -> Result<_> {
        let images = moved(images, pixels)?;
        Ok((
            conv.run_one(&images)?.values::<f32>()?.to_vec(),
            full.run_one(&images)?.values::<f32>()?.to_vec(),
        ))
    };

    println!("How far a first layer's outputs change when {count} digits move right, by root mean square\n");
    println!(
        "{:<9} {:>22} {:>22} {:>22}",
        "", "convolution 5 x 5 x 6", "its maps moved", "fully connected 120"
    );
    println!("{:<9} {:>22} {:>22} {:>22}", "moved by", "cell by cell", "as far as the image", "unit by unit");
    let (maps, units) = outputs(0)?;
    for pixels in [1, 2, 4] {
        let (moved_maps, moved_units) = outputs(pixels)?;
        let zip = |a: Vec<f32>, b: &[f32]| a.into_iter().zip(b.to_vec());
        let realigned = 100.0 * change(realigned(&moved_maps, &maps, pixels));
        println!(
            "{:<9} {:>20.1} % {realigned:>20.5} % {:>20.1} %",
            format!("{pixels} px"),
            100.0 * change(zip(moved_maps, &maps)),
            100.0 * change(zip(moved_units, &units)),
        );
    }
    println!(
        "\nCell by cell both change alike. But the convolution's maps have moved along with the image: move them back"
    );
    println!(
        "and nothing has changed, to rounding. The fully connected units have no place that could be moved back."
    );
    picture(&outputs(0)?, &outputs(4)?, images)
}

/// First row: a digit, two of its maps, its units. Second row: the same for the digit moved by 4 pixels. Third row: the
/// moved one's less the first one's, the maps' after moving them back; middle grey is no difference.
fn picture(before: &(Vec<f32>, Vec<f32>), after: &(Vec<f32>, Vec<f32>), images: &Tensor) -> Result<()> {
    const SHOWN: usize = 3;
    const PIXELS: usize = 4;
    let pixels = SIDE * SIDE;
    let at = images.shape()[0].min(10) * pixels;
    let digit = |images: &Tensor| -> Result<Vec<f32>> {
        Ok(images.values::<f32>()?.get(at..at + pixels).context("ten images")?.to_vec())
    };
    let digits = tiles(&[digit(images)?, digit(&moved(images, PIXELS)?)?].concat(), 2, SIDE, SIDE);

    let image = at / pixels;
    let maps = |values: &[f32]| values[image * FILTERS * MAP * MAP..][..SHOWN * MAP * MAP].to_vec();
    let units = |values: &[f32]| values[image * UNITS..][..UNITS].to_vec();
    let (maps, units) = ([maps(&before.0), maps(&after.0)], [units(&before.1), units(&after.1)]);
    let mut difference = vec![0.0; SHOWN * MAP * MAP];
    for (row, (after, before)) in
        difference.chunks_exact_mut(MAP).zip(maps[1].chunks_exact(MAP).zip(maps[0].chunks_exact(MAP)))
    {
        for (x, value) in row.iter_mut().enumerate().skip(PIXELS) {
            *value = after[x] - before[x - PIXELS];
        }
    }
    let units_difference: Vec<f32> =
        units[1].iter().zip(&units[0]).map(|(after, before)| after - before).collect();

    // One scale for all maps and one for all units, symmetric so that zero is middle grey.
    let maps = symmetric(&[&maps[0], &maps[1], &difference], SHOWN, MAP, MAP);
    let units = symmetric(&[&units[0], &units[1], &units_difference], 1, 10, 12);
    let blank = picture::GrayImage::from_pixel(SIDE as u32, SIDE as u32, image::Luma([255]));
    let mut row = Vec::new();
    for i in 0..3 {
        row.push(digits.get(i).unwrap_or(&blank).clone());
        row.extend(maps[i * SHOWN..(i + 1) * SHOWN].iter().cloned());
        row.push(imageops::resize(&units[i], 24, 20, FilterType::Nearest));
    }
    println!(
        "\nThe picture, row by row: a digit, three of its maps and its 120 units; the same 4 pixels further right; and"
    );
    println!("how far they differ, the maps moved back first (middle grey: not at all).");
    output::save("fully_connected_vs_conv.png", &picture::grid(&row, SHOWN + 2, 4))
}

/// Pictures of all channels of all `rows` on one scale, in which zero is middle grey.
fn symmetric(rows: &[&[f32]], channels: usize, h: usize, w: usize) -> Vec<picture::GrayImage> {
    let largest = rows.concat().iter().fold(0f32, |m, v| m.max(v.abs()));
    let mut values = rows.concat();
    // One more tile that spans the scale, left out again.
    values.extend([-largest, largest]);
    values.resize((rows.len() * channels + 1) * h * w, 0.0);
    let mut tiles = tiles(&values, rows.len() * channels + 1, h, w);
    tiles.pop();
    tiles
}

/// Trains LeNet-5 and a fully connected network of as many weights in the same way, and has both read moved digits.
fn trained(device: &Device, images: &Tensor, labels: &[usize]) -> Result<()> {
    const MOVES: [usize; 5] = [0, 1, 2, 4, 8];
    let train = Dataset::open(digits::FOLDER, Split::Train, [1, SIDE, SIDE])?;
    let lenet = train::fresh_weights(&zoo::lenet5()?, 0)?;
    let full = zoo::fully_connected("fully connected", [1, SIDE, SIDE], &[57, 48], 10)?;
    let full = train::fresh_weights(&full, 0)?;
    println!("\nOf {} test digits, how many percent are right when they are moved right\n", labels.len());
    print!("{:<17} {:>8} {:>24}", "network", "weights", "trained on digits");
    MOVES.iter().for_each(|pixels| print!("{:>8}", format!("{pixels} px")));
    println!();
    for (shift, digits) in [(0, "as they are"), (4, "moved by up to 4 px")] {
        for (name, network) in [("LeNet-5", &lenet), ("fully connected", &full)] {
            let mut options = TrainOptions::default();
            options.epochs = 60;
            options.loss = Loss::CrossEntropy { label_smoothing: 0.1 };
            options.optimizer = Optimizer::adamw().weight_decay(0.1);
            options.schedule = Schedule::cosine(4e-3);
            options.augment.shift = shift;
            let mut trainer = Trainer::new(device, network, options)?;
            trainer.run(&train, None, &mut |_| ControlFlow::Continue(()))?;
            let plan = device.compile(&trainer.network()?.with_batch(labels.len())?)?;
            print!("{name:<17} {:>8} {digits:>24}", network.summary().parameters);
            for pixels in MOVES {
                let logits = plan.run_one(&moved(images, pixels)?)?;
                let right = digits::right(logits.values()?, labels);
                print!("{:>8.1}", 100.0 * right as f64 / labels.len() as f64);
            }
            println!();
        }
    }
    println!(
        "\nBoth have as many weights. A convolution's are the same in every place, so what it learned of a stroke in one"
    );
    println!(
        "place holds in the next; a fully connected layer has to see it there. 4 pixels are one of the 8 x 8 scans."
    );
    Ok(())
}
