//! Transposes, slices, pads, expansions, tiles and their compositions, of every element type, bit for bit.

use wgpu_cnn::graph::Info;
use wgpu_cnn::ops::Rearrange;
use wgpu_cnn::ops::rearrange::{AxisMap, Border};
use wgpu_cnn::{DType, Graph, PlanOptions, Tensor};

use crate::harness::{Case, each, tensor};
use crate::support::oracle::layout::{Pad, Range, expand, pad, slice, tile, transpose};
use crate::support::oracle::{Exact, count};
use crate::support::random::{Rng, cases};

/// Every element type.
pub const TYPES: [DType; 3] = [DType::F32, DType::I64, DType::Bool];

/// Random elements; of f32 also NaN, infinities, subnormals and both zeros.
pub fn elements(rng: &mut Rng, dtype: DType, shape: &[usize]) -> Tensor {
    let n = count(shape);
    let special = [f32::from_bits(0x7fc0_1234), f32::NEG_INFINITY, f32::INFINITY, 1e-40, -0.0, 0.0];
    match dtype {
        DType::F32 => {
            let value = |rng: &mut Rng| if rng.chance(0.1) { rng.pick(&special) } else { rng.value() };
            tensor(shape, (0..n).map(|_| value(rng)).collect())
        }
        DType::I64 => {
            let value = |rng: &mut Rng| i64::from(rng.next_u64() as i32);
            Tensor::new(shape, (0..n).map(|_| value(rng)).collect::<Vec<i64>>()).unwrap()
        }
        DType::Bool => Tensor::new(shape, (0..n).map(|_| rng.chance(0.5)).collect::<Vec<bool>>()).unwrap(),
        other => panic!("no elements of {other}"),
    }
}

/// The elements as the 32-bit words that stand for them while a network runs.
pub fn words(tensor: &Tensor) -> Vec<u32> {
    match tensor.dtype() {
        DType::F32 => tensor.values::<f32>().unwrap().iter().map(|v| v.to_bits()).collect(),
        DType::I64 => tensor.values::<i64>().unwrap().iter().map(|&v| v as i32 as u32).collect(),
        DType::Bool => tensor.values::<bool>().unwrap().iter().map(|&v| u32::from(v)).collect(),
        other => panic!("no words for {other}"),
    }
}

/// Checks type, shape and every bit.
pub fn assert_words(label: &str, actual: &Tensor, dtype: DType, shape: &[usize], expected: &[u32]) {
    assert_eq!((actual.dtype(), &actual.shape()[..]), (dtype, shape), "{label}");
    let actual = words(actual);
    let wrong: Vec<usize> = (0..expected.len()).filter(|&i| actual[i] != expected[i]).collect();
    assert!(
        wrong.is_empty(),
        "{label}: {} of {} elements are wrong, the first at {}: {:#x} instead of {:#x}",
        wrong.len(),
        expected.len(),
        wrong[0],
        actual[wrong[0]],
        expected[wrong[0]]
    );
}

/// The input's own positions, which the oracle moves in place of elements; `None` is outside.
pub fn positions(shape: &[usize]) -> Vec<Option<usize>> {
    (0..count(shape)).map(Some).collect()
}

/// The word that stands outside, something that the type has.
fn fill(dtype: DType) -> u32 {
    match dtype {
        DType::F32 => 2.5_f32.to_bits(),
        DType::I64 => (-3_i32) as u32,
        _ => 1,
    }
}

/// Checks that the output consists of the input's elements at `places`.
fn check(rng: &mut Rng, axes: &[AxisMap], border: Border, shape: &[usize], places: &Exact<Option<usize>>) {
    for dtype in TYPES {
        let border = match border {
            Border::Constant(_) => Border::Constant(f32::from_bits(fill(dtype))),
            other => other,
        };
        let x = elements(rng, dtype, shape);
        let from = words(&x);
        let expected: Vec<u32> =
            places.value.iter().map(|place| place.map_or(fill(dtype), |i| from[i])).collect();
        let op = Rearrange { axes: axes.to_vec(), border };
        each(&Case::new(op.clone(), &[&x]), &PlanOptions::default(), |label, outputs| {
            let label = format!("{label}: {dtype} {shape:?} {op:?}");
            assert_words(&label, &outputs[0], dtype, &places.shape, &expected);
        });
    }
}

const OUTSIDE: Border = Border::Constant(0.0);

