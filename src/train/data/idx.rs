//! IDX files, the format of MNIST and its kin: images and labels as bytes.
//!
//! Two zero bytes, the type of the elements (8 for bytes), the number of axes; their sizes as big-endian u32; the elements
//! in row-major order (<http://yann.lecun.com/exdb/mnist/>). Commonly compressed by gzip, which shows in the first two
//! bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::Split;
use super::dataset::{Dataset, Pixels, numbers};
use crate::error::{Error, Result};

/// The most bytes of elements that are read: a small compressed file can stand for far more.
const MOST_BYTES: u64 = 4 << 30;

/// What MNIST's files are called, with `{}` for the split and for `images` and 3, `labels` and 1.
const NAMES: [&str; 2] = ["-idx{axes}-ubyte", ".idx{axes}-ubyte"];

impl Dataset {
    /// The images `[n, height, width]` and labels `[n]` of two IDX files, which may be compressed by gzip. There are as many
    /// classes as the largest label asks for, called by their numbers.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Dataset`] where a file is no such IDX file, broken off or too long, or where there are not as
    /// many labels as images.
    pub fn from_idx(images: impl AsRef<Path>, labels: impl AsRef<Path>) -> Result<Self> {
        let labels = read_labels(labels.as_ref())?;
        let classes = classes(&labels);
        of_files(images.as_ref(), labels, classes)
    }

    /// The images and labels of MNIST or another set under its names in a folder: `train-images-idx3-ubyte` and
    /// `train-labels-idx1-ubyte`, for [`Split::Test`] `t10k-...` or `test-...`; with `.idx` for `-idx`, and with or without
    /// `.gz`. There are as many classes as the labels of both splits ask for, as far as they are there.
    ///
    /// # Errors
    /// As [`Dataset::from_idx`]; [`Error::Dataset`] where a file is missing, with the names looked for.
    pub fn mnist_folder(folder: impl AsRef<Path>, split: Split) -> Result<Self> {
        let folder = folder.as_ref();
        let images = find(folder, split, "images", 3).map_err(|names| missing(folder, &names))?;
        let labels = find(folder, split, "labels", 1).map_err(|names| missing(folder, &names))?;
        let labels = read_labels(&labels)?;
        let mut count = classes(&labels);
        if let Ok(others) = find(folder, split.other(), "labels", 1) {
            count = count.max(classes(&read_labels(&others)?));
        }
        of_files(&images, labels, count)
    }
}

/// Whether a folder holds images under MNIST's names.
pub(super) fn is_mnist_folder(folder: &Path, split: Split) -> bool {
    find(folder, split, "images", 3).is_ok()
}

fn of_files(path: &Path, labels: Vec<u8>, classes: usize) -> Result<Dataset> {
    let Idx { sizes, elements } = Idx::read(path)?;
    let bad = |reason: String| Error::Dataset { path: path.into(), reason };
    let [count, height, width] = sizes[..] else {
        return Err(bad(format!("expected images [n, height, width], found {} axes", sizes.len())));
    };
    if count != labels.len() {
        return Err(bad(format!("{count} images for {} labels: these files are no pair", labels.len())));
    }
    let labels = labels.into_iter().map(usize::from).collect();
    Dataset::of(Pixels::Bytes(elements), [1, height, width], labels, numbers(classes))
        .map_err(|e| bad(e.to_string()))
}

fn read_labels(path: &Path) -> Result<Vec<u8>> {
    let idx = Idx::read(path)?;
    match idx.sizes[..] {
        [_] => Ok(idx.elements),
        _ => Err(Error::Dataset {
            path: path.into(),
            reason: format!("expected labels [n], found {} axes", idx.sizes.len()),
        }),
    }
}

/// How many classes the labels ask for.
fn classes(labels: &[u8]) -> usize {
    labels.iter().max().map_or(0, |&label| usize::from(label) + 1)
}

/// The file of a split, or the names that it could have.
fn find(folder: &Path, split: Split, what: &str, axes: usize) -> Result<PathBuf, Vec<String>> {
    let mut names = Vec::new();
    for prefix in split.mnist_names() {
        for name in NAMES {
            let name = format!("{prefix}-{what}{}", name.replace("{axes}", &axes.to_string()));
            names.extend([format!("{name}.gz"), name]);
        }
    }
    let found = names.iter().rev().map(|name| folder.join(name)).find(|path| path.is_file());
    found.ok_or(names)
}

fn missing(folder: &Path, names: &[String]) -> Error {
    let plain: Vec<_> = names.iter().filter(|name| !name.ends_with(".gz")).map(String::as_str).collect();
    Error::Dataset {
        path: folder.into(),
        reason: format!("expected {} here, each with or without .gz", plain.join(" or ")),
    }
}

/// An IDX file of bytes.
struct Idx {
    sizes: Vec<usize>,
    elements: Vec<u8>,
}

impl Idx {
    fn read(path: &Path) -> Result<Self> {
        let open = || {
            let mut file = BufReader::new(File::open(path)?);
            let compressed = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
            Ok(if compressed { Box::new(MultiGzDecoder::new(file)) as Box<dyn Read> } else { Box::new(file) })
        };
        let io = |source| Error::Io { path: path.into(), source };
        let mut file = open().map_err(io)?;
        Self::parse(&mut file).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => {
                Error::Dataset { path: path.into(), reason: "the file is broken off; copy it again".into() }
            }
            // Said by this module, or by the decoder of gzip.
            ErrorKind::InvalidData | ErrorKind::InvalidInput => {
                Error::Dataset { path: path.into(), reason: e.to_string() }
            }
            _ => io(e),
        })
    }

    fn parse(file: &mut dyn Read) -> io::Result<Self> {
        let mut head = [0; 4];
        file.read_exact(&mut head)?;
        let [0, 0, kind, axes] = head else {
            return Err(bad("no IDX file: it does not begin with two zero bytes".into()));
        };
        if kind != 8 {
            return Err(bad(format!("an IDX file of type {kind:#x}; only bytes, type 0x8, are read")));
        }
        let mut sizes = Vec::new();
        let mut bytes = 1u64;
        for _ in 0..axes {
            let mut size = [0; 4];
            file.read_exact(&mut size)?;
            let size = u32::from_be_bytes(size);
            bytes = bytes.saturating_mul(size.into());
            sizes.push(size as usize);
        }
        if bytes > MOST_BYTES {
            return Err(bad(format!("{bytes} bytes, more than the {MOST_BYTES} that are read at once")));
        }
        // The buffer grows with what is there, not with what the head says there is.
        let mut elements = Vec::new();
        file.take(bytes + 1).read_to_end(&mut elements)?;
        match (elements.len() as u64).cmp(&bytes) {
            std::cmp::Ordering::Less => Err(ErrorKind::UnexpectedEof.into()),
            std::cmp::Ordering::Equal => Ok(Idx { sizes, elements }),
            std::cmp::Ordering::Greater => {
                Err(bad(format!("longer than the {bytes} bytes that its head says")))
            }
        }
    }
}

fn bad(reason: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason)
}
