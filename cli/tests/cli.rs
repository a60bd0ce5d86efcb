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
    // Tests leave nothing in the user's folders.
    program.env("WGPU_CNN_CACHE", "off");
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
        assert_eq!(keys(line), sorted(&["image", "device", "preprocess", "top"]));
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
    let fields =
        ["model", "layers", "parameters", "macs", "layers_after_passes", "cpu_only", "device", "memory"];
    assert_eq!(keys(&report), sorted(&fields));
    assert!(report["layers_after_passes"].as_u64() < Some(report["layers"].as_array().unwrap().len() as u64));
    assert_eq!(report["cpu_only"], serde_json::json!([]));
    let memory = |field: &str| report["memory"][field].as_u64().expect(field);
    assert!(memory("weights") >= 4 * 61706);
    assert!(memory("activations_lower_bound") > 4 * 6 * 28 * 28);
    assert!(memory("peak_activations") >= memory("activations_lower_bound"));
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
fn inspect_says_what_the_passes_and_the_device_make_of_it() {
    let text = cli(&["inspect", "lenet5"]).ok();
    for part in ["\npasses: 12 layers as written, ", "\nmemory on ", "peak activations ", "lower bound "] {
        assert!(text.contains(part), "no '{part}' in: {text}");
    }
    assert!(text.contains("\nlayers that run on the CPU alone: none"), "{text}");
    cli(&["inspect", "lenet5", "--device", "no such adapter"]).fails_with(&["'no such adapter'"]);
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

/// A file among the tests' data.
fn data(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name).display().to_string()
}

#[test]
fn what_was_done_to_the_pixels_is_said() {
    let applied = |model: &str, more: &[&str]| {
        let picture = a_two();
        let args = [&["run", model, &picture, "--device", "cpu", "--json"], more].concat();
        cli(&args).json().remove(0)["preprocess"].clone()
    };
    assert_eq!(applied("lenet5", &[]), serde_json::json!({"mean": [0.], "std": [1.], "crop": 1.}));
    assert_eq!(applied("lenet5", &["--mean", "-1", "--std", "2"])["mean"], serde_json::json!([-1.]));
    let numbers = |value: &Value| -> Vec<f32> {
        value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
    };
    let imagenet = applied("squeezenet1_1", &[]);
    assert_eq!(numbers(&imagenet["mean"]), [0.485, 0.456, 0.406]);
    assert_eq!(numbers(&imagenet["std"]), [0.229, 0.224, 0.225]);
    assert_eq!(imagenet["crop"], 0.875);
    let own = applied(&data("tiny.onnx"), &["--mean", "0.5,0.25,0", "--std", "1,2,3"]);
    assert_eq!((numbers(&own["mean"]), numbers(&own["std"])), (vec![0.5, 0.25, 0.], vec![1., 2., 3.]));

    let text = cli(&["run", &data("tiny.onnx"), &a_two(), "--device", "cpu"]).ok();
    let line = text.lines().find(|line| line.starts_with("preprocessing: ")).expect(&text);
    assert!(
        line.contains("8x8") && line.contains("mean 0.485,0.456,0.406") && line.contains("crop 0.875"),
        "{line}"
    );
}

#[test]
fn the_pixels_decide() {
    let top = |more: &[&str]| {
        let (tiny, picture) = (data("tiny.onnx"), a_two());
        let args = ["run", &tiny, &picture, "--device", "cpu", "--json", "--top", "5"];
        cli(&[&args, more].concat()).json().remove(0)["top"].clone()
    };
    let usual = top(&[]);
    assert_eq!(usual, top(&["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"]));
    assert_ne!(usual, top(&["--mean", "0.485,0.456,0.9"]));
    let sum: f64 = usual.as_array().unwrap().iter().map(|class| class["probability"].as_f64().unwrap()).sum();
    assert!((sum - 1.).abs() < 1e-5, "a softmax was taken for scores: {usual}");
}

#[test]
fn a_wrong_count_of_means_or_deviations_is_refused() {
    let run =
        |model: &str, more: &[&str]| cli(&[&["run", model, &a_two(), "--device", "cpu"], more].concat());
    run("lenet5", &["--mean", "0.4,0.4,0.4"]).fails_with(&["--mean has 3 numbers", "1 channels"]);
    run(&data("tiny.onnx"), &["--std", "0.2,0.2"]).fails_with(&["--std has 2 numbers", "3 channels"]);
    run(&data("tiny.onnx"), &["--mean", "0.2"]).fails_with(&["--mean has 1 numbers", "3 channels"]);
    run("lenet5", &["--std", "0"]).fails_with(&["--std"]);
    run("lenet5", &["--mean", "nan"]).fails_with(&["--mean"]);
    assert_eq!(run("lenet5", &["--mean", "red"]).code, Some(2));
}

