//! Labelled images: files as users have them and files that are broken, sizes, variations, and batches that come out the
//! same however many threads make them. No GPU is needed.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use support::random::Rng;
use wgpu_cnn::train::data::{Augment, Batch, Dataset, Loader, Split};
use wgpu_cnn::{Error, Tensor};

const DIGITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/digits");

/// An IDX file of bytes.
fn idx(sizes: &[u32], elements: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, sizes.len() as u8];
    file.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
    file.extend(elements);
    file
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// Five images of 2 x 3 and their labels.
fn pair() -> (Vec<u8>, Vec<u8>) {
    let pixels: Vec<u8> = (0..30).map(|i| i * 8).collect();
    (idx(&[5, 2, 3], &pixels), idx(&[5], &[3, 0, 1, 3, 2]))
}

/// All images in one batch.
fn all(data: &Dataset) -> Batch {
    data.batches(data.len()).next().expect("a batch").unwrap()
}

fn values(tensor: &Tensor) -> &[f32] {
    tensor.values().unwrap()
}

#[track_caller]
fn dataset_error(result: wgpu_cnn::Result<Dataset>, file: &Path, part: &str) {
    match result {
        Err(Error::Dataset { path, reason }) => {
            assert_eq!(path, file);
            assert!(reason.contains(part), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn idx_files_are_read_plain_and_compressed() {
    let folder = Folder::new();
    let (images, labels) = pair();
    for (i, (images, labels)) in
        [(images.clone(), labels.clone()), (gzip(&images), gzip(&labels))].iter().enumerate()
    {
        let (images, labels) =
            (folder.write(&format!("i{i}"), images), folder.write(&format!("l{i}"), labels));
        let data = Dataset::from_idx(images, labels).unwrap();
        assert_eq!((data.len(), data.classes(), data.image_shape()), (5, 4, [1, 2, 3]));
        assert_eq!(data.labels().collect::<Vec<_>>(), [3, 0, 1, 3, 2]);
        assert_eq!(data.class_names(), ["0", "1", "2", "3"]);
        let batch = all(&data);
        assert_eq!(batch.images.shape()[..], [5, 1, 2, 3]);
        let expected: Vec<f32> = (0..30).map(|i| (i * 8) as f32 / 255.0).collect();
        assert_eq!(values(&batch.images), expected);
        assert_eq!(values(&batch.targets)[..8], [0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
    }
}

#[test]
fn the_digits_are_read_as_their_description_says() {
    let of = |split| Dataset::open(DIGITS, split, [1, 32, 32]).unwrap();
    let (train, test) = (of(Split::Train), of(Split::Test));
    assert_eq!((train.len(), test.len(), train.classes(), test.classes()), (1437, 360, 10, 10));
    let pixels = &std::fs::read(format!("{DIGITS}/test-images.idx3-ubyte")).unwrap()[16..];
    let batch = all(&test);
    for (i, &value) in values(&batch.images).iter().enumerate() {
        let (image, y, x) = (i / 1024, i / 32 % 32, i % 32);
        assert_eq!(value, f32::from(pixels[image * 64 + y / 4 * 8 + x / 4]) / 255.0, "{i}");
    }
    assert_eq!(batch.labels[10], 5);
}

#[test]
fn names_of_mnist_are_found() {
    let (images, labels) = pair();
    for (split, prefix) in [(Split::Train, "train"), (Split::Test, "t10k"), (Split::Test, "test")] {
        for style in ["-idx", ".idx"] {
            for ending in ["", ".gz"] {
                let folder = Folder::new();
                let file = |bytes: &[u8]| if ending.is_empty() { bytes.to_vec() } else { gzip(bytes) };
                folder.write(&format!("{prefix}-images{style}3-ubyte{ending}"), &file(&images));
                folder.write(&format!("{prefix}-labels{style}1-ubyte{ending}"), &file(&labels));
                assert_eq!(Dataset::mnist_folder(folder.path(), split).unwrap().len(), 5);
                assert_eq!(Dataset::open(folder.path(), split, [1, 6, 6]).unwrap().image_shape(), [1, 6, 6]);
                assert!(Dataset::open(folder.path(), split, [1, 0, 6]).is_err());
            }
        }
    }
    let folder = Folder::new();
    dataset_error(Dataset::mnist_folder(folder.path(), Split::Test), folder.path(), "t10k-images-idx3-ubyte");
    folder.write("train-images-idx3-ubyte", &images);
    dataset_error(
        Dataset::mnist_folder(folder.path(), Split::Train),
        folder.path(),
        "train-labels-idx1-ubyte",
    );
    dataset_error(Dataset::open(folder.path(), Split::Test, [1, 4, 4]), folder.path(), "test");
}

#[test]
fn classes_are_those_of_both_splits() {
    let folder = Folder::new();
    let (images, labels) = pair();
    folder.write("train-images-idx3-ubyte", &images);
    folder.write("train-labels-idx1-ubyte", &labels);
    folder.write("t10k-images-idx3-ubyte", &images);
    folder.write("t10k-labels-idx1-ubyte", &idx(&[5], &[0, 1, 6, 1, 0]));
    for split in [Split::Train, Split::Test] {
        assert_eq!(Dataset::mnist_folder(folder.path(), split).unwrap().classes(), 7);
    }
}

#[test]
fn files_that_are_no_pair_are_refused() {
    let folder = Folder::new();
    let (images, labels) = pair();
    let (images_at, labels_at) = (folder.write("images", &images), folder.write("labels", &labels));
    dataset_error(Dataset::from_idx(&labels_at, &labels_at), &labels_at, "1 axes");
    dataset_error(Dataset::from_idx(&images_at, &images_at), &images_at, "3 axes");
    let fewer = folder.write("fewer", &idx(&[4], &[0; 4]));
    dataset_error(Dataset::from_idx(&images_at, fewer), &images_at, "5 images for 4 labels");
    let flat = folder.write("flat", &idx(&[5, 0, 3], &[]));
    dataset_error(Dataset::from_idx(&flat, &labels_at), &flat, "pixels");
    let floats = folder.write("floats", &[0, 0, 13, 1, 0, 0, 0, 1, 0, 0, 0, 0]);
    dataset_error(Dataset::from_idx(&floats, &labels_at), &floats, "type 0xd");
    let text = folder.write("text", b"<html>Not found</html>");
    dataset_error(Dataset::from_idx(&text, &labels_at), &text, "no IDX file");
    let nowhere = folder.path().join("nowhere");
    assert!(
        matches!(Dataset::from_idx(&nowhere, &labels_at), Err(Error::Io { path, .. }) if path == nowhere)
    );
}

#[test]
fn every_truncation_and_what_is_too_long_is_an_error() {
    let folder = Folder::new();
    let (images, labels) = pair();
    let labels_at = folder.write("labels", &labels);
    for whole in [images.clone(), gzip(&images)] {
        for cut in 0..whole.len() {
            let path = folder.write("cut", &whole[..cut]);
            dataset_error(Dataset::from_idx(&path, &labels_at), &path, "");
        }
    }
    let longer = folder.write("longer", &[&images[..], &[0]].concat());
    dataset_error(Dataset::from_idx(&longer, &labels_at), &longer, "longer");
    let longer = folder.write("longer.gz", &gzip(&[&images[..], &[0]].concat()));
    dataset_error(Dataset::from_idx(&longer, &labels_at), &longer, "longer");
    let cut = folder.write("cut", &images[..20]);
    dataset_error(Dataset::from_idx(&cut, &labels_at), &cut, "broken off");
}

#[test]
fn sizes_that_nobody_has_take_no_memory() {
    let folder = Folder::new();
    let labels_at = folder.write("labels", &pair().1);
    let most = u32::MAX;
    for sizes in [&[most, most, most][..], &[most, 1, 1], &[5, most, 2], &[0, most, most], &[most; 255]] {
        for bytes in [idx(sizes, &[1; 30]), gzip(&idx(sizes, &[1; 30]))] {
            let path = folder.write("wild", &bytes);
            dataset_error(Dataset::from_idx(&path, &labels_at), &path, "");
        }
    }
}

#[test]
fn damaged_files_are_read_or_refused() {
    let folder = Folder::new();
    let (images, labels) = pair();
    let labels_at = folder.write("labels", &labels);
    let mut rng = Rng::new(0xda7a);
    let (mut read, mut refused) = (0, 0);
    for i in 0..2000 {
        let mut bytes = if i % 2 == 0 { images.clone() } else { gzip(&images) };
        for _ in 0..1 + rng.range(0..3) {
            let at = rng.range(0..bytes.len());
            match rng.range(0..4) {
                0 => bytes[at] = rng.next_u64() as u8,
                1 => bytes[at] ^= 1 << rng.range(0..8),
                2 => drop(bytes.remove(at)),
                _ => bytes.insert(at, rng.next_u64() as u8),
            }
        }
        let path = folder.write("damaged", &bytes);
        match Dataset::from_idx(&path, &labels_at) {
            Ok(data) => {
                read += 1;
                assert_eq!((data.len(), all(&data).images.shape()[0]), (5, 5));
            }
            Err(Error::Dataset { path: at, .. }) => {
                refused += 1;
                assert_eq!(at, path);
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(read > 100 && refused > 100, "{read} read, {refused} refused");
}

/// A picture of one grey.
fn picture(folder: &Folder, name: &str, level: u8) {
    let path = folder.write(name, b"");
    wgpu_cnn::picture::GrayImage::from_pixel(4, 4, [level].into()).save(path).unwrap();
}

#[test]
fn folders_are_classes_in_the_order_of_their_names() {
    let folder = Folder::new();
    for (name, level) in
        [("b/2.png", 102), ("b/1.png", 51), ("a/9.png", 255), ("c/x.png", 0), (".hidden/y.png", 9)]
    {
        picture(&folder, &format!("train/{name}"), level);
    }
    folder.write("train/notes.txt", b"no picture");
    for (name, level) in [("c/1.png", 153), ("d/1.png", 204)] {
        picture(&folder, &format!("val/{name}"), level);
    }
    let data = Dataset::from_folders(folder.path().join("train"), [1, 4, 4]).unwrap();
    assert_eq!(data.class_names(), ["a", "b", "c"]);
    assert_eq!(data.labels().collect::<Vec<_>>(), [0, 1, 1, 2]);
    let pixels: Vec<f32> = values(&all(&data).images).chunks(16).map(|image| image[5]).collect();
    assert_eq!(pixels, [1.0, 0.2, 0.4, 0.0]);

    // A class of one split alone does not move the numbers of the others.
    let test = Dataset::open(folder.path(), Split::Test, [1, 8, 8]).unwrap();
    assert_eq!(test.class_names(), ["a", "b", "c", "d"]);
    assert_eq!((test.labels().collect::<Vec<_>>(), test.image_shape()), (vec![2, 3], [1, 8, 8]));
    let train = Dataset::open(folder.path(), Split::Train, [3, 4, 4]).unwrap();
    assert_eq!((train.len(), train.classes(), train.image_shape()), (4, 4, [3, 4, 4]));

    let empty = Folder::new();
    dataset_error(
        Dataset::from_folders(empty.path(), [1, 4, 4]),
        empty.path(),
        "a folder of pictures for each class",
    );
    empty.write("a/text.txt", b"");
    assert!(matches!(Dataset::from_folders(empty.path(), [1, 4, 4]), Err(Error::Image { .. })));
    empty.write("a/broken.png", b"\x89PNG\r\n");
    assert!(matches!(Dataset::from_folders(empty.path(), [1, 4, 4]), Err(Error::Image { .. })));
    assert!(matches!(Dataset::from_folders(empty.path(), [2, 4, 4]), Err(Error::Input { .. })));
    assert!(matches!(Dataset::from_folders("no-such-folder", [1, 4, 4]), Err(Error::Io { .. })));
}

/// Images whose pixels are all different and not 0; a label that tells them apart.
fn numbered(count: usize, [channels, height, width]: [usize; 3]) -> Dataset {
    let n = count * channels * height * width;
    let images = Tensor::new([count, channels, height, width], (1..=n).map(|v| v as f32).collect()).unwrap();
    Dataset::new(images, (0..count).collect(), count.max(1)).unwrap()
}

/// What image 0 of `numbered(1, from)` is in another shape, mirrored and moved: by plain loops over a canvas.
fn placed(from: [usize; 3], to: [usize; 3], flip: bool, down: i64, right: i64) -> Vec<f32> {
    let size = |shape: [usize; 3], axis: usize| shape[axis] as i64;
    let mut repeat = 1;
    while size(from, 1) * (repeat + 1) <= size(to, 1) && size(from, 2) * (repeat + 1) <= size(to, 2) {
        repeat += 1;
    }
    let margin = |axis: usize| (size(to, axis) - size(from, axis) * repeat).div_euclid(2);
    let mut out = vec![0.0; to.iter().product()];
    for c in 0..to[0] {
        for y in 0..size(from, 1) * repeat {
            for x in 0..size(from, 2) * repeat {
                let (row, mut column) = (y + margin(1), x + margin(2));
                if flip {
                    column = size(to, 2) - 1 - column;
                }
                let (row, column) = (row + down, column + right);
                if (0..size(to, 1)).contains(&row) && (0..size(to, 2)).contains(&column) {
                    let plane = c.min(from[0] - 1) as i64;
                    let pixel = (plane * size(from, 1) + y / repeat) * size(from, 2) + x / repeat;
                    out[(c * to[1] + row as usize) * to[2] + column as usize] = (pixel + 1) as f32;
                }
            }
        }
    }
    out
}

const SHAPES: [([usize; 3], [usize; 3]); 9] = [
    ([1, 3, 4], [1, 3, 4]),
    ([2, 3, 4], [2, 3, 4]),
    ([1, 2, 2], [1, 8, 8]),
    ([1, 7, 7], [1, 8, 8]),
    ([1, 3, 3], [1, 8, 9]),
    ([1, 5, 6], [1, 4, 4]),
    ([3, 5, 6], [3, 4, 9]),
    ([1, 2, 3], [3, 4, 6]),
    ([1, 1, 1], [1, 5, 5]),
];

#[test]
fn pictures_are_repeated_and_put_in_the_middle() {
    for (from, to) in SHAPES {
        let data = numbered(2, from).for_shape(to).unwrap();
        let batch = all(&data);
        assert_eq!(batch.images.shape()[1..], to);
        let n = to.iter().product::<usize>();
        assert_eq!(values(&batch.images)[..n], placed(from, to, false, 0, 0), "{from:?} to {to:?}");
    }
    assert!(matches!(numbered(1, [2, 4, 4]).for_shape([3, 4, 4]), Err(Error::Input { .. })));
    assert!(matches!(numbered(1, [1, 4, 4]).for_shape([1, 0, 4]), Err(Error::Input { .. })));
    assert!(numbered(1, [1, 4, 4]).for_shape([1, usize::MAX, 4]).is_err());
}

#[test]
fn variations_are_shifts_and_flips_and_all_of_them_come() {
    for (from, to) in SHAPES {
        for augment in [Augment { shift: 2, flip: false }, Augment { shift: 1, flip: true }] {
            let data = numbered(1, from).for_shape(to).unwrap();
            let loader = Loader::new(&data, 1, 5, &augment).threads(0);
            let most = augment.shift as i64;
            let mut candidates = Vec::new();
            for flip in [false, true].into_iter().filter(|flip| augment.flip || !flip) {
                for (down, right) in (-most..=most).flat_map(|d| (-most..=most).map(move |r| (d, r))) {
                    candidates.push(placed(from, to, flip, down, right));
                }
            }
            let mut seen = BTreeSet::new();
            for epoch in 0..400 {
                let batch = loader.epoch(epoch).next().unwrap().unwrap();
                let which = candidates.iter().position(|c| c[..] == *values(&batch.images));
                seen.insert(which.unwrap_or_else(|| panic!("{from:?} to {to:?}: no variation is {batch:?}")));
            }
            // Equal candidates, as of a single pixel moved out, are found as the first of them.
            let different: BTreeSet<_> =
                candidates.iter().map(|c| candidates.iter().position(|first| first == c).unwrap()).collect();
            assert_eq!(seen, different, "{from:?} to {to:?} {augment:?}");
        }
    }
}

/// All batches of an epoch.
fn epoch(loader: &Loader, epoch: u64) -> Vec<Batch> {
    loader.epoch(epoch).map(Result::unwrap).collect()
}

#[test]
fn threads_do_not_change_a_bit() {
    let data = numbered(37, [1, 5, 5]);
    let augment = Augment { shift: 2, flip: true };
    let loader = Loader::new(&data, 4, 11, &augment);
    let alone = epoch(&loader.clone().threads(0), 3);
    assert_eq!(alone.len(), 9);
    for threads in [1, 2, 3, 8, 50] {
        assert_eq!(epoch(&loader.clone().threads(threads), 3), alone, "{threads} threads");
        for skipped in [0, 1, 5, 9, 10] {
            let rest: Vec<Batch> =
                loader.clone().threads(threads).epoch(3).skip(skipped).map(Result::unwrap).collect();
            assert_eq!(rest, alone[skipped.min(9)..], "{threads} threads, {skipped} skipped");
        }
        let mut batches = loader.clone().threads(threads).epoch(3);
        assert_eq!(batches.next().unwrap().unwrap(), alone[0]);
        assert_eq!(batches.nth(3).unwrap().unwrap(), alone[4]);
        assert_eq!(batches.len(), 4);
        assert!(batches.nth(4).is_none() && batches.next().is_none());
    }
}

#[test]
fn batches_that_nobody_takes_end_their_threads() {
    let data = numbered(1000, [1, 9, 9]);
    let loader = Loader::new(&data, 2, 0, &Augment::default()).threads(4);
    for taken in [0, 1, 3, 17] {
        let mut batches = loader.epoch(0);
        for _ in 0..taken {
            batches.next().unwrap().unwrap();
        }
        drop(batches); // waits for the threads; a thread that waits for ever would hang the test
    }
}

#[test]
fn every_image_comes_once_in_an_epoch_in_an_order_of_its_own() {
    let data = numbered(60, [1, 2, 2]);
    let order = |seed, number| -> Vec<usize> {
        let loader = Loader::new(&data, 10, seed, &Augment::default());
        epoch(&loader, number).into_iter().flat_map(|batch| batch.labels).collect()
    };
    let first = order(1, 0);
    let sorted: BTreeSet<usize> = first.iter().copied().collect();
    assert_eq!((first.len(), sorted), (60, (0..60).collect()));
    assert_eq!(first, order(1, 0));
    for other in [order(1, 1), order(2, 0), (0..60).collect()] {
        // Of two random orders of 60 about one element is in the same place.
        let same = first.iter().zip(&other).filter(|(a, b)| a == b).count();
        assert!(same < 10, "{same} in the same place");
    }
    // Images, targets and labels belong together.
    for batch in epoch(&Loader::new(&data, 10, 1, &Augment::default()), 0) {
        for (i, &label) in batch.labels.iter().enumerate() {
            assert_eq!(values(&batch.images)[4 * i], (4 * label + 1) as f32);
            let target: Vec<f32> = (0..60).map(|class| if class == label { 1.0 } else { 0.0 }).collect();
            assert_eq!(values(&batch.targets)[60 * i..][..60], target);
        }
    }
}

#[test]
fn a_short_batch_is_left_out_in_training_and_kept_in_evaluation() {
    let data = numbered(23, [1, 1, 2]);
    let loader = Loader::new(&data, 5, 0, &Augment::default());
    assert_eq!((loader.batches_per_epoch(), loader.epoch(0).len()), (4, 4));
    assert!(epoch(&loader, 0).iter().all(|batch| batch.labels.len() == 5));
    let sizes: Vec<usize> = data.batches(5).map(|batch| batch.unwrap().labels.len()).collect();
    assert_eq!(sizes, [5, 5, 5, 5, 3]);
    let labels: Vec<usize> = data.batches(5).flat_map(|batch| batch.unwrap().labels).collect();
    assert_eq!(labels, (0..23).collect::<Vec<_>>());
    assert_eq!(Loader::new(&data, 24, 0, &Augment::default()).epoch(0).count(), 0);
    assert_eq!((data.batches(0).len(), numbered(0, [1, 1, 1]).batches(5).count()), (23, 0));
}

#[test]
fn a_split_is_of_all_images_and_repeats() {
    let data = numbered(50, [1, 1, 1]);
    let (rest, part) = data.split(0.2, 3).unwrap();
    let labels = |data: &Dataset| data.labels().collect::<BTreeSet<_>>();
    assert_eq!((rest.len(), part.len()), (40, 10));
    assert!(labels(&rest).is_disjoint(&labels(&part)));
    assert_eq!(labels(&rest).union(&labels(&part)).count(), 50);
    assert_eq!(labels(&part), labels(&data.split(0.2, 3).unwrap().1));
    assert_ne!(labels(&part), labels(&data.split(0.2, 4).unwrap().1));
    assert_ne!(labels(&part), (40..50).collect());
    // A part of a part keeps the images that belong to the labels.
    let (_, small) = part.split(0.5, 0).unwrap();
    let batch = all(&small);
    assert!(
        values(&batch.images).iter().zip(&batch.labels).all(|(&pixel, &label)| pixel == (label + 1) as f32)
    );
    assert_eq!((data.split(0.0, 0).unwrap().1.len(), data.split(1.0, 0).unwrap().0.len()), (0, 0));
    for part in [-0.1, 1.1, f64::NAN] {
        assert!(matches!(data.split(part, 0), Err(Error::Input { .. })), "{part}");
    }
}

#[test]
fn images_and_labels_that_do_not_go_together_are_refused() {
    let images = || Tensor::zeros([2, 1, 3, 3]).unwrap();
    assert!(Dataset::new(images(), vec![0, 1], 2).is_ok());
    assert!(matches!(Dataset::new(images(), vec![0], 2), Err(Error::Input { .. })));
    assert!(matches!(Dataset::new(images(), vec![0, 2], 2), Err(Error::Input { .. })));
    assert!(matches!(
        Dataset::new(Tensor::zeros([2, 3, 3]).unwrap(), vec![0, 1], 2),
        Err(Error::Input { .. })
    ));
    assert!(matches!(
        Dataset::new(Tensor::zeros([2, 1, 0, 3]).unwrap(), vec![0, 1], 2),
        Err(Error::Input { .. })
    ));
    let integers = Tensor::new([1, 1, 1, 1], vec![1i64]).unwrap();
    assert!(matches!(Dataset::new(integers, vec![0], 1), Err(Error::DType { .. })));
    let data = Dataset::new(images(), vec![0, 1], 2).unwrap();
    assert!(data.clone().with_class_names(vec!["cat".into()]).is_err());
    let named = data.with_class_names(vec!["cat".into(), "dog".into()]).unwrap();
    assert_eq!(named.class_names(), ["cat", "dog"]);
}
