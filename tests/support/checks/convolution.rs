//! Values from the ONNX operator documentation; sizes from Dumoulin and Visin, *A guide to convolution
//! arithmetic for deep learning*, and from issues in which libraries got them wrong.

use super::{count_up, published};
use crate::support::compare::{exact, within};
use crate::support::oracle::activation::Activation;
use crate::support::oracle::convolution::{
    Epilogue, Window, col2im, conv, conv_transpose, im2col, one_hot_filters,
};
use crate::support::oracle::count;
use crate::support::random::{Rng, cases};

fn size(i: usize, k: usize, s: usize, p: usize, d: usize, ceil: bool) -> usize {
    Window::new(&[k]).stride(&[s]).dilation(&[d]).pads(&[(p, p)]).ceil(ceil).output(&[i])[0]
}

#[test]
fn published_sizes() {
    // The guide's figures: (i, k, s, p) and dilation.
    let figures = [
        ((4, 3, 1, 0, 1), 2),
        ((5, 4, 1, 2, 1), 6),
        ((5, 3, 1, 1, 1), 5),
        ((5, 3, 1, 2, 1), 7),
        ((5, 3, 2, 0, 1), 2),
        ((5, 3, 2, 1, 1), 3),
        ((6, 3, 2, 1, 1), 3),
        ((7, 3, 1, 0, 2), 3),
    ];
    for ((i, k, s, p, d), o) in figures {
        assert_eq!(size(i, k, s, p, d, false), o, "{:?}", (i, k, s, p, d));
    }
    // pytorch#116420, pytorch#57178, webnn#935: a window that starts in the padding after the input is dropped.
    assert_eq!(
        (size(9, 4, 4, 2, 1, true), size(32, 1, 2, 0, 1, true), size(5, 3, 3, 1, 1, true)),
        (3, 16, 2)
    );
    assert_eq!((size(2, 3, 1, 0, 1, false), size(4, 3, 2, 0, 1, true)), (0, 2));
}

#[test]
fn sizes_follow_the_formulas() {
    for i in 1..12_usize {
        for (k, s, p, d) in
            (1..5).flat_map(|k| (1..4).flat_map(move |s| (0..k).map(move |p| (k, s, p, k % 2 + 1))))
        {
            let extent = d * (k - 1) + 1;
            if i + 2 * p < extent {
                continue;
            }
            let room = i + 2 * p - extent;
            let mut up = room.div_ceil(s) + 1;
            up -= usize::from((up - 1) * s >= i + p);
            assert_eq!(size(i, k, s, p, d, false), room / s + 1);
            assert_eq!(size(i, k, s, p, d, true), up, "{:?}", (i, k, s, p, d));
        }
    }
}

#[test]
fn published_convolutions() {
    let ones = [1.0; 9];
    let run = |rows: usize, window: Window| {
        let x = count_up(0, rows * 5);
        conv(&x, &[1, 1, rows, 5], &ones, &[1, 1, 3, 3], 1, &window, Epilogue::default())
    };
    let window = Window::new(&[3, 3]);
    published(
        &run(5, window.clone().pads(&[(1, 1), (1, 1)])),
        &[1, 1, 5, 5],
        &[
            12.0, 21.0, 27.0, 33.0, 24.0, 33.0, 54.0, 63.0, 72.0, 51.0, 63.0, 99.0, 108.0, 117.0, 81.0, 93.0,
            144.0, 153.0, 162.0, 111.0, 72.0, 111.0, 117.0, 123.0, 84.0,
        ],
    );
    let plain = [54.0, 63.0, 72.0, 99.0, 108.0, 117.0, 144.0, 153.0, 162.0];
    published(&run(5, window.clone()), &[1, 1, 3, 3], &plain);
    let strided = window.clone().stride(&[2, 2]);
    published(
        &run(7, strided.clone().pads(&[(1, 1), (1, 1)])),
        &[1, 1, 4, 3],
        &[12.0, 27.0, 24.0, 63.0, 108.0, 81.0, 123.0, 198.0, 141.0, 112.0, 177.0, 124.0],
    );
    published(
        &run(7, strided.pads(&[(1, 1), (0, 0)])),
        &[1, 1, 4, 2],
        &[21.0, 33.0, 99.0, 117.0, 189.0, 207.0, 171.0, 183.0],
    );
}

