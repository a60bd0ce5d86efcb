//! The rooms of the source tree: an operator stands under its name in each, and what only one room may know stays
//! there. No GPU is needed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use wgpu_cnn::ops::Op;

/// The folders that hold a file per operator, and the files in them that belong to none.
const ROOMS: [(&str, &[&str]); 4] = [
    ("src/ops", &["mod", "broadcast"]),
    ("src/cpu", &["aligned", "cores", "images", "layers", "mod", "plan", "vectors"]),
    ("src/gpu/ops", &["mod"]),
    ("tests/ops", &["main", "harness"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below a folder, relative to the root.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root().join(folder)).expect("a readable folder") {
        let entry = entry.expect("a readable entry");
        let path = Path::new(folder).join(entry.file_name());
        if entry.path().is_dir() {
            found.extend(sources(&path.to_string_lossy()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The operators' files that are missing from a room, and those that belong to no operator.
fn strays(room: &str, files: &BTreeSet<String>, others: &[&str]) -> Vec<String> {
    let operators: BTreeSet<_> = Op::NAMES.iter().map(|name| name.to_string()).collect();
    let missing = operators.difference(files).map(|name| format!("{room}/{name}.rs is missing"));
    let foreign = files
        .difference(&operators)
        .filter(|name| !others.contains(&name.as_str()))
        .map(|name| format!("{room}/{name}.rs belongs to no operator"));
    missing.chain(foreign).collect()
}

#[test]
fn every_operator_has_its_file_in_every_room() {
    let mut all = Vec::new();
    for (room, others) in ROOMS {
        let direct = sources(room).into_iter().filter(|path| path.parent() == Some(Path::new(room)));
        let names =
            direct.filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect();
        all.extend(strays(room, &names, others));
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn every_file_of_an_operators_tests_is_run() {
    let main = std::fs::read_to_string(root().join("tests/ops/main.rs")).unwrap();
    let lines: BTreeSet<_> = main.lines().collect();
    let idle: Vec<_> =
        Op::NAMES.iter().filter(|name| !lines.contains(format!("mod {name};").as_str())).collect();
    assert!(idle.is_empty(), "tests/ops/main.rs lacks {idle:?}");
}

#[test]
fn a_missing_and_a_foreign_file_are_seen() {
    let mut files: BTreeSet<_> = Op::NAMES.iter().map(|name| name.to_string()).collect();
    assert_eq!(strays("room", &files, &[]), Vec::<String>::new());
    files.remove("conv");
    files.insert("convolution".into());
    assert_eq!(
        strays("room", &files, &[]),
        ["room/conv.rs is missing", "room/convolution.rs belongs to no operator"]
    );
}

/// The lines of code (comments aside) in which a text stands, outside the places where it may.
fn mentions(text: &str, allowed: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for path in sources("src") {
        if allowed.iter().any(|place| path.starts_with(place)) {
            continue;
        }
        let source = std::fs::read_to_string(root().join(&path)).expect("a readable file");
        let lines = source
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim_start().starts_with("//") && line.contains(text));
        found.extend(lines.map(|(i, line)| format!("{}:{}: {}", path.display(), i + 1, line.trim())));
    }
    found
}

#[test]
fn only_the_gpu_room_names_wgpu() {
    // The public type that takes the caller's own device.
    let allowed = ["src/gpu", "src/device.rs"];
    let found = mentions("wgpu::", &allowed);
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(
        !mentions("wgpu::", &["src/gpu"]).is_empty(),
        "the search finds nothing where there is something"
    );
}

#[test]
fn only_the_onnx_room_names_protobuf() {
    let found = mentions("prost", &["src/onnx"]);
    assert!(found.is_empty(), "{}", found.join("\n"));
}
