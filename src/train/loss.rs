//! What training makes small.

use crate::error::{Error, Result};
use crate::graph::{Graph, Node, ValueId};
use crate::ops::{Binary, Op, Reduce, ReduceKind, Softmax};
use crate::tensor::Tensor;

/// What is minimised: a mean over the images of a batch, of what the network returns `[n, classes]` against one-hot targets
/// of the same shape.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Loss {
    /// `-sum target * log_softmax(logits)` for each image, the target being
    /// `(1 - label_smoothing) * one-hot + label_smoothing / classes` (Szegedy et al. 2016, section 7).
    ///
    /// It takes logits and computes the softmax's logarithm itself, which stays exact where a softmax in front of it
    /// would have rounded to 0 or 1 and left no gradient.
    CrossEntropy {
        /// From 0, where the targets are one-hot, to below 1.
        label_smoothing: f32,
    },
    /// `(output - target)^2`, the mean over all elements.
    MeanSquaredError,
}

impl Loss {
    /// Cross-entropy with one-hot targets.
    pub const CROSS_ENTROPY: Loss = Loss::CrossEntropy { label_smoothing: 0.0 };

    /// Whether the network's output is one that this loss can take.
    ///
    /// # Errors
    /// [`Error::Training`] where the output is not `[n, classes]`, the network ends in a softmax that the loss computes
    /// itself, or the loss's setting is out of range.
    pub(crate) fn check(&self, network: &Graph) -> Result<()> {
        let &[output] = network.outputs() else {
            let count = network.outputs().len();
            return Err(Error::Training(format!("a loss takes one output, the network has {count}")));
        };
        let value = network.value(output);
        if value.info.shape.len() != 2 {
            let (name, shape) = (&value.name, &value.info.shape);
            return Err(Error::Training(format!(
                "the loss takes an output [n, classes], but '{name}' is {shape}; flatten it first"
            )));
        }
        let Loss::CrossEntropy { label_smoothing } = *self else { return Ok(()) };
        if !(0.0..1.0).contains(&label_smoothing) {
            return Err(Error::Training(format!(
                "label smoothing is from 0 to below 1, not {label_smoothing}"
            )));
        }
        match last_softmax(network) {
            None => Ok(()),
            Some(softmax) => Err(Error::Training(format!(
                "the network ends in a softmax ('{}'), but cross-entropy takes logits: it computes the softmax's \
                 logarithm itself, where a softmax in front of it rounds to 0 and 1 and leaves no gradient; train \
                 the network without it (train::without_softmax), and put it back to run",
                softmax.name
            ))),
        }
    }

    /// Adds the loss of `output` against `targets`, both `[n, classes]`, to a graph; a scalar.
    pub(crate) fn add(&self, graph: &mut Graph, output: ValueId, targets: ValueId) -> Result<ValueId> {
        let shape = graph.value(output).info.shape.clone();
        let (images, classes) = (shape[0].max(1) as f32, shape[1].max(1) as f32);
        let sum = |kind| Reduce { kind, axes: Some(vec![0, 1]), keep_dims: false };
        let (total, scale) = match *self {
            Loss::CrossEntropy { label_smoothing } => {
                let mut targets = targets;
                if label_smoothing > 0.0 {
                    let kept = graph.constant("training:loss_kept", Tensor::scalar(1.0 - label_smoothing));
                    let spread =
                        graph.constant("training:loss_spread", Tensor::scalar(label_smoothing / classes));
                    targets = graph.push("training:loss_targets_kept", Binary::Mul, &[targets, kept])?;
                    targets = graph.push("training:loss_targets", Binary::Add, &[targets, spread])?;
                }
                let log =
                    graph.push("training:loss_log_softmax", Softmax { axis: 1, log: true }, &[output])?;
                let terms = graph.push("training:loss_terms", Binary::Mul, &[log, targets])?;
                (graph.push("training:loss_sum", sum(ReduceKind::Sum), &[terms])?, -1.0 / images)
            }
            Loss::MeanSquaredError => {
                let difference = graph.push("training:loss_difference", Binary::Sub, &[output, targets])?;
                let total = graph.push("training:loss_sum", sum(ReduceKind::SumSquare), &[difference])?;
                (total, 1.0 / (images * classes))
            }
        };
        let scale = graph.constant("training:loss_scale", Tensor::scalar(scale));
        graph.push("training:loss", Binary::Mul, &[total, scale])
    }

    /// The loss of one image, whose class is `label`, from the network's `output` for it: the cross-entropy of these logits
    /// with the smoothed label, or the mean squared difference from the class's one-hot vector.
    pub fn of(&self, output: &[f32], label: usize) -> f64 {
        let classes = output.len() as f64;
        let one_hot = |class| if class == label { 1.0 } else { 0.0 };
        match *self {
            Loss::CrossEntropy { label_smoothing } => {
                let smoothing = f64::from(label_smoothing);
                let max = output.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let max = f64::from(max);
                let log_sum = output.iter().map(|&x| (f64::from(x) - max).exp()).sum::<f64>().ln() + max;
                let terms = output.iter().enumerate().map(|(class, &x)| {
                    let target = (1.0 - smoothing) * one_hot(class) + smoothing / classes;
                    // What has no weight in the target has none in the sum, even at minus infinity.
                    if target == 0.0 { 0.0 } else { target * (log_sum - f64::from(x)) }
                });
                terms.sum()
            }
            Loss::MeanSquaredError => {
                let terms = output.iter().enumerate().map(|(c, &x)| (f64::from(x) - one_hot(c)).powi(2));
                terms.sum::<f64>() / classes
            }
        }
    }
}

/// The same network without the softmax that it ends in, or the logarithm of one: it then returns logits.
///
/// # Errors
/// [`Error::Training`] where it does not end in one.
pub fn without_softmax(network: &Graph) -> Result<Graph> {
    let softmax = last_softmax(network).ok_or_else(|| {
        Error::Training("the network does not end in a softmax: it is trained as it is".into())
    })?;
    match softmax.inputs[0] {
        Some(logits) => network.with_outputs(&[&network.value(logits).name]),
        None => Err(Error::Training(format!("'{}' has no input", softmax.name))),
    }
}

/// The softmax that makes the network's first output, also from behind a reshape.
fn last_softmax(network: &Graph) -> Option<&Node> {
    let mut last = producer(network, *network.outputs().first()?)?;
    while let Op::Reshape(_) = last.op {
        last = producer(network, last.inputs[0]?)?;
    }
    matches!(last.op, Op::Softmax(_)).then_some(last)
}

/// The node that computes a value.
pub(crate) fn producer(graph: &Graph, value: ValueId) -> Option<&Node> {
    graph.nodes().iter().find(|node| node.outputs.contains(&value))
}
