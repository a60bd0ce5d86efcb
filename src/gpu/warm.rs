//! Kernels compiled before their first run.
//!
//! Drivers of software adapters put off compiling a kernel's code until it is first dispatched, and then do it on the
//! thread that carries out submissions. Dispatches of no workgroups make it compile when a plan is built, and where there
//! are [`super::helpers`], beside the threads of other devices.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::device::GpuDevice;
use super::helpers::{Help, Helpers};
use super::kernel::Kernel;
use super::memory::Kind;
use super::recording::{BufferId, Dispatch, Recording};
use crate::error::Result;

/// What a dispatch binds of one kind. What is written has memory of its own, by its number: nothing may be both read and
/// written by one dispatch, or written twice.
pub(super) type Bound = (Kind, Option<usize>);

/// A dispatch for which the driver compiles code: its number in the recording, and what it is compiled for.
#[derive(Clone, Debug)]
pub(super) struct Use {
    pub dispatch: usize,
    pub params: Vec<u8>,
    pub bound: Vec<Bound>,
}

/// A kernel to compile the code of: once for each combination of kinds that its dispatches bind.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub kernel: Kernel,
    pub uses: Vec<Use>,
}

impl Order {
    /// For what the recording does with a kernel of its.
    fn new(recording: &Recording, kernel: &Kernel) -> Self {
        let bound = |dispatch: &Dispatch| -> Vec<Bound> {
            let is_written = |i| i >= kernel.reads() || kernel.is_writable(i);
            let of = |(i, id): (usize, &BufferId)| {
                (Kind::of(&recording.buffers[id.0]), is_written(i).then_some(i))
            };
            dispatch.reads.iter().chain(&dispatch.writes).enumerate().map(of).collect()
        };
        let mut seen = HashSet::new();
        let dispatches = recording.dispatches.iter().enumerate().filter(|(_, d)| d.kernel == *kernel);
        let uses = dispatches.map(|(i, d)| Use { dispatch: i, params: d.params.clone(), bound: bound(d) });
        let uses = uses.filter(|of| seen.insert(of.bound.clone())).collect();
        Order { kernel: kernel.clone(), uses }
    }
}

/// Kernels that devices compile, each the next that none has taken.
#[derive(Debug)]
pub(super) struct Backlog {
    orders: Vec<Order>,
    taken: AtomicUsize,
}

impl Backlog {
    /// Kernels of a recording, in this order.
    pub fn new<'a>(recording: &Recording, kernels: impl IntoIterator<Item = &'a Kernel>) -> Self {
        let orders = kernels.into_iter().map(|kernel| Order::new(recording, kernel)).collect();
        Backlog { orders, taken: AtomicUsize::new(0) }
    }

    pub fn len(&self) -> usize {
        self.orders.len()
    }

    pub fn take(&self) -> Option<&Order> {
        self.orders.get(self.taken.fetch_add(1, Ordering::Relaxed))
    }

    /// Leaves nothing to take.
    pub fn close(&self) {
        self.taken.store(self.orders.len(), Ordering::Relaxed);
    }
}

/// Kernels of a plan that is being built, on their way to code.
pub(super) struct Warming {
    backlog: Arc<Backlog>,
    help: Option<Help>,
}

impl Warming {
    /// Has helpers begin with these kernels, in this order.
    pub fn start(helpers: Option<&Helpers>, recording: &Recording, kernels: &[Kernel]) -> Self {
        let backlog = Arc::new(Backlog::new(recording, kernels));
        let help = helpers.map(|helpers| helpers.start(&backlog));
        Warming { backlog, help }
    }

    /// Compiles on this device what is left, and waits for what helpers are at. `bind` sets a pass up for a dispatch of the
    /// recording.
    pub async fn finish(
        self,
        device: &GpuDevice,
        bind: impl Fn(&mut wgpu::ComputePass, usize),
    ) -> Result<()> {
        while let Some(order) = self.backlog.take() {
            let dispatches = order.uses.iter().map(|of| of.dispatch);
            let (submission, outcome) = device.scoped(|| submit(device, dispatches, &bind));
            outcome.await?;
            device.wait_elsewhere(submission).receive().await;
        }
        if let Some(help) = self.help {
            help.finished().await;
        }
        device.check_alive()
    }
}

/// Hands over dispatches that do nothing.
pub(super) fn submit<T>(
    device: &GpuDevice,
    dispatches: impl IntoIterator<Item = T>,
    bind: impl Fn(&mut wgpu::ComputePass, T),
) -> wgpu::SubmissionIndex {
    let mut encoder = device.device().create_command_encoder(&Default::default());
    let mut pass = encoder.begin_compute_pass(&Default::default());
    for dispatch in dispatches {
        bind(&mut pass, dispatch);
        pass.dispatch_workgroups(0, 1, 1);
    }
    drop(pass);
    device.queue().submit([encoder.finish()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_order_is_taken_once() {
        let kernel = |name: &str| Kernel::new(name, "", 0, 0);
        let kernels = [kernel("a"), kernel("b"), kernel("c")];
        let backlog = || Backlog::new(&Recording::new(wgpu::Limits::default(), true), &kernels);
        let all = backlog();
        let taken: Vec<_> = std::iter::from_fn(|| all.take()).map(|order| order.kernel.name()).collect();
        assert_eq!(taken, ["a", "b", "c"]);
        assert!(all.take().is_none());

        let closed = backlog();
        assert!(closed.take().is_some());
        closed.close();
        assert!(closed.take().is_none());
    }
}
