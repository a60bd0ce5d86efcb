//! Depthwise convolutions: each filter sees one channel, and four neighbours of a row are computed together.

use super::super::INDEX;
use super::{Epilogue, GROUP, Layer};
use crate::error::Result;
use crate::gpu::cells::{Cells, Slide};
use crate::gpu::kernel::Kernel;
use crate::gpu::recording::{BufferId, Recording};

const NAME: &str = "conv_depthwise";

#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::NoUninit)]
struct Params {
    planes: u32,
    filters: u32,
    multiplier: u32,
    padding: u32,
    cells: Cells,
}

fn kernel(slide: Slide, epilogue: &Epilogue) -> Kernel {
    let wgsl = include_str!("../../../../shaders/conv_depthwise.wgsl");
    let kernel = slide.specialise(Kernel::new(NAME, wgsl, 4, 1).with(INDEX).with(Slide::STORAGE));
    epilogue.finish4(kernel, slide.has_whole_fours())
}

pub(super) fn variants() -> Vec<Kernel> {
    let plain =
        Slide::EVERY.into_iter().flat_map(|slide| Epilogue::EVERY.map(|epilogue| kernel(slide, &epilogue)));
    plain.chain(Epilogue::every_activation().map(|epilogue| kernel(Slide::EVERY[0], &epilogue))).collect()
}

/// How a convolution is computed so; none where it is not depthwise, or another kernel is asked for or better.
pub(super) fn choose(layer: &Layer, variant: Option<&str>) -> Option<Slide> {
    let slide = Slide::new(layer.axes)?;
    let chosen = match variant {
        Some(NAME) => true,
        Some("conv_direct" | "im2col") => false,
        _ => rule(layer.groups, layer.filters / layer.groups, slide.outputs),
    };
    (layer.channels == layer.groups && chosen).then_some(slide)
}

/// Where rows have the four outputs that are computed together, and a group's filters are too few for a matrix.
fn rule(groups: usize, filters: usize, row: usize) -> bool {
    groups > 1 && filters <= super::THIN && row >= 4
}

pub(super) fn record(layer: &Layer, slide: Slide, weight: BufferId, recording: &mut Recording) -> Result<()> {
    let planes = layer.images * layer.filters;
    let params = Params {
        planes: planes as u32,
        filters: layer.filters as u32,
        multiplier: (layer.filters / layer.groups) as u32,
        padding: 0,
        cells: Cells::new(layer.axes),
    };
    let kernel = kernel(slide, &layer.epilogue());
    let [bias, residual] = layer.added(recording);
    let reads = [layer.input, weight, bias, residual];
    let groups = recording.linear(planes * slide.pieces(layer.axes), GROUP);
    recording.dispatch(kernel, &params, &reads, &[layer.output], groups)
}

#[cfg(test)]
mod tests {
    use super::rule;

    #[test]
    fn every_branch_of_the_rule() {
        assert!(rule(32, 1, 4));
        assert!(!rule(1, 1, 4), "one group is a product");
        assert!(!rule(32, 17, 4), "so are groups of many filters");
        assert!(!rule(32, 1, 3), "a row would leave invocations idle");
    }
}
