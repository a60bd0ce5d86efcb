//! Values from the documentation of the ONNX operators and of numpy.

use super::count_up;
use crate::support::oracle::layout::{
    DepthOrder, Pad, Range, concat, depth_to_space, expand, gather, pad, slice, space_to_depth, tile,
    transpose,
};
use crate::support::oracle::{Exact, each_index, position};

#[track_caller]
fn same<T: PartialEq + std::fmt::Debug>(result: Exact<T>, shape: &[usize], value: &[T]) {
    assert_eq!((result.shape.as_slice(), result.value.as_slice()), (shape, value));
}

#[test]
fn indices_run_in_row_major_order() {
    let mut seen = Vec::new();
    each_index(&[2, 3], |index| seen.push(position(index, &[2, 3])));
    assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    let mut calls = 0;
    each_index(&[], |_| calls += 1);
    each_index(&[2, 0, 3], |_| calls += 1);
    assert_eq!(calls, 1);
}

#[test]
#[should_panic(expected = "outside shape")]
fn an_index_outside_is_refused() {
    position(&[0, 3], &[2, 3]);
}

#[test]
fn joined_parts() {
    let (a, b) = ([1, 2, 3, 4], [5, 6]);
    same(concat(&[(&a, &[2, 2]), (&b, &[1, 2])], 0), &[3, 2], &[1, 2, 3, 4, 5, 6]);
    same(concat(&[(&a, &[2, 2]), (&b, &[2, 1])], 1), &[2, 3], &[1, 2, 5, 3, 4, 6]);
}

#[test]
fn published_slices() {
    let x = [1, 2, 3, 4, 5, 6, 7, 8];
    let range = |axis, start, end, step| Range { axis, start, end, step };
    same(slice(&x, &[2, 4], &[range(0, 1, 2, 1), range(1, 0, 3, 2)]), &[1, 2], &[5, 7]);
    same(slice(&x, &[2, 4], &[range(0, 0, -1, 1), range(1, 1, 1000, 1)]), &[1, 3], &[2, 3, 4]);
    // numpy: x[::-1], x[6:0:-2], x[-3:-100:-1] and x[5:2]
    let line = |start, end, step| slice(&x, &[8], &[range(0, start, end, step)]);
    same(line(i64::MAX, i64::MIN, -1), &[8], &[8, 7, 6, 5, 4, 3, 2, 1]);
    same(line(6, 0, -2), &[3], &[7, 5, 3]);
    same(line(-3, -100, -1), &[6], &[6, 5, 4, 3, 2, 1]);
    same(line(5, 2, 1), &[0], &[]);
}

#[test]
fn transposed_axes() {
    let x = [0, 1, 2, 3, 4, 5];
    same(transpose(&x, &[2, 3], &[1, 0]), &[3, 2], &[0, 3, 1, 4, 2, 5]);
    // numpy: arange(6).reshape(1, 2, 3).transpose(2, 0, 1)
    same(transpose(&x, &[1, 2, 3], &[2, 0, 1]), &[3, 1, 2], &[0, 3, 1, 4, 2, 5]);
}

#[test]
fn published_pads() {
    let x = [1, 2, 3, 4, 5];
    let line = |mode| pad(&x, &[5], &[(2, 3)], mode);
    same(line(Pad::Constant(9)), &[10], &[9, 9, 1, 2, 3, 4, 5, 9, 9, 9]);
    same(line(Pad::Edge), &[10], &[1, 1, 1, 2, 3, 4, 5, 5, 5, 5]);
    same(line(Pad::Reflect), &[10], &[3, 2, 1, 2, 3, 4, 5, 4, 3, 2]);
    same(line(Pad::Wrap), &[10], &[4, 5, 1, 2, 3, 4, 5, 1, 2, 3]);
    same(pad(&x, &[5], &[(-1, -2)], Pad::Constant(0)), &[2], &[2, 3]);
    same(pad(&[7], &[1], &[(1, 1)], Pad::Reflect), &[3], &[7, 7, 7]);
    let table = pad(&[10, 12, 23, 34], &[2, 2], &[(0, 1), (1, 0)], Pad::Constant(0));
    same(table, &[3, 3], &[0, 10, 12, 0, 23, 34, 0, 0, 0]);
}

#[test]
fn repeated_elements() {
    let x = [1, 2, 3];
    same(expand(&x, &[3, 1], &[2, 1, 2]), &[2, 3, 2], &[1, 1, 2, 2, 3, 3, 1, 1, 2, 2, 3, 3]);
    same(expand(&x, &[3, 1], &[1]), &[3, 1], &x);
    same(tile(&[0, 1, 2, 3], &[2, 2], &[2, 2]), &[4, 4], &[0, 1, 0, 1, 2, 3, 2, 3, 0, 1, 0, 1, 2, 3, 2, 3]);
}

#[test]
fn published_gathers() {
    let x = [10, 12, 23, 34, 45, 57];
    same(gather(&x, &[3, 2], &[0, 1, 1, 2], &[2, 2], 0), &[2, 2, 2], &[10, 12, 23, 34, 23, 34, 45, 57]);
    let x = [10, 12, 19, 23, 34, 39, 45, 57, 59];
    same(gather(&x, &[3, 3], &[0, 2], &[1, 2], 1), &[3, 1, 2], &[10, 19, 23, 39, 45, 59]);
    same(gather(&x, &[9], &[-9, -1], &[2], 0), &[2], &[10, 59]);
    same(gather(&x, &[3, 3], &[1], &[], 0), &[3], &[23, 34, 39]);
}

#[test]
#[should_panic(expected = "gather index 3 of 3")]
fn a_gather_outside_is_refused() {
    gather(&[0; 3], &[3], &[3], &[1], 0);
}

#[test]
fn published_blocks() {
    // Channel c holds 9c, 9c+1, … in two rows of three.
    let x: Vec<f32> = (0..8).flat_map(|c| count_up(9 * c, 6)).collect();
    let shape = [1, 8, 2, 3];
    let map = [0, 18, 1, 19, 2, 20, 36, 54, 37, 55, 38, 56, 3, 21, 4, 22, 5, 23, 39, 57, 40, 58, 41, 59];
    let both: Vec<f32> = map.iter().map(|v| *v as f32).chain(map.iter().map(|v| *v as f32 + 9.0)).collect();
    same(depth_to_space(&x, &shape, 2, DepthOrder::Dcr), &[1, 2, 4, 6], &both);
    let map = [0, 9, 1, 10, 2, 11, 18, 27, 19, 28, 20, 29, 3, 12, 4, 13, 5, 14, 21, 30, 22, 31, 23, 32];
    let both: Vec<f32> = map.iter().map(|v| *v as f32).chain(map.iter().map(|v| *v as f32 + 36.0)).collect();
    same(depth_to_space(&x, &shape, 2, DepthOrder::Crd), &[1, 2, 4, 6], &both);

    let x = [0, 6, 1, 7, 2, 8, 12, 18, 13, 19, 14, 20, 3, 9, 4, 10, 5, 11, 15, 21, 16, 22, 17, 23];
    let blocks = space_to_depth(&x, &[1, 1, 4, 6], 2);
    same(blocks.clone(), &[1, 4, 2, 3], &(0..24).collect::<Vec<_>>());
    same(depth_to_space(&blocks.value, &blocks.shape, 2, DepthOrder::Dcr), &[1, 1, 4, 6], &x);
}
