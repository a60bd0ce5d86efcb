//! `wgpu-cnn profile`, run as a user runs it.

use std::fs;
use std::process::Command;

use serde_json::Value;

fn profile(args: &[&str]) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_wgpu-cnn"));
    // Without it Mesa's device selection prints an `error: ` line of its own.
    program.env("XDG_RUNTIME_DIR", std::env::temp_dir());
    program.env("WGPU_CNN_CACHE", "off");
    let output = program.arg("profile").args(args).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

#[test]
fn the_steps_add_up_to_what_is_said() {
    let report: Value =
        serde_json::from_str(&profile(&["lenet5", "--device", "cpu", "--runs", "3", "--json"])).unwrap();
    let steps = report["steps"].as_array().unwrap();
    let layers: Vec<_> = steps.iter().map(|step| step["layer"].as_str().unwrap()).collect();
    for layer in ["conv1", "pool1", "fc3"] {
        assert!(layers.contains(&layer), "{layers:?}");
    }
    let sum: f64 = steps.iter().map(|step| number(&step["ms"])).sum();
    let (steps_ms, median) = (number(&report["steps_ms"]), number(&report["median_ms"]));
    assert!((sum - steps_ms).abs() < 1e-9 && sum > 0.0, "{sum} {steps_ms}");
    assert!((number(&report["difference_ms"]) - (median - steps_ms)).abs() < 1e-9);
    assert!(number(&report["peak"]["gflops"]) > 0.0 && number(&report["peak"]["gb_per_s"]) > 0.0);

    // 6 filters of 1x5x5 at 28x28 positions.
    let conv1 = steps.iter().find(|step| step["layer"] == "conv1").unwrap();
    let gflops = 2e-6 * f64::from(6 * 25 * 28 * 28) / number(&conv1["ms"]);
    assert!((number(&conv1["rates"]["gflops"]) - gflops).abs() < 1e-9 * gflops);
}

#[test]
fn a_gpu_has_a_trace_of_its_kernels() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace.json");
    let text = profile(&["lenet5", "--device", "gpu", "--runs", "2", "--trace", file.to_str().unwrap()]);
    assert!(text.contains("| conv1") && text.contains("peak measured: "), "{text}");
    assert!(text.contains("difference: "), "{text}");

    let trace: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let (name, steps) = events.split_first().unwrap();
    assert_eq!(name["ph"], "M");
    assert!(!steps.is_empty());
    let mut end = 0.0;
    for step in steps {
        assert_eq!(step["ph"], "X");
        assert!((number(&step["ts"]) - end).abs() < 1e-6, "{step}");
        end = number(&step["ts"]) + number(&step["dur"]);
    }
}