#[test]
fn published_transposed_convolutions() {
    let x = count_up(0, 9);
    let run = |window: Window, extra: [usize; 2]| {
        conv_transpose(&x, &[1, 1, 3, 3], &[1.0; 18], &[1, 2, 3, 3], 1, &window, &extra, Epilogue::default())
    };
    let map = [
        0.0, 1.0, 3.0, 3.0, 2.0, 3.0, 8.0, 15.0, 12.0, 7.0, 9.0, 21.0, 36.0, 27.0, 15.0, 9.0, 20.0, 33.0,
        24.0, 13.0, 6.0, 13.0, 21.0, 15.0, 8.0,
    ];
    published(&run(Window::new(&[3, 3]), [0, 0]), &[1, 2, 5, 5], &[map, map].concat());
    let strided = Window::new(&[3, 3]).stride(&[3, 2]);
    let map = [
        1.0, 1.0, 3.0, 1.0, 1.0, 3.0, 7.0, 4.0, 9.0, 7.0, 4.0, 9.0, 7.0, 4.0, 9.0, 13.0, 7.0, 15.0, 13.0,
        7.0, 15.0,
    ];
    published(&run(strided.clone().pads(&[(1, 1), (2, 2)]), [0, 0]), &[1, 2, 7, 3], &[map, map].concat());
    assert_eq!(run(strided, [1, 1]).shape, [1, 2, 10, 8]);

    let dilated = conv_transpose(
        &[3.0, 8.0, 1.0, 9.0, 5.0, 7.0, 3.0, 2.0, 6.0],
        &[1, 1, 3, 3],
        &[7.0, 2.0, 1.0, 9.0],
        &[1, 1, 2, 2],
        1,
        &Window::new(&[2, 2]).dilation(&[2, 2]),
        &[0, 0],
        Epilogue::default(),
    );
    published(
        &dilated,
        &[1, 1, 5, 5],
        &[
            21.0, 56.0, 13.0, 16.0, 2.0, 63.0, 35.0, 67.0, 10.0, 14.0, 24.0, 22.0, 76.0, 76.0, 21.0, 9.0,
            5.0, 88.0, 45.0, 63.0, 3.0, 2.0, 33.0, 18.0, 54.0,
        ],
    );
}

#[test]
fn im2col_by_hand() {
    // Two channels of a 2x3 image, a 2x2 window, one column of zeros before.
    let x = count_up(1, 12);
    let matrix = im2col(&x, &[1, 2, 2, 3], 1, &Window::new(&[2, 2]).pads(&[(0, 0), (1, 0)]));
    assert_eq!(matrix.shape, [1, 1, 8, 3]);
    let rows = [[0, 1, 2], [1, 2, 3], [0, 4, 5], [4, 5, 6], [0, 7, 8], [7, 8, 9], [0, 10, 11], [10, 11, 12]];
    assert_eq!(matrix.value, rows.as_flattened().iter().map(|&v| v as f32).collect::<Vec<_>>());
}

/// A generated convolution: input, weights, and the window over one to three axes.
#[derive(Clone)]
struct Case {
    x: Vec<f32>,
    x_shape: Vec<usize>,
    w: Vec<f32>,
    w_shape: Vec<usize>,
    groups: usize,
    window: Window,
}

impl Case {
    fn new(rng: &mut Rng) -> Self {
        let rank = rng.range(1..4);
        let axes = |rng: &mut Rng, range: std::ops::Range<usize>| -> Vec<usize> {
            (0..rank).map(|_| rng.range(range.clone())).collect()
        };
        let groups = rng.range(1..4);
        let (kernel, stride, dilation) = (axes(rng, 1..4), axes(rng, 1..4), axes(rng, 1..3));
        let pads = (0..rank).map(|_| (rng.range(0..3), rng.range(0..3))).collect();
        let window = Window { kernel, stride, dilation, pads, ceil: false };
        let input: Vec<usize> = (0..rank).map(|axis| window.extent(axis) + rng.range(0..4)).collect();
        let (batch, per_group, maps) = (rng.range(1..3), rng.range(1..4), rng.range(1..3) * groups);
        let x_shape = [&[batch, groups * per_group], input.as_slice()].concat();
        let w_shape = [&[maps, per_group], window.kernel.as_slice()].concat();
        let (x, w) = (rng.values(count(&x_shape)), rng.values(count(&w_shape)));
        Self { x, x_shape, w, w_shape, groups, window }
    }

    fn conv(&self, epilogue: Epilogue) -> crate::support::oracle::Answer {
        conv(&self.x, &self.x_shape, &self.w, &self.w_shape, self.groups, &self.window, epilogue)
    }

    /// The product of weights and im2col matrix in `f32`, summing downwards or upwards.
    fn in_f32(&self, upwards: bool) -> Vec<f32> {
        let columns = im2col(&self.x, &self.x_shape, self.groups, &self.window);
        let [batch, groups, k, p] = columns.shape[..] else { panic!("four axes") };
        let maps = self.w_shape[0] / groups;
        let mut out = Vec::new();
        for n in 0..batch {
            for m in 0..groups * maps {
                let block = &columns.value[(n * groups + m / maps) * k * p..][..k * p];
                for column in 0..p {
                    let mut sum = 0.0_f32;
                    for row in 0..k {
                        let row = if upwards { k - 1 - row } else { row };
                        sum += self.w[m * k + row] * block[row * p + column];
                    }
                    out.push(sum);
                }
            }
        }
        out
    }
}

