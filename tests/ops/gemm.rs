//! Matrix products: every combination of transposes, scales, bias and activation, batches that broadcast, sizes beside
//! every tile, products of no terms, and weights cut into pieces where a binding could not hold them.

use wgpu_cnn::graph::Info;
use wgpu_cnn::ops::{Activation, Gemm};
use wgpu_cnn::{DType, Device, Error, Graph, PlanOptions, Shape, Tensor};

use crate::harness::{Case, each, gpu, random, values};
use crate::support::compare::{assert_within, within};
use crate::support::oracle::matmul::gemm;
use crate::support::oracle::{Answer, activation, broadcast, broadcast_position, each_index, per_index};
use crate::support::random::{Rng, cases};

/// The rounding of one product, one sum and the activation, with a margin for another order of the sum.
const C: f64 = 2.0;

/// Where a tiling ends, one less and one more.
const SIZES: [usize; 12] = [1, 3, 4, 5, 13, 17, 31, 32, 33, 63, 64, 65];

#[derive(Debug, Clone, Default)]
struct Problem {
    a_batch: Vec<usize>,
    b_batch: Vec<usize>,
    m: usize,
    n: usize,
    k: usize,
    trans_a: bool,
    trans_b: bool,
    scales: Option<(f32, f32)>,
    c: Option<Vec<usize>>,
    activation: Option<(Activation, activation::Activation)>,
    /// The operands that are weights.
    constants: Vec<usize>,
}

impl Problem {
    fn plain(m: usize, n: usize, k: usize) -> Self {
        Problem { m, n, k, ..Problem::default() }
    }

    fn op(&self) -> Gemm {
        let (alpha, beta) = self.scales.unwrap_or((1.0, 1.0));
        let activation = self.activation.map(|(ours, _)| ours);
        Gemm { trans_a: self.trans_a, trans_b: self.trans_b, alpha, beta, activation }
    }

    fn a(&self) -> [usize; 2] {
        if self.trans_a { [self.k, self.m] } else { [self.m, self.k] }
    }

    fn b(&self) -> [usize; 2] {
        if self.trans_b { [self.n, self.k] } else { [self.k, self.n] }
    }

    fn pose(&self, rng: &mut Rng) -> Vec<Option<Tensor>> {
        let a = random(rng, &[self.a_batch.as_slice(), &self.a()].concat());
        let b = random(rng, &[self.b_batch.as_slice(), &self.b()].concat());
        let c = self.c.as_ref().map(|shape| random(rng, shape));
        vec![Some(a), Some(b), c]
    }

    /// The oracle's product for each matrix of the batch.
    fn answer(&self, operands: &[Option<Tensor>]) -> Answer {
        let [a, b] = [0, 1].map(|i| values(operands[i].as_ref().unwrap()));
        let batch = broadcast(&self.a_batch, &self.b_batch);
        let shape = [batch.as_slice(), &[self.m, self.n]].concat();
        let c = operands[2]
            .as_ref()
            .map(|c| per_index(&shape, |index| values(c)[broadcast_position(index, c.shape())]));
        let (alpha, beta) = self.scales.unwrap_or((1.0, 1.0));
        let mut all = Answer { shape, value: Vec::new(), magnitude: Vec::new(), terms: 0 };
        let (a_size, b_size, c_size) = (self.m * self.k, self.k * self.n, self.m * self.n);
        let mut product = 0;
        each_index(&batch, |index| {
            let a = &a[broadcast_position(index, &self.a_batch) * a_size..][..a_size];
            let b = &b[broadcast_position(index, &self.b_batch) * b_size..][..b_size];
            let c = c.as_ref().map(|c| (&c[product * c_size..][..c_size], &all.shape[batch.len()..]));
            let one = gemm(a, self.a(), self.trans_a, b, self.b(), self.trans_b, alpha, beta, c);
            all.value.extend(one.value);
            all.magnitude.extend(one.magnitude);
            all.terms = one.terms;
            product += 1;
        });
        match self.activation {
            Some((_, activation)) => activation.after(&all),
            None => all,
        }
    }

    fn check(&self, rng: &mut Rng) {
        let operands = self.pose(rng);
        let answer = self.answer(&operands);
        let case = Case { op: self.op().into(), operands, constants: self.constants.clone() };
        each(&case, &PlanOptions::default(), |label, outputs| {
            assert_eq!(outputs[0].shape()[..], answer.shape[..], "{label}: {self:?}");
            assert_within(&format!("{label}: {self:?}"), values(&outputs[0]), &answer, C);
        });
    }
}

const ACTIVATIONS: [Option<(Activation, activation::Activation)>; 3] = [
    None,
    Some((Activation::Relu, activation::Activation::Relu)),
    Some((Activation::Sigmoid, activation::Activation::Sigmoid)),
];

