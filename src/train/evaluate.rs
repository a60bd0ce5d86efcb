//! How well a network does on labelled images.

use super::Loss;
use super::data::Dataset;
use crate::classify::top_k;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::session::Session;

/// What a network makes of labelled images.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The mean loss of an image.
    pub loss: f64,
    /// The part of the images whose largest output is that of their class, from 0 to 1.
    pub accuracy: f64,
    /// Images counted by class, as they are labelled (outer) and as the network sees them (inner).
    pub confusion: Vec<Vec<u64>>,
}

/// Runs a network, in its form for inference, over all images of a dataset, `batch` at once.
///
/// # Errors
/// [`Error::Training`] where there is no image or the network has another number of classes, and as
/// [`Device::compile`] and [`crate::Plan::run`].
pub fn evaluate(
    device: &Device,
    network: &Graph,
    dataset: &Dataset,
    batch: usize,
    loss: &Loss,
) -> Result<Evaluation> {
    loss.check(network)?;
    let classes = network.value(network.outputs()[0]).info.shape[1];
    if dataset.is_empty() || dataset.classes() != classes {
        return Err(Error::Training(format!(
            "the network tells {classes} classes apart, and there are {} images of {}",
            dataset.len(),
            dataset.classes()
        )));
    }
    let session = Session::new(device, network.clone());
    let mut confusion = vec![vec![0; classes]; classes];
    let (mut sum, mut right) = (0.0, 0u64);
    for batch in dataset.batches(batch) {
        let batch = batch?;
        let outputs = session.run(&[batch.images])?;
        for (output, &label) in outputs[0].values::<f32>()?.chunks_exact(classes).zip(&batch.labels) {
            let seen = top_k(output, 1).first().map_or(0, |(class, _)| *class);
            confusion[label][seen] += 1;
            right += u64::from(seen == label);
            sum += loss.of(output, label);
        }
    }
    let images = dataset.len() as f64;
    Ok(Evaluation { loss: sum / images, accuracy: right as f64 / images, confusion })
}
