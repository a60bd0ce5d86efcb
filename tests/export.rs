//! What is written as ONNX computes the same when it is read back: networks of the zoo, and every operator in every
//! variant of its attributes.
//!
//! The one-node graphs are left under `export/` in the tests' temporary folder, each with its inputs and outputs, for
//! `tests/onnx/exported.py` to run in another runtime.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use npyz::WriterBuilder;
use support::random::Rng;
use wgpu_cnn::graph::Info;
use wgpu_cnn::graph::passes::{Passes, optimize};
use wgpu_cnn::onnx::{self, Bindings, ElementType, Model};
use wgpu_cnn::ops::arg_reduce::ArgOutput;
use wgpu_cnn::ops::pool::IndexOrder;
use wgpu_cnn::ops::rearrange::{AxisMap, Border};
use wgpu_cnn::ops::{
    Activation, ActivationGradient, Adam, ArgReduce, BatchNorm, Binary, Concat, Conv, ConvTranspose,
    ConvWeight, Dropout, Gather, Gemm, Im2col, Lrn, Normalize, Op, Pool, PoolGradient, PoolKind, Rearrange,
    Reduce, ReduceKind, Resample, Reshape, Select, Sgd, Softmax,
};
use wgpu_cnn::window::{Padding, Transposed, Window};
use wgpu_cnn::{DType, Device, Error, Graph, PlanOptions, Shape, Tensor, zoo};

/// How the outputs read back may differ.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Same {
    /// Not at all: the same operators are read back, or ones that copy.
    Bits,
    /// By so many roundings of the largest output: a composition of operators is read back.
    Roundings(f32),
}

struct Case {
    name: String,
    op: Op,
    operands: Vec<Option<Tensor>>,
    /// The operands that are weights.
    constants: Vec<usize>,
    same: Same,
}

impl Case {
    fn graph(&self) -> (Graph, Vec<Tensor>) {
        let mut graph = Graph::new("case");
        let (mut inputs, mut ids) = (Vec::new(), Vec::new());
        for (i, operand) in self.operands.iter().enumerate() {
            ids.push(operand.as_ref().map(|tensor| {
                let name = format!("operand {i}");
                if self.constants.contains(&i) {
                    return graph.constant(name, tensor.clone());
                }
                inputs.push(tensor.clone());
                graph.input(name, Info { shape: tensor.shape().clone(), dtype: tensor.dtype() })
            }));
        }
        for id in
            graph.push_node("node", self.op.clone(), &ids).unwrap_or_else(|e| panic!("{}: {e}", self.name))
        {
            graph.output(id);
        }
        (graph, inputs)
    }
}

struct Cases {
    rng: Rng,
    all: Vec<Case>,
}

impl Cases {
    fn random(&mut self, shape: &[usize]) -> Tensor {
        Tensor::new(shape, self.rng.values(shape.iter().product())).unwrap()
    }

    fn positive(&mut self, shape: &[usize]) -> Tensor {
        let values =
            self.random(shape).values::<f32>().unwrap().iter().map(|v| v.abs() + 0.1).collect::<Vec<_>>();
        Tensor::new(shape, values).unwrap()
    }

    fn add(
        &mut self,
        name: &str,
        op: impl Into<Op>,
        operands: Vec<Option<Tensor>>,
        constants: &[usize],
        same: Same,
    ) {
        let op = op.into();
        let name = format!("{}-{name}", op.name());
        self.all.push(Case { name, op, operands, constants: constants.to_vec(), same });
    }

    /// One random input.
    fn unary(&mut self, name: &str, op: impl Into<Op>, shape: &[usize], same: Same) {
        let x = self.random(shape);
        self.add(name, op, vec![Some(x)], &[], same);
    }
}

use Same::{Bits, Roundings};

fn every_activation() -> Vec<(&'static str, Activation, Same)> {
    use Activation::*;
    vec![
        ("relu", Relu, Bits),
        ("leaky_relu", LeakyRelu { alpha: 0.2 }, Bits),
        ("clip", Clip { min: -0.25, max: 0.5 }, Bits),
        ("clip_below", Clip { min: -0.25, max: f32::INFINITY }, Bits),
        ("clip_above", Clip { min: f32::NEG_INFINITY, max: 0.5 }, Bits),
        ("clip_crossed", Clip { min: 0.5, max: 0.25 }, Bits),
        ("elu", Elu { alpha: 0.7 }, Bits),
        ("selu", Activation::SELU, Bits),
        ("celu", Celu { alpha: 0.6 }, Bits),
        ("sigmoid", Sigmoid, Bits),
        ("hard_sigmoid", HardSigmoid { alpha: 0.3, beta: 0.4 }, Bits),
        ("tanh", Tanh, Bits),
        ("softplus", Softplus, Bits),
        ("softsign", Softsign, Bits),
        ("silu", Activation::SILU, Roundings(4.0)),
        ("silu_1.7", Silu { alpha: 1.702 }, Roundings(4.0)),
        ("hard_swish", HardSwish, Bits),
        ("gelu", Gelu, Bits),
        ("gelu_tanh", GeluTanh, Bits),
        ("mish", Mish, Bits),
        ("thresholded_relu", ThresholdedRelu { alpha: 0.3 }, Bits),
        ("erf", Erf, Bits),
        ("exp", Exp, Bits),
        ("log", Log, Bits),
        ("sqrt", Sqrt, Bits),
        ("reciprocal", Reciprocal, Bits),
        ("abs", Abs, Bits),
        ("neg", Neg, Bits),
        ("floor", Floor, Bits),
        ("ceil", Ceil, Bits),
    ]
}

