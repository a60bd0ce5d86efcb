//! Reductions: one invocation per output, or one workgroup where outputs are few or their elements adjoin.

use super::INDEX;
use super::gemm::last_four;
use crate::error::Result;
use crate::gpu::image;
use crate::gpu::kernel::Kernel;
use crate::gpu::operands::Operands;
use crate::gpu::recording::Recording;
use crate::ops::{OpError, Reduce, ReduceKind};
use crate::plan::Site;

/// Outputs per workgroup of `reduce_row`.
const GROUP: usize = 64;
/// Invocations in a workgroup of `reduce_group`, for few elements of an output and for many.
const GROUPS: [usize; 2] = [64, 256];
/// The axes, kept or reduced, that the kernels can count along.
const MAX_AXES: usize = 4;

const KINDS: [ReduceKind; 10] = [
    ReduceKind::Sum,
    ReduceKind::Mean,
    ReduceKind::Max,
    ReduceKind::Min,
    ReduceKind::Prod,
    ReduceKind::L1,
    ReduceKind::L2,
    ReduceKind::LogSum,
    ReduceKind::LogSumExp,
    ReduceKind::SumSquare,
];

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    kept: [u32; 4],
    kept_steps: [u32; 4],
    reduced: [u32; 4],
    reduced_steps: [u32; 4],
    count: u32,
    length: u32,
    empty: f32,
    padding: u32,
}

/// The number of a kind in `shaders/shared/reduce.wgsl`.
fn number(kind: ReduceKind) -> usize {
    KINDS.iter().position(|&k| k == kind).unwrap_or(0)
}

fn kernel(name: &str, wgsl: &str, kind: ReduceKind) -> Kernel {
    Kernel::new(name, wgsl, 1, 1)
        .with(include_str!("../../../shaders/shared/reduce.wgsl"))
        .with(include_str!("../../../shaders/shared/float.wgsl"))
        .with(INDEX)
        .constant("KIND", number(kind))
}

fn row(kind: ReduceKind) -> Kernel {
    kernel("reduce_row", include_str!("../../../shaders/reduce_row.wgsl"), kind).lanes("Value", false)
}

/// How a workgroup reduces the elements of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    /// Invocations.
    group: usize,
    /// Whether the elements lie along one axis.
    one_axis: bool,
    /// Whether they are read four neighbours at a time.
    fours: bool,
}

impl Form {
    /// Fours where the elements of each output follow each other in whole fours.
    fn new(kept: &Axes, reduced: &Axes) -> Self {
        let fours = reduced.steps == [1]
            && reduced.count().is_multiple_of(4)
            && kept.steps.iter().all(|step| step.is_multiple_of(4));
        let reads = reduced.count() / if fours { 4 } else { 1 };
        let group = GROUPS[usize::from(reads >= 2 * GROUPS[1])];
        Form { group, one_axis: reduced.sizes.len() <= 1, fours }
    }
}

fn group(kind: ReduceKind, form: Form) -> Kernel {
    let (name, fold) = match form.fours {
        true => ("reduce_group_4", include_str!("../../../shaders/shared/fold_fours.wgsl")),
        false => ("reduce_group", include_str!("../../../shaders/shared/fold_each.wgsl")),
    };
    kernel(name, include_str!("../../../shaders/reduce_group.wgsl"), kind)
        .with(fold)
        .lanes("Value", form.fours)
        .constant("GROUP", form.group)
        .flag("ONE_AXIS", form.one_axis)
}

pub(super) fn variants() -> Vec<Kernel> {
    let forms = GROUPS.into_iter().flat_map(|group| {
        let forms = [(false, false), (true, false), (true, true)];
        forms.map(|(one_axis, fours)| Form { group, one_axis, fours })
    });
    let groups = forms.flat_map(|form| KINDS.map(|kind| group(kind, form)));
    KINDS.into_iter().map(row).chain(groups).chain(image::global_variants()).collect()
}

/// Axes of the input with the steps in elements along them.
#[derive(Clone, Debug, Default)]
struct Axes {
    sizes: Vec<usize>,
    steps: Vec<usize>,
}

impl Axes {
    fn push(&mut self, size: usize, step: usize) {
        match (self.sizes.last_mut(), self.steps.last_mut()) {
            (Some(outer), Some(outer_step)) if *outer_step == size * step => {
                *outer *= size;
                *outer_step = step;
            }
            _ => {
                self.sizes.push(size);
                self.steps.push(step);
            }
        }
    }

    fn count(&self) -> usize {
        self.sizes.iter().product()
    }
}

