//! Values from the ONNX operator documentation, and overhanging windows by hand.

use super::{count_up, published};
use crate::support::oracle::convolution::Window;
use crate::support::oracle::pooling::{average_pool, global, lp_pool, max_pool};

const PADDED: [(usize, usize); 2] = [(2, 2), (2, 2)];

#[test]
fn published_maxima() {
    let x = count_up(1, 25);
    let (y, z) = max_pool(&x, &[1, 1, 5, 5], &Window::new(&[5, 5]).pads(&PADDED), 0);
    let last = [23.0, 24.0, 25.0, 25.0, 25.0];
    let rows = [[13.0, 14.0, 15.0, 15.0, 15.0], [18.0, 19.0, 20.0, 20.0, 20.0], last, last, last];
    assert_eq!((y.shape.as_slice(), y.value.as_slice()), (&[1, 1, 5, 5][..], rows.as_flattened()));
    assert!(z.value.iter().zip(&y.value).all(|(&z, &y)| z as f32 == y - 1.0));

    let window = Window::new(&[2, 2]).stride(&[2, 2]);
    let (y, z) = max_pool(&x, &[1, 1, 5, 5], &window, 1);
    assert_eq!((y.value, z.value), (vec![7.0, 9.0, 17.0, 19.0], vec![6, 16, 8, 18]));

    let x = count_up(1, 16);
    let ceil = Window::new(&[3, 3]).stride(&[2, 2]).ceil(true);
    assert_eq!(max_pool(&x, &[1, 1, 4, 4], &ceil, 0).0.value, [11.0, 12.0, 15.0, 16.0]);
    let dilated = Window::new(&[2, 2]).dilation(&[2, 2]);
    assert_eq!(max_pool(&x, &[1, 1, 4, 4], &dilated, 0).0.value, [11.0, 12.0, 15.0, 16.0]);
}

#[test]
fn indices_count_the_planes_before() {
    let x = count_up(0, 24);
    let window = Window::new(&[2, 3]);
    assert_eq!(max_pool(&x, &[2, 2, 2, 3], &window, 0).1.value, [5, 11, 17, 23]);
    let mut x = vec![0.0; 24];
    x[6 + 1] = 1.0; // row 0, column 1 of the second plane
    assert_eq!(max_pool(&x, &[2, 2, 2, 3], &window, 1).1.value, [0, 6 + 2, 12, 18]);
}

#[test]
fn ties_and_special_maxima() {
    let run = |x: &[f32]| {
        let (y, z) = max_pool(x, &[1, 1, 3], &Window::new(&[3]), 0);
        (y.value[0], z.value[0])
    };
    assert_eq!(run(&[2.0, 2.0, 1.0]), (2.0, 0));
    assert_eq!(run(&[f32::NEG_INFINITY; 3]), (f32::NEG_INFINITY, 0));
    let (y, z) = run(&[1.0, f32::NAN, 3.0]);
    assert!(y.is_nan() && z == 1);
    // Padding is never a maximum.
    let (y, _) = max_pool(&[-3.0, -2.0], &[1, 1, 2], &Window::new(&[2]).pads(&[(1, 1)]), 0);
    assert_eq!(y.value, [-3.0, -2.0, -2.0]);
}

#[test]
fn published_means() {
    let x = count_up(1, 25);
    let window = Window::new(&[5, 5]).pads(&PADDED);
    let without: Vec<f64> =
        (0..5).flat_map(|i| (0..5).map(move |j| 7.0 + 2.5 * f64::from(i) + 0.5 * f64::from(j))).collect();
    published(&average_pool(&x, &[1, 1, 5, 5], &window, false), &[1, 1, 5, 5], &without);
    let with = [
        2.52, 3.6, 4.8, 4.08, 3.24, 4.56, 6.4, 8.4, 7.04, 5.52, 7.2, 10.0, 13.0, 10.8, 8.4, 6.96, 9.6, 12.4,
        10.24, 7.92, 6.12, 8.4, 10.8, 8.88, 6.84,
    ];
    published(&average_pool(&x, &[1, 1, 5, 5], &window, true), &[1, 1, 5, 5], &with);
    let ceil = Window::new(&[3, 3]).stride(&[2, 2]).ceil(true);
    published(
        &average_pool(&count_up(1, 16), &[1, 1, 4, 4], &ceil, false),
        &[1, 1, 2, 2],
        &[6.0, 7.5, 12.0, 13.5],
    );
}

#[test]
fn the_divisor_counts_padding_but_no_overhang() {
    // 0 [1 2 3 4] 0 by windows of 4 at 0 and 3: the second holds 3 4 0 and one place past the padding.
    let window = Window::new(&[4]).stride(&[3]).pads(&[(1, 1)]).ceil(true);
    let mean = |include| average_pool(&[1.0, 2.0, 3.0, 4.0], &[1, 1, 4], &window, include);
    published(&mean(true), &[1, 1, 2], &[6.0 / 4.0, 7.0 / 3.0]);
    published(&mean(false), &[1, 1, 2], &[6.0 / 3.0, 7.0 / 2.0]);
    assert_eq!(mean(true).terms, 4);
}

#[test]
fn lp_norms_by_hand() {
    let run = |p| lp_pool(&[3.0, -4.0, 0.0], &[1, 1, 3], &Window::new(&[2]), p);
    published(&run(1), &[1, 1, 2], &[7.0, 4.0]);
    published(&run(2), &[1, 1, 2], &[5.0, 4.0]);
    published(&run(3), &[1, 1, 2], &[91.0_f64.cbrt(), 4.0]);
}

#[test]
fn global_pools_leave_one_element_per_plane() {
    let (x, shape) = (count_up(1, 24), [2, 2, 2, 3]);
    published(&average_pool(&x, &shape, &global(&shape), false), &[2, 2, 1, 1], &[3.5, 9.5, 15.5, 21.5]);
    assert_eq!(max_pool(&x, &shape, &global(&shape), 0).0.value, [6.0, 12.0, 18.0, 24.0]);
}
