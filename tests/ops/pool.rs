//! Pooling over one to three axes: maxima and their positions bit for bit, means and norms within the oracle's bound;
//! ceil mode, dilation, asymmetric padding, infinities and NaN.

use wgpu_cnn::gpu::GpuDevice;
use wgpu_cnn::graph::Info;
use wgpu_cnn::ops::pool::IndexOrder;
use wgpu_cnn::ops::{Activation, Conv, Pool, PoolKind};
use wgpu_cnn::window::{Padding, Window};
use wgpu_cnn::{Device, Error, Graph, PlanOptions, Shape, Tensor};

use crate::harness::{Case, each, gpu, random, tensor, values};
use crate::support::compare::{assert_exact, assert_within, exact, within};
use crate::support::oracle::convolution::Window as Reference;
use crate::support::oracle::count;
use crate::support::oracle::pooling::{average_pool, lp_pool, max_pool};
use crate::support::random::{Rng, cases};

/// The oracle's bound already counts every operation of the formula; this leaves room for another order of the sum.
const C: f64 = 2.0;

fn op(kind: PoolKind, window: &Reference, indices: Option<IndexOrder>) -> Pool {
    let window = Window::new(window.kernel.clone())
        .stride(window.stride.clone())
        .dilation(window.dilation.clone())
        .padding(Padding::Explicit(window.pads.clone()))
        .ceil_mode(window.ceil);
    Pool { kind, window, indices }
}

/// A window and an input shape for it, such that every window reads an element.
fn generated(rng: &mut Rng) -> (Vec<usize>, Reference) {
    let rank = rng.range(1..4);
    let largest = [40, 12, 6][rank - 1];
    let per_axis = |rng: &mut Rng, range: std::ops::Range<usize>| -> Vec<usize> {
        (0..rank).map(|_| rng.range(range.clone())).collect()
    };
    let kernel = per_axis(rng, 1..5);
    let stride = per_axis(rng, 1..4);
    let dilation = per_axis(rng, 1..4);
    let mut shape = vec![rng.range(1..4), rng.range(1..5)];
    let mut window = Reference::new(&kernel).stride(&stride).dilation(&dilation).ceil(rng.chance(0.5));
    for axis in 0..rank {
        let extent = window.extent(axis);
        let pads = (rng.range(0..extent.min(4)), rng.range(0..extent.min(4)));
        let size = rng.range(1..largest);
        let (pads, size) = match reads_everywhere(&window, axis, size, pads) {
            true => (pads, size),
            // Without padding the first tap of every window is on the input.
            false => ((0, 0), extent + size),
        };
        window.pads[axis] = pads;
        shape.push(size);
    }
    (shape, window)
}

/// Whether there is a window along an axis, and every one reads an element.
fn reads_everywhere(window: &Reference, axis: usize, size: usize, pads: (usize, usize)) -> bool {
    let one = Reference::new(&window.kernel[axis..=axis])
        .stride(&window.stride[axis..=axis])
        .dilation(&window.dilation[axis..=axis])
        .pads(&[pads])
        .ceil(window.ceil);
    let outputs = one.output(&[size])[0];
    let reads = |o: usize| (0..one.kernel[0]).any(|k| one.read(&[o], &[k], &[size]).is_some());
    outputs > 0 && (0..outputs).all(reads)
}

/// Few distinct numbers, so that maxima tie, and some that are not finite.
fn coarse(rng: &mut Rng, shape: &[usize]) -> Tensor {
    const NUMBERS: [f32; 8] = [-2.0, -1.0, -0.0, 0.0, 0.5, 1.0, f32::NEG_INFINITY, f32::MIN];
    let element = |rng: &mut Rng| match rng.unit() {
        u if u < 0.03 => f32::NAN,
        u if u < 0.05 => f32::INFINITY,
        _ => rng.pick(&NUMBERS),
    };
    tensor(shape, (0..count(shape)).map(|_| element(rng)).collect())
}

fn check_max(x: &Tensor, window: &Reference) {
    let orders = [None, Some((IndexOrder::RowMajor, 0)), Some((IndexOrder::ColumnMajor, 1))];
    for order in orders {
        let storage_order = order.map_or(0, |(_, number)| number);
        let (maxima, positions) = max_pool(values(x), x.shape(), window, storage_order);
        let op = op(PoolKind::Max, window, order.map(|(order, _)| order));
        each(&Case::new(op, &[x]), &PlanOptions::default(), |label, outputs| {
            let label = format!("{label}: {:?} {window:?} {order:?}", x.shape());
            assert_eq!(outputs.len(), 1 + usize::from(order.is_some()), "{label}");
            assert_eq!(outputs[0].shape()[..], maxima.shape[..], "{label}");
            assert_exact(&label, values(&outputs[0]), &maxima.value);
            if let Some(indices) = outputs.get(1) {
                assert_eq!(indices.shape()[..], positions.shape[..], "{label}");
                assert_eq!(indices.values::<i64>().unwrap(), positions.value, "{label}");
            }
        });
    }
}

