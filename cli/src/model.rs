//! What MODEL means on the command line.

use anyhow::{Context, Result, bail};
use wgpu_cnn::{Graph, zoo};

/// What is asked of a network by name.
#[derive(clap::Args)]
pub struct Args {
    /// The network
    #[arg(value_name = "MODEL", help = format!("The network: {}", zoo::NAMES.join(", ")))]
    pub model: String,
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
    /// The `[channels, height, width]` of the pictures the network takes.
    pub fn picture_shape(&self) -> Result<[usize; 3]> {
        let shapes: Vec<_> = self.graph.inputs().iter().map(|&id| &self.graph.value(id).info.shape).collect();
        match shapes[..] {
            [shape] if shape.len() == 4 => Ok([shape[1], shape[2], shape[3]]),
            _ => {
                let shapes: Vec<_> = shapes.iter().map(|shape| shape.to_string()).collect();
                bail!("'{}' takes {}, not a picture", self.graph.name(), shapes.join(" and "))
            }
        }
    }

    /// How many classes the network's output scores.
    pub fn classes(&self) -> Result<usize> {
        let output = self.graph.outputs().first().context("the network has no output")?;
        Ok(self.graph.value(*output).info.shape.elements())
    }
}
