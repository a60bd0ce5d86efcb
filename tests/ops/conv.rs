//! Convolutions of one to three axes: strides, dilation, asymmetric padding, groups, depthwise, the epilogue, and
//! matrices cut into pieces.

use wgpu_cnn::ops::{Activation, Conv};
use wgpu_cnn::window::{Padding, Window};
use wgpu_cnn::{PlanOptions, Tensor};

use crate::harness::{Case, each, random, values};
use crate::support::compare::{assert_within, within};
use crate::support::oracle::convolution::{Epilogue, Window as Reference, conv, winograd};
use crate::support::oracle::{Answer, activation};
use crate::support::random::{Rng, cases};

/// The rounding of one product, one sum and the activation, with a margin for another order of the sum.
const C: f64 = 2.0;

#[derive(Debug, Clone)]
struct Problem {
    x: Vec<usize>,
    filters: usize,
    groups: usize,
    window: Reference,
    bias: bool,
    residual: bool,
    activation: Option<(Activation, activation::Activation)>,
}

impl Problem {
    fn plain(x: &[usize], filters: usize, kernel: &[usize]) -> Self {
        Problem {
            x: x.to_vec(),
            filters,
            groups: 1,
            window: Reference::new(kernel),
            bias: true,
            residual: false,
            activation: None,
        }
    }

    fn op(&self) -> Conv {
        let window = Window::new(self.window.kernel.clone())
            .stride(self.window.stride.clone())
            .dilation(self.window.dilation.clone())
            .padding(Padding::Explicit(self.window.pads.clone()));
        Conv { window, groups: self.groups, activation: self.activation.map(|(ours, _)| ours) }
    }

    /// Operands, and what they must give.
    fn pose(&self, rng: &mut Rng) -> (Vec<Option<Tensor>>, Answers) {
        let mut weight_shape = vec![self.filters, self.x[1] / self.groups];
        weight_shape.extend(&self.window.kernel);
        let mut out = vec![self.x[0], self.filters];
        out.extend(self.window.output(&self.x[2..]));
        let x = random(rng, &self.x);
        let weight = random(rng, &weight_shape);
        let bias = self.bias.then(|| random(rng, &[self.filters]));
        let residual = self.residual.then(|| random(rng, &out));
        let epilogue = Epilogue {
            bias: bias.as_ref().map(values),
            residual: residual.as_ref().map(values),
            activation: self.activation.map(|(_, theirs)| theirs),
        };
        let direct =
            conv(values(&x), &self.x, values(&weight), &weight_shape, self.groups, &self.window, epilogue);
        let form = |m| {
            self.has_winograd_form().then(|| {
                winograd(m, values(&x), &self.x, values(&weight), &weight_shape, &self.window, epilogue)
            })
        };
        let answers = Answers { two: form(2), four: form(4), direct };
        (vec![Some(x), Some(weight), bias, residual], answers)
    }

    fn has_winograd_form(&self) -> bool {
        let plain = Reference::new(&[3, 3]);
        let window = &self.window;
        self.groups == 1
            && (&window.kernel, &window.stride, &window.dilation)
                == (&plain.kernel, &plain.stride, &plain.dilation)
    }

    fn check(&self, rng: &mut Rng, options: &PlanOptions) {
        self.check_with(rng, options, &[1, 2]);
    }

    /// With these operands as weights of the graph, the others computed.
    fn check_with(&self, rng: &mut Rng, options: &PlanOptions, constants: &[usize]) {
        let (operands, answers) = self.pose(rng);
        let case = Case { op: self.op().into(), operands, constants: constants.to_vec() };
        each(&case, options, |label, outputs| {
            assert_eq!(outputs[0].shape()[..], answers.direct.shape[..], "{label}: {self:?}");
            answers.check(label, values(&outputs[0]), &format!("{self:?}"));
        });
    }
}

/// What a convolution must give, and how far each way of computing it may be off.
struct Answers {
    direct: Answer,
    /// F(2x2, 3x3) and F(4x4, 3x3), where the convolution has these forms.
    two: Option<Answer>,
    four: Option<Answer>,
}

