//! Other devices of a software adapter, which compile kernels beside the one that runs them.
//!
//! llvmpipe compiles on one thread per device ([`super::warm`]), and keeps what it compiled on disk for all. So other
//! devices compile shares of the kernels, and the plan's device, when it comes to those, finds their code there. Where the
//! driver may keep nothing, all that is lost is their work.

use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::device::{GpuDevice, descriptor};
use super::warm::{self, Order};
use crate::device::DeviceOptions;

/// Helpers beside a device, and the fewest kernels for each of them and the device.
const MOST: usize = 3;
const FEWEST_KERNELS: usize = 4;

/// Longer than it takes to read a kernel's code from disk, some 2 ms, and shorter than to compile one, 50 to 1000.
const TO_READ: Duration = Duration::from_millis(20);

/// The adapter, and the thread on which its other devices are for as long as they help. Dropping this waits for it.
pub(super) struct Helpers {
    adapter: wgpu::Adapter,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Helpers {
    /// None for a driver that does not keep what it compiled, or does so by itself on all cores.
    pub fn new(adapter: wgpu::Adapter) -> Option<Self> {
        (adapter.get_info().driver == "llvmpipe").then(|| Helpers { adapter, thread: Mutex::default() })
    }

    /// How many devices there are for so many kernels, with that which runs them.
    pub fn devices(&self, kernels: usize) -> usize {
        devices(kernels, rayon::current_num_threads())
    }

    /// Compiles each share on a device of its own, in the background, unless its first kernel turns out to be on disk.
    /// What fails here fails on the device that runs the kernels too, which says so.
    pub fn start(&self, shares: Vec<Vec<Order>>) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if shares.is_empty() || thread.as_ref().is_some_and(|busy| !busy.is_finished()) {
            return;
        }
        let adapter = self.adapter.clone();
        *thread = Some(std::thread::spawn(move || {
            let at_work: Vec<_> = shares.iter().map_while(|share| help(&adapter, share)).collect();
            at_work.into_iter().for_each(|(helper, submission)| helper.wait(submission));
        }));
    }
}

/// A device that compiles these kernels, and the submission with which it is through.
fn help(adapter: &wgpu::Adapter, orders: &[Order]) -> Option<(GpuDevice, wgpu::SubmissionIndex)> {
    let opened = pollster::block_on(adapter.request_device(&descriptor(adapter)));
    let (device, queue) = opened.ok()?;
    let helper = GpuDevice::new(device, queue, &DeviceOptions::default());
    // On this thread: a thread of rayon's may be waiting for it, in `drop`.
    let compile = |orders: &[Order]| {
        let dispatch = || {
            let compiled: Vec<_> = orders.iter().map(|of| helper.compile_one(&of.kernel, false)).collect();
            warm::dispatch(&helper, orders.iter().zip(&compiled))
        };
        helper.scoped(dispatch).0
    };
    let (first, rest) = orders.split_at_checked(1)?;
    let submission = compile(first);
    let wait = wgpu::PollType::Wait { submission_index: Some(submission), timeout: Some(TO_READ) };
    if helper.device().poll(wait).is_ok() {
        return None;
    }
    let submission = compile(rest);
    Some((helper, submission))
}

impl Drop for Helpers {
    fn drop(&mut self) {
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // Of a panic there its own message tells.
        let _ = thread.map(JoinHandle::join);
    }
}

/// How many devices are worth having for so many kernels on so many cores.
fn devices(kernels: usize, cores: usize) -> usize {
    (kernels / FEWEST_KERNELS).min(cores).clamp(1, 1 + MOST)
}

/// The order in which the device that runs them compiles so many kernels, by number, and the shares of the others, for so
/// many devices together.
///
/// The device does its own share first, then those of others from their ends, and so meets each where it is.
pub(super) fn divide(kernels: usize, devices: usize) -> (Vec<usize>, Vec<Vec<usize>>) {
    let share = |device| (device..kernels).step_by(devices).collect();
    let shares: Vec<Vec<usize>> = (1..devices).map(share).collect();
    let others = shares.iter().flat_map(|share| share.iter().rev());
    ((0..kernels).step_by(devices).chain(others.copied()).collect(), shares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_branch_of_the_number_of_devices() {
        assert_eq!(devices(7, 8), 1);
        assert_eq!(devices(8, 8), 2);
        assert_eq!(devices(14, 2), 2);
        assert_eq!(devices(100, 1), 1);
        assert_eq!(devices(100, 64), 4);
    }

    #[test]
    fn one_device_compiles_all_and_the_others_a_share_each() {
        assert_eq!(divide(5, 1), (vec![0, 1, 2, 3, 4], vec![]));
        assert_eq!(divide(7, 3), (vec![0, 3, 6, 4, 1, 5, 2], vec![vec![1, 4], vec![2, 5]]));
    }
}
