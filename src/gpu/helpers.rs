//! Other devices of a software adapter, which compile kernels beside the one that runs them.
//!
//! llvmpipe compiles on one thread per device ([`super::warm`]), and keeps what it compiled on disk for all. So other
//! devices compile some of the kernels, and the plan's device, when it comes to those, finds their code there. Where the
//! driver may keep nothing, all that is lost is their work.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_intrusive::channel::shared::{OneshotReceiver, oneshot_channel};

use super::device::{GpuDevice, descriptor};
use super::memory::Region;
use super::warm::{self, Backlog, Bound, Order, Use};
use crate::device::DeviceOptions;

/// Helpers beside a device, and the fewest kernels for each of them and the device.
const MOST: usize = 3;
const FEWEST_KERNELS: usize = 4;

/// Longer than it takes to read a kernel's code from disk, some 2 ms, and shorter than to compile one, 50 to 1000.
const TO_READ: Duration = Duration::from_millis(20);

/// The adapter on which there may be other devices.
pub(super) struct Helpers(wgpu::Adapter);

impl Helpers {
    /// None for a driver that does not keep what it compiled, or does so by itself on all cores.
    pub fn new(adapter: wgpu::Adapter) -> Option<Self> {
        (adapter.get_info().driver == "llvmpipe").then_some(Helpers(adapter))
    }

    /// Has other devices take from the backlog, unless the first kernel of each turns out to be on disk. What fails here
    /// fails on the device that runs the kernels too, which says so.
    pub fn start(&self, backlog: &Arc<Backlog>) -> Help {
        let helper = |_| {
            let (adapter, backlog) = (self.0.clone(), backlog.clone());
            let (sender, done) = oneshot_channel();
            let thread = std::thread::spawn(move || {
                help(&adapter, &backlog);
                // The receiver is gone only where the plan was given up.
                let _ = sender.send(());
            });
            (thread, done)
        };
        let number = devices(backlog.len(), rayon::current_num_threads()) - 1;
        let (threads, done) = (0..number).map(helper).unzip();
        Help { backlog: backlog.clone(), threads, done }
    }
}

/// Helpers at work. Dropping this waits until each is through with the kernel it is at.
pub(super) struct Help {
    backlog: Arc<Backlog>,
    threads: Vec<JoinHandle<()>>,
    done: Vec<OneshotReceiver<()>>,
}

impl Help {
    /// Waits, without blocking this thread, until nothing is left to compile.
    pub async fn finished(self) {
        for done in &self.done {
            done.receive().await;
        }
    }
}

impl Drop for Help {
    fn drop(&mut self) {
        self.backlog.close();
        // Of a panic there its own message tells.
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// Compiles from the backlog on a device of its own.
fn help(adapter: &wgpu::Adapter, backlog: &Backlog) {
    let opened = pollster::block_on(adapter.request_device(&descriptor(adapter)));
    let Ok((device, queue)) = opened else { return };
    let helper = GpuDevice::new(device, queue, &DeviceOptions::default());
    let mut stand_ins = StandIns { device: &helper, regions: HashMap::new() };
    let mut is_first = true;
    while let Some(order) = backlog.take() {
        let (submission, _) = helper.scoped(|| stand_ins.compile(order));
        let wait = |timeout| {
            helper.device().poll(wgpu::PollType::Wait { submission_index: Some(submission.clone()), timeout })
        };
        if is_first && wait(Some(TO_READ)).is_ok() {
            return;
        }
        is_first = false;
        if wait(None).is_err() {
            return;
        }
    }
}

/// Memory to bind in place of a plan's. The code also depends on the kind of what is bound and on parameters, so these are
/// like the plan's memory in all but size, and the parameters are those of a dispatch of the plan.
struct StandIns<'a> {
    device: &'a GpuDevice,
    regions: HashMap<Bound, Region>,
}

impl StandIns<'_> {
    /// The submission after which a kernel's code is compiled.
    fn compile(&mut self, order: &Order) -> wgpu::SubmissionIndex {
        let pipeline = self.device.compile_one(&order.kernel, false);
        let groups: Vec<_> = order.uses.iter().map(|of| self.bind_group(of, &pipeline)).collect();
        warm::submit(self.device, &groups, |pass, group| {
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, group, &[]);
        })
    }

    /// Adds to the stand-ins what is missing.
    fn bind_group(&mut self, of: &Use, pipeline: &wgpu::ComputePipeline) -> wgpu::BindGroup {
        for &(kind, own) in &of.bound {
            self.regions.entry((kind, own)).or_insert_with(|| Region::stand_in(self.device, kind));
        }
        let device = self.device.device();
        let params = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("stand-in"),
            size: (of.params.len() as u64).next_multiple_of(16).max(16),
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.device.queue().write_buffer(&params, 0, &of.params);
        let regions = of.bound.iter().map(|bound| self.regions[bound].binding());
        let resources = std::iter::once(params.as_entire_binding()).chain(regions);
        let entry = |(i, resource)| wgpu::BindGroupEntry { binding: i as u32, resource };
        device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("stand-ins"),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &resources.enumerate().map(entry).collect::<Vec<_>>(),
        })
    }
}

/// How many devices are worth having for so many kernels on so many cores.
fn devices(kernels: usize, cores: usize) -> usize {
    (kernels / FEWEST_KERNELS).min(cores).clamp(1, 1 + MOST)
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
}
