//! Matrix products: large ones by the `gemm` crate, products with a single row as dot products on all cores.

use gemm::Parallelism;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::Kernel;
use super::activation::apply;
use super::cores::{Spread, alone, grain};
use super::vectors::arch;
use crate::error::Result;
use crate::ops::Gemm;
use crate::ops::broadcast::broadcast;
use crate::ops::gemm::Sizes;
use crate::plan::Site;

/// Multiply-accumulates from which a product is spread over the cores.
const PARALLEL: usize = 1 << 19;
/// Multiply-accumulates of a task of a product with one row, at least.
const ROW_TASK: usize = 1 << 17;

/// A matrix in a slice: element `(i, j)` is `data[i * row + j * column]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix<'a> {
    pub data: &'a [f32],
    pub rows: usize,
    pub columns: usize,
    /// The step from a row to the next.
    pub row: usize,
    /// The step from a column to the next.
    pub column: usize,
}

impl<'a> Matrix<'a> {
    /// A `rows` by `columns` matrix stored by rows, or where `transposed`, by columns.
    fn stored(data: &'a [f32], rows: usize, columns: usize, transposed: bool) -> Self {
        let (row, column) = if transposed { (1, rows) } else { (columns, 1) };
        Matrix { data, rows, columns, row, column }
    }
}

/// Whether all of `rows` by `columns` elements with these steps lie within `len`, and every step fits an `isize`.
fn fits(len: usize, rows: usize, columns: usize, row: usize, column: usize) -> bool {
    let steps = isize::try_from(row).is_ok() && isize::try_from(column).is_ok();
    if rows == 0 || columns == 0 {
        return steps;
    }
    let last =
        (rows - 1).checked_mul(row).zip((columns - 1).checked_mul(column)).map(|(r, c)| r.checked_add(c));
    steps && last.flatten().is_some_and(|last| last < len)
}

/// `out = alpha a b`, row `i` of `out` starting at `i * out_row`. A product of no terms is 0.
///
/// See [`add_product`], which panics as this does.
pub(super) fn product(
    alpha: f32,
    a: Matrix,
    b: Matrix,
    out: &mut [f32],
    out_row: usize,
    parallelism: Parallelism,
) {
    add_product(false, alpha, a, b, out, out_row, parallelism);
}

/// `out = alpha a b`, or where `add`, `out += alpha a b`.
///
/// Each element is summed in an order that follows from the sizes alone, whatever the threads do: the `gemm` crate
/// cuts `k` at fixed places, in sequence, and hands whole tiles of the output to threads.
///
/// # Panics
/// As an index out of bounds would, where a slice is too short for its matrix, the inner sizes differ, or rows of
/// `out` overlap.
pub(super) fn add_product(
    add: bool,
    alpha: f32,
    a: Matrix,
    b: Matrix,
    out: &mut [f32],
    out_row: usize,
    parallelism: Parallelism,
) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert_eq!(k, b.rows, "the inner sizes of a matrix product");
    assert!(fits(a.data.len(), m, k, a.row, a.column), "a matrix past the end of its slice: a");
    assert!(fits(b.data.len(), k, n, b.row, b.column), "a matrix past the end of its slice: b");
    assert!(fits(out.len(), m, n, out_row, 1), "a matrix past the end of its slice: out");
    assert!(m < 2 || n <= out_row, "rows of the output that overlap");
    // SAFETY: the assertions above hold every element that the product reads or writes within its slice, and `out`
    // is borrowed mutably, so it overlaps neither input; distinct elements of `out` have distinct addresses. Steps
    // were checked to fit an isize. `out` is read where `add` asks for it, and holds values as every slice does.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            out_row as isize,
            add,
            a.data.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.column as isize,
            b.row as isize,
            if add { 1.0 } else { 0.0 },
            alpha,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// How a product of this size runs where it may be shared among the cores.
pub(super) fn parallelism(m: usize, n: usize, k: usize) -> Parallelism {
    let small = m.saturating_mul(n).saturating_mul(k) < PARALLEL;
    if small || alone() { Parallelism::None } else { Parallelism::Rayon(0) }
}

/// `c`, broadcast to the output.
struct Addend {
    /// Where in `c` each row of the output starts.
    rows: Vec<usize>,
    /// Whether a row of the output adds one element throughout.
    constant: bool,
}

