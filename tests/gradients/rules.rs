//! One operator at a time, in the ways in which its rule differs.

use wgpu_cnn::graph::ValueId;
use wgpu_cnn::ops::pool::IndexOrder;
use wgpu_cnn::ops::rearrange::{AxisMap, Border};
use wgpu_cnn::ops::{
    Activation, BatchNorm, Binary, Concat, Conv, ConvTranspose, ConvWeight, Dropout, Gather, Gemm, Im2col,
    Lrn, Normalize, Op, Pool, PoolKind, Rearrange, Reduce, ReduceKind, Resample, Reshape, Select, Softmax,
};
use wgpu_cnn::window::{Transposed, Window};
use wgpu_cnn::{Tensor, window};

use crate::problem::{Maker, Problem};

/// One node over random inputs of these shapes.
fn check(op: impl Into<Op>, shapes: &[&[usize]]) {
    let op = op.into();
    one(op, 1, |maker| shapes.iter().map(|shape| maker.random(shape)).collect()).check();
}

fn one(op: Op, seed: u64, inputs: impl FnOnce(&mut Maker) -> Vec<ValueId>) -> Problem {
    Problem::new(format!("{op:?}"), seed, |maker| {
        let inputs = inputs(maker);
        maker.push(op.clone(), &inputs)
    })
}

#[test]
fn activations() {
    let everywhere = [
        Activation::Relu,
        Activation::LeakyRelu { alpha: 0.1 },
        Activation::LeakyRelu { alpha: -0.5 },
        Activation::Clip { min: -0.3, max: 0.4 },
        Activation::Elu { alpha: 0.7 },
        Activation::SELU,
        Activation::Celu { alpha: 0.6 },
        Activation::Sigmoid,
        Activation::HardSigmoid { alpha: 0.9, beta: 0.5 },
        Activation::Tanh,
        Activation::Softplus,
        Activation::Softsign,
        Activation::Silu { alpha: 1.3 },
        Activation::HardSwish,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Mish,
        Activation::Erf,
        Activation::Exp,
        Activation::Abs,
        Activation::Neg,
    ];
    for activation in everywhere {
        check(activation, &[&[3, 7]]);
    }
    for activation in [Activation::Log, Activation::Sqrt, Activation::Reciprocal] {
        one(activation.into(), 1, |maker| vec![maker.positive(&[3, 7])]).check();
    }
    // A derivative of 0 has no sign.
    for activation in [Activation::Floor, Activation::Ceil] {
        one(activation.into(), 1, |maker| vec![maker.random(&[3, 7])]).check_with(true, |_| false);
    }
}

#[test]
fn functions_of_two() {
    let shapes: [[&[usize]; 2]; 4] =
        [[&[2, 3, 4], &[2, 3, 4]], [&[2, 3, 4], &[3, 1]], [&[4], &[2, 3, 4]], [&[2, 1, 4], &[3, 1]]];
    for [a, b] in shapes {
        for op in [Binary::Add, Binary::Sub, Binary::Mul, Binary::Min, Binary::Max, Binary::PRelu] {
            check(op, &[a, b]);
        }
        for op in [Binary::Div, Binary::Pow] {
            one(op.into(), 1, |maker| vec![maker.positive(a), maker.positive(b)]).check();
        }
    }
}

/// A square of negative numbers by a constant exponent: the exponent's own gradient, which would be none, is not wanted.
#[test]
fn a_power_of_negative_numbers() {
    Problem::new("square", 1, |maker| {
        let x = maker.random(&[2, 5]);
        let two = maker.graph.constant("two", Tensor::scalar(2f32));
        maker.push(Binary::Pow, &[x, two])
    })
    .check();
}

#[test]
fn batch_norms() {
    for shape in [&[2, 3, 2, 2][..], &[4, 3]] {
        one(BatchNorm { epsilon: 1e-3 }.into(), 1, |maker| {
            let mut inputs = vec![maker.random(shape)];
            inputs.extend([maker.random(&[3]), maker.random(&[3]), maker.random(&[3])]);
            inputs.push(maker.positive(&[3]));
            inputs
        })
        .check();
    }
}

#[test]
fn concatenations() {
    check(Concat { axis: 1 }, &[&[2, 3, 2], &[2, 1, 2], &[2, 2, 2]]);
    check(Concat { axis: 0 }, &[&[2, 3], &[1, 3]]);
}

/// A convolution by all of x, weight and bias.
fn convolution(x: &[usize], filters: usize, groups: usize, window: Window) {
    let weight = [&[filters, x[1] / groups], window.kernel()].concat();
    check(Conv { window, groups, activation: None }, &[x, &weight, &[filters]]);
}

