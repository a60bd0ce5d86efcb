//! Files that appear whole or not at all, and tensors in safetensors files.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Writes a file that holds either what it held before or all of `bytes`, whenever the process or the machine stops.
///
/// The bytes go to `NAME.unfinished` beside it, are made durable, and take its name at once.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let write = || -> io::Result<()> {
        let mut file = File::create(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        // The new name is durable once its folder is; only Unix lets a folder be opened for that.
        #[cfg(unix)]
        File::open(path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))?
            .sync_all()?;
        Ok(())
    };
    write().map_err(|source| Error::Io { path: path.into(), source })
}

/// The tensors of a safetensors file and what its header says beside them.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub tensors: BTreeMap<String, Tensor>,
    pub metadata: HashMap<String, String>,
}

/// Reads the f32 tensors of a safetensors file whose name `wanted` accepts; why not, where it is none.
pub(crate) fn read_safetensors(bytes: &[u8], wanted: impl Fn(&str) -> bool) -> Result<Contents, String> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let mut contents =
        Contents { metadata: header.metadata().clone().unwrap_or_default(), ..Contents::default() };
    for (name, view) in file.iter().filter(|(name, _)| wanted(name)) {
        if view.dtype() != Dtype::F32 {
            return Err(format!("'{name}' holds {:?}, not F32", view.dtype()));
        }
        let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let tensor = Tensor::new(view.shape(), values.collect::<Vec<f32>>()).map_err(|e| e.to_string())?;
        contents.tensors.insert(name.to_string(), tensor);
    }
    Ok(contents)
}

/// Writes f32 tensors to a safetensors file; the file appears whole or not at all.
///
/// # Errors
/// [`Error::Io`], [`Error::DType`], [`Error::WeightsFile`].
pub(crate) fn write_safetensors<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
    metadata: Option<HashMap<String, String>>,
) -> Result<()> {
    let unwritable =
        |e: safetensors::SafeTensorError| Error::WeightsFile { path: path.into(), reason: e.to_string() };
    let mut buffers = Vec::new();
    for (name, tensor) in tensors {
        let bytes: Vec<u8> = tensor.values::<f32>()?.iter().flat_map(|v| v.to_le_bytes()).collect();
        buffers.push((name, tensor.shape().to_vec(), bytes));
    }
    let views = buffers
        .iter()
        .map(|(name, shape, bytes)| Ok((*name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(unwritable)?;
    write_whole(path, &safetensors::serialize(views, metadata).map_err(unwritable)?)
}
