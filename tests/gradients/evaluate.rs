//! A graph computed by the oracle, in f64 and with the errors that f32 may make, which go on from node to node.

use wgpu_cnn::graph::{Graph, Node, ValueId};
use wgpu_cnn::ops::arg_reduce::ArgOutput;
use wgpu_cnn::ops::rearrange::Border;
use wgpu_cnn::ops::{self, Op, PoolKind, ReduceKind};
use wgpu_cnn::{DType, Tensor, window};

use crate::support::oracle::activation::Activation;
use crate::support::oracle::approx::{Approx, Products};
use crate::support::oracle::convolution::{self, Epilogue, Window};
use crate::support::oracle::elementwise::{Binary, binary};
use crate::support::oracle::reduction::{Arg, Reduce, arg, reduce};
use crate::support::oracle::training::dropout;
use crate::support::oracle::{
    Answer, broadcast_position, layout, matmul, normalization, per_index, pooling, position,
};

/// The elements of a value.
#[derive(Clone, Debug)]
pub enum Data {
    Real(Vec<Approx>),
    Index(Vec<i64>),
    Truth(Vec<bool>),
}

impl Data {
    pub fn real(&self) -> &[Approx] {
        match self {
            Data::Real(values) => values,
            other => panic!("expected numbers, got {other:?}"),
        }
    }

    fn index(&self) -> &[i64] {
        match self {
            Data::Index(values) => values,
            other => panic!("expected indices, got {other:?}"),
        }
    }

    fn truth(&self) -> &[bool] {
        match self {
            Data::Truth(values) => values,
            other => panic!("expected truth values, got {other:?}"),
        }
    }
}

impl From<&Tensor> for Data {
    fn from(tensor: &Tensor) -> Self {
        match tensor.dtype() {
            DType::I64 => Data::Index(tensor.values().unwrap().to_vec()),
            DType::Bool => Data::Truth(tensor.values().unwrap().to_vec()),
            _ => Data::Real(tensor.values::<f32>().unwrap().iter().map(|&v| v.into()).collect()),
        }
    }
}

impl From<Answer> for Data {
    fn from(answer: Answer) -> Self {
        Data::Real((0..answer.value.len()).map(|i| answer.approx(i)).collect())
    }
}

/// All values of a graph; `given` has those of its inputs, and of constants that are to be others than the graph's.
pub fn evaluate(graph: &Graph, given: impl Fn(ValueId) -> Option<Data>) -> Vec<Data> {
    let mut data = vec![Data::Real(Vec::new()); graph.values().len()];
    let ids = graph.inputs().iter().copied();
    let constants = graph.nodes().iter().flat_map(|node| node.inputs.iter().flatten().copied());
    for id in ids.chain(constants) {
        let known = || graph.value(id).constant.as_ref().map(Data::from);
        if let Some(values) = given(id).or_else(known) {
            data[id.index()] = values;
        }
    }
    for node in graph.nodes() {
        let results = compute(graph, node, &data);
        for (id, result) in node.outputs.iter().zip(results) {
            data[id.index()] = result;
        }
    }
    data
}

/// What a node computes of the values before it.
pub fn compute(graph: &Graph, node: &Node, data: &[Data]) -> Vec<Data> {
    Operands { graph, node, data }.compute()
}

struct Operands<'a> {
    graph: &'a Graph,
    node: &'a Node,
    data: &'a [Data],
}

