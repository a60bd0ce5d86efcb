//! Between tensors in host memory and a plan's buffers.

use super::device::GpuDevice;
use super::memory::Span;
use crate::error::Result;
use crate::plan::{to_words, write_words};
use crate::tensor::Tensor;

/// Writes a tensor, which the caller has checked, to where it belongs.
pub(super) fn write(queue: &wgpu::Queue, to: &Span, tensor: &Tensor) -> Result<()> {
    match tensor.values::<f32>() {
        Ok(values) => queue.write_buffer(&to.buffer, to.offset, bytemuck::cast_slice(values)),
        Err(_) => queue.write_buffer(&to.buffer, to.offset, bytemuck::cast_slice(&to_words(tensor)?)),
    }
    Ok(())
}

/// A buffer that holds these spans one after another, for the host to read.
pub(super) async fn readback<'a>(
    device: &GpuDevice,
    label: &str,
    spans: impl Iterator<Item = &'a Span>,
) -> Result<wgpu::Buffer> {
    let bytes: u64 = spans.map(|span| span.bytes).sum();
    let (buffer, outcome) = device.scoped(|| {
        device.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes.max(4),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    });
    outcome.await?;
    Ok(buffer)
}

/// Copies spans one after another into `to`.
pub(super) fn copy_all<'a>(
    encoder: &mut wgpu::CommandEncoder,
    spans: impl Iterator<Item = &'a Span>,
    to: &wgpu::Buffer,
) {
    let mut at = 0;
    for span in spans {
        encoder.copy_buffer_to_buffer(&span.buffer, span.offset, to, at, span.bytes);
        at += span.bytes;
    }
}

/// Writes what [`copy_all`] put one after another to tensors.
pub(super) fn split(words: &[u8], outputs: &mut [Tensor]) -> Result<()> {
    let mut rest = words;
    for output in outputs {
        let bytes = 4 * output.shape().elements();
        // A span of no elements is one word long.
        let (mine, others) = rest.split_at(bytes.max(4));
        rest = others;
        write_words(&mine[..bytes], output)?;
    }
    Ok(())
}
