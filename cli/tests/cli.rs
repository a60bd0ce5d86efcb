//! The built command line, run as a user runs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// What a run of the command line printed, and how it ended.
struct Run {
    stdout: String,
    stderr: String,
    code: Option<i32>,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let run = Run {
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            code: output.status.code(),
        };
        assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
        run
    }
}

impl Run {
    /// What was printed by a run that went well.
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }

    /// The JSON lines printed by a run that went well; there was nothing else on stdout.
    #[track_caller]
    fn json(self) -> Vec<Value> {
        self.ok().lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// A failure told in one line, which contains each of `parts`.
    #[track_caller]
    fn fails_with(&self, parts: &[&str]) {
        assert_eq!(self.code, Some(1), "{}{}", self.stdout, self.stderr);
        let errors: Vec<_> = self.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "{}", self.stderr);
        for part in parts {
            assert!(errors[0].contains(part), "no '{part}' in: {}", errors[0]);
        }
    }
}

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_wgpu-cnn"));
    // Without it Mesa's device selection prints an `error: ` line of its own.
    program.env("XDG_RUNTIME_DIR", std::env::temp_dir());
    program
}

fn cli(args: &[&str]) -> Run {
    program().args(args).output().unwrap().into()
}

fn digits() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/digits/images")
}

/// The path of a digit that a writer meant as a 2.
fn a_two() -> String {
    digits().join("digit-0000-is-2.png").display().to_string()
}

/// The keys of a JSON object, sorted.
fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn sorted<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names
}

#[test]
fn devices_end_with_the_cpu_backend() {
    let devices = cli(&["devices", "--json"]).json();
    for device in &devices {
        assert_eq!(keys(device), sorted(&["name", "backend", "kind", "driver"]));
        assert!(device["name"].is_string() && device["driver"].is_string());
    }
    let backends: Vec<_> = devices.iter().map(|d| d["backend"].as_str().unwrap()).collect();
    assert_eq!(backends.iter().filter(|b| **b == "cpu").count(), 1);
    assert_eq!(backends.last(), Some(&"cpu"));
    assert_eq!(devices.last().unwrap()["kind"], "Cpu");

    let table = cli(&["devices"]).ok();
    assert!(devices.iter().all(|d| table.contains(d["name"].as_str().unwrap())), "{table}");
}

/// All bundled digits, each read as what its name says.
fn reads_the_digits(device: &str) {
    let folder = digits().display().to_string();
    let lines = cli(&["run", "lenet5", &folder, "--device", device, "--json"]).json();
    assert_eq!(lines.len(), 20);
    for line in &lines {
        assert_eq!(keys(line), sorted(&["image", "device", "top"]));
        let image = line["image"].as_str().unwrap();
        let truth = image.strip_suffix(".png").unwrap().rsplit('-').next().unwrap();
        let top = line["top"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        assert_eq!(keys(&top[0]), sorted(&["index", "label", "probability"]));
        assert_eq!(top[0]["label"], truth, "{line}");
        assert_eq!(top[0]["index"].to_string(), truth);
        let probabilities: Vec<_> = top.iter().map(|class| class["probability"].as_f64().unwrap()).collect();
        assert!(probabilities.is_sorted_by(|a, b| a >= b), "{line}");
        assert!(probabilities[0] <= 1. && probabilities[2] >= 0., "{line}");
    }
}

#[test]
fn reads_the_digits_on_the_cpu() {
    reads_the_digits("cpu");
}

#[test]
fn reads_the_digits_on_the_gpu() {
    reads_the_digits("gpu");
}

#[test]
fn all_probabilities_sum_to_one() {
    let lines = cli(&["run", "lenet5", &a_two(), "--device", "cpu", "--json", "--top", "99"]).json();
    let top = lines[0]["top"].as_array().unwrap();
    assert_eq!(top.len(), 10);
    let sum: f64 = top.iter().map(|class| class["probability"].as_f64().unwrap()).sum();
    assert!((sum - 1.).abs() < 1e-5, "{sum}");
}

#[test]
fn run_says_where_it_ran_and_how_long_it_took() {
    let text = cli(&["run", "lenet5", &a_two(), "--device", "cpu", "--top", "1"]).ok();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].contains("digit-0000-is-2.png  2 ") && lines[0].ends_with(" %"), "{text}");
    assert!(lines.iter().any(|l| l.starts_with("device: ") && l.contains("CPU backend")), "{text}");
    for what in ["time to first result: ", "time per image: "] {
        let line = lines.iter().find(|line| line.starts_with(what)).expect(&text);
        let (number, rest) = line[what.len()..].split_once(' ').unwrap();
        assert!(number.parse::<f64>().unwrap() > 0. && rest.starts_with("ms "), "{line}");
    }
}

