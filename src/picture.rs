//! Pictures: files to network inputs, and values to pictures.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, Luma};

pub use image::GrayImage;

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::tensor::Tensor;

/// The most memory that decoding one picture may take, in bytes. A small file can ask for far more.
const DECODE_LIMIT: u64 = 512 << 20;

/// The most pixels along a side of a picture.
const SIDE_LIMIT: u32 = 1 << 16;

/// How pixels from 0 to 1 become a network's input: cropped, then `(pixel - mean) / std` for each channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocess {
    /// Subtracted from each channel.
    pub mean: Vec<f32>,
    /// What each channel is divided by.
    pub std: Vec<f32>,
    /// The part of the picture's shorter side that is kept, above 0 and at most 1.
    pub crop: f32,
}

impl Preprocess {
    /// For a network over grey pictures: pixels from 0 to 1, nothing cropped but what does not fit the network's shape.
    pub fn grey() -> Self {
        Preprocess { mean: vec![0.0], std: vec![1.0], crop: 1.0 }
    }

    /// For a network trained on ImageNet the way torchvision does: the middle 224 of 256 pixels, and the mean and
    /// deviation of its training pictures.
    pub fn imagenet() -> Self {
        Preprocess { mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225], crop: 224.0 / 256.0 }
    }

    /// [`Preprocess::grey`] for a network over one channel, [`Preprocess::imagenet`] for one over three.
    ///
    /// # Errors
    /// As [`image_shape`]; [`Error::Input`] also for another number of channels.
    pub fn for_network(graph: &Graph) -> Result<Self> {
        match image_shape(graph)? {
            [1, _, _] => Ok(Self::grey()),
            [3, _, _] => Ok(Self::imagenet()),
            [channels, _, _] => Err(Error::Input {
                name: "input".into(),
                expected: "1 or 3 channels".into(),
                actual: format!("a network over {channels} channels"),
            }),
        }
    }
}

/// The image that a network takes: `[channels, height, width]`.
///
/// # Errors
/// [`Error::Input`] where it does not have one input `[n, channels, height, width]`.
pub fn image_shape(graph: &Graph) -> Result<[usize; 3]> {
    let not_an_image = |name: &str, actual: String| Error::Input {
        name: name.into(),
        expected: "one image [n, channels, height, width]".into(),
        actual,
    };
    let &[input] = graph.inputs() else {
        return Err(not_an_image(graph.name(), format!("a network of {} inputs", graph.inputs().len())));
    };
    let value = graph.value(input);
    match value.info.shape[..] {
        [_, channels, height, width] => Ok([channels, height, width]),
        _ => Err(not_an_image(&value.name, format!("a network over {}", value.info.shape))),
    }
}

/// Reads a PNG or JPEG picture as the input `[1, channels, height, width]` of a network.
///
/// The picture is turned as its EXIF data says and its transparency ignored. For one channel it becomes grey (relative
/// luminance); for three it becomes RGB. Where the network's size is a whole multiple of the picture's, every pixel is
/// repeated; otherwise the middle of the picture, of the network's aspect ratio and as much of it as
/// [`Preprocess::crop`] keeps, is scaled with a triangle filter. Dark ink on light paper is not inverted.
///
/// # Errors
/// [`Error::Io`] where the file cannot be read; [`Error::Image`] where it is no PNG or JPEG, broken off, damaged, or
/// takes more memory than a picture should; [`Error::Input`] where `shape` and `preprocess` do not go together.
pub fn load(path: impl AsRef<Path>, shape: [usize; 3], preprocess: &Preprocess) -> Result<Tensor> {
    let path = path.as_ref();
    let [channels, height, width] = check(shape, preprocess)?;
    let picture = fit(decode(path)?, height, width, preprocess.crop);
    let pixels = match channels {
        1 => picture.to_luma32f().into_raw(),
        _ => picture.to_rgb32f().into_raw(),
    };
    let mut values = Vec::with_capacity(pixels.len());
    for (channel, (mean, std)) in preprocess.mean.iter().zip(&preprocess.std).enumerate() {
        values.extend(pixels.iter().skip(channel).step_by(shape[0]).map(|pixel| (pixel - mean) / std));
    }
    Tensor::new([1, shape[0], shape[1], shape[2]], values)
}

