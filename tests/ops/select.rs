//! One of two tensors by a condition: every element type, all three operands broadcast, bit for bit.

use wgpu_cnn::ops::Select;
use wgpu_cnn::{DType, PlanOptions};

use crate::harness::{Case, each};
use crate::rearrange::{TYPES, assert_words, elements, words};
use crate::support::oracle::{broadcast, broadcast_position, per_index};
use crate::support::random::{Rng, cases};

fn check(rng: &mut Rng, condition: &[usize], a: &[usize], b: &[usize]) {
    let shape = broadcast(&broadcast(condition, a), b);
    for dtype in TYPES {
        let condition_tensor = elements(rng, DType::Bool, condition);
        let (a_tensor, b_tensor) = (elements(rng, dtype, a), elements(rng, dtype, b));
        let [holds, from_a, from_b] = [&condition_tensor, &a_tensor, &b_tensor].map(words);
        let expected = per_index(&shape, |index| match holds[broadcast_position(index, condition)] {
            0 => from_b[broadcast_position(index, b)],
            _ => from_a[broadcast_position(index, a)],
        });
        let case = Case::new(Select, &[&condition_tensor, &a_tensor, &b_tensor]);
        each(&case, &PlanOptions::default(), |label, outputs| {
            let label = format!("{label}: {dtype} {condition:?} ? {a:?} : {b:?}");
            assert_words(&label, &outputs[0], dtype, &shape, &expected);
        });
    }
}

#[test]
fn generated_broadcasts() {
    cases(0xe0, 40, |rng| {
        let rank = rng.range(0..6);
        let shape: Vec<usize> = (0..rank).map(|_| rng.range(1..6)).collect();
        let operand = |rng: &mut Rng| -> Vec<usize> {
            let missing = if rng.chance(0.4) { rng.range(0..rank + 1) } else { 0 };
            shape[missing..].iter().map(|&n| if rng.chance(0.3) { 1 } else { n }).collect()
        };
        let [condition, a, b] = [operand(rng), operand(rng), operand(rng)];
        check(rng, &condition, &a, &b);
    });
}

#[test]
fn alike_scalar_and_empty_operands() {
    cases(0xe1, 1, |rng| {
        check(rng, &[7, 33, 65], &[7, 33, 65], &[7, 33, 65]);
        check(rng, &[], &[], &[]);
        check(rng, &[], &[3, 5], &[5]);
        check(rng, &[3, 5], &[], &[]);
        check(rng, &[3, 1, 1], &[1, 5, 1], &[1, 1, 65]);
        check(rng, &[0, 3], &[3], &[]);
        check(rng, &[1], &[0], &[1]);
        // More axes than the kernels count along, of which all can be joined.
        check(rng, &[2; 9], &[2; 9], &[]);
    });
}
