//! Runs into tensors that are there already: the same values, only where the tensors fit and nothing goes wrong, and never
//! into what a clone holds.

#[path = "support/mod.rs"]
mod support;

use std::future::Future;
use std::task::{Context, Waker};

use support::random;
use wgpu_cnn::graph::Info;
use wgpu_cnn::ops::arg_reduce::ArgOutput;
use wgpu_cnn::ops::{Activation, ArgReduce};
use wgpu_cnn::zoo::LeNetFamily;
use wgpu_cnn::{DType, Device, Error, Graph, Plan, Shape, Tensor};

fn gpu() -> Device {
    Device::gpu().expect("the tests need a GPU adapter; `cargo xtask test` installs a software one")
}

fn both() -> [Device; 2] {
    [Device::cpu(), gpu()]
}

fn network() -> Graph {
    LeNetFamily::new([1, 16, 16]).filters(4).units(20).build().unwrap()
}

fn lenet(device: &Device) -> Plan {
    device.compile(&network()).unwrap()
}

fn image(seed: u64) -> Tensor {
    Tensor::new([1, 1, 16, 16], random::values(seed, 256)).unwrap()
}

/// Numbers, indices and truth values out of one network, an output without elements between them.
fn of_every_type() -> Graph {
    let info = |dims: &[usize], dtype| Info { shape: Shape::new(dims).unwrap(), dtype };
    let mut graph = Graph::new("of every type");
    let x = graph.input("x", info(&[5, 7], DType::F32));
    let mask = graph.input("mask", info(&[3], DType::Bool));
    let empty = graph.input("empty", info(&[0, 2], DType::F32));
    let largest = ArgReduce { largest: true, axis: 1, select_last: false, output: ArgOutput::Index };
    let outputs = [
        graph.push("index", largest, &[x]).unwrap(),
        graph.push("nothing", Activation::Relu, &[empty]).unwrap(),
        graph.push("negative", Activation::Neg, &[x]).unwrap(),
        mask,
    ];
    outputs.into_iter().for_each(|output| graph.output(output));
    graph
}

fn inputs_of_every_type(seed: u64) -> [Tensor; 3] {
    let x = Tensor::new([5, 7], random::values(seed, 35)).unwrap();
    let mask = Tensor::new([3], vec![seed.is_multiple_of(2), true, !seed.is_multiple_of(3)]).unwrap();
    [x, mask, Tensor::zeros([0, 2]).unwrap()]
}

#[test]
fn a_run_into_tensors_writes_what_a_run_returns() {
    for device in both() {
        let plan = device.compile(&of_every_type()).unwrap();
        let mut outputs = plan.run(&inputs_of_every_type(1)).unwrap();
        let types: Vec<_> = outputs.iter().map(Tensor::dtype).collect();
        assert_eq!(types, [DType::I64, DType::F32, DType::F32, DType::Bool]);
        for seed in 2..5 {
            let inputs = inputs_of_every_type(seed);
            let expected = plan.run(&inputs).unwrap();
            assert_ne!(outputs, expected, "{device:?}");
            plan.run_into(&inputs, &mut outputs).unwrap();
            assert_eq!(outputs, expected, "{device:?}");
            let next = inputs_of_every_type(seed + 10);
            pollster::block_on(plan.run_into_async(&next, &mut outputs)).unwrap();
            assert_eq!(outputs, plan.run(&next).unwrap(), "{device:?}");
        }
    }
}

#[test]
fn outputs_of_another_shape_type_or_number_are_refused() {
    for device in both() {
        let plan = lenet(&device);
        let right = Tensor::zeros([1, 10]).unwrap();
        let integers = Tensor::new([1, 10], vec![0i64; 10]).unwrap();
        for wrong in [Tensor::zeros([10, 1]).unwrap(), Tensor::zeros([2, 10]).unwrap(), integers] {
            let mut outputs = [wrong.clone()];
            match plan.run_into(&[image(1)], &mut outputs) {
                Err(Error::Output { name, expected, actual }) => {
                    assert_eq!((&name, expected.as_str()), (&plan.outputs()[0].name, "f32 1x10"));
                    assert_eq!(actual, format!("{} {}", wrong.dtype(), wrong.shape()));
                }
                other => panic!("{device:?}: {other:?}"),
            }
            assert_eq!(outputs, [wrong]);
        }
        for outputs in [&mut [][..], &mut [right.clone(), right.clone()]] {
            let count = outputs.len().to_string();
            let error = plan.run_into(&[image(1)], outputs).unwrap_err().to_string();
            assert!(error.contains("has 1 output") && error.contains(&count), "{error}");
        }
    }
}

#[test]
fn a_clone_keeps_what_it_holds() {
    for device in both() {
        let plan = lenet(&device);
        let mut outputs = plan.run(&[image(1)]).unwrap();
        let (clone, first) = (outputs[0].clone(), outputs[0].values::<f32>().unwrap().to_vec());
        plan.run_into(&[image(2)], &mut outputs).unwrap();
        assert_eq!(clone.values::<f32>().unwrap(), first, "{device:?}");
        assert_eq!(outputs, plan.run(&[image(2)]).unwrap(), "{device:?}");
        // Nobody shares its elements any more: they stay where they are.
        let place = outputs[0].values::<f32>().unwrap().as_ptr();
        plan.run_into(&[image(3)], &mut outputs).unwrap();
        assert_eq!(outputs[0].values::<f32>().unwrap().as_ptr(), place, "{device:?}");
    }
}

#[test]
fn a_run_that_fails_leaves_outputs_as_they_were() {
    let mut bad = image(1);
    bad.values_mut::<f32>().unwrap()[3] = f32::NAN;
    for device in both() {
        let plan = lenet(&device);
        let mut outputs = plan.run(&[image(1)]).unwrap();
        let before = outputs.clone();
        assert!(matches!(plan.run_into(&[bad.clone()], &mut outputs), Err(Error::Input { .. })));
        assert_eq!(outputs, before, "{device:?}");
        if let Some(gpu) = device.as_gpu() {
            gpu.device().destroy();
            assert!(matches!(plan.run_into(&[image(2)], &mut outputs), Err(Error::DeviceLost { .. })));
            assert_eq!(outputs, before);
        }
    }
}

#[test]
fn a_run_that_is_given_up_leaves_outputs_as_they_were() {
    // So many images that the run is not over by the time it is first looked at.
    let images = |seed| {
        let image = image(seed);
        Tensor::new([1024, 1, 16, 16], image.values::<f32>().unwrap().repeat(1024)).unwrap()
    };
    let plan = gpu().compile(&network().with_batch(1024).unwrap()).unwrap();
    let mut outputs = plan.run(&[images(1)]).unwrap();
    let before = outputs.clone();
    let inputs = [images(2)];
    let mut run = Box::pin(plan.run_into_async(&inputs, &mut outputs));
    assert!(run.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(run);
    assert_eq!(outputs, before);
    plan.run_into(&inputs, &mut outputs).unwrap();
    assert_eq!(outputs, plan.run(&inputs).unwrap());
}
