//! A graph compiled for the CPU: its layers one after another on all cores, or images apart.

use std::borrow::Cow;

use super::images::Images;
use super::layers::{Layers, List};
use crate::error::Result;
use crate::graph::{Graph, Info};
use crate::plan::{MemoryReport, PlanOptions, StepTime, blanks, to_words, write_words};
use crate::tensor::Tensor;

/// A graph compiled for the CPU backend.
pub(crate) struct CpuPlan {
    outputs: Vec<Info>,
    way: Way,
}

enum Way {
    Layers(Layers),
    Images(Images),
}

impl CpuPlan {
    pub fn compile(graph: &Graph, options: &PlanOptions) -> Result<Self> {
        let way = match Images::compile(graph, options)? {
            Some(images) => Way::Images(images),
            None => Way::Layers(Layers::compile(graph, options)?),
        };
        let outputs = graph.outputs().iter().map(|id| graph.value(*id).info.clone()).collect();
        Ok(CpuPlan { outputs, way })
    }

    pub fn memory(&self) -> MemoryReport {
        match &self.way {
            Way::Layers(layers) => layers.memory(),
            Way::Images(images) => images.memory(),
        }
    }

    /// The outputs of [`CpuPlan::run_into`].
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let mut outputs = blanks(self.outputs.iter())?;
        self.run_into(inputs, &mut outputs)?;
        Ok(outputs)
    }

    /// Runs the graph on `inputs` and writes `outputs`, both of which the caller has checked.
    pub fn run_into(&self, inputs: &[Tensor], outputs: &mut [Tensor]) -> Result<()> {
        self.run_timed(inputs, outputs, None)
    }

    /// As [`CpuPlan::run_into`], adding each step's milliseconds to its list in `times`.
    fn run_timed<'a>(
        &self,
        inputs: &'a [Tensor],
        outputs: &mut [Tensor],
        times: Option<&mut [Vec<f64>]>,
    ) -> Result<()> {
        let words = |tensor: &'a Tensor| match tensor.values::<f32>() {
            Ok(values) => Ok(Cow::Borrowed(values)),
            Err(_) => to_words(tensor).map(|words| words.into_iter().map(f32::from_bits).collect()),
        };
        let inputs = inputs.iter().map(words).collect::<Result<List<Cow<[f32]>>>>()?;
        let inputs: List<&[f32]> = inputs.iter().map(|words| &**words).collect();
        self.run_words(&inputs, times, |words| {
            let mut outputs = words.iter().zip(outputs);
            outputs.try_for_each(|(words, output)| write_words(bytemuck::cast_slice(words), output))
        })?
    }

    /// Runs the graph on the words of the inputs and hands those of the outputs to `read`, adding each step's milliseconds
    /// to its list in `times`.
    pub fn run_words<T>(
        &self,
        inputs: &[&[f32]],
        times: Option<&mut [Vec<f64>]>,
        read: impl FnOnce(&[&[f32]]) -> T,
    ) -> Result<T> {
        match &self.way {
            Way::Layers(layers) => layers.run_words(inputs, times, read),
            Way::Images(images) => images.run_words(inputs, times, read),
        }
    }

    fn layers(&self) -> &Layers {
        match &self.way {
            Way::Layers(layers) => layers,
            Way::Images(images) => images.layers(),
        }
    }

    /// The names of the steps' kernels, in order.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.layers().steps().map(|(_, kernel)| kernel)
    }

    /// Runs the plan so many times over inputs that the caller has checked, and measures its steps.
    pub fn profile(&self, inputs: &[Tensor], runs: usize) -> Result<Vec<StepTime>> {
        let mut outputs = blanks(self.outputs.iter())?;
        let steps = self.layers().steps();
        let mut times = vec![Vec::new(); steps.len()];
        for _ in 0..runs {
            self.run_timed(inputs, &mut outputs, Some(times.as_mut_slice()))?;
        }
        Ok(steps.zip(times).map(|((layer, kernel), times)| StepTime::median(layer, kernel, times)).collect())
    }
}
