//! Hostile files are refused without a panic, in bounded time and memory: the fuzz targets' corpus, and seeded random
//! mutations of it. A file of its own, for what the process holds is counted.

#[path = "../fuzz/targets.rs"]
mod targets;

#[path = "support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use support::random::Rng;
use wgpu_cnn::onnx::Model;

/// What one input may take. A mutation is at most a few kilobytes and what it describes is run only if it is small; a
/// machine that is busy and unoptimised code are allowed for.
const MOST_TIME: Duration = Duration::from_secs(10);
/// By how much the process may grow over everything: the allowance for computed constants, pictures and graphs that are
/// run, and what threads and the allocator keep. The hostile files ask for terabytes.
const MOST_RESIDENT: usize = 256 << 20;
const MOST_ADDRESSES: usize = 2 << 30;

/// Only one test at a time, for the memory of the whole process is looked at.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 10, "{} files in {}", files.len(), folder.display());
    let named = |path: PathBuf| {
        (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap())
    };
    files.into_iter().map(named).collect()
}

/// The most memory the process has held, and the most addresses, in bytes, where the system tells.
fn peaks() -> Option<(usize, usize)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let of = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse::<usize>().ok().map(|kib| kib << 10)
    };
    Some((of("VmHWM:")?, of("VmPeak:")?))
}

/// Runs a target on bytes and tells whether they were accepted. A panic passes through; it names the file by then.
fn timed(target: targets::Target, what: &str, data: &[u8]) -> bool {
    let start = Instant::now();
    let accepted = std::panic::catch_unwind(|| target(data)).unwrap_or_else(|_| {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz-panic");
        let _ = std::fs::write(&kept, data);
        panic!("{what} panics; the bytes are in {}", kept.display())
    });
    let taken = start.elapsed();
    assert!(taken < MOST_TIME, "{what} takes {taken:?}");
    accepted
}

/// A few random changes, of the kinds that break parsers.
fn mutate(rng: &mut Rng, data: &[u8], other: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    for _ in 0..1 + rng.range(0..4) {
        let at = rng.range(0..data.len() + 1);
        match rng.range(0..8) {
            0 => data.truncate(at),
            1 => data.insert(at, rng.next_u64() as u8),
            2 if at < data.len() => drop(data.remove(at)),
            3 if at < data.len() => data[at] ^= 1 << rng.range(0..8),
            4 if at < data.len() => data[at] = rng.pick(&[0, 1, 0x7f, 0x80, 0xff]),
            5 if at < data.len() => {
                let end = (at + rng.range(1..9)).min(data.len());
                data[at..end].fill(rng.pick(&[0, 0x80, 0xff]));
            }
            6 => {
                let part = data[at..(at + rng.range(0..32)).min(data.len())].to_vec();
                let to = rng.range(0..data.len() + 1);
                data.splice(to..to, part);
            }
            _ => {
                let from = rng.range(0..other.len() + 1);
                let part = &other[from..(from + rng.range(0..48)).min(other.len())];
                data.splice(at..at, part.iter().copied());
            }
        }
    }
    data.truncate(1 << 16);
    data
}

#[test]
fn the_corpus_and_its_mutations_are_harmless() {
    let _alone = alone();
    let mut before = None;
    for (name, target) in targets::ALL {
        let files = corpus(name);
        let mut wrong = Vec::new();
        for (file, data) in &files {
            let accepted = timed(target, &format!("{name}/{file}"), data);
            let expected = (file.starts_with("valid_"), file.starts_with("hostile_"));
            if (expected.0 && !accepted) || (expected.1 && accepted) {
                wrong.push(format!("{name}/{file} is {}", if accepted { "accepted" } else { "refused" }));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        // By now the thread pool is there.
        before = before.or_else(peaks);

        let mutations = if name == "picture" { 100 } else { 250 };
        let mut rng = Rng::new(11);
        for (file, data) in &files {
            for i in 0..mutations {
                let other = &files[rng.range(0..files.len())].1;
                let mutated = mutate(&mut rng, data, other);
                timed(target, &format!("{name}/{file}, mutation {i}"), &mutated);
            }
        }
    }
    if let (Some(before), Some(after)) = (before, peaks()) {
        let grown = (after.0 - before.0, after.1 - before.1);
        assert!(grown.0 < MOST_RESIDENT, "{} MiB more in memory", grown.0 >> 20);
        assert!(grown.1 < MOST_ADDRESSES, "{} MiB more addresses", grown.1 >> 20);
    }
}

/// As files in a folder, with weights beside them and a secret outside.
#[test]
fn external_data_stay_in_the_models_folder() {
    let _alone = alone();
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("model");
    std::fs::create_dir_all(folder.join("sub")).unwrap();
    std::fs::write(folder.join("weights.bin"), [0u8; 24]).unwrap();
    std::fs::write(outer.path().join("secret.bin"), [0u8; 24]).unwrap();
    let mut count = 0;
    for (name, data) in corpus("onnx_bytes").into_iter().filter(|(name, _)| name.contains("external_")) {
        let path = folder.join(&name);
        std::fs::write(&path, &data).unwrap();
        let accepted = Model::open(&path).is_ok_and(|model| targets::import(&model));
        assert_eq!(accepted, !name.starts_with("hostile_"), "{name}");
        count += 1;
    }
    assert!(count > 5);
}

#[test]
fn a_panic_and_what_is_held_are_seen() {
    let _alone = alone();
    assert!(timed(|_| true, "nothing", &[]));
    let caught = std::panic::catch_unwind(|| timed(|data| data[0] == 0, "an index", &[]));
    let text = *caught.unwrap_err().downcast::<String>().unwrap();
    assert!(text.starts_with("an index panics"), "{text}");
    if let (Some(before), true) = (peaks(), cfg!(target_os = "linux")) {
        let held = std::hint::black_box(vec![1u8; 64 << 20]);
        assert!(peaks().unwrap().0 > before.0, "{} bytes are not seen", held.len());
    }
}
