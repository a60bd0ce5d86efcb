//! Whole networks by the kernels that the rules choose for hardware GPUs, whichever adapter runs them. Each layer alone is held
//! to its bound around the CPU's result, and the network as a whole to the same bits as its layers one after another, however
//! its values share buffers.

use std::collections::BTreeSet;

use super::device::GpuDevice;
use super::memory::{ENOUGH, Placement};
use super::operands::record_on;
use super::plan::GpuPlan;
use super::recording::Recording;
use super::tune::numbers;
use crate::graph::passes::{Passes, optimize};
use crate::graph::{Graph, Info};
use crate::network::{Conv2d, Network, Pool2d};
use crate::ops::Activation;
use crate::plan::PlanOptions;
use crate::tensor::Tensor;
use crate::verify::{alone, bounds, reference};
use crate::zoo;

fn device() -> GpuDevice {
    let device = pollster::block_on(GpuDevice::open(|_| true, &Default::default()));
    device.unwrap().expect("the tests need a GPU adapter")
}

/// The outputs of a graph, the names of the kernels that computed them, and how many dispatches read and wrote parts of one
/// buffer: as many as it takes for no more than `enough` times the least. `alter` is given what is dispatched.
fn run(
    device: &GpuDevice,
    graph: &Graph,
    inputs: &[Tensor],
    enough: f64,
    alter: impl Fn(&mut Recording),
) -> (Vec<Tensor>, BTreeSet<String>, usize) {
    let options = PlanOptions::default();
    let recording = Recording::new(device.device().limits(), false);
    let (mut recording, from, to) = record_on(recording, graph, &options, &[]).unwrap();
    alter(&mut recording);
    let kernels = recording.dispatches.iter().map(|dispatch| dispatch.kernel.name().to_string()).collect();
    let infos = graph.outputs().iter().map(|value| graph.value(*value).info.clone());
    let placement = Placement::new(&recording, &to, enough);
    let mut declared = recording.clone();
    placement.declare(&mut declared);
    let both = declared.dispatches.iter().zip(&recording.dispatches);
    let mixing = both.filter(|(declared, plain)| declared.kernel != plain.kernel).count();
    let outputs = pollster::block_on(async {
        let plan = GpuPlan::build_placed(device, recording, &placement, &from, &to, infos, &options).await?;
        plan.run(inputs, true).await
    });
    (outputs.unwrap(), kernels, mixing)
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.values::<f32>().unwrap().iter().map(|value| value.to_bits()).collect()
}

fn input(info: &Info) -> Tensor {
    Tensor::new(info.shape.to_vec(), numbers(info.shape.elements())).unwrap()
}

/// The names of the kernels that a network takes, and how many of its dispatches read and write parts of one buffer where that
/// is most and where it is least; or what is wrong with it.
fn check(network: &Graph, alter: impl Fn(&mut Recording)) -> Result<(BTreeSet<String>, [usize; 2]), String> {
    let device = device();
    let graph = optimize(network, &Passes::default()).unwrap();
    let mut values: Vec<_> = graph.values().iter().map(|value| value.constant.clone()).collect();
    let inputs: Vec<_> = graph.inputs().iter().map(|&id| input(&graph.value(id).info)).collect();
    for (id, input) in graph.inputs().iter().zip(&inputs) {
        values[id.index()] = Some(input.clone());
    }
    for node in graph.nodes() {
        let operands = node.inputs.iter().map(|id| id.and_then(|id| values[id.index()].clone())).collect();
        let (layer, inputs) = alone(&graph, node, &operands).unwrap();
        let (outputs, kernels, _) = run(&device, &layer, &inputs, ENOUGH, &alter);
        let expected = reference(&layer, &inputs).unwrap();
        let names: Vec<_> = kernels.iter().map(String::as_str).collect();
        let bounds = bounds(&node.op, &operands, &expected, &names).unwrap();
        assert_eq!(outputs.len(), bounds.len());
        for (bound, (expected, actual)) in bounds.iter().zip(expected.iter().zip(&outputs)) {
            let of_bound = bound.judge(expected, actual).of_bound;
            if of_bound.is_nan() || of_bound > 1.0 {
                return Err(format!("'{}' by {kernels:?} is off by {of_bound} times its bound", node.name));
            }
        }
        for (id, output) in node.outputs.iter().zip(outputs) {
            values[id.index()] = Some(output);
        }
    }
    let whole = |enough| {
        let (outputs, kernels, mixing) = run(&device, &graph, &inputs, enough, &alter);
        for (id, output) in graph.outputs().iter().zip(&outputs) {
            let layer_by_layer = values[id.index()].as_ref().unwrap();
            if bits(output) != bits(layer_by_layer) {
                return Err("the whole differs from its layers".to_string());
            }
        }
        Ok((kernels, mixing))
    };
    let ((_, most), (_, least)) = (whole(1.0)?, whole(f64::INFINITY)?);
    let (kernels, _) = whole(ENOUGH)?;
    Ok((kernels, [most, least]))
}

