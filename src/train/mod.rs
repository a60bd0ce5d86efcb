//! Training: networks that learn from labelled images, on the device that runs them.
//!
//! A step - forward, loss, gradients and update - is one graph and one plan: it is compiled once, runs in one submission,
//! and its weights stay on the device. The same seed gives the same weights, bit for bit, on the same device.
//!
//! ```no_run
//! use std::ops::ControlFlow;
//! use wgpu_cnn::train::data::{Dataset, Split};
//! use wgpu_cnn::train::{self, Event, TrainOptions, Trainer};
//! use wgpu_cnn::{Device, zoo};
//!
//! let device = Device::auto();
//! let images = Dataset::open("assets/digits", Split::Train, [1, 32, 32])?;
//! let (images, validation) = images.split(0.1, 0)?;
//! let network = train::fresh_weights(&zoo::lenet5()?, 0)?;
//! let mut trainer = Trainer::new(&device, &network, TrainOptions::default())?;
//! trainer.run(&images, Some(&validation), &mut |event| {
//!     if let Event::Epoch(report) = event {
//!         println!("{}: {:.3} {:?}", report.epoch, report.train_loss, report.validation_accuracy);
//!     }
//!     ControlFlow::Continue(()) // or Break, to stop; Trainer::run goes on from there
//! })?;
//! trainer.network()?.save_weights("lenet5.safetensors")?;
//! # Ok::<(), wgpu_cnn::Error>(())
//! ```
//!
//! [`new_head`] and [`TrainOptions::frozen`] fine-tune a trained network for other classes. Not on wasm32, where no thread
//! may wait for the device.

mod checkpoint;
pub mod data;
mod evaluate;
mod fault;
mod loss;
mod optimizer;
mod report;
mod schedule;
mod trainer;
mod training_graph;
mod weights;

pub use checkpoint::{Checkpoint, Progress};
pub use evaluate::{Evaluation, evaluate};
pub use loss::{Loss, without_softmax};
pub use optimizer::{Clip, Optimizer};
pub use report::{Ending, EpochReport, Event};
pub use schedule::{Decay, Schedule};
pub use trainer::{TrainOptions, Trainer};
pub use weights::{fresh_weights, layers_below_head, new_head};
