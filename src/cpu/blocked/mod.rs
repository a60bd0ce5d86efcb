//! Kernels over values in blocks of 16 channels.
//!
//! Where a plain value lies as `[n, c, spatial...]`, a blocked one lies as `[n, ceil(c / 16), spatial..., 16]`: the
//! channels of a block side by side at each cell, so that whatever the window, stride or width of a line, a vector holds
//! neighbours. The last block may have fewer channels than lanes; what its other lanes hold is arbitrary, and nothing
//! reads them. Values stay in this form from kernel to kernel, and are packed and unpacked around what has none.

// Arrays of sums are indexed in loops of constant bounds, which compilers unroll into registers; iterators hide the bound.
#![allow(clippy::needless_range_loop)]

mod concat;
mod conv;
mod depthwise;
mod pack;
mod pieces;
mod pool;
mod tile;
mod weights;
mod winograd;

pub(super) use concat::{Part, parts};
pub(super) use pack::{pack, unpack};

use super::{Kernel, activation, binary};
use crate::error::Result;
use crate::graph::Info;
use crate::ops::Op;
use crate::plan::Site;
use crate::tensor::DType;

/// Channels that lie side by side.
pub(super) const BLOCK: usize = 16;

/// Multiply-accumulates, or words moved, from which a step is spread over the cores.
const PARALLEL: usize = 1 << 17;

/// How a kernel wants an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// By rows.
    Plain,
    /// In blocks.
    Blocked,
    /// Not at all: it is packed into the kernel.
    Unread,
}

/// A kernel and the forms of its operands.
pub(super) struct Compiled {
    pub kernel: Kernel,
    /// What it is called in profiles.
    pub name: &'static str,
    pub inputs: Vec<Form>,
    pub output: Form,
    /// Words of weights that it holds.
    pub weights: usize,
}

impl Compiled {
    /// A kernel that treats every word alike, blocked throughout.
    fn wordwise(name: &'static str, kernel: Kernel, inputs: usize) -> Self {
        Compiled { kernel, name, inputs: vec![Form::Blocked; inputs], output: Form::Blocked, weights: 0 }
    }
}

/// Words of a value `[n, c, spatial...]` in blocks.
pub(super) fn words(dims: &[usize]) -> usize {
    match dims {
        [n, c, spatial @ ..] => n * c.next_multiple_of(BLOCK) * spatial.iter().product::<usize>(),
        _ => 0,
    }
}

/// The kernel over blocks of a node, where there is one and it pays. `is_blocked` tells which operands are in blocks
/// already.
///
/// The variant `blocked` takes such a kernel wherever there is one.
pub(super) fn compile(site: &Site, is_blocked: &dyn Fn(usize) -> bool) -> Result<Option<Compiled>> {
    let name = site.node.op.name();
    let asked = site.options.variant == Some("blocked");
    let is_blocked = |i: usize| {
        let can_be =
            |info: &Info| info.dtype == DType::F32 && info.shape.len() >= 2 && !info.shape.contains(&0);
        (asked || is_blocked(i)) && site.input(i).is_some_and(can_be)
    };
    let inputs = site.node.inputs.len();
    let whole = |i: usize| site.dims(i).get(1).is_some_and(|c| c % BLOCK == 0);
    Ok(match &site.node.op {
        Op::Conv(op) => {
            let mut found = winograd::compile(op, site)?;
            for kernel in [conv::compile, depthwise::compile] {
                found = match found {
                    None => kernel(op, site)?,
                    found => found,
                };
            }
            found
        }
        Op::Pool(op) if is_blocked(0) => pool::compile(op, site)?,
        Op::Reduce(op) if is_blocked(0) => pool::global(op, site),
        Op::Activation(op) if is_blocked(0) => {
            Some(Compiled::wordwise(name, activation::compile(op, site)?, inputs))
        }
        // As many words as in the plain form, and in the same order on both sides.
        Op::Binary(op) if is_blocked(0) && is_blocked(1) && site.dims(0) == site.dims(1) && whole(0) => {
            Some(Compiled::wordwise(name, binary::compile(op, site)?, inputs))
        }
        Op::Concat(op) if op.axis == 1 && (0..inputs).all(|i| is_blocked(i) && whole(i)) => {
            Some(Compiled::wordwise(name, super::concat::compile(op, site)?, inputs))
        }
        _ => None,
    })
}

/// The weights of one tile: a bias and then for each channel and tap a weight, for `width` filters each.
#[derive(Clone, Copy)]
struct Panel<'a> {
    words: &'a [f32],
    width: usize,
}