fn along(axis: usize, size: usize, start: i64, step: i64) -> AxisMap {
    AxisMap { input_axis: Some(axis), size, start, step }
}

fn permutations(rank: usize) -> Vec<Vec<usize>> {
    if rank == 0 {
        return vec![vec![]];
    }
    let shorter = permutations(rank - 1);
    let insert =
        |at: usize| shorter.iter().map(move |order| [&order[..at], &[rank - 1], &order[at..]].concat());
    (0..rank).flat_map(insert).collect()
}

fn check_transpose(rng: &mut Rng, shape: &[usize], order: &[usize]) {
    let op = Rearrange::transpose(shape, order);
    check(rng, &op.axes, op.border, shape, &transpose(&positions(shape), shape, order));
}

#[test]
fn every_transpose_up_to_four_axes() {
    cases(0xa0, 1, |rng| {
        for rank in 0..=4 {
            for order in permutations(rank) {
                check_transpose(rng, &[3, 2, 5, 7][..rank], &order);
            }
        }
    });
}

#[test]
fn transposes_of_five_to_eight_axes() {
    cases(0xa1, 12, |rng| {
        let rank = rng.range(5..9);
        let shape: Vec<usize> = (0..rank).map(|_| rng.range(1..4)).collect();
        let mut order: Vec<usize> = (0..rank).collect();
        (1..rank).rev().for_each(|i| order.swap(i, rng.range(0..i + 1)));
        check_transpose(rng, &shape, &order);
    });
}

/// The axis of the output that reads what `range` chooses of `size` elements.
fn chosen(range: Range, size: usize) -> AxisMap {
    let all: Vec<i64> = (0..size as i64).collect();
    let list = slice(&all, &[size], &[Range { axis: 0, ..range }]).value;
    along(range.axis, list.len(), list.first().copied().unwrap_or(0), range.step)
}

#[test]
fn slices_with_steps_of_either_sign_and_bounds_past_the_ends() {
    cases(0xa2, 40, |rng| {
        let rank = rng.range(1..5);
        let shape: Vec<usize> = (0..rank).map(|_| rng.range(1..9)).collect();
        let mut axes = Rearrange::identity(&shape).axes;
        let mut ranges = Vec::new();
        for axis in 0..rank {
            let (start, end) = (rng.range(0..24) as i64 - 12, rng.range(0..24) as i64 - 12);
            let range = Range {
                axis,
                start,
                end: rng.pick(&[i64::MIN, i64::MAX, end]),
                step: rng.pick(&[1, 1, 2, 3, -1, -1, -2, -3, 20, -20]),
            };
            axes[axis] = chosen(range, shape[axis]);
            ranges.push(range);
        }
        check(rng, &axes, OUTSIDE, &shape, &slice(&positions(&shape), &shape, &ranges));
    });
}

/// One of the borders, and the oracle's.
fn border(rng: &mut Rng) -> (Border, Pad<Option<usize>>) {
    rng.pick(&[
        (OUTSIDE, Pad::Constant(None)),
        (Border::Edge, Pad::Edge),
        (Border::Reflect, Pad::Reflect),
        (Border::Wrap, Pad::Wrap),
    ])
}

#[test]
fn pads_of_every_border_also_negative_and_longer_than_the_axis() {
    cases(0xa3, 40, |rng| {
        let rank = rng.range(1..5);
        let shape: Vec<usize> = (0..rank).map(|_| rng.range(1..7)).collect();
        let (border, mode) = border(rng);
        let mut pads = Vec::new();
        let mut axes = Vec::new();
        for (axis, &n) in shape.iter().enumerate() {
            let before = rng.range(0..18) as i64 - 4;
            let after = (rng.range(0..18) as i64 - 4).max(-(n as i64) - before);
            pads.push((before, after));
            axes.push(along(axis, (n as i64 + before + after) as usize, -before, 1));
        }
        check(rng, &axes, border, &shape, &pad(&positions(&shape), &shape, &pads, mode));
    });
}