fn elementwise(c: &mut Cases) {
    for (name, op, same) in every_activation() {
        let x = match op {
            Activation::Log | Activation::Sqrt => c.positive(&[2, 3, 5]),
            _ => c.random(&[2, 3, 5]),
        };
        c.add(name, op, vec![Some(x)], &[], same);
    }
    for (name, op) in [
        ("add", Binary::Add),
        ("sub", Binary::Sub),
        ("mul", Binary::Mul),
        ("div", Binary::Div),
        ("pow", Binary::Pow),
        ("min", Binary::Min),
        ("max", Binary::Max),
        ("prelu", Binary::PRelu),
    ] {
        let (a, b, row) = (c.positive(&[2, 3, 4]), c.positive(&[2, 3, 4]), c.positive(&[3, 1]));
        c.add(name, op, vec![Some(a.clone()), Some(b.clone())], &[], Bits);
        c.add(&format!("{name}_row"), op, vec![Some(a.clone()), Some(row.clone())], &[1], Bits);
        c.add(&format!("{name}_widened"), op, vec![Some(row), Some(b)], &[], Bits);
    }
    let (a, slope) = (c.random(&[3, 1]), c.random(&[2, 1, 4]));
    c.add("prelu_negative_widened", Binary::PRelu, vec![Some(a), Some(slope)], &[], Bits);
    let condition = Tensor::new([2, 1, 3], vec![true, false, true, false, false, true]).unwrap();
    let (a, b) = (c.random(&[4, 3]), c.random(&[1]));
    c.add("f32", Select, vec![Some(condition.clone()), Some(a), Some(b)], &[], Bits);
    let (a, b) = (Tensor::new([3], vec![1i64, 2, 3]).unwrap(), Tensor::new([1], vec![-7i64]).unwrap());
    c.add("i64", Select, vec![Some(condition), Some(a), Some(b)], &[], Bits);
}

