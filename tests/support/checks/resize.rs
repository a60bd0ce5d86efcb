//! Values from the ONNX operator documentation of Resize.

use super::{count_up, published};
use crate::support::compare::within;
use crate::support::oracle::resize::{Coordinate, Mode, Nearest, Resize};
use crate::support::random::values;

/// Resizes an image of one channel by factors.
fn by(r: &Resize, x: &[f32], size: [usize; 2], scale: [f64; 2]) -> crate::support::oracle::Answer {
    let scales = [1.0, 1.0, scale[0], scale[1]];
    let shape = [1, 1, size[0], size[1]];
    r.apply(x, &shape, &Resize::sizes(&shape, &scales), &scales)
}

fn with(mode: Mode, coordinate: Coordinate) -> Resize {
    Resize { mode, coordinate, ..Resize::default() }
}

#[test]
fn published_linear() {
    let x = count_up(1, 4);
    let half = by(&with(Mode::Linear, Coordinate::HalfPixel), &x, [2, 2], [2.0, 2.0]);
    let rows = [1.0, 1.25, 1.75, 2.0, 1.5, 1.75, 2.25, 2.5, 2.5, 2.75, 3.25, 3.5, 3.0, 3.25, 3.75, 4.0];
    published(&half, &[1, 1, 4, 4], &rows);
    let corners = by(&with(Mode::Linear, Coordinate::AlignCorners), &x, [2, 2], [2.0, 2.0]);
    let thirds: Vec<f64> =
        (0..16).map(|i| 1.0 + f64::from(i / 4) * 2.0 / 3.0 + f64::from(i % 4) / 3.0).collect();
    published(&corners, &[1, 1, 4, 4], &thirds);
    let down = by(&with(Mode::Linear, Coordinate::HalfPixel), &count_up(1, 8), [2, 4], [0.6, 0.6]);
    published(&down, &[1, 1, 1, 2], &[2.6666665, 4.3333331]);
    let symmetric = by(&with(Mode::Linear, Coordinate::HalfPixelSymmetric), &x, [1, 4], [1.0, 0.6]);
    published(&symmetric, &[1, 1, 1, 2], &[1.6666667, 3.3333333]);
}

#[test]
fn published_crop_and_resize() {
    let run = |end: (f32, f32), fill| {
        let roi = vec![(0.0, 1.0), (0.0, 1.0), (0.4, end.0), (0.6, end.1)];
        let r = Resize { roi, extrapolation_value: fill, ..with(Mode::Linear, Coordinate::TfCropAndResize) };
        r.apply(&count_up(1, 16), &[1, 1, 4, 4], &[1, 1, 3, 3], &[1.0, 1.0, 0.75, 0.75])
    };
    published(&run((0.6, 0.8), 0.0), &[1, 1, 3, 3], &[7.6, 7.9, 8.2, 8.8, 9.1, 9.4, 10.0, 10.3, 10.6]);
    published(&run((1.2, 1.7), 10.0), &[1, 1, 3, 3], &[7.6, 10.0, 10.0, 12.4, 10.0, 10.0, 10.0, 10.0, 10.0]);
}

#[test]
fn published_cubic() {
    let x = count_up(1, 16);
    let row = |r: &Resize| {
        let mut answer = by(r, &x, [4, 4], [2.0, 2.0]);
        answer.shape = vec![8];
        answer.value.truncate(8);
        answer
    };
    let half = with(Mode::Cubic, Coordinate::HalfPixel);
    let expected = [0.47265625, 0.76953125, 1.24609375, 1.875, 2.28125, 2.91015625, 3.38671875, 3.68359375];
    published(&row(&half), &[8], &expected);
    let outside = Resize { exclude_outside: true, cubic_coeff_a: -0.5, ..half };
    let expected =
        [0.55882353, 0.81494204, 1.35698249, 1.89705882, 2.39705882, 2.93713516, 3.47917561, 3.73529412];
    published(&row(&outside), &[8], &expected);
    let corners = with(Mode::Cubic, Coordinate::AlignCorners);
    let expected = [1.0, 1.34110787, 1.80029155, 2.32944606, 2.67055394, 3.19970845, 3.65889213, 4.0];
    published(&row(&corners), &[8], &expected);
}

