//! Channels of several images one after another.

use std::collections::HashSet;

use super::{GROUP, Layout, fits, kernel, wanted};
use crate::error::Result;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::{Operands, Slice};
use crate::gpu::recording::Recording;
use crate::graph::{Graph, Info, ValueId};
use crate::ops::Op;
use crate::plan::Site;
use crate::tensor::DType;

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

/// The layouts of images that can be joined along this axis, and of the result: all but the last have whole texels in depth.
fn layouts<'a>(
    axis: usize,
    inputs: impl Iterator<Item = &'a [usize]>,
    output: &Info,
) -> Option<(Vec<Layout>, Layout)> {
    let inputs = inputs.map(Layout::of).collect::<Option<Vec<_>>>()?;
    let (_, front) = inputs.split_last()?;
    let whole_texels = front.iter().all(|x| x.channels.is_multiple_of(4));
    let suits = axis == 1 && output.dtype == DType::F32 && whole_texels;
    suits.then_some(())?;
    Some((inputs, Layout::of(&output.shape)?))
}

/// The values that convolutions can compute into the image of what they are joined into: those that nothing else reads.
pub(in crate::gpu) fn slices(graph: &Graph, recording: &Recording) -> Vec<Option<Slice>> {
    let mut slices = vec![None; graph.values().len()];
    if !recording.software {
        return slices;
    }
    let uses = graph.uses();
    let convolutions: HashSet<_> = graph
        .nodes()
        .iter()
        .filter(|node| matches!(node.op, Op::Conv(_)))
        .map(|node| node.outputs[0].index())
        .collect();
    for node in graph.nodes() {
        let Op::Concat(op) = &node.op else { continue };
        let info = |id: ValueId| &graph.value(id).info;
        let output = info(node.outputs[0]);
        let inputs = node.inputs.iter().flatten().map(|id| &info(*id).shape[..]);
        let Some((inputs, layout)) = layouts(op.axis, inputs, output) else { continue };
        let all = node.inputs.iter().flatten().map(|id| info(*id)).chain([output]);
        if !all.into_iter().all(|info| fits(&info.shape, &recording.limits)) {
            continue;
        }
        let mut start = 0;
        for (id, x) in node.inputs.iter().flatten().zip(inputs) {
            let value = id.index();
            if uses[value] == 1 && convolutions.contains(&value) {
                slices[value] = Some(Slice { whole: node.outputs[0].index(), layout, start });
            }
            start += x.depth();
        }
    }
    slices
}

/// Channels of images one after another, where all but the last input have a multiple of four; false elsewhere.
pub(in crate::gpu) fn concat(
    axis: usize,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<bool> {
    let dims = (0..site.node.inputs.len()).map(|i| site.dims(i));
    let Some((inputs, y)) = layouts(axis, dims, site.output(0)) else { return Ok(false) };
    if !wanted(site, recording) {
        return Ok(false);
    }
    // What convolutions have computed in place is there already.
    let joined: Vec<_> = (0..inputs.len()).map(|i| operands.joined(i, site)).collect();
    let mut images = Vec::new();
    for (i, joined) in joined.iter().enumerate() {
        let image = if joined.is_some() { None } else { operands.image(i, site, recording)? };
        if joined.is_none() && image.is_none() {
            return Ok(false);
        }
        images.push(image);
    }
    let output = match joined.into_iter().flatten().next() {
        Some(image) => operands.joined_result(image, y, site),
        None => operands.image_result(0, y, site, recording),
    };
    let mut start = 0;
    for (x, image) in inputs.iter().zip(images) {
        let own = x.depth() * x.pixels;
        let params = ConcatParams {
            count: x.texels() as u32,
            own: own as u32,
            whole: (y.depth() * y.pixels) as u32,
            start: start as u32,
        };
        if let Some(image) = image {
            let groups = recording.linear(x.texels(), GROUP);
            recording.dispatch(concat_kernel(), &params, &[image], &[output], groups)?;
        }
        start += own;
    }
    Ok(true)
}