#[test]
fn labels_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("labels.txt");
    let run =
        || cli(&["run", "lenet5", &a_two(), "--device", "cpu", "--json", "--labels", file.to_str().unwrap()]);
    fs::write(&file, "zero\none\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\n").unwrap();
    assert_eq!(run().json()[0]["top"][0]["label"], "two");
    fs::write(&file, "zero\none\n").unwrap();
    run().fails_with(&["labels.txt", "2 labels for 10 classes"]);
    fs::remove_file(&file).unwrap();
    run().fails_with(&["labels.txt"]);
}

#[test]
fn a_broken_picture_is_named_and_the_others_are_classified() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(a_two()).unwrap();
    fs::write(folder.path().join("a.png"), &whole[..whole.len() / 2]).unwrap();
    let args = ["run", "lenet5", folder.path().to_str().unwrap(), "--device", "cpu"];
    let run = cli(&args);
    run.fails_with(&["a.png"]);
    assert_eq!(run.stdout, "");

    fs::write(folder.path().join("b.png"), &whole).unwrap();
    let run = cli(&args);
    run.fails_with(&["a.png"]);
    assert!(run.stdout.contains("b.png  2 "), "{}", run.stdout);

    fs::write(folder.path().join("a.png"), "no picture at all").unwrap();
    cli(&args).fails_with(&["a.png"]);
}

#[test]
fn folders_and_files_that_hold_no_picture() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    cli(&["run", "lenet5", path, "--device", "cpu"]).fails_with(&[path]);
    let missing = folder.path().join("missing.png");
    let missing = missing.to_str().unwrap();
    cli(&["run", "lenet5", missing, "--device", "cpu"]).fails_with(&[missing]);
}

#[test]
fn an_unknown_network_lists_those_there_are() {
    for args in [&["run", "lenet", "x.png"][..], &["inspect", "lenet"], &["bench", "lenet"]] {
        cli(args).fails_with(&["'lenet'", "lenet5", "resnet50"]);
    }
}

#[test]
fn an_unknown_device_lists_those_there_are() {
    let there = cli(&["devices", "--json"]).json();
    let mut parts = vec!["'no such adapter'", "--device cpu"];
    parts.extend(there.iter().map(|device| device["name"].as_str().unwrap()));
    cli(&["run", "lenet5", &a_two(), "--device", "no such adapter"]).fails_with(&parts);
    cli(&["bench", "lenet5", "--device", "cpu", "--device", "no such adapter"]).fails_with(&parts);
    cli(&["run", "lenet5", &a_two(), "--device", ""]).fails_with(&["''"]);
}

#[test]
fn inspect_lists_layers_and_totals() {
    let report = cli(&["inspect", "lenet5", "--json"]).json().remove(0);
    assert_eq!(keys(&report), sorted(&["model", "layers", "parameters", "macs"]));
    assert_eq!(
        (&report["model"], &report["parameters"], &report["macs"]),
        (&"lenet5".into(), &61706.into(), &416520.into())
    );
    let layers = report["layers"].as_array().unwrap();
    for layer in layers {
        assert_eq!(keys(layer), sorted(&["name", "op", "output", "parameters", "macs", "receptive_field"]));
        if !layer["receptive_field"].is_null() {
            assert_eq!(keys(&layer["receptive_field"]), sorted(&["size", "stride", "padding"]));
        }
    }
    let first = &layers[0];
    assert_eq!(first["op"], "conv");
    assert_eq!(first["output"], serde_json::json!([1, 6, 28, 28]));
    assert_eq!((&first["parameters"], &first["macs"]), (&156.into(), &117_600.into()));
    let field = serde_json::json!({"size": [5, 5], "stride": [1, 1], "padding": [0, 0]});
    assert_eq!(first["receptive_field"], field);

    let text = cli(&["inspect", "lenet5"]).ok();
    assert!(text.contains("\nlenet5, batch 1: 61706 parameters, 416520 MACs\n"), "{text}");
    assert!(layers.iter().all(|layer| text.contains(layer["name"].as_str().unwrap())), "{text}");
}

