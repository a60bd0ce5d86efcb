//! Matrix products: square ones, and a linear layer for one image, whose weights are each read once.

mod support;

use wgpu_cnn::graph::Info;
use wgpu_cnn::ops::Gemm;
use wgpu_cnn::{Graph, Network, Result, Shape};

/// `[n, n]` times `[n, n]`.
fn square(n: usize) -> Result<Graph> {
    let mut graph = Graph::new("product");
    let matrix = Info::f32(Shape::new([n, n])?);
    let (a, b) = (graph.input("a", matrix.clone()), graph.input("b", matrix));
    let product = graph.push("product", Gemm::default(), &[a, b])?;
    graph.output(product);
    Ok(graph)
}

fn linear() -> Result<Graph> {
    Network::new("linear", [4096, 1, 1]).flatten().linear(1000).build()
}

fn main() -> Result<()> {
    let devices = support::devices();
    let mut criterion = support::criterion();
    let mut group = criterion.benchmark_group("gemm");
    for n in [64, 256, 512] {
        support::measure(&mut group, &devices, &format!("{n}x{n}x{n}"), &square(n)?);
    }
    support::measure(&mut group, &devices, "linear 4096 to 1000", &linear()?);
    group.finish();
    criterion.final_summary();
    Ok(())
}
