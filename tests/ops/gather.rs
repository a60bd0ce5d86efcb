//! Gathered slices of every element type: indices of any rank, from the end and outside, bit for bit.

use wgpu_cnn::ops::Gather;
use wgpu_cnn::{PlanOptions, Tensor};

use crate::harness::{Case, each};
use crate::rearrange::{TYPES, assert_words, elements, positions, words};
use crate::support::oracle::layout::{Pad, gather, pad};
use crate::support::oracle::{Exact, count};
use crate::support::random::{Rng, cases};

/// Checks that the output consists of the elements of `x` at `places`, and of 0 where there is none.
fn check(
    rng: &mut Rng,
    axis: usize,
    shape: &[usize],
    indices: &[i64],
    indices_shape: &[usize],
    places: &Exact<Option<usize>>,
) {
    let index_tensor = Tensor::new(indices_shape, indices.to_vec()).unwrap();
    for (dtype, constants) in TYPES.into_iter().zip([&[][..], &[0], &[1]]) {
        let x = elements(rng, dtype, shape);
        let from = words(&x);
        let expected: Vec<u32> = places.value.iter().map(|place| place.map_or(0, |i| from[i])).collect();
        let case = Case::new(Gather { axis }, &[&x, &index_tensor]).constants(constants);
        each(&case, &PlanOptions::default(), |label, outputs| {
            let label = format!("{label}: {dtype} {shape:?} axis {axis} at {indices:?}");
            assert_words(&label, &outputs[0], dtype, &places.shape, &expected);
        });
    }
}

fn check_inside(rng: &mut Rng, axis: usize, shape: &[usize], indices_shape: &[usize]) {
    let n = shape[axis] as i64;
    let indices: Vec<i64> =
        (0..count(indices_shape)).map(|_| rng.range(0..2 * n as usize) as i64 - n).collect();
    let places = gather(&positions(shape), shape, &indices, indices_shape, axis);
    check(rng, axis, shape, &indices, indices_shape, &places);
}

#[test]
fn indices_from_both_ends() {
    cases(0xb0, 40, |rng| {
        let shape: Vec<usize> = (0..rng.range(1..5)).map(|_| rng.range(1..7)).collect();
        let indices_shape: Vec<usize> = (0..rng.range(0..4)).map(|_| rng.range(1..5)).collect();
        let axis = rng.range(0..shape.len());
        check_inside(rng, axis, &shape, &indices_shape);
    });
}

#[test]
fn one_index_and_long_slices() {
    cases(0xb1, 1, |rng| {
        for axis in 0..3 {
            check_inside(rng, axis, &[3, 17, 65], &[]);
            check_inside(rng, axis, &[3, 17, 65], &[13]);
        }
    });
}

#[test]
fn indices_outside_pick_zero() {
    cases(0xb2, 20, |rng| {
        let shape: Vec<usize> = (0..rng.range(1..4)).map(|_| rng.range(0..5)).collect();
        let axis = rng.range(0..shape.len());
        let n = shape[axis] as i64;
        let far = [n, n + 1, -n - 1, i64::from(i32::MAX), i64::from(i32::MIN)];
        let indices: Vec<i64> = (0..rng.range(1..9))
            .map(|_| if n == 0 || rng.chance(0.5) { rng.pick(&far) } else { rng.range(0..n as usize) as i64 })
            .collect();
        // The oracle takes only indices inside: a slice of nothing at the end stands for all others.
        let mut pads = vec![(0, 0); shape.len()];
        pads[axis] = (0, 1);
        let padded = pad(&positions(&shape), &shape, &pads, Pad::Constant(None));
        let inside: Vec<i64> =
            indices.iter().map(|&i| if (-n..n).contains(&i) { i.rem_euclid(n) } else { n }).collect();
        let places = gather(&padded.value, &padded.shape, &inside, &[inside.len()], axis);
        check(rng, axis, &shape, &indices, &[indices.len()], &places);
    });
}

#[test]
fn nothing_gathered() {
    cases(0xb3, 1, |rng| {
        check_inside(rng, 0, &[3, 2], &[0]);
        check_inside(rng, 1, &[3, 2], &[2, 0]);
        check_inside(rng, 0, &[3, 0], &[2]);
        check_inside(rng, 1, &[0, 2], &[2]);
    });
}