fn check_sums(x: &Tensor, window: &Reference) {
    let kinds = [
        PoolKind::Average { count_include_pad: false },
        PoolKind::Average { count_include_pad: true },
        PoolKind::Lp { p: 1.0 },
        PoolKind::Lp { p: 2.0 },
        PoolKind::Lp { p: 3.0 },
    ];
    for kind in kinds {
        let answer = match kind {
            PoolKind::Lp { p } => lp_pool(values(x), x.shape(), window, p as u32),
            PoolKind::Average { count_include_pad } => {
                average_pool(values(x), x.shape(), window, count_include_pad)
            }
            other => panic!("{other:?}"),
        };
        each(&Case::new(op(kind, window, None), &[x]), &PlanOptions::default(), |label, outputs| {
            let label = format!("{label}: {kind:?} {:?} {window:?}", x.shape());
            assert_eq!(outputs[0].shape()[..], answer.shape[..], "{label}");
            assert_within(&label, values(&outputs[0]), &answer, C);
        });
    }
}

#[test]
fn generated_maxima() {
    cases(0x900, 60, |rng| {
        let (shape, window) = generated(rng);
        check_max(&coarse(rng, &shape), &window);
    });
}

#[test]
fn generated_means_and_norms() {
    cases(0x901, 40, |rng| {
        let (shape, window) = generated(rng);
        check_sums(&random(rng, &shape), &window);
    });
}

#[test]
fn awkward_sizes() {
    cases(0x902, 1, |rng| {
        for side in [3, 13, 17, 63, 64, 65] {
            let window = Reference::new(&[2, 3]).stride(&[2, 1]).pads(&[(1, 0), (0, 2)]).ceil(true);
            let x = random(rng, &[1, 3, side, 3]);
            check_max(&x, &window);
            check_sums(&x, &window);
        }
        check_max(&random(rng, &[2, 65, 1]), &Reference::new(&[1]));
    });
}

#[test]
fn nothing_but_one_kind_of_number() {
    let window = Reference::new(&[3, 2]).stride(&[1, 2]).pads(&[(1, 1), (1, 0)]);
    for number in [f32::NEG_INFINITY, f32::NAN, f32::INFINITY, f32::MIN, -0.0] {
        check_max(&tensor(&[1, 2, 5, 4], vec![number; 40]), &window);
    }
    check_sums(&tensor(&[1, 2, 5, 4], vec![0.0; 40]), &window);
}

#[test]
fn empty_batches_and_channels() {
    let window = Reference::new(&[2, 2]);
    for shape in [[0, 3, 4, 4], [2, 0, 4, 4]] {
        check_max(&tensor(&shape, vec![]), &window);
        check_sums(&tensor(&shape, vec![]), &window);
    }
}

/// Pools that alone read a convolution, which software adapters compute along with it: the bits are those of a convolution that
/// somebody else reads too, and, where sums of small integers are exact, those of the CPU.
#[test]
fn pools_after_convolutions() {
    cases(0x903, 40, |rng| {
        let rank = rng.range(1..3);
        let (window, stride) = rng.pick(&[(1, 1), (2, 2), (3, 3), (2, 1), (3, 2), (4, 4)]);
        let max = rng.chance(0.5);
        let kind = if max { PoolKind::Max } else { PoolKind::Average { count_include_pad: rng.chance(0.5) } };
        let mut pool = Window::new(vec![window; rank]).stride(stride);
        let is_padded = rng.chance(0.2);
        if is_padded {
            pool = pool.padding(window / 2).ceil_mode(rng.chance(0.5));
        }
        let (channels, filters) = (rng.pick(&[1, 3, 5]), rng.pick(&[1, 4, 6, 17]));
        let mut conv = Conv::new(
            Window::new(vec![rng.pick(&[1, 3, 5]); rank]).stride(rng.range(1..3)).padding(rng.range(0..2)),
        );
        conv.activation = rng.pick(&[None, Some(Activation::Relu), Some(Activation::Tanh)]);
        let mut shape = vec![rng.range(1..4), channels];
        shape.extend((0..rank).map(|_| rng.range(9..24)));
        let mut integers = |shape: &[usize]| {
            tensor(shape, (0..count(shape)).map(|_| 2.0 * rng.range(0..4) as f32 - 3.0).collect())
        };
        let x = integers(&shape);
        let weight = integers(&[&[filters, channels][..], conv.window.kernel()].concat());
        let bias = integers(&[filters]);
        let network = |is_read_too: bool| {
            let mut graph = Graph::new("pooled");
            let input = graph.input("x", Info::f32(x.shape().clone()));
            let weight = graph.constant("weight", weight.clone());
            let bias = graph.constant("bias", bias.clone());
            let outputs = graph.push("conv", conv.clone(), &[input, weight, bias]).expect("a convolution");
            let pooled = graph.push("pool", Pool::new(kind, pool.clone()), &[outputs]).expect("a pool");
            graph.output(pooled);
            if is_read_too {
                graph.output(outputs);
            }
            graph
        };
        let label = format!("{shape:?} by {conv:?}, {filters} filters, {kind:?} {pool:?}");
        let apart = gpu().compile(&network(true)).unwrap().run(std::slice::from_ref(&x)).unwrap();
        let mut options = PlanOptions::default();
        for checked in [false, true] {
            options.checked = checked;
            let plan = gpu().compile_with(&network(false), &options).unwrap();
            let together = plan.run_one(&x).unwrap();
            assert_exact(&label, values(&together), values(&apart[0]));
            let software = gpu().as_gpu().is_some_and(GpuDevice::is_software);
            let whole_windows = stride == window && window <= 3;
            if software && !is_padded {
                // A single channel need not be packed; what comes out is unpacked.
                let expected = 2 + usize::from(channels > 1) + usize::from(!whole_windows);
                assert_eq!(plan.as_gpu().unwrap().dispatch_count(), expected, "{label}");
            }
        }
        // The sixth of an integer is no number of this type.
        if conv.activation != Some(Activation::Tanh) && (max || window != 3) {
            let expected = Device::cpu().compile(&network(false)).unwrap().run_one(&x).unwrap();
            assert_exact(&label, values(&apart[0]), values(&expected));
        }
    });
}

