//! For each operator, the choice of its kernels and their recording.
//!
//! Every file has `record`, which adds an operator's dispatches to a recording, and `variants`, which lists every
//! kernel it may choose, specialised in every way that changes the code, for the tests that need no GPU.

mod activation;
mod activation_gradient;
mod adam;
mod arg_reduce;
mod batch_norm;
mod binary;
mod concat;
mod conv;
mod conv_transpose;
mod conv_weight;
mod dropout;
mod gather;
pub(super) mod gemm;
mod im2col;
mod lrn;
mod normalize;
mod pool;
mod pool_gradient;
mod rearrange;
mod reduce;
mod resample;
mod reshape;
mod select;
mod sgd;
mod softmax;

pub(super) use reshape::copy_buffer;

use super::kernel::Kernel;
use super::operands::Operands;
use super::recording::Recording;
use crate::error::Result;
use crate::ops::{Activation, Op, for_each_op};
use crate::plan::Site;

macro_rules! define_record {
    ($($module:ident $Type:ident),* $(,)?) => {
        /// Adds a node's dispatches.
        pub(crate) fn record(site: &Site, operands: &mut Operands, recording: &mut Recording) -> Result<()> {
            match &site.node.op { $(Op::$Type(op) => $module::record(op, site, operands, recording),)* }
        }

        /// Every kernel an operator may choose, under the operator's name, in every specialisation that changes its
        /// code.
        pub fn variants() -> Vec<(&'static str, Kernel)> {
            let mut all = Vec::new();
            $(all.extend($module::variants().into_iter().map(|kernel| (stringify!($module), kernel)));)*
            all
        }
    };
}
for_each_op!(define_record);

/// `shaders/shared/index.wgsl`, which every kernel over a flat range of elements needs.
pub(super) const INDEX: &str = include_str!("../../../shaders/shared/index.wgsl");

/// Appends `fn zip`, which applies the file's `fn apply` to two values, or with `fours` to fours of them.
fn zip(kernel: Kernel, fours: bool) -> Kernel {
    kernel.with(match fours {
        true => include_str!("../../../shaders/shared/zip_fours.wgsl"),
        false => include_str!("../../../shaders/shared/zip_each.wgsl"),
    })
}

/// Whether so many elements are read and written as fours of neighbours: where they are whole fours, unless the kernel of
/// single elements is asked for by name.
fn by_fours(count: usize, single: &str, site: &Site) -> bool {
    count.is_multiple_of(4) && site.options.variant != Some(single)
}

/// An activation of each kind, for [`variants`].
pub(super) fn every_activation() -> Vec<Option<Activation>> {
    let kinds = [
        Activation::Relu,
        Activation::LeakyRelu { alpha: 0.01 },
        Activation::RELU6,
        Activation::Elu { alpha: 1.0 },
        Activation::SELU,
        Activation::Celu { alpha: 1.0 },
        Activation::Sigmoid,
        Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Activation::Tanh,
        Activation::Softplus,
        Activation::Softsign,
        Activation::SILU,
        Activation::HardSwish,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Mish,
        Activation::ThresholdedRelu { alpha: 1.0 },
        Activation::Erf,
        Activation::Exp,
        Activation::Log,
        Activation::Sqrt,
        Activation::Reciprocal,
        Activation::Abs,
        Activation::Neg,
        Activation::Floor,
        Activation::Ceil,
    ];
    std::iter::once(None).chain(kinds.map(Some)).collect()
}
