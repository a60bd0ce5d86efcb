//! What a run allocates: its outputs. A file of its own, for it counts what the whole process allocates.

use std::alloc::System;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use log::{Log, Metadata, Record};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use wgpu_cnn::{Device, Network, Plan, Tensor, zoo};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const NETWORKS: [&str; 6] = ["lenet5", "squeezenet1_1", "mobilenet_v2", "resnet18", "resnet50", "vgg16"];

/// Only one test at a time, for they count what the whole process does.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many allocations `work` makes, and their bytes.
fn allocated(work: impl FnOnce()) -> (usize, usize) {
    let region = Region::new(ALLOCATOR);
    work();
    let change = region.change();
    (change.allocations + change.reallocations, change.bytes_allocated)
}

fn input(plan: &Plan) -> Tensor {
    let shape = &plan.inputs()[0].info.shape;
    Tensor::new(shape.to_vec(), vec![0.5f32; shape.elements()]).unwrap()
}

/// What a run of a plan allocates once it has run before, and what its outputs alone do, copied by hand.
fn of_a_run(plan: &Plan, x: &Tensor) -> [(usize, usize); 2] {
    let run = || plan.run(std::slice::from_ref(x)).unwrap();
    // In the pool, whose queue of work from other threads grows by a block now and then.
    rayon::scope(|_| {
        let outputs = run();
        drop(run());
        let of_run = allocated(|| drop(run()));
        let copy = |t: &Tensor| Tensor::new(t.shape().to_vec(), t.values::<f32>().unwrap().to_vec()).unwrap();
        let of_outputs = allocated(|| drop(outputs.iter().map(copy).collect::<Vec<_>>()));
        assert!(of_outputs.0 > 0, "what is allocated goes uncounted");
        [of_run, of_outputs]
    })
}

#[test]
fn a_run_on_the_cpu_allocates_its_outputs() {
    let _alone = alone();
    // Layers that are cut into pieces by their data alone.
    let net = Network::new("network", [8, 12, 12]).relu();
    let graph = net.add(&|net| net, &|net| net.tanh().tanh()).flatten().softmax().build().unwrap();
    let plan = Device::cpu().compile(&graph).unwrap();
    let [run, outputs] = of_a_run(&plan, &input(&plan));
    // A list that is collected may have room for more than it holds.
    assert_eq!(run.0, outputs.0);
}

#[test]
fn a_run_on_the_cpu_allocates_no_values() {
    let _alone = alone();
    for name in NETWORKS {
        let plan = Device::cpu().compile(&zoo::load(name).unwrap()).unwrap();
        let [run, outputs] = of_a_run(&plan, &input(&plan));
        println!("{name}: {run:?}, of which outputs are {outputs:?}");
        // Convolutions list their tasks, by pieces of what they write; the lists are short beside that.
        let lists = (run.1 - outputs.1) as u64;
        assert!(lists < plan.memory().activations / 16, "{name}: {lists} bytes");
    }
}

/// Counts the objects that wgpu says it creates.
struct Creations(AtomicUsize);

impl Log for Creations {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.target().starts_with("wgpu_core")
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            let text = record.args().to_string();
            let created = ["buffer", "texture", "bind_group", "compute_pipeline", "shader_module"]
                .iter()
                .any(|what| text.starts_with(&format!("Device::create_{what}")));
            self.0.fetch_add(usize::from(created), Ordering::SeqCst);
        }
    }

    fn flush(&self) {}
}

static CREATIONS: Creations = Creations(AtomicUsize::new(0));

#[test]
fn a_run_on_the_gpu_creates_no_buffer_bind_group_or_pipeline() {
    let _alone = alone();
    log::set_logger(&CREATIONS).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let device =
        Device::gpu().expect("the tests need a GPU adapter; `cargo xtask test` installs a software one");
    let created = || CREATIONS.0.load(Ordering::SeqCst);
    for name in ["lenet5", "squeezenet1_1"] {
        let before = created();
        let plan = device.compile(&zoo::load(name).unwrap()).unwrap();
        let x = input(&plan);
        assert!(created() > before + 10, "{name}: what is created goes uncounted");
        let before = created();
        for _ in 0..3 {
            plan.run_one(&x).unwrap();
        }
        assert_eq!(created(), before, "{name}");
    }
    log::set_max_level(log::LevelFilter::Off);
}
