//! Images varied at random, each in each epoch in its own way.

use super::loader::{below, random};

/// How training images are varied. By default they are not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Augment {
    /// The most pixels of the network's input that an image is moved by along each axis, either way. What moves in from
    /// outside is the rest of a larger picture where there is one, else zeros: so this is also a random crop, with that
    /// much padding.
    pub shift: usize,
    /// Whether every second image, by chance, is mirrored from left to right. Not for what reads, such as digits.
    pub flip: bool,
}

/// How one image is varied: mirrored first, then moved down and to the right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Variation {
    pub flip: bool,
    pub down: isize,
    pub right: isize,
}

impl Augment {
    /// The variation of image `index` in an epoch; no other image, batch or thread has a part in it.
    pub(super) fn variation(&self, seed: u64, epoch: u64, index: usize) -> Variation {
        if *self == Self::default() {
            return Variation::default();
        }
        let mut rng = random(seed, epoch, index as u32);
        // Past this no pixel of any image is left.
        let most = self.shift.min(1 << 20);
        let mut shift = || below(&mut rng, 2 * most + 1) as isize - most as isize;
        let (down, right) = (shift(), shift());
        Variation { flip: self.flip && below(&mut rng, 2) == 1, down, right }
    }
}