/// The shape as the sizes of a picture, or why it cannot be one.
fn check(shape: [usize; 3], preprocess: &Preprocess) -> Result<[u32; 3]> {
    let mismatch =
        |expected: String, actual: String| Error::Input { name: "picture".into(), expected, actual };
    if shape[0] != 1 && shape[0] != 3 {
        return Err(mismatch("1 or 3 channels".into(), format!("{} channels", shape[0])));
    }
    if preprocess.mean.len() != shape[0] || preprocess.std.len() != shape[0] {
        let (mean, std) = (preprocess.mean.len(), preprocess.std.len());
        return Err(mismatch(
            format!("a mean and a deviation for each of {} channels", shape[0]),
            format!("{mean} and {std}"),
        ));
    }
    if !(preprocess.crop > 0.0 && preprocess.crop <= 1.0) {
        return Err(mismatch("a crop above 0 and at most 1".into(), preprocess.crop.to_string()));
    }
    let mut sizes = [0; 3];
    for (size, &wanted) in sizes.iter_mut().zip(&shape) {
        *size = u32::try_from(wanted)
            .ok()
            .filter(|side| (1..=SIDE_LIMIT).contains(side))
            .ok_or_else(|| mismatch(format!("sides of 1 to {SIDE_LIMIT} pixels"), wanted.to_string()))?;
    }
    Ok(sizes)
}

/// The picture in a file, upright.
fn decode(path: &Path) -> Result<DynamicImage> {
    let bytes = std::fs::read(path).map_err(|source| Error::Io { path: path.into(), source })?;
    let bad = |reason: String| Error::Image { path: path.into(), reason };
    let format = image::guess_format(&bytes)
        .ok()
        .filter(|format| matches!(format, ImageFormat::Png | ImageFormat::Jpeg))
        .ok_or_else(|| bad("not a PNG or JPEG picture".into()))?;
    // The decoder fills the rest of a broken-off JPEG with grey and says nothing.
    if format == ImageFormat::Jpeg && !ends_after_scan(&bytes) {
        return Err(bad("the JPEG picture is broken off".into()));
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_LIMIT);
    limits.max_image_height = Some(SIDE_LIMIT);
    limits.max_alloc = Some(DECODE_LIMIT);
    let decode = || {
        let mut reader = ImageReader::with_format(Cursor::new(&bytes), format);
        reader.limits(limits.clone());
        let mut decoder = reader.into_decoder()?;
        limits.clone().reserve(decoder.total_bytes())?;
        let orientation = decoder.orientation()?;
        let mut picture = DynamicImage::from_decoder(decoder)?;
        picture.apply_orientation(orientation);
        Ok(picture)
    };
    decode().map_err(|e: image::ImageError| bad(e.to_string()))
}

/// Whether an end-of-image marker follows the last start-of-scan marker; neither occurs in a scan's data.
fn ends_after_scan(jpeg: &[u8]) -> bool {
    let last = |marker: [u8; 2]| jpeg.windows(2).rposition(|bytes| bytes == marker);
    last([0xff, 0xd9]) > last([0xff, 0xda])
}

/// The picture at `height` x `width`: its pixels repeated where that works out, otherwise its middle scaled.
fn fit(picture: DynamicImage, height: u32, width: u32, crop: f32) -> DynamicImage {
    let (w, h) = (picture.width(), picture.height());
    if width.is_multiple_of(w) && height.is_multiple_of(h) && width / w == height / h {
        return picture.resize_exact(width, height, FilterType::Nearest);
    }
    // Source pixels per target pixel, so that the target covers `crop` of the side that binds.
    let scale = (f64::from(w) / f64::from(width)).min(f64::from(h) / f64::from(height)) * f64::from(crop);
    let part = |target: u32, source: u32| ((f64::from(target) * scale).round() as u32).clamp(1, source);
    let (part_w, part_h) = (part(width, w), part(height, h));
    picture.crop_imm((w - part_w) / 2, (h - part_h) / 2, part_w, part_h).resize_exact(
        width,
        height,
        FilterType::Triangle,
    )
}

