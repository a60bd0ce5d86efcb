//! The ONNX suite: the official backend tests, random graphs and whole networks against
//! onnxruntime, and published figures, on both backends. What is tested and how is Python, in
//! tests/onnx; this prepares an environment and the data once and runs the lists.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::step::{self, Steps, command};

/// Runs everything, on both backends even where one fails. The command line must have been built
/// and a GPU adapter be there.
pub fn run(steps: &mut Steps) -> Result<()> {
    let suite = Suite::new()?;
    steps.run("onnx environment", || suite.environment())?;
    steps.run("onnx data", || suite.data())?;
    let results = [
        steps.run("onnx driver", || suite.driver_can_fail()),
        steps.run("onnx figures", || suite.figures()),
        steps.run("onnx on the CPU", || suite.conformance("cpu")),
        steps.run("onnx on the GPU", || suite.conformance("gpu")),
        steps.run("onnx written", || suite.exported()),
    ];
    results.into_iter().collect()
}

const SCRIPTS: &str = "tests/onnx";
const ADVICE: &str = "no Python 3.11 or newer that makes environments: install python3 and python3-venv";

/// Where things lie, as absolute paths.
struct Suite {
    scripts: PathBuf,
    /// The Python environment.
    environment: PathBuf,
    /// The cases and their lists.
    data: PathBuf,
    /// The command line, which cargo puts beside this program.
    program: PathBuf,
}

impl Suite {
    fn new() -> Result<Suite> {
        let this = std::env::current_exe()?;
        let target = this.ancestors().nth(2).context("this program is not in a target directory")?;
        Ok(Suite {
            scripts: step::root().join(SCRIPTS),
            environment: target.join("onnx-venv"),
            data: target.join("onnx-data"),
            program: this.with_file_name(format!("wgpu-cnn{}", std::env::consts::EXE_SUFFIX)),
        })
    }

    /// The environment with the packages of requirements.txt, made where it is missing or old.
    fn environment(&self) -> Result<()> {
        once(&self.environment, &self.contents(&["requirements.txt"])?, || {
            let python = python().context(ADVICE)?;
            let mut venv = Command::new(python);
            step::run(venv.args(["-m", "venv", "--clear"]).arg(&self.environment)).context(ADVICE)?;
            let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
            step::run(self.python().args(pip).arg(self.scripts.join("requirements.txt")))
        })
    }

    /// All cases, written where they are missing or older than what writes them.
    fn data(&self) -> Result<()> {
        let writers =
            ["requirements.txt", "prepare_data.py", "generated.py", "networks.py", "make_models.py"];
        once(&self.data, &self.contents(&writers)?, || {
            for script in [&["prepare_data.py"][..], &["generated.py"], &["networks.py", "write"]] {
                step::run(self.script(script).arg("--out").arg(&self.data))?;
            }
            Ok(())
        })
    }

    /// The official lists, and our own, on one backend.
    fn conformance(&self, device: &str) -> Result<()> {
        let official = step::run(
            self.driver(device)
                .args(["--min", "core=429", "--min", "models=128"])
                .args([self.scripts.join("core.txt"), self.scripts.join("models.txt")]),
        );
        let own = step::run(
            self.exact(device).args(["generated.txt", "networks.txt"].map(|name| self.data.join(name))),
        );
        official.and(own)
    }

    /// Cases whose expected outputs are wrong by more than their tolerance: none may pass.
    fn driver_can_fail(&self) -> Result<()> {
        let list = self.data.join("spoiled.txt");
        let count = fs::read_to_string(&list)?.lines().count();
        let output = step::output(self.exact("cpu").args(["--min", "spoiled=0"]).arg(list))?;
        let want = format!("conformance: 0/{count} spoiled");
        let noticed = output.lines().filter(|line| line.contains(": 1/") && line.contains("elements differ"));
        let right = noticed.count() == count && output.lines().last() == Some(&want);
        ensure!(count > 0 && right, "not `{want}` for one wrong number in each:\n{output}");
        println!("{want}");
        Ok(())
    }

    fn figures(&self) -> Result<()> {
        let mut figures = self.script(&["networks.py", "figures"]);
        step::run(figures.arg("--data").arg(&self.data).arg("--prog").arg(&self.program))
    }

    /// Networks and single operators written as ONNX, which onnxruntime must compute alike.
    fn exported(&self) -> Result<()> {
        // The test writes a file for each operator and attribute.
        step::run(&mut step::cargo("test --quiet --workspace --test export"))?;
        let cases = self.data.with_file_name("tmp").join("export");
        let mut exported = self.script(&["exported.py"]);
        step::run(exported.arg("--prog").arg(&self.program).arg("--cases").arg(cases))
    }

    /// The driver on one backend, without lists.
    fn driver(&self, device: &str) -> Command {
        let jobs = std::thread::available_parallelism().map_or(1, |n| n.get().min(4)).to_string();
        let mut driver = self.script(&["run_conformance.py"]);
        driver.arg("--data").arg(&self.data).arg("--prog").arg(&self.program);
        driver.args(["--batch", "--timeout", "300", "--device", device, "--jobs", &jobs]);
        driver
    }

    /// The driver, with each case's own tolerance as the whole one.
    fn exact(&self, device: &str) -> Command {
        let mut driver = self.driver(device);
        driver.args(["--rtol", "0", "--atol", "0"]);
        driver
    }

    fn script(&self, words: &[&str]) -> Command {
        let (name, arguments) = words.split_first().unwrap_or((&"", &[]));
        let mut python = self.python();
        python.arg(self.scripts.join(name)).args(arguments);
        python
    }

    /// The environment's Python.
    fn python(&self) -> Command {
        let program = if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" };
        let mut python = Command::new(self.environment.join(program));
        python.env("PYTHONDONTWRITEBYTECODE", "1"); // the scripts' folder stays as it is
        python
    }

    fn contents(&self, names: &[&str]) -> Result<String> {
        let read = |name: &&str| {
            let file = self.scripts.join(name);
            fs::read_to_string(&file).with_context(|| file.display().to_string())
        };
        names.iter().map(read).collect()
    }
}

/// The system's Python, if it is new enough and can make environments.
fn python() -> Option<&'static str> {
    let check = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))";
    ["python3", "python"].into_iter().find(|name| {
        let status = command(name).args(["-c", check]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    })
}

/// Does `work`, which fills `folder`, unless it was done before from the same `source`.
fn once(folder: &Path, source: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let stamp = folder.join("made-from");
    if fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == source) {
        return Ok(());
    }
    work()?;
    fs::write(&stamp, source).with_context(|| stamp.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::once;

    #[test]
    fn work_is_done_once_for_each_source() {
        let folder = std::env::temp_dir().join(format!("xtask-once-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let done = Cell::new(0);
        let count = || {
            done.set(done.get() + 1);
            Ok(())
        };
        for (source, total) in [("a", 1), ("a", 1), ("b", 2)] {
            once(&folder, source, count).unwrap();
            assert_eq!(done.get(), total, "{source}");
        }
        assert!(once(&folder, "c", || anyhow::bail!("no")).is_err());
        once(&folder, "c", count).unwrap();
        assert_eq!(done.get(), 3);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
