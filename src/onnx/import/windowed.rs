//! Convolutions and pools: what slides a window.
//!
//! Sizes and paddings are [`Window`]'s to compute; here attributes become one.

use super::Refusal;
use super::builder::Val;
use super::node::Node;
use crate::ops::pool::{IndexOrder, Pool, PoolKind};
use crate::ops::{Conv, ConvTranspose};
use crate::window::{Padding, Transposed, Window};

/// The window of a node with this kernel, from `auto_pad`, `pads`, `strides`, `dilations` and `ceil_mode`.
fn window(n: &Node, kernel: Vec<usize>) -> Result<Window, Refusal> {
    let rank = kernel.len();
    let pads = n.sizes("pads")?;
    let padding = match n.string_or("auto_pad", "NOTSET")? {
        "NOTSET" | "" => match pads {
            None => Padding::Valid,
            Some(pads) if pads.len() == 2 * rank => {
                let (before, after) = pads.split_at(rank);
                Padding::Explicit(before.iter().copied().zip(after.iter().copied()).collect())
            }
            Some(pads) => return Err(Refusal::from(format!("{} pads for {rank} axes", pads.len()))),
        },
        "VALID" => Padding::Valid,
        "SAME_UPPER" => Padding::SameUpper,
        "SAME_LOWER" => Padding::SameLower,
        other => return Err(Refusal::from(format!("auto_pad '{other}'"))),
    };
    // SAME pads for any kernel, so the input's size is no bound.
    let taps = kernel.iter().try_fold(1u32, |n, &k| n.checked_mul(u32::try_from(k).ok()?));
    if taps.is_none() {
        return Err(Refusal::from(format!("a kernel {kernel:?}, more than 2^32 elements")));
    }
    let mut window = Window::new(kernel).padding(padding);
    if let Some(strides) = n.sizes("strides")? {
        window = window.stride(strides);
    }
    if let Some(dilations) = n.sizes("dilations")? {
        window = window.dilation(dilations);
    }
    Ok(window)
}

/// The kernel of a convolution: that of its weight, which the attribute `kernel_shape` may repeat.
fn kernel(n: &Node, weight: Val) -> Result<Vec<usize>, Refusal> {
    let kernel = n.to.dims(weight).get(2..).unwrap_or_default().to_vec();
    match n.sizes("kernel_shape")? {
        Some(stated) if stated != kernel => {
            Err(Refusal::from(format!("a kernel_shape {stated:?} for a weight of kernel {kernel:?}")))
        }
        _ => Ok(kernel),
    }
}

/// Conv.
pub(super) fn conv(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let (x, weight, bias) = (n.required(0)?, n.required(1)?, n.input(2));
    let window = window(n, kernel(n, weight)?)?;
    let groups = n.size("group")?.unwrap_or(1);
    n.to.emit_all(Conv { groups, ..Conv::new(window) }, &[Some(x), Some(weight), bias])
}

/// ConvTranspose. A stated `output_shape` decides the cropping.
pub(super) fn conv_transpose(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let (x, weight, bias) = (n.required(0)?, n.required(1)?, n.input(2));
    let kernel = kernel(n, weight)?;
    let rank = kernel.len();
    let mut window = Transposed::new(window(n, kernel)?);
    if let Some(padding) = n.sizes("output_padding")? {
        window = window.output_padding(padding);
    }
    if let Some(shape) = n.sizes("output_shape")? {
        // Some files give batch and channels, too.
        let spatial = if shape.len() == rank + 2 { shape[2..].to_vec() } else { shape };
        window = window.output_size(spatial);
    }
    let groups = n.size("group")?.unwrap_or(1);
    n.to.emit_all(ConvTranspose { window, groups, activation: None }, &[Some(x), Some(weight), bias])
}

/// AveragePool, LpPool and MaxPool. LpPool's exponent is a float in opset 1 and an integer after.
pub(super) fn pool(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let x = n.required(0)?;
    let kernel = n.sizes("kernel_shape")?.ok_or("attribute 'kernel_shape' is missing")?;
    let window = window(n, kernel)?.ceil_mode(n.flag("ceil_mode", false)?);
    let kind = match n.op() {
        "MaxPool" => PoolKind::Max,
        "AveragePool" => PoolKind::Average { count_include_pad: n.flag("count_include_pad", false)? },
        _ => PoolKind::Lp { p: exponent(n)? },
    };
    let order = if kind == PoolKind::Max && n.flag("storage_order", false)? {
        IndexOrder::ColumnMajor
    } else {
        IndexOrder::RowMajor
    };
    let indices = (kind == PoolKind::Max && n.wants(1)).then_some(order);
    n.to.emit_all(Pool { kind, window, indices }, &[Some(x)])
}

/// The attribute `p` of LpPool and GlobalLpPool.
pub(super) fn exponent(n: &Node) -> Result<f32, Refusal> {
    let p = if n.opset < 2 { n.float_or("p", 2.0)? } else { n.integer_or("p", 2)? as f32 };
    if p < 1.0 {
        return Err(Refusal::from(format!("the exponent {p}")));
    }
    Ok(p)
}