#[test]
fn inspect_counts_the_whole_batch() {
    let report = cli(&["inspect", "lenet5", "--json", "--batch", "3"]).json().remove(0);
    assert_eq!((&report["parameters"], &report["macs"]), (&61706.into(), &(3 * 416520).into()));
    assert_eq!(report["layers"][0]["output"][0], 3);
}

#[test]
fn inspect_knows_every_network() {
    for name in wgpu_cnn::zoo::NAMES {
        assert!(cli(&["inspect", name]).ok().contains(" parameters, "));
    }
}

const BENCH_FIELDS: [&str; 13] = [
    "model",
    "device",
    "backend",
    "batch",
    "runs",
    "compile_ms",
    "first_ms",
    "median_ms",
    "min_ms",
    "images_per_s",
    "gflops",
    "weights_bytes",
    "peak_activation_bytes",
];

#[test]
fn bench_measures_the_gpu_and_the_cpu() {
    let lines = cli(&["bench", "lenet5", "--batch", "2", "--runs", "3", "--json"]).json();
    let backends: Vec<_> = lines.iter().map(|line| line["backend"].as_str().unwrap()).collect();
    assert!(matches!(backends[..], ["Vulkan" | "Metal" | "Dx12", "cpu"]), "{backends:?}");
    for line in &lines {
        assert_eq!(keys(line), sorted(&BENCH_FIELDS));
        assert_eq!((&line["model"], &line["batch"], &line["runs"]), (&"lenet5".into(), &2.into(), &3.into()));
        let number = |field: &str| line[field].as_f64().expect(field);
        assert!(BENCH_FIELDS[5..].iter().all(|field| number(field) > 0.), "{line}");
        assert!(number("min_ms") <= number("median_ms"));
        let close = |a: f64, b: f64| (a / b - 1.).abs() < 1e-9;
        assert!(close(number("images_per_s"), 2e3 / number("median_ms")));
        assert!(close(number("gflops"), 2. * 2. * 416520e-6 / number("median_ms")));
    }
    let weights = 4. * 61706.;
    assert!(lines.iter().all(|line| line["weights_bytes"].as_f64().unwrap() >= weights));
}

#[test]
fn bench_measures_the_devices_asked_for() {
    let args = ["bench", "lenet5", "--runs", "3", "--device", "cpu", "--device", "cpu"];
    assert_eq!(cli(&[&args[..], &["--json"]].concat()).json().len(), 2);
    let table = cli(&args).ok();
    assert!(table.starts_with("| lenet5, batch 1, 3 runs "), "{table}");
    for row in ["compile, ms", "first run, ms", "median run, ms", "images/s", "GFLOP/s", "weights, MiB"] {
        let line = table.lines().find(|line| line.starts_with(&format!("| {row} "))).expect(row);
        let cells: Vec<f64> = line.split('|').skip(2).filter_map(|cell| cell.trim().parse().ok()).collect();
        assert!(cells.len() == 2 && cells.iter().all(|&cell| cell > 0.), "{line}");
    }
}

#[test]
fn a_batch_past_the_device_is_refused() {
    for device in ["cpu", "gpu"] {
        let args = ["bench", "lenet5", "--batch", "1000000000000", "--device", device];
        cli(&args).fails_with(&["smaller batch"]);
    }
    let most = usize::MAX.to_string();
    cli(&["bench", "lenet5", "--batch", &most, "--device", "cpu"]).fails_with(&["smaller batch"]);
    cli(&["inspect", "lenet5", "--batch", &most]).fails_with(&["smaller batch"]);
}

#[test]
fn wrong_usage_is_told_apart() {
    let wrong: [&[&str]; 8] = [
        &[],
        &["walk"],
        &["run", "lenet5"],
        &["run", "lenet5", "x.png", "--top", "0"],
        &["bench", "lenet5", "--batch", "0"],
        &["bench", "lenet5", "--runs", "0"],
        &["bench", "lenet5", "--batch", "-1"],
        &["inspect", "lenet5", "--batch", "0"],
    ];
    for args in wrong {
        let run = cli(args);
        assert_eq!(run.code, Some(2), "{args:?}: {}", run.stderr);
        assert!(run.stdout.is_empty() && !run.stderr.is_empty());
    }
}

#[test]
fn help_names_the_networks() {
    let help = cli(&["run", "--help"]).ok();
    assert!(wgpu_cnn::zoo::NAMES.iter().all(|name| help.contains(name)), "{help}");
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let mut child = program()
        .args(["inspect", "resnet50"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let run = Run::from(child.wait_with_output().unwrap());
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
}