#[test]
fn an_onnx_model_that_cannot_be_imported_gives_all_reasons() {
    let file = data("unsupported.onnx");
    let nodes = ["determinant", "frobnicated", "too_deep"];
    let reasons = [&nodes[..], &["Det", "com.example", "Frobnicate", "channels"]].concat();
    cli(&["run", &file, &a_two(), "--device", "cpu"]).fails_with(&reasons[..6]);
    for command in ["verify", "bench"] {
        cli(&[command, &file]).fails_with(&nodes);
    }

    let run = cli(&["inspect", &file]);
    run.fails_with(&["unsupported.onnx", "3 of its nodes"]);
    assert_eq!(run.stdout.lines().count(), 2 + 3, "{}", run.stdout);
    assert!(reasons[..6].iter().all(|reason| run.stdout.contains(reason)), "{}", run.stdout);

    let run = cli(&["inspect", &file, "--json"]);
    assert_eq!(run.code, Some(1));
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let unsupported = report["unsupported"].as_array().unwrap();
    assert_eq!(unsupported.iter().map(|u| u["node"].as_str().unwrap()).collect::<Vec<_>>(), nodes);
    assert_eq!(keys(&unsupported[0]), sorted(&["node", "op", "domain", "opset", "reason"]));
}

#[test]
fn a_hostile_onnx_file_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hostile.onnx");
    let path = file.to_str().unwrap();
    let whole = fs::read(data("tiny.onnx")).unwrap();
    let mut damaged = whole.clone();
    damaged.iter_mut().step_by(7).for_each(|byte| *byte ^= 0x55);
    for bytes in [&b""[..], b"not a model", &whole[..whole.len() / 2], &damaged, &[0xff; 4096]] {
        fs::write(&file, bytes).unwrap();
        for args in [&["inspect", path][..], &["verify", path], &["run", path, &a_two(), "--device", "cpu"]] {
            cli(args).fails_with(&["hostile.onnx"]);
        }
    }
    fs::remove_file(&file).unwrap();
    cli(&["inspect", path]).fails_with(&["hostile.onnx"]);
}

/// What `verify` says of a model that it finds right.
fn verified(args: &[&str]) -> Value {
    let report = cli(&[&["verify", "--json"], args].concat()).json().remove(0);
    assert_eq!(keys(&report), sorted(&["model", "device", "reference", "layers", "outputs", "passed"]));
    assert_eq!(report["passed"], true);
    for line in report["layers"].as_array().unwrap().iter().chain(report["outputs"].as_array().unwrap()) {
        assert_eq!(keys(line), sorted(&["name", "op", "error", "bound", "of_bound", "source"]));
        let number = |field: &str| line[field].as_f64().expect(field);
        assert!(number("of_bound") <= 1. && number("error") >= 0., "{line}");
        let exact = line["source"] == "exact: bit for bit";
        assert!(if exact { number("error") == 0. } else { number("bound") > 0. }, "{line}");
        // A bound that says something: the values are about 1.
        assert!(number("bound") < 1e-2, "{line}");
    }
    report
}

#[test]
fn verify_finds_lenet5_right() {
    let report = verified(&["lenet5", "--batch", "2"]);
    assert_eq!(report["layers"].as_array().unwrap().len(), 12);
    assert_eq!(report["outputs"].as_array().unwrap().len(), 1);
    // After the passes activations are part of the layers before them.
    assert!(verified(&["lenet5", "--passes"])["layers"].as_array().unwrap().len() < 12);

    let text = cli(&["verify", "lenet5"]).ok();
    assert!(text.contains("\nverified: ") && text.contains("| conv1 "), "{text}");
}

#[test]
fn verify_finds_an_onnx_model_right() {
    let report = verified(&[&data("tiny.onnx")]);
    let ops: Vec<_> =
        report["layers"].as_array().unwrap().iter().map(|layer| layer["op"].as_str().unwrap()).collect();
    for op in ["conv", "batch_norm", "activation", "pool", "lrn", "normalize", "binary", "conv_transpose"] {
        assert!(ops.contains(&op), "{ops:?}");
    }
    assert_ne!(report["layers"], verified(&[&data("tiny.onnx"), "--seed", "1"])["layers"]);
    verified(&[&data("tiny.onnx"), "--passes", "--batch", "3"]);
}

