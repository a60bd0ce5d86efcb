//! Charts as PNG files: how a training went, and which classes a network takes for which.

mod axis;
mod canvas;
mod confusion;
mod curves;

pub use confusion::confusion;
pub use curves::{Epoch, curves};
