//! Convolutions of few channels, as networks start with: the filters and what a tile of the output sees of the input lie in
//! workgroup memory.

use super::super::INDEX;
use super::super::gemm::pack_rows;
use super::{Epilogue, Layer};
use crate::error::Result;
use crate::gpu::cells::Slide;
use crate::gpu::kernel::Kernel;
use crate::gpu::recording::{Packing, Recording};
use crate::plan::Site;
use crate::tensor::Tensor;
use crate::window::Axis;

const NAME: &str = "conv_stem";
/// Rows, columns and filters of a workgroup's tile, as `shaders/conv_stem.wgsl` has them.
const TILE: [usize; 3] = [4, 16, 16];
const MOST_CHANNELS: usize = 4;

/// What of a convolution specialises its code.
#[derive(Clone, Copy, Debug)]
struct Shape {
    channels: usize,
    vertical: Axis,
    slide: Slide,
}

impl Shape {
    fn new(channels: usize, vertical: Axis, horizontal: Axis) -> Option<Self> {
        Some(Shape { channels, vertical, slide: Slide::new(&[horizontal])? })
    }

    fn specialise(&self, kernel: Kernel) -> Kernel {
        self.slide
            .specialise(kernel)
            .constant("CHANNELS", self.channels)
            .constant("KERNEL_HEIGHT", self.vertical.kernel)
            .constant("STRIDE_Y", self.vertical.stride)
            .constant("DILATION_Y", self.vertical.dilation)
    }
}

fn kernel(shape: &Shape, epilogue: &Epilogue) -> Kernel {
    let wgsl = include_str!("../../../../shaders/conv_stem.wgsl");
    let kernel = shape.specialise(Kernel::new(NAME, wgsl, 4, 1).with(INDEX));
    epilogue.finish4(kernel, shape.slide.has_whole_fours())
}

/// An axis of so many taps.
fn taps(kernel: usize, stride: usize, dilation: usize) -> Axis {
    Axis { input: 1, output: 1, kernel, stride, dilation, before: 0, after: 0 }
}

pub(super) fn variants() -> Vec<Kernel> {
    let shape = |channels, axis: Axis, output| Shape::new(channels, axis, Axis { output, ..axis });
    let shapes = [shape(3, taps(7, 2, 1), 4), shape(1, taps(5, 1, 1), 5), shape(4, taps(3, 1, 2), 4)];
    let shapes = || shapes.iter().flatten();
    let plain = shapes().flat_map(|shape| Epilogue::EVERY.map(|epilogue| kernel(shape, &epilogue)));
    let activated =
        shapes().take(1).flat_map(|shape| Epilogue::every_activation().map(|e| kernel(shape, &e)));
    plain.chain(activated).collect()
}

/// The words of workgroup memory that a workgroup needs.
fn words(channels: usize, axes: [&Axis; 2]) -> usize {
    let terms = axes.iter().fold(channels, |n, axis| n.saturating_mul(axis.kernel));
    let sees = |axis: &Axis, outputs: usize| {
        let extent = axis.dilation.saturating_mul(axis.kernel - 1).saturating_add(1);
        axis.stride.saturating_mul(outputs - 1).saturating_add(extent)
    };
    let seen = channels.saturating_mul(sees(axes[0], TILE[0])).saturating_mul(sees(axes[1], TILE[1]));
    seen.saturating_add(terms.saturating_mul(TILE[2]))
}

/// A convolution computed so.
pub(super) struct Plan<'a> {
    layer: &'a Layer<'a>,
    weight: &'a Tensor,
    shape: Shape,
    horizontal: Axis,
}

impl<'a> Plan<'a> {
    /// Where asked for by name, else by [`rule`]; none where it has too many channels or axes, or its tiles do not fit.
    pub fn choose(layer: &'a Layer, site: &'a Site, recording: &Recording) -> Option<Self> {
        let weight = site.constant(1)?;
        let (vertical, horizontal) = match *layer.axes {
            [horizontal] => (taps(1, 1, 1), horizontal),
            [vertical, horizontal] => (vertical, horizontal),
            _ => return None,
        };
        // Of no consequence where there is one tap, and then of any size.
        let vertical =
            Axis { dilation: if vertical.kernel == 1 { 1 } else { vertical.dilation }, ..vertical };
        let suits = layer.groups == 1 && (1..=MOST_CHANNELS).contains(&layer.channels);
        let bytes = words(layer.channels, [&vertical, &horizontal]).saturating_mul(4);
        if !suits || bytes > recording.limits.max_compute_workgroup_storage_size.min(16 << 10) as usize {
            return None;
        }
        let chosen = match site.options.variant {
            Some(asked) => asked == NAME,
            None => {
                !recording.software
                    && rule(layer.filters, horizontal.output, vertical.kernel * horizontal.kernel)
            }
        };
        let shape = Shape::new(layer.channels, vertical, horizontal).filter(|_| chosen)?;
        Some(Plan { layer, weight, shape, horizontal })
    }

    pub fn record(&self, site: &Site, recording: &mut Recording) -> Result<()> {
        let &Layer { images, channels, filters, input, output, .. } = self.layer;
        let (vertical, horizontal) = (self.shape.vertical, self.horizontal);
        let terms = channels * vertical.kernel * horizontal.kernel;
        let fours = filters.div_ceil(4);
        let packing =
            Packing::new("rows 1", move |values, _, words| pack_rows(values, filters, terms, words));
        let name = format!("{} weight", site.node.name);
        let weight = recording.packed(name, self.weight, 4 * fours * terms, packing);
        let down = vertical.output.div_ceil(TILE[0]);
        let across = horizontal.output.div_ceil(TILE[1]);
        let blocks = filters.div_ceil(TILE[2]);
        let params = [
            across,
            down,
            blocks,
            images,
            filters,
            fours,
            vertical.input,
            horizontal.input,
            vertical.output,
            horizontal.output,
            vertical.before,
            horizontal.before,
        ]
        .map(|n| n as u32);
        let kernel = kernel(&self.shape, &self.layer.epilogue());
        let [bias, residual] = self.layer.added(recording);
        let groups = recording.linear(images * down * across * blocks, 1);
        recording.dispatch(kernel, &params, &[input, weight, bias, residual], &[output], groups)
    }
}

/// Where a tile's rows and filters are not mostly empty, and neighbours see inputs in common. An estimate.
fn rule(filters: usize, row: usize, taps: usize) -> bool {
    filters >= 4 && row >= 8 && taps > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_branch_of_the_rule() {
        assert!(rule(64, 112, 49));
        assert!(!rule(3, 112, 49), "few filters");
        assert!(!rule(64, 7, 49), "short rows");
        assert!(!rule(64, 112, 1), "a product");
    }

    #[test]
    fn words_of_workgroup_memory() {
        let square = |channels, axis: Axis| words(channels, [&axis, &axis]);
        // Of ResNet's first convolution, which fits 16 KiB, and of AlexNet's, which does not.
        assert_eq!(square(3, taps(7, 2, 1)), 3 * 13 * 37 + 16 * 147);
        assert!(square(3, taps(11, 4, 1)) > 4096);
        assert_eq!(square(1, taps(3, 1, 2)), 8 * 20 + 16 * 9);
        assert_eq!(square(1, taps(1 << 40, 1 << 40, 1)), usize::MAX);
    }
}
