//! Functions of two operands: one invocation per element.

use super::INDEX;
use crate::error::Result;
use crate::gpu::image;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::Recording;
use crate::ops::broadcast::{Span, spans};
use crate::ops::{Binary, OpError};
use crate::plan::Site;

const GROUP: usize = 64;
/// The axes that the kernel can count along.
pub(super) const MAX_AXES: usize = 8;

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
    [Add, Sub, Mul, Div, Pow, Min, Max, PRelu]
        .into_iter()
        .flat_map(kernels)
        .chain(image::binary_variants())
        .collect()
}

/// One number of each axis, in the kernel's list.
pub(super) fn list<const N: usize>(axes: &[Span<N>], of: impl Fn(&Span<N>) -> usize) -> [u32; MAX_AXES] {
    let mut list = [0; MAX_AXES];
    for (to, axis) in list.iter_mut().zip(axes) {
        *to = of(axis) as u32;
    }
    list
}

/// The axes that operands broadcast along, or an error where the kernels cannot count so many.
pub(super) fn axes<const N: usize>(shapes: [&[usize]; N]) -> Result<Vec<Span<N>>, OpError> {
    let axes = spans(shapes)?;
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
    if image::map(Some(*op), None, site, operands, recording)? {
        return Ok(());
    }
    let axes = axes([site.dims(0), site.dims(1)]).map_err(|e| site.error(e))?;
    let count = site.output(0).shape.elements();
    let params = Params {
        sizes: list(&axes, |axis| axis.size),
        a_steps: list(&axes, |axis| axis.steps[0]),
        b_steps: list(&axes, |axis| axis.steps[1]),
        axes: axes.len() as u32,
        count: count as u32,
        padding: [0; 2],
    };
    let reads = [operands.get(0, site, recording)?, operands.get(1, site, recording)?];
    let groups = recording.linear(count, GROUP);
    let kernel = kernel(*op, axes.len() == 1);
    recording.dispatch(kernel, &params, &reads, &[operands.result(0)], groups)
}