/// Name, window, groups, and the shapes of input and weight.
type Convolution<W> = (&'static str, W, usize, &'static [usize], &'static [usize]);

fn convolutions(c: &mut Cases) {
    let same: [Convolution<Window>; 8] = [
        ("plain", Window::new([3, 3]), 1, &[2, 3, 7, 6], &[4, 3, 3, 3]),
        ("line", Window::new([3]).stride(2).padding(1), 1, &[1, 2, 9], &[3, 2, 3]),
        ("volume", Window::new([2, 1, 3]).dilation([1, 2, 2]), 1, &[1, 2, 4, 3, 7], &[2, 2, 2, 1, 3]),
        ("depthwise", Window::new([3, 3]).padding([1, 2]), 4, &[1, 4, 6, 5], &[8, 1, 3, 3]),
        ("groups", Window::new([2, 2]).stride([2, 1]), 2, &[1, 4, 6, 5], &[6, 2, 2, 2]),
        (
            "same_upper",
            Window::new([3, 2]).stride(2).padding(Padding::SameUpper),
            1,
            &[1, 1, 6, 7],
            &[2, 1, 3, 2],
        ),
        ("same_lower", Window::new([4, 2]).padding(Padding::SameLower), 1, &[1, 1, 6, 7], &[2, 1, 4, 2]),
        (
            "ceil",
            Window::new([3, 3]).stride(2).padding([(0, 1), (1, 0)]).ceil_mode(true),
            1,
            &[1, 2, 6, 7],
            &[2, 2, 3, 3],
        ),
    ];
    for (name, window, groups, x, weight) in same {
        let (x, weight, bias) = (c.random(x), c.random(weight), c.random(&[weight[0]]));
        let op = Conv { groups, ..Conv::new(window) };
        c.add(name, op.clone(), vec![Some(x.clone()), Some(weight.clone())], &[1], Bits);
        c.add(&format!("{name}_bias"), op, vec![Some(x), Some(weight), Some(bias)], &[], Bits);
    }
    let fused =
        [None].into_iter().chain(every_activation().into_iter().map(|(name, op, _)| Some((name, op))));
    for activation in fused {
        let op = Conv { activation: activation.map(|a| a.1), ..Conv::new(Window::new([1, 1])) };
        let (x, weight, bias, residual) = (
            c.positive(&[1, 2, 3, 3]),
            c.positive(&[2, 2, 1, 1]),
            c.positive(&[2]),
            c.positive(&[1, 2, 3, 3]),
        );
        let name = format!("residual_{}", activation.map_or("alone", |a| a.0));
        let operands = vec![Some(x), Some(weight), Some(bias), Some(residual)];
        c.add(&name, op, operands, &[1, 2], Roundings(16.0));
    }
    let (x, weight, residual) = (c.random(&[1, 2, 5, 5]), c.random(&[3, 2, 3, 3]), c.random(&[1, 3, 3, 3]));
    let op = Conv { activation: Some(Activation::RELU6), ..Conv::new(Window::new([3, 3])) };
    c.add(
        "residual_without_bias",
        op,
        vec![Some(x), Some(weight), None, Some(residual)],
        &[1],
        Roundings(16.0),
    );

    let transposed: [Convolution<Transposed>; 8] = [
        ("plain", Transposed::new(Window::new([3, 3])), 1, &[2, 3, 4, 5], &[3, 2, 3, 3]),
        (
            "stride",
            Transposed::new(Window::new([3, 2]).stride([2, 3]).padding([(1, 0), (0, 1)])),
            1,
            &[1, 2, 3, 4],
            &[2, 2, 3, 2],
        ),
        (
            "output_padding",
            Transposed::new(Window::new([3]).stride(3)).output_padding([2]),
            1,
            &[1, 2, 4],
            &[2, 3, 3],
        ),
        ("groups", Transposed::new(Window::new([2, 2]).dilation(2)), 2, &[1, 4, 3, 3], &[4, 3, 2, 2]),
        (
            "same_upper",
            Transposed::new(Window::new([3, 4]).stride(2).padding(Padding::SameUpper)),
            1,
            &[1, 1, 3, 4],
            &[1, 2, 3, 4],
        ),
        (
            "same_lower",
            Transposed::new(Window::new([3, 1]).stride(2).padding(Padding::SameLower)),
            1,
            &[1, 1, 3, 4],
            &[1, 2, 3, 1],
        ),
        (
            "output_size",
            Transposed::new(Window::new([3, 3]).stride(2)).output_size([8, 5]),
            1,
            &[1, 1, 3, 3],
            &[1, 2, 3, 3],
        ),
        (
            "volume",
            Transposed::new(Window::new([2, 3, 1]).stride([1, 2, 2])),
            1,
            &[1, 1, 2, 3, 2],
            &[1, 2, 2, 3, 1],
        ),
    ];
    for (name, window, groups, x, weight) in transposed {
        let filters = weight[1] * groups;
        let (x, weight, bias) = (c.random(x), c.random(weight), c.random(&[filters]));
        let op = ConvTranspose { window, groups, activation: None };
        c.add(name, op.clone(), vec![Some(x.clone()), Some(weight.clone())], &[1], Bits);
        let op = ConvTranspose { activation: Some(Activation::Tanh), ..op };
        c.add(&format!("{name}_tanh"), op, vec![Some(x), Some(weight), Some(bias)], &[1, 2], Roundings(8.0));
    }

    let windows: [(&str, Window, &[usize]); 6] = [
        ("plain", Window::new([3, 2]), &[2, 3, 5, 4]),
        ("padded", Window::new([3, 3]).stride(2).padding([(1, 2), (0, 1)]), &[1, 2, 6, 5]),
        ("dilated", Window::new([2, 2]).dilation([2, 3]).padding(1), &[1, 2, 6, 5]),
        ("ceil", Window::new([3, 3]).stride(2).ceil_mode(true), &[1, 2, 6, 7]),
        ("line", Window::new([4]).padding(Padding::SameUpper), &[2, 2, 7]),
        ("volume", Window::new([2, 1, 2]).stride([1, 2, 1]), &[1, 2, 3, 4, 2]),
    ];
    for (name, window, x) in windows {
        c.unary(name, Im2col { window }, x, Bits);
    }
}

fn pools(c: &mut Cases) {
    let windows: [(&str, Window, &[usize], bool); 9] = [
        ("plain", Window::new([2, 2]).stride(2), &[2, 3, 6, 5], true),
        ("padded", Window::new([3, 3]).stride(2).padding([(1, 1), (0, 2)]), &[1, 2, 7, 6], true),
        ("ceil", Window::new([3, 3]).stride(2).ceil_mode(true), &[1, 2, 6, 8], true),
        (
            "ceil_padded",
            Window::new([3, 2]).stride([2, 3]).padding([(1, 1), (1, 0)]).ceil_mode(true),
            &[1, 2, 6, 8],
            true,
        ),
        ("dilated", Window::new([2, 3]).dilation([3, 2]), &[1, 2, 7, 8], true),
        ("same_upper", Window::new([3, 3]).stride(2).padding(Padding::SameUpper), &[1, 2, 6, 7], true),
        ("same_lower", Window::new([2, 2]).padding(Padding::SameLower), &[1, 2, 6, 7], true),
        ("line", Window::new([3]).stride(2).padding(1), &[2, 2, 9], true),
        (
            "wide_padding",
            Window::new([2, 2]).dilation([3, 2]).padding([(3, 2), (2, 2)]).ceil_mode(true),
            &[1, 2, 6, 5],
            false,
        ),
    ];
    for (name, window, x, direct) in windows {
        // What is written with other nodes than one pool rounds in other places.
        let same = if direct { Bits } else { Roundings(16.0) };
        c.unary(&format!("max_{name}"), Pool::new(PoolKind::Max, window.clone()), x, Bits);
        for count_include_pad in [false, true] {
            let kind = PoolKind::Average { count_include_pad };
            let composed = count_include_pad && window.has_ceil_mode();
            let name = format!("average_{name}{}", if count_include_pad { "_with_pad" } else { "" });
            c.unary(&name, Pool::new(kind, window.clone()), x, if composed { Roundings(16.0) } else { same });
        }
        for p in [1f32, 2.0, 3.0, 2.5] {
            let same = if p.fract() == 0.0 { Bits } else { Roundings(64.0) };
            c.unary(&format!("lp{p}_{name}"), Pool::new(PoolKind::Lp { p }, window.clone()), x, same);
        }
        if direct {
            for (order, indices) in [("rows", IndexOrder::RowMajor), ("columns", IndexOrder::ColumnMajor)] {
                let op = Pool { indices: Some(indices), ..Pool::new(PoolKind::Max, window.clone()) };
                c.unary(&format!("max_{name}_indices_{order}"), op, x, Bits);
            }
        }
    }
    let volume = Window::new([2, 2, 1]).stride([2, 1, 1]);
    for kind in [PoolKind::Max, PoolKind::Average { count_include_pad: false }, PoolKind::Lp { p: 2.0 }] {
        c.unary(
            &format!("volume_{kind:?}").replace([' ', '{', '}', ':'], ""),
            Pool::new(kind, volume.clone()),
            &[1, 2, 4, 3, 3],
            Bits,
        );
    }
}

fn products(c: &mut Cases) {
    for (trans_a, trans_b) in [(false, false), (true, false), (false, true), (true, true)] {
        let op = Gemm { trans_a, trans_b, ..Gemm::default() };
        let scaled = Gemm { alpha: 0.5, beta: -2.0, activation: Some(Activation::Relu), ..op.clone() };
        let name = format!("{}{}", if trans_a { "t" } else { "n" }, if trans_b { "t" } else { "n" });
        let matrix = |rows: usize, columns: usize, transposed: bool| {
            if transposed { [columns, rows] } else { [rows, columns] }
        };
        let (a, b) = (matrix(3, 5, trans_a), matrix(5, 4, trans_b));
        let (a, b) = (c.random(&a), c.random(&b));
        c.add(&name, op.clone(), vec![Some(a.clone()), Some(b.clone())], &[1], Bits);
        for bias in [&[4][..], &[3, 1], &[1], &[], &[3, 4]] {
            let bias_name =
                format!("{name}_scaled_bias{}", bias.iter().map(|d| format!("_{d}")).collect::<String>());
            let bias = c.random(bias);
            c.add(
                &bias_name,
                scaled.clone(),
                vec![Some(a.clone()), Some(b.clone()), Some(bias)],
                &[],
                Roundings(8.0),
            );
        }
        let batch =
            |m: [usize; 2], batch: &[usize]| -> Vec<usize> { batch.iter().copied().chain(m).collect() };
        let a = c.random(&batch(matrix(3, 5, trans_a), &[2, 1]));
        let b = c.random(&batch(matrix(5, 4, trans_b), &[3]));
        let bias = c.random(&[4]);
        c.add(&format!("{name}_batched"), op, vec![Some(a.clone()), Some(b.clone())], &[], Roundings(8.0));
        c.add(
            &format!("{name}_batched_scaled"),
            scaled,
            vec![Some(a), Some(b), Some(bias)],
            &[2],
            Roundings(8.0),
        );
    }
}

fn norms(c: &mut Cases) {
    let (x, scale, bias, mean, variance) =
        (c.random(&[2, 3, 4, 4]), c.random(&[3]), c.random(&[3]), c.random(&[3]), c.positive(&[3]));
    let operands = vec![Some(x), Some(scale), Some(bias), Some(mean), Some(variance)];
    c.add("image", BatchNorm { epsilon: 1e-3 }, operands, &[1, 2, 3, 4], Bits);

    for statistics in [false, true] {
        let suffix = if statistics { "_statistics" } else { "" };
        let op = |axis| Normalize { axis, epsilon: 1e-4, statistics };
        let (x, scale, bias) = (c.random(&[2, 3, 5]), c.random(&[3, 5]), c.random(&[3, 5]));
        c.add(
            &format!("layer{suffix}"),
            op(1),
            vec![Some(x.clone()), Some(scale.clone()), Some(bias)],
            &[1, 2],
            Bits,
        );
        c.add(&format!("layer_no_bias{suffix}"), op(1), vec![Some(x.clone()), Some(scale)], &[1], Bits);
        c.add(&format!("alone{suffix}"), op(1), vec![Some(x.clone())], &[], Roundings(32.0));
        c.add(&format!("nothing{suffix}"), op(3), vec![Some(x.clone())], &[], Roundings(32.0));
        let (row, image, channels) = (c.random(&[3, 1]), c.random(&[2, 3, 4, 4]), c.random(&[3, 1, 1]));
        c.add(&format!("row_bias{suffix}"), op(2), vec![Some(x), None, Some(row)], &[2], Roundings(32.0));
        let same = if statistics { Roundings(32.0) } else { Bits };
        c.add(
            &format!("instance{suffix}"),
            op(2),
            vec![Some(image), Some(channels.clone()), Some(channels)],
            &[1, 2],
            same,
        );
    }
    for (size, shape) in [
        (3, &[2, 7, 3, 4][..]),
        (1, &[1, 4, 2, 2]),
        (5, &[1, 3, 6, 1]),
        (4, &[2, 7, 3, 4]),
        (2, &[1, 5, 6]),
        (6, &[2, 3]),
    ] {
        let op = Lrn { size, alpha: 0.3, beta: 0.75, bias: 1.5 };
        let same = if size % 2 == 1 { Bits } else { Roundings(16.0) };
        c.unary(&format!("{size}_rank{}", shape.len()), op, shape, same);
    }
    for axis in 0..3 {
        for log in [false, true] {
            c.unary(
                &format!("{}{axis}", if log { "log" } else { "" }),
                Softmax { axis, log },
                &[2, 3, 4],
                Bits,
            );
        }
    }
}

fn reductions(c: &mut Cases) {
    use ReduceKind::*;
    for kind in [Sum, Mean, Max, Min, Prod, L1, L2, LogSum, LogSumExp, SumSquare] {
        let name = format!("{kind:?}").to_lowercase();
        for (axes_name, axes, keep_dims) in [
            ("all", Some(vec![0, 1, 2, 3]), false),
            ("last", Some(vec![3]), true),
            ("dropped", Some(vec![0, 2]), false),
            ("none", Some(vec![]), true),
            ("global", None, true),
            ("global_dropped", None, false),
        ] {
            let x = c.positive(&[2, 3, 2, 4]);
            let op = Reduce { kind, axes, keep_dims };
            let same = if axes_name == "none" { Roundings(8.0) } else { Bits };
            c.add(&format!("{name}_{axes_name}"), op, vec![Some(x)], &[], same);
        }
    }
    // Few values, so that many are equal.
    let values: Vec<f32> = (0..24).map(|i| ((i * 7) % 5) as f32 - 2.0).collect();
    let x = Tensor::new([2, 3, 4], values).unwrap();
    for axis in 0..3 {
        for (largest, select_last) in [(true, false), (true, true), (false, false), (false, true)] {
            for output in [ArgOutput::Index, ArgOutput::OneHot] {
                let name = format!("{output:?}_{axis}_{largest}_{select_last}");
                c.add(
                    &name,
                    ArgReduce { largest, axis, select_last, output },
                    vec![Some(x.clone())],
                    &[],
                    Bits,
                );
            }
        }
    }
}

fn layouts(c: &mut Cases) {
    for axis in 0..3 {
        let mut shape = vec![2, 3, 4];
        let a = c.random(&shape);
        shape[axis] = 1;
        let b = c.random(&shape);
        c.add(&format!("axis{axis}"), Concat { axis }, vec![Some(a.clone()), Some(b), Some(a)], &[1], Bits);
    }
    c.unary("one", Concat { axis: 0 }, &[2, 3], Bits);
    c.unary("at_inference", Dropout { rate: 0.25, seed: 3 }, &[2, 3, 4], Bits);
    for (name, op) in [
        ("flatten0", Reshape::Flatten { axis: 0 }),
        ("flatten1", Reshape::Flatten { axis: 1 }),
        ("flatten3", Reshape::Flatten { axis: 3 }),
        ("to", Reshape::To(vec![4, 1, 6])),
    ] {
        c.unary(name, op, &[2, 3, 4], Bits);
    }
    c.unary("scalar", Reshape::To(vec![]), &[1, 1], Bits);

    for axis in 0..3 {
        let x = c.random(&[3, 4, 3]);
        let indices = Tensor::new([2, 2], vec![0i64, -1, 2, -3]).unwrap();
        for (name, constants) in [("known", &[1][..]), ("run_time", &[])] {
            c.add(
                &format!("{name}{axis}"),
                Gather { axis },
                vec![Some(x.clone()), Some(indices.clone())],
                constants,
                Bits,
            );
        }
        let outside = Tensor::new([5], vec![0i64, 7, -9, 1, -2]).unwrap();
        c.add(&format!("outside{axis}"), Gather { axis }, vec![Some(x), Some(outside)], &[1], Bits);
    }
    let (x, one) = (Tensor::new([2, 3], vec![1i64, 2, 3, 4, 5, 6]).unwrap(), Tensor::scalar(1i64));
    c.add("scalar_of_i64", Gather { axis: 1 }, vec![Some(x), Some(one)], &[1], Bits);

    rearrangements(c);

    let linear = Resample {
        axis: 2,
        taps: 2,
        indices: vec![0, 0, 0, 1, 1, 2, 2, 2],
        weights: vec![1.0, 0.0, 0.25, 0.75, 0.5, 0.5, 1.0, 0.0],
    };
    c.unary("linear", linear, &[1, 2, 3, 2], Roundings(8.0));
    let nearest = Resample { axis: 3, taps: 1, indices: vec![0, 0, 1, 1, 0], weights: vec![1.0; 5] };
    c.unary("nearest", nearest.clone(), &[1, 2, 3, 2], Bits);
    c.unary(
        "scaled",
        Resample { weights: vec![1.0, 0.5, 0.0, 2.0, 1.0], ..nearest },
        &[1, 2, 3, 2],
        Roundings(8.0),
    );
    let blank = Resample {
        axis: 0,
        taps: 3,
        indices: vec![0, 1, 2, 0, 0, 0],
        weights: vec![-0.1, 1.2, -0.1, 0.0, 0.0, 0.0],
    };
    c.unary("cubic_and_blank", blank, &[3, 2], Roundings(8.0));
}

fn rearrangements(c: &mut Cases) {
    let map = |input_axis: usize, size: usize, start: i64, step: i64| AxisMap {
        input_axis: Some(input_axis),
        size,
        start,
        step,
    };
    let new = |size: usize| AxisMap { input_axis: None, size, start: 0, step: 1 };
    let zero = Border::Constant(0.0);
    let cases: Vec<(&str, Vec<AxisMap>, Border)> = vec![
        ("identity", Rearrange::identity(&[3, 4, 5]).axes, zero),
        ("transpose", Rearrange::transpose(&[3, 4, 5], &[2, 0, 1]).axes, zero),
        ("slice", vec![map(0, 2, 1, 1), map(1, 2, 0, 2), map(2, 3, 4, -2)], zero),
        ("reverse", vec![map(0, 3, 2, -1), map(1, 4, 3, -1), map(2, 5, 4, -1)], zero),
        ("reverse_part", vec![map(0, 2, 2, -1), map(1, 1, 1, -1), map(2, 2, 3, -2)], zero),
        ("drop", vec![map(2, 5, 0, 1)], zero),
        ("drop_and_slice", vec![map(2, 2, 3, 1), map(0, 3, 0, 1)], zero),
        ("empty", vec![map(0, 3, 0, 1), map(1, 0, 2, 1), map(2, 5, 0, 1)], zero),
        ("expand", vec![new(2), map(0, 3, 0, 1), new(1), map(1, 4, 0, 1), map(2, 5, 0, 1), new(3)], zero),
        ("expand_and_drop", vec![map(1, 4, 0, 1), new(4)], zero),
        ("pad", vec![map(0, 6, -1, 1), map(1, 5, 0, 1), map(2, 9, -4, 1)], Border::Constant(-1.5)),
        ("crop_and_pad", vec![map(0, 3, 0, 1), map(1, 5, 1, 1), map(2, 5, -2, 1)], Border::Constant(2.0)),
        (
            "strided_past_the_end",
            vec![map(0, 3, 0, 2), map(1, 4, 0, 1), map(2, 4, -2, 3)],
            Border::Constant(0.5),
        ),
        (
            "everything_outside",
            vec![map(0, 3, 7, 1), map(1, 4, 0, 1), map(2, 2, -9, 1)],
            Border::Constant(0.25),
        ),
        ("edge", vec![map(0, 8, -2, 1), map(1, 4, 0, 1), map(2, 17, -6, 1)], Border::Edge),
        ("edge_backwards", vec![map(0, 6, 4, -1), map(1, 4, 0, 1), map(2, 5, 0, 1)], Border::Edge),
        ("reflect", vec![map(0, 7, -2, 1), map(1, 6, -1, 1), map(2, 5, 0, 1)], Border::Reflect),
        ("reflect_far", vec![map(0, 20, -9, 1), map(1, 4, 0, 1), map(2, 5, 0, 1)], Border::Reflect),
        ("wrap", vec![map(0, 8, -2, 1), map(1, 9, -1, 1), map(2, 5, 0, 1)], Border::Wrap),
        ("wrap_far", vec![map(0, 20, -9, 1), map(1, 4, 0, 1), map(2, 5, 0, 1)], Border::Wrap),
        ("tile", vec![map(0, 6, 0, 1), map(1, 4, 0, 1), map(2, 15, 0, 1)], Border::Wrap),
        ("tile_and_wrap", vec![map(0, 6, 0, 1), map(1, 9, -3, 1), map(2, 15, 0, 1)], Border::Wrap),
        ("repeated_place", vec![map(0, 3, 0, 1), map(1, 6, 2, 0), map(2, 5, 0, 1)], zero),
        ("all_at_once", vec![map(2, 4, 3, -1), new(2), map(0, 7, -2, 2)], Border::Constant(9.0)),
    ];
    for (name, axes, border) in cases {
        let op = Rearrange { axes, border };
        c.unary(name, op.clone(), &[3, 4, 5], Bits);
        let integers = Tensor::new([3, 4, 5], (0..60i64).map(|i| i - 30).collect()).unwrap();
        let truths = Tensor::new([3, 4, 5], (0..60).map(|i| i % 3 == 0).collect::<Vec<bool>>()).unwrap();
        if !matches!(border, Border::Constant(value) if value != 0.0) {
            c.add(&format!("{name}_i64"), op.clone(), vec![Some(integers)], &[], Bits);
            c.add(&format!("{name}_bool"), op, vec![Some(truths)], &[], Bits);
        }
    }
}

fn cases() -> Vec<Case> {
    let mut c = Cases { rng: Rng::new(20), all: Vec::new() };
    elementwise(&mut c);
    convolutions(&mut c);
    pools(&mut c);
    products(&mut c);
    norms(&mut c);
    reductions(&mut c);
    layouts(&mut c);
    c.all
}

/// The outputs as the graph is, without rewrites.
fn run(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
    let mut options = PlanOptions::default();
    options.passes = Passes::none();
    options.reject_nan = false;
    Device::cpu().compile_with(graph, &options)?.run(inputs)
}

fn read_back(graph: &Graph) -> Result<Graph, Error> {
    Model::from_bytes(&onnx::to_bytes(graph)?[..])?.graph(&Bindings::new())
}

/// How `actual` differs from `expected` by more than it may.
fn difference(expected: &Tensor, actual: &Tensor, same: Same) -> Option<String> {
    if expected.shape() != actual.shape() || expected.dtype() != actual.dtype() {
        let (e, a) = (expected, actual);
        return Some(format!("{} {} instead of {} {}", a.dtype(), a.shape(), e.dtype(), e.shape()));
    }
    let (Ok(e), Ok(a)) = (expected.values::<f32>(), actual.values::<f32>()) else {
        return (expected != actual).then(|| format!("{actual:?} instead of {expected:?}"));
    };
    let largest = e.iter().filter(|v| v.is_finite()).fold(0f32, |m, v| m.max(v.abs()));
    let bound = match same {
        Bits => 0.0,
        Roundings(n) => n * largest * 2f32.powi(-24),
    };
    let wrong = |e: f32, a: f32| match same {
        Bits => e.to_bits() != a.to_bits() && !(e.is_nan() && a.is_nan()),
        Roundings(_) => {
            let close = (e - a).abs() <= bound;
            e != a && !(e.is_nan() && a.is_nan()) && !close
        }
    };
    let at = e.iter().zip(a).position(|(&e, &a)| wrong(e, a))?;
    Some(format!("element {at} is {:e} instead of {:e}, permitted {bound:e}", a[at], e[at]))
}

/// Where the cases are left, one folder each.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("export")
}