/// The pictures that paths stand for: a file for itself, a folder for the PNG and JPEG files in it (by their endings,
/// in the order of their names, without those in folders within).
///
/// # Errors
/// [`Error::Io`] for a path that cannot be read, [`Error::Image`] for a folder without a picture.
pub fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        let io = |source| Error::Io { path: path.clone(), source };
        if !std::fs::metadata(path).map_err(io)?.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).map_err(io)? {
            let file = entry.map_err(io)?.path();
            if has_picture_ending(&file) && file.is_file() {
                found.push(file);
            }
        }
        if found.is_empty() {
            return Err(Error::Image {
                path: path.clone(),
                reason: "no PNG or JPEG file in this folder".into(),
            });
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

fn has_picture_ending(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    ["png", "jpg", "jpeg"].iter().any(|known| ending.eq_ignore_ascii_case(known))
}

/// Values `[h, w]` as a grey picture, the smallest black and the largest white.
///
/// Where all are equal they become middle grey. NaN, and what `values` lacks of `h * w`, is black; infinities are black
/// or white and do not stretch the rest.
///
/// # Panics
/// Where `h * w` pixels do not fit in memory.
pub fn to_grey_image(values: &[f32], h: usize, w: usize) -> GrayImage {
    let finite = || values.iter().copied().filter(|v| v.is_finite());
    let low = finite().fold(f32::INFINITY, f32::min);
    let range = f64::from(finite().fold(f32::NEG_INFINITY, f32::max)) - f64::from(low);
    let level = |value: f32| match (f64::from(value) - f64::from(low)) / range {
        _ if value.is_finite() && range == 0.0 => 128,
        // Casting a float to an integer saturates, and takes NaN to 0.
        part => (part * 255.0).round() as u8,
    };
    let side = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    GrayImage::from_fn(side(w), side(h), |x, y| {
        let value = values.get(y as usize * w + x as usize).copied();
        Luma([value.map_or(0, level)])
    })
}

/// Pictures side by side, `columns` to a row, each pixel repeated `scale` times in both directions, with white lines
/// between them.
///
/// Every cell is as large as the largest picture; smaller ones stand in its top left corner.
///
/// # Panics
/// Where the pixels do not fit in memory.
pub fn grid(tiles: &[GrayImage], columns: usize, scale: usize) -> GrayImage {
    const LINE: usize = 2;
    let (columns, scale) = (columns.clamp(1, tiles.len().max(1)), scale.max(1));
    let rows = tiles.len().div_ceil(columns);
    let cell_w = tiles.iter().map(|t| t.width() as usize).max().unwrap_or(0) * scale + LINE;
    let cell_h = tiles.iter().map(|t| t.height() as usize).max().unwrap_or(0) * scale + LINE;
    let side =
        |cells: usize, cell: usize| u32::try_from((cells * cell).saturating_sub(LINE)).unwrap_or(u32::MAX);
    GrayImage::from_fn(side(columns, cell_w), side(rows, cell_h), |x, y| {
        let (x, y) = (x as usize, y as usize);
        let tile = tiles.get(y / cell_h * columns + x / cell_w);
        let (x, y) = ((x % cell_w / scale) as u32, (y % cell_h / scale) as u32);
        tile.and_then(|tile| tile.get_pixel_checked(x, y)).copied().unwrap_or(Luma([255]))
    })
}

/// Writes a picture, in the format that the path's ending says.
///
/// # Errors
/// [`Error::Image`].
pub fn save(path: impl AsRef<Path>, picture: &GrayImage) -> Result<()> {
    let path = path.as_ref();
    picture.save(path).map_err(|e| Error::Image { path: path.into(), reason: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};

    const DIGITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/digits");
    const PHOTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/images/china.jpg");

    fn written(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn png(picture: impl Into<DynamicImage>) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.into().write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    fn image_error(path: &Path) -> String {
        match load(path, [1, 32, 32], &Preprocess::grey()) {
            Err(Error::Image { path: named, reason }) if named == path => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_digit_is_repeated_to_the_networks_size() {
        let idx = std::fs::read(format!("{DIGITS}/test-images.idx3-ubyte")).unwrap();
        let digit = &idx[16 + 64 * 10..][..64];
        let path = format!("{DIGITS}/images/digit-0010-is-5.png");
        let input = load(path, [1, 32, 32], &Preprocess::grey()).unwrap();
        assert_eq!(input.shape()[..], [1, 1, 32, 32]);
        for (i, &value) in input.values::<f32>().unwrap().iter().enumerate() {
            let (y, x) = (i / 32, i % 32);
            assert_eq!(value, f32::from(digit[y / 4 * 8 + x / 4]) / 255.0, "at {y}, {x}");
        }
    }

    #[test]
    fn colours_are_normalised_by_channel() {
        let picture = RgbImage::from_fn(4, 2, |x, y| Rgb([10 * x as u8, 100 + y as u8, 255]));
        let (_folder, path) = written("p.png", &png(picture));
        let preprocess = Preprocess::imagenet();
        let input = load(path, [3, 2, 4], &preprocess).unwrap();
        let values = input.values::<f32>().unwrap();
        for (i, &value) in values.iter().enumerate() {
            let (c, y, x) = (i / 8, i / 4 % 2, i % 4);
            let pixel = [10.0 * x as f32, 100.0 + y as f32, 255.0][c] / 255.0;
            let want = (pixel - preprocess.mean[c]) / preprocess.std[c];
            assert!((value - want).abs() < 1e-6, "{value} for {want}");
        }
    }

    #[test]
    fn the_middle_of_another_picture_is_scaled() {
        // Grey 100 in the middle 224/256 of the height, white outside of it and of the middle square.
        let middle = |at: u32, side: u32, kept: u32| at.abs_diff(side / 2) < kept / 2 - 1;
        let picture = GrayImage::from_fn(640, 512, |x, y| {
            let inside = middle(x, 640, 456) && middle(y, 512, 456);
            Luma([if inside { 100 } else { 255 }])
        });
        let (_folder, path) = written("p.png", &png(picture));
        let preprocess = Preprocess { crop: 224.0 / 256.0, ..Preprocess::grey() };
        let input = load(path, [1, 224, 224], &preprocess).unwrap();
        assert!(input.values::<f32>().unwrap().iter().all(|&v| v == 100.0 / 255.0));

        let photo = load(PHOTO, [3, 224, 224], &Preprocess::imagenet()).unwrap();
        let values = photo.values::<f32>().unwrap();
        assert!(values.iter().all(|v| v.abs() < 3.0));
        let narrow = load(PHOTO, [3, 1, 300], &Preprocess::imagenet()).unwrap();
        assert_eq!(narrow.shape()[..], [1, 3, 1, 300]);
    }

    #[test]
    fn sixteen_bits_stay_sixteen() {
        let picture =
            image::ImageBuffer::<Luma<u16>, _>::from_fn(2, 2, |x, y| Luma([(1 + x + 2 * y) as u16]));
        let (_folder, path) = written("p.png", &png(picture));
        let input = load(path, [1, 2, 2], &Preprocess::grey()).unwrap();
        let want = [1.0, 2.0, 3.0, 4.0].map(|v: f32| v / 65535.0);
        assert_eq!(input.values::<f32>().unwrap(), want);
    }

    #[test]
    fn what_is_no_picture_is_an_error_that_names_the_file() {
        let whole = std::fs::read(format!("{DIGITS}/images/digit-0010-is-5.png")).unwrap();
        for cut in [9, 40, 60, whole.len() - 20] {
            let (_folder, path) = written("cut.png", &whole[..cut]);
            assert!(!image_error(&path).is_empty());
        }
        let photo = std::fs::read(PHOTO).unwrap();
        for cut in [20, 600, photo.len() / 2, photo.len() - 2] {
            let (_folder, path) = written("cut.jpg", &photo[..cut]);
            assert!(!image_error(&path).is_empty());
        }
        for bytes in [&b""[..], b"a text", b"GIF89a\x01\x00\x01\x00\x00\x00\x00"] {
            let (_folder, path) = written("text.png", bytes);
            assert_eq!(image_error(&path), "not a PNG or JPEG picture");
        }
    }

    #[test]
    fn a_picture_that_asks_for_too_much_memory_is_refused() {
        let mut bomb = png(GrayImage::new(8, 8));
        // Width and height of the header chunk, whose checksum is then made right again.
        for side in [50_000u32, 100_000] {
            bomb[16..20].copy_from_slice(&side.to_be_bytes());
            bomb[20..24].copy_from_slice(&side.to_be_bytes());
            let crc = crc32(&bomb[12..29]);
            bomb[29..33].copy_from_slice(&crc.to_be_bytes());
            let (_folder, path) = written("bomb.png", &bomb);
            let reason = image_error(&path);
            assert!(reason.to_lowercase().contains("limit") || reason.contains("memory"), "{reason}");
        }
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |c, _| (c >> 1) ^ (0xedb8_8320 * (c & 1)))
        })
    }

    #[test]
    fn an_unreadable_path_is_an_io_error_that_names_it() {
        for path in ["no-such.png", DIGITS] {
            match load(path, [1, 32, 32], &Preprocess::grey()) {
                Err(Error::Io { path: named, .. }) => assert_eq!(named, Path::new(path)),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(files(&["no-such-folder".into()]), Err(Error::Io { .. })));
    }

    #[test]
    fn shapes_that_do_not_suit_are_errors() {
        let path = format!("{DIGITS}/images/digit-0010-is-5.png");
        let grey = Preprocess::grey();
        for shape in [[2, 8, 8], [3, 8, 8], [1, 0, 8], [1, 8, usize::MAX], [0, 8, 8]] {
            assert!(matches!(load(&path, shape, &grey), Err(Error::Input { .. })), "{shape:?}");
        }
        for crop in [0.0, -1.0, 1.5, f32::NAN] {
            let preprocess = Preprocess { crop, ..Preprocess::grey() };
            assert!(matches!(load(&path, [1, 32, 32], &preprocess), Err(Error::Input { .. })));
        }
    }

    #[test]
    fn folders_become_their_pictures_in_order() {
        let folder = tempfile::tempdir().unwrap();
        assert!(
            matches!(files(&[folder.path().into()]), Err(Error::Image { path, .. }) if path == folder.path())
        );
        for name in ["b.PNG", "a.jpeg", "c.txt", "d.jpg"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("e.png")).unwrap();
        let alone = folder.path().join("c.txt");
        let found = files(&[folder.path().into(), alone.clone()]).unwrap();
        let want: Vec<_> =
            ["a.jpeg", "b.PNG", "d.jpg"].iter().map(|n| folder.path().join(n)).chain([alone]).collect();
        assert_eq!(found, want);
    }

    #[test]
    fn networks_say_how_they_see_pictures() {
        let network = |image| crate::Network::new("n", image).flatten().build().unwrap();
        assert_eq!(Preprocess::for_network(&network([1, 4, 4])).unwrap(), Preprocess::grey());
        assert_eq!(Preprocess::for_network(&network([3, 4, 4])).unwrap(), Preprocess::imagenet());
        assert!(Preprocess::for_network(&network([2, 4, 4])).is_err());
        assert_eq!(image_shape(&network([3, 4, 5])).unwrap(), [3, 4, 5]);
        assert!(image_shape(&Graph::new("empty")).is_err());
    }

    #[test]
    fn values_become_grey() {
        let pixels = |values: &[f32]| to_grey_image(values, 1, values.len()).into_raw();
        assert_eq!(pixels(&[-1.0, 0.0, 1.0]), [0, 128, 255]);
        assert_eq!(pixels(&[2.0, 2.0]), [128, 128]);
        assert_eq!(pixels(&[f32::NAN, 0.0, 1.0, f32::INFINITY, f32::NEG_INFINITY]), [0, 0, 255, 255, 0]);
        assert_eq!(pixels(&[f32::MAX, f32::MIN]), [255, 0]);
        assert_eq!(to_grey_image(&[0.0, 1.0], 2, 2).into_raw(), [0, 255, 0, 0]);
    }

    #[test]
    fn tiles_stand_in_a_grid() {
        let tile = |level| GrayImage::from_pixel(1, 1, Luma([level]));
        let grid_of =
            |count: u8, columns, scale| grid(&(0..count).map(tile).collect::<Vec<_>>(), columns, scale);
        let picture = grid_of(3, 2, 1);
        assert_eq!(picture.dimensions(), (4, 4));
        let rows: Vec<_> = picture.rows().map(|row| row.map(|p| p.0[0]).collect::<Vec<_>>()).collect();
        assert_eq!(rows, [[0, 255, 255, 1], [255; 4], [255; 4], [2, 255, 255, 255]]);
        assert_eq!(grid_of(2, 0, 3).dimensions(), (3, 8));
        assert_eq!(grid_of(0, 5, 1).dimensions(), (0, 0));
    }
}
