//! How far convolutions in Winograd's form may be off: the bound that [`crate::winograd`] states, with its magnitudes.

use super::bound::{TINY, U};
use super::{Operands, on_cpu};
use crate::error::{Error, Result};
use crate::ops::{Conv, Gemm};
use crate::tensor::Tensor;
use crate::window::Axis;
use crate::winograd::Winograd;

/// The most that each sum of a convolution in this form is off where all its terms, with the bias and the residual,
/// have the magnitudes `direct` in the sums of products. The operands are absolute values.
pub(super) fn errors(form: Winograd, conv: &Conv, operands: &Operands, direct: &[f32]) -> Result<Vec<f64>> {
    let [Some(x), Some(weight), ..] = &operands[..] else {
        return Err(Error::Graph("a convolution without operands".into()));
    };
    let axes =
        conv.axes(x.shape()).map_err(|_| Error::Graph("a convolution's window does not fit".into()))?;
    let (&[vertical, horizontal], &[images, channels, ..], &[filters, ..]) =
        (&axes[..], &x.shape()[..], &weight.shape()[..])
    else {
        return Err(Error::Graph("Winograd's form has two axes".into()));
    };
    let products = form.side().pow(2);
    let tiles = form.tiles(&vertical) * form.tiles(&horizontal);
    let inputs = inputs(form, x.values()?, [images, channels], [&vertical, &horizontal]);
    let weights = Tensor::new([products, filters, channels], self::filters(form, weight.values()?))?;
    let inputs = Tensor::new([products, channels, images * tiles], inputs)?;
    let sums = on_cpu(Gemm::default(), &vec![Some(weights), Some(inputs)])?;
    let outputs = outputs(form, sums.values()?, [images, filters], [&vertical, &horizontal]);
    // The bias, the residual and the transform's last sum round once more each.
    let terms = (channels + 16) as f64;
    let magnitudes = outputs.iter().zip(direct).map(|(sums, rest)| f64::from(*sums) + f64::from(*rest));
    Ok(magnitudes.map(|magnitude| terms * (U * magnitude + form.amplification() * TINY)).collect())
}

/// |G| g |G^T| of filters `[f, c, 3, 3]`, as `[product, f, c]`.
fn filters(form: Winograd, weight: &[f32]) -> Vec<f32> {
    let (filters, _) = weight.as_chunks::<9>();
    let rows = form.filter_rows();
    let of = |y: &[f64; 3], x: &[f64; 3], g: &[f32; 9]| -> f64 {
        let taps = (0..9).map(|tap| (y[tap / 3] * x[tap % 3]).abs() * f64::from(g[tap]));
        taps.sum()
    };
    let pairs = rows.iter().flat_map(|y| rows.iter().map(move |x| (y, x)));
    pairs.flat_map(|(y, x)| filters.iter().map(move |g| of(y, x, g) as f32)).collect()
}

/// |B^T| d |B| of each tile of `[n, c, height, width]`, as `[product, c, n and tile]`.
fn inputs(
    form: Winograd,
    x: &[f32],
    [images, channels]: [usize; 2],
    [vertical, horizontal]: [&Axis; 2],
) -> Vec<f32> {
    let side = form.side();
    let rows = form.input_rows();
    let (high, wide) = (form.tiles(vertical), form.tiles(horizontal));
    let tiles = images * high * wide;
    let mut transformed = vec![0.0; side * side * channels * tiles];
    for (plane, x) in x.chunks(vertical.input * horizontal.input).enumerate() {
        let (image, channel) = (plane / channels, plane % channels);
        for tile in 0..high * wide {
            let first = |axis: &Axis, tile: usize| (tile * form.outputs()).wrapping_sub(axis.before);
            let (top, left) = (first(vertical, tile / wide), first(horizontal, tile % wide));
            let at = |p: usize, q: usize| -> f64 {
                let (y, x_) = (top.wrapping_add(p), left.wrapping_add(q));
                let inside = y < vertical.input && x_ < horizontal.input;
                if inside { f64::from(x[y * horizontal.input + x_]) } else { 0.0 }
            };
            // Columns first, then each row of that.
            let half = |k: usize, q: usize| -> f64 { (0..side).map(|p| rows[k][p].abs() * at(p, q)).sum() };
            for k in 0..side {
                let line: Vec<f64> = (0..side).map(|q| half(k, q)).collect();
                for (l, row) in rows.iter().enumerate() {
                    let sum: f64 = row.iter().zip(&line).map(|(b, d)| b.abs() * d).sum();
                    let to = ((k * side + l) * channels + channel) * tiles + image * high * wide + tile;
                    transformed[to] = sum as f32;
                }
            }
        }
    }
    transformed
}

