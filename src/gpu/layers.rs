//! Where images lie: in layers of arrays of textures (`shaders/shared/image.wgsl`), of which a dispatch may read some and
//! write others.

use std::ops::Range;

use crate::memory::{self, Lifetime};

/// Texels in a row of a layer; `shaders/shared/image.wgsl` counts by it. With the least rows this is how much memory is given
/// out at once: few, so that small images do not take many times what they hold.
pub(super) const WIDTH: u32 = 8;
/// Rows of a layer: the least that drivers round up to.
pub(super) const LEAST_ROWS: u32 = 4;
/// Texels that images share one texture for, 512 MiB: drivers refuse textures that are much larger, whatever their sizes.
const MOST_SHARED: usize = 1 << 25;

/// Textures of layers of one size, and for each image which of them it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layers {
    /// Rows of a layer, a power of two.
    pub rows: u32,
    /// For each texture, its layers.
    pub textures: Vec<u32>,
    /// For each image, its texture and its layers there.
    pub of: Vec<(usize, Range<u32>)>,
}

/// Texels of a layer of so many rows.
fn texels(rows: u32) -> usize {
    WIDTH as usize * rows as usize
}

/// The rows that a layer may have.
fn every_rows(limits: &wgpu::Limits) -> impl Iterator<Item = u32> {
    let most = limits.max_texture_dimension_2d.max(LEAST_ROWS);
    std::iter::successors(Some(LEAST_ROWS), |rows| Some(2 * rows)).take_while(move |&rows| rows <= most)
}

impl Layers {
    /// Places images, whose sizes are in texels, in one texture of the smallest layers of which it has enough. Where that
    /// would be too large, each image has a texture while it lives.
    pub fn place(images: &[Lifetime], limits: &wgpu::Limits) -> Self {
        if images.is_empty() {
            return Layers::default();
        }
        let most_layers = limits.max_texture_array_layers as usize;
        for rows in every_rows(limits) {
            let layer = texels(rows);
            let in_layers = |image: &Lifetime| Lifetime { size: image.size.div_ceil(layer), ..*image };
            let sized: Vec<_> = images.iter().map(in_layers).collect();
            let least = memory::lower_bound(&sized);
            if least.saturating_mul(layer) > MOST_SHARED {
                break;
            }
            if least > most_layers {
                continue;
            }
            let arena = memory::place(&sized, 1);
            if arena.size <= most_layers && arena.size * layer <= MOST_SHARED {
                let range = |(&from, image): (&usize, &Lifetime)| from as u32..(from + image.size) as u32;
                let of = arena.offsets.iter().zip(&sized).map(range).map(|range| (0, range)).collect();
                return Layers { rows, textures: vec![arena.size as u32], of };
            }
        }
        let slots = memory::assign(images);
        let rows = Self::rows_for(slots.sizes.iter().copied().max().unwrap_or(0), limits);
        let layers = |size: &usize| size.div_ceil(texels(rows)) as u32;
        let of = images.iter().zip(slots.of).map(|(image, slot)| (slot, 0..layers(&image.size)));
        Layers { rows, of: of.collect(), textures: slots.sizes.iter().map(layers).collect() }
    }

    /// The rows of the smallest layers in which an image of so many texels fits one texture.
    pub fn rows_for(image: usize, limits: &wgpu::Limits) -> u32 {
        let most_layers = limits.max_texture_array_layers as usize;
        let fits = |rows: &u32| image.div_ceil(texels(*rows)) <= most_layers;
        every_rows(limits).find(fits).unwrap_or(LEAST_ROWS)
    }

    /// Texels of all textures.
    pub fn texels(&self) -> usize {
        self.textures.iter().map(|&layers| layers as usize * texels(self.rows)).sum()
    }
}

/// The layers that an image of so many texels takes.
pub(super) fn count(image: usize, rows: u32) -> u32 {
    image.div_ceil(texels(rows)).max(1) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chain of images of these sizes, of which the first is also read by the last.
    fn chain(sizes: &[usize]) -> Vec<Lifetime> {
        let last = |i: usize| if i == 0 { sizes.len() } else { i + 1 };
        let image = |(i, &size)| Lifetime { first: i, last: last(i), size };
        sizes.iter().enumerate().map(image).collect()
    }

    fn limits(layers: u32) -> wgpu::Limits {
        wgpu::Limits { max_texture_array_layers: layers, ..wgpu::Limits::default() }
    }

    /// Images that live at once have layers of their own, of those that there are, and enough.
    fn check(layers: &Layers, images: &[Lifetime]) {
        for (i, (image, (texture, range))) in images.iter().zip(&layers.of).enumerate() {
            assert!(
                range.len() * texels(layers.rows) >= image.size && range.end <= layers.textures[*texture]
            );
            for (other, (texture_of, range_of)) in images.iter().zip(&layers.of).skip(i + 1) {
                let apart = range.end <= range_of.start || range_of.end <= range.start;
                let at_once = image.first <= other.last && other.first <= image.last;
                assert!(texture != texture_of || apart || !at_once);
            }
        }
    }

    #[test]
    fn layers_are_as_small_as_there_are_enough_of() {
        let images = chain(&[1000, 5000, 300, 7000, 20]);
        // 1000, 300 and 7000 are alive at once: 32, 10 and 219 layers of 32 texels, 16, 5 and 110 of 64.
        for (most, rows, count) in [(300, 4, 261), (261, 4, 261), (260, 8, 131), (3, 1024, 3)] {
            let layers = Layers::place(&images, &limits(most));
            assert_eq!((layers.rows, &layers.textures[..]), (rows, &[count][..]), "{most}");
            check(&layers, &images);
        }
        assert_eq!(Layers::place(&[], &limits(256)), Layers::default());
    }

    #[test]
    fn what_is_too_large_for_one_texture_has_several() {
        let images = chain(&[1 << 24, 1 << 24, 1 << 24, 1000]);
        let layers = Layers::place(&images, &limits(256));
        assert_eq!(layers.textures, [256, 256, 256]);
        check(&layers, &images);
    }
}