#[test]
fn every_combination() {
    cases(0x6e0, 1, |rng| {
        let (m, n) = (5, 7);
        let biases: [Option<&[usize]>; 7] =
            [None, Some(&[n]), Some(&[m, 1]), Some(&[1, n]), Some(&[m, n]), Some(&[1]), Some(&[])];
        for (trans_a, trans_b) in [(false, false), (false, true), (true, false), (true, true)] {
            for scales in [None, Some((0.5, -2.0))] {
                for c in biases {
                    let c = c.map(<[usize]>::to_vec);
                    Problem { trans_a, trans_b, scales, c, ..Problem::plain(m, n, 6) }.check(rng);
                }
            }
        }
        for activation in ACTIVATIONS {
            let (trans_b, c) = (true, Some(vec![n]));
            Problem { trans_b, c, scales: Some((2.0, 0.5)), activation, ..Problem::plain(m, n, 6) }
                .check(rng);
        }
    });
}

#[test]
fn sizes_beside_every_tile() {
    cases(0x6e1, 40, |rng| {
        let [m, n, k] = [(); 3].map(|()| rng.pick(&SIZES));
        let (trans_a, trans_b) = (rng.chance(0.5), rng.chance(0.5));
        let c = rng.chance(0.5).then(|| vec![n]);
        let constants = rng.pick(&[vec![], vec![1], vec![1, 2], vec![0]]);
        Problem { trans_a, trans_b, c, constants, ..Problem::plain(m, n, k) }.check(rng);
    });
}

/// Batch axes of both sides that broadcast to `batch`: some are 1 long, and the first may be left out.
fn batches(rng: &mut Rng, batch: &[usize]) -> [Vec<usize>; 2] {
    let whole = rng.range(0..2);
    [0, 1].map(|side| {
        if side == whole {
            return batch.to_vec();
        }
        let skip = rng.range(0..batch.len() + 1);
        batch[skip..].iter().map(|&size| if rng.chance(0.5) { 1 } else { size }).collect()
    })
}

#[test]
fn batches_that_broadcast() {
    cases(0x6e2, 30, |rng| {
        let batch: Vec<usize> = (0..rng.range(1..5)).map(|_| rng.range(1..4)).collect();
        let [a_batch, b_batch] = batches(rng, &batch);
        let [m, n, k] = [(); 3].map(|()| rng.range(1..10));
        // A bias that broadcasts along any of the axes, those of the batch too.
        let out = [broadcast(&a_batch, &b_batch).as_slice(), &[m, n]].concat();
        let skip = rng.range(0..out.len() + 1);
        let c = out[skip..].iter().map(|&size| if rng.chance(0.5) { 1 } else { size }).collect();
        let problem = Problem {
            a_batch,
            b_batch,
            trans_a: rng.chance(0.5),
            trans_b: rng.chance(0.5),
            scales: rng.pick(&[None, Some((-0.25, 3.0))]),
            c: rng.chance(0.7).then_some(c),
            ..Problem::plain(m, n, k)
        };
        problem.check(rng);
    });
}

#[test]
fn a_product_of_no_terms_is_the_bias() {
    cases(0x6e3, 1, |rng| {
        for c in [None, Some(vec![5])] {
            for (trans_a, trans_b) in [(false, false), (false, true), (true, true)] {
                Problem { trans_a, trans_b, c: c.clone(), ..Problem::plain(3, 5, 0) }.check(rng);
                Problem { trans_a, trans_b, c: c.clone(), ..Problem::plain(1, 5, 0) }.check(rng);
            }
        }
    });
}

#[test]
fn no_rows_columns_or_matrices() {
    cases(0x6e4, 1, |rng| {
        for (m, n) in [(0, 5), (3, 0), (0, 0)] {
            Problem { trans_b: true, c: Some(vec![n]), ..Problem::plain(m, n, 4) }.check(rng);
        }
        Problem { a_batch: vec![0], ..Problem::plain(2, 3, 4) }.check(rng);
        Problem { a_batch: vec![2, 0], b_batch: vec![1, 0], ..Problem::plain(2, 3, 4) }.check(rng);
    });
}

#[test]
fn a_wrong_element_is_seen() {
    let mut rng = Rng::new(8);
    let problem = Problem { trans_b: true, c: Some(vec![7]), ..Problem::plain(6, 7, 40) };
    let mut operands = problem.pose(&mut rng);
    let answer = problem.answer(&operands);
    operands[1].as_mut().unwrap().values_mut::<f32>().unwrap()[11] += 1e-4;
    let case = Case { op: problem.op().into(), operands, constants: vec![] };
    each(&case, &PlanOptions::default(), |label, outputs| {
        assert!(within(label, values(&outputs[0]), &answer, C).is_err(), "{label}");
    });
}