impl<'a> Operands<'a> {
    fn get(&self, i: usize) -> Option<&'a Data> {
        self.node.inputs.get(i).copied().flatten().map(|id| &self.data[id.index()])
    }

    fn data(&self, i: usize) -> &'a Data {
        self.get(i).expect("an operand")
    }

    fn real(&self, i: usize) -> &'a [Approx] {
        self.data(i).real()
    }

    fn shape(&self, i: usize) -> &'a [usize] {
        let id = self.node.inputs[i].expect("an operand");
        &self.graph.value(id).info.shape
    }

    fn output(&self) -> &'a [usize] {
        &self.graph.value(self.node.outputs[0]).info.shape
    }

    fn compute(&self) -> Vec<Data> {
        let one = |answer: Answer| vec![Data::from(answer)];
        match &self.node.op {
            Op::Activation(op) => {
                let theirs = activation(*op);
                vec![Data::Real(self.real(0).iter().map(|&x| theirs.of(x)).collect())]
            }
            Op::ActivationGradient(op) => vec![self.activation_gradient(op.activation)],
            Op::ArgReduce(op) => vec![self.arg_reduce(op)],
            Op::BatchNorm(op) => one(normalization::batch_norm(
                self.real(0),
                self.shape(0),
                self.real(1),
                self.real(2),
                self.real(3),
                self.real(4),
                op.epsilon,
            )),
            Op::Binary(op) => {
                one(binary(theirs(*op), self.real(0), self.shape(0), self.real(1), self.shape(1)))
            }
            Op::Concat(op) => {
                let parts: Vec<_> =
                    (0..self.node.inputs.len()).map(|i| (self.real(i), self.shape(i))).collect();
                vec![Data::Real(layout::concat(&parts, op.axis).value)]
            }
            Op::Conv(op) => {
                let window = reference(&op.window, &self.shape(0)[2..]);
                let sums = convolution::conv(
                    self.real(0),
                    self.shape(0),
                    self.real(1),
                    self.shape(1),
                    op.groups,
                    &window,
                    Epilogue::default(),
                );
                vec![self.finish(sums, op.activation)]
            }
            Op::ConvTranspose(op) => {
                let window = reference(op.window.window(), &[]);
                let more = op.window.output_paddings().get(window.kernel.len()).unwrap();
                assert_eq!(op.window.output_sizes(), None, "an output size");
                let sums = convolution::conv_transpose(
                    self.real(0),
                    self.shape(0),
                    self.real(1),
                    self.shape(1),
                    op.groups,
                    &window,
                    &more,
                    Epilogue::default(),
                );
                vec![self.finish(sums, op.activation)]
            }
            Op::ConvWeight(op) => {
                let window = reference(&op.window, &self.shape(0)[2..]);
                one(convolution::conv_weight(
                    self.real(0),
                    self.shape(0),
                    self.real(1),
                    self.shape(1),
                    op.groups,
                    &window,
                ))
            }
            Op::Dropout(op) => vec![self.dropout(op)],
            Op::Gather(op) => vec![Data::Real(
                layout::gather(self.real(0), self.shape(0), self.data(1).index(), self.shape(1), op.axis)
                    .value,
            )],
            Op::Gemm(op) => vec![self.gemm(op)],
            Op::Im2col(op) => {
                let window = reference(&op.window, &self.shape(0)[2..]);
                vec![Data::Real(convolution::im2col(self.real(0), self.shape(0), 1, &window).value)]
            }
            Op::Lrn(op) => {
                one(normalization::lrn(self.real(0), self.shape(0), op.size, op.alpha, op.beta, op.bias))
            }
            Op::Normalize(op) => self.normalize(op),
            Op::Pool(op) => self.pool(op),
            Op::PoolGradient(op) => {
                let shape = self.output();
                let window = reference(&op.window, &op.sizes);
                one(match op.kind {
                    PoolKind::Max => pooling::max_pool_gradient(self.real(0), self.data(1).index(), shape),
                    PoolKind::Average { count_include_pad } => {
                        pooling::average_pool_gradient(self.real(0), shape, &window, count_include_pad)
                    }
                    other => panic!("{other:?}"),
                })
            }
            Op::Rearrange(op) => vec![match self.data(0) {
                Data::Real(x) => {
                    let border = match op.border {
                        Border::Constant(value) => Approx::exact(value),
                        _ => Approx::exact(0.0),
                    };
                    Data::Real(self.rearrange(op, x, border))
                }
                Data::Index(x) => Data::Index(self.rearrange(op, x, 0)),
                Data::Truth(x) => Data::Truth(self.rearrange(op, x, false)),
            }],
            Op::Reduce(op) => {
                let shape = self.shape(0);
                let axes = op.axes.clone().unwrap_or_else(|| (2..shape.len()).collect());
                one(reduce(reduction(op.kind), self.real(0), shape, &axes, op.keep_dims))
            }
            Op::Resample(op) => vec![self.resample(op)],
            Op::Reshape(_) => vec![self.data(0).clone()],
            Op::Select(_) => {
                let (condition, a, b) = (self.data(0).truth(), self.real(1), self.real(2));
                let at = |i: usize, index: &[usize]| broadcast_position(index, self.shape(i));
                vec![Data::Real(per_index(self.output(), |index| {
                    if condition[at(0, index)] { a[at(1, index)] } else { b[at(2, index)] }
                }))]
            }
            Op::Softmax(op) if op.log => {
                one(normalization::log_softmax(self.real(0), self.shape(0), op.axis))
            }
            Op::Softmax(op) => one(normalization::softmax(self.real(0), self.shape(0), op.axis)),
            other => panic!("the oracle has no {}", other.name()),
        }
    }

    /// Bias and residual behind the sums of a convolution, then the activation.
    fn finish(&self, sums: Answer, fused: Option<ops::Activation>) -> Data {
        let elements = per_index(&sums.shape, |index| {
            let i = position(index, &sums.shape);
            let mut sum = sums.approx(i);
            if let Some(bias) = self.get(2) {
                sum = sum + bias.real()[index[1]];
            }
            if let Some(residual) = self.get(3) {
                sum = sum + residual.real()[i];
            }
            fused.map_or(sum, |fused| activation(fused).of(sum))
        });
        Data::Real(elements)
    }

    /// The derivative at a number that is itself computed moves as far as it does where that number may be.
    fn activation_gradient(&self, ours: ops::Activation) -> Data {
        let theirs = activation(ours);
        let slope = |v: f64| match ours.gradient_from_output() {
            true => theirs.slope_of_output(v).expect("a function of its output"),
            false => theirs.slope(v),
        };
        let element = |(v, dy): (&Approx, &Approx)| {
            let at = slope(v.value);
            let moved = [-v.error, v.error].map(|error| (slope(v.value + error).value - at.value).abs());
            *dy * Approx { error: at.error + moved[0].max(moved[1]), ..at }
        };
        Data::Real(self.real(0).iter().zip(self.real(1)).map(element).collect())
    }

    fn arg_reduce(&self, op: &ops::ArgReduce) -> Data {
        let shape = self.shape(0);
        let values: Vec<f64> = self.real(0).iter().map(|x| x.value).collect();
        let kind = if op.largest { Arg::Max } else { Arg::Min };
        let found = arg(kind, &values, shape, op.axis, true, op.select_last);
        match op.output {
            ArgOutput::Index => Data::Index(found.value),
            ArgOutput::OneHot => Data::Real(per_index(shape, |index| {
                let place = found.value[broadcast_position(index, &found.shape)];
                Approx::exact(f32::from(place == index[op.axis] as i64))
            })),
        }
    }

    fn dropout(&self, op: &ops::Dropout) -> Data {
        let x = self.real(0);
        let Some(step) = self.get(1) else { return Data::Real(x.to_vec()) };
        let step = (step.real()[0].value as f32).to_bits();
        let kept = dropout(op.rate, op.seed, step, &vec![1.0; x.len()], self.shape(0));
        Data::Real(x.iter().zip(kept.value).map(|(&x, factor)| x * Approx::constant(factor.into())).collect())
    }

    fn gemm(&self, op: &ops::Gemm) -> Data {
        let stored = |i: usize, transposed: bool| {
            let shape = self.shape(i);
            let mut order: Vec<usize> = (0..shape.len()).collect();
            if transposed {
                order.swap(shape.len() - 2, shape.len() - 1);
            }
            layout::transpose(self.real(i), shape, &order)
        };
        let (a, b) = (stored(0, op.trans_a), stored(1, op.trans_b));
        let product = matmul::matmul(&a.value, &a.shape, &b.value, &b.shape);
        let elements = per_index(&product.shape, |index| {
            let mut sum = product.approx(position(index, &product.shape)) * Approx::exact(op.alpha);
            if let Some(c) = self.get(2) {
                sum = sum + Approx::exact(op.beta) * c.real()[broadcast_position(index, self.shape(2))];
            }
            op.activation.map_or(sum, |fused| activation(fused).of(sum))
        });
        Data::Real(elements)
    }

    fn normalize(&self, op: &ops::Normalize) -> Vec<Data> {
        let (x, shape) = (self.real(0), self.shape(0));
        let operand = |i: usize| self.get(i).map(|data| (data.real(), self.shape(i)));
        let y = normalization::layer_norm(x, shape, op.axis, operand(1), operand(2), op.epsilon);
        let mut outputs = vec![Data::from(y)];
        if op.statistics {
            let axes: Vec<_> = (op.axis..shape.len()).collect();
            let mean = reduce(Reduce::Mean, x, shape, &axes, true);
            let squares = per_index(shape, |index| {
                let centred = x[position(index, shape)] - mean.approx(broadcast_position(index, &mean.shape));
                centred * centred
            });
            let variance = reduce(Reduce::Mean, &squares, shape, &axes, true);
            let inverse =
                |i: usize| Approx::exact(1.0) / (variance.approx(i) + Approx::exact(op.epsilon)).sqrt();
            let inverses = (0..variance.value.len()).map(inverse).collect();
            outputs.extend([Data::from(mean), Data::Real(inverses)]);
        }
        outputs
    }

    fn pool(&self, op: &ops::Pool) -> Vec<Data> {
        let (x, shape) = (self.real(0), self.shape(0));
        let window = reference(&op.window, &shape[2..]);
        match op.kind {
            PoolKind::Average { count_include_pad } => {
                vec![Data::from(pooling::average_pool(x, shape, &window, count_include_pad))]
            }
            PoolKind::Max => {
                let values: Vec<f64> = x.iter().map(|x| x.value).collect();
                let at = pooling::max_pool(&values, shape, &window, 0).1;
                let maxima = at.value.iter().map(|&at| x[at as usize]).collect();
                let order = usize::from(op.indices == Some(ops::pool::IndexOrder::ColumnMajor));
                let returned = pooling::max_pool(&values, shape, &window, order).1;
                let indices = op.indices.map(|_| Data::Index(returned.value));
                [Data::Real(maxima)].into_iter().chain(indices).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    fn rearrange<T: Copy>(&self, op: &ops::Rearrange, x: &[T], border: T) -> Vec<T> {
        let shape = self.shape(0);
        per_index(self.output(), |index| {
            let mut from = vec![0; shape.len()];
            for (map, &i) in op.axes.iter().zip(index) {
                let Some(axis) = map.input_axis else { continue };
                let (place, n) = (map.start + map.step * i as i64, shape[axis] as i64);
                let place = match op.border {
                    Border::Constant(_) if !(0..n).contains(&place) => return border,
                    Border::Constant(_) => place,
                    Border::Edge => place.clamp(0, n - 1),
                    Border::Wrap => place.rem_euclid(n),
                    Border::Reflect if n == 1 => 0,
                    Border::Reflect => {
                        let folded = place.rem_euclid(2 * (n - 1));
                        folded.min(2 * (n - 1) - folded)
                    }
                    other => panic!("{other:?}"),
                };
                from[axis] = place as usize;
            }
            x[position(&from, shape)]
        })
    }

    fn resample(&self, op: &ops::Resample) -> Data {
        let (x, shape) = (self.real(0), self.shape(0));
        let sums = per_index(self.output(), |index| {
            let mut sum = Products::default();
            for tap in index[op.axis] * op.taps..(index[op.axis] + 1) * op.taps {
                let mut from = index.to_vec();
                from[op.axis] = op.indices[tap];
                if op.weights[tap] != 0.0 {
                    sum.add(x[position(&from, shape)], op.weights[tap]);
                }
            }
            sum
        });
        Data::from(Products::answer(self.output().to_vec(), op.taps, &sums))
    }
}

/// A window in the oracle's terms; `input` is needed for `SAME` alone.
fn reference(window: &window::Window, input: &[usize]) -> Window {
    let rank = window.rank();
    let stride = window.strides().get(rank).unwrap();
    let reference = Window::new(window.kernel())
        .stride(&stride)
        .dilation(&window.dilations().get(rank).unwrap())
        .ceil(window.has_ceil_mode());
    let same = |axis: usize| {
        let covered = (input[axis].div_ceil(stride[axis]) - 1) * stride[axis] + reference.extent(axis);
        covered.saturating_sub(input[axis])
    };
    let pads: Vec<_> = match window.pads() {
        window::Padding::Valid => vec![(0, 0); rank],
        window::Padding::Uniform(pads) => pads.get(rank).unwrap().iter().map(|&p| (p, p)).collect(),
        window::Padding::Explicit(pads) => pads.clone(),
        window::Padding::SameUpper => {
            (0..rank).map(|axis| (same(axis) / 2, same(axis).div_ceil(2))).collect()
        }
        window::Padding::SameLower => {
            (0..rank).map(|axis| (same(axis).div_ceil(2), same(axis) / 2)).collect()
        }
    };
    reference.pads(&pads)
}

fn theirs(op: ops::Binary) -> Binary {
    match op {
        ops::Binary::Add => Binary::Add,
        ops::Binary::Sub => Binary::Sub,
        ops::Binary::Mul => Binary::Mul,
        ops::Binary::Div => Binary::Div,
        ops::Binary::Pow => Binary::Pow,
        ops::Binary::Min => Binary::Min,
        ops::Binary::Max => Binary::Max,
        ops::Binary::PRelu => Binary::PRelu,
        other => panic!("{other:?}"),
    }
}

fn reduction(kind: ReduceKind) -> Reduce {
    match kind {
        ReduceKind::Sum => Reduce::Sum,
        ReduceKind::Mean => Reduce::Mean,
        ReduceKind::Max => Reduce::Max,
        ReduceKind::Min => Reduce::Min,
        ReduceKind::Prod => Reduce::Prod,
        ReduceKind::L1 => Reduce::L1,
        ReduceKind::L2 => Reduce::L2,
        ReduceKind::LogSum => Reduce::LogSum,
        ReduceKind::LogSumExp => Reduce::LogSumExp,
        ReduceKind::SumSquare => Reduce::SumSquare,
        other => panic!("{other:?}"),
    }
}

/// An activation in the oracle's terms.
pub fn activation(ours: ops::Activation) -> Activation {
    macro_rules! same {
        ($($name:ident $({ $($field:ident),* })?),* $(,)?) => {
            match ours {
                $(ops::Activation::$name $({ $($field),* })? => Activation::$name $({ $($field),* })?,)*
                other => panic!("{other:?}"),
            }
        };
    }
    same!(
        Relu,
        LeakyRelu { alpha },
        Clip { min, max },
        Elu { alpha },
        Selu { alpha, gamma },
        Celu { alpha },
        Sigmoid,
        HardSigmoid { alpha, beta },
        Tanh,
        Softplus,
        Softsign,
        Silu { alpha },
        HardSwish,
        Gelu,
        GeluTanh,
        Mish,
        ThresholdedRelu { alpha },
        Erf,
        Exp,
        Log,
        Sqrt,
        Reciprocal,
        Abs,
        Neg,
        Floor,
        Ceil,
    )
}
