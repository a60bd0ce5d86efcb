//! The GPU backend: everything that names wgpu.
//!
//! `kernel` turns a WGSL file and constants into pipeline source, `ops/` choose and record each operator's kernels
//! onto a `recording`, and `plan` gives that recording memory, pipelines and bind groups on a `device`.

mod cache;
mod cells;
mod device;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod hardware_tests;
#[cfg(not(target_arch = "wasm32"))]
mod helpers;
mod image;
pub(crate) mod kernel;
mod layers;
mod memory;
pub(crate) mod operands;
mod ops;
mod plan;
#[cfg(not(target_arch = "wasm32"))]
mod poller;
pub(crate) mod recording;
mod stepper;
mod transfer;
#[cfg(not(target_arch = "wasm32"))]
mod tune;
mod upload;
#[cfg(not(target_arch = "wasm32"))]
mod warm;

pub use device::GpuDevice;
pub use kernel::Kernel;
pub use ops::variants;
pub use plan::GpuPlan;
pub(crate) use stepper::GpuStepper;