/// What the operator says of operands with these shapes.
fn refusal(op: Gemm, shapes: &[&[usize]]) -> (String, String) {
    let mut graph = Graph::new("refused");
    let ids: Vec<_> = shapes
        .iter()
        .enumerate()
        .map(|(i, &shape)| graph.input(format!("{i}"), Info::f32(Shape::new(shape).unwrap())))
        .collect();
    match graph.push("the product", op, &ids) {
        Err(Error::Shape { layer, op: "gemm", expected, actual }) if layer == "the product" => {
            (expected, actual)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let plain = Gemm::default;
    let (expected, actual) = refusal(plain(), &[&[2, 3], &[4, 5]]);
    assert!(expected.contains("2x3") && actual.contains("4x5"), "{expected}; {actual}");
    assert_eq!(refusal(plain(), &[&[3], &[3, 5]]).0, "two matrices");
    assert_eq!(refusal(plain(), &[&[2, 4, 3], &[3, 3, 5]]).0, "shapes that broadcast");
    let (expected, actual) = refusal(plain(), &[&[2, 3], &[3, 5], &[4]]);
    assert!(expected.contains("broadcast") && actual.contains('4'), "{expected}; {actual}");
    assert!(refusal(plain(), &[&[2, 3], &[3, 5], &[9, 2, 5]]).0.contains("2x5"));
    let rank_7 = [2, 1, 1, 1, 1, 3, 4];
    assert_eq!(refusal(plain(), &[&rank_7, &[4, 5]]).0, "at most 4 batch axes");

    let mut graph = Graph::new("an integer bias");
    let a = graph.input("a", Info::f32(Shape::new([2, 3]).unwrap()));
    let b = graph.input("b", Info::f32(Shape::new([3, 5]).unwrap()));
    let c = graph.input("c", Info { shape: Shape::new([5]).unwrap(), dtype: DType::I64 });
    assert!(matches!(graph.push("node", Gemm::default(), &[a, b, c]), Err(Error::Shape { .. })));
}

/// A device of its own that can bind so many bytes at once.
fn binding_at_most(bytes: u64) -> Device {
    let gpu = gpu().as_gpu().unwrap();
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    let adapter = adapters
        .into_iter()
        .find(|adapter| adapter.get_info().name == gpu.info().name)
        .expect("the adapter that the tests run on");
    let mut required_limits = adapter.limits();
    required_limits.max_storage_buffer_binding_size = bytes;
    let descriptor = wgpu::DeviceDescriptor { required_limits, ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
    Device::from_wgpu(device, queue)
}

#[test]
fn a_weight_larger_than_a_binding_is_cut_into_pieces() {
    const LIMIT: u64 = 4096;
    let device = binding_at_most(LIMIT);
    cases(0x6e5, 1, |rng| {
        for m in [1, 3, 9] {
            // Ten of these columns fill a binding, and the last piece holds three.
            let problem = Problem {
                trans_b: true,
                c: Some(vec![43]),
                activation: ACTIVATIONS[1],
                constants: vec![1, 2],
                ..Problem::plain(m, 43, 100)
            };
            let operands = problem.pose(rng);
            let answer = problem.answer(&operands);
            let case = Case { op: problem.op().into(), operands, constants: problem.constants.clone() };
            let (graph, inputs) = case.graph();
            let mut options = PlanOptions::default();
            options.variant = Some("gemm_flat_4");
            let plan = device.compile_with(&graph, &options).unwrap();
            assert_eq!(plan.as_gpu().unwrap().dispatch_count(), 5);
            let outputs = plan.run(&inputs).unwrap();
            assert_within(&format!("{problem:?}"), values(&outputs[0]), &answer, C);
        }
    });
}

#[test]
fn a_weight_that_cannot_be_cut_is_refused_with_its_size_and_the_limit() {
    const LIMIT: u64 = 4096;
    let device = binding_at_most(LIMIT);
    let mut rng = Rng::new(9);
    let compile = |problem: &Problem, rng: &mut Rng| {
        let operands = problem.pose(rng);
        let case = Case { op: problem.op().into(), operands, constants: problem.constants.clone() };
        device.compile(&case.graph().0)
    };
    let refused = |problem: &Problem, rng: &mut Rng, tensor: &str, size: u64| match compile(problem, rng) {
        Err(Error::TooLarge { what, bytes, limit, limit_name }) => {
            assert_eq!((what.as_str(), bytes, limit), (tensor, size, LIMIT));
            assert_eq!(limit_name, "max_storage_buffer_binding_size");
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the device took {problem:?}"),
    };
    let by_rows = Problem { constants: vec![1], ..Problem::plain(2, 43, 100) };
    refused(&by_rows, &mut rng, "operand 1", 4 * 43 * 100);
    let one_column = Problem { trans_b: true, constants: vec![1], ..Problem::plain(2, 3, 1025) };
    refused(&Problem { m: 1, ..one_column }, &mut rng, "operand 0", 4 * 1025);
    let output = Problem { trans_b: true, constants: vec![1], ..Problem::plain(103, 10, 4) };
    refused(&output, &mut rng, "node", 4 * 103 * 10);
}