#[test]
fn convolution_is_the_product_with_im2col() {
    cases(11, 60, |rng| {
        let case = Case::new(rng);
        let answer = case.conv(Epilogue::default());
        within("down", &case.in_f32(false), &answer, 1.0).unwrap();
        within("up", &case.in_f32(true), &answer, 1.0).unwrap();
        // Weights a hundredth too large must be seen, unless all sums cancel or lie in padding.
        let mut changed = case.clone();
        changed.w.iter_mut().for_each(|w| *w *= 1.01);
        let visible = |(value, magnitude): (&f64, &f64)| value.abs() > 0.01 * magnitude;
        if answer.value.iter().zip(&answer.magnitude).any(visible) {
            assert!(within("changed weights", &changed.in_f32(false), &answer, 1.0).is_err());
        }
    });
}

#[test]
fn one_hot_filters_pick_the_im2col_rows() {
    let window = Window::new(&[2, 3]).stride(&[1, 2]).pads(&[(1, 0), (0, 2)]);
    let (shape, x) = ([2, 3, 4, 5], count_up(-60, 120));
    let (filters, filters_shape) = one_hot_filters(3, &[2, 3]);
    let answer = conv(&x, &shape, &filters, &filters_shape, 1, &window, Epilogue::default());
    exact("rows", &answer.to_f32(), &im2col(&x, &shape, 1, &window).value).unwrap();
}

#[test]
fn transposed_convolution_is_the_adjoint() {
    // <conv(x), y> = <x, convᵀ(y)> with the same weights, whatever the window.
    cases(12, 60, |rng| {
        let case = Case::new(rng);
        let forward = case.conv(Epilogue::default());
        let y = rng.values(forward.value.len());
        let input = &case.x_shape[2..];
        // What the last window does not reach.
        let rest: Vec<usize> = (0..input.len())
            .map(|axis| {
                let (before, after) = case.window.pads[axis];
                (input[axis] + before + after - case.window.extent(axis)) % case.window.stride[axis]
            })
            .collect();
        let back = conv_transpose(
            &y,
            &forward.shape,
            &case.w,
            &case.w_shape,
            case.groups,
            &case.window,
            &rest,
            Epilogue::default(),
        );
        assert_eq!(back.shape, case.x_shape);
        let dot = |a: &[f64], b: &[f32]| a.iter().zip(b).map(|(a, &b)| a * f64::from(b)).sum::<f64>();
        let (left, right) = (dot(&forward.value, &y), dot(&back.value, &case.x));
        assert!(
            (left - right).abs() < 1e-10 * dot(&forward.magnitude, &vec![1.0; y.len()]).max(1.0),
            "{left} {right}"
        );
        // And col2im is the adjoint of im2col.
        let columns = im2col(&case.x, &case.x_shape, case.groups, &case.window);
        let z = rng.values(columns.value.len());
        let summed = col2im(&z, &case.x_shape, case.groups, &case.window);
        let left: f64 = columns.value.iter().zip(&z).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
        let right = dot(&summed.value, &case.x);
        assert!((left - right).abs() < 1e-10 * (z.len() as f64), "{left} {right}");
    });
}

#[test]
fn the_epilogue_adds_bias_and_residual_before_the_activation() {
    let (x, w) = ([1.0, 2.0, 3.0], [2.0, -2.0]);
    let epilogue = Epilogue {
        bias: Some(&[1.0, -1.0]),
        residual: Some(&[10.0, 20.0, 30.0, 1.0, 2.0, 9.0]),
        activation: Some(Activation::Relu),
    };
    let answer = conv(&x, &[1, 1, 3], &w, &[2, 1, 1], 1, &Window::new(&[1]), epilogue);
    published(&answer, &[1, 2, 3], &[13.0, 25.0, 37.0, 0.0, 0.0, 2.0]);
    assert_eq!(answer.terms, 3);
    assert!((answer.magnitude[0] - 13.0).abs() < 1e-9);
    assert!((answer.magnitude[5] - 16.0).abs() < 1e-9);
}

#[test]
#[should_panic(expected = "input channels")]
fn channels_that_do_not_match_are_refused() {
    conv(&[0.0; 6], &[1, 2, 3], &[0.0; 3], &[1, 1, 3], 1, &Window::new(&[3]), Epilogue::default());
}
