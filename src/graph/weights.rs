//! Weights by name, from and to safetensors.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Graph, ValueId};
use crate::error::{Error, Result};
use crate::files;
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
        let wanted = |name: &str| !name.ends_with(".num_batches_tracked");
        let contents = files::read_safetensors(bytes, wanted)
            .map_err(|reason| Error::WeightsFile { path: "safetensors".into(), reason })?;
        self.set_weights(contents.tensors)
    }

    /// Writes all weights to a safetensors file; the file appears whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::WeightsFile`].
    pub fn save_weights(&self, path: impl AsRef<Path>) -> Result<()> {
        files::write_safetensors(path.as_ref(), self.weights(), None)
    }
}
