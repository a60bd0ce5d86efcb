//! Convolutional networks on any GPU: WGSL compute shaders on wgpu, with a CPU backend.
//!
//! A network is a [`Graph`], written down with the builder [`Network`] or taken from the [`zoo`]. A [`Device`] compiles it
//! into a [`Plan`], once; the plan then runs [`Tensor`]s through it, as often as wanted.
//!
//! ```
//! use wgpu_cnn::{Conv2d, Device, Network, Tensor};
//!
//! let network = Network::new("tiny", [1, 8, 8])
//!     .conv2d(Conv2d::new(4, 3).padding(1))
//!     .relu()
//!     .max_pool(2)
//!     .flatten()
//!     .linear(10)
//!     .softmax()
//!     .build()?;
//! let device = Device::auto(); // a hardware GPU, else the CPU backend
//! let plan = device.compile(&network)?;
//! let probabilities = plan.run_one(&Tensor::zeros([1, 1, 8, 8])?)?;
//! assert_eq!(probabilities.shape()[..], [1, 10]);
//! # Ok::<(), wgpu_cnn::Error>(())
//! ```
//!
//! - [`network`] builds networks, [`zoo`] has well-known ones, [`graph`] is what they are made of: layers to look at and
//!   change, weights to load and save, and what each layer costs ([`Graph::summary`]).
//! - [`onnx`] reads ONNX files at run time; a [`Session`] compiles a network anew where inputs of other shapes come.
//! - [`verify`] says how far two devices may differ on a layer, and whether they do.
//! - [`device`] chooses where they run, [`plan`] how they are compiled; [`gpu`] is for programs with a wgpu device of their
//!   own.
//! - [`picture`] makes inputs of PNG and JPEG files and pictures of values, [`classify`] classes of logits.
//! - [`window`] and [`receptive`] are the arithmetic of convolutions, which needs no network.
//!
//! Tensors are f32 in NCHW order: `[batch, channels, height, width]`. Nothing panics on a caller's mistake: every error is
//! an [`Error`], which names the layer, what it expected and what it got.

// In a browser no thread may wait, and what serves those that do is not used there.
#![cfg_attr(target_arch = "wasm32", allow(dead_code))]

pub mod classify;
pub mod device;
pub mod error;
pub mod gpu;
pub mod graph;
pub mod network;
pub mod onnx;
pub mod ops;
pub mod picture;
pub mod plan;
pub mod receptive;
pub mod session;
pub mod stepper;
pub mod tensor;
#[cfg(not(target_arch = "wasm32"))]
pub mod train;
pub mod verify;
pub mod window;
pub mod zoo;

mod cpu;
mod files;
mod memory;
mod random;
mod winograd;

pub use device::{Device, DeviceInfo, DeviceOptions};
pub use error::{Error, Result};
pub use graph::Graph;
pub use network::{Conv2d, Network, Pool2d};
pub use ops::Activation;
pub use plan::{Plan, PlanOptions};
pub use session::Session;
pub use stepper::Stepper;
pub use tensor::{DType, Shape, Tensor};

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
