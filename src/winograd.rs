//! Winograd's minimal filtering F(m x m, 3 x 3): m² outputs of a 3x3 convolution for (m + 2)² products in place of 9 m².
//!
//! Y = A^T [(G g G^T) * (B^T d B)] A, the products summed over the channels before the outer transform (Lavin & Gray, *Fast
//! Algorithms for Convolutional Neural Networks*, 2016). The matrices stand here, in f64; the kernels have B and A written
//! out as sums (`shaders/shared/winograd_*.wgsl`, `cpu/blocked/winograd.rs`).
//!
//! **Error.** Let |M| be the matrix of a matrix's absolute values. An output differs from the true one by at most
//! (c + 14) 2^-24 times the same formula with |A|, |B|, |G|, |d| and |g|, to first order: a term passes through at most 3
//! roundings in each of the four one-dimensional transforms of d and of the sums, 1 in the filters', 1 in its product and
//! c in the sum over c channels (Higham, *Accuracy and Stability of Numerical Algorithms*, section 3.1). The formula is at
//! most 16 (m = 2) or 861 (m = 4) times the sum over the channels of the filter's magnitudes times the largest input of the
//! tile: along one axis 4 or 29.3, the largest sum of |A^T| |G| times the row sums of |B^T|, and squared for two. That is the
//! worst case; what is observed is a few times the error of direct convolution. Because a tile is computed as a whole, an
//! infinite or NaN input makes all its outputs NaN.

use std::ops::Range;

use crate::window::Axis;

/// The sizes of Winograd's filtering: m x m outputs at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Winograd {
    /// F(2x2, 3x3): 16 products for 4 outputs.
    Two,
    /// F(4x4, 3x3): 36 products for 16 outputs.
    Four,
}

impl Winograd {
    pub const BOTH: [Winograd; 2] = [Winograd::Two, Winograd::Four];

