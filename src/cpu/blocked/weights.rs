//! Weights in the order in which kernels read them, packed once for all plans that use them.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use crate::tensor::{Tensor, Witness};

/// Which packing of which tensors: the kernel's name, its parameter, and the tensors' identities.
type Key = (&'static str, usize, Vec<usize>);

static PACKED: LazyLock<Mutex<HashMap<Key, Weak<Packed>>>> = LazyLock::new(Mutex::default);

/// Packed weights.
pub(super) struct Packed {
    pub words: Vec<f32>,
    /// Kept, so that no other tensor takes on the identity of one of them.
    _sources: Vec<Witness>,
}

/// The weights made of `sources` by the packing `(name, parameter)`, from another plan or else from `pack`.
pub(super) fn packed(
    name: &'static str,
    parameter: usize,
    sources: &[&Tensor],
    pack: impl FnOnce() -> Vec<f32>,
) -> Arc<Packed> {
    let key = (name, parameter, sources.iter().map(|t| t.identity()).collect());
    let mut known = PACKED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(packed) = known.get(&key).and_then(Weak::upgrade) {
        return packed;
    }
    known.retain(|_, packed| packed.strong_count() > 0);
    let sources = sources.iter().map(|t| t.witness()).collect();
    let packed = Arc::new(Packed { words: pack(), _sources: sources });
    known.insert(key, Arc::downgrade(&packed));
    packed
}
