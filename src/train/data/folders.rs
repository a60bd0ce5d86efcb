//! Folders of pictures, one folder to a class.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::dataset::{Dataset, Pixels};
use super::idx::is_mnist_folder;
use crate::error::{Error, Result};
use crate::picture::{self, Preprocess};
use crate::tensor::{Shape, Tensor};

/// Which images of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// Those to learn from.
    Train,
    /// Those to test what was learned.
    Test,
}

impl Split {
    pub(super) fn other(self) -> Self {
        match self {
            Split::Train => Split::Test,
            Split::Test => Split::Train,
        }
    }

    /// What its files in MNIST's folders begin with.
    pub(super) fn mnist_names(self) -> &'static [&'static str] {
        match self {
            Split::Train => &["train"],
            Split::Test => &["t10k", "test"],
        }
    }

    /// What its folder of classes may be called.
    fn folder_names(self) -> &'static [&'static str] {
        match self {
            Split::Train => &["train"],
            Split::Test => &["test", "val", "validation"],
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Split::Train => "train",
            Split::Test => "test",
        })
    }
}

impl Dataset {
    /// The images of a folder for a network over `[channels, height, width]`: those of [`Dataset::mnist_folder`] as
    /// [`Dataset::for_shape`] makes them, where it holds such files; else, from a folder per class in `train`, or for
    /// [`Split::Test`] in `test`, `val` or `validation`, as [`Dataset::from_folders`] reads them. A class of either split is
    /// one of both, so that its number is the same.
    ///
    /// # Errors
    /// As these; [`Error::Dataset`] where the folder holds neither.
    pub fn open(folder: impl AsRef<Path>, split: Split, shape: [usize; 3]) -> Result<Self> {
        let folder = folder.as_ref();
        if is_mnist_folder(folder, split) {
            return Self::mnist_folder(folder, split)?.for_shape(shape);
        }
        let find = |split: Split| {
            split.folder_names().iter().map(|name| folder.join(name)).find(|path| path.is_dir())
        };
        let own = find(split).ok_or_else(|| Error::Dataset {
            path: folder.into(),
            reason: format!(
                "no {split} images here: expected IDX files such as {}-images-idx3-ubyte, or {}/CLASS/PICTURE.png",
                split.mnist_names()[0],
                split.folder_names().join(" or ")
            ),
        })?;
        let mut classes = class_folders(&own)?;
        if let Some(other) = find(split.other()) {
            classes.extend(class_folders(&other)?);
        }
        load(&own, classes, shape)
    }

    /// The pictures of a folder that holds a folder for each class: the classes are called as their folders, sorted, and
    /// each picture is read as [`picture::load`] does for a network over one channel ([`Preprocess::grey`]) or three
    /// ([`Preprocess::imagenet`]). Folders whose names begin with a dot are passed over.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Image`] for a class without pictures and a picture that cannot be read; [`Error::Dataset`]
    /// where there is no folder within; [`Error::Input`] for another number of channels.
    pub fn from_folders(folder: impl AsRef<Path>, shape: [usize; 3]) -> Result<Self> {
        let folder = folder.as_ref();
        load(folder, class_folders(folder)?, shape)
    }
}

/// The names of the folders within, sorted.
fn class_folders(folder: &Path) -> Result<BTreeSet<String>> {
    let io = |source| Error::Io { path: folder.into(), source };
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name().into_string().map_err(|name| Error::Dataset {
            path: folder.join(name),
            reason: "the name of a class must be UTF-8".into(),
        });
        if entry.path().is_dir() {
            let name = name?;
            if !name.starts_with('.') {
                names.insert(name);
            }
        }
    }
    if names.is_empty() {
        return Err(Error::Dataset {
            path: folder.into(),
            reason: "expected a folder of pictures for each class in it, found none".into(),
        });
    }
    Ok(names)
}

/// The pictures of the classes as far as they have a folder here.
fn load(folder: &Path, classes: BTreeSet<String>, shape: [usize; 3]) -> Result<Dataset> {
    let preprocess = match shape[0] {
        1 => Preprocess::grey(),
        _ => Preprocess::imagenet(),
    };
    let mut pictures: Vec<(PathBuf, usize)> = Vec::new();
    for (label, class) in classes.iter().enumerate() {
        let class = folder.join(class);
        if class.is_dir() {
            pictures.extend(picture::files(&[class])?.into_iter().map(|path| (path, label)));
        }
    }
    let all = [pictures.len(), shape[0], shape[1], shape[2]];
    let mut values = vec![0.0f32; Shape::new(all)?.elements()];
    let size = shape.iter().product::<usize>().max(1);
    values.par_chunks_mut(size).zip(&pictures).try_for_each(|(values, (path, _))| {
        let picture = picture::load(path, shape, &preprocess)?;
        values.copy_from_slice(picture.values()?);
        Ok::<(), Error>(())
    })?;
    let labels = pictures.into_iter().map(|(_, label)| label).collect();
    Dataset::of(Pixels::Floats(Tensor::new(all, values)?), shape, labels, classes.into_iter().collect())
}
