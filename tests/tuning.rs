//! Kernels chosen by measuring, and what a device keeps on disk for the next process.

#[path = "support/mod.rs"]
mod support;

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use support::random;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use wgpu_cnn::plan::Tuning;
use wgpu_cnn::verify::{bounds, run_layer};
use wgpu_cnn::{Conv2d, Device, DeviceOptions, Graph, Network, PlanOptions, Tensor};

fn open(cache: &Path) -> Device {
    let options = DeviceOptions::cached(cache);
    Device::open("gpu", &options)
        .expect("the tests need a GPU adapter; `cargo xtask test` installs a software one")
}

/// Layers that several kernels compute: two convolutions of one shape, one of another, and a product.
fn network() -> (Graph, Tensor) {
    let conv = |filters| Conv2d::new(filters, 3).padding(1);
    let net = Network::new("network", [8, 12, 12]).conv2d(conv(8)).relu().conv2d(conv(8)).relu();
    let graph = net.conv2d(conv(5)).flatten().linear(10).build().unwrap();
    let x = Tensor::new([1, 8, 12, 12], random::values(3, 8 * 12 * 12)).unwrap();
    (graph, x)
}

fn measured() -> PlanOptions {
    let mut options = PlanOptions::default();
    options.tuning = Tuning::Measured;
    options
}

/// The bits of the network's outputs with measured kernels, and how many layers were measured for them.
fn run(device: &Device) -> (Vec<u32>, usize) {
    let (graph, x) = network();
    let before = device.as_gpu().unwrap().measurement_count();
    let y = device.compile_with(&graph, &measured()).unwrap().run_one(&x).unwrap();
    let bits = y.values::<f32>().unwrap().iter().map(|v| v.to_bits()).collect();
    (bits, device.as_gpu().unwrap().measurement_count() - before)
}

/// The file of this kind in a cache.
fn file(cache: &Path, kind: &str) -> PathBuf {
    let files: Vec<_> = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path()).collect();
    let mut of_kind = files.iter().filter(|f| f.file_name().unwrap().to_str().unwrap().starts_with(kind));
    of_kind.next().unwrap_or_else(|| panic!("no {kind} in {files:?}")).clone()
}

/// The warnings of the thread it is the default of.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    fn of(work: impl FnOnce()) -> Vec<String> {
        let warnings = Warnings::default();
        tracing::subscriber::with_default(warnings.clone(), work);
        let mut all = warnings.0.lock().unwrap();
        std::mem::take(&mut *all)
    }
}

impl Visit for &Warnings {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0.lock().unwrap().push(format!("{value:?}"));
        }
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata) -> bool {
        *metadata.level() == Level::WARN && metadata.target().starts_with("wgpu_cnn")
    }

    fn event(&self, event: &Event) {
        event.record(&mut &*self);
    }

    fn new_span(&self, _: &Attributes) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn what_was_measured_is_not_measured_again() {
    let cache = tempfile::tempdir().unwrap();
    let device = open(cache.path());
    let (bits, layers) = run(&device);
    // The convolutions of one shape count once; the flattening has one kernel.
    assert_eq!(layers, 3);
    // On the same device, and on one that knows only what is on disk.
    assert_eq!(run(&device), (bits.clone(), 0));
    assert_eq!(run(&open(cache.path())), (bits, 0));
    // Another shape is another layer.
    let (graph, _) = network();
    device.compile_with(&graph.with_batch(2).unwrap(), &measured()).unwrap();
    assert!(device.as_gpu().unwrap().measurement_count() > 3);
}

#[test]
fn without_a_cache_the_device_remembers() {
    let device = Device::gpu().unwrap();
    let (bits, layers) = run(&device);
    assert_eq!(layers, 3);
    assert_eq!(run(&device), (bits, 0));
    let (graph, _) = network();
    let other = Device::gpu().unwrap();
    other.compile(&graph).unwrap();
    assert_eq!(other.as_gpu().unwrap().measurement_count(), 0, "the rule measures nothing");
}

#[test]
fn a_damaged_file_is_ignored_with_a_warning() {
    let cache = tempfile::tempdir().unwrap();
    assert_eq!(Warnings::of(|| assert_eq!(run(&open(cache.path())).1, 3)), Vec::<String>::new());
    let [tuning, pipelines] = ["tuning", "pipelines"].map(|kind| file(cache.path(), kind));
    let whole = fs::read(&tuning).unwrap();
    assert!(serde_json::from_slice::<serde_json::Value>(&whole).unwrap()["winners"].is_object());
    for damaged in [&whole[..whole.len() / 2], b"", b"\xff\xfe", b"{\"winners\": 1}"] {
        fs::write(&tuning, damaged).unwrap();
        let warnings = Warnings::of(|| assert_eq!(run(&open(cache.path())).1, 3));
        assert!(warnings.len() == 1 && warnings[0].contains("tuning-"), "{warnings:?}");
    }
    // The last run has written it anew.
    assert_eq!(Warnings::of(|| assert_eq!(run(&open(cache.path())).1, 0)), Vec::<String>::new());

    let mut whole = fs::read(&pipelines).unwrap();
    *whole.last_mut().unwrap() ^= 1;
    fs::write(&pipelines, &whole).unwrap();
    let warnings = Warnings::of(|| assert_eq!(run(&open(cache.path())).1, 0));
    assert!(warnings.len() == 1 && warnings[0].contains("pipelines-"), "{warnings:?}");
    assert_ne!(fs::read(&pipelines).unwrap(), whole);
}

#[test]
fn a_cache_that_cannot_be_written_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("a file");
    fs::write(&cache, "").unwrap();
    let device = open(&cache);
    let warnings = Warnings::of(|| assert_eq!(run(&device).1, 3));
    assert!(warnings.iter().any(|w| w.contains("a file")), "{warnings:?}");
}

#[test]
fn measured_kernels_compute_what_the_cpu_does() {
    let device = Device::gpu().unwrap();
    let (graph, x) = network();
    let node = &graph.nodes()[0];
    let value = |id: &Option<wgpu_cnn::graph::ValueId>| {
        let id = (*id)?;
        Some(graph.value(id).constant.clone().unwrap_or_else(|| x.clone()))
    };
    let operands: Vec<_> = node.inputs.iter().map(value).collect();
    let expected = run_layer(&Device::cpu(), &graph, node, &operands).unwrap().outputs;
    let (layer, inputs) = wgpu_cnn::verify::alone(&graph, node, &operands).unwrap();
    let plan = device.compile_with(&layer, &measured()).unwrap();
    let actual = plan.run(&inputs).unwrap();
    let kernels: Vec<_> = plan.profile(&inputs, 1).unwrap().into_iter().map(|step| step.kernel).collect();
    let bounds = bounds(&node.op, &operands, &expected, &kernels).unwrap();
    assert_eq!(device.as_gpu().unwrap().measurement_count(), 1);
    let difference = bounds[0].judge(&expected[0], &actual[0]);
    assert!(difference.of_bound <= 1.0, "{difference:?}");
}
