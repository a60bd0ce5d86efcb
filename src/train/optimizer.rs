//! How weights follow their gradients.

use crate::error::{Error, Result};
use crate::graph::{Graph, ValueId};
use crate::ops::{Activation, Adam, Binary, Reduce, ReduceKind, Sgd};
use crate::tensor::Tensor;

/// An update rule with its settings; the formulas are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Optimizer {
    /// Stochastic gradient descent. See [`Sgd`].
    Sgd {
        /// How much of the last step's velocity stays; 0 is plain descent.
        momentum: f32,
        /// Nesterov's momentum.
        nesterov: bool,
        /// Added to the gradient, times the weight.
        weight_decay: f32,
    },
    /// Kingma & Ba 2015. See [`Adam`].
    Adam {
        /// How much of the gradients' running mean stays.
        beta1: f32,
        /// How much of the squared gradients' running mean stays.
        beta2: f32,
        /// Keeps the quotient finite.
        epsilon: f32,
        /// Added to the gradient, times the weight.
        weight_decay: f32,
    },
    /// Adam whose weight decay does not go through the moments (Loshchilov & Hutter 2019). See [`Adam`].
    AdamW {
        /// How much of the gradients' running mean stays.
        beta1: f32,
        /// How much of the squared gradients' running mean stays.
        beta2: f32,
        /// Keeps the quotient finite.
        epsilon: f32,
        /// The part of a weight that it loses each step, times the learning rate.
        weight_decay: f32,
    },
}

impl Optimizer {
    /// Descent with this momentum and no weight decay.
    pub fn sgd(momentum: f32) -> Self {
        Optimizer::Sgd { momentum, nesterov: false, weight_decay: 0.0 }
    }

    /// Adam with PyTorch's defaults: betas 0.9 and 0.999, epsilon 1e-8, no weight decay.
    pub fn adam() -> Self {
        Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }

    /// AdamW with PyTorch's defaults: as [`Optimizer::adam`], weight decay 0.01.
    pub fn adamw() -> Self {
        Optimizer::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }
    }

    /// With this weight decay.
    pub fn weight_decay(mut self, decay: f32) -> Self {
        let (Optimizer::Sgd { weight_decay, .. }
        | Optimizer::Adam { weight_decay, .. }
        | Optimizer::AdamW { weight_decay, .. }) = &mut self;
        *weight_decay = decay;
        self
    }

    /// The rule's name: `sgd`, `adam` or `adamw`.
    pub fn name(&self) -> &'static str {
        match self {
            Optimizer::Sgd { .. } => "sgd",
            Optimizer::Adam { .. } => "adam",
            Optimizer::AdamW { .. } => "adamw",
        }
    }

    /// What the rule remembers of each weight from step to step, all zeros at the start.
    pub(crate) fn moments(&self) -> &'static [&'static str] {
        match self {
            Optimizer::Sgd { .. } => &["velocity"],
            Optimizer::Adam { .. } | Optimizer::AdamW { .. } => &["mean", "square"],
        }
    }

    /// How many numbers [`Optimizer::rates`] has.
    pub(crate) fn rate_count(&self) -> usize {
        match self {
            Optimizer::Sgd { .. } => 1,
            Optimizer::Adam { .. } | Optimizer::AdamW { .. } => 3,
        }
    }

    /// What `step`, counted from 0, is given beside the gradients: the learning rate, and for Adam what its moments are
    /// multiplied by because they started from zero, `1 / (1 - beta^(step + 1))`.
    pub(crate) fn rates(&self, learning_rate: f64, step: u64) -> Vec<f32> {
        let mut rates = vec![learning_rate as f32];
        if let Optimizer::Adam { beta1, beta2, .. } | Optimizer::AdamW { beta1, beta2, .. } = *self {
            let steps = i32::try_from(step + 1).unwrap_or(i32::MAX);
            rates.extend([beta1, beta2].map(|beta| (1.0 / (1.0 - f64::from(beta).powi(steps))) as f32));
        }
        rates
    }

    /// Adds a weight's update to a graph: the new weight, then the new moments in the order of [`Optimizer::moments`].
    pub(crate) fn add(
        &self,
        graph: &mut Graph,
        name: &str,
        weight: ValueId,
        gradient: ValueId,
        moments: &[ValueId],
        rates: ValueId,
    ) -> Result<Vec<ValueId>> {
        let mut inputs = vec![weight, gradient];
        inputs.extend(moments);
        inputs.push(rates);
        let inputs: Vec<_> = inputs.into_iter().map(Some).collect();
        match *self {
            Optimizer::Sgd { momentum, nesterov, weight_decay } => {
                graph.push_node(name, Sgd { momentum, nesterov, weight_decay }, &inputs)
            }
            Optimizer::Adam { beta1, beta2, epsilon, weight_decay } => {
                let op = Adam { beta1, beta2, epsilon, weight_decay, decoupled: false };
                graph.push_node(name, op, &inputs)
            }
            Optimizer::AdamW { beta1, beta2, epsilon, weight_decay } => {
                let op = Adam { beta1, beta2, epsilon, weight_decay, decoupled: true };
                graph.push_node(name, op, &inputs)
            }
        }
    }

    /// Whether all settings are in range.
    pub(crate) fn check(&self) -> Result<()> {
        let (parts, weight_decay) = match *self {
            Optimizer::Sgd { momentum, weight_decay, nesterov } => {
                if nesterov && momentum == 0.0 {
                    return Err(Error::Training("Nesterov's momentum needs a momentum above 0".into()));
                }
                (vec![("the momentum", momentum)], weight_decay)
            }
            Optimizer::Adam { beta1, beta2, epsilon, weight_decay }
            | Optimizer::AdamW { beta1, beta2, epsilon, weight_decay } => {
                if !(epsilon > 0.0 && epsilon.is_finite()) {
                    return Err(Error::Training(format!("Adam's epsilon is above 0, not {epsilon}")));
                }
                (vec![("beta1", beta1), ("beta2", beta2)], weight_decay)
            }
        };
        for (what, value) in parts {
            if !(0.0..1.0).contains(&value) {
                return Err(Error::Training(format!("{what} is from 0 to below 1, not {value}")));
            }
        }
        if !(weight_decay >= 0.0 && weight_decay.is_finite()) {
            return Err(Error::Training(format!("the weight decay is 0 or more, not {weight_decay}")));
        }
        Ok(())
    }
}

