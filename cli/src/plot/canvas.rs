//! A picture being drawn: smooth shapes with texts on top.

use std::convert::Infallible;
use std::path::Path;

use anyhow::{Context, Result};
use embedded_graphics::mono_font::iso_8859_1::{FONT_6X10, FONT_8X13, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{Circle, Line, PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Alignment, Baseline, Text, TextStyleBuilder};
use image::imageops;
use image::{Rgb, RgbImage};

pub const BLACK: Rgb888 = Rgb888::new(0x22, 0x22, 0x22);
pub const GREY: Rgb888 = Rgb888::new(0x77, 0x77, 0x77);
pub const PALE: Rgb888 = Rgb888::new(0xe4, 0xe4, 0xe4);
pub const WHITE: Rgb888 = Rgb888::WHITE;
// Told apart by those who do not see red or green (Okabe and Ito 2008).
pub const BLUE: Rgb888 = Rgb888::new(0x00, 0x72, 0xb2);
pub const ORANGE: Rgb888 = Rgb888::new(0xd5, 0x5e, 0x00);

/// Sizes of text, by the font's pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Small,
    Normal,
    Large,
}

impl Size {
    fn font(self) -> &'static MonoFont<'static> {
        match self {
            Size::Small => &FONT_6X10,
            Size::Normal => &FONT_8X13,
            Size::Large => &FONT_10X20,
        }
    }

    /// The width of a text in pixels.
    pub fn width(self, text: &str) -> f64 {
        f64::from(self.font().character_size.width) * text.chars().count() as f64
    }
}

/// Where a text stands, beside the point that it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Ends at it.
    Left,
    /// Has it in its middle.
    Middle,
    /// Begins at it.
    Right,
    /// Begins at it, written upwards.
    Above,
}

struct Label {
    text: String,
    at: (f64, f64),
    side: Side,
    size: Size,
    colour: Rgb888,
}

/// A white picture; coordinates are pixels from its upper left corner. What lies outside is not drawn.
pub struct Canvas {
    shapes: Layer,
    /// How many times as large shapes are drawn before they are reduced to size.
    fine: u32,
    labels: Vec<Label>,
}

impl Canvas {
    /// For shapes along the pixels.
    pub fn new(width: u32, height: u32) -> Self {
        Self::finer(width, height, 1)
    }

    /// For shapes whose edges are to be smooth.
    pub fn smooth(width: u32, height: u32) -> Self {
        Self::finer(width, height, 4)
    }

    fn finer(width: u32, height: u32, fine: u32) -> Self {
        let shapes = Layer(RgbImage::from_pixel(fine * width, fine * height, Rgb([255; 3])));
        Canvas { shapes, fine, labels: Vec::new() }
    }

    fn scaled(&self, length: f64) -> i32 {
        (length * f64::from(self.fine)).round() as i32
    }

    fn point(&self, (x, y): (f64, f64)) -> Point {
        Point::new(self.scaled(x), self.scaled(y))
    }

    /// A line of this width in pixels.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: Rgb888, width: f64) {
        let style = PrimitiveStyle::with_stroke(colour, self.scaled(width).unsigned_abs());
        draw(Line::new(self.point(from), self.point(to)).into_styled(style), &mut self.shapes);
    }

    /// A line through these points, with round corners.
    pub fn curve(&mut self, points: &[(f64, f64)], colour: Rgb888, width: f64) {
        for pair in points.windows(2) {
            self.line(pair[0], pair[1], colour, width);
        }
        for &point in points {
            self.dot(point, colour, width);
        }
    }

    /// A disc of this diameter.
    pub fn dot(&mut self, at: (f64, f64), colour: Rgb888, diameter: f64) {
        let circle = Circle::with_center(self.point(at), self.scaled(diameter).unsigned_abs());
        draw(circle.into_styled(PrimitiveStyle::with_fill(colour)), &mut self.shapes);
    }

    /// A filled rectangle between two corners.
    pub fn rectangle(&mut self, from: (f64, f64), to: (f64, f64), colour: Rgb888) {
        let (from, to) = (self.point(from), self.point(to));
        let size = embedded_graphics::geometry::Size::new(
            (to.x - from.x).unsigned_abs(),
            (to.y - from.y).unsigned_abs(),
        );
        let style = PrimitiveStyle::with_fill(colour);
        draw(Rectangle::new(from, size).into_styled(style), &mut self.shapes);
    }

    /// A text beside a point. What the font lacks (it has Latin-1) becomes a question mark.
    pub fn text(&mut self, text: &str, at: (f64, f64), side: Side, size: Size, colour: Rgb888) {
        self.labels.push(Label { text: text.into(), at, side, size, colour });
    }

    /// Writes the picture as a PNG file.
    pub fn save(self, path: &Path) -> Result<()> {
        self.finish()
            .save_with_format(path, image::ImageFormat::Png)
            .with_context(|| path.display().to_string())
    }

    pub fn finish(self) -> RgbImage {
        let mut picture = match self.fine {
            1 => self.shapes,
            fine => {
                let (width, height) = (self.shapes.0.width() / fine, self.shapes.0.height() / fine);
                // The mean of each pixel's square.
                Layer(imageops::thumbnail(&self.shapes.0, width, height))
            }
        };
        for label in &self.labels {
            match label.side {
                Side::Left => write(label, Alignment::Right, &mut picture),
                Side::Middle => write(label, Alignment::Center, &mut picture),
                Side::Right => write(label, Alignment::Left, &mut picture),
                Side::Above => write_upwards(label, &mut picture),
            }
        }
        picture.0
    }
}

fn write(label: &Label, alignment: Alignment, layer: &mut Layer) {
    let style = TextStyleBuilder::new().alignment(alignment).baseline(Baseline::Middle).build();
    let font = MonoTextStyle::new(label.size.font(), label.colour);
    let at = Point::new(label.at.0.round() as i32, label.at.1.round() as i32);
    draw(Text::with_text_style(&label.text, at, font, style), layer);
}

/// Turned by a quarter to the left.
fn write_upwards(label: &Label, layer: &mut Layer) {
    let height = label.size.font().character_size.height;
    let width = label.size.width(&label.text) as u32;
    if width == 0 {
        return;
    }
    // Nothing is drawn where labels are upright, so their ground is white.
    let mut upright = Layer(RgbImage::from_pixel(width, height, Rgb([255; 3])));
    let flat = Label { at: (0.0, f64::from(height) / 2.0), text: label.text.clone(), ..*label };
    write(&flat, Alignment::Left, &mut upright);
    let turned = imageops::rotate270(&upright.0);
    let (left, top) = (label.at.0 - f64::from(height) / 2.0, label.at.1 - f64::from(width));
    imageops::overlay(&mut layer.0, &turned, left.round() as i64, top.round() as i64);
}

fn draw(what: impl Drawable<Color = Rgb888>, layer: &mut Layer) {
    let Ok(_) = what.draw(layer);
}

/// A picture that `embedded-graphics` draws on.
struct Layer(RgbImage);

impl OriginDimensions for Layer {
    fn size(&self) -> embedded_graphics::geometry::Size {
        embedded_graphics::geometry::Size::new(self.0.width(), self.0.height())
    }
}

impl DrawTarget for Layer {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(at, colour) in pixels {
            let (Ok(x), Ok(y)) = (u32::try_from(at.x), u32::try_from(at.y)) else { continue };
            if let Some(pixel) = self.0.get_pixel_mut_checked(x, y) {
                *pixel = Rgb([colour.r(), colour.g(), colour.b()]);
            }
        }
        Ok(())
    }
}
