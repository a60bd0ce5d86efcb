//! Constants on their way to a device.

use super::device::GpuDevice;
use super::memory::{Region, Span, create_buffer, weights_texture, write_image};
use super::recording::{Buffer, Form};

/// Bytes that may wait in staging memory before they are carried over, for which this thread waits. Staging memory is then
/// as large as this and the largest constant, whatever all are together, and is written again while it is in caches.
const MOST_WAITING: u64 = 16 << 20;

/// What uploads share.
pub(super) struct Uploads<'a> {
    device: &'a GpuDevice,
    /// Where constants are packed, one after another.
    packed: Vec<f32>,
    /// Bytes in staging memory.
    waiting: u64,
}

impl<'a> Uploads<'a> {
    pub fn new(device: &'a GpuDevice) -> Self {
        Uploads { device, packed: Vec::new(), waiting: 0 }
    }

    /// A storage buffer's memory, which holds these words.
    pub fn words(&mut self, label: &str, words: &[u32]) -> Region {
        let bytes = (4 * words.len() as u64).max(4);
        let buffer = create_buffer(self.device, label, bytes);
        self.device.queue().write_buffer(&buffer, 0, bytemuck::cast_slice(words));
        self.wait_if_much(bytes);
        Region::Buffer(Span::whole(buffer, bytes))
    }

    /// The memory of a constant that `pack` writes, over zeros.
    pub fn packed(&mut self, buffer: &Buffer, pack: impl FnOnce(&mut [f32])) -> Region {
        let mut packed = std::mem::take(&mut self.packed);
        packed.clear();
        packed.resize(buffer.words, 0.0);
        pack(&mut packed);
        let region = match buffer.form {
            // Values are not constant: those that are images are computed.
            Form::Words | Form::Image => self.words(&buffer.name, bytemuck::cast_slice(&packed)),
            Form::Weights | Form::WeightRows => {
                let texture = weights_texture(self.device, buffer);
                packed.resize(4 * texture.width() as usize * texture.height() as usize, 0.0);
                write_image(self.device.queue(), &texture, bytemuck::cast_slice(&packed));
                self.wait_if_much(4 * packed.len() as u64);
                Region::weights(texture)
            }
        };
        self.packed = packed;
        region
    }

    fn wait_if_much(&mut self, bytes: u64) {
        self.waiting += bytes;
        if self.waiting > MOST_WAITING {
            self.waiting = 0;
            let submission = self.device.queue().submit([]);
            // In a browser no thread may wait.
            #[cfg(not(target_arch = "wasm32"))]
            self.device.wait(submission);
            #[cfg(target_arch = "wasm32")]
            drop(submission);
        }
    }
}