#[test]
fn convolutions() {
    convolution(&[2, 3, 5, 6], 4, 1, Window::new([3, 2]).padding([(1, 2), (0, 1)]));
    convolution(&[2, 2, 4, 4], 3, 1, Window::new([1, 1]));
    convolution(&[1, 4, 6, 5], 6, 2, Window::new([3, 3]).padding(1));
    convolution(&[2, 3, 6, 5], 3, 3, Window::new([3, 3]).padding(1).dilation([2, 1]));
    convolution(&[2, 4, 7, 8], 4, 2, Window::new([3, 2]).stride([2, 3]).padding([(0, 2), (1, 0)]));
    convolution(&[1, 2, 9, 9], 2, 1, Window::new([2, 3]).stride(3).dilation([3, 2]));
    convolution(&[3, 2, 11], 3, 1, Window::new([4]).stride(2).padding(1));
    convolution(&[1, 2, 3, 4, 3], 2, 1, Window::new([2, 3, 2]).padding([1, 1, 0]));
    convolution(&[1, 2, 5, 5], 2, 1, Window::new([3, 3]).padding(window::Padding::SameUpper).stride(2));
    convolution(&[1, 1, 7, 7], 2, 1, Window::new([2, 2]).padding(window::Padding::SameLower));
    // A stride wider than the kernel leaves cells that nothing reads; padding wider than the kernel, outputs that read
    // nothing.
    convolution(&[1, 2, 8, 7], 2, 1, Window::new([2, 1]).stride(3));
    convolution(&[1, 2, 3, 3], 2, 1, Window::new([2, 2]).padding([(3, 2), (0, 4)]));
}

#[test]
fn a_convolution_with_a_residual_and_an_activation() {
    for activation in [Activation::Tanh, Activation::Gelu, Activation::SILU] {
        let conv = Conv { activation: Some(activation), ..Conv::new(Window::new([3, 3]).padding(1)) };
        check(conv, &[&[1, 2, 4, 4], &[3, 2, 3, 3], &[3], &[1, 3, 4, 4]]);
    }
}

#[test]
fn transposed_convolutions() {
    let transposed = |x: &[usize], of_group: usize, groups: usize, window: Transposed| {
        let weight = [&[x[1], of_group], window.window().kernel()].concat();
        check(ConvTranspose { window, groups, activation: None }, &[x, &weight, &[of_group * groups]]);
    };
    transposed(&[2, 3, 4, 3], 2, 1, Transposed::new(Window::new([3, 2]).stride([2, 1])));
    transposed(
        &[1, 4, 3, 4],
        3,
        2,
        Transposed::new(Window::new([3, 3]).stride(2).padding([(1, 0), (1, 1)])).output_padding(1),
    );
    transposed(&[1, 2, 5], 2, 1, Transposed::new(Window::new([3]).dilation(3)).output_padding(2));
    transposed(&[1, 2, 3, 3], 1, 1, Transposed::new(Window::new([1, 2]).stride(3).padding([(0, 0), (0, 1)])));
    transposed(&[1, 1, 2, 2, 3], 2, 1, Transposed::new(Window::new([2, 2, 2]).stride([1, 2, 1])));
}

/// The gradient of a gradient.
#[test]
fn gradients_to_filters() {
    for (window, groups) in [(Window::new([3, 2]).padding(1), 1), (Window::new([2, 2]).stride(2), 2)] {
        let axes = window.resolve(&[5, 6]).unwrap();
        let dy = [2, 4, axes[0].output, axes[1].output];
        check(ConvWeight { window, groups }, &[&[2, 4, 5, 6], &dy]);
    }
}

#[test]
fn matrix_products() {
    for flags in 0..4 {
        let (trans_a, trans_b) = (flags & 1 != 0, flags & 2 != 0);
        let gemm = Gemm { trans_a, trans_b, alpha: 0.7, beta: 1.5, activation: None };
        let a: [usize; 2] = if trans_a { [4, 3] } else { [3, 4] };
        let b: [usize; 2] = if trans_b { [5, 4] } else { [4, 5] };
        for c in [&[3, 5][..], &[5], &[3, 1], &[]] {
            check(gemm.clone(), &[&a, &b, c]);
        }
        check(gemm.clone(), &[&[&[2, 1][..], &a].concat(), &[&[3][..], &b].concat(), &[2, 1, 1, 5]]);
        check(gemm, &[&[&[2][..], &a].concat(), &b]);
    }
    check(Gemm { activation: Some(Activation::Tanh), ..Gemm::linear() }, &[&[2, 3], &[4, 3], &[4]]);
}

