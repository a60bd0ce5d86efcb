//! RTen, with its weights packed at load.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use rten::{ModelOptions, RunOptions, ThreadPool};
use rten_tensor::Tensor;
use rten_tensor::prelude::*;

use crate::{Array, Run};

pub fn load(model: &Path, threads: usize) -> Result<Run> {
    let mut options = ModelOptions::with_all_ops();
    let model = options.prepack_weights(true).load_file(model)?;
    let pool = Arc::new(ThreadPool::with_num_threads(threads));
    Ok(Box::new(move |input| {
        let input = Tensor::from_data(&input.shape, input.values.clone());
        let options = RunOptions::default().with_thread_pool(Some(pool.clone()));
        let output: Tensor<f32> = model.run_one(input.into(), Some(options))?.try_into()?;
        Ok(Array { shape: output.shape().to_vec(), values: output.to_vec() })
    }))
}
