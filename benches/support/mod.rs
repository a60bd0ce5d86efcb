//! What the benches share: the devices, and how long to measure.

use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput, measurement::WallTime};
use wgpu_cnn::{Device, Error, Graph, Tensor};

/// The best adapter and the CPU, under short labels; prints what they are.
pub fn devices() -> Vec<(&'static str, Device)> {
    let cpu = Device::cpu();
    println!("cpu: {}", cpu.info());
    let mut devices = vec![("cpu", cpu)];
    match Device::gpu() {
        Ok(gpu) => {
            println!("gpu: {}", gpu.info());
            devices.push(("gpu", gpu));
        }
        Err(Error::NoDevice { .. }) => {
            println!("gpu: SKIPPED, this machine has no adapter, not even a software one");
        }
        Err(e) => panic!("the GPU does not open: {e}"),
    }
    devices
}

/// Short measurements: all benches together end within minutes on two cores and a software adapter.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args()
}

/// Measures runs of a network, from inputs in host memory to outputs there, on each device. One element of the
/// throughput is one operation, two to a multiply-accumulate.
pub fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    devices: &[(&'static str, Device)],
    case: &str,
    graph: &Graph,
) {
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(2 * graph.summary().macs));
    let inputs: Vec<Tensor> = graph.inputs().iter().map(|&id| ramp(&graph.value(id).info.shape)).collect();
    for (label, device) in devices {
        let plan = device.compile(graph).expect("the device takes the network");
        group.bench_function(format!("{case}/{label}"), |b| {
            b.iter(|| plan.run(&inputs).expect("the network runs"));
        });
    }
}

/// Values in -1..1, none of them zero or denormal.
fn ramp(shape: &[usize]) -> Tensor {
    let values = (0..shape.iter().product::<usize>()).map(|i| (i % 201) as f32 / 100.0 - 0.995).collect();
    Tensor::new(shape, values).expect("a value per element")
}