    /// What is in the names of the kernels that compute a part of it.
    pub fn name(self) -> &'static str {
        match self {
            Winograd::Two => "winograd_2",
            Winograd::Four => "winograd_4",
        }
    }

    /// Outputs of a tile along an axis.
    pub fn outputs(self) -> usize {
        match self {
            Winograd::Two => 2,
            Winograd::Four => 4,
        }
    }

    /// Inputs of a tile along an axis.
    pub fn side(self) -> usize {
        self.outputs() + 2
    }

    /// The matrix G, a row per product.
    pub fn filter_rows(self) -> &'static [[f64; 3]] {
        match self {
            Winograd::Two => &[[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]],
            Winograd::Four => &[
                [1.0 / 4.0, 0.0, 0.0],
                [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
                [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
                [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
                [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
                [0.0, 0.0, 1.0],
            ],
        }
    }

    /// G g G^T of filters `[3, 3]` side by side, row by row, into as many places as there are products.
    pub fn filter<const N: usize>(self, g: &[[f32; N]; 9], transformed: &mut [[f32; N]]) {
        let rows = self.filter_rows();
        // Loops over lanes, for the compiler makes vectors of those.
        for (y, of_row) in rows.iter().zip(transformed.chunks_exact_mut(rows.len())) {
            // A row of G g, then its product with each column of G^T.
            let mut row = [[0.0; N]; 3];
            for (j, sums) in row.iter_mut().enumerate() {
                for lane in 0..N {
                    sums[lane] = y[0] * f64::from(g[j][lane])
                        + y[1] * f64::from(g[3 + j][lane])
                        + y[2] * f64::from(g[6 + j][lane]);
                }
            }
            for (x, to) in rows.iter().zip(of_row) {
                for lane in 0..N {
                    to[lane] = (x[0] * row[0][lane] + x[1] * row[1][lane] + x[2] * row[2][lane]) as f32;
                }
            }
        }
    }

    /// As [`Self::filter`], of these of filters `[filters, channels, 3, 3]` at a channel: up to four, and zeros in place of
    /// others.
    pub fn four_filters(
        self,
        values: &[f32],
        channels: usize,
        filters: Range<usize>,
        channel: usize,
        transformed: &mut [[f32; 4]],
    ) {
        let mut g = [[0.0; 4]; 9];
        for (lane, filter) in filters.enumerate() {
            let values = &values[9 * (filter * channels + channel)..];
            g.iter_mut().zip(values).for_each(|(tap, value)| tap[lane] = *value);
        }
        self.filter(&g, transformed);
    }

    /// The matrix B^T, a row per product.
    pub fn input_rows(self) -> &'static [&'static [f64]] {
        match self {
            Winograd::Two => &[
                &[1.0, 0.0, -1.0, 0.0],
                &[0.0, 1.0, 1.0, 0.0],
                &[0.0, -1.0, 1.0, 0.0],
                &[0.0, 1.0, 0.0, -1.0],
            ],
            Winograd::Four => &[
                &[4.0, 0.0, -5.0, 0.0, 1.0, 0.0],
                &[0.0, -4.0, -4.0, 1.0, 1.0, 0.0],
                &[0.0, 4.0, -4.0, -1.0, 1.0, 0.0],
                &[0.0, -2.0, -1.0, 2.0, 1.0, 0.0],
                &[0.0, 2.0, -1.0, -2.0, 1.0, 0.0],
                &[0.0, 4.0, 0.0, -5.0, 0.0, 1.0],
            ],
        }
    }

    /// The matrix A^T, a row per output.
    pub fn output_rows(self) -> &'static [&'static [f64]] {
        match self {
            Winograd::Two => &[&[1.0, 1.0, 1.0, 0.0], &[0.0, 1.0, -1.0, -1.0]],
            Winograd::Four => &[
                &[1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
                &[0.0, 1.0, -1.0, 2.0, -2.0, 0.0],
                &[0.0, 1.0, 1.0, 4.0, 4.0, 0.0],
                &[0.0, 1.0, -1.0, 8.0, -8.0, 1.0],
            ],
        }
    }

    /// The most that the formula of magnitudes is of those of the filter times the largest input of the tile.
    pub fn amplification(self) -> f64 {
        let size = |row: &[f64]| row.iter().map(|b| b.abs()).sum::<f64>();
        let inputs: Vec<_> = self.input_rows().iter().map(|row| size(row)).collect();
        let sum = |row: &[f64], tap: usize| -> f64 {
            let terms = row.iter().zip(&inputs).zip(self.filter_rows());
            terms.map(|((a, b), g)| (a * b * g[tap]).abs()).sum()
        };
        let sums = self.output_rows().iter().flat_map(|row| (0..3).map(move |tap| sum(row, tap)));
        sums.fold(0.0, f64::max).powi(2)
    }

    /// The form that a kernel of this name computes a part of.
    pub fn of_kernel(name: &str) -> Option<Self> {
        Self::BOTH.into_iter().find(|form| name.contains(form.name()))
    }

    /// Whether it computes a convolution along these axes.
    pub fn suits(axes: &[Axis]) -> bool {
        let suits =
            |a: &Axis| (a.kernel, a.stride, a.dilation) == (3, 1, 1) && a.before.max(a.after) < a.kernel;
        axes.len() == 2 && axes.iter().all(suits)
    }

    /// Tiles along an axis.
    pub fn tiles(self, axis: &Axis) -> usize {
        axis.output.div_ceil(self.outputs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_amplifications_are_those_stated() {
        assert_eq!(Winograd::Two.amplification(), 16.0);
        assert_eq!(Winograd::Four.amplification().ceil(), 861.0);
    }

    #[test]
    fn a_filter_of_one_corner() {
        let mut g = [[0.0; 1]; 9];
        g[0] = [6.0];
        let mut transformed = [[0.0; 1]; 36];
        Winograd::Four.filter(&g, &mut transformed);
        assert_eq!(transformed[..6].as_flattened(), [0.375, -0.25, -0.25, 0.0625, 0.0625, 0.0]);
    }

    #[test]
    fn four_filters_are_as_each_alone() {
        let values: Vec<f32> = (0..3 * 2 * 9).map(|i| (i * i % 17) as f32).collect();
        let mut together = [[1.0; 4]; 36];
        Winograd::Four.four_filters(&values, 2, 1..3, 1, &mut together);
        for (lane, at) in [(0, 27), (1, 45)] {
            let g: [[f32; 1]; 9] = std::array::from_fn(|tap| [values[at + tap]]);
            let mut alone = [[0.0; 1]; 36];
            Winograd::Four.filter(&g, &mut alone);
            let lanes: Vec<f32> = together.iter().map(|lanes| lanes[lane]).collect();
            assert_eq!(lanes, alone.as_flattened());
        }
        assert!(together.iter().all(|lanes| lanes[2..] == [0.0, 0.0]));
    }

    /// Outputs along one axis by the matrices, and one by one.
    #[test]
    fn the_matrices_convolve() {
        let part = |i: usize| (i as f64 * 0.618_033_988_749_895).fract() - 0.5;
        for form in Winograd::BOTH {
            let inputs: Vec<f64> = (0..form.side()).map(part).collect();
            let filter: Vec<f64> = (10..13).map(part).collect();
            let dot = |row: &[f64], column: &[f64]| row.iter().zip(column).map(|(a, b)| a * b).sum::<f64>();
            let products: Vec<f64> = form
                .input_rows()
                .iter()
                .zip(form.filter_rows())
                .map(|(b, g)| dot(b, &inputs) * dot(g, &filter))
                .collect();
            for (i, row) in form.output_rows().iter().enumerate() {
                let expected = dot(&filter, &inputs[i..i + 3]);
                assert!((dot(row, &products) - expected).abs() < 1e-14, "{form:?}, output {i}");
            }
        }
    }
}