fn write_npy(file: &Path, tensor: &Tensor) {
    fn all<T: npyz::AutoSerialize + Copy>(file: &Path, shape: &Shape, values: &[T]) {
        let shape: Vec<u64> = shape.iter().map(|&d| d as u64).collect();
        let out = std::io::BufWriter::new(File::create(file).unwrap());
        let mut out = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(out).begin_nd().unwrap();
        out.extend(values.iter().copied()).unwrap();
        out.finish().unwrap();
    }
    match tensor.dtype() {
        DType::F32 => all(file, tensor.shape(), tensor.values::<f32>().unwrap()),
        DType::I64 => all(file, tensor.shape(), tensor.values::<i64>().unwrap()),
        DType::Bool => all(file, tensor.shape(), tensor.values::<bool>().unwrap()),
        other => panic!("a tensor of {other}"),
    }
}

#[test]
fn every_operator_is_read_back_as_it_was() {
    let mut failures = Vec::new();
    let mut names = BTreeSet::new();
    let _ = std::fs::remove_dir_all(folder());
    for case in cases() {
        assert!(names.insert(case.name.clone()), "two cases are called {}", case.name);
        let (graph, inputs) = case.graph();
        let expected = run(&graph, &inputs).unwrap_or_else(|e| panic!("{}: {e}", case.name));

        let place = folder().join(&case.name);
        std::fs::create_dir_all(&place).unwrap();
        onnx::save(&graph, place.join("model.onnx")).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        for (kind, tensors) in [("input", &inputs), ("output", &expected)] {
            for (i, tensor) in tensors.iter().enumerate() {
                write_npy(&place.join(format!("{kind}_{i}.npy")), tensor);
            }
        }

        let again = read_back(&graph).and_then(|again| {
            let names =
                |g: &Graph| g.outputs().iter().map(|&id| g.value(id).name.clone()).collect::<Vec<_>>();
            assert_eq!(names(&graph), names(&again), "{}", case.name);
            run(&again, &inputs)
        });
        match again {
            Err(e) => failures.push(format!("{}: {e}", case.name)),
            Ok(actual) => {
                assert_eq!(actual.len(), expected.len(), "{}", case.name);
                let all = expected.iter().zip(&actual).filter_map(|(e, a)| difference(e, a, case.same));
                failures.extend(all.map(|d| format!("{}: {d}", case.name)));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), names.len(), failures.join("\n"));
}

#[test]
fn there_is_a_case_of_every_operator() {
    let (written, refused) = (cases(), training_steps());
    let covered: BTreeSet<_> =
        written.iter().map(|case| case.op.name()).chain(refused.iter().map(|(op, _)| op.name())).collect();
    let all: BTreeSet<_> = Op::NAMES.iter().copied().collect();
    assert_eq!(covered, all);
}

/// An operator of each kind that only training steps have, and the shapes of its operands.
fn training_steps() -> Vec<(Op, Vec<Vec<usize>>)> {
    let like = |count: usize| vec![vec![2, 3]; count];
    let rates = |count: usize, rates: usize| [like(count), vec![vec![rates]]].concat();
    let adam = Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, decoupled: false };
    vec![
        (ActivationGradient { activation: Activation::Relu }.into(), like(2)),
        (adam.into(), rates(4, 3)),
        (
            ConvWeight { window: Window::new([3, 3]), groups: 1 }.into(),
            vec![vec![1, 2, 5, 5], vec![1, 3, 3, 3]],
        ),
        (Dropout { rate: 0.5, seed: 0 }.into(), rates(1, 1)),
        (
            PoolGradient {
                kind: PoolKind::Average { count_include_pad: true },
                window: Window::new([2, 2]).stride([2, 2]),
                sizes: vec![4, 4],
            }
            .into(),
            vec![vec![1, 2, 2, 2]],
        ),
        (Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.0 }.into(), rates(3, 1)),
    ]
}

