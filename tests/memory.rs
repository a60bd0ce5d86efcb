//! Activations share memory: no network takes much more than the most that is alive at one step.

use wgpu_cnn::{Device, zoo};

/// Networks, the most that their activations may take on a GPU beside the most that is alive at one step, and why.
///
/// On a GPU a value has a buffer or texture for itself while it lives, for WebGPU lets no dispatch read one part and
/// write another of the same. Where the sizes of what is alive together change from step to step, as they do around a
/// wide first layer, no assignment of whole buffers reaches the bound.
const NETWORKS: [(&str, f64); 6] = [
    ("lenet5", 1.15),
    ("squeezenet1_1", 1.15),
    // An expanded layer and its depthwise convolution (1.8 MB each) beside a residual; the first such pair is 4.8 and
    // 1.2 MB.
    ("mobilenet_v2", 1.19),
    // Winograd's transforms of a layer and of its sums are 2.25 times as large as those, beside a residual; each has a
    // texture for itself, and the texture of the first layer (3.2 MB) is larger than any of them.
    ("resnet18", 1.52),
    ("resnet50", 1.30),
    ("vgg16", 1.15),
];

fn ratio(name: &str, device: &Device) -> f64 {
    let memory = device.compile(&zoo::load(name).unwrap()).unwrap().memory();
    let (used, least) = (memory.activations, memory.activations_lower_bound);
    println!("{name}: {used} bytes, at least {least}: {:.3}", used as f64 / least as f64);
    assert!(least > 0 && used >= least, "{name}: {memory:?}");
    used as f64 / least as f64
}

#[test]
fn activations_stay_near_the_lower_bound_on_the_cpu() {
    for (name, _) in NETWORKS {
        let ratio = ratio(name, &Device::cpu());
        assert!(ratio <= 1.15, "{name}: {ratio}");
    }
}

#[test]
fn activations_stay_near_the_lower_bound_on_the_gpu() {
    let gpu =
        Device::gpu().expect("the tests need a GPU adapter; `cargo xtask test` installs a software one");
    for (name, most) in NETWORKS {
        let ratio = ratio(name, &gpu);
        assert!(ratio <= most, "{name}: {ratio}");
    }
}
