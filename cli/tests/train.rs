//! `wgpu-cnn train`, run as a user runs it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const DIGITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/digits");

fn train(model: &str, options: &[&str]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_wgpu-cnn"));
    // Without it Mesa's device selection prints an `error: ` line of its own.
    program.env("XDG_RUNTIME_DIR", std::env::temp_dir());
    program.args(["train", model, "--data", DIGITS, "--device", "cpu", "--seed", "7"]).args(options);
    program
}

#[track_caller]
fn ok(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

#[track_caller]
fn error(command: &mut Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    let text = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{text}");
    text
}

fn path(folder: &tempfile::TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_string()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[test]
fn a_training_writes_all_that_is_asked_for_and_can_be_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| path(&folder, name);
    let (out, history, curves, confusion) =
        (file("w.safetensors"), file("h.csv"), file("c.png"), file("m.png"));
    let options = ["--epochs", "3", "--out", &out, "--history", &history, "--curves", &curves, "--confusion"];
    let printed = lines(&ok(train("lenet5", &options).args([&confusion, "--json"])));
    assert_eq!(printed.len(), 4);
    let last = &printed[3];
    let keys: Vec<_> = last.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["device", "epochs", "images_per_s", "seconds", "test_accuracy"]);
    assert!(last["test_accuracy"].as_f64() > Some(0.6) && last["epochs"] == 3, "{last}");
    assert!(printed[0]["train_loss"].as_f64() > printed[2]["train_loss"].as_f64());
    // The last epoch's weights are kept, so what was seen of the test images after it is the result.
    assert_eq!(printed[2]["validation_accuracy"], last["test_accuracy"]);
    assert_eq!(fs::read_to_string(&history).unwrap().lines().count(), 4);
    for picture in [&curves, &confusion] {
        assert!(image::open(picture).unwrap().width() > 100);
    }
    let again = file("again.safetensors");
    let text = ok(&mut train("lenet5", &["--epochs", "3", "--out", &again]));
    assert!(text.contains("lower bound") && text.contains("epoch   3"), "{text}");
    assert_eq!(fs::read(&out).unwrap(), fs::read(&again).unwrap());

    // What is saved is what the network then runs with.
    let mut network = wgpu_cnn::zoo::lenet5().unwrap();
    network.load_weights(&out).unwrap();
    // A head of another size keeps the layers below it, here frozen.
    let options = ["--epochs", "1", "--start", &out, "--freeze", "all-but-head", "--out", &again];
    ok(&mut train("lenet5", &options));
    let mut tuned = wgpu_cnn::zoo::lenet5().unwrap();
    tuned.load_weights(&again).unwrap();
    for ((name, before), (_, after)) in network.weights().zip(tuned.weights()) {
        assert_eq!(before == after, !name.starts_with("fc3"), "{name}");
    }
}

#[test]
fn what_cannot_be_done_is_said_in_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = path(&folder, "none");
    assert!(error(&mut train("lenet5", &["--resume", &file])).contains(&file));
    fs::write(&file, "no checkpoint").unwrap();
    assert!(error(&mut train("lenet5", &["--resume", &file])).contains("not a checkpoint"));
    assert!(error(&mut train("lenet5", &["--freeze", "conv9"])).contains("conv1, conv2, fc1"));
    assert!(error(&mut train("lenet5", &["--lr", "0"])).contains("--lr"));
    assert!(error(&mut train("lenet6", &[])).contains("lenet5"));
    let diverges = ["--optimizer", "sgd", "--lr", "1e30", "--epochs", "1"];
    assert!(error(&mut train("lenet5", &diverges)).contains("epoch 1, step"));
    let mut nowhere = Command::new(env!("CARGO_BIN_EXE_wgpu-cnn"));
    let text = error(nowhere.args(["train", "lenet5", "--device", "cpu", "--data"]).arg(folder.path()));
    assert!(text.contains(folder.path().to_str().unwrap()), "{text}");
}

/// Ctrl-C, as a terminal sends it.
#[cfg(unix)]
#[test]
fn an_interrupted_training_is_saved_and_goes_on_to_the_same_weights() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| path(&folder, name);
    let (straight, resumed, state) = (file("a.safetensors"), file("b.safetensors"), file("b.checkpoint"));
    ok(&mut train("fully_connected", &["--epochs", "6", "--out", &straight]));

    let options = ["--epochs", "6", "--out", &resumed];
    let mut child = train("fully_connected", &options).arg("--json").stdout(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains("\"epoch\":1"), "{first}");
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    // Whoever interrupts may have closed the pipe too.
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(Path::new(&state).exists() && !Path::new(&resumed).exists());
    ok(train("fully_connected", &options).args(["--resume", &state]));
    assert_eq!(fs::read(&straight).unwrap(), fs::read(&resumed).unwrap());
}
