//! Each rewrite does what it says, and the network computes the same with and without it.

#[path = "support/mod.rs"]
mod support;

use support::random::Rng;
use wgpu_cnn::graph::passes::{Passes, optimize};
use wgpu_cnn::graph::{Graph, Info, ValueId};
use wgpu_cnn::ops::rearrange::{AxisMap, Border};
use wgpu_cnn::ops::{Activation, BatchNorm, Binary, Concat, Conv, Gemm, Rearrange, Reshape};
use wgpu_cnn::window::Window;
use wgpu_cnn::{Device, PlanOptions, Shape, Tensor};

type Switch = fn(&mut Passes) -> &mut bool;

const SWITCHES: [(&str, Switch); 8] = [
    ("fold_constants", |p| &mut p.fold_constants),
    ("drop_identity", |p| &mut p.drop_identity),
    ("merge_common", |p| &mut p.merge_common),
    ("fold_padding", |p| &mut p.fold_padding),
    ("fold_batch_norm", |p| &mut p.fold_batch_norm),
    ("fuse_residual", |p| &mut p.fuse_residual),
    ("fuse_activation", |p| &mut p.fuse_activation),
    ("drop_reshape", |p| &mut p.drop_reshape),
];

fn only(switch: Switch) -> Passes {
    let mut passes = Passes::none();
    *switch(&mut passes) = true;
    passes
}

struct Maker {
    graph: Graph,
    rng: Rng,
    count: usize,
}

impl Maker {
    fn new() -> Self {
        Maker { graph: Graph::new("made"), rng: Rng::new(11), count: 0 }
    }

    fn name(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{what}{}", self.count)
    }

    fn input(&mut self, shape: &[usize]) -> ValueId {
        let name = self.name("input");
        self.graph.input(name, Info::f32(Shape::new(shape).unwrap()))
    }

    fn weight(&mut self, shape: &[usize], low: f32) -> ValueId {
        let values = self.rng.values(shape.iter().product()).iter().map(|v| v.max(low)).collect();
        let name = self.name("weight");
        self.graph.constant(name, Tensor::new::<f32>(shape, values).unwrap())
    }

    fn push(&mut self, op: impl Into<wgpu_cnn::ops::Op>, inputs: &[ValueId]) -> ValueId {
        let op = op.into();
        let name = self.name(op.name());
        self.graph.push(name, op, inputs).unwrap()
    }

    fn conv(&mut self, x: ValueId, filters: usize, bias: bool) -> ValueId {
        let channels = self.graph.value(x).info.shape[1];
        let weight = self.weight(&[filters, channels, 3, 3], -1.0);
        let mut inputs = vec![x, weight];
        if bias {
            inputs.push(self.weight(&[filters], -1.0));
        }
        self.push(Conv::new(Window::new([3, 3]).padding(1)), &inputs)
    }

    fn batch_norm(&mut self, x: ValueId) -> ValueId {
        let channels = self.graph.value(x).info.shape[1];
        let parts: Vec<_> = [-1.0, -1.0, -1.0, 0.3].map(|low| self.weight(&[channels], low)).into();
        let inputs = [vec![x], parts].concat();
        self.push(BatchNorm { epsilon: 1e-5 }, &inputs)
    }
}

fn ops(graph: &Graph) -> Vec<&'static str> {
    graph.nodes().iter().map(|n| n.op.name()).collect()
}

fn run(graph: &Graph, passes: Passes, device: &Device) -> Vec<Vec<f32>> {
    let mut rng = Rng::new(5);
    let inputs: Vec<_> = graph
        .inputs()
        .iter()
        .map(|&id| {
            let shape = &graph.value(id).info.shape;
            Tensor::new(shape.to_vec(), rng.values(shape.elements())).unwrap()
        })
        .collect();
    let mut options = PlanOptions::default();
    options.passes = passes;
    let outputs = device.compile_with(graph, &options).unwrap().run(&inputs).unwrap();
    outputs.iter().map(|t| t.values::<f32>().unwrap().to_vec()).collect()
}

/// The network's outputs with each pass alone, with all, and with none, on both backends. Folding a norm rounds the
/// weights once more, so outputs agree to a few units in the last place of the largest one.
fn assert_harmless(graph: &Graph) {
    for device in [Device::cpu(), Device::gpu().expect("the tests need a GPU adapter")] {
        let plain = run(graph, Passes::none(), &device);
        let all = std::iter::once(("all", Passes::default()));
        for (name, passes) in SWITCHES.iter().map(|(name, s)| (*name, only(*s))).chain(all) {
            for (a, b) in plain.iter().zip(run(graph, passes, &device)) {
                let largest = a.iter().fold(0f32, |m, v| m.max(v.abs()));
                let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
                assert!(worst <= 64.0 * f32::EPSILON * largest, "{name} on {device:?}: {worst} of {largest}");
            }
        }
    }
}