impl Answers {
    /// A kernel asked for by name answers for its own way; what a rule chose may be any.
    fn check(&self, label: &str, actual: &[f32], what: &str) {
        let label_and = format!("{label}: {what}");
        let all = [Some(&self.direct), self.two.as_ref(), self.four.as_ref()];
        let answers: Vec<&Answer> = match label {
            _ if label.contains("winograd_2") => vec![self.two.as_ref().unwrap_or(&self.direct)],
            _ if label.contains("winograd") => vec![self.four.as_ref().unwrap_or(&self.direct)],
            "cpu"
            | "gpu"
            | "gpu image_pack"
            | "gpu image_unpack"
            | "gpu image_filters"
            | "gpu image_depthwise" => all.into_iter().flatten().collect(),
            _ => vec![&self.direct],
        };
        if !answers.iter().any(|answer| within(&label_and, actual, answer, C).is_ok()) {
            assert_within(&label_and, actual, answers[0], C);
        }
    }
}

fn generated(rng: &mut Rng) -> Problem {
    let rank = rng.range(1..4);
    let largest = [40, 12, 6][rank - 1];
    let groups = rng.pick(&[1, 1, 1, 2, 3]);
    let per_axis = |rng: &mut Rng, range: std::ops::Range<usize>| -> Vec<usize> {
        (0..rank).map(|_| rng.range(range.clone())).collect()
    };
    let kernel = per_axis(rng, 1..4);
    let dilation = per_axis(rng, 1..3);
    let mut x = vec![rng.range(1..4), groups * rng.range(1..6)];
    let mut pads = Vec::new();
    for axis in 0..rank {
        let extent = dilation[axis] * (kernel[axis] - 1) + 1;
        pads.push((rng.range(0..3), rng.range(0..3)));
        x.push(rng.range(extent..largest + extent));
    }
    let depthwise = rng.chance(0.2);
    let groups = if depthwise { x[1] } else { groups };
    Problem {
        filters: groups * rng.range(1..8),
        groups,
        window: Reference::new(&kernel).stride(&per_axis(rng, 1..4)).dilation(&dilation).pads(&pads),
        bias: rng.chance(0.5),
        residual: rng.chance(0.3),
        activation: rng.pick(&[
            None,
            Some((Activation::Relu, activation::Activation::Relu)),
            Some((CLIP, activation::Activation::Clip { min: -0.5, max: 0.75 })),
            Some((Activation::Tanh, activation::Activation::Tanh)),
        ]),
        x,
    }
}

const CLIP: Activation = Activation::Clip { min: -0.5, max: 0.75 };

#[test]
fn generated_convolutions() {
    cases(0xc0, 60, |rng| generated(rng).check(rng, &PlanOptions::default()));
}

#[test]
fn sizes_beside_every_tile() {
    cases(0xc1, 1, |rng| {
        for filters in [1, 13, 31, 33, 65] {
            for side in [1, 3, 8, 9] {
                Problem::plain(&[1, 3, side, side + 1], filters, &[1, 1]).check(rng, &PlanOptions::default());
            }
        }
        let mut padded = Problem::plain(&[2, 17, 7, 9], 33, &[3, 3]);
        padded.window.pads = vec![(1, 1), (1, 1)];
        padded.check(rng, &PlanOptions::default());
    });
}

#[test]
fn three_by_three_in_tiles_of_four() {
    cases(0xc4, 12, |rng| {
        let pads = vec![(rng.range(0..3), rng.range(0..3)), (rng.range(0..3), rng.range(0..3))];
        let x = [rng.range(1..3), rng.range(1..40), rng.range(3..14), rng.range(3..14)];
        let mut problem = Problem::plain(&x, rng.range(1..40), &[3, 3]);
        problem.window.pads = pads;
        problem.bias = rng.chance(0.5);
        problem.residual = rng.chance(0.5);
        problem.activation = rng.pick(&[
            None,
            Some((Activation::Relu, activation::Activation::Relu)),
            Some((CLIP, activation::Activation::Clip { min: -0.5, max: 0.75 })),
            Some((Activation::Tanh, activation::Activation::Tanh)),
        ]);
        assert!(problem.has_winograd_form());
        let mut options = PlanOptions::default();
        // Down to one image at a time.
        options.im2col_cap = rng.pick(&[options.im2col_cap, 0]);
        problem.check(rng, &options);
    });
}

/// Weights that change from run to run are packed by each run.
#[test]
fn weights_that_are_no_constants() {
    cases(0xc5, 12, |rng| {
        let mut problem = generated(rng);
        for depthwise in [false, true] {
            if depthwise {
                problem.groups = problem.x[1];
                problem.filters = problem.x[1];
            }
            for constants in [vec![], vec![1]] {
                problem.check_with(rng, &PlanOptions::default(), &constants);
            }
        }
    });
}

