//! The release tests, benches and command line in one folder, for a machine that has a GPU and no Rust.

use std::collections::BTreeMap;
use std::env::consts::EXE_SUFFIX;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::step::{self, cargo, command};

const NAME: &str = "wgpu-cnn-bundle";

/// `run.sh`, with `@SKIP@` for the options that leave out library tests.
const RUN: &str = include_str!("run.sh");

/// Builds and packs `target/bundle/wgpu-cnn-bundle.tar.gz`.
///
/// Programs that take a path from cargo when they are compiled read or write the source tree, which is not there where
/// the bundle runs: such test binaries stay out, and such modules' tests of the library are skipped by `run.sh`. Both
/// are printed.
pub fn bundle() -> Result<()> {
    let build = "build --release --package wgpu-cnn --package wgpu-cnn-cli --bins --tests --benches \
                 --message-format=json-render-diagnostics";
    let messages = step::output(&mut cargo(build))?;
    let programs = messages.lines().filter_map(Program::parse).collect::<Vec<_>>();

    let root = root()?;
    let target = root.join("target/bundle");
    let folder = target.join(NAME);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    for room in ["bin", "tests", "benches", "assets"] {
        fs::create_dir_all(folder.join(room))?;
    }
    for program in &programs {
        if program.room == "tests" && program.name != "library" && takes_path(&program.source)? {
            eprintln!("left out: test {}, which needs the source tree", program.name);
            continue;
        }
        let file = folder.join(program.room).join(format!("{}{EXE_SUFFIX}", program.name));
        fs::copy(&program.file, &file).with_context(|| program.file.display().to_string())?;
    }
    copy(&root.join("assets"), &folder.join("assets"))?;

    let skip: Vec<String> = modules(&root.join("src"))?
        .into_iter()
        .filter_map(|(module, file)| {
            let takes = takes_path_itself(&file).ok()?;
            takes.then(|| format!("--skip {module}::"))
        })
        .collect();
    if !skip.is_empty() {
        eprintln!("left out of the library's tests: {}", skip.join(" "));
    }
    let script = folder.join("run.sh");
    fs::write(&script, RUN.replace("@SKIP@", &skip.join(" ")))?;
    executable(&script)?;

    let archive = target.join(format!("{NAME}.tar.gz"));
    step::run(command("tar -czf").arg(&archive).arg("-C").arg(&target).arg(NAME))?;
    eprintln!("{}: {:.1} MiB", archive.display(), fs::metadata(&archive)?.len() as f64 / f64::from(1 << 20));
    Ok(())
}

fn root() -> Result<PathBuf> {
    Ok(Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace's root")?.to_path_buf())
}

/// A program that cargo built: where it belongs in the bundle, and what it was built from.
#[derive(Debug, PartialEq)]
struct Program {
    room: &'static str,
    name: String,
    file: PathBuf,
    source: PathBuf,
}

impl Program {
    /// The program that one of cargo's messages tells of, if the bundle has a place for it.
    fn parse(message: &str) -> Option<Self> {
        let message: Value = serde_json::from_str(message).ok()?;
        let file = message["executable"].as_str()?;
        let target = &message["target"];
        let name = target["name"].as_str()?;
        let (room, name) = match (target["kind"][0].as_str()?, message["profile"]["test"].as_bool()?) {
            ("bin", false) => ("bin", name),
            ("bench", _) => ("benches", name),
            ("test", _) => ("tests", name),
            ("lib", true) => ("tests", "library"),
            _ => return None,
        };
        Some(Program {
            room,
            name: name.into(),
            file: file.into(),
            source: target["src_path"].as_str()?.into(),
        })
    }
}

/// Whether a source file, or one beside a `main.rs`, takes a path from cargo when it is compiled.
fn takes_path(source: &Path) -> Result<bool> {
    let mut files = vec![source.to_path_buf()];
    if source.file_name().is_some_and(|name| name == "main.rs") {
        let folder = source.parent().context("a source file without a folder")?;
        files.extend(modules(folder)?.into_values());
    }
    for file in files {
        if takes_path_itself(&file)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn takes_path_itself(file: &Path) -> Result<bool> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let paths = ["CARGO_MANIFEST_DIR", "CARGO_TARGET_TMPDIR", "CARGO_BIN_EXE_"];
    Ok(paths.iter().any(|path| text.contains(&format!("env!(\"{path}"))))
}

/// The modules below a folder of sources and their files.
fn modules(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut modules = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            for (inner, file) in self::modules(&path)? {
                let module = if inner == "mod" { name.clone() } else { format!("{name}::{inner}") };
                modules.insert(module, file);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            modules.insert(name, path);
        }
    }
    Ok(modules)
}

/// Copies what is in a folder into another.
fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&to)?;
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

#[cfg(unix)]
fn executable(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(file, fs::Permissions::from_mode(0o755))?)
}

#[cfg(not(unix))]
fn executable(_: &Path) -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_go_to_their_rooms() {
        let place = |kind: &str, test: bool| {
            let message = format!(
                r#"{{"reason": "compiler-artifact", "executable": "/t/x-1", "profile": {{"test": {test}}},
                "target": {{"kind": ["{kind}"], "name": "x", "src_path": "/there/x.rs"}}}}"#
            );
            Program::parse(&message).map(|program| (program.room, program.name))
        };
        assert_eq!(place("test", true), Some(("tests", "x".into())));
        assert_eq!(place("lib", true), Some(("tests", "library".into())));
        assert_eq!(place("bench", true), Some(("benches", "x".into())));
        assert_eq!(place("bin", false), Some(("bin", "x".into())));
        assert_eq!(place("bin", true), None);
        assert_eq!(Program::parse("{\"reason\": \"build-finished\"}"), None);
    }

    #[test]
    fn tests_that_need_the_source_tree_are_told_from_others() {
        let tests = root().unwrap().join("tests");
        assert!(takes_path(&tests.join("rooms.rs")).unwrap());
        assert!(!takes_path(&tests.join("device.rs")).unwrap());
        assert!(!takes_path(&tests.join("ops/main.rs")).unwrap());
    }

    #[test]
    fn modules_have_the_names_that_tests_are_filtered_by() {
        let modules = modules(&root().unwrap().join("src")).unwrap();
        for module in ["picture", "cpu::conv", "cpu"] {
            assert!(modules.contains_key(module), "{module}");
        }
    }
}
