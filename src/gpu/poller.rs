//! A thread that waits for a device, so that no other has to.

use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

/// The thread, and the submissions that it waits for, one after another. Dropping this waits for it: it holds the device,
/// and a driver that is unloaded while the process ends may not be there any more where the process ends.
pub(super) struct Poller {
    submissions: Option<Sender<wgpu::SubmissionIndex>>,
    thread: Option<JoinHandle<()>>,
}

impl Poller {
    pub fn new(device: wgpu::Device) -> Self {
        let (sender, receiver) = channel();
        let thread = thread::spawn(move || {
            for submission in receiver {
                let wait = wgpu::PollType::Wait { submission_index: Some(submission), timeout: None };
                // A lost device is reported by `check_alive` and by the callbacks.
                let _ = device.poll(wait);
            }
        });
        Poller { submissions: Some(sender), thread: Some(thread) }
    }

    /// Sees to it that this submission's callbacks run.
    pub fn wait(&self, submission: wgpu::SubmissionIndex) {
        // The receiver lives as long as the sender: the send cannot fail.
        let _ = self.submissions.as_ref().map(|submissions| submissions.send(submission));
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.submissions = None;
        // A callback may have dropped the last handle of the device, on this very thread.
        if let Some(thread) = self.thread.take().filter(|t| t.thread().id() != thread::current().id()) {
            // Of a panic there its own message tells.
            let _ = thread.join();
        }
    }
}
