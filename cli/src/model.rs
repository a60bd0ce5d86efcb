//! What MODEL means on the command line.

use anyhow::{Context, Result};
use wgpu_cnn::{Graph, zoo};

/// What may stand for MODEL, for the help texts.
pub fn help() -> String {
    format!("The network: {}", zoo::NAMES.join(", "))
}

/// A network and the names of its classes, where it brings them.
pub struct Model {
    pub graph: Graph,
    pub labels: Option<Vec<String>>,
}

/// The network that MODEL stands for, for one image at a time.
pub fn load(model: &str) -> Result<Model> {
    let graph = zoo::load(model)?;
    let labels = (model == "lenet5").then(|| (0..10).map(|digit| digit.to_string()).collect());
    Ok(Model { graph, labels })
}

impl Model {
    /// How many classes the network's output scores.
    pub fn classes(&self) -> Result<usize> {
        let output = self.graph.outputs().first().context("the network has no output")?;
        Ok(self.graph.value(*output).info.shape.elements())
    }
}
