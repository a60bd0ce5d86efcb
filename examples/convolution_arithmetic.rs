//! The sizes of convolutions: stride, padding, dilation and ceil mode; small kernels stacked against a large one; how
//! the receptive field grows through LeNet-5 and VGG-16; and what one pixel reaches, as a picture.
//!
//! ```sh
//! cargo run --release --example convolution_arithmetic
//! ```

use anyhow::{Context, Result};
use image::GrayImage;
use image::imageops;
use wgpu_cnn::window::{Padding, Transposed, Window};
use wgpu_cnn::{Conv2d, Device, Graph, Network, Tensor, picture, zoo};

#[path = "support/output.rs"]
mod output;

fn main() -> Result<()> {
    sizes()?;
    stacked()?;
    growth("LeNet-5", &zoo::lenet5()?);
    growth("VGG-16", &zoo::vgg16()?);
    spread()
}

/// `floor((i + p_before + p_after - K) / s) + 1`, with the dilated kernel's extent `K = d(k - 1) + 1`.
fn sizes() -> Result<()> {
    println!("Output sizes along one axis\n");
    println!("{:<52} {:>5} {:>7} {:>7}  padding", "window", "input", "extent", "output");
    let conv = |kernel: usize| Window::new([kernel]);
    let cases = [
        (28, conv(5)),
        (28, conv(5).padding(2)),
        (28, conv(5).padding(4)),
        (7, conv(3).stride(2)),
        (8, conv(3).stride(2)),
        (8, conv(3).stride(2).ceil_mode(true)),
        (8, conv(3).stride(2).padding(1)),
        (8, conv(3).stride(2).padding(Padding::SameUpper)),
        (8, conv(3).stride(2).padding(Padding::SameLower)),
        (224, conv(7).stride(2).padding(3)),
        (112, conv(3).stride(2).padding(1)),
        (28, conv(3).dilation(2)),
        (28, conv(3).dilation(4)),
        (28, conv(3).dilation(4).padding(4)),
        (28, conv(1)),
    ];
    for (input, window) in cases {
        for axis in window.resolve(&[input])? {
            let pads = format!("{} + {}", axis.before, axis.after);
            println!("{:<52} {input:>5} {:>7} {:>7}  {pads}", window.to_string(), axis.extent(), axis.output);
        }
    }
    let back = Transposed::new(conv(3).stride(2).padding(1)).output_padding(1);
    for axis in back.resolve(&[4])? {
        println!("{:<52} {:>5} {:>7} {:>7}", back.to_string(), axis.input, axis.extent(), axis.output);
    }
    match conv(5).resolve(&[4]) {
        Ok(axes) => println!("{axes:?}"),
        Err(e) => println!("{:<52} {:>5} error: {e}", conv(5).to_string(), 4),
    }
    Ok(())
}

/// `layers` convolutions of this kernel over 64 channels, without bias, size kept by padding.
fn stack(layers: usize, kernel: usize, dilation: usize) -> wgpu_cnn::Result<Graph> {
    (0..layers)
        .fold(Network::new("stack", [64, 56, 56]), |net, _| {
            let padding = Padding::SameUpper;
            net.conv2d(Conv2d::new(64, kernel).dilation(dilation).padding(padding).bias(false)).relu()
        })
        .build()
}

