//! Transposed convolutions of one to three axes: strides, dilation, groups, cropping, output padding and stated sizes.

use wgpu_cnn::ops::{Activation, Conv, ConvTranspose};
use wgpu_cnn::window::{Padding, Transposed, Window};
use wgpu_cnn::{Device, PlanOptions, Tensor};

use crate::harness::{Case, each, random, values};
use crate::support::compare::{assert_within, bound, within};
use crate::support::oracle::convolution::{Epilogue, Window as Reference, conv, conv_transpose};
use crate::support::oracle::{Answer, activation};
use crate::support::random::{Rng, cases};

/// The rounding of one product, one sum and the activation, with a margin for another order of the sum.
const C: f64 = 2.0;

#[derive(Debug, Clone)]
struct Problem {
    x: Vec<usize>,
    group_filters: usize,
    groups: usize,
    window: Reference,
    output_padding: Vec<usize>,
    bias: bool,
    activation: Option<(Activation, activation::Activation)>,
}

impl Problem {
    fn plain(x: &[usize], group_filters: usize, kernel: &[usize]) -> Self {
        Problem {
            x: x.to_vec(),
            group_filters,
            groups: 1,
            window: Reference::new(kernel),
            output_padding: vec![0; kernel.len()],
            bias: true,
            activation: None,
        }
    }

    /// The window without its padding.
    fn bare(&self) -> Window {
        Window::new(self.window.kernel.clone())
            .stride(self.window.stride.clone())
            .dilation(self.window.dilation.clone())
    }

    fn transposed(&self) -> Transposed {
        Transposed::new(self.bare().padding(Padding::Explicit(self.window.pads.clone())))
            .output_padding(self.output_padding.clone())
    }

    /// The size along an axis before anything is cropped or added.
    fn spread(&self, axis: usize) -> usize {
        (self.x[2 + axis] - 1) * self.window.stride[axis] + self.window.extent(axis)
    }

    /// Operands, and what they must give.
    fn pose(&self, rng: &mut Rng) -> (Vec<Option<Tensor>>, Answer) {
        let weight_shape = [&[self.x[1], self.group_filters], &self.window.kernel[..]].concat();
        let x = random(rng, &self.x);
        let weight = random(rng, &weight_shape);
        let bias = self.bias.then(|| random(rng, &[self.group_filters * self.groups]));
        let epilogue = Epilogue {
            bias: bias.as_ref().map(values),
            residual: None,
            activation: self.activation.map(|(_, theirs)| theirs),
        };
        let answer = conv_transpose(
            values(&x),
            &self.x,
            values(&weight),
            &weight_shape,
            self.groups,
            &self.window,
            &self.output_padding,
            epilogue,
        );
        (vec![Some(x), Some(weight), bias], answer)
    }

    fn check(&self, rng: &mut Rng) {
        self.check_as(self.transposed(), rng);
    }

    /// Checks that `window` means this problem's.
    fn check_as(&self, window: Transposed, rng: &mut Rng) {
        let (operands, answer) = self.pose(rng);
        let op =
            ConvTranspose { window, groups: self.groups, activation: self.activation.map(|(ours, _)| ours) };
        let case = Case { op: op.clone().into(), operands, constants: vec![1, 2] };
        each(&case, &PlanOptions::default(), |label, outputs| {
            let label = format!("{label}: {op:?} of {self:?}");
            assert_eq!(outputs[0].shape()[..], answer.shape[..], "{label}");
            assert_within(&label, values(&outputs[0]), &answer, C);
        });
    }
}

/// A problem with neither padding nor output padding.
fn generated(rng: &mut Rng) -> Problem {
    let rank = rng.range(1..4);
    let largest = [24, 7, 4][rank - 1];
    let groups = rng.pick(&[1, 1, 1, 2, 3]);
    let per_axis = |rng: &mut Rng, range: std::ops::Range<usize>| -> Vec<usize> {
        (0..rank).map(|_| rng.range(range.clone())).collect()
    };
    let x = [vec![rng.range(1..4), groups * rng.range(1..5)], per_axis(rng, 1..largest)].concat();
    let kernel = per_axis(rng, 1..5);
    let window = Reference::new(&kernel).stride(&per_axis(rng, 1..4)).dilation(&per_axis(rng, 1..3));
    Problem {
        group_filters: rng.range(1..5),
        groups,
        bias: rng.chance(0.5),
        activation: rng.pick(&[
            None,
            Some((Activation::Relu, activation::Activation::Relu)),
            Some((Activation::Tanh, activation::Activation::Tanh)),
        ]),
        window,
        ..Problem::plain(&x, 1, &kernel)
    }
}

#[test]
fn generated_transposed_convolutions() {
    cases(0x70, 60, |rng| {
        let mut problem = generated(rng);
        for axis in 0..problem.window.kernel.len() {
            let limit = problem.window.stride[axis].max(problem.window.dilation[axis]);
            problem.output_padding[axis] = rng.range(0..limit);
            let full = problem.spread(axis) + problem.output_padding[axis];
            let before = rng.range(0..full.min(4));
            problem.window.pads[axis] = (before, rng.range(0..(full - before).min(4)));
        }
        problem.check(rng);
    });
}

