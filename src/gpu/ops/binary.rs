//! Functions of two operands: one invocation per element.

use super::INDEX;
use crate::error::Result;
use crate::gpu::kernel::Kernel;
use crate::gpu::plan::Operands;
use crate::gpu::recording::Recording;
use crate::ops::gemm::broadcast;
use crate::ops::{Binary, OpError};
use crate::plan::Site;

const GROUP: usize = 64;
/// The axes that the kernel can count along.
const MAX_AXES: usize = 8;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    sizes: [u32; MAX_AXES],
    a_steps: [u32; MAX_AXES],
    b_steps: [u32; MAX_AXES],
    axes: u32,
    count: u32,
    padding: [u32; 2],
}

fn kernel(op: Binary, flat: bool) -> Kernel {
    let function = match op {
        Binary::Add => 0,
        Binary::Sub => 1,
        Binary::Mul => 2,
        Binary::Div => 3,
        Binary::Pow => 4,
        Binary::Min => 5,
        Binary::Max => 6,
        Binary::PRelu => 7,
    };
    Kernel::new("binary", include_str!("../../../shaders/binary.wgsl"), 2, 1)
        .with(INDEX)
        .with(include_str!("../../../shaders/shared/float.wgsl"))
        .constant("FUNCTION", function)
        .flag("FLAT", flat)
}

pub(super) fn variants() -> Vec<Kernel> {
    use Binary::*;
    let kernels = |op| [kernel(op, false), kernel(op, true)];
    [Add, Sub, Mul, Div, Pow, Min, Max, PRelu].into_iter().flat_map(kernels).collect()
}

/// An axis of the output: its size, and the steps in elements along it of both operands.
#[derive(Clone, Copy, Debug)]
struct Axis {
    size: usize,
    steps: [usize; 2],
}

/// The axes of the output, without those that are one long and with neighbours as one where both operands go on from
/// one to the next in the same step; at least one.
fn axes(a: &[usize], b: &[usize]) -> Result<Vec<Axis>, OpError> {
    let (shape, steps) = broadcast(&[a, b])?;
    let mut axes: Vec<Axis> = Vec::new();
    for (i, &size) in shape.iter().enumerate().filter(|&(_, &size)| size != 1) {
        let steps = [steps[0][i], steps[1][i]];
        match axes.last_mut() {
            Some(outer) if outer.steps == steps.map(|s| s * size) => {
                *outer = Axis { size: outer.size * size, steps }
            }
            _ => axes.push(Axis { size, steps }),
        }
    }
    if axes.is_empty() {
        axes.push(Axis { size: 1, steps: [0, 0] });
    }
    if axes.len() > MAX_AXES {
        let expected = format!("operands that broadcast along at most {MAX_AXES} groups of axes");
        return Err(OpError::shape(expected, axes.len()));
    }
    Ok(axes)
}

pub(super) fn record(
    op: &Binary,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<()> {
    let axes = axes(site.dims(0), site.dims(1)).map_err(|e| site.error(e))?;
    let list = |of: &dyn Fn(&Axis) -> usize| {
        let mut list = [0; MAX_AXES];
        for (to, axis) in list.iter_mut().zip(&axes) {
            *to = of(axis) as u32;
        }
        list
    };
    let count = site.output(0).shape.elements();
    let params = Params {
        sizes: list(&|axis| axis.size),
        a_steps: list(&|axis| axis.steps[0]),
        b_steps: list(&|axis| axis.steps[1]),
        axes: axes.len() as u32,
        count: count as u32,
        padding: [0; 2],
    };
    let reads = [operands.get(0, site, recording)?, operands.get(1, site, recording)?];
    let groups = recording.linear(count, GROUP);
    let kernel = kernel(*op, axes.len() == 1);
    recording.dispatch(kernel, &params, &reads, &[operands.result(0)], groups)
}