#[test]
fn published_nearest() {
    let up = by(&Resize::default(), &count_up(1, 4), [2, 2], [2.0, 3.0]);
    let (low, high) = ([1.0, 1.0, 1.0, 2.0, 2.0, 2.0], [3.0, 3.0, 3.0, 4.0, 4.0, 4.0]);
    published(&up, &[1, 1, 4, 6], &[low, low, high, high].concat());
    published(&by(&Resize::default(), &count_up(1, 8), [2, 4], [0.6, 0.6]), &[1, 1, 1, 2], &[1.0, 3.0]);
    let row = |coordinate, nearest| {
        let r = Resize { nearest, ..with(Mode::Nearest, coordinate) };
        by(&r, &count_up(1, 4), [1, 4], [1.0, 2.0]).value
    };
    let high = [1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 4.0];
    assert_eq!(row(Coordinate::HalfPixel, Nearest::Ceil), high);
    assert_eq!(row(Coordinate::Asymmetric, Nearest::RoundPreferCeil), high);
    assert_eq!(row(Coordinate::AlignCorners, Nearest::Floor), [1.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0]);
    assert_eq!(
        row(Coordinate::Asymmetric, Nearest::RoundPreferFloor),
        [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0]
    );
}

#[test]
fn coordinates_by_hand() {
    // One output from four inputs: the first for pytorch_half_pixel, the middle for half_pixel.
    let x = count_up(1, 4);
    let one = |coordinate| by(&with(Mode::Linear, coordinate), &x, [1, 4], [1.0, 0.25]).value;
    assert_eq!(one(Coordinate::PytorchHalfPixel), [1.0]);
    assert_eq!(one(Coordinate::HalfPixel), [2.5]);
    assert_eq!(one(Coordinate::AlignCorners), [1.0]);
    let tf = Resize { nearest: Nearest::Floor, ..with(Mode::Nearest, Coordinate::TfHalfPixelForNn) };
    assert_eq!(by(&tf, &x, [1, 4], [1.0, 0.5]).value, [2.0, 4.0]);
}

#[test]
fn the_identity_is_exact_and_other_scales_have_narrow_bounds() {
    let x = values(51, 13 * 17);
    for mode in [Mode::Nearest, Mode::Linear, Mode::Cubic] {
        let same = by(&with(mode, Coordinate::HalfPixel), &x, [13, 17], [1.0, 1.0]);
        within("identity", &x, &same, 1.0).unwrap();
        let other = by(&with(mode, Coordinate::HalfPixel), &x, [13, 17], [1.7, 0.6]);
        within("rounded", &other.to_f32(), &other, 1.0).unwrap();
        let wrong: Vec<f32> = other.value.iter().map(|v| v.mul_add(1.001, 1e-3) as f32).collect();
        assert!(within("wrong", &wrong, &other, 1.0).is_err(), "{mode:?}");
    }
}

#[test]
fn a_linear_f32_evaluation_lies_within_the_bounds() {
    let x = values(52, 33);
    let scale = 65.0_f32 / 33.0;
    let actual: Vec<f32> = (0..65)
        .map(|i| {
            let at = (i as f32 + 0.5) / scale - 0.5;
            let (low, r) = (at.floor(), at - at.floor());
            let read = |i: f32| x[i.clamp(0.0, 32.0) as usize];
            read(low) * (1.0 - r) + read(low + 1.0) * r
        })
        .collect();
    let r = with(Mode::Linear, Coordinate::HalfPixel);
    within("linear", &actual, &r.apply(&x, &[33], &[65], &[65.0 / 33.0]), 1.0).unwrap();
    // Taking every coordinate a thousandth of an element too high must be seen.
    let moved = r.apply(&x, &[33], &[65], &[65.0 / 33.0 * 0.999]);
    assert!(within("moved", &moved.to_f32(), &r.apply(&x, &[33], &[65], &[65.0 / 33.0]), 1.0).is_err());
}
