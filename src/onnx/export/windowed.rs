//! What slides a window: convolutions, pools, patches.
//!
//! Windows are written with all sizes resolved: `SAME` and ceil mode become the paddings they amount to, for runtimes
//! differ in how they read these.

use super::arithmetic::activate;
use super::layout::pad;
use super::{Layer, int, integer, ints};
use crate::onnx::proto::AttributeProto;
use crate::ops::pool::IndexOrder;
use crate::ops::rearrange::Border;
use crate::ops::{Conv, ConvTranspose, Im2col, OpError, Pool, PoolKind};
use crate::tensor::Tensor;
use crate::window::{Axis, average_divisor};

/// The padding after an axis with which as many windows fit as it has outputs, ceil mode or not.
fn padding_after(axis: &Axis) -> usize {
    let stated = axis.before + axis.input + axis.after;
    let covered = (axis.output - 1) * axis.stride + axis.extent();
    if covered <= stated && stated - covered < axis.stride {
        axis.after
    } else {
        covered.saturating_sub(axis.before + axis.input)
    }
}

/// `(before, after)` of each axis.
fn paddings(axes: &[Axis]) -> Vec<(usize, usize)> {
    axes.iter().map(|axis| (axis.before, padding_after(axis))).collect()
}

/// Kernel, strides and dilations.
fn window(axes: &[Axis]) -> Vec<AttributeProto> {
    let each = |of: fn(&Axis) -> usize| axes.iter().map(of).map(integer).collect::<Vec<_>>();
    vec![
        ints("kernel_shape", each(|a| a.kernel)),
        ints("strides", each(|a| a.stride)),
        ints("dilations", each(|a| a.dilation)),
    ]
}

fn pads(paddings: &[(usize, usize)]) -> AttributeProto {
    let (before, after) = (paddings.iter().map(|p| integer(p.0)), paddings.iter().map(|p| integer(p.1)));
    ints("pads", before.chain(after))
}

/// Paddings of the spatial axes, as those of a whole tensor.
fn of_tensor(paddings: &[(usize, usize)]) -> Vec<(usize, usize)> {
    [(0, 0); 2].into_iter().chain(paddings.iter().copied()).collect()
}

/// Conv, then Add for a residual and the activation.
pub(super) fn conv(l: &mut Layer, op: &Conv) -> Result<String, OpError> {
    let axes = op.axes(&l.shape(0))?;
    let (x, weight, bias, residual) = (l.input(0), l.input(1), l.input(2), l.input(3));
    let mut attributes = window(&axes);
    attributes.extend([pads(&paddings(&axes)), int("group", integer(op.groups))]);
    let mut y = l.emit("Conv", &[&x, &weight, &bias], attributes);
    if !residual.is_empty() {
        y = l.emit("Add", &[&y, &residual], vec![]);
    }
    Ok(activate(l, y, op.activation.as_ref()))
}

/// ConvTranspose, its output cut out of the whole by pads, or beyond the whole by output padding.
pub(super) fn conv_transpose(l: &mut Layer, op: &ConvTranspose) -> Result<String, OpError> {
    let axes = op.axes(&l.shape(0))?;
    let (x, weight, bias) = (l.input(0), l.input(1), l.input(2));
    let cut = axes.iter().map(|axis| {
        let whole = (axis.input - 1) * axis.stride + axis.extent();
        let end = axis.before + axis.output;
        (axis.before, whole.saturating_sub(end), end.saturating_sub(whole))
    });
    let cut: Vec<_> = cut.collect();
    let mut attributes = window(&axes);
    attributes.extend([
        pads(&cut.iter().map(|c| (c.0, c.1)).collect::<Vec<_>>()),
        ints("output_padding", cut.iter().map(|c| integer(c.2))),
        int("group", integer(op.groups)),
    ]);
    let y = l.emit("ConvTranspose", &[&x, &weight, &bias], attributes);
    Ok(activate(l, y, op.activation.as_ref()))
}