#[test]
fn patches() {
    check(Im2col { window: Window::new([3, 2]).padding([(1, 0), (0, 1)]).stride([2, 1]) }, &[&[2, 3, 5, 4]]);
    check(Im2col { window: Window::new([2]).dilation(2) }, &[&[1, 2, 6]]);
}

#[test]
fn responses_normalised_across_channels() {
    for size in [1, 2, 3, 5] {
        // What the rule's constants are rounded to would be seen in f64.
        check(Lrn { size, alpha: 0.125 * size as f32, beta: 0.75, bias: 1.2 }, &[&[2, 4, 3]]);
    }
}

#[test]
fn normalisations() {
    let norm = Normalize { axis: 1, epsilon: 1e-2, statistics: false };
    check(norm, &[&[2, 3, 4], &[3, 1], &[4]]);
    check(Normalize { statistics: true, ..norm }, &[&[2, 3, 4], &[3, 4], &[3, 4]]);
    // By itself and its twice, whose signs cancel: what the scale gets tells.
    one(norm.into(), 1, |maker| vec![maker.random(&[2, 5])]).check_with(true, |op| op != "binary");
}

#[test]
fn pools() {
    let windows = [
        Window::new([2, 2]).stride(2),
        Window::new([3, 2]).stride([1, 2]).padding([(1, 1), (0, 1)]),
        Window::new([2, 2]).stride(2).dilation(2),
        Window::new([3, 3]).stride(2).ceil_mode(true).padding(1),
    ];
    for window in windows {
        let mut kinds = vec![(PoolKind::Max, None)];
        kinds.extend(
            [IndexOrder::RowMajor, IndexOrder::ColumnMajor].map(|order| (PoolKind::Max, Some(order))),
        );
        kinds.extend([true, false].map(|pad| (PoolKind::Average { count_include_pad: pad }, None)));
        for (kind, indices) in kinds {
            let pool = Pool { kind, window: window.clone(), indices };
            // Of a pool made once more for its positions, the maxima are not looked at.
            one(pool.into(), 1, |maker| vec![maker.random(&[2, 2, 6, 6])])
                .check_with(true, |op| op != "pool");
        }
    }
    check(Pool::new(PoolKind::Max, Window::new([3]).stride(2)), &[&[2, 1, 9]]);
}

fn rearranged(shape: &[usize], axes: &[(Option<usize>, usize, i64, i64)], border: Border) {
    let axes = axes.iter().map(|&(input_axis, size, start, step)| AxisMap { input_axis, size, start, step });
    check(Rearrange { axes: axes.collect(), border }, &[shape]);
}

#[test]
fn rearrangements() {
    let zero = Border::Constant(0.0);
    check(Rearrange::transpose(&[2, 3, 4], &[2, 0, 1]), &[&[2, 3, 4]]);
    // Slices, forwards and backwards, and pads.
    rearranged(&[4, 5], &[(Some(0), 2, 1, 1), (Some(1), 3, 3, -1)], zero);
    rearranged(&[4, 5], &[(Some(1), 7, -1, 1), (Some(0), 6, 4, -1)], Border::Constant(3.0));
    // Every other place, with some outside.
    rearranged(&[5, 6], &[(Some(0), 3, 0, 2), (Some(1), 5, 7, -2)], zero);
    // Repeated, read at 0 alone, and one place for all.
    rearranged(&[3, 4], &[(None, 2, 0, 0), (Some(1), 4, 0, 1)], zero);
    rearranged(&[3], &[(None, 2, 0, 0), (Some(0), 3, 0, 1), (None, 3, 0, 1)], zero);
    rearranged(&[3, 4], &[(Some(0), 5, 2, 0), (Some(1), 1, 3, 9)], zero);
    // Borders that stand for elements.
    for border in [Border::Edge, Border::Reflect, Border::Wrap] {
        rearranged(&[3, 4], &[(Some(0), 7, -2, 1), (Some(1), 9, 5, -1)], border);
        rearranged(&[3, 4], &[(Some(1), 4, 3, -1), (Some(0), 2, 1, 1)], border);
    }
}

