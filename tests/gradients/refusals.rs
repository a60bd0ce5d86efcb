//! What has no gradient is refused with the layer and the reason; and what `gradients` leaves alone.

use wgpu_cnn::graph::{Graph, Info, ValueId, gradients};
use wgpu_cnn::ops::arg_reduce::ArgOutput;
use wgpu_cnn::ops::{
    Activation, ArgReduce, Binary, Conv, Gather, Op, Pool, PoolKind, Rearrange, Reduce, ReduceKind,
};
use wgpu_cnn::window::Window;
use wgpu_cnn::{DType, Device, Error, Tensor};

use crate::problem::{gpu, shape};

fn sum(graph: &mut Graph, name: &str, x: ValueId) -> ValueId {
    let axes = Some((0..graph.value(x).info.shape.len()).collect());
    graph.push(name, Reduce { kind: ReduceKind::Sum, axes, keep_dims: false }, &[x]).unwrap()
}

/// The error of the gradient of the sum of what an operator makes of an input of this shape.
fn refused(op: impl Into<Op>, dims: &[usize], more: Option<Info>) -> Error {
    let mut graph = Graph::new("refused");
    let x = graph.input("x", Info::f32(shape(dims)));
    let more = more.map(|info| graph.input("more", info));
    let inputs: Vec<_> = [x].into_iter().chain(more).collect();
    let y = graph.push("the layer", op, &inputs).unwrap();
    let loss = sum(&mut graph, "loss", y);
    gradients(&mut graph, loss, &[x]).unwrap_err()
}

#[test]
fn operators_without_a_gradient_say_why() {
    let one_hot = ArgReduce { largest: true, axis: 0, select_last: false, output: ArgOutput::OneHot };
    let indices = Info { shape: shape(&[2]), dtype: DType::I64 };
    let product = Reduce { kind: ReduceKind::Prod, axes: None, keep_dims: true };
    let apart = Reduce { kind: ReduceKind::Max, axes: Some(vec![0, 2]), keep_dims: true };
    for (error, reason) in [
        (refused(one_hot, &[3], None), "a position only jumps"),
        (refused(Gather { axis: 0 }, &[3], Some(indices)), "make them constants"),
        (refused(product, &[1, 1, 3], None), "sum of logarithms"),
        (refused(apart, &[2, 2, 2], None), "one after another"),
        (refused(Pool::new(PoolKind::Lp { p: 2.0 }, Window::new([2])), &[1, 1, 3], None), "an average pool"),
    ] {
        assert!(matches!(&error, Error::NoGradient { layer, .. } if layer == "the layer"), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn losses_are_one_number() {
    let mut graph = Graph::new("losses");
    let x = graph.input("x", Info::f32(shape(&[3])));
    let y = graph.push("y", Activation::Tanh, &[x]).unwrap();
    let i = graph.input("i", Info { shape: shape(&[1]), dtype: DType::I64 });
    for (loss, wanted) in [(y, x), (i, x), (y, i)] {
        let error = gradients(&mut graph, loss, &[wanted]).unwrap_err();
        assert!(matches!(error, Error::Graph(_)), "{error}");
    }
    assert!(gradients(&mut graph, y, &[x]).unwrap_err().to_string().contains("sum or mean"));
}

/// Only what lies between: a layer without a gradient on another way is no matter, and nor is one behind the loss.
#[test]
fn layers_beside_the_way_are_left_alone() {
    let mut graph = Graph::new("beside");
    let x = graph.input("x", Info::f32(shape(&[2, 3])));
    let other = graph.input("other", Info::f32(shape(&[2, 3])));
    let find = ArgReduce { largest: true, axis: 1, select_last: false, output: ArgOutput::OneHot };
    let mask = graph.push("mask", find, &[other]).unwrap();
    let product = graph.push("product", Binary::Mul, &[x, mask]).unwrap();
    let loss = sum(&mut graph, "loss", product);
    let behind = graph.push("behind", ArgReduce { axis: 0, ..find }, &[product]).unwrap();
    let before = graph.nodes().len();
    let found = gradients(&mut graph, loss, &[x, behind, loss]).unwrap();
    assert!(graph.nodes()[before..].iter().all(|node| !node.name.starts_with("mask")));
    found.iter().for_each(|id| graph.output(*id));
    graph.check().unwrap();

    let values = |values: [f32; 6]| Tensor::new([2, 3], values.to_vec()).unwrap();
    let inputs = [values([1.0; 6]), values([3.0, 1.0, 2.0, 0.0, 5.0, 4.0])];
    for device in [&Device::cpu(), gpu()] {
        let results = device.compile(&graph).unwrap().run(&inputs).unwrap();
        assert_eq!(results[0].values::<f32>().unwrap(), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        assert_eq!(results[1].values::<f32>().unwrap(), [0.0; 6]);
        assert_eq!(results[2].values::<f32>().unwrap(), [1.0]);
    }
}

/// Names stay unique where a graph is differentiated again, and values keep theirs.
#[test]
fn a_graph_can_be_differentiated_again() {
    let mut graph = Graph::new("twice");
    let x = graph.input("x", Info::f32(shape(&[1, 1, 4])));
    let weight = graph.constant("weight", Tensor::new([1, 1, 3], vec![1f32, 2.0, 3.0]).unwrap());
    let conv = Conv { activation: Some(Activation::Tanh), ..Conv::new(Window::new([3])) };
    let y = graph.push("conv", conv, &[x, weight]).unwrap();
    let loss = sum(&mut graph, "loss", y);
    let first = gradients(&mut graph, loss, &[weight]).unwrap();
    let again = gradients(&mut graph, loss, &[weight, x]).unwrap();
    assert_ne!(first[0], again[0]);
    assert_eq!(graph.find("conv"), Some(y));
    graph.output(y);
    first.iter().chain(&again).for_each(|id| graph.output(*id));
    graph.check().unwrap();
    let results = Device::cpu().compile(&graph).unwrap().run(&[Tensor::zeros([1, 1, 4]).unwrap()]).unwrap();
    assert_eq!(results[1], results[2]);
}

/// An empty batch has a loss and gradients of its own size.
#[test]
fn no_elements_have_no_gradients() {
    let mut graph = Graph::new("empty");
    let x = graph.input("x", Info::f32(shape(&[0, 3])));
    let y = graph.push("y", Rearrange::transpose(&[0, 3], &[1, 0]), &[x]).unwrap();
    let loss = sum(&mut graph, "loss", y);
    let found = gradients(&mut graph, loss, &[x]).unwrap();
    assert_eq!(graph.value(found[0]).info.shape[..], [0, 3]);
    graph.output(found[0]);
    Device::cpu().compile(&graph).unwrap().run(&[Tensor::zeros([0, 3]).unwrap()]).unwrap();
}
