//! Training: networks that learn from labelled images, on the device that runs them.
//!
//! A step - forward, loss, gradients and update - is one graph and one plan: it is compiled once, runs in one submission,
//! and its weights stay on the device. The same seed gives the same weights, bit for bit, on the same device.

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
