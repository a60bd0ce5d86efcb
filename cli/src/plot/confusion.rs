//! Which classes a network takes for which.

use std::path::Path;

use anyhow::{Result, ensure};
use embedded_graphics::pixelcolor::{Rgb888, RgbColor};

use super::canvas::{BLACK, BLUE, Canvas, GREY, ORANGE, Side, Size, WHITE};

/// From so many classes on, cells are too small for their counts.
const MOST_WITH_TEXT: usize = 60;
/// The most characters of a class's name.
const MOST_CHARACTERS: usize = 16;

/// Draws a confusion matrix as a PNG file: `counts[true class][predicted class]`.
pub fn confusion(path: &Path, title: &str, counts: &[Vec<u64>], class_names: &[String]) -> Result<()> {
    let classes = class_names.len();
    ensure!(
        counts.len() == classes && counts.iter().all(|row| row.len() == classes) && classes > 0,
        "a confusion matrix of {} rows for {classes} classes",
        counts.len()
    );
    draw(title, counts, class_names).save(path)
}

fn draw(title: &str, counts: &[Vec<u64>], class_names: &[String]) -> Canvas {
    let classes = class_names.len();
    let with_text = classes <= MOST_WITH_TEXT;
    let size = if classes <= 20 { Size::Normal } else { Size::Small };
    let names: Vec<String> = class_names.iter().map(|name| shortened(name)).collect();
    let widest =
        |texts: &mut dyn Iterator<Item = String>| texts.map(|text| size.width(&text)).fold(0.0, f64::max);
    let count_width = widest(&mut counts.iter().flatten().map(u64::to_string));
    let name_width = widest(&mut names.iter().cloned());
    let cell =
        if with_text { (count_width + 12.0).max(28.0) } else { (1200.0 / classes as f64).clamp(1.0, 12.0) };
    let is_upright = name_width > cell - 4.0;
    let (left, above) = match (with_text, is_upright) {
        (true, true) => (name_width, name_width),
        (true, false) => (name_width, 14.0),
        (false, _) => (0.0, 0.0),
    };
    let right: u64 = (0..classes).map(|class| counts[class][class]).sum();
    let all: u64 = counts.iter().flatten().sum();
    let summary = format!("{right} of {all} right ({:.2} %)", 100.0 * right as f64 / all.max(1) as f64);

    // Around the cells: the axis' name, the classes' names; above also title and summary.
    let (from_x, from_y) = ((left + 48.0).max(64.0), above + 108.0);
    let side = cell * classes as f64;
    let text_width = Size::Large.width(title).max(Size::Normal.width(&summary));
    let width = (from_x + side + 32.0).max(text_width + 48.0);
    let mut canvas = Canvas::new(width.ceil() as u32, (from_y + side + 32.0).ceil() as u32);
    canvas.text(title, (width / 2.0, 22.0), Side::Middle, Size::Large, BLACK);
    canvas.text(&summary, (width / 2.0, 46.0), Side::Middle, Size::Normal, GREY);
    let middle = |from: f64| from + side / 2.0;
    canvas.text("predicted class", (middle(from_x), 78.0), Side::Middle, Size::Normal, BLACK);
    let half = Size::Normal.width("true class") / 2.0;
    canvas.text("true class", (20.0, middle(from_y) + half), Side::Above, Size::Normal, BLACK);

    for (row, counts) in counts.iter().enumerate() {
        let total = counts.iter().sum::<u64>().max(1);
        let y = from_y + cell * row as f64;
        for (column, &count) in counts.iter().enumerate() {
            let x = from_x + cell * column as f64;
            let part = count as f64 / total as f64;
            let colour = shade(if row == column { BLUE } else { ORANGE }, count, part);
            canvas.rectangle((x, y), (x + cell, y + cell), colour);
            if with_text && count > 0 {
                let ink = if part > 0.5 { WHITE } else { BLACK };
                canvas.text(&count.to_string(), (x + cell / 2.0, y + cell / 2.0), Side::Middle, size, ink);
            }
        }
        if with_text {
            canvas.text(&names[row], (from_x - 8.0, y + cell / 2.0), Side::Left, size, BLACK);
            let at = (from_x + cell * (row as f64 + 0.5), from_y - 8.0);
            match is_upright {
                true => canvas.text(&names[row], at, Side::Above, size, BLACK),
                false => canvas.text(&names[row], (at.0, at.1 - 4.0), Side::Middle, size, BLACK),
            }
        }
    }
    let grid = if with_text { classes } else { 1 };
    for i in 0..=grid {
        let at = side * i as f64 / grid as f64;
        let pale = Rgb888::new(0xcc, 0xcc, 0xcc);
        canvas.line((from_x + at, from_y), (from_x + at, from_y + side), pale, 1.0);
        canvas.line((from_x, from_y + at), (from_x + side, from_y + at), pale, 1.0);
    }
    canvas
}

