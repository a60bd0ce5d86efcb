//! Weights by name, from and to safetensors.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::{Graph, ValueId};
use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor};

impl Graph {
    /// The f32 weights with their names, in the order they were added.
    pub fn weights(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.values()
            .iter()
            .filter(|v| v.info.dtype == DType::F32)
            .filter_map(|v| v.constant.as_ref().map(|t| (v.name.as_str(), t)))
    }

    /// Replaces a constant by one of the same shape and type.
    ///
    /// # Errors
    /// [`Error::Weights`] where it differs in shape or type, or the value is no constant.
    pub fn set_constant(&mut self, id: ValueId, tensor: Tensor) -> Result<()> {
        let value = &mut self.values[id.index()];
        let wrong = if value.constant.is_none() {
            format!("'{}' is computed, not a weight", value.name)
        } else if value.info.shape != *tensor.shape() || value.info.dtype != tensor.dtype() {
            let (want, got) = (&value.info, &tensor);
            format!(
                "'{}': expected {} {}, got {} {}",
                value.name,
                want.dtype,
                want.shape,
                got.dtype(),
                got.shape()
            )
        } else {
            value.constant = Some(tensor);
            return Ok(());
        };
        Err(Error::Weights(vec![wrong]))
    }

    /// Replaces all weights by the tensors of the same names.
    ///
    /// # Errors
    /// [`Error::Weights`] naming every tensor that is missing, unknown or of another shape; the weights are then
    /// unchanged.
    pub fn set_weights(&mut self, mut tensors: BTreeMap<String, Tensor>) -> Result<()> {
        let mut problems = Vec::new();
        let mut found = Vec::new();
        for (i, value) in self.values.iter().enumerate() {
            if value.constant.is_none() || value.info.dtype != DType::F32 {
                continue;
            }
            match tensors.remove(&value.name) {
                None => problems.push(format!("'{}' is missing ({})", value.name, value.info.shape)),
                Some(tensor) if *tensor.shape() != value.info.shape || tensor.dtype() != DType::F32 => {
                    problems.push(format!(
                        "'{}': expected {}, got {}",
                        value.name,
                        value.info.shape,
                        tensor.shape()
                    ))
                }
                Some(tensor) => found.push((i, tensor)),
            }
        }
        problems.extend(tensors.keys().map(|name| format!("'{name}' is not a weight of this network")));
        if !problems.is_empty() {
            return Err(Error::Weights(problems));
        }
        for (i, tensor) in found {
            self.values[i].constant = Some(tensor);
        }
        Ok(())
    }

    /// Replaces all weights by those of a safetensors file.
    ///
    /// PyTorch's counters `*.num_batches_tracked`, which only training uses, are passed over.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::WeightsFile`] where it is no such file or holds other types than F32, and as
    /// [`Graph::set_weights`].
    pub fn load_weights(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| Error::Io { path: path.into(), source })?;
        self.load_weights_from(&bytes).map_err(|e| match e {
            Error::WeightsFile { reason, .. } => Error::WeightsFile { path: path.into(), reason },
            other => other,
        })
    }

    /// Replaces all weights by those of a safetensors file held in memory.
    ///
    /// # Errors
    /// As [`Graph::load_weights`], less [`Error::Io`].
    pub fn load_weights_from(&mut self, bytes: &[u8]) -> Result<()> {
        let unreadable = |reason: String| Error::WeightsFile { path: "safetensors".into(), reason };
        let file = SafeTensors::deserialize(bytes).map_err(|e| unreadable(e.to_string()))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.iter().filter(|(name, _)| !name.ends_with(".num_batches_tracked")) {
            if view.dtype() != Dtype::F32 {
                return Err(unreadable(format!("'{name}' holds {:?}, not F32", view.dtype())));
            }
            let values = view
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect::<Vec<f32>>();
            tensors.insert(name.to_string(), Tensor::new(view.shape(), values)?);
        }
        self.set_weights(tensors)
    }

    /// Writes all weights to a safetensors file; the file appears whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::WeightsFile`].
    pub fn save_weights(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let unwritable = |reason: String| Error::WeightsFile { path: path.into(), reason };
        let mut buffers = Vec::new();
        for (name, tensor) in self.weights() {
            let bytes: Vec<u8> = tensor.values::<f32>()?.iter().flat_map(|v| v.to_le_bytes()).collect();
            buffers.push((name, tensor.shape().to_vec(), bytes));
        }
        let views = buffers
            .iter()
            .map(|(name, shape, bytes)| Ok((*name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .map_err(|e| unwritable(e.to_string()))?;
        let bytes = safetensors::serialize(views, None).map_err(|e| unwritable(e.to_string()))?;
        let io = |source| Error::Io { path: path.into(), source };
        let unfinished = path.with_extension("unfinished");
        std::fs::write(&unfinished, bytes).map_err(io)?;
        std::fs::rename(&unfinished, path).map_err(io)
    }
}
