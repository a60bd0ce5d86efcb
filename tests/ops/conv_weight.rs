//! The gradient of convolutions to their filters: strides, dilation, asymmetric padding, groups, depthwise, many images.

use wgpu_cnn::graph::Info;
use wgpu_cnn::ops::ConvWeight;
use wgpu_cnn::window::{Padding, Window};
use wgpu_cnn::{Error, Graph, PlanOptions, Shape, Tensor};

use crate::harness::{Case, each, random, values};
use crate::support::compare::{assert_within, within};
use crate::support::oracle::Answer;
use crate::support::oracle::convolution::{Window as Reference, conv_weight};
use crate::support::random::{Rng, cases};

/// The rounding of one product and one sum, with a margin for another order of the sum.
const C: f64 = 2.0;

#[derive(Debug, Clone)]
struct Problem {
    x: Vec<usize>,
    filters: usize,
    groups: usize,
    window: Reference,
}

impl Problem {
    fn plain(x: &[usize], filters: usize, kernel: &[usize]) -> Self {
        Problem { x: x.to_vec(), filters, groups: 1, window: Reference::new(kernel) }
    }

    fn op(&self) -> ConvWeight {
        let window = Window::new(self.window.kernel.clone())
            .stride(self.window.stride.clone())
            .dilation(self.window.dilation.clone())
            .padding(Padding::Explicit(self.window.pads.clone()));
        ConvWeight { window, groups: self.groups }
    }

    /// Operands, and what they must give.
    fn pose(&self, rng: &mut Rng) -> ([Tensor; 2], Answer) {
        let mut out = vec![self.x[0], self.filters];
        out.extend(self.window.output(&self.x[2..]));
        let (x, dy) = (random(rng, &self.x), random(rng, &out));
        let answer = conv_weight(values(&x), &self.x, values(&dy), &out, self.groups, &self.window);
        ([x, dy], answer)
    }

    fn check(&self, rng: &mut Rng, options: &PlanOptions) {
        let ([x, dy], answer) = self.pose(rng);
        each(&Case::new(self.op(), &[&x, &dy]), options, |label, outputs| {
            assert_eq!(outputs[0].shape()[..], answer.shape[..], "{label}: {self:?}");
            assert_within(&format!("{label}: {self:?}"), values(&outputs[0]), &answer, C);
        });
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
    let mut x = vec![rng.range(1..5), groups * rng.range(1..6)];
    let mut pads = Vec::new();
    for axis in 0..rank {
        let extent = dilation[axis] * (kernel[axis] - 1) + 1;
        pads.push((rng.range(0..3), rng.range(0..3)));
        x.push(rng.range(extent..largest + extent));
    }
    let groups = if rng.chance(0.2) { x[1] } else { groups };
    Problem {
        filters: groups * rng.range(1..8),
        groups,
        window: Reference::new(&kernel).stride(&per_axis(rng, 1..4)).dilation(&dilation).pads(&pads),
        x,
    }
}

#[test]
fn generated_convolutions() {
    cases(0xc40, 60, |rng| generated(rng).check(rng, &PlanOptions::default()));
}

#[test]
fn sizes_beside_every_tile() {
    cases(0xc41, 1, |rng| {
        for filters in [1, 3, 4, 13, 31, 33, 65] {
            for channels in [1, 7, 8] {
                Problem::plain(&[3, channels, 5, 6], filters, &[3, 3]).check(rng, &PlanOptions::default());
            }
        }
        let mut padded = Problem::plain(&[17, 15, 7, 9], 33, &[3, 3]);
        padded.window.pads = vec![(1, 1), (1, 1)];
        padded.check(rng, &PlanOptions::default());
        Problem::plain(&[9, 130, 3, 3], 129, &[1, 1]).check(rng, &PlanOptions::default());
    });
}

/// More weights than are summed side by side on the CPU, and patches cut down to a column.
#[test]
fn many_weights_and_pieces_of_patches() {
    cases(0xc42, 1, |rng| {
        let mut options = PlanOptions::default();
        Problem::plain(&[2, 90, 4, 3], 89, &[3, 3]).check(rng, &options);
        for cap in [1, 1000, 5000] {
            options.im2col_cap = cap;
            generated(rng).check(rng, &options);
        }
    });
}

#[test]
fn empty_batches_and_channels() {
    cases(0xc43, 1, |rng| {
        Problem::plain(&[0, 3, 5, 5], 4, &[3, 3]).check(rng, &PlanOptions::default());
        Problem::plain(&[2, 0, 5, 5], 4, &[3, 3]).check(rng, &PlanOptions::default());
        Problem::plain(&[2, 3, 5, 5], 0, &[3, 3]).check(rng, &PlanOptions::default());
    });
}

#[test]
fn a_wrong_element_is_seen() {
    let mut rng = Rng::new(7);
    let problem = Problem::plain(&[2, 3, 6, 6], 4, &[3, 3]);
    let ([x, mut dy], answer) = problem.pose(&mut rng);
    dy.values_mut::<f32>().unwrap()[5] += 1e-3;
    each(&Case::new(problem.op(), &[&x, &dy]), &PlanOptions::default(), |label, outputs| {
        assert!(within(label, values(&outputs[0]), &answer, C).is_err(), "{label}");
    });
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let op = Problem::plain(&[2, 3, 6, 6], 4, &[3, 3]).op();
    for dy in [[2, 4, 5, 4], [1, 4, 4, 4]] {
        let mut graph = Graph::new("refused");
        let x = graph.input("x", Info::f32(Shape::new([2, 3, 6, 6]).unwrap()));
        let dy = graph.input("dy", Info::f32(Shape::new(dy).unwrap()));
        let error = graph.push("dw", op.clone(), &[x, dy]).unwrap_err();
        assert!(matches!(&error, Error::Shape { layer, op: "conv_weight", .. } if layer == "dw"), "{error}");
    }
}
