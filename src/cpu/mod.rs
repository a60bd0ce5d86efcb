//! The CPU backend: a graph's nodes as closures over slices, run one after another on all cores, or each image on one.

pub(crate) mod activation;
pub(crate) mod activation_gradient;
pub(crate) mod adam;
pub(crate) mod arg_reduce;
pub(crate) mod batch_norm;
pub(crate) mod binary;
pub(crate) mod concat;
pub(crate) mod conv;
pub(crate) mod conv_transpose;
pub(crate) mod conv_weight;
pub(crate) mod dropout;
pub(crate) mod gather;
pub(crate) mod gemm;
pub(crate) mod im2col;
pub(crate) mod lrn;
pub(crate) mod normalize;
pub(crate) mod pool;
pub(crate) mod pool_gradient;
pub(crate) mod rearrange;
pub(crate) mod reduce;
pub(crate) mod resample;
pub(crate) mod reshape;
pub(crate) mod select;
pub(crate) mod sgd;
pub(crate) mod softmax;

mod aligned;
mod blocked;
mod cores;
mod images;
mod layers;
mod plan;
mod vectors;

use crate::error::Result;
use crate::ops::{Op, for_each_op};
use crate::plan::Site;

pub(crate) use plan::CpuPlan;
pub(crate) use vectors::vectorised;

/// A compiled node.
///
/// All data are 32-bit words: f32, or the bits of an i32 for indices, or 0 and 1 (as i32) for truth values.
pub(crate) struct Kernel {
    /// Words of scratch memory one call needs; their content is arbitrary.
    pub scratch: usize,
    /// Reads the inputs (an absent one is empty), writes every element of the outputs.
    pub run: Run,
}

/// Inputs, outputs, scratch.
pub(crate) type Run = Box<dyn Fn(&[&[f32]], &mut [&mut [f32]], &mut [f32]) + Send + Sync>;

impl Kernel {
    /// A kernel without scratch memory.
    pub fn new(run: impl Fn(&[&[f32]], &mut [&mut [f32]], &mut [f32]) + Send + Sync + 'static) -> Self {
        Kernel { scratch: 0, run: Box::new(run) }
    }
}

macro_rules! define_compile {
    ($($module:ident $Type:ident),* $(,)?) => {
        /// The CPU kernel of a node.
        fn compile(site: &Site) -> Result<Kernel> {
            match &site.node.op { $(Op::$Type(op) => $module::compile(op, site),)* }
        }
    };
}
for_each_op!(define_compile);
