//! Every operator on both backends and in every kernel variant, against the oracle.
//!
//! A file per operator, with the operator's name. A case is one node in a graph of its own; [`harness::each`] runs it
//! everywhere and hands each result to the check.

#[path = "../support/mod.rs"]
mod support;

mod harness;

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
mod gemm;
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