#[test]
fn steps_of_training_are_refused() {
    for (op, shapes) in training_steps() {
        let mut graph = Graph::new("step");
        let ids: Vec<_> = shapes
            .iter()
            .enumerate()
            .map(|(i, shape)| {
                graph.input(format!("operand {i}"), Info::f32(Shape::new(shape.clone()).unwrap()))
            })
            .collect();
        let output = graph.push("the layer", op.clone(), &ids).unwrap();
        graph.output(output);
        let error = onnx::to_bytes(&graph).unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, Error::Onnx { .. }) && text.contains("the layer") && text.contains(op.name()),
            "{text}"
        );
    }
}

#[test]
fn a_difference_is_seen() {
    let tensor = |values: &[f32]| Tensor::new([values.len()], values.to_vec()).unwrap();
    let e = tensor(&[1.0, 0.0, f32::NAN]);
    assert_eq!(difference(&e, &e, Bits), None);
    assert_eq!(difference(&e, &tensor(&[1.0, 1e-7, f32::NAN]), Roundings(2.0)), None);
    assert!(difference(&e, &tensor(&[1.0, 1e-6, f32::NAN]), Roundings(2.0)).is_some());
    assert!(difference(&e, &tensor(&[1.0, -0.0, f32::NAN]), Bits).is_some());
    assert!(difference(&e, &tensor(&[1.0, 0.0, 0.0]), Roundings(2.0)).is_some());
    assert!(difference(&e, &tensor(&[1.0, 0.0]), Bits).is_some());
}

