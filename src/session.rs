//! A network on a device, for inputs of any shape it can take: a plan per shape, made when the shape first comes.

use std::sync::{Arc, Mutex, PoisonError};

use crate::device::Device;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::graph::passes::Folded;
use crate::onnx::{Bindings, Model};
use crate::plan::{Plan, PlanOptions};
use crate::tensor::{Shape, Tensor};

/// How many plans a session keeps, those used last.
const KEPT: usize = 8;

/// A network on a device, whose batch size and other input sizes may change from run to run.
///
/// The first run of new input shapes compiles a plan; the plans of the last eight shapes are kept. Weights are on the
/// device once, whichever plans use them. `Send + Sync`.
pub struct Session {
    device: Device,
    source: Source,
    options: PlanOptions,
    folded: Folded,
    /// The plan used last is the last.
    plans: Mutex<Vec<(Vec<Shape>, Arc<Plan>)>>,
}

/// What a [`Session`] makes its graphs of.
#[derive(Debug)]
#[non_exhaustive]
pub enum Source {
    /// A graph, whose layers are worked out anew for other input shapes.
    Graph(Graph),
    /// An ONNX model, imported anew for other input shapes.
    Model(Model),
}

impl From<Graph> for Source {
    fn from(graph: Graph) -> Self {
        Source::Graph(graph)
    }
}

impl From<Model> for Source {
    fn from(model: Model) -> Self {
        Source::Model(model)
    }
}

impl Session {
    /// A session over a graph or an ONNX model; nothing is compiled yet.
    pub fn new(device: &Device, source: impl Into<Source>) -> Self {
        Self::with_options(device, source, PlanOptions::default())
    }

    /// As [`Session::new`], with options for all its plans.
    pub fn with_options(device: &Device, source: impl Into<Source>, options: PlanOptions) -> Self {
        Session {
            device: device.clone(),
            source: source.into(),
            options,
            folded: Folded::default(),
            plans: Mutex::default(),
        }
    }

    /// The device it runs on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The plan for inputs of these shapes, compiled unless one is kept. Calling this ahead of the first run spares that
    /// run the compilation.
    ///
    /// # Errors
    /// As [`Device::compile`] and, for a model, [`Model::graph`]: among them a layer that cannot take the shapes.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn plan(&self, shapes: &[Shape]) -> Result<Arc<Plan>> {
        pollster::block_on(self.plan_async(shapes))
    }

    /// As [`Session::plan`], without blocking on the device.
    ///
    /// # Errors
    /// As [`Session::plan`].
    pub async fn plan_async(&self, shapes: &[Shape]) -> Result<Arc<Plan>> {
        if let Some(plan) = self.kept(shapes) {
            return Ok(plan);
        }
        let graph = match &self.source {
            Source::Graph(graph) => graph.with_input_shapes(shapes)?,
            Source::Model(model) => model.graph(&bindings(model, shapes)?)?,
        };
        let plan = Arc::new(self.device.compile_sharing(&graph, &self.options, &self.folded).await?);
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        plans.push((shapes.to_vec(), plan.clone()));
        if plans.len() > KEPT {
            plans.remove(0);
        }
        Ok(plan)
    }

    fn kept(&self, shapes: &[Shape]) -> Option<Arc<Plan>> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let at = plans.iter().position(|(known, _)| known == shapes)?;
        let entry = plans.remove(at);
        plans.push(entry);
        plans.last().map(|(_, plan)| plan.clone())
    }

    /// Runs the network on these inputs, in the order of its inputs, and waits for its outputs.
    ///
    /// # Errors
    /// As [`Session::plan`] and [`Plan::run`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.plan(&shapes(inputs))?.run(inputs)
    }

    /// As [`Session::run`], without blocking the thread while the GPU works.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn run_async(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.plan_async(&shapes(inputs)).await?.run_async(inputs).await
    }
}

fn shapes(inputs: &[Tensor]) -> Vec<Shape> {
    inputs.iter().map(|tensor| tensor.shape().clone()).collect()
}

/// The shapes bound to the model's inputs, in order.
fn bindings(model: &Model, shapes: &[Shape]) -> Result<Bindings> {
    if model.inputs().len() != shapes.len() {
        return Err(Error::Graph(format!(
            "the model takes {} inputs, got {}",
            model.inputs().len(),
            shapes.len()
        )));
    }
    let inputs = model.inputs().iter().zip(shapes);
    Ok(inputs.fold(Bindings::new(), |bindings, (input, shape)| {
        bindings.shape(input.name.as_str(), shape.to_vec())
    }))
}
