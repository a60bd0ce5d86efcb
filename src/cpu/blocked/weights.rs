//! Weights in the order in which kernels read them, packed once for all plans that use them.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use crate::cpu::aligned::Aligned;
use crate::error::Result;
use crate::tensor::{Tensor, Witness};

/// Which packing of which tensors: the kernel's name, its parameter, and the tensors' identities.
type Key = (&'static str, usize, Vec<usize>);

static PACKED: LazyLock<Mutex<HashMap<Key, Weak<Packed>>>> = LazyLock::new(Mutex::default);

/// Packed weights.
pub(super) struct Packed {
    words: Aligned,
    /// Kept, so that no other tensor takes on the identity of one of them.
    _sources: Vec<Witness>,
}

impl Packed {
    pub fn words(&self) -> &[f32] {
        self.words.words()
    }
}

/// The weights made of `sources` by the packing `(name, parameter)`, from another plan or else so many zeros that `pack`
/// writes to.
pub(super) fn packed(
    name: &'static str,
    parameter: usize,
    sources: &[&Tensor],
    len: usize,
    pack: impl FnOnce(&mut [f32]),
) -> Result<Arc<Packed>> {
    let key = (name, parameter, sources.iter().map(|t| t.identity()).collect());
    let mut known = PACKED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(packed) = known.get(&key).and_then(Weak::upgrade) {
        return Ok(packed);
    }
    known.retain(|_, packed| packed.strong_count() > 0);
    let sources = sources.iter().map(|t| t.witness()).collect();
    let mut words = Aligned::new(len, 0.0, "weights")?;
    pack(words.words_mut());
    let packed = Arc::new(Packed { words, _sources: sources });
    known.insert(key, Arc::downgrade(&packed));
    Ok(packed)
}
