//! tract: the optimised model, its matrix products on a pool of threads.

use std::path::Path;

use anyhow::{Context, Result};
use tract_linalg::multithread::{Executor, set_default_executor};
use tract_onnx::prelude::*;

use crate::{Array, Run};

pub fn load(model: &Path, threads: usize) -> Result<Run> {
    set_default_executor(Executor::multithread(threads));
    let model = tract_onnx::onnx().model_for_path(model)?.into_optimized()?.into_runnable()?;
    Ok(Box::new(move |input| {
        let input = Tensor::from_shape(&input.shape, &input.values)?;
        let outputs = model.run(tvec!(input.into()))?;
        let output = outputs.first().context("the model has no output")?;
        Ok(Array {
            shape: output.shape().to_vec(),
            values: output.try_as_plain_ram()?.as_slice::<f32>()?.to_vec(),
        })
    }))
}