pub(super) fn compile(op: &Gemm, site: &Site) -> Result<Kernel> {
    let shape = |i| site.input(i).map(|info| info.shape.clone()).unwrap_or_default();
    let (a_shape, b_shape) = (shape(0), shape(1));
    let Sizes { mut m, n, k, batch, a_steps, b_steps } =
        op.sizes(&a_shape, &b_shape).map_err(|e| site.error(e))?;
    let (mut a_at, mut b_at) = (offsets(&batch, &a_steps), offsets(&batch, &b_steps));
    // Rows of a whole batch against one matrix are the rows of one product.
    if !op.trans_a && b_at.iter().all(|&at| at == 0) && a_at.iter().copied().eq(0..a_at.len()) {
        m *= a_at.len();
        (a_at, b_at) = (vec![0], vec![0]);
    }
    let addend = match site.input(2) {
        None => None,
        Some(c) => {
            let out = &site.output(0).shape;
            let (_, strides) = broadcast(&[out, &c.shape]).map_err(|e| site.error(e))?;
            let (outer, last) = (out.len() - 1, strides[1].last().copied().unwrap_or(0));
            Some(Addend { rows: offsets(&out[..outer], &strides[1][..outer]), constant: last == 0 })
        }
    };
    let op = op.clone();
    let side_by_side = a_at.len() >= rayon::current_num_threads();
    Ok(Kernel::new(move |inputs, outputs, _| {
        let matrix = |i: usize, out: &mut [f32]| {
            let a = Matrix::stored(&inputs[0][a_at[i] * m * k..][..m * k], m, k, op.trans_a);
            let b = Matrix::stored(&inputs[1][b_at[i] * k * n..][..k * n], k, n, op.trans_b);
            if m == 1 {
                row_times_matrix(op.alpha, a.data, b, op.trans_b, out);
            } else {
                let parallelism = if side_by_side { Parallelism::None } else { parallelism(m, n, k) };
                product(op.alpha, a, b, out, n, parallelism);
            }
            out.par_chunks_mut(n).enumerate().spread(grain(n)).for_each(|(row, out)| {
                if let Some(addend) = &addend {
                    let c = &inputs[2][addend.rows[i * m + row]..];
                    if addend.constant {
                        let c = op.beta * c[0];
                        out.iter_mut().for_each(|out| *out += c);
                    } else {
                        out.iter_mut().zip(c).for_each(|(out, c)| *out += op.beta * c);
                    }
                }
                apply(op.activation, out);
            });
        };
        let out = &mut *outputs[0];
        if out.is_empty() {
            return;
        }
        if side_by_side {
            let matrices = out.par_chunks_mut(m * n).enumerate();
            let work = m.saturating_mul(n).saturating_mul(k);
            matrices.spread(grain(work)).for_each(|(i, out)| matrix(i, out));
        } else {
            out.chunks_mut(m * n).enumerate().for_each(|(i, out)| matrix(i, out));
        }
    }))
}

/// The offset of each index of `dims`, in row-major order.
fn offsets(dims: &[usize], strides: &[usize]) -> Vec<usize> {
    let mut all = vec![0];
    for (&len, &stride) in dims.iter().zip(strides) {
        all = all.iter().flat_map(|at| (0..len).map(move |i| at + i * stride)).collect();
    }
    all
}

/// `out = alpha a b` for one row `a`: reading `b` is all the work, so that each core reads a part of it.
fn row_times_matrix(alpha: f32, a: &[f32], b: Matrix, transposed: bool, out: &mut [f32]) {
    let (k, n) = (b.rows, b.columns);
    if transposed {
        let rows = (ROW_TASK / k.max(1)).next_multiple_of(ROWS);
        out.par_chunks_mut(rows).enumerate().spread(1).for_each(|(chunk, out)| {
            let b = &b.data[chunk * rows * k..][..out.len() * k];
            arch().dispatch(Dots { alpha, a, b, out });
        });
    } else {
        let columns = (ROW_TASK / k.max(1)).max(64);
        out.par_chunks_mut(columns).enumerate().spread(1).for_each(|(chunk, out)| {
            out.fill(0.0);
            for (i, &a) in a.iter().enumerate() {
                let b = &b.data[i * n + chunk * columns..][..out.len()];
                out.iter_mut().zip(b).for_each(|(out, b)| *out += a * b);
            }
            out.iter_mut().for_each(|out| *out *= alpha);
        });
    }
}

/// Rows that are read side by side: more than one, since a core waits for memory in several places at once.
const ROWS: usize = 4;

