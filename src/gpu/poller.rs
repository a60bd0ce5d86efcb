//! A thread that waits for a device, so that no other has to.

use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use futures_intrusive::channel::shared::{OneshotReceiver, OneshotSender, oneshot_channel};

/// A submission to wait for, and whom to tell.
type Order = (wgpu::SubmissionIndex, OneshotSender<()>);

/// The thread, which waits for one submission after another. Dropping this waits for the thread: it holds the device, and if
/// it were the last to let go, it might unload the driver while the process runs the driver's exit handlers, and crash.
pub(super) struct Poller {
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Poller {
    pub fn new(device: wgpu::Device) -> Self {
        let (orders, receiver) = channel::<Order>();
        let thread = thread::spawn(move || {
            for (submission, done) in receiver {
                let wait = wgpu::PollType::Wait { submission_index: Some(submission), timeout: None };
                // A lost device is reported by `check_alive` and by the callbacks.
                let _ = device.poll(wait);
                // The receiver is gone where nobody asked.
                let _ = done.send(());
            }
        });
        Poller { orders: Some(orders), thread: Some(thread) }
    }

    /// Sees to it that this submission's callbacks run. What is returned receives when they have, or the device is lost.
    pub fn wait(&self, submission: wgpu::SubmissionIndex) -> OneshotReceiver<()> {
        let (sender, done) = oneshot_channel();
        // The thread lives as long as this: the send cannot fail.
        let _ = self.orders.as_ref().map(|orders| orders.send((submission, sender)));
        done
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.orders = None;
        // A callback may have dropped the last handle of the device, on this very thread.
        if let Some(thread) = self.thread.take().filter(|t| t.thread().id() != thread::current().id()) {
            // Of a panic there its own message tells.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::GpuDevice;

    #[test]
    fn tells_when_a_submission_is_through_and_when_it_never_will_be() {
        let device = pollster::block_on(GpuDevice::open(|_| true, &Default::default()));
        let device = device.unwrap().expect("the tests need a GPU adapter");
        for is_lost in [false, true] {
            let submission = device.queue().submit([]);
            if is_lost {
                device.device().destroy();
            }
            // Dropping the poller waits for its thread.
            let done = Poller::new(device.device().clone()).wait(submission);
            assert_eq!(pollster::block_on(done.receive()), Some(()), "lost: {is_lost}");
        }
    }
}
