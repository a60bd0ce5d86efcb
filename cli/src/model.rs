//! What MODEL means on the command line.

use std::path::Path;

use anyhow::{Context, Result};
use wgpu_cnn::onnx::{self, Bindings, Dim};
use wgpu_cnn::{Graph, zoo};

/// What may stand for MODEL, for the help texts.
pub fn help() -> String {
    format!("The network: {}, or an ONNX file", zoo::NAMES.join(", "))
}

/// A network and the names of its classes, where it brings them.
pub struct Model {
    pub graph: Graph,
    pub labels: Option<Vec<String>>,
}

/// The network that MODEL stands for, for one image at a time.
pub fn load(model: &str) -> Result<Model> {
    let path = Path::new(model);
    let is_onnx = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"));
    let graph = if is_onnx { open(path)? } else { zoo::load(model)? };
    let labels = (model == "lenet5").then(|| (0..10).map(|digit| digit.to_string()).collect());
    Ok(Model { graph, labels })
}

/// The network of an ONNX file. Where the size of an input's first axis is left open, it is 1.
fn open(path: &Path) -> Result<Graph> {
    let model = onnx::Model::open(path)?;
    let mut bindings = Bindings::new();
    for input in model.inputs() {
        let sizes = input.dims.iter().flatten().enumerate().map(|(axis, dim)| match dim {
            Dim::Fixed(size) => Some(*size),
            _ => (axis == 0).then_some(1),
        });
        if let (Some(_), Some(sizes)) = (&input.dims, sizes.collect::<Option<Vec<_>>>()) {
            bindings = bindings.shape(input.name.as_str(), sizes);
        }
    }
    Ok(model.graph(&bindings)?)
}

impl Model {
    /// How many classes the network's output scores.
    pub fn classes(&self) -> Result<usize> {
        let output = self.graph.outputs().first().context("the network has no output")?;
        Ok(self.graph.value(*output).info.shape.elements())
    }
}