#[test]
fn verify_takes_a_given_input() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("zeros.npy");
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1, 32, 32), }";
    bytes.extend(format!("{header:<117}\n").bytes());
    bytes.resize(128 + 4 * 2 * 32 * 32, 0);
    fs::write(&file, bytes).unwrap();
    let input = |name: &str| format!("{name}={}", file.display());
    let report = verified(&["lenet5", "--input", &input("input")]);
    // Of zeros the first layer leaves its bias, without an error.
    assert_eq!(report["layers"][0]["error"], 0.);
    cli(&["verify", "lenet5", "--input", &input("picture")]).fails_with(&["'picture'", "input"]);
    cli(&["verify", &data("tiny.onnx"), "--input", &input("image")]).fails_with(&["image"]);
    assert_eq!(cli(&["verify", "lenet5", "--input", "zeros.npy"]).code, Some(2));
}

#[test]
fn verify_needs_something_to_compare() {
    cli(&["verify", "lenet5", "--device", "cpu"]).fails_with(&["'cpu'", "CPU backend"]);
    cli(&["verify", "lenet5", "--device", "no such adapter"]).fails_with(&["'no such adapter'"]);
    let help = cli(&["verify", "--help"]).ok();
    assert!(help.contains("2 K 2^-24") && help.contains("exit code is 1"), "{help}");
}

#[test]
fn the_page_of_operators_is_what_the_command_prints() {
    let page = cli(&["operators", "--markdown"]).ok();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/OPERATORS.md");
    let written = fs::read_to_string(file).unwrap();
    assert!(
        written == page,
        "docs/OPERATORS.md is out of date; cargo run -- operators --markdown > docs/OPERATORS.md"
    );
    let listed = cli(&["operators", "--json"]).json();
    assert_eq!(listed.len(), wgpu_cnn::onnx::operators().count());
    assert!(listed.iter().all(|line| page.contains(&format!("| {} ", line["operator"].as_str().unwrap()))));
}

const BENCH_FIELDS: [&str; 16] = [
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
    "tuning",
    "pipelines",
    "measured_layers",
];
/// Those of them that are text, or may be 0.
const BENCH_OTHERS: [&str; 6] = ["model", "device", "backend", "tuning", "pipelines", "measured_layers"];

#[test]
fn bench_measures_the_gpu_and_the_cpu() {
    let lines = cli(&["bench", "lenet5", "--batch", "2", "--runs", "3", "--json"]).json();
    let backends: Vec<_> = lines.iter().map(|line| line["backend"].as_str().unwrap()).collect();
    assert!(matches!(backends[..], ["Vulkan" | "Metal" | "Dx12", "cpu"]), "{backends:?}");
    for line in &lines {
        assert_eq!(keys(line), sorted(&BENCH_FIELDS));
        assert_eq!((&line["model"], &line["batch"], &line["runs"]), (&"lenet5".into(), &2.into(), &3.into()));
        let number = |field: &str| line[field].as_f64().expect(field);
        let numbers = BENCH_FIELDS.iter().filter(|field| !BENCH_OTHERS.contains(field));
        assert!(numbers.into_iter().all(|field| number(field) > 0.), "{line}");
        assert_eq!(number("pipelines") > 0., line["backend"] != "cpu", "{line}");
        assert_eq!((&line["tuning"], &line["measured_layers"]), (&"rule".into(), &0.into()));
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
fn bench_tunes_once() {
    let cache = tempfile::tempdir().unwrap();
    let tune = || -> Vec<Value> {
        let mut program = program();
        program.env("WGPU_CNN_CACHE", cache.path());
        program.args(["bench", "lenet5", "--runs", "2", "--device", "gpu", "--tune", "--json"]);
        Run::from(program.output().unwrap()).json()
    };
    for measured_before in [false, true] {
        let lines = tune();
        let tunings: Vec<_> = lines.iter().map(|line| line["tuning"].as_str().unwrap()).collect();
        assert_eq!(tunings, ["rule", "measured"]);
        let layers = lines[1]["measured_layers"].as_u64().unwrap();
        assert_eq!(layers == 0, measured_before, "{}", lines[1]);
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
