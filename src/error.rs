//! The one error type of the crate.

use std::path::PathBuf;

use crate::onnx::Unsupported;
use crate::receptive::Misaligned;
use crate::tensor::{DType, Shape};
use crate::window::WindowError;

/// The result of everything that can fail here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, where, and what was expected instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A layer was given a tensor it cannot take.
    #[error("layer '{layer}' ({op}): expected {expected}, got {actual}")]
    Shape {
        /// The layer's name.
        layer: String,
        /// The operator's name.
        op: &'static str,
        /// What the layer needs.
        expected: String,
        /// What it was given.
        actual: String,
    },

    /// A layer's window does not fit its input.
    #[error("layer '{layer}': {source}")]
    Window {
        /// The layer's name.
        layer: String,
        /// What does not fit.
        source: WindowError,
    },

    /// A layer between the loss and what a gradient is wanted to has none.
    #[error("layer '{layer}' ({op}) has no gradient: {reason}")]
    NoGradient {
        /// The layer's name.
        layer: String,
        /// The operator's name.
        op: &'static str,
        /// Why, and what to do instead.
        reason: String,
    },

    /// Branches of a network look at the input at different strides or centres.
    #[error("layer '{layer}': {source}")]
    Misaligned {
        /// The layer that joins the branches.
        layer: String,
        /// How they differ.
        source: Misaligned,
    },

    /// A tensor's data does not fill its shape.
    #[error("a tensor of shape {shape} holds {expected} elements, got {actual}")]
    ElementCount {
        /// The shape asked for.
        shape: Shape,
        /// The shape's element count.
        expected: usize,
        /// The elements given.
        actual: usize,
    },

    /// A shape with more elements than the address space.
    #[error("a tensor of {0:?} has more elements than can be addressed")]
    ShapeOverflow(Vec<usize>),

    /// A tensor holds another element type than was asked for.
    #[error("expected a tensor of {expected}, got one of {actual}")]
    DType {
        /// The type asked for.
        expected: DType,
        /// The tensor's type.
        actual: DType,
    },

    /// The inputs of a run do not match the plan.
    #[error("input '{name}': expected {expected}, got {actual}")]
    Input {
        /// The input's name.
        name: String,
        /// What the plan was compiled for.
        expected: String,
        /// What was given.
        actual: String,
    },

    /// The tensors that a run is to write do not match the plan.
    #[error("output '{name}': expected a tensor of {expected} to write it to, got {actual}")]
    Output {
        /// The output's name.
        name: String,
        /// What the plan was compiled for.
        expected: String,
        /// What was given.
        actual: String,
    },

    /// The graph itself is not sound.
    #[error("invalid graph: {0}")]
    Graph(String),

    /// Weights that do not fit the network, all of them at once.
    #[error("the weights do not fit the network:\n  {}", .0.join("\n  "))]
    Weights(Vec<String>),

    /// A weights file that cannot be read as safetensors.
    #[error("{}: {reason}", .path.display())]
    WeightsFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// A network or settings that cannot be trained as asked.
    #[error("cannot train: {0}")]
    Training(String),

    /// Training left the range of numbers.
    #[error(
        "the loss is no finite number in epoch {epoch}, step {step}: the first to make one is {layer}; lower the \
         learning rate or clip the gradients"
    )]
    NotFinite {
        /// The epoch, from 1.
        epoch: u64,
        /// The step within the epoch, from 1.
        step: u64,
        /// What made the first value that is NaN or infinite: a layer, its gradient, the loss or an update.
        layer: String,
    },

    /// A file that holds no sound checkpoint, or one of another training.
    #[error("{}: {reason}", .path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// A file that is no sound ONNX model.
    #[error("{}{reason}", .path.as_ref().map(|p| format!("{}: ", p.display())).unwrap_or_default())]
    Onnx {
        /// The file; `None` for a model in memory.
        path: Option<PathBuf>,
        /// What is wrong with it.
        reason: String,
    },

    /// An ONNX model with nodes that cannot be imported, all of them at once.
    #[error("the model cannot be imported:{}", .0.iter().map(|node| format!("\n  {node}")).collect::<String>())]
    Unsupported(Vec<Unsupported>),

    /// No device answers to the request.
    #[error("no device matches '{asked}'; available: {}", .available.join(", "))]
    NoDevice {
        /// The request.
        asked: String,
        /// What there is instead.
        available: Vec<String>,
    },

    /// The device refused to open, or failed while it ran.
    #[error("device '{device}': {reason}")]
    Device {
        /// The adapter's name.
        device: String,
        /// What the driver said.
        reason: String,
    },

    /// The device went away (driver reset, unplugged, time-out). Open it again and compile anew.
    #[error("device '{device}' was lost: {reason}; open it again and compile the network anew")]
    DeviceLost {
        /// The adapter's name.
        device: String,
        /// What the driver said.
        reason: String,
    },

    /// A tensor past a limit of the device.
    #[error("'{what}' needs {bytes} bytes, more than the device's {limit_name} of {limit} bytes")]
    TooLarge {
        /// The tensor.
        what: String,
        /// Its size in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
        /// The limit's name in WebGPU.
        limit_name: &'static str,
    },

    /// Memory ran out while the plan was made.
    #[error("out of memory on '{device}': {reason}")]
    OutOfMemory {
        /// The adapter's name, the CPU backend's, or `host` where a network's own weights do not fit.
        device: String,
        /// What could not be allocated.
        reason: String,
    },

    /// A kernel wrote outside its output, seen by a checked plan.
    #[error("'{layer}' wrote outside its output buffer")]
    OutOfBoundsWrite {
        /// The layer whose output was fenced.
        layer: String,
    },

    /// A picture that cannot be read.
    #[error("{}: {reason}", .path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// Labelled images that cannot be read.
    #[error("{}: {reason}", .path.display())]
    Dataset {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// A name that is not in the zoo.
    #[error("no network is called '{asked}'; there are: {}", .available.join(", "))]
    UnknownNetwork {
        /// The name asked for.
        asked: String,
        /// The names there are.
        available: Vec<String>,
    },

    /// A file that cannot be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}
