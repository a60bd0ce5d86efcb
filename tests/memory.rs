//! Activations share memory: no network takes much more than the most that is alive at one step.

use wgpu_cnn::{Device, zoo};

const NETWORKS: [&str; 6] = ["lenet5", "squeezenet1_1", "mobilenet_v2", "resnet18", "resnet50", "vgg16"];
/// The most that activations may take, beside the most that is alive at one step.
const MOST: f64 = 1.15;

fn ratio(name: &str, device: &Device) -> f64 {
    let memory = device.compile(&zoo::load(name).unwrap()).unwrap().memory();
    let (used, least) = (memory.activations, memory.activations_lower_bound);
    println!("{name}: {used} bytes, at least {least}: {:.3}", used as f64 / least as f64);
    assert!(least > 0 && used >= least, "{name}: {memory:?}");
    used as f64 / least as f64
}

#[test]
fn activations_stay_near_the_lower_bound_on_the_cpu() {
    for name in NETWORKS {
        let ratio = ratio(name, &Device::cpu());
        assert!(ratio <= MOST, "{name}: {ratio}");
    }
}

#[test]
fn activations_stay_near_the_lower_bound_on_the_gpu() {
    let gpu =
        Device::gpu().expect("the tests need a GPU adapter; `cargo xtask test` installs a software one");
    for name in NETWORKS {
        let ratio = ratio(name, &gpu);
        assert!(ratio <= MOST, "{name}: {ratio}");
    }
}
