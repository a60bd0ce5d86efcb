//! Products by hand, and layouts against each other.

use super::{count_up, published};
use crate::support::compare::within;
use crate::support::oracle::layout::transpose;
use crate::support::oracle::matmul::{gemm, matmul};
use crate::support::random::cases;

#[test]
fn gemm_by_hand() {
    // [[1 2 3] [4 5 6]] · [[1 2] [3 4] [5 6]] = [[22 28] [49 64]]
    let (a, b) = (count_up(1, 6), count_up(1, 6));
    let plain = gemm(&a, [2, 3], false, &b, [3, 2], false, 1.0, 1.0, None);
    published(&plain, &[2, 2], &[22.0, 28.0, 49.0, 64.0]);
    assert_eq!((plain.terms, &plain.magnitude), (3, &plain.value));
    let c = [10.0, 20.0];
    let row = gemm(&a, [2, 3], false, &b, [3, 2], false, 0.5, -2.0, Some((&c, &[2])));
    published(&row, &[2, 2], &[-9.0, -26.0, 4.5, -8.0]);
    assert_eq!((row.terms, row.magnitude), (6, vec![31.0, 54.0, 44.5, 72.0]));
    let column = gemm(&a, [2, 3], false, &b, [3, 2], false, 1.0, 1.0, Some((&c, &[2, 1])));
    published(&column, &[2, 2], &[32.0, 38.0, 69.0, 84.0]);
}

#[test]
fn transposed_operands_are_read_transposed() {
    let (a, b) = (count_up(1, 6), count_up(-3, 12));
    let plain = gemm(&a, [2, 3], false, &b, [3, 4], false, 1.0, 1.0, None).value;
    let a_t = transpose(&a, &[2, 3], &[1, 0]).value;
    let b_t = transpose(&b, &[3, 4], &[1, 0]).value;
    assert_eq!(gemm(&a_t, [3, 2], true, &b, [3, 4], false, 1.0, 1.0, None).value, plain);
    assert_eq!(gemm(&a, [2, 3], false, &b_t, [4, 3], true, 1.0, 1.0, None).value, plain);
    assert_eq!(gemm(&a_t, [3, 2], true, &b_t, [4, 3], true, 1.0, 1.0, None).value, plain);
}

#[test]
fn matmul_broadcasts_batches() {
    let (a, b) = (count_up(0, 12), count_up(0, 12));
    let both = matmul(&a, &[2, 1, 2, 3], &b, &[2, 3, 2]);
    assert_eq!(both.shape, [2, 2, 2, 2]);
    for (i, (first, second)) in [(0, 0), (0, 1), (1, 0), (1, 1)].into_iter().enumerate() {
        let alone =
            gemm(&a[first * 6..][..6], [2, 3], false, &b[second * 6..][..6], [3, 2], false, 1.0, 1.0, None);
        assert_eq!(both.value[i * 4..][..4], alone.value);
    }
}

#[test]
fn vectors_are_rows_on_the_left_and_columns_on_the_right() {
    let (v, m) = (count_up(1, 2), count_up(1, 6));
    published(&matmul(&v, &[2], &m, &[2, 3]), &[3], &[9.0, 12.0, 15.0]);
    published(&matmul(&m, &[3, 2], &v, &[2]), &[3], &[5.0, 11.0, 17.0]);
    published(&matmul(&v, &[2], &v, &[2]), &[], &[5.0]);
}

#[test]
fn f32_sums_lie_within_the_bound() {
    cases(21, 40, |rng| {
        let (m, k, n) = (rng.size(9), rng.size(65), rng.size(9));
        let (a, b) = (rng.values(m * k), rng.values(k * n));
        let answer = matmul(&a, &[m, k], &b, &[k, n]);
        let product = |from: usize| -> Vec<f32> {
            (0..m * n).map(|i| (from..k).map(|j| a[i / n * k + j] * b[j * n + i % n]).sum()).collect()
        };
        within("all products", &product(0), &answer, 1.0).unwrap();
        assert!(within("one product short", &product(1), &answer, 1.0).is_err());
    });
}

#[test]
#[should_panic(expected = "inner sizes")]
fn inner_sizes_must_agree() {
    matmul(&[0.0; 6], &[2, 3], &[0.0; 4], &[2, 2]);
}
