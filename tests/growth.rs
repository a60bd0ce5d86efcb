//! A thousand runs of one plan take no more memory than one. A file of its own, for what the process holds is counted.

use std::sync::{Mutex, MutexGuard, PoisonError};

use wgpu_cnn::zoo::LeNetFamily;
use wgpu_cnn::{Device, Plan, Tensor};

const RUNS: usize = 1000;
/// Less than one of the network's activations per run, and more than what allocators round up.
const NOISE: usize = 1 << 20;

/// Only one test at a time, for they count what the whole process holds.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The process's resident memory in bytes, where the system tells.
fn resident() -> Option<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

/// By how many bytes the process grows while `work` is done [`RUNS`] times, having been done as often before.
fn growth(mut work: impl FnMut()) -> Option<usize> {
    (0..RUNS).for_each(|_| work());
    let before = resident()?;
    (0..RUNS).for_each(|_| work());
    Some(resident()?.saturating_sub(before))
}

fn plan(device: &Device) -> (Plan, Tensor) {
    let graph = LeNetFamily::new([1, 16, 16]).filters(4).units(20).build().unwrap();
    let x = Tensor::new([1, 1, 16, 16], vec![0.5f32; 256]).unwrap();
    (device.compile(&graph).unwrap(), x)
}

#[test]
fn runs_on_the_cpu_allocate_nothing_that_stays() {
    let _alone = alone();
    let (plan, x) = plan(&Device::cpu());
    let grown = growth(|| drop(plan.run_one(&x).unwrap()));
    assert!(grown.is_none_or(|bytes| bytes < NOISE), "{grown:?} bytes");
}

#[test]
fn runs_on_the_gpu_allocate_nothing_that_stays() {
    let _alone = alone();
    let device =
        Device::gpu().expect("the tests need a GPU adapter; `cargo xtask test` installs a software one");
    let (plan, x) = plan(&device);
    let gpu = device.as_gpu().unwrap();
    let device_memory = || {
        let report = gpu.device().generate_allocator_report()?;
        Some((report.allocations.len(), report.total_allocated_bytes, report.total_reserved_bytes))
    };
    (0..RUNS).for_each(|_| drop(plan.run_one(&x).unwrap()));
    let before = (device_memory(), gpu.pipeline_count());
    let grown = growth(|| drop(plan.run_one(&x).unwrap()));
    assert!(grown.is_none_or(|bytes| bytes < NOISE), "{grown:?} bytes");
    assert_eq!((device_memory(), gpu.pipeline_count()), before);
    assert!(before.0.is_none_or(|(count, ..)| count > 0));
}

#[test]
fn a_leak_is_seen() {
    let _alone = alone();
    let mut leak = Vec::new();
    let grown = growth(|| leak.push(vec![1u8; 4096]));
    assert!(grown.is_none_or(|bytes| bytes >= NOISE), "{grown:?} bytes of {}", leak.len() * 4096);
}
