//! Sessions: plans come with the shapes, are kept, and share their weights.

use std::sync::Arc;

use wgpu_cnn::{Conv2d, Device, Graph, Network, Session, Shape, Tensor};

fn network() -> Graph {
    Network::new("small", [3, 12, 12])
        .conv2d(Conv2d::new(8, 3).padding(1).bias(false))
        .batch_norm()
        .relu()
        .global_average_pool()
        .flatten()
        .linear(5)
        .build()
        .unwrap()
}

fn input(batch: usize, side: usize) -> Tensor {
    let count = batch * 3 * side * side;
    Tensor::new([batch, 3, side, side], (0..count).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<f32>>())
        .unwrap()
}

fn gpu() -> Device {
    Device::gpu().expect("the tests need a GPU adapter; `cargo xtask test` installs a software one")
}

#[test]
fn any_batch_and_size_runs() {
    for device in [Device::cpu(), gpu()] {
        let session = Session::new(&device, network());
        let one = session.run(&[input(1, 12)]).unwrap();
        let three = session.run(&[input(3, 12)]).unwrap();
        assert_eq!(three[0].shape()[..], [3, 5]);
        // Other batches may run other kernels, whose sums are rounded in another order.
        for (a, b) in one[0].values::<f32>().unwrap().iter().zip(three[0].values::<f32>().unwrap()) {
            assert!((a - b).abs() < 1e-5, "{device:?}: {a} and {b}");
        }
        assert_eq!(session.run(&[input(2, 17)]).unwrap()[0].shape()[..], [2, 5]);
        // One channel too many: the first layer says so.
        let wrong = session.run(&[Tensor::zeros([1, 4, 12, 12]).unwrap()]).unwrap_err().to_string();
        assert!(wrong.contains("conv1"), "{wrong}");
    }
}

#[test]
fn a_plan_is_kept_until_eight_others_were_used() {
    let session = Session::new(&Device::cpu(), network());
    let shape = |batch| [Shape::new([batch, 3, 12, 12]).unwrap()];
    let first = session.plan(&shape(1)).unwrap();
    for batch in 2..9 {
        session.plan(&shape(batch)).unwrap();
    }
    assert!(Arc::ptr_eq(&first, &session.plan(&shape(1)).unwrap()));
    for batch in 2..10 {
        session.plan(&shape(batch)).unwrap();
    }
    assert!(!Arc::ptr_eq(&first, &session.plan(&shape(1)).unwrap()));
}

#[test]
fn plans_of_other_batches_upload_no_weights_again() {
    let device = gpu();
    let wgpu = device.as_gpu().unwrap();
    let session = Session::new(&device, network());
    // Of batches for which the same kernels are chosen: another kernel may want a weight in another layout.
    session.plan(&[Shape::new([4, 3, 12, 12]).unwrap()]).unwrap();
    let held = wgpu.weight_count();
    assert!(held > 0);
    session.plan(&[Shape::new([8, 3, 12, 12]).unwrap()]).unwrap();
    assert_eq!(wgpu.weight_count(), held);
    drop(session);
    // What no network holds any more goes with the next compilation.
    let _other = device.compile(&network()).unwrap();
    assert!(wgpu.weight_count() <= held);
}
