//! Ten thousand steps of training take no more memory than a thousand. A file of its own, for what the process holds is
//! counted.

use std::ops::ControlFlow;
use std::sync::Mutex;

use wgpu_cnn::train::data::Dataset;
use wgpu_cnn::train::{Event, TrainOptions, Trainer};
use wgpu_cnn::{Conv2d, Device, Network, Tensor};

const EPOCHS: u64 = 11;
const STEPS: usize = 1000;
const BATCH: usize = 2;
/// Less than 256 bytes a step, and more than what allocators round up.
const NOISE: usize = 2 << 20;

/// Only one test at a time, for they count what the whole process holds.
static ALONE: Mutex<()> = Mutex::new(());

/// The process's resident memory in bytes, where the system tells.
fn resident() -> Option<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

/// What the device has allocated: how often, and how many bytes.
fn allocated(device: &Device) -> Option<(usize, u64)> {
    let report = device.as_gpu()?.device().generate_allocator_report()?;
    Some((report.allocations.len(), report.total_allocated_bytes))
}

fn ten_thousand_steps(device: &Device) {
    let net = Network::new("net", [1, 6, 6]).conv2d(Conv2d::new(2, 3)).relu().max_pool(2).flatten().linear(2);
    let images = Tensor::new([STEPS * BATCH, 1, 6, 6], vec![0.5f32; STEPS * BATCH * 36]).unwrap();
    let labels = (0..STEPS * BATCH).map(|i| i % 2).collect();
    let data = Dataset::new(images, labels, 2).unwrap();
    let mut options = TrainOptions::default();
    options.epochs = EPOCHS;
    options.batch = BATCH;
    let mut trainer = Trainer::new(device, &net.build().unwrap(), options).unwrap();
    let mut after = Vec::new();
    let measure = &mut |event: Event| {
        if let Event::Epoch(_) = event {
            after.push((resident(), allocated(device)));
        }
        ControlFlow::Continue(())
    };
    trainer.run(&data, None, measure).unwrap();
    assert_eq!(after.len() as u64, EPOCHS);
    let ((before, device_before), (end, device_end)) = (after[0], after[after.len() - 1]);
    let grown = before.zip(end).map(|(before, end)| end.saturating_sub(before));
    assert!(grown.is_none_or(|bytes| bytes < NOISE), "{device:?}: {grown:?} bytes");
    assert_eq!(device_before, device_end, "{device:?}");
}

#[test]
fn training_on_the_cpu_grows_by_nothing() {
    let _alone = ALONE.lock();
    ten_thousand_steps(&Device::cpu());
}

#[test]
fn training_on_the_gpu_grows_by_nothing() {
    let _alone = ALONE.lock();
    let device =
        Device::gpu().expect("the tests need a GPU adapter; `cargo xtask test` installs a software one");
    ten_thousand_steps(&device);
}
