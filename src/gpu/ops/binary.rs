//! Functions of two operands: one invocation per element, or per four neighbours.

use super::{INDEX, zip};
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

/// How the elements are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    /// Along one axis only.
    flat: bool,
    /// By fours of neighbours, along which these of the operands run in step and the others stand still.
    fours: Option<[bool; 2]>,
}

impl Form {
    /// Fours where rows are whole fours and so is what lies between the rows of an operand that runs along them.
    fn new(axes: &[Span<2>]) -> Self {
        let flat = Form { flat: axes.len() == 1, fours: None };
        let Some((last, outer)) = axes.split_last() else { return flat };
        let runs = last.steps.map(|step| step == 1);
        let suits = |operand: usize| {
            let steps = outer.iter().map(|axis| axis.steps[operand]);
            last.steps[operand] == 0
                || (runs[operand] && steps.into_iter().all(|step| step.is_multiple_of(4)))
        };
        let fours = last.size.is_multiple_of(4) && suits(0) && suits(1);
        Form { fours: fours.then_some(runs), ..flat }
    }
}

fn kernel(op: Binary, form: Form) -> Kernel {
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
    let name = if form.fours.is_some() { "binary_4" } else { "binary" };
    let [a, b] = form.fours.unwrap_or_default();
    zip(Kernel::new(name, include_str!("../../../shaders/binary.wgsl"), 2, 1), form.fours.is_some())
        .with(INDEX)
        .with(include_str!("../../../shaders/shared/float.wgsl"))
        .lanes("Value", form.fours.is_some())
        .lanes("A", a)
        .lanes("B", b)
        .constant("FUNCTION", function)
        .flag("FLAT", form.flat)
}

pub(super) fn variants() -> Vec<Kernel> {
    use Binary::*;
    let all = [Add, Sub, Mul, Div, Pow, Min, Max, PRelu];
    let runs = [None, Some([true, true]), Some([true, false]), Some([false, true])];
    let forms = runs.into_iter().flat_map(|fours| [false, true].map(|flat| Form { flat, fours }));
    forms.flat_map(|form| all.map(|op| kernel(op, form))).chain(image::binary_variants()).collect()
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
    let mut form = Form::new(&axes);
    if site.options.variant == Some("binary") {
        form.fours = None;
    }
    let count = if form.fours.is_some() { count / 4 } else { count };
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
    recording.dispatch(kernel(*op, form), &params, &reads, &[operands.result(0)], groups)
}
