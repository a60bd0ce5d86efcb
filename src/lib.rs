//! Convolutional networks on any GPU.

pub mod classify;
pub mod device;
pub mod error;
pub mod gpu;
pub mod graph;
pub mod network;
pub mod ops;
pub mod picture;
pub mod plan;
pub mod receptive;
pub mod tensor;
pub mod window;
pub mod zoo;

mod cpu;
mod memory;
mod random;

pub use device::{Device, DeviceInfo};
pub use error::{Error, Result};
pub use graph::Graph;
pub use network::{Conv2d, Network, Pool2d};
pub use ops::Activation;
pub use plan::{Plan, PlanOptions};
pub use tensor::{DType, Shape, Tensor};
