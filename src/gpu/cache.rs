//! What is kept on disk from one process to the next: compiled pipelines, and what tuning found.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a sealed file begins with.
const MAGIC: &[u8; 8] = b"wgpu-cnn";

/// A folder of files, each for one adapter, driver and version of this crate. Several processes may share it: files are
/// replaced as a whole, and the last to write wins.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    identity: String,
}

impl Cache {
    pub fn new(folder: &Path, adapter: &wgpu::AdapterInfo) -> Self {
        let wgpu::AdapterInfo { name, backend, vendor, device, driver, driver_info, .. } = adapter;
        let version = env!("CARGO_PKG_VERSION");
        let identity = format!(
            "wgpu-cnn {version}, {name}, {backend:?} {vendor:04x}:{device:04x}, {driver} {driver_info}"
        );
        Cache { folder: folder.into(), identity }
    }

    /// What the files are good for: adapter, driver and version.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The file of this kind, which bears a checksum of the identity in its name.
    pub fn path(&self, kind: &str, extension: &str) -> PathBuf {
        self.folder.join(format!("{kind}-{:016x}.{extension}", checksum(self.identity.as_bytes())))
    }

    /// The content of a file, if there is one; with a warning where it cannot be read.
    pub fn read(path: &Path) -> Option<Vec<u8>> {
        match std::fs::read(path) {
            Ok(content) => Some(content),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => {
                tracing::warn!("{}: {e}; going on without it", path.display());
                None
            }
        }
    }

    /// Replaces a file, so that whoever reads it finds the old content or the new; with a warning where that fails.
    pub fn write(path: &Path, content: &[u8]) {
        if let Err(e) = replace(path, content) {
            tracing::warn!("{}: {e}; what it would hold is lost with this process", path.display());
        }
    }

    /// Puts the identity and a checksum before content that cannot tell by itself whether it is whole.
    pub fn seal(&self, content: &[u8]) -> Vec<u8> {
        let sum = checksum(&[self.identity.as_bytes(), content].concat());
        [MAGIC.as_slice(), &sum.to_le_bytes(), content].concat()
    }

    /// The content of a sealed file; `None` where it was damaged, or made for something else.
    pub fn unseal<'a>(&self, sealed: &'a [u8]) -> Option<&'a [u8]> {
        let content = sealed.get(16..)?;
        (self.seal(content) == sealed).then_some(content)
    }
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_extension(format!("{}-{count}.new", std::process::id()));
    let written = std::fs::write(&temporary, content).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// FNV-1a in 64 bits (draft-eastlake-fnv): against damage, not against malice.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(folder: &Path, identity: &str) -> Cache {
        Cache { folder: folder.into(), identity: identity.into() }
    }

    #[test]
    fn the_checksum_is_the_published_one() {
        // Vectors of the FNV draft.
        assert_eq!(checksum(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(checksum(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(checksum(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(&folder.path().join("not yet there"), "one");
        let path = cache.path("kind", "bin");
        assert_eq!(Cache::read(&path), None);
        Cache::write(&path, b"first and longer");
        Cache::write(&path, b"second");
        assert_eq!(Cache::read(&path).as_deref(), Some(b"second".as_slice()));
        let files = std::fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(files, 1, "temporary files stay behind");
    }

    #[test]
    fn what_cannot_be_written_is_lost_without_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a file");
        std::fs::write(&file, "").unwrap();
        let path = cache(&file, "one").path("kind", "bin");
        Cache::write(&path, b"content");
        assert_eq!(Cache::read(&path), None);
    }

    #[test]
    fn only_what_is_whole_and_ones_own_is_unsealed() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|identity| cache(folder.path(), identity));
        assert_ne!(one.path("kind", "bin"), other.path("kind", "bin"));
        let sealed = one.seal(b"content");
        assert_eq!(one.unseal(&sealed), Some(b"content".as_slice()));
        assert_eq!(other.unseal(&sealed), None);
        for len in 0..sealed.len() {
            assert_eq!(one.unseal(&sealed[..len]), None, "{len} bytes");
        }
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(one.unseal(&damaged), None, "byte {at}");
        }
    }
}
