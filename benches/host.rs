//! What a dispatch costs the host: `cargo bench --bench host`.
//!
//! A plan of very many dispatches that do almost nothing is recorded and submitted, and beside it the same number of
//! dispatches of an empty kernel, by wgpu alone: with one pipeline and bind group set once, which is the least that an
//! adapter can be asked to do. What a plan adds on the host is pipelines, bind groups and the copies of its inputs and
//! outputs. Times are per dispatch and the median of the rounds, which alternate.

use std::time::{Duration, Instant};

use wgpu_cnn::graph::Info;
use wgpu_cnn::graph::passes::Passes;
use wgpu_cnn::{Activation, Device, Graph, PlanOptions, Shape, Tensor};

const DISPATCHES: u32 = 2000;
const ROUNDS: usize = 15;

const EMPTY: &str = "
    @group(0) @binding(0) var<storage, read_write> output: array<f32>;
    @compute @workgroup_size(1)
    fn main(@builtin(global_invocation_id) id: vec3<u32>) {
        if id.x > 0u { output[id.x] = 0.0; }
    }";

/// So many layers of one element, alternately one and another kernel.
fn network() -> Graph {
    let mut graph = Graph::new("host");
    let mut x = graph.input("x", Info::f32(Shape::new([1, 1]).expect("a shape")));
    for i in 0..DISPATCHES {
        let activation = if i % 2 == 0 { Activation::Neg } else { Activation::Abs };
        x = graph.push(format!("layer {i}"), activation, &[x]).expect("a layer");
    }
    graph.output(x);
    graph
}

/// Empty dispatches by wgpu alone.
struct Empty {
    device: wgpu::Device,
    queue: wgpu::Queue,
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
}

impl Empty {
    fn new(device: &wgpu::Device, queue: &wgpu::Queue) -> Self {
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(EMPTY.into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: Default::default(),
            cache: None,
        });
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 16,
            usage: wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        });
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: buffer.as_entire_binding() }],
        });
        Empty { device: device.clone(), queue: queue.clone(), pipeline, bind_group }
    }

    fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        for _ in 0..DISPATCHES {
            pass.dispatch_workgroups(1, 1, 1);
        }
    }

    /// The time to record and submit what `encode` does, and the time until the adapter has done it.
    fn measure(&self, encode: impl Fn(&mut wgpu::CommandEncoder)) -> [Duration; 2] {
        let begun = Instant::now();
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encode(&mut encoder);
        let submission = self.queue.submit([encoder.finish()]);
        let host = begun.elapsed();
        self.device
            .poll(wgpu::PollType::Wait { submission_index: Some(submission), timeout: None })
            .expect("the submission ends");
        [host, begun.elapsed()]
    }
}

/// Microseconds per dispatch, the median.
fn per_dispatch(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    1e6 * times[times.len() / 2].as_secs_f64() / f64::from(DISPATCHES)
}

fn main() {
    let device = Device::gpu().expect("an adapter, if only a software one");
    println!("{}\n{DISPATCHES} dispatches, median of {ROUNDS} rounds, us per dispatch", device.info());
    let mut options = PlanOptions::default();
    options.passes = Passes::none();
    let plan = device.compile_with(&network(), &options).expect("the network compiles");
    let gpu = plan.as_gpu().expect("a GPU plan");
    // Where layers are kept as images, one packs and one unpacks.
    assert!(gpu.dispatch_count() >= DISPATCHES as usize, "{} dispatches", gpu.dispatch_count());
    let adapter = device.as_gpu().expect("a GPU");
    let empty = Empty::new(adapter.device(), adapter.queue());
    let x = Tensor::new([1, 1], vec![1f32]).expect("a tensor");

    let mut times = [0; 5].map(|_| Vec::new());
    for round in 0..=ROUNDS {
        let by_wgpu = empty.measure(|encoder| empty.encode(encoder));
        let by_plan = empty.measure(|encoder| gpu.encode(encoder));
        let begun = Instant::now();
        plan.run_one(&x).expect("the network runs");
        let all = [by_wgpu[0], by_wgpu[1], by_plan[0], by_plan[1], begun.elapsed()];
        if round > 0 {
            times.iter_mut().zip(all).for_each(|(times, time)| times.push(time));
        }
    }
    let [wgpu_host, wgpu_whole, plan_host, plan_whole, run] = times.map(per_dispatch);
    println!("empty kernel, wgpu alone:  {wgpu_host:8.2} to record and submit, {wgpu_whole:8.2} until done");
    println!("a plan:                    {plan_host:8.2} to record and submit, {plan_whole:8.2} until done");
    println!("Plan::run:                 {run:8.2} from host memory and back");
    println!("a plan adds to an empty dispatch: {:.2} on the host", plan_host - wgpu_host);
}