fn stacked() -> Result<()> {
    println!("\nSmall kernels stacked, 64 channels over 56 x 56\n");
    println!(
        "{:<26} {:>15} {:>9} {:>12} {:>14}",
        "layers", "receptive field", "weights", "MACs", "non-linearities"
    );
    for (layers, kernel, dilation) in
        [(1, 3, 1), (2, 3, 1), (1, 5, 1), (3, 3, 1), (1, 7, 1), (1, 3, 2), (1, 3, 3)]
    {
        let graph = stack(layers, kernel, dilation)?;
        let summary = graph.summary();
        let field = graph.outputs().first().context("a stack has an output")?;
        let field = graph.receptive_field(*field)?.context("a stack has spatial axes")?;
        let dilated = if dilation == 1 { String::new() } else { format!(", dilation {dilation}") };
        println!(
            "{:<26} {:>15} {:>9} {:>12} {:>14}",
            format!("{layers} of {kernel} x {kernel}{dilated}"),
            field.axes[0].size,
            summary.parameters,
            summary.macs,
            layers,
        );
    }
    println!(
        "\nTwo 3 x 3 see as far as one 5 x 5 with 18/25 of its weights and one non-linearity more; three 3 x 3 as"
    );
    println!(
        "far as one 7 x 7 with 27/49 of its weights. Dilation sees as far with the weights of one 3 x 3, but"
    );
    println!("looks at every second or third pixel only.");
    Ok(())
}

fn growth(name: &str, graph: &Graph) {
    println!("\nReceptive field through {name}\n");
    println!("{:<14} {:<10} {:<14}  size stride", "layer", "operator", "output");
    for layer in graph.summary().layers {
        let elementwise = matches!(layer.op, "activation" | "reshape" | "gemm");
        if let (Some(field), false) = (layer.receptive_field, elementwise) {
            let (axis, output) = (&field.axes[0], layer.output.to_string());
            println!("{:<14} {:<10} {output:<14} {:>5} {:>6}", layer.name, layer.op, axis.size, axis.stride);
        }
    }
}

/// Side of the pictures of [`spread`].
const SIDE: usize = 21;

/// One lit pixel behind stacks of convolutions whose weights are all 1: the brightness is the number of paths from that
/// pixel to each output, on a logarithmic scale.
fn spread() -> Result<()> {
    println!("\nOne pixel behind stacks of convolutions whose weights are all 1: how many paths lead where");
    println!("  first row:  one to five 3 x 3");
    println!(
        "  second row: one 5 x 5; one 7 x 7; one 3 x 3 of dilation 2; 3 x 3 of dilations 1, 2; of 1, 2, 4"
    );
    let stacks: [&[(usize, usize)]; 10] = [
        &[(3, 1)],
        &[(3, 1); 2],
        &[(3, 1); 3],
        &[(3, 1); 4],
        &[(3, 1); 5],
        &[(5, 1)],
        &[(7, 1)],
        &[(3, 2)],
        &[(3, 1), (3, 2)],
        &[(3, 1), (3, 2), (3, 4)],
    ];
    let mut pixel = Tensor::zeros([1, 1, SIDE, SIDE])?;
    pixel.values_mut::<f32>()?[SIDE * SIDE / 2] = 1.0;
    let mut tiles = Vec::new();
    for layers in stacks {
        let mut graph = layers
            .iter()
            .fold(Network::new("paths", [1, SIDE, SIDE]), |net, &(kernel, dilation)| {
                let conv = Conv2d::new(1, kernel).dilation(dilation).padding(Padding::SameUpper);
                net.conv2d(conv.bias(false))
            })
            .build()?;
        let ones = |(name, weight): (&str, &Tensor)| {
            let ones = vec![1f32; weight.shape().elements()];
            Ok((name.to_owned(), Tensor::new(weight.shape().to_vec(), ones)?))
        };
        let weights = graph.weights().map(ones).collect::<wgpu_cnn::Result<_>>()?;
        graph.set_weights(weights)?;
        let paths = Device::cpu().compile(&graph)?.run_one(&pixel)?;
        let levels: Vec<f32> = paths.values::<f32>()?.iter().map(|n| (1.0 + n).ln()).collect();
        tiles.push(framed(&picture::to_grey_image(&levels, SIDE, SIDE)));
    }
    output::save("convolution_arithmetic.png", &picture::grid(&tiles, 5, 6))
}

/// The picture within a thin dark grey frame, so that pictures on black stay apart.
fn framed(picture: &GrayImage) -> GrayImage {
    let mut frame = GrayImage::from_pixel(picture.width() + 2, picture.height() + 2, image::Luma([48]));
    imageops::replace(&mut frame, picture, 1, 1);
    frame
}
