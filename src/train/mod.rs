//! Training: networks that learn from labelled images, on the device that runs them.

pub mod data;
