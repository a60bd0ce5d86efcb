//! The main job: real handwriting, read by the bundled LeNet-5 on both backends and in every kernel variant that
//! convolutions and matrix products have.

use std::collections::BTreeSet;

use wgpu_cnn::{Device, PlanOptions, zoo};

#[path = "../examples/support/digits.rs"]
mod digits;

/// What these weights get right of the 360 test images, by NumPy.
const RIGHT: usize = 351;

fn expected_logits() -> Vec<f32> {
    let bytes = std::fs::read(format!("{}/test-logits.npy", digits::FOLDER)).unwrap();
    npyz::NpyFile::new(&bytes[..]).unwrap().into_vec().unwrap()
}

fn check(device: &Device, options: &PlanOptions) {
    let (images, labels) = digits::test().unwrap();
    let network = zoo::lenet5().unwrap().with_batch(labels.len()).unwrap();
    let plan = device.compile_with(&network, options).unwrap();
    let logits = plan.run_one(&images).unwrap();
    let logits = logits.values::<f32>().unwrap();
    let expected = expected_logits();
    assert_eq!(logits.len(), expected.len());
    let far = logits.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let label = format!("{} {:?}", device.info(), options.variant);
    assert!(far <= 1e-4, "{label}: logits {far} from NumPy's");
    assert_eq!(digits::right(logits, &labels), RIGHT, "{label}");
}

#[test]
fn the_cpu_reads_handwriting() {
    check(&Device::cpu(), &PlanOptions::default());
}

#[test]
fn the_gpu_reads_handwriting_in_every_variant() {
    let gpu =
        Device::gpu().expect("the tests need a GPU adapter; `cargo xtask test` installs a software one");
    let mut options = PlanOptions::default();
    check(&gpu, &options);
    let variants = wgpu_cnn::gpu::variants();
    let names: BTreeSet<_> = variants
        .iter()
        .filter(|(op, _)| matches!(*op, "conv" | "gemm" | "im2col"))
        .map(|(_, kernel)| kernel.name())
        .collect();
    assert!(names.len() > 6, "{names:?}");
    for name in names {
        options.variant = Some(name.to_string().leak());
        check(&gpu, &options);
    }
}

#[test]
fn a_software_adapter_is_given_five_kernels() {
    let gpu =
        Device::gpu().expect("the tests need a GPU adapter; `cargo xtask test` installs a software one");
    let plan = gpu.compile(&zoo::lenet5().unwrap()).unwrap();
    let plan = plan.as_gpu().unwrap();
    // Two convolutions with their pools, three linear layers; elsewhere pools are kernels of their own.
    let expected = if gpu.as_gpu().unwrap().is_software() { 5 } else { 7 };
    assert_eq!(plan.dispatch_count(), expected);
}
