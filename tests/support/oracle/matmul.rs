//! Matrix products.

use super::approx::{Number, Products};
use super::{Answer, broadcast, broadcast_position, count, per_index, position};

/// `alpha · op(A) op(B) + beta · C` with op the transpose where asked; C broadcasts to the result.
/// `a_shape` and `b_shape` are the shapes as stored.
pub fn gemm(
    a: &[f32],
    a_shape: [usize; 2],
    transpose_a: bool,
    b: &[f32],
    b_shape: [usize; 2],
    transpose_b: bool,
    alpha: f32,
    beta: f32,
    c: Option<(&[f32], &[usize])>,
) -> Answer {
    let flip = |[rows, columns]: [usize; 2], yes: bool| if yes { [columns, rows] } else { [rows, columns] };
    let ([m, k], [k_b, n]) = (flip(a_shape, transpose_a), flip(b_shape, transpose_b));
    assert_eq!(k, k_b, "inner sizes of {a_shape:?} and {b_shape:?}");
    let (mut value, mut magnitude) = (Vec::new(), Vec::new());
    for row in 0..m {
        for column in 0..n {
            let (mut sum, mut size) = (0.0, 0.0);
            for inner in 0..k {
                let left = a[position(&flip([row, inner], transpose_a), &a_shape)];
                let right = b[position(&flip([inner, column], transpose_b), &b_shape)];
                let product = f64::from(left) * f64::from(right);
                sum += product;
                size += product.abs();
            }
            let added = c.map_or(0.0, |(c, shape)| {
                f64::from(beta) * f64::from(c[broadcast_position(&[row, column], shape)])
            });
            value.push(f64::from(alpha) * sum + added);
            magnitude.push(f64::from(alpha).abs() * size + added.abs());
        }
    }
    // One more rounding for alpha, and two for beta · C.
    let terms = k + usize::from(alpha != 1.0) + if c.is_some() { 2 } else { 0 };
    Answer { shape: vec![m, n], value, magnitude, terms }
}

/// numpy's matmul: leading axes broadcast, a vector on the left is a row, on the right a column.
pub fn matmul<N: Number>(a: &[N], a_shape: &[usize], b: &[N], b_shape: &[usize]) -> Answer {
    assert_eq!((a.len(), b.len()), (count(a_shape), count(b_shape)));
    let left = if a_shape.len() == 1 { vec![1, a_shape[0]] } else { a_shape.to_vec() };
    let right = if b_shape.len() == 1 { vec![b_shape[0], 1] } else { b_shape.to_vec() };
    let (a_batch, a_matrix) = left.split_at(left.len() - 2);
    let (b_batch, b_matrix) = right.split_at(right.len() - 2);
    let (m, k, n) = (a_matrix[0], a_matrix[1], b_matrix[1]);
    assert_eq!(k, b_matrix[0], "inner sizes of {a_shape:?} and {b_shape:?}");
    let batch = broadcast(a_batch, b_batch);
    let sums = per_index(&[batch.as_slice(), &[m, n]].concat(), |index| {
        let (at, cell) = index.split_at(batch.len());
        let a_start = broadcast_position(at, a_batch) * m * k;
        let b_start = broadcast_position(at, b_batch) * k * n;
        let mut sum = Products::default();
        for inner in 0..k {
            sum.add(a[a_start + cell[0] * k + inner], b[b_start + inner * n + cell[1]]);
        }
        sum
    });
    let mut shape = batch;
    shape.extend((a_shape.len() > 1).then_some(m));
    shape.extend((b_shape.len() > 1).then_some(n));
    Products::answer(shape, k, &sums)
}