/// MaxPool, AveragePool and LpPool. Runtimes take no padding as large as the kernel; that is padded in front.
pub(super) fn pool(l: &mut Layer, op: &Pool) -> Result<Vec<String>, OpError> {
    let axes = op.axes(&l.shape(0))?;
    let x = l.input(0);
    let paddings = paddings(&axes);
    let fits = axes.iter().zip(&paddings).all(|(axis, p)| p.0.max(p.1) < axis.kernel);
    let mut attributes = window(&axes);
    match op.kind {
        // Positions count in the input, so it cannot be another.
        PoolKind::Max if fits || op.indices.is_some() => {
            attributes.push(pads(&paddings));
            if op.indices == Some(IndexOrder::ColumnMajor) {
                attributes.push(int("storage_order", 1));
            }
            Ok(l.nodes("MaxPool", &[&x], attributes, 1 + usize::from(op.indices.is_some())))
        }
        PoolKind::Max => {
            let x = pad(l, &x, &of_tensor(&paddings), Border::Constant(f32::NEG_INFINITY));
            Ok(vec![l.emit("MaxPool", &[&x], attributes)])
        }
        PoolKind::Average { count_include_pad } => {
            let stated = axes.iter().zip(&paddings).all(|(axis, p)| axis.after == p.1);
            if fits && (stated || !count_include_pad) {
                attributes.extend([pads(&paddings), int("count_include_pad", i64::from(count_include_pad))]);
                return Ok(vec![l.emit("AveragePool", &[&x], attributes)]);
            }
            let mean = padded_mean(l, x, &paddings, attributes);
            // Of each window, the elements it was divided by and those it should have been.
            let divisors = divisors(&axes, count_include_pad);
            let all = taps(&axes) as f32;
            let ratios = divisors.into_iter().map(|n| all / n.max(1) as f32).collect();
            let shape = [1, 1].into_iter().chain(axes.iter().map(|axis| axis.output));
            let ratios = l.tensor("ratios", Tensor::new(shape.collect::<Vec<_>>(), ratios)?);
            Ok(vec![l.emit("Mul", &[&mean, &ratios], vec![])])
        }
        // The exponent is an integer in ONNX; f32 has every one below 2^24.
        PoolKind::Lp { p } if p.fract() == 0.0 && p < 16_777_216.0 => {
            attributes.push(int("p", p as i64));
            let x = if fits {
                attributes.push(pads(&paddings));
                x
            } else {
                pad(l, &x, &of_tensor(&paddings), Border::Constant(0.0))
            };
            Ok(vec![l.emit("LpPool", &[&x], attributes)])
        }
        PoolKind::Lp { p } => {
            let sizes = l.emit("Abs", &[&x], vec![]);
            let exponent = l.scalar("p", p);
            let powers = l.emit("Pow", &[&sizes, &exponent], vec![]);
            let mean = padded_mean(l, powers, &paddings, attributes);
            let all = l.scalar("taps", taps(&axes) as f32);
            let sum = l.emit("Mul", &[&mean, &all], vec![]);
            let root = l.scalar("root", 1.0 / p);
            Ok(vec![l.emit("Pow", &[&sum, &root], vec![])])
        }
    }
}

/// The mean of all taps of each window, padding counted as zeros.
fn padded_mean(l: &mut Layer, x: String, paddings: &[(usize, usize)], window: Vec<AttributeProto>) -> String {
    let padded = paddings.iter().any(|&p| p != (0, 0));
    let x = if padded { pad(l, &x, &of_tensor(paddings), Border::Constant(0.0)) } else { x };
    l.emit("AveragePool", &[&x], window)
}

fn taps(axes: &[Axis]) -> usize {
    axes.iter().map(|axis| axis.kernel).product()
}

/// How many elements each window's average divides by, row-major.
fn divisors(axes: &[Axis], count_include_pad: bool) -> Vec<usize> {
    axes.iter().fold(vec![1], |outer, axis| {
        let along: Vec<_> =
            (0..axis.output).map(|i| average_divisor(&[*axis], &[i], count_include_pad)).collect();
        outer.iter().flat_map(|n| along.iter().map(move |m| n * m)).collect()
    })
}

/// Pad and a Gather of every tap of every window from the flattened image, which copies bit for bit.
pub(super) fn im2col(l: &mut Layer, op: &Im2col) -> Result<String, OpError> {
    let shape = l.shape(0);
    let axes = op.axes(&shape)?;
    let mut x = l.input(0);
    let paddings = paddings(&axes);
    if paddings.iter().any(|&p| p != (0, 0)) {
        x = pad(l, &x, &of_tensor(&paddings), Border::Constant(0.0));
    }
    let sizes: Vec<usize> = axes.iter().zip(&paddings).map(|(axis, p)| p.0 + axis.input + p.1).collect();
    // Along each axis what tap and output add to the place in the padded image; then all taps by all outputs.
    let each = |of: fn(&Axis) -> (usize, usize)| {
        axes.iter().zip(&sizes).fold(vec![0], |outer, (axis, &size)| {
            let (count, step) = of(axis);
            outer.iter().flat_map(|at| (0..count).map(move |i| at * size + i * step)).collect()
        })
    };
    let taps = each(|axis| (axis.kernel, axis.dilation));
    let outputs = each(|axis| (axis.output, axis.stride));
    let places: Vec<i64> =
        taps.iter().flat_map(|tap| outputs.iter().map(move |out| integer(tap + out))).collect();
    let places = l.tensor("indices", Tensor::new([taps.len(), outputs.len()], places)?);

    let rows = l.reshape(&x, &[shape[0], shape[1], sizes.iter().product()]);
    let patches = l.emit("Gather", &[&rows, &places], vec![int("axis", 2)]);
    Ok(l.reshape(&patches, &l.output_shape()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::Window;

    #[test]
    fn stated_paddings_fit_as_many_windows() {
        for kernel in 1..5 {
            for (stride, dilation, input) in
                (1..5).flat_map(|s| (1..3).flat_map(move |d| (1..9).map(move |i| (s, d, i))))
            {
                for (before, after, ceil) in
                    (0..4).flat_map(|b| (0..6).flat_map(move |a| [(b, a, false), (b, a, true)]))
                {
                    let window = Window::new([kernel]).stride(stride).dilation(dilation).ceil_mode(ceil);
                    let Ok(axes) = window.clone().padding([(before, after)]).resolve(&[input]) else {
                        continue;
                    };
                    let plain = window.ceil_mode(false).padding(paddings(&axes)).resolve(&[input]).unwrap();
                    assert_eq!(
                        (plain[0].output, plain[0].before),
                        (axes[0].output, axes[0].before),
                        "{axes:?}"
                    );
                }
            }
        }
    }
}
