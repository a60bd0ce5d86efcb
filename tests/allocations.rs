//! What a run allocates: its outputs, or where they are there already, nothing. A file of its own, for it counts what the whole process allocates.

use std::alloc::System;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use log::{Log, Metadata, Record};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use wgpu_cnn::{Device, Network, Plan, Tensor, zoo};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const NO_GPU: &str = "the tests need a GPU adapter; `cargo xtask test` installs a software one";
const NETWORKS: [&str; 6] = ["lenet5", "squeezenet1_1", "mobilenet_v2", "resnet18", "resnet50", "vgg16"];

/// Only one test at a time, for they count what the whole process does.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many allocations `work` makes, and their bytes: the less of two times, for the harness, which reports tests that
/// take long, may allocate during one.
fn allocated(mut work: impl FnMut()) -> (usize, usize) {
    let mut once = || {
        let region = Region::new(ALLOCATOR);
        work();
        let change = region.change();
        (change.allocations + change.reallocations, change.bytes_allocated)
    };
    once().min(once())
}

fn input(plan: &Plan) -> Tensor {
    let shape = &plan.inputs()[0].info.shape;
    Tensor::new(shape.to_vec(), vec![0.5f32; shape.elements()]).unwrap()
}

/// What runs of a plan allocate once it has run before.
#[derive(Debug)]
struct Runs {
    run: (usize, usize),
    /// The run's outputs alone, copied by hand.
    outputs: (usize, usize),
    /// A run into outputs that are there.
    into: (usize, usize),
}

impl Runs {
    fn of(plan: &Plan) -> Self {
        let inputs = [input(plan)];
        let mut outputs = plan.run(&inputs).unwrap();
        plan.run_into(&inputs, &mut outputs).unwrap();
        let copy = |t: &Tensor| Tensor::new(t.shape().to_vec(), t.values::<f32>().unwrap().to_vec()).unwrap();
        let runs = Runs {
            run: allocated(|| drop(plan.run(&inputs).unwrap())),
            outputs: allocated(|| drop(outputs.iter().map(copy).collect::<Vec<_>>())),
            into: allocated(|| plan.run_into(&inputs, &mut outputs).unwrap()),
        };
        assert!(runs.outputs.0 > 0, "what is allocated goes uncounted");
        runs
    }
}

#[test]
fn a_run_on_the_cpu_allocates_its_outputs_and_nothing_into_them() {
    let _alone = alone();
    // Layers that are cut into pieces by their data alone.
    let net = Network::new("elementwise", [8, 12, 12]).relu();
    let net = net.add(&|net| net, &|net| net.tanh().tanh()).flatten().softmax();
    let zoo = NETWORKS.map(|name| zoo::load(name).unwrap());
    let batches = ["lenet5", "mobilenet_v2"].map(|name| zoo::load(name).unwrap().with_batch(8).unwrap());
    for graph in zoo.into_iter().chain(batches).chain([net.build().unwrap()]) {
        // Kept, for plans share what is packed.
        let mut plans = Vec::new();
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            // A thread allocates when it starts and when it first looks for work of others.
            pool.broadcast(|_| rayon::yield_now());
            // In the pool, whose queue of work from other threads grows by a block now and then.
            let (name, plan) = (graph.name(), pool.install(|| Device::cpu().compile(&graph).unwrap()));
            let runs = pool.install(|| Runs::of(&plan));
            plans.push(plan);
            assert_eq!(runs.run, runs.outputs, "{name} on {threads} threads");
            assert_eq!(runs.into, (0, 0), "{name} on {threads} threads");
        }
    }
}

#[test]
fn a_run_on_the_gpu_into_outputs_collects_no_words() {
    let _alone = alone();
    let device = Device::gpu().expect(NO_GPU);
    let graph = Network::new("large", [64, 128, 128]).relu().build().unwrap();
    let runs = Runs::of(&device.compile(&graph).unwrap());
    println!("{runs:?}");
    // The rest is wgpu's, for encoding, submitting and mapping.
    assert!(runs.into.1 < runs.outputs.1 / 64, "{runs:?}");
    assert!(runs.run.1 < runs.outputs.1 + runs.outputs.1 / 64, "{runs:?}");
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
    // As the caller's, on which no other devices compile while it runs.
    let opened = Device::gpu().expect(NO_GPU);
    let opened = opened.as_gpu().unwrap();
    let device = Device::from_wgpu(opened.device().clone(), opened.queue().clone());
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
