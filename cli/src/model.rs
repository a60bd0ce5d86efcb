//! What MODEL means on the command line.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Context, Result, bail};
use wgpu_cnn::onnx::{self, Dim};
use wgpu_cnn::{Graph, Shape, Tensor, zoo};

use crate::tensors;

/// What may stand for MODEL, for the help texts.
pub fn help() -> String {
    format!("The network: {}, or an ONNX file", zoo::NAMES.join(", "))
}

/// A network and the names of its classes, where it brings them.
pub struct Model {
    pub graph: Graph,
    pub labels: Option<Vec<String>>,
}

/// The network that MODEL stands for, for `batch` images at once; without a wish, for as many as an ONNX file fixes, else
/// for one.
pub fn load(model: &str, batch: Option<NonZeroUsize>) -> Result<Model> {
    let graph = load_for(model, batch, &mut BTreeMap::new())?;
    let labels = (model == "lenet5").then(|| (0..10).map(|digit| digit.to_string()).collect());
    Ok(Model { graph, labels })
}

/// The network that MODEL stands for with inputs of these tensors' shapes; any input that is not among them is for
/// `batch` images, as in [`load`]. The tensors become what a run takes.
pub fn load_for(
    model: &str,
    batch: Option<NonZeroUsize>,
    tensors: &mut BTreeMap<String, Tensor>,
) -> Result<Graph> {
    let path = Path::new(model);
    let is_onnx = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"));
    let mut graph = if is_onnx { open(path, batch, tensors)? } else { zoo::load(model)? };
    let inputs = || graph.inputs().iter().map(|&id| graph.value(id));
    if let Some(name) = tensors.keys().find(|name| !is_onnx && inputs().all(|value| value.name != **name)) {
        let names: Vec<_> = inputs().map(|value| value.name.as_str()).collect();
        bail!("{model} has no input '{name}'; there are: {}", names.join(", "));
    }
    let mut shapes = Vec::new();
    for value in inputs() {
        let mut sizes = value.info.shape.to_vec();
        match (tensors.get(&value.name), batch, sizes.first_mut()) {
            (Some(tensor), ..) => sizes = tensor.shape().to_vec(),
            (None, Some(batch), Some(first)) => *first = batch.get(),
            _ => {}
        }
        shapes.push(Shape::new(sizes)?);
    }
    if inputs().zip(&shapes).any(|(value, shape)| value.info.shape != *shape) {
        graph = graph.with_input_shapes(&shapes)?;
    }
    Ok(graph)
}

/// How many images a network takes at once.
pub fn batch(graph: &Graph) -> usize {
    let first = graph.inputs().first().and_then(|&id| graph.value(id).info.shape.first());
    first.copied().unwrap_or(1)
}

/// The network of an ONNX file. Where neither the file nor a tensor gives the size of an input's first axis, it is
/// `batch`.
fn open(path: &Path, batch: Option<NonZeroUsize>, tensors: &mut BTreeMap<String, Tensor>) -> Result<Graph> {
    let model = onnx::Model::open(path)?;
    let mut bindings = tensors::bind(&model, tensors)?;
    for input in model.inputs().iter().filter(|input| !tensors.contains_key(&input.name)) {
        let sizes = input.dims.iter().flatten().enumerate().map(|(axis, dim)| match dim {
            Dim::Fixed(size) => Some(*size),
            _ => (axis == 0).then_some(batch.map_or(1, NonZeroUsize::get)),
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
