//! Loss and accuracy, epoch by epoch.

use std::path::Path;

use anyhow::Result;
use embedded_graphics::pixelcolor::Rgb888;

use super::axis::Axis;
use super::canvas::{BLACK, BLUE, Canvas, GREY, ORANGE, PALE, Side, Size};

/// What an epoch came to. Accuracies are from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epoch {
    pub number: u64,
    pub train_loss: f64,
    pub train_accuracy: f64,
    pub validation_loss: Option<f64>,
    pub validation_accuracy: Option<f64>,
}

const WIDTH: u32 = 1000;
const HEIGHT: u32 = 420;
/// The room above the panels, below them, left of each and right of each.
const TOP: f64 = 76.0;
const BOTTOM: f64 = 48.0;
const LEFT: f64 = 68.0;
const RIGHT: f64 = 24.0;

/// Draws losses and accuracies of the epochs in order as a PNG file. Numbers that are not finite are left out.
pub fn curves(path: &Path, title: &str, epochs: &[Epoch]) -> Result<()> {
    draw(title, epochs).save(path)
}

fn draw(title: &str, epochs: &[Epoch]) -> Canvas {
    let mut canvas = Canvas::smooth(WIDTH, HEIGHT);
    canvas.text(title, (f64::from(WIDTH) / 2.0, 20.0), Side::Middle, Size::Large, BLACK);
    let of = |value: &dyn Fn(&Epoch) -> Option<f64>| -> Vec<(f64, f64)> {
        epochs
            .iter()
            .filter_map(|e| Some((e.number as f64, value(e)?)))
            .filter(|(_, y)| y.is_finite())
            .collect()
    };
    let percent = |value: f64| 100.0 * value;
    let losses = [of(&|e| Some(e.train_loss)), of(&|e| e.validation_loss)];
    let accuracies = [of(&|e| Some(percent(e.train_accuracy))), of(&|e| e.validation_accuracy.map(percent))];

    let ends = |curves: &[Vec<(f64, f64)>; 2]| {
        let values = || curves.iter().flatten().map(|(_, y)| *y);
        (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max))
    };
    let (low, high) = ends(&losses);
    let loss =
        if low <= high { Axis::around(low.min(0.0), high, 5, 0.0) } else { Axis::around(0.0, 1.0, 5, 0.0) };
    let (low, high) = ends(&accuracies);
    let accuracy = match low <= high {
        true => Axis::around(low.min(99.0), high.max(100.0), 5, 0.1),
        false => Axis::around(0.0, 100.0, 5, 0.1),
    };
    let half = f64::from(WIDTH) / 2.0;
    panel(&mut canvas, 0.0, "loss", &loss, &losses);
    panel(&mut canvas, half, "accuracy in %", &accuracy, &accuracies);
    canvas
}

/// Training and validation in one system of axes, in the half of the picture that begins at `left`.
fn panel(canvas: &mut Canvas, left: f64, name: &str, y: &Axis, curves: &[Vec<(f64, f64)>; 2]) {
    let epochs = || curves.iter().flatten().map(|(epoch, _)| *epoch);
    let first = epochs().fold(f64::INFINITY, f64::min).min(1e15);
    let last = epochs().fold(first, f64::max);
    let x = Axis::between(if last < first { 0.0 } else { first }, last, 8, 1.0);
    let (from_x, to_x) = (left + LEFT, left + f64::from(WIDTH) / 2.0 - RIGHT);
    let (from_y, to_y) = (f64::from(HEIGHT) - BOTTOM, TOP);
    let place = |(epoch, value): (f64, f64)| {
        (from_x + x.part(epoch) * (to_x - from_x), from_y + y.part(value) * (to_y - from_y))
    };

    for mark in y.marks() {
        let (_, at) = place((x.low, mark));
        canvas.line((from_x, at), (to_x, at), PALE, 1.0);
        canvas.text(&y.label(mark), (from_x - 8.0, at), Side::Left, Size::Normal, BLACK);
    }
    for mark in x.marks() {
        let (at, _) = place((mark, y.low));
        canvas.line((at, from_y), (at, from_y + 5.0), GREY, 1.0);
        canvas.text(&x.label(mark), (at, from_y + 14.0), Side::Middle, Size::Normal, BLACK);
    }
    canvas.line((from_x, from_y), (to_x, from_y), GREY, 1.0);
    canvas.line((from_x, from_y), (from_x, to_y), GREY, 1.0);
    canvas.text("epoch", ((from_x + to_x) / 2.0, from_y + 34.0), Side::Middle, Size::Normal, BLACK);
    canvas.text(name, (from_x, to_y - 20.0), Side::Right, Size::Normal, BLACK);

    // Training last, for validation is the smoother of the two.
    let mut legend = to_x;
    for (label, colour, curve) in [("validation", ORANGE, &curves[1]), ("training", BLUE, &curves[0])] {
        if curve.is_empty() {
            continue;
        }
        draw_curve(canvas, &curve.iter().copied().map(place).collect::<Vec<_>>(), colour);
        canvas.text(label, (legend, to_y - 20.0), Side::Left, Size::Normal, BLACK);
        legend -= Size::Normal.width(label) + 8.0;
        canvas.line((legend - 24.0, to_y - 20.0), (legend, to_y - 20.0), colour, 2.0);
        legend -= 44.0;
    }
}