/// Networks of the zoo as they are, which is bit for bit; and after the passes, which fuse what is written apart.
#[test]
fn networks_are_read_back_as_they_were() {
    for name in ["lenet5", "squeezenet1_1", "mobilenet_v2", "resnet18"] {
        let graph = zoo::load(name).unwrap();
        let shape = graph.value(graph.inputs()[0]).info.shape.to_vec();
        let count = shape.iter().product();
        let x = Tensor::new(shape, support::random::values(7, count)).unwrap();
        let plan = |graph: &Graph| Device::cpu().compile(graph).unwrap().run_one(&x).unwrap();
        let expected = plan(&graph);
        let again = read_back(&graph).unwrap();
        assert_eq!(difference(&expected, &plan(&again), Bits), None, "{name}");
        assert_eq!(graph.summary().parameters, again.summary().parameters, "{name}");
        assert_eq!(graph.summary().macs, again.summary().macs, "{name}");

        let fused = read_back(&optimize(&graph, &Passes::default()).unwrap()).unwrap();
        assert_eq!(difference(&expected, &plan(&fused), Bits), None, "{name} after the passes");
    }
}

#[test]
fn a_batch_stays_a_batch() {
    let graph = zoo::lenet5().unwrap().with_batch(3).unwrap();
    let model = Model::from_bytes(&onnx::to_bytes(&graph).unwrap()[..]).unwrap();
    assert!(model.opset() >= 17);
    let input = &model.inputs()[0];
    assert_eq!(input.element, Some(ElementType::F32));
    assert_eq!(input.dims.as_ref().unwrap()[0].to_string(), "3");
    assert_eq!(model.graph(&Bindings::new()).unwrap().value(graph.outputs()[0]).info.shape[0], 3);
}

