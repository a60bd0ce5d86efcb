//! Labelled images: where they come from, how they are varied, and how they reach the device in batches.
//!
//! ```no_run
//! use wgpu_cnn::train::data::{Augment, Dataset, Loader, Split};
//!
//! let images = Dataset::open("mnist", Split::Train, [1, 32, 32])?;
//! let (train, validation) = images.split(0.1, 0)?;
//! let augment = Augment { shift: 2, ..Augment::default() };
//! for batch in Loader::new(&train, 64, 0, &augment).epoch(0) {
//!     let batch = batch?; // made by other threads meanwhile
//!     assert_eq!(batch.images.shape()[..], [64, 1, 32, 32]);
//! }
//! for batch in validation.batches(64) {
//!     let labels = batch?.labels; // in order and all of them
//! }
//! # Ok::<(), wgpu_cnn::Error>(())
//! ```

mod augment;
mod dataset;
mod folders;
mod idx;
mod loader;

pub use augment::Augment;
pub use dataset::Dataset;
pub use folders::Split;
pub use loader::{Batch, Batches, Loader};