/// A line, and dots where they are few.
fn draw_curve(canvas: &mut Canvas, points: &[(f64, f64)], colour: Rgb888) {
    canvas.curve(points, colour, 2.0);
    if points.len() <= 30 {
        points.iter().for_each(|&point| canvas.dot(point, colour, 6.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};

    fn epoch(number: u64, loss: f64, accuracy: f64) -> Epoch {
        Epoch {
            number,
            train_loss: loss,
            train_accuracy: accuracy,
            validation_loss: Some(loss + 0.5),
            validation_accuracy: Some(accuracy - 0.3),
        }
    }

    /// How many pixels are nearly of this colour in the panel from column `from` on, and the mean of their rows.
    fn found(picture: &RgbImage, colour: Rgb888, from: u32) -> (usize, f64) {
        use embedded_graphics::pixelcolor::RgbColor;
        let wanted = [colour.r(), colour.g(), colour.b()];
        let is_near = |Rgb(pixel): &Rgb<u8>| pixel.iter().zip(wanted).all(|(&a, b)| a.abs_diff(b) < 50);
        let panel = from..from + WIDTH / 2;
        // Below the legends.
        let rows = picture
            .enumerate_pixels()
            .filter(|(x, y, pixel)| is_near(pixel) && panel.contains(x) && f64::from(*y) > TOP - 10.0);
        let rows: Vec<u32> = rows.map(|(_, y, _)| y).collect();
        (rows.len(), rows.iter().map(|&y| f64::from(y)).sum::<f64>() / rows.len().max(1) as f64)
    }

    #[test]
    fn curves_are_where_their_values_are() {
        // Level curves: the loss axis goes from 0 to 2, that of accuracy from 20 to 100 %.
        let picture = draw("level", &[epoch(1, 1.5, 0.5), epoch(2, 1.5, 0.5)]).finish();
        assert_eq!(picture.dimensions(), (WIDTH, HEIGHT));
        let row = |part: f64| f64::from(HEIGHT) - BOTTOM - part * (f64::from(HEIGHT) - BOTTOM - TOP);
        for (colour, from, part) in
            [(BLUE, 0, 0.75), (ORANGE, 0, 1.0), (BLUE, WIDTH / 2, 0.375), (ORANGE, WIDTH / 2, 0.0)]
        {
            let (count, middle) = found(&picture, colour, from);
            assert!(count > 300, "{count} pixels of {colour:?}");
            // Pixels are whole.
            assert!((middle - row(part)).abs() <= 1.0, "{colour:?} at {middle}, not {}", row(part));
        }
    }

    #[test]
    fn what_is_missing_or_not_finite_is_left_out() {
        let mut epochs: Vec<_> = (1..=500).map(|i| epoch(i, 5.0 / i as f64, 0.9)).collect();
        for epoch in &mut epochs {
            (epoch.validation_loss, epoch.validation_accuracy) = (None, Some(f64::NAN));
        }
        epochs[7].train_loss = f64::INFINITY;
        let picture = draw("partly", &epochs).finish();
        for from in [0, WIDTH / 2] {
            assert!(found(&picture, BLUE, from).0 > 300);
            assert_eq!(found(&picture, ORANGE, from).0, 0);
        }
        for epochs in
            [vec![], vec![epoch(3, f64::NAN, f64::NAN)], vec![epoch(1, 0.0, 1.0)], vec![epoch(9, 1e300, 0.0)]]
        {
            assert_eq!(draw("", &epochs).finish().dimensions(), (WIDTH, HEIGHT));
        }
    }

    #[test]
    fn the_file_is_a_png_of_the_picture() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curves");
        let epochs = [epoch(1, 2.0, 0.4), epoch(2, 1.0, 0.8)];
        curves(&path, "lenet5", &epochs).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let read = image::load_from_memory_with_format(&bytes, image::ImageFormat::Png).unwrap();
        assert_eq!(read.to_rgb8(), draw("lenet5", &epochs).finish());
        let nowhere = folder.path().join("no/such/folder.png");
        let error = curves(&nowhere, "lenet5", &epochs).unwrap_err();
        assert!(format!("{error:#}").contains("folder.png"), "{error:#}");
    }
}