#[test]
fn reductions() {
    let sets: [Option<Vec<usize>>; 4] = [None, Some(vec![1]), Some(vec![0, 2]), Some(vec![0, 1, 2])];
    for kind in [
        ReduceKind::Sum,
        ReduceKind::Mean,
        ReduceKind::L1,
        ReduceKind::L2,
        ReduceKind::SumSquare,
        ReduceKind::LogSumExp,
    ] {
        for axes in &sets {
            for keep_dims in [true, false] {
                check(Reduce { kind, axes: axes.clone(), keep_dims }, &[&[2, 3, 4]]);
            }
        }
    }
    for axes in &sets {
        let log = Reduce { kind: ReduceKind::LogSum, axes: axes.clone(), keep_dims: false };
        one(log.into(), 1, |maker| vec![maker.positive(&[2, 3, 4])]).check();
    }
    for kind in [ReduceKind::Max, ReduceKind::Min] {
        for axes in [None, Some(vec![0]), Some(vec![1, 2]), Some(vec![0, 1, 2, 3])] {
            check(Reduce { kind, axes, keep_dims: false }, &[&[2, 3, 2, 2]]);
        }
    }
    check(Reduce { kind: ReduceKind::Sum, axes: Some(vec![]), keep_dims: true }, &[&[2, 3]]);
}

/// The norm has no derivative at the origin; what is handed on is 0 and not NaN.
#[test]
fn a_norm_at_the_origin_passes_nothing_on() {
    use wgpu_cnn::{
        Device, Graph,
        graph::{Info, gradients},
    };
    let mut graph = Graph::new("origin");
    let x = graph.input("x", Info::f32(crate::problem::shape(&[3])));
    let norm = Reduce { kind: ReduceKind::L2, axes: Some(vec![0]), keep_dims: false };
    let loss = graph.push("norm", norm, &[x]).unwrap();
    let found = gradients(&mut graph, loss, &[x]).unwrap();
    graph.output(found[0]);
    for device in [&Device::cpu(), crate::problem::gpu()] {
        let dx = device.compile(&graph).unwrap().run(&[Tensor::zeros([3]).unwrap()]).unwrap();
        assert_eq!(dx[0].values::<f32>().unwrap(), [0.0; 3]);
    }
}

#[test]
fn resampled_axes() {
    let (indices, weights) = (vec![0, 1, 1, 1, 2, 0, 3, 3], vec![0.5, 0.25, 1.0, 0.0, -0.5, 2.0, 0.3, 0.3]);
    check(Resample { axis: 1, taps: 2, indices, weights }, &[&[2, 4, 3]]);
    check(Resample { axis: 0, taps: 1, indices: vec![2, 2], weights: vec![1.0, 1.0] }, &[&[4]]);
}

#[test]
fn reshapes() {
    check(Reshape::Flatten { axis: 1 }, &[&[2, 3, 2]]);
    check(Reshape::To(vec![4, 3]), &[&[2, 3, 2]]);
}

#[test]
fn selections() {
    let condition = Tensor::new([2, 1, 3], vec![true, false, true, false, false, true]).unwrap();
    Problem::new("select", 1, |maker| {
        let condition = maker.unwanted(condition);
        let (a, b) = (maker.random(&[2, 4, 3]), maker.random(&[4, 1]));
        maker.push(Select, &[condition, a, b])
    })
    .check();
}

#[test]
fn softmaxes() {
    for log in [false, true] {
        check(Softmax { axis: 1, log }, &[&[3, 5]]);
        check(Softmax { axis: 0, log }, &[&[3, 2, 2]]);
    }
}

#[test]
fn gathered_slices() {
    Problem::new("gather", 1, |maker| {
        let x = maker.random(&[2, 4, 3]);
        let indices = Tensor::new([2, 3], vec![0i64, 3, 3, -1, 1, -4]).unwrap();
        let indices = maker.graph.constant("indices", indices);
        maker.push(Gather { axis: 1 }, &[x, indices])
    })
    .check();
}

#[test]
fn dropouts() {
    Problem::new("dropout", 1, |maker| {
        let x = maker.random(&[4, 5]);
        let step = maker.unwanted(Tensor::scalar(7f32));
        maker.push(Dropout { rate: 0.4, seed: 11 }, &[x, step])
    })
    .check();
}

/// A value read by several layers, twice by one of them, gets the sum of what they hand on.
#[test]
fn values_that_several_layers_read() {
    Problem::new("fan-out", 1, |maker| {
        let x = maker.random(&[2, 3]);
        let square = maker.push(Binary::Mul, &[x, x]);
        let exp = maker.push(Activation::Exp, &[x]);
        let sum = maker.push(Binary::Add, &[square, exp]);
        let product = maker.push(Binary::Mul, &[sum, square]);
        maker.push(Binary::Sub, &[product, x])
    })
    .check();
}