#[test]
fn a_matrix_cut_into_pieces_gives_the_same() {
    cases(0xc2, 6, |rng| {
        let options = |cap| {
            let mut options = PlanOptions::default();
            options.im2col_cap = cap;
            options
        };
        let problem = generated(rng);
        // Down to less than a column, which is then the smallest piece.
        for cap in [1, 1000, 5000] {
            problem.check(rng, &options(cap));
        }
    });
}

#[test]
fn empty_batches_and_channels() {
    cases(0xc3, 1, |rng| {
        Problem::plain(&[0, 3, 5, 5], 4, &[3, 3]).check(rng, &PlanOptions::default());
        Problem::plain(&[2, 0, 5, 5], 4, &[3, 3]).check(rng, &PlanOptions::default());
    });
}

/// Tiles that end at, before and behind the edge of the output, with all that can follow the sums.
#[test]
fn winograd_forms() {
    cases(0xc4, 1, |rng| {
        for (i, side) in [1, 2, 3, 4, 5, 7, 9].into_iter().enumerate() {
            for (channels, filters) in [(1, 3), (5, 17), (8, 4)] {
                let pads = [vec![(1, 1), (1, 1)], vec![(2, 0), (0, 2)], vec![(2, 2), (1, 2)]];
                let mut problem = Problem::plain(&[1 + i % 2, channels, side + 2, side], filters, &[3, 3]);
                problem.window.pads = pads[(i + channels) % 3].clone();
                problem.bias = i % 3 != 0;
                problem.residual = i % 2 == 0;
                problem.activation =
                    (channels == 8).then_some((Activation::Tanh, activation::Activation::Tanh));
                problem.check(rng, &PlanOptions::default());
            }
        }
    });
}

/// Rows that are whole fours and rows that are not, in whole and cut tiles, of what real networks have: 3x3 convolutions,
/// depthwise ones, and first layers.
#[test]
fn rows_in_fours_and_others() {
    cases(0xc7, 1, |rng| {
        for (channels, filters, groups, kernel, stride) in
            [(5, 6, 1, 3, 1), (4, 8, 4, 3, 1), (5, 5, 5, 3, 2), (3, 18, 1, 7, 2), (1, 5, 1, 5, 1)]
        {
            for row in [4, 20, 21] {
                let x = [3, channels, 6 * stride, row * stride];
                let mut problem = Problem::plain(&x, filters, &[kernel; 2]);
                problem.groups = groups;
                problem.window = problem.window.stride(&[stride; 2]).pads(&[(kernel / 2, kernel / 2); 2]);
                problem.residual = true;
                problem.activation = Some((Activation::Tanh, activation::Activation::Tanh));
                problem.check(rng, &PlanOptions::default());
            }
        }
    });
}

#[test]
fn weights_that_are_computed() {
    cases(0xc5, 12, |rng| {
        generated(rng).check_with(rng, &PlanOptions::default(), &[]);
        let mut padded = Problem::plain(&[2, 5, 6, 7], 9, &[3, 3]);
        padded.window.pads = vec![(1, 1), (1, 1)];
        padded.check_with(rng, &PlanOptions::default(), &[2]);
    });
}

#[test]
fn a_wrong_weight_is_seen_in_winograds_forms() {
    let mut rng = Rng::new(8);
    let mut problem = Problem::plain(&[1, 3, 6, 6], 4, &[3, 3]);
    problem.window.pads = vec![(1, 1), (1, 1)];
    let (mut operands, answers) = problem.pose(&mut rng);
    let weight = operands[1].as_mut().unwrap().values_mut::<f32>().unwrap();
    weight[5] += 0.01;
    let case = Case { op: problem.op().into(), operands, constants: vec![1, 2] };
    each(&case, &PlanOptions::default(), |label, outputs| {
        for answer in [&answers.two, &answers.four].into_iter().flatten() {
            assert!(within(label, values(&outputs[0]), answer, C).is_err(), "{label}");
        }
    });
}

#[test]
fn a_wrong_weight_is_seen() {
    let mut rng = Rng::new(7);
    let problem = Problem::plain(&[1, 3, 6, 6], 4, &[3, 3]);
    let (mut operands, answers) = problem.pose(&mut rng);
    let weight = operands[1].as_mut().unwrap().values_mut::<f32>().unwrap();
    weight[5] += 1e-3;
    let case = Case { op: problem.op().into(), operands, constants: vec![1, 2] };
    each(&case, &PlanOptions::default(), |label, outputs| {
        assert!(within(label, values(&outputs[0]), &answers.direct, C).is_err(), "{label}");
    });
}
