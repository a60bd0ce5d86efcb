//! Each part of the support is checked under its own name.

mod activation;
mod compare;
mod convolution;
mod layout;
mod matmul;
mod normalization;
mod pooling;
mod random;
mod reduction;
mod resize;
mod training;

use crate::support::oracle::Answer;

/// Checks an answer against values published to seven digits or so.
#[track_caller]
fn published(answer: &Answer, shape: &[usize], values: &[f64]) {
    assert_eq!(answer.shape, shape);
    assert_eq!(answer.value.len(), values.len());
    for (i, (&ours, &theirs)) in answer.value.iter().zip(values).enumerate() {
        assert!(
            (ours - theirs).abs() <= 5e-7 * theirs.abs().max(1.0),
            "element {i}: {ours}, published {theirs}"
        );
    }
}

/// `first`, `first + 1`, …
fn count_up(first: i32, n: usize) -> Vec<f32> {
    (0..n).map(|i| first as f32 + i as f32).collect()
}

#[test]
#[should_panic(expected = "element 1: 2, published 2.1")]
fn published_values_can_disagree() {
    let answer = Answer { shape: vec![2], value: vec![1.0, 2.0], magnitude: vec![0.0; 2], terms: 1 };
    published(&answer, &[2], &[1.0, 2.1]);
}