#[test]
fn a_norm_becomes_part_of_the_filters() {
    let mut m = Maker::new();
    let x = m.input(&[2, 3, 6, 5]);
    let (a, b) = (m.conv(x, 4, false), m.conv(x, 4, true));
    let (a, b) = (m.batch_norm(a), m.batch_norm(b));
    m.graph.output(a);
    m.graph.output(b);
    let folded = optimize(&m.graph, &only(|p| &mut p.fold_batch_norm)).unwrap();
    assert_eq!(ops(&folded), ["conv", "conv"]);
    assert_harmless(&m.graph);
}

#[test]
fn a_norm_becomes_part_of_a_linear_layer() {
    let mut m = Maker::new();
    let x = m.input(&[3, 7]);
    let weight = m.weight(&[5, 7], -1.0);
    let y = m.push(Gemm::linear(), &[x, weight]);
    let y = m.batch_norm(y);
    m.graph.output(y);
    assert_eq!(ops(&optimize(&m.graph, &Passes::default()).unwrap()), ["gemm"]);
    assert_harmless(&m.graph);
}

#[test]
fn a_residual_block_becomes_two_convolutions() {
    let mut m = Maker::new();
    let x = m.input(&[1, 4, 6, 6]);
    let y = m.conv(x, 4, false);
    let y = m.batch_norm(y);
    let y = m.push(Activation::Relu, &[y]);
    let y = m.conv(y, 4, false);
    let y = m.batch_norm(y);
    let y = m.push(Binary::Add, &[y, x]);
    let y = m.push(Activation::Relu, &[y]);
    m.graph.output(y);
    let graph = optimize(&m.graph, &Passes::default()).unwrap();
    assert_eq!(ops(&graph), ["conv", "conv"]);
    assert!(graph.nodes()[1].inputs[3].is_some(), "the sum is the second convolution's");
    assert_harmless(&m.graph);
}

#[test]
fn of_two_branches_the_later_convolution_takes_the_sum() {
    let mut m = Maker::new();
    let x = m.input(&[1, 2, 5, 5]);
    let (a, b) = (m.conv(x, 3, true), m.conv(x, 3, true));
    let y = m.push(Binary::Add, &[a, b]);
    let y = m.push(Activation::RELU6, &[y]);
    m.graph.output(y);
    assert_eq!(ops(&optimize(&m.graph, &Passes::default()).unwrap()), ["conv", "conv"]);
    assert_harmless(&m.graph);
}

#[test]
fn what_others_read_is_not_fused_away() {
    let mut m = Maker::new();
    let x = m.input(&[1, 2, 5, 5]);
    let y = m.conv(x, 2, true);
    let twice = m.push(Binary::Add, &[y, y]);
    let relu = m.push(Activation::Relu, &[y]);
    m.graph.output(twice);
    m.graph.output(relu);
    let z = m.conv(x, 2, true);
    let norm = m.batch_norm(z);
    m.graph.output(z);
    m.graph.output(norm);
    let graph = optimize(&m.graph, &Passes::default()).unwrap();
    assert_eq!(ops(&graph), ops(&m.graph));
    assert_harmless(&m.graph);
}

#[test]
fn zeros_around_become_padding() {
    let mut m = Maker::new();
    let x = m.input(&[1, 2, 5, 4]);
    let mut pad = Rearrange::identity(&[1, 2, 5, 4]);
    pad.axes[2] = AxisMap { size: 5 + 3, start: -1, ..pad.axes[2] };
    pad.axes[3] = AxisMap { size: 4 + 1, start: 0, ..pad.axes[3] };
    let ones = Rearrange { border: Border::Constant(1.0), ..pad.clone() };
    let (a, b) = (m.push(pad, &[x]), m.push(ones, &[x]));
    let (a, b) = (m.conv(a, 2, true), m.conv(b, 2, true));
    m.graph.output(a);
    m.graph.output(b);
    // Only zeros are what a convolution pads with.
    assert_eq!(ops(&optimize(&m.graph, &Passes::default()).unwrap()), ["rearrange", "conv", "conv"]);
    assert_harmless(&m.graph);
}

#[test]
fn constants_are_computed_once_and_equal_nodes_merged() {
    let mut m = Maker::new();
    let x = m.input(&[1, 2, 3, 3]);
    let (a, b) = (m.weight(&[2, 1, 1], -1.0), m.weight(&[2, 1, 1], -1.0));
    let sum = m.push(Binary::Add, &[a, b]);
    let same = m.push(Reshape::To(vec![1, 2, 3, 3]), &[x]);
    let (p, q) = (m.push(Binary::Mul, &[same, sum]), m.push(Binary::Mul, &[x, sum]));
    let y = m.push(Concat { axis: 1 }, &[p, q]);
    m.graph.output(y);
    assert_eq!(ops(&optimize(&m.graph, &Passes::default()).unwrap()), ["binary", "concat"]);
    assert_harmless(&m.graph);
}
