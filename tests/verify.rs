//! Layers compared between devices, each within the bound of the form it is computed in.

mod support;

use support::random;
use wgpu_cnn::verify::{Operands, bounds, run_layer};
use wgpu_cnn::{Conv2d, Device, Network, Tensor};

/// Black but for a few pixels, as pictures of digits are: most windows see zeros only, and their tiles do not.
fn mostly_black(channels: usize) -> Tensor {
    let mut values = vec![0.0; channels * 16 * 16];
    for (plane, noise) in values.chunks_mut(256).zip(random::values(5, channels)) {
        plane[5 * 16 + 5] = noise;
    }
    Tensor::new([1, channels, 16, 16], values).unwrap()
}

#[test]
fn a_window_of_zeros_may_be_off_as_its_tile_is() {
    let gpu =
        Device::gpu().expect("the tests need a GPU adapter; `cargo xtask test` installs a software one");
    let graph = Network::new("network", [64, 16, 16]).conv2d(Conv2d::new(64, 3).padding(1)).build().unwrap();
    let node = &graph.nodes()[0];
    let constant = |i: usize| graph.value(node.inputs[i].unwrap()).constant.clone();
    let operands: Operands = vec![Some(mostly_black(64)), constant(1), constant(2)];
    let expected = run_layer(&Device::cpu(), &graph, node, &operands).unwrap().outputs;
    let actual = run_layer(&gpu, &graph, node, &operands).unwrap();
    let worst = |kernels: &[String]| {
        let bounds = bounds(&node.op, &operands, &expected, kernels).unwrap();
        bounds[0].judge(&expected[0], &actual.outputs[0])
    };
    let judged = worst(&actual.kernels);
    assert!(judged.of_bound <= 1.0, "{judged:?}");
    // Seen as sums of products, what Winograd's form rounds is past every bound.
    if actual.kernels.iter().any(|name| name.contains("winograd")) {
        assert!(worst(&[]).of_bound > 1.0);
    }
    // A hundredth of the largest output is still seen.
    let mut wrong = actual.outputs[0].clone();
    let values = wrong.values_mut::<f32>().unwrap();
    let largest = values.iter().map(|v| v.abs()).fold(0.0, f32::max);
    values[5 * 16 + 5] += largest / 100.0;
    let bounds = bounds(&node.op, &operands, &expected, &actual.kernels).unwrap();
    assert!(bounds[0].judge(&expected[0], &wrong).of_bound > 1.0);
}