/// |A^T| M |A| of sums `[product, f, n and tile]`, as `[n, f, height, width]`.
fn outputs(
    form: Winograd,
    sums: &[f32],
    [images, filters]: [usize; 2],
    [vertical, horizontal]: [&Axis; 2],
) -> Vec<f32> {
    let (side, m) = (form.side(), form.outputs());
    let rows = form.output_rows();
    let (high, wide) = (form.tiles(vertical), form.tiles(horizontal));
    let tiles = images * high * wide;
    let mut outputs = Vec::with_capacity(images * filters * vertical.output * horizontal.output);
    for image in 0..images {
        for filter in 0..filters {
            for y in 0..vertical.output {
                for x in 0..horizontal.output {
                    let tile = (image * high + y / m) * wide + x / m;
                    let (a, b) = (rows[y % m], rows[x % m]);
                    let terms = (0..side * side).map(|k| {
                        let sum = sums[(k * filters + filter) * tiles + tile];
                        (a[k / side] * b[k % side]).abs() * f64::from(sum)
                    });
                    outputs.push(terms.sum::<f64>() as f32);
                }
            }
        }
    }
    outputs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::Window;

    fn operands(x: Vec<f32>, weight: Vec<f32>) -> Operands {
        vec![Some(Tensor::new([1, 1, 8, 8], x).unwrap()), Some(Tensor::new([1, 1, 3, 3], weight).unwrap())]
    }

    /// One number in an input of zeros, in the corner of a tile of 4 x 4 outputs: of those, the far ones see only zeros
    /// directly, but take part in the transform.
    #[test]
    fn an_output_that_sees_zeros_shares_the_error_of_its_tile() {
        let conv = Conv::new(Window::new([3, 3]).padding([1, 1]));
        let mut x = vec![0.0; 64];
        x[0] = 1.0;
        let operands = operands(x, vec![1.0; 9]);
        let direct = vec![0.0; 64];
        let errors = errors(Winograd::Four, &conv, &operands, &direct).unwrap();
        let nothing = 17.0 * 861.0 * TINY;
        assert!(errors[3 * 8 + 3] > 1e-7, "{errors:?}");
        // The neighbouring tile does not reach it.
        assert!(errors[7 * 8 + 7] <= nothing * 1.01, "{errors:?}");
        let two = super::errors(Winograd::Two, &conv, &operands, &direct).unwrap();
        assert!(two[1] < errors[1] && two[3 * 8 + 3] <= nothing);
    }

    #[test]
    fn no_magnitude_is_past_the_amplification() {
        let conv = Conv::new(Window::new([3, 3]).padding([1, 1]));
        let operands = operands(vec![1.0; 64], vec![1.0; 9]);
        for form in Winograd::BOTH {
            let largest = form.amplification() * 9.0;
            let direct = vec![0.0; 64];
            for error in errors(form, &conv, &operands, &direct).unwrap() {
                assert!(error <= 17.0 * (U * largest + form.amplification() * TINY), "{error}");
                // And none is below the magnitude of a product.
                assert!(error >= 17.0 * U);
            }
        }
    }
}
