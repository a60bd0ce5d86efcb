//! A value in blocks, handed out in pieces in the order in which convolutions write them.

use std::slice::ChunksExactMut;

use smallvec::SmallVec;

/// Blocks of an image up to which the list of them needs no allocation: 2048 channels.
const BLOCKS: usize = 128;

/// Image after image, and in each of them piece after piece: of every group of blocks the first, then of every group the
/// second, and so on.
pub(super) struct Pieces<'a> {
    images: ChunksExactMut<'a, f32>,
    sizes: Sizes,
    /// What is left of each block of the image in work.
    blocks: SmallVec<[&'a mut [f32]; BLOCKS]>,
    /// The first block of the next group.
    next: usize,
}

/// The sizes of pieces: words, and for a group its blocks, one or two.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub image: usize,
    pub block: usize,
    pub piece: usize,
    pub group: usize,
}

impl<'a> Pieces<'a> {
    /// The sizes are not 0.
    pub fn new(words: &'a mut [f32], sizes: Sizes) -> Self {
        Pieces { images: words.chunks_exact_mut(sizes.image), sizes, blocks: SmallVec::new(), next: 0 }
    }
}

impl<'a> Iterator for Pieces<'a> {
    /// A piece of each block of a group; the second is empty where the group has one block.
    type Item = [&'a mut [f32]; 2];

    fn next(&mut self) -> Option<Self::Item> {
        let Sizes { block, piece, group, .. } = self.sizes;
        if self.next >= self.blocks.len() {
            self.next = 0;
            if self.blocks.first().is_none_or(|left| left.is_empty()) {
                self.blocks.clear();
                self.blocks.extend(self.images.next()?.chunks_exact_mut(block));
            }
        }
        let mut pieces = [&mut [][..], &mut []];
        for (out, left) in pieces.iter_mut().zip(self.blocks[self.next..].iter_mut().take(group)) {
            *out = left.split_off_mut(..piece.min(left.len())).unwrap_or_default();
        }
        self.next += group;
        Some(pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_piece_after_piece_and_group_after_group() {
        // Two images of three blocks of five words.
        let mut words: Vec<f32> = (0..30).map(|i| i as f32).collect();
        let sizes = Sizes { image: 15, block: 5, piece: 2, group: 2 };
        let pieces = Pieces::new(&mut words, sizes);
        let first: Vec<_> = pieces.map(|pieces| pieces.map(|piece| piece.to_vec())).collect();
        let image = |start: f32| {
            let piece =
                move |at: f32, len: usize| (0..len).map(|i| start + at + i as f32).collect::<Vec<_>>();
            [(0.0, 2), (2.0, 2), (4.0, 1)].into_iter().flat_map(move |(at, len)| {
                [[piece(at, len), piece(at + 5.0, len)], [piece(at + 10.0, len), vec![]]]
            })
        };
        assert_eq!(first, image(0.0).chain(image(15.0)).collect::<Vec<_>>());
    }
}