/// `out = alpha a b'`, each element the dot product of `a` with a row of `b`.
struct Dots<'a> {
    alpha: f32,
    a: &'a [f32],
    b: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Dots { alpha, a, b, out } = self;
        let row = |i: usize| &b[i * a.len()..][..a.len()];
        let (fours, rest) = out.as_chunks_mut::<ROWS>();
        let done = fours.len() * ROWS;
        for (i, out) in fours.iter_mut().enumerate() {
            let first = i * ROWS;
            *out = dots(simd, a, [row(first), row(first + 1), row(first + 2), row(first + 3)]);
        }
        for (i, out) in rest.iter_mut().enumerate() {
            [*out] = dots(simd, a, [row(done + i)]);
        }
        out.iter_mut().for_each(|out| *out *= alpha);
    }
}

/// The dot products of `a` with rows of its length, each in two vectors of partial sums.
#[inline(always)]
fn dots<S: Simd, const R: usize>(simd: S, a: &[f32], rows: [&[f32]; R]) -> [f32; R] {
    let (vectors, rest) = S::as_simd_f32s(a);
    let rows = rows.map(
        #[inline(always)]
        |row| S::as_simd_f32s(row),
    );
    let (pairs, last) = vectors.as_chunks::<2>();
    let mut sums = [[simd.splat_f32s(0.0); 2]; R];
    for (i, a) in pairs.iter().enumerate() {
        for r in 0..R {
            let b = &rows[r].0[2 * i..][..2];
            sums[r][0] = simd.mul_add_e_f32s(a[0], b[0], sums[r][0]);
            sums[r][1] = simd.mul_add_e_f32s(a[1], b[1], sums[r][1]);
        }
    }
    let mut out = [0.0; R];
    for r in 0..R {
        let mut sum = sums[r][0];
        if let [a] = last {
            sum = simd.mul_add_e_f32s(*a, rows[r].0[2 * pairs.len()], sum);
        }
        let rest: f32 = rest.iter().zip(rows[r].1).map(|(a, b)| a * b).sum();
        out[r] = simd.reduce_sum_f32s(simd.add_f32s(sum, sums[r][1])) + rest;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];

    fn multiply(a: &[f32], b: &[f32], out: &mut [f32], out_row: usize) {
        let (a, b) = (Matrix::stored(a, 2, 3, false), Matrix::stored(b, 3, 2, true));
        product(2.0, a, b, out, out_row, Parallelism::None);
    }

    #[test]
    fn writes_only_its_rows() {
        let mut out = [f32::NAN, f32::NAN, -1.0, f32::NAN, f32::NAN];
        multiply(&A, &A, &mut out, 3);
        assert_eq!(out, [28.0, 64.0, -1.0, 64.0, 154.0]);
    }

    #[test]
    fn no_terms_sum_to_zero() {
        let mut out = [f32::NAN; 4];
        let (a, b) = (Matrix::stored(&[], 2, 0, false), Matrix::stored(&[], 0, 2, false));
        product(1.0, a, b, &mut out, 2, Parallelism::None);
        assert_eq!(out, [0.0; 4]);
    }

    #[test]
    #[should_panic(expected = "slice: a")]
    fn refuses_a_short_left_side() {
        multiply(&A[..5], &A, &mut [0.0; 4], 2);
    }

    #[test]
    #[should_panic(expected = "slice: b")]
    fn refuses_a_short_right_side() {
        multiply(&A, &A[..5], &mut [0.0; 4], 2);
    }

    #[test]
    #[should_panic(expected = "slice: out")]
    fn refuses_a_short_output() {
        multiply(&A, &A, &mut [0.0; 4], 3);
    }

    #[test]
    #[should_panic(expected = "overlap")]
    fn refuses_overlapping_rows() {
        multiply(&A, &A, &mut [0.0; 4], 1);
    }

    #[test]
    #[should_panic(expected = "slice: a")]
    fn refuses_steps_that_overflow() {
        let a = Matrix { data: &A, rows: 3, columns: 3, row: usize::MAX / 2, column: 1 };
        product(1.0, a, Matrix::stored(&A, 3, 2, false), &mut [0.0; 6], 2, Parallelism::None);
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let (m, n, k) = (67, 113, 1201);
        let value = |i: usize| ((i * 2_654_435_761) % 1009) as f32 / 504.5 - 1.0;
        let a: Vec<f32> = (0..m * k).map(value).collect();
        let b: Vec<f32> = (0..k * n).map(|i| value(i + 77)).collect();
        let run = |parallelism| {
            let mut out = vec![f32::NAN; m * n];
            let (a, b) = (Matrix::stored(&a, m, k, false), Matrix::stored(&b, k, n, false));
            product(1.0, a, b, &mut out, n, parallelism);
            out
        };
        let alone = run(Parallelism::None);
        for threads in [2, 3, 8] {
            assert_eq!(run(Parallelism::Rayon(threads)), alone, "{threads} threads");
        }
    }
}