/// The axes kept and those reduced, neighbours of a kind as one.
fn split(dims: &[usize], reduced_axes: &[usize]) -> Result<(Axes, Axes), OpError> {
    let (mut kept, mut reduced) = (Axes::default(), Axes::default());
    let mut step: usize = dims.iter().product();
    for (axis, &size) in dims.iter().enumerate() {
        step = step.checked_div(size).unwrap_or(0);
        let axes = if reduced_axes.contains(&axis) { &mut reduced } else { &mut kept };
        if size != 1 {
            axes.push(size, step);
        }
    }
    if kept.sizes.len().max(reduced.sizes.len()) > MAX_AXES {
        let expected = format!("at most {MAX_AXES} groups of neighbouring axes that are reduced, or kept");
        return Err(OpError::shape(expected, format!("axes {reduced_axes:?} of {}", crate::ops::dims(dims))));
    }
    Ok((kept, reduced))
}

/// What becomes of no elements.
fn empty(kind: ReduceKind) -> f32 {
    match kind {
        ReduceKind::Sum | ReduceKind::L1 | ReduceKind::L2 | ReduceKind::SumSquare => 0.0,
        ReduceKind::Prod => 1.0,
        ReduceKind::Mean => f32::NAN,
        ReduceKind::Max | ReduceKind::LogSum | ReduceKind::LogSumExp => f32::NEG_INFINITY,
        ReduceKind::Min => f32::INFINITY,
    }
}

/// Whether each output gets a workgroup: where asked for by name, else by this rule. Elements should keep a quarter of
/// the workgroup busy, and either adjoin, so that neighbouring invocations read neighbouring elements, or belong to
/// outputs too few to fill the device. A software device runs barriers badly and has none of it.
fn choose_group(count: usize, form: Form, reduced: &Axes, variant: Option<&str>, software: bool) -> bool {
    match variant {
        Some("reduce_group" | "reduce_group_4") => true,
        Some("reduce_row") => false,
        _ => {
            let adjoin = reduced.steps.last() == Some(&1);
            !software && reduced.count() >= form.group / 4 && (adjoin || count < 4096)
        }
    }
}

pub(super) fn record(
    op: &Reduce,
    site: &Site,
    operands: &mut Operands,
    recording: &mut Recording,
) -> Result<()> {
    let dims = site.dims(0);
    if image::global(op.kind, &op.axes(dims.len()), site, operands, recording)? {
        return Ok(());
    }
    let (kept, reduced) = split(dims, &op.axes(dims.len())).map_err(|e| site.error(e))?;
    let count = site.output(0).shape.elements();
    let params = Params {
        kept: last_four(&kept.sizes, 1, 1),
        kept_steps: last_four(&kept.steps, 1, 0),
        reduced: last_four(&reduced.sizes, 1, 1),
        reduced_steps: last_four(&reduced.steps, 1, 0),
        count: count as u32,
        length: reduced.count() as u32,
        empty: empty(op.kind),
        padding: 0,
    };
    let input = operands.get(0, site, recording)?;
    let mut form = Form::new(&kept, &reduced);
    if site.options.variant == Some("reduce_group") {
        form.fours = false;
    }
    let fits = form.group <= recording.limits.max_compute_invocations_per_workgroup as usize;
    let by_group = choose_group(count, form, &reduced, site.options.variant, recording.software);
    let (kernel, groups) = match fits && by_group {
        true => (group(op.kind, form), recording.linear(count, 1)),
        false => (row(op.kind), recording.linear(count, GROUP)),
    };
    recording.dispatch(kernel, &params, &[input], &[operands.result(0)], groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The form in which the last so many axes are reduced, and whether a workgroup reduces each output on a GPU.
    fn chosen(dims: &[usize], axes: &[usize]) -> (Form, bool) {
        let (kept, reduced) = split(dims, axes).unwrap();
        let form = Form::new(&kept, &reduced);
        (form, choose_group(kept.count(), form, &reduced, None, false))
    }

    #[test]
    fn every_branch_of_the_choice() {
        let form = |group, one_axis, fours| Form { group, one_axis, fours };
        assert_eq!(chosen(&[512, 7, 7], &[1, 2]), (form(64, true, false), true));
        assert_eq!(chosen(&[512, 8, 8], &[1, 2]), (form(64, true, true), true));
        assert_eq!(chosen(&[64, 112, 112], &[1, 2]), (form(256, true, true), true));
        // Rows of whole fours that do not start at one.
        assert_eq!(chosen(&[3, 5, 8], &[0, 2]).0, form(64, false, false));
        assert_eq!(chosen(&[64, 5], &[0]), (form(64, true, false), true), "few outputs");
        assert_eq!(chosen(&[64, 4096], &[0]), (form(64, true, false), false), "elements far apart");
        assert_eq!(chosen(&[512, 3, 3], &[1, 2]), (form(64, true, false), false), "few elements");
        let (_, reduced) = split(&[512, 7, 7], &[1, 2]).unwrap();
        let asked = |variant, software| choose_group(512, form(64, true, false), &reduced, variant, software);
        assert!(!asked(None, true) && !asked(Some("reduce_row"), false));
        assert!(asked(Some("reduce_group"), true) && asked(Some("reduce_group_4"), true));
    }
}