fn assert_takes(kernels: &BTreeSet<String>, expected: &[&str]) {
    let lacking: Vec<_> = expected.iter().filter(|name| !kernels.contains(**name)).collect();
    assert!(lacking.is_empty(), "no {lacking:?} among {kernels:?}");
    assert!(kernels.iter().all(|name| !name.starts_with("image")), "{kernels:?}");
}

#[test]
fn lenet5() {
    let (kernels, _) = check(&zoo::lenet5().unwrap().with_batch(3).unwrap(), |_| ()).unwrap();
    assert_takes(&kernels, &["conv_stem", "pool_row", "gemm_row_4"]);
}

/// Stem, a residual block, a depthwise block and a head, as ResNet and MobileNetV2 have them.
#[test]
fn a_residual_network() {
    let conv = |net: Network, conv: Conv2d| net.conv2d(conv.bias(false)).batch_norm();
    let three = || Conv2d::new(64, 3).padding(1);
    let block = |net: Network| conv(conv(net, three()).relu(), three());
    let depthwise = |net: Network| {
        let net = conv(net, Conv2d::new(96, 1)).activation(Activation::RELU6);
        let net = conv(net, Conv2d::new(96, 3).padding(1).groups(96)).activation(Activation::RELU6);
        conv(net, Conv2d::new(64, 1))
    };
    let same = |net: Network| net;
    let network = conv(Network::new("residual", [3, 64, 64]), Conv2d::new(64, 7).stride(2).padding(3))
        .relu()
        .max_pool(Pool2d::new(3).stride(2).padding(1))
        .add(&block, &same)
        .relu()
        .add(&depthwise, &same)
        .activation(Activation::HardSwish)
        .global_average_pool()
        .flatten()
        .linear(10)
        .softmax()
        .build();
    let (kernels, [most, least]) = check(&network.unwrap().with_batch(3).unwrap(), |_| ()).unwrap();
    assert!(most > 0 && least == 0, "{most} and {least} dispatches read and write parts of one buffer");
    let convolutions = ["conv_stem", "conv_winograd_4", "conv_winograd_4_output", "conv_depthwise"];
    assert_takes(&kernels, &convolutions);
    assert_takes(&kernels, &["gemm_tiled_32", "pool_row", "reduce_group_4"]);
}

#[test]
fn what_is_left_out_is_seen() {
    let network = zoo::lenet5().unwrap();
    let without_pooling = |recording: &mut Recording| {
        recording.dispatches.retain(|dispatch| dispatch.kernel.name() != "pool_row");
    };
    let error = check(&network, without_pooling).unwrap_err();
    assert!(error.contains("times its bound"), "{error}");
    let only_alone = |recording: &mut Recording| {
        if recording.dispatches.len() > 3 {
            without_pooling(recording);
        }
    };
    assert_eq!(check(&network, only_alone).unwrap_err(), "the whole differs from its layers");
}
