//! Channels of several images one after another.

use super::{GROUP, Layout, kernel, wanted};
use crate::error::Result;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::Recording;
use crate::plan::Site;

fn concat_kernel() -> Kernel {
    kernel("image_concat", include_str!("../../../shaders/image_concat.wgsl"), 1).activation(None)
}

pub(in crate::gpu) fn concat_variants() -> Vec<Kernel> {
    vec![concat_kernel()]
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct ConcatParams {
    count: u32,
    own: u32,
    whole: u32,
    start: u32,
}

/// Channels of images one after another, where all but the last input have a multiple of four; false elsewhere.
pub(in crate::gpu) fn concat(
    axis: usize,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<bool> {
    let inputs: Option<Vec<_>> = (0..site.node.inputs.len()).map(|i| Layout::of(site.dims(i))).collect();
    let (Some(inputs), Some(y)) = (inputs, Layout::of(&site.output(0).shape)) else { return Ok(false) };
    let whole_texels =
        inputs.split_last().is_some_and(|(_, front)| front.iter().all(|x| x.channels % 4 == 0));
    let floats = site.output(0).dtype == crate::tensor::DType::F32;
    if axis != 1 || !floats || !whole_texels || !wanted(site, recording) {
        return Ok(false);
    }
    let mut images = Vec::new();
    for i in 0..inputs.len() {
        let Some(image) = operands.image(i, site, recording)? else { return Ok(false) };
        images.push(image);
    }
    let output = operands.image_result(0, y, site, recording);
    let mut start = 0;
    for (x, image) in inputs.iter().zip(images) {
        let own = x.depth() * x.pixels;
        let params = ConcatParams {
            count: x.texels() as u32,
            own: own as u32,
            whole: (y.depth() * y.pixels) as u32,
            start: start as u32,
        };
        let groups = recording.linear(x.texels(), GROUP);
        recording.dispatch(concat_kernel(), &params, &[image], &[output], groups)?;
        start += own;
    }
    Ok(true)
}
