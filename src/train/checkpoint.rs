//! The state of a training in a file, from which it goes on bit for bit.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::Path;
use std::str::FromStr;

use super::EpochReport;
use crate::error::{Error, Result};
use crate::files;
use crate::tensor::Tensor;

/// The key of the header's entry that tells checkpoints from other safetensors files.
const KEY: &str = "wgpu-cnn checkpoint";
/// Its first line: the version of what follows.
const VERSION: &str = "version 1";
/// In front of the names of the best weights so far.
const BEST: &str = "best:";

/// The state of a training between two steps: a safetensors file with the weights under the network's names, the
/// optimiser's moments and the sums of the epoch begun behind them, and how far the training is in its header.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// How far the training is.
    pub progress: Progress,
    /// The state's tensors by name.
    pub state: BTreeMap<String, Tensor>,
    /// The weights of the best epoch so far, where there are validation images.
    pub best: BTreeMap<String, Tensor>,
}

/// How far a training is, and what its next batch depends on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Complete epochs.
    pub epoch: u64,
    /// Complete steps of the epoch after them.
    pub step: u64,
    /// The seed of shuffling, augmentation and dropout.
    pub seed: u64,
    /// Images in a batch.
    pub batch: u64,
    /// Images in the training set.
    pub images: u64,
    /// The epoch whose weights were best on the validation images, from 1; 0 where there is none yet.
    pub best_epoch: u64,
    /// The complete epochs, one after another.
    pub history: Vec<EpochReport>,
}

impl Checkpoint {
    /// Writes the checkpoint. Whenever the process or the machine stops, the file is the old one or the new one.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let best: Vec<_> = self.best.iter().map(|(name, tensor)| (format!("{BEST}{name}"), tensor)).collect();
        let state = self.state.iter().map(|(name, tensor)| (name.as_str(), tensor));
        let tensors = state.chain(best.iter().map(|(name, tensor)| (name.as_str(), *tensor)));
        let header = HashMap::from([(KEY.to_string(), self.progress.to_text())]);
        files::write_safetensors(path.as_ref(), tensors, Some(header))
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Checkpoint`] where the file is broken off, no safetensors file or holds no checkpoint.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| Error::Io { path: path.into(), source })?;
        Self::from_bytes(&bytes).map_err(|reason| Error::Checkpoint { path: path.into(), reason })
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let contents = files::read_safetensors(bytes, |_| true)
            .map_err(|reason| format!("not a checkpoint, or one that is broken off: {reason}"))?;
        let text = contents.metadata.get(KEY).ok_or(
            "a safetensors file, but no checkpoint; to start from its weights load them into the network instead",
        )?;
        let progress =
            Progress::from_text(text).ok_or("a checkpoint of another version, or a damaged one")?;
        let mut checkpoint = Checkpoint { progress, state: BTreeMap::new(), best: BTreeMap::new() };
        for (name, tensor) in contents.tensors {
            match name.strip_prefix(BEST) {
                Some(name) => checkpoint.best.insert(name.into(), tensor),
                None => checkpoint.state.insert(name, tensor),
            };
        }
        Ok(checkpoint)
    }
}

impl Progress {
    /// A line per field, then one per epoch. Floating-point numbers are written so that reading gives the same bits.
    fn to_text(&self) -> String {
        let Progress { epoch, step, seed, batch, images, best_epoch, history } = self;
        let mut text = format!(
            "{VERSION}\nepoch {epoch}\nstep {step}\nseed {seed}\nbatch {batch}\nimages {images}\nbest {best_epoch}\n"
        );
        for report in history {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}", report.to_line());
        }
        text
    }

    fn from_text(text: &str) -> Option<Self> {
        let mut lines = text.strip_prefix(VERSION)?.strip_prefix('\n')?.lines();
        let mut field = |name: &str| u64::from_str(lines.next()?.strip_prefix(name)?.strip_prefix(' ')?).ok();
        let mut progress = Progress {
            epoch: field("epoch")?,
            step: field("step")?,
            seed: field("seed")?,
            batch: field("batch")?,
            images: field("images")?,
            best_epoch: field("best")?,
            history: Vec::new(),
        };
        progress.history = lines.map(EpochReport::from_line).collect::<Option<_>>()?;
        Some(progress)
    }
}