/// White for none, the colour for all; even one of many is seen.
fn shade(colour: Rgb888, count: u64, part: f64) -> Rgb888 {
    let part = if count == 0 { 0.0 } else { 0.12 + 0.88 * part };
    let mix = |channel: u8| (255.0 + (f64::from(channel) - 255.0) * part).round() as u8;
    Rgb888::new(mix(colour.r()), mix(colour.g()), mix(colour.b()))
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= MOST_CHARACTERS {
        return name.into();
    }
    name.chars().take(MOST_CHARACTERS - 2).chain("..".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn cells_are_shaded_by_their_part_of_the_row() {
        let counts = [vec![30, 10], vec![0, 5]];
        let picture = draw("two", &counts, &names(&["a", "b"])).finish();
        // Cells of 28 pixels from (64, 122) on; a corner of each, beside its count.
        let at = |row: u32, column: u32| *picture.get_pixel(64 + 28 * column + 3, 122 + 28 * row + 3);
        let expected = |colour, count, part| {
            let shade = shade(colour, count, part);
            Rgb([shade.r(), shade.g(), shade.b()])
        };
        assert_eq!(at(0, 0), expected(BLUE, 30, 0.75));
        assert_eq!(at(0, 1), expected(ORANGE, 10, 0.25));
        assert_eq!(at(1, 0), Rgb([255; 3]));
        assert_eq!(at(1, 1), Rgb([BLUE.r(), BLUE.g(), BLUE.b()]));
        // Counts are written where there are any: dark on pale, white on dark.
        let ink = |row: u32, column: u32, colour: Rgb888| {
            let wanted = Rgb([colour.r(), colour.g(), colour.b()]);
            let cell = (0..26).flat_map(|y| (0..26).map(move |x| (x, y)));
            let inside = |&(x, y): &(u32, u32)| {
                *picture.get_pixel(64 + 28 * column + 1 + x, 122 + 28 * row + 1 + y) == wanted
            };
            cell.filter(inside).count()
        };
        assert!(ink(0, 0, WHITE) > 10 && ink(0, 1, BLACK) > 10 && ink(1, 1, WHITE) > 5);
        assert_eq!(ink(1, 0, BLACK), 0);
    }

    #[test]
    fn any_number_of_classes_and_any_names() {
        for classes in [1, 2, 10, 21, 60, 61, 300, 1500] {
            let counts = vec![vec![1; classes]; classes];
            let numbers: Vec<_> = (0..classes).map(|class| class.to_string()).collect();
            let picture = draw("many", &counts, &numbers).finish();
            assert!(picture.width() as usize > classes && picture.width() < 3000, "{classes}");
        }
        let odd = names(&["", "größer", "猫", "a name that is longer than most names are"]);
        let picture = draw("odd", &vec![vec![u64::MAX / 100; 4]; 4], &odd).finish();
        assert!(picture.width() > 400);
        assert_eq!(shortened(&odd[3]), "a name that is..");
        draw("none", &vec![vec![0; 3]; 3], &names(&["x", "y", "z"])).finish();
    }

    #[test]
    fn a_matrix_that_does_not_suit_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("confusion.png");
        let two = names(&["a", "b"]);
        for counts in [vec![], vec![vec![1, 2]], vec![vec![1, 2], vec![3]]] {
            assert!(confusion(&path, "title", &counts, &two).is_err() && !path.exists());
        }
        assert!(confusion(&path, "title", &[], &[]).is_err());
        confusion(&path, "title", &[vec![1, 2], vec![3, 4]], &two).unwrap();
        assert!(image::open(&path).is_ok());
    }
}