/// A bound on the gradients, which keeps one bad batch from throwing the weights far off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clip {
    /// Each element into `-limit..=limit`.
    Value(f32),
    /// All gradients times `min(1, limit / (norm + 1e-6))`, the norm being that of all of them together (Pascanu et al.
    /// 2013; the term that keeps the quotient finite is PyTorch's).
    Norm(f32),
}

impl Clip {
    /// Adds the clipped gradients to a graph, in their order.
    pub(crate) fn add(&self, graph: &mut Graph, gradients: &[ValueId]) -> Result<Vec<ValueId>> {
        let (Clip::Value(limit) | Clip::Norm(limit)) = *self;
        if !(limit > 0.0 && limit.is_finite()) {
            return Err(Error::Training(format!(
                "gradients are clipped at a number above 0, not at {limit}"
            )));
        }
        let scale = match self {
            Clip::Value(_) => None,
            Clip::Norm(_) => Some(norm_scale(graph, gradients, limit)?),
        };
        let mut clipped = Vec::new();
        for (i, &gradient) in gradients.iter().enumerate() {
            let name = format!("training:clipped_{i}");
            clipped.push(match scale {
                None => graph.push(name, Activation::Clip { min: -limit, max: limit }, &[gradient])?,
                Some(scale) => graph.push(name, Binary::Mul, &[gradient, scale])?,
            });
        }
        Ok(clipped)
    }
}

/// `min(1, limit / (norm of all gradients + 1e-6))`
fn norm_scale(graph: &mut Graph, gradients: &[ValueId], limit: f32) -> Result<ValueId> {
    let mut total = graph.constant("training:clip_zero", Tensor::scalar(0f32));
    for (i, &gradient) in gradients.iter().enumerate() {
        let axes = (0..graph.value(gradient).info.shape.len()).collect();
        let square = Reduce { kind: ReduceKind::SumSquare, axes: Some(axes), keep_dims: false };
        let square = graph.push(format!("training:clip_square_{i}"), square, &[gradient])?;
        total = graph.push(format!("training:clip_squares_{i}"), Binary::Add, &[total, square])?;
    }
    let norm = graph.push("training:clip_norm", Activation::Sqrt, &[total])?;
    let epsilon = graph.constant("training:clip_epsilon", Tensor::scalar(1e-6f32));
    let norm = graph.push("training:clip_divisor", Binary::Add, &[norm, epsilon])?;
    let limit = graph.constant("training:clip_limit", Tensor::scalar(limit));
    let quotient = graph.push("training:clip_quotient", Binary::Div, &[limit, norm])?;
    let one = graph.constant("training:clip_one", Tensor::scalar(1f32));
    graph.push("training:clip_scale", Binary::Min, &[quotient, one])
}