#[test]
fn compositions_of_pad_slice_and_transpose() {
    cases(0xa4, 40, |rng| {
        let rank = rng.range(1..7);
        let shape: Vec<usize> = (0..rank).map(|_| rng.range(1..5)).collect();
        let (border, mode) = border(rng);
        let pads: Vec<(i64, i64)> =
            (0..rank).map(|_| (rng.range(0..3) as i64, rng.range(0..3) as i64)).collect();
        let mut places = pad(&positions(&shape), &shape, &pads, mode);
        let mut ranges = Vec::new();
        let mut axes = Vec::new();
        for (axis, &n) in places.shape.iter().enumerate() {
            let range = match rng.pick(&[1, 2, -1, -2]) {
                step if step > 0 => Range { axis, start: 0, end: i64::MAX, step },
                step => Range { axis, start: -1, end: i64::MIN, step },
            };
            ranges.push(range);
            let map = chosen(range, n);
            axes.push(AxisMap { start: map.start - pads[axis].0, ..map });
        }
        places = slice(&places.value, &places.shape, &ranges);
        let order = rng.pick(&permutations(rank));
        places = transpose(&places.value, &places.shape, &order);
        let axes: Vec<_> = order.iter().map(|&axis| axes[axis]).collect();
        check(rng, &axes, border, &shape, &places);
    });
}

#[test]
fn expansions() {
    cases(0xa5, 1, |rng| {
        for (shape, to) in [
            (&[][..], &[][..]),
            (&[], &[2, 3]),
            (&[1], &[5]),
            (&[3], &[2, 3]),
            (&[3, 1], &[3, 4]),
            (&[1, 3, 1, 2], &[4, 3, 65, 2]),
            (&[2, 1, 1], &[3, 2, 4, 5]),
            (&[1, 0], &[3, 0]),
        ] {
            let missing = to.len() - shape.len();
            let axes: Vec<_> = (to.iter().enumerate())
                .map(|(i, &size)| match i.checked_sub(missing) {
                    Some(axis) if shape[axis] == size => along(axis, size, 0, 1),
                    _ => AxisMap { input_axis: None, size, start: 0, step: 0 },
                })
                .collect();
            check(rng, &axes, OUTSIDE, shape, &expand(&positions(shape), shape, to));
        }
    });
}

#[test]
fn tiles() {
    cases(0xa6, 1, |rng| {
        for (shape, repeats) in [
            (&[3][..], &[4][..]),
            (&[2, 3], &[1, 3]),
            (&[2, 3], &[3, 1]),
            (&[1, 5, 2], &[2, 2, 33]),
            (&[2, 3], &[0, 2]),
            (&[2, 0], &[2, 2]),
        ] {
            let axes: Vec<_> = (0..shape.len()).map(|i| along(i, shape[i] * repeats[i], 0, 1)).collect();
            check(rng, &axes, Border::Wrap, shape, &tile(&positions(shape), shape, repeats));
        }
    });
}

#[test]
fn nothing_and_single_elements() {
    cases(0xa7, 1, |rng| {
        check_transpose(rng, &[0, 3], &[1, 0]);
        check_transpose(rng, &[2, 0, 3], &[2, 0, 1]);
        // Out of an empty axis comes only what is outside.
        let axes = [along(0, 2, 0, 1), along(1, 5, -2, 1)];
        let places = pad(&positions(&[2, 0]), &[2, 0], &[(0, 0), (2, 3)], Pad::Constant(None));
        check(rng, &axes, OUTSIDE, &[2, 0], &places);
        // An axis that is not named is read at 0.
        check(rng, &[], OUTSIDE, &[3], &Exact { shape: vec![], value: vec![Some(0)] });
        let column = Exact { shape: vec![2], value: vec![Some(0), Some(3)] };
        check(rng, &[along(0, 2, 0, 1)], OUTSIDE, &[2, 3], &column);
    });
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |axes: &[AxisMap], shape: &[usize]| {
        let mut graph = Graph::new("case");
        let x = graph.input("x", Info::f32(tensor(shape, vec![0.0; count(shape)]).shape().clone()));
        graph.push_node("node", Rearrange { axes: axes.to_vec(), border: OUTSIDE }, &[Some(x)]).is_err()
    };
    assert!(!refused(&[along(0, 2, 0, 1)], &[2, 2]));
    assert!(refused(&[along(0, 2, 0, 1), along(0, 2, 0, 1)], &[2, 2]), "an axis named twice");
    assert!(refused(&[along(2, 2, 0, 1)], &[2, 2]), "no such axis");
    assert!(refused(&[AxisMap { input_axis: None, size: 1, start: 0, step: 0 }; 9], &[2]), "nine axes");
    assert!(refused(&[along(1, 2, 0, 1)], &[0, 2]), "an empty axis read at 0");
}
