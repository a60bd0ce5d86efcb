//! Words that begin where a cache line does, so that no vector of them lies on two.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};

/// Words to which values are aligned: a cache line, and the widest vectors.
pub(super) const ALIGN: usize = 16;

/// A buffer whose words are those from the first aligned one on.
pub(super) struct Aligned(Vec<f32>);

impl Aligned {
    /// So many words of this value; `what` they are is for the error where there is no memory for them.
    pub fn new(len: usize, value: f32, what: &str) -> Result<Self> {
        let mut words = reserved(len + ALIGN, what)?;
        words.resize(len + ALIGN, value);
        Ok(Aligned(words))
    }

    pub fn words(&self) -> &[f32] {
        &self.0[self.start()..][..self.0.len() - ALIGN]
    }

    pub fn words_mut(&mut self) -> &mut [f32] {
        let (start, len) = (self.start(), self.0.len() - ALIGN);
        &mut self.0[start..][..len]
    }

    fn start(&self) -> usize {
        // Where the offset cannot be told, it does not matter.
        self.0.as_ptr().align_offset(ALIGN * size_of::<f32>()).min(ALIGN)
    }
}

/// Buffers for runs that overlap, each of so many words: as many come to be as runs do.
pub(super) struct Buffers {
    len: usize,
    what: &'static str,
    idle: Mutex<Vec<Aligned>>,
}

impl Buffers {
    /// None yet.
    pub fn new(len: usize, what: &'static str) -> Self {
        Buffers { len, what, idle: Mutex::default() }
    }

    /// Words of a buffer.
    pub fn words(&self) -> usize {
        self.len
    }

    /// Makes buffers for so many runs at once.
    pub fn reserve(&self, runs: usize) -> Result<()> {
        while self.idle().len() < runs {
            let buffer = self.buffer()?;
            self.idle().push(buffer);
        }
        Ok(())
    }

    /// A buffer that no run is using.
    pub fn take(&self) -> Result<Aligned> {
        let idle = self.idle().pop();
        idle.map_or_else(|| self.buffer(), Ok)
    }

    /// Gives a buffer back.
    pub fn put(&self, buffer: Aligned) {
        self.idle().push(buffer);
    }

    /// Where words were never written they are NaN, which shows.
    fn buffer(&self) -> Result<Aligned> {
        Aligned::new(self.len, f32::NAN, self.what)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Aligned>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An empty buffer with room for `len` words of `what`.
pub(super) fn reserved(len: usize, what: &str) -> Result<Vec<f32>> {
    let mut words = Vec::new();
    words.try_reserve_exact(len).map_err(|e| Error::OutOfMemory {
        device: "CPU".into(),
        reason: format!("{} bytes of {what}: {e}", 4 * len as u64),
    })?;
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_begin_where_a_cache_line_does() {
        for len in [0, 1, 100, 1 << 20] {
            let mut aligned = Aligned::new(len, 3.0, "tests").unwrap();
            assert_eq!(aligned.words(), vec![3.0; len]);
            assert_eq!(aligned.words_mut().as_ptr() as usize % 64, 0);
        }
    }
}
