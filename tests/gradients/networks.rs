//! Whole networks: the gradients to every weight.

use wgpu_cnn::graph::{Graph, ValueId};
use wgpu_cnn::ops::{BatchNorm, Binary, Conv, Gemm, Pool, PoolKind, Reduce, ReduceKind, Softmax};
use wgpu_cnn::window::Window;
use wgpu_cnn::{Activation, Tensor, zoo};

use crate::problem::{Maker, Problem};

/// The cross-entropy of logits with random targets.
fn cross_entropy(maker: &mut Maker, logits: ValueId) -> ValueId {
    let log = maker.push(Softmax { axis: 1, log: true }, &[logits]);
    maker.weighted_sum(log)
}

#[test]
fn lenet() {
    let problem = Problem::of_loss("lenet5", 5, |maker| {
        let network = zoo::lenet5().unwrap().with_batch(2).unwrap();
        let image = maker.rng.values(2 * 32 * 32);
        let image = maker.unwanted(Tensor::new([2, 1, 32, 32], image).unwrap());
        let logits = splice(maker, &network, image);
        cross_entropy(maker, logits)
    });
    problem.check_with(false, |_| false);
}

/// Copies a network's nodes; its weights are wanted.
fn splice(maker: &mut Maker, network: &Graph, input: ValueId) -> ValueId {
    let mut ids = vec![None; network.values().len()];
    ids[network.inputs()[0].index()] = Some(input);
    for (place, value) in network.values().iter().enumerate() {
        if let Some(tensor) = &value.constant {
            let id = maker.graph.constant(value.name.clone(), tensor.clone());
            maker.want(id);
            ids[place] = Some(id);
        }
    }
    for node in network.nodes() {
        let inputs: Vec<_> = node.inputs.iter().map(|id| id.and_then(|id| ids[id.index()])).collect();
        let outputs = maker.graph.push_node(node.name.clone(), node.op.clone(), &inputs).unwrap();
        node.outputs.iter().zip(outputs).for_each(|(old, new)| ids[old.index()] = Some(new));
    }
    ids[network.outputs()[0].index()].unwrap()
}

fn conv(maker: &mut Maker, x: ValueId, filters: usize, stride: usize) -> ValueId {
    let channels = maker.graph.value(x).info.shape[1];
    let weight = maker.random(&[filters, channels, 3, 3]);
    maker.push(Conv::new(Window::new([3, 3]).stride(stride).padding(1)), &[x, weight])
}

fn norm(maker: &mut Maker, x: ValueId) -> ValueId {
    let channels = maker.graph.value(x).info.shape[1];
    let parts = [maker.random(&[channels]), maker.random(&[channels]), maker.random(&[channels])];
    let variance = maker.positive(&[channels]);
    maker.push(BatchNorm { epsilon: 1e-3 }, &[&[x][..], &parts, &[variance]].concat())
}

#[test]
fn a_residual_network_with_batch_norm() {
    let problem = Problem::of_loss("residual", 3, |maker| {
        let image = maker.random(&[2, 3, 8, 8]);
        let stem = conv(maker, image, 4, 1);
        let stem = norm(maker, stem);
        let stem = maker.push(Activation::Relu, &[stem]);
        let stem = maker.push(Pool::new(PoolKind::Max, Window::new([3, 3]).stride(2).padding(1)), &[stem]);
        let inner = conv(maker, stem, 4, 1);
        let inner = norm(maker, inner);
        let inner = maker.push(Activation::Relu, &[inner]);
        let inner = conv(maker, inner, 4, 1);
        let inner = norm(maker, inner);
        let sum = maker.push(Binary::Add, &[inner, stem]);
        let sum = maker.push(Activation::Relu, &[sum]);
        let down = conv(maker, sum, 6, 2);
        let mean = maker.push(Reduce { kind: ReduceKind::Mean, axes: None, keep_dims: false }, &[down]);
        let (weight, bias) = (maker.random(&[5, 6]), maker.random(&[5]));
        let logits = maker.push(Gemm::linear(), &[mean, weight, bias]);
        cross_entropy(maker, logits)
    });
    // Short enough that no relu or maximum changes over on the way.
    problem.step(1.0 / f64::from(1 << 18)).check_with(false, |_| true);
}
