//! Labelled images in memory.

use std::sync::Arc;

use super::augment::Variation;
use super::loader::{Batches, below, random};
use crate::error::{Error, Result};
use crate::tensor::{Shape, Tensor};

/// Labelled images of one size, as a network takes them: `[channels, height, width]` each.
///
/// Clones, parts and other sizes share the pixels, which stay as they were read: bytes take one byte each.
#[derive(Clone, Debug)]
pub struct Dataset {
    source: Arc<Source>,
    /// The images that are part of this, by their number in the source.
    members: Arc<[usize]>,
    class_names: Arc<[String]>,
    shape: [usize; 3],
}

/// All images as they were read, `[channels, height, width]` each, and their labels.
#[derive(Debug)]
struct Source {
    pixels: Pixels,
    shape: [usize; 3],
    labels: Vec<usize>,
}

#[derive(Debug)]
pub(super) enum Pixels {
    /// From 0 to 255, which stand for 0 to 1.
    Bytes(Vec<u8>),
    Floats(Tensor),
}

impl Dataset {
    /// The images `[n, channels, height, width]` with a label each, which counts from 0 and is below `classes`. Classes
    /// are called by their numbers.
    ///
    /// # Errors
    /// [`Error::Input`] where these do not go together; [`Error::DType`] where the images are not f32.
    pub fn new(images: Tensor, labels: Vec<usize>, classes: usize) -> Result<Self> {
        images.values::<f32>()?;
        let [count, channels, height, width] = images.shape()[..] else {
            return Err(mismatch("images [n, channels, height, width]", images.shape()));
        };
        if count != labels.len() {
            return Err(mismatch(format!("a label for each of {count} images"), labels.len()));
        }
        Self::of(Pixels::Floats(images), [channels, height, width], labels, numbers(classes))
    }