#[test]
fn only_what_the_outputs_need_is_written() {
    let graph = zoo::resnet18().unwrap();
    let layer = graph.value(graph.nodes()[2].outputs[0]).name.clone();
    let whole = onnx::to_bytes(&graph).unwrap().len();
    let part = onnx::to_bytes(&graph.with_outputs(&[&layer]).unwrap()).unwrap().len();
    assert!(part < whole / 100, "{part} of {whole} bytes");
}

/// Names that ONNX cannot have, values returned twice, inputs and constants returned as they are.
#[test]
fn odd_graphs_are_written_too() {
    let mut graph = Graph::new("");
    let x = graph.input("", Info::f32(Shape::new([2]).unwrap()));
    let w = graph.constant("w", Tensor::new([2], vec![3f32, 4.0]).unwrap());
    let y = graph.push_node("y", Op::from(Binary::Add), &[Some(x), Some(w)]).unwrap()[0];
    for id in [y, y, x, w] {
        graph.output(id);
    }
    let again = read_back(&graph).unwrap();
    let x = Tensor::new([2], vec![10f32, 20.0]).unwrap();
    let outputs = run(&again, std::slice::from_ref(&x)).unwrap();
    let values: Vec<_> = outputs.iter().map(|t| t.values::<f32>().unwrap()).collect();
    assert_eq!(values, [&[13.0, 24.0][..], &[13.0, 24.0], &[10.0, 20.0], &[3.0, 4.0]]);
}

#[test]
fn a_file_appears_whole_or_not_at_all() {
    let graph = zoo::lenet5().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.onnx");
    onnx::save(&graph, &path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), onnx::to_bytes(&graph).unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let nowhere = folder.path().join("missing").join("net.onnx");
    assert!(matches!(onnx::save(&graph, nowhere), Err(Error::Io { .. })));
    assert!(matches!(onnx::save(&Graph::new("empty"), &path), Err(Error::Graph(_))));
}