/// Padding as wide as the window leaves windows without an element, of which the oracle knows nothing.
#[test]
fn windows_in_the_padding_alone() {
    let window = Reference::new(&[2]).stride(&[2]).pads(&[(2, 2)]);
    let x = tensor(&[1, 1, 4], vec![-1.0, -2.0, 3.0, 5.0]);
    let check = |kind, indices, expected: [f32; 4], positions: &[i64]| {
        each(&Case::new(op(kind, &window, indices), &[&x]), &PlanOptions::default(), |label, outputs| {
            assert_exact(&format!("{label}: {kind:?}"), values(&outputs[0]), &expected);
            if let Some(indices) = outputs.get(1) {
                assert_eq!(indices.values::<i64>().unwrap(), positions, "{label}");
            }
        });
    };
    let nothing = f32::NEG_INFINITY;
    check(PoolKind::Max, None, [nothing, -1.0, 5.0, nothing], &[]);
    check(PoolKind::Max, Some(IndexOrder::RowMajor), [nothing, -1.0, 5.0, nothing], &[-1, 0, 3, -1]);
    check(PoolKind::Average { count_include_pad: false }, None, [0.0, -1.5, 4.0, 0.0], &[]);
    check(PoolKind::Average { count_include_pad: true }, None, [0.0, -1.5, 4.0, 0.0], &[]);
    check(PoolKind::Lp { p: 1.0 }, None, [0.0, 3.0, 8.0, 0.0], &[]);
}

#[test]
fn a_wrong_element_is_seen() {
    let mut rng = Rng::new(12);
    let window = Reference::new(&[2, 2]);
    let mut x = random(&mut rng, &[1, 2, 6, 6]);
    let (maxima, _) = max_pool(values(&x), x.shape(), &window, 0);
    let mean = average_pool(values(&x), x.shape(), &window, true);
    x.values_mut::<f32>().unwrap()[8] = 2.0;
    let max = Case::new(op(PoolKind::Max, &window, None), &[&x]);
    each(&max, &PlanOptions::default(), |label, outputs| {
        assert!(exact(label, values(&outputs[0]), &maxima.value).is_err(), "{label}");
    });
    let average = op(PoolKind::Average { count_include_pad: true }, &window, None);
    each(&Case::new(average, &[&x]), &PlanOptions::default(), |label, outputs| {
        assert!(within(label, values(&outputs[0]), &mean, C).is_err(), "{label}");
    });
}

#[test]
fn pools_that_make_no_sense_are_refused() {
    let push = |shape: &[usize], op: Pool| {
        let mut graph = Graph::new("refused");
        let x = graph.input("x", Info::f32(Shape::new(shape).unwrap()));
        graph.push("the pool", op, &[x]).unwrap_err()
    };
    let window = Reference::new(&[3, 3]);
    let average = PoolKind::Average { count_include_pad: true };
    for error in [
        push(&[1, 2, 5], op(PoolKind::Max, &window, None)),
        push(&[1, 2, 5, 5], op(average, &window, Some(IndexOrder::RowMajor))),
    ] {
        assert!(matches!(&error, Error::Shape { layer, op: "pool", .. } if layer == "the pool"), "{error}");
    }
    let error = push(&[1, 2, 5, 2], op(PoolKind::Max, &window, None));
    assert!(matches!(&error, Error::Window { layer, .. } if layer == "the pool"), "{error}");
}