    /// Of pixels that fill `labels.len()` images of this shape.
    pub(super) fn of(
        pixels: Pixels,
        shape: [usize; 3],
        labels: Vec<usize>,
        class_names: Vec<String>,
    ) -> Result<Self> {
        let classes = class_names.len();
        if let Some((image, label)) = labels.iter().enumerate().find(|(_, label)| **label >= classes) {
            return Err(mismatch(
                format!("labels below the {classes} classes"),
                format!("{label} for image {image}"),
            ));
        }
        if shape.contains(&0) {
            return Err(mismatch("images with pixels", dims(shape)));
        }
        let members = (0..labels.len()).collect();
        let source = Arc::new(Source { pixels, shape, labels });
        Ok(Dataset { source, members, class_names: class_names.into(), shape })
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// How many classes there are; that every one has an image is not said.
    pub fn classes(&self) -> usize {
        self.class_names.len()
    }

    /// What the classes are called.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The images' `[channels, height, width]`.
    pub fn image_shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The class of each image.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = usize> {
        self.members.iter().map(|&member| self.source.labels[member])
    }

    /// The same images with other names for the classes.
    ///
    /// # Errors
    /// [`Error::Input`] where there are not as many.
    pub fn with_class_names(mut self, names: Vec<String>) -> Result<Self> {
        if names.len() != self.classes() {
            return Err(mismatch(format!("names for {} classes", self.classes()), names.len()));
        }
        self.class_names = names.into();
        Ok(self)
    }

    /// The same images for a network over `[channels, height, width]`.
    ///
    /// Each pixel is repeated as often as fits along both axes (8x8 becomes 32x32), and the picture is put in the middle,
    /// of zeros where it is smaller (28x28 in 32x32), cut off where it is larger. One channel becomes several equal ones.
    ///
    /// # Errors
    /// [`Error::Input`] where several channels should become another number, or the shape has no elements or too many.
    pub fn for_shape(&self, shape: [usize; 3]) -> Result<Self> {
        let from = self.source.shape;
        if shape.contains(&0) {
            return Err(mismatch("a network over images with pixels", dims(shape)));
        }
        if from[0] != 1 && from[0] != shape[0] {
            return Err(mismatch(format!("a network over {} channels", from[0]), shape[0]));
        }
        Shape::new(shape)?;
        Ok(Dataset { shape, ..self.clone() })
    }

    /// All but a part of the images, and that part, from 0 to 1, chosen by the seed.
    ///
    /// # Errors
    /// [`Error::Input`] where `part` is not from 0 to 1.
    pub fn split(&self, part: f64, seed: u64) -> Result<(Self, Self)> {
        if !(0.0..=1.0).contains(&part) {
            return Err(mismatch("a part from 0 to 1", part));
        }
        let mut members = self.members.to_vec();
        shuffle(&mut members, seed, u64::MAX);
        let rest = members.split_off((part * self.len() as f64).round() as usize);
        let of = |mut members: Vec<usize>| {
            members.sort_unstable();
            Dataset { members: members.into(), ..self.clone() }
        };
        Ok((of(rest), of(members)))
    }

    /// All images in order, `size` (at least one) to a batch and what remains in the last.
    pub fn batches(&self, size: usize) -> Batches {
        Batches::in_order(self, size)
    }

    pub(super) fn label(&self, index: usize) -> usize {
        self.source.labels[self.members[index]]
    }

    /// Writes image `index` in a variation, as the network takes it.
    pub(super) fn write(&self, index: usize, variation: Variation, out: &mut [f32]) {
        let Source { pixels, shape: [channels, height, width], .. } = &*self.source;
        let size = channels * height * width;
        let from = self.members[index] * size;
        match pixels {
            Pixels::Bytes(bytes) => {
                self.place(&bytes[from..][..size], |byte| f32::from(byte) / 255.0, variation, out);
            }
            Pixels::Floats(tensor) => {
                let values: &[f32] = tensor.values().unwrap_or_default();
                self.place(&values[from..][..size], |value| value, variation, out);
            }
        }
    }

    fn place<T: Copy>(&self, image: &[T], value: impl Fn(T) -> f32, variation: Variation, out: &mut [f32]) {
        let ([_, from_height, from_width], [_, height, width]) = (self.source.shape, self.shape);
        let repeat = (height / from_height).min(width / from_width).max(1);
        let column = Axis { from: from_width, to: width, repeat };
        let row = Axis { from: from_height, to: height, repeat };
        let columns: Vec<Option<usize>> =
            (0..width).map(|x| column.source(x, variation.right, variation.flip)).collect();
        // One channel serves for all.
        let planes = image.chunks_exact(from_height * from_width).cycle();
        for (plane, out) in planes.zip(out.chunks_exact_mut(height * width)) {
            for (y, out) in out.chunks_exact_mut(width).enumerate() {
                match row.source(y, variation.down, false) {
                    None => out.fill(0.0),
                    Some(y) => {
                        let line = &plane[y * from_width..][..from_width];
                        for (out, x) in out.iter_mut().zip(&columns) {
                            *out = x.map_or(0.0, |x| value(line[x]));
                        }
                    }
                }
            }
        }
    }
}

/// An axis of a picture that is repeated and put in the middle of the network's input.
struct Axis {
    from: usize,
    to: usize,
    repeat: usize,
}

impl Axis {
    /// The picture's pixel that is seen at `at`, if there is one, where the picture is mirrored and then moved.
    fn source(&self, at: usize, moved: isize, mirrored: bool) -> Option<usize> {
        let at = at as isize - moved;
        let at = if mirrored { self.to as isize - 1 - at } else { at };
        let before = (self.to as isize - (self.from * self.repeat) as isize).div_euclid(2);
        let pixel = usize::try_from(at - before).ok()? / self.repeat;
        (pixel < self.from).then_some(pixel)
    }
}

/// Puts a list in an order that seed and epoch say (Fisher and Yates).
pub(super) fn shuffle(list: &mut [usize], seed: u64, epoch: u64) {
    let mut rng = random(seed, epoch, u32::MAX);
    for i in (1..list.len()).rev() {
        list.swap(i, below(&mut rng, i + 1));
    }
}

/// The numbers of classes as their names.
pub(super) fn numbers(classes: usize) -> Vec<String> {
    (0..classes).map(|class| class.to_string()).collect()
}

fn dims([channels, height, width]: [usize; 3]) -> String {
    format!("{channels}x{height}x{width}")
}

fn mismatch(expected: impl ToString, actual: impl ToString) -> Error {
    Error::Input { name: "dataset".into(), expected: expected.to_string(), actual: actual.to_string() }
}