#[test]
fn stated_output_sizes() {
    cases(0x71, 30, |rng| {
        let mut problem = generated(rng);
        let mut size = Vec::new();
        for axis in 0..problem.window.kernel.len() {
            let spread = problem.spread(axis);
            let limit = problem.window.stride[axis].max(problem.window.dilation[axis]);
            let wanted = rng.range(1.max(spread.saturating_sub(5))..spread + limit);
            let crop = spread.saturating_sub(wanted);
            // ONNX ConvTranspose: the odd one is cropped in front.
            problem.window.pads[axis] = (crop - crop / 2, crop / 2);
            problem.output_padding[axis] = wanted.saturating_sub(spread);
            size.push(wanted);
        }
        problem.check_as(Transposed::new(problem.bare()).output_size(size), rng);
    });
}

#[test]
fn the_same_size_times_the_stride() {
    cases(0x72, 30, |rng| {
        let problem = generated(rng);
        for padding in [Padding::SameUpper, Padding::SameLower] {
            let mut problem = problem.clone();
            for axis in 0..problem.window.kernel.len() {
                let (spread, wanted) =
                    (problem.spread(axis), problem.x[2 + axis] * problem.window.stride[axis]);
                let crop = spread.saturating_sub(wanted);
                let (less, more) = (crop / 2, crop - crop / 2);
                problem.window.pads[axis] =
                    if padding == Padding::SameUpper { (less, more) } else { (more, less) };
                problem.output_padding[axis] = wanted.saturating_sub(spread);
            }
            problem.check_as(Transposed::new(problem.bare().padding(padding)), rng);
        }
    });
}

#[test]
fn empty_batches_and_channels() {
    cases(0x73, 1, |rng| {
        Problem::plain(&[0, 3, 5, 5], 4, &[3, 3]).check(rng);
        Problem::plain(&[2, 0, 5, 5], 4, &[3, 3]).check(rng);
        Problem::plain(&[2, 3, 5, 5], 0, &[3, 3]).check(rng);
    });
}

#[test]
fn more_elements_than_a_workgroup_of_each_size() {
    cases(0x74, 1, |rng| {
        let mut problem = Problem::plain(&[2, 17, 9, 8], 13, &[4, 4]);
        problem.window = problem.window.stride(&[2, 2]).pads(&[(1, 1), (1, 1)]);
        problem.check(rng);
    });
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// How far `dot(of, result)` may be off where `result` is within the bounds of `answer`.
fn slack(of: &[f32], answer: &Answer) -> f64 {
    of.iter().enumerate().map(|(i, v)| f64::from(v.abs()) * bound(answer, i, C)).sum()
}

#[test]
fn the_adjoint_of_the_convolution() {
    cases(0x75, 30, |rng| {
        // <conv(x), y> = <x, conv_transpose(y)> for every x and y, with one weight.
        let mut problem = Problem { bias: false, activation: None, ..generated(rng) };
        for axis in 0..problem.window.kernel.len() {
            problem.output_padding[axis] = rng.range(0..problem.window.stride[axis]);
            let crop = rng.range(0..problem.spread(axis).min(3));
            problem.window.pads[axis] = (crop, 0);
        }
        let (operands, spread) = problem.pose(rng);
        let (y, weight) = (operands[0].clone().unwrap(), operands[1].clone().unwrap());
        let x = random(rng, &spread.shape);

        let window = problem.bare().padding(Padding::Explicit(problem.window.pads.clone()));
        let op = Conv { window, groups: problem.groups, activation: None };
        let (graph, inputs) = Case::new(op, &[&x, &weight]).graph();
        let forward = Device::cpu().compile(&graph).unwrap().run(&inputs).unwrap().remove(0);
        assert_eq!(forward.shape(), y.shape(), "{problem:?}");
        let expected = dot(values(&forward), values(&y));
        let convolved = conv(
            values(&x),
            x.shape(),
            values(&weight),
            weight.shape(),
            problem.groups,
            &problem.window,
            Epilogue::default(),
        );
        let permitted = slack(values(&y), &convolved) + slack(values(&x), &spread);

        let op = ConvTranspose { window: problem.transposed(), groups: problem.groups, activation: None };
        let case = Case { op: op.into(), operands, constants: vec![1] };
        each(&case, &PlanOptions::default(), |label, outputs| {
            let error = (dot(values(&x), values(&outputs[0])) - expected).abs();
            assert!(error <= permitted, "{label}: off by {error:e}, permitted {permitted:e}: {problem:?}");
        });
    });
}

#[test]
fn a_wrong_weight_is_seen() {
    let mut rng = Rng::new(7);
    let problem = Problem::plain(&[1, 3, 6, 6], 4, &[3, 3]);
    let (mut operands, answer) = problem.pose(&mut rng);
    let weight = operands[1].as_mut().unwrap().values_mut::<f32>().unwrap();
    weight[5] += 1e-4;
    let op = ConvTranspose { window: problem.transposed(), groups: 1, activation: None };
    let case = Case { op: op.into(), operands, constants: vec![1, 2] };
    each(&case, &PlanOptions::default(), |label, outputs| {
        assert!(within(label, values(&outputs[0]), &answer, C).is_err(), "{label}");
    });
}
