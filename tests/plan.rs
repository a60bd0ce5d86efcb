//! What a plan promises: inputs are checked, runs repeat bit for bit, memory is shared, a caller's device and encoder
//! are used, and a lost device is said to be lost.

#[path = "support/mod.rs"]
mod support;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use support::compare::{assert_within, within};
use support::oracle::matmul::gemm;
use support::random::{self, Rng};
use wgpu::util::DeviceExt;
use wgpu_cnn::gpu::{Kernel, variants};
use wgpu_cnn::graph::Info;
use wgpu_cnn::graph::passes::Passes;
use wgpu_cnn::ops::{Activation, Gemm};
use wgpu_cnn::window::Padding;
use wgpu_cnn::zoo::LeNetFamily;
use wgpu_cnn::{Conv2d, DType, Device, Error, Graph, Network, Plan, PlanOptions, Shape, Tensor};

fn gpu() -> Device {
    Device::gpu().expect("the tests need a GPU adapter; `cargo xtask test` installs a software one")
}

fn both() -> [Device; 2] {
    [Device::cpu(), gpu()]
}

fn tensor(shape: &[usize], seed: u64) -> Tensor {
    Tensor::new(shape, random::values(seed, shape.iter().product())).unwrap()
}

fn values(tensor: &Tensor) -> &[f32] {
    tensor.values().unwrap()
}

fn bits(tensors: &[Tensor]) -> Vec<u32> {
    tensors.iter().flat_map(values).map(|v| v.to_bits()).collect()
}

/// A small net of every kind of layer that LeNet has.
fn lenet() -> Graph {
    LeNetFamily::new([1, 16, 16]).filters(4).units(20).build().unwrap()
}

fn image(seed: u64) -> Tensor {
    tensor(&[1, 1, 16, 16], seed)
}

/// The elementwise function of `count` elements.
fn elementwise(activation: Activation, count: usize) -> Graph {
    let mut graph = Graph::new("elementwise");
    let x = graph.input("x", Info::f32(Shape::new([count]).unwrap()));
    let y = graph.push("y", activation, &[x]).unwrap();
    graph.output(y);
    graph
}

#[test]
fn a_nan_is_refused_unless_asked_for() {
    let mut options = PlanOptions::default();
    options.reject_nan = false;
    let mut bad = image(1);
    bad.values_mut::<f32>().unwrap()[37] = f32::NAN;
    for device in both() {
        let plan = device.compile(&lenet()).unwrap();
        match plan.run_one(&bad) {
            Err(Error::Input { name, actual, .. }) => {
                assert_eq!(name, "input");
                assert!(actual.contains("NaN") && actual.contains("37"), "{actual}");
            }
            other => panic!("{device:?}: {other:?}"),
        }
        assert!(values(&plan.run_one(&image(1)).unwrap()).iter().all(|v| v.is_finite()), "{device:?}");
        let plan = device.compile_with(&lenet(), &options).unwrap();
        assert!(values(&plan.run_one(&bad).unwrap()).iter().all(|v| v.is_nan()), "{device:?}");
    }
}

#[test]
fn inputs_of_another_shape_type_or_number_are_refused() {
    for device in both() {
        let plan = device.compile(&lenet()).unwrap();
        let integers = Tensor::new([1, 1, 16, 16], vec![0i64; 256]).unwrap();
        for wrong in [tensor(&[1, 1, 16, 15], 1), tensor(&[2, 1, 16, 16], 1), tensor(&[256], 1), integers] {
            match plan.run_one(&wrong) {
                Err(Error::Input { name, expected, actual }) => {
                    assert_eq!((name.as_str(), expected.as_str()), ("input", "f32 1x1x16x16"));
                    assert_eq!(actual, format!("{} {}", wrong.dtype(), wrong.shape()));
                }
                other => panic!("{device:?}: {other:?}"),
            }
        }
        for inputs in [vec![], vec![image(1), image(2)]] {
            let error = plan.run(&inputs).unwrap_err().to_string();
            assert!(error.contains("takes 1 input") && error.contains(&inputs.len().to_string()), "{error}");
        }
    }
}

#[test]
fn a_plan_says_what_it_takes_and_returns() {
    for device in both() {
        let plan = device.compile(&lenet().with_batch(3).unwrap()).unwrap();
        let (input, output) = (&plan.inputs()[0], &plan.outputs()[0]);
        assert_eq!((input.name.as_str(), &input.info.shape[..]), ("input", &[3, 1, 16, 16][..]));
        assert_eq!((&output.info.shape[..], output.info.dtype), (&[3, 10][..], DType::F32));
    }
}

#[test]
fn a_graph_that_is_not_sound_is_refused() {
    let mut without_output = Graph::new("endless");
    without_output.input("x", Info::f32(Shape::new([1]).unwrap()));
    let mut same_names = elementwise(Activation::Relu, 4);
    let x = same_names.inputs()[0];
    let y = same_names.push("y", Activation::Abs, &[x]).unwrap();
    same_names.output(y);
    for device in both() {
        for (graph, text) in [(&without_output, "no output"), (&same_names, "'y'")] {
            match device.compile(graph) {
                Err(Error::Graph(reason)) => assert!(reason.contains(text), "{reason}"),
                Err(other) => panic!("{other}"),
                Ok(_) => panic!("{device:?} takes '{}'", graph.name()),
            }
        }
    }
}

#[test]
fn runs_repeat_bit_for_bit() {
    for device in both() {
        let plan = device.compile(&lenet()).unwrap();
        let first = bits(&plan.run(&[image(3)]).unwrap());
        let other = bits(&plan.run(&[image(4)]).unwrap());
        assert_ne!(first, other);
        for _ in 0..5 {
            assert_eq!(bits(&plan.run(&[image(3)]).unwrap()), first, "{device:?}");
        }
        let again = device.compile(&lenet()).unwrap();
        assert_eq!(bits(&again.run(&[image(3)]).unwrap()), first, "{device:?}: a second plan");
    }
}

#[test]
fn threads_take_turns_on_one_plan() {
    for device in both() {
        let plan = device.compile(&lenet()).unwrap();
        let expected: Vec<_> = (0..4).map(|i| bits(&plan.run(&[image(i)]).unwrap())).collect();
        std::thread::scope(|scope| {
            for (i, expected) in expected.iter().enumerate() {
                let plan = &plan;
                scope.spawn(move || {
                    for _ in 0..10 {
                        assert_eq!(&bits(&plan.run(&[image(i as u64)]).unwrap()), expected);
                    }
                });
            }
        });
    }
}

#[test]
fn passes_change_no_output() {
    let mut options = PlanOptions::default();
    options.passes = Passes::none();
    // Over images a linear layer sums in the order in which a flattened image lies, where the reshape is dropped.
    let mut all_but_reshape = PlanOptions::default();
    all_but_reshape.passes.drop_reshape = false;
    for device in both() {
        let with = match device.is_cpu() {
            true => device.compile(&lenet()).unwrap(),
            false => device.compile_with(&lenet(), &all_but_reshape).unwrap(),
        };
        let without = device.compile_with(&lenet(), &options).unwrap();
        assert_eq!(
            bits(&with.run(&[image(5)]).unwrap()),
            bits(&without.run(&[image(5)]).unwrap()),
            "{device:?}"
        );
        if let (Some(with), Some(without)) = (with.as_gpu(), without.as_gpu()) {
            assert!(with.dispatch_count() < without.dispatch_count());
        }
    }
}

/// Three residual blocks, the sort of net in which values outlive their neighbours.
fn residual() -> Graph {
    let conv = |filters| Conv2d::new(filters, 3).padding(Padding::SameUpper);
    let mut net = Network::new("residual", [3, 32, 32]).conv2d(conv(16)).relu();
    for _ in 0..3 {
        net = net.add(&|net| net, &|net| net.conv2d(conv(16)).relu().conv2d(conv(16))).relu();
    }
    net.max_pool(2).global_average_pool().flatten().linear(10).build().unwrap()
}

#[test]
fn memory_is_shared_between_values() {
    let graph = residual();
    let all: usize = graph.nodes().iter().map(|n| graph.value(n.outputs[0]).info.shape.elements()).sum();
    let weights: usize = graph.weights().map(|(_, t)| t.shape().elements()).sum();
    for device in both() {
        let memory = device.compile(&graph).unwrap().memory();
        let (used, least) = (memory.activations, memory.activations_lower_bound);
        assert!(used >= least && used as f64 <= 1.15 * least as f64, "{device:?}: {memory:?}");
        // A residual, a sum and what is being computed: never less than two of the largest values.
        assert!(least >= 2 * 4 * 16 * 32 * 32, "{device:?}: {memory:?}");
        if device.is_cpu() {
            assert!((used as usize) < 4 * all, "{memory:?} for {all} elements");
        }
        // Kernels may pack weights with zeros up to a multiple of their tiles.
        let (held, needed) = (memory.weights as f64, 4.0 * weights as f64);
        assert!(held >= needed && held <= 1.1 * needed, "{device:?}: {memory:?}");
    }
}

#[test]
fn many_workgroups_are_folded() {
    // More groups of 64 than one dimension of a dispatch may have, and not a multiple of either.
    let count = 65_535 * 64 + 1_000;
    let x = tensor(&[count], 6);
    let plan = gpu().compile(&elementwise(Activation::Neg, count)).unwrap();
    let y = plan.run_one(&x).unwrap();
    assert!(values(&x).iter().zip(values(&y)).all(|(x, y)| *y == -x));
}

/// Wakes a thread, and counts.
struct Alarm {
    thread: Thread,
    woken: AtomicUsize,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::SeqCst);
        self.thread.unpark();
    }
}

#[test]
fn an_asynchronous_run_yields_and_is_woken() {
    let graph = residual().with_batch(8).unwrap();
    let x = tensor(&[8, 3, 32, 32], 7);
    let plan = gpu().compile(&graph).unwrap();
    let expected = bits(&plan.run(std::slice::from_ref(&x)).unwrap());

    let alarm = Arc::new(Alarm { thread: std::thread::current(), woken: AtomicUsize::new(0) });
    let waker = Waker::from(alarm.clone());
    let mut run = pin!(plan.run_async(std::slice::from_ref(&x)));
    let mut yielded = 0;
    let outputs = loop {
        match run.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(outputs) => break outputs.unwrap(),
            Poll::Pending => yielded += 1,
        }
        // Nobody polls the device here: the future itself must see to it that it is woken.
        while alarm.woken.load(Ordering::SeqCst) < yielded {
            std::thread::park_timeout(std::time::Duration::from_secs(60));
        }
    };
    assert!((1..10).contains(&yielded), "the future was polled {yielded} times");
    assert_eq!(bits(&outputs), expected);

    // And under an executor, several at a time.
    let runs = pollster::block_on(async {
        let (first, second) = (plan.run_async(std::slice::from_ref(&x)), plan.run_async(&[]));
        (second.await, first.await)
    });
    assert!(runs.0.is_err());
    assert_eq!(bits(&runs.1.unwrap()), expected);
}

#[test]
fn compiling_can_be_awaited() {
    let plan: Plan = pollster::block_on(async {
        let device = Device::gpu_async().await.unwrap();
        device.compile_async(&lenet(), &PlanOptions::default()).await.unwrap()
    });
    let cpu = pollster::block_on(Device::cpu().compile_async(&lenet(), &PlanOptions::default())).unwrap();
    let from_cpu = pollster::block_on(cpu.run_async(&[image(8)])).unwrap();
    let from_gpu = pollster::block_on(plan.run_async(&[image(8)])).unwrap();
    for (a, b) in values(&from_cpu[0]).iter().zip(values(&from_gpu[0])) {
        assert!((a - b).abs() < 1e-5, "{a} and {b}");
    }
}

#[test]
fn a_run_that_is_given_up_leaves_the_plan_usable() {
    let plan = gpu().compile(&lenet()).unwrap();
    let expected = bits(&plan.run(&[image(9)]).unwrap());
    for _ in 0..3 {
        let inputs = [image(10)];
        let mut run = Box::pin(plan.run_async(&inputs));
        let _ = run.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        drop(run);
        assert_eq!(bits(&plan.run(&[image(9)]).unwrap()), expected);
    }
}

/// A wgpu device of the caller's own, with default limits.
fn callers_device() -> (wgpu::Device, wgpu::Queue) {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
    pollster::block_on(adapter.request_device(&Default::default())).unwrap()
}

/// The words of a buffer.
fn download(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    buffer: &wgpu::Buffer,
    offset: u64,
    words: u64,
) -> Vec<f32> {
    let readback = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 4 * words,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(buffer, offset, &readback, 0, 4 * words);
    queue.submit([encoder.finish()]);
    readback.map_async(wgpu::MapMode::Read, .., |result| result.unwrap());
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    bytemuck::pod_collect_to_vec(&readback.get_mapped_range(..).unwrap())
}

#[test]
fn the_callers_device_and_encoder_are_used() {
    let (device, queue) = callers_device();
    let shared = Device::from_wgpu(device.clone(), queue.clone());
    assert_eq!(shared.as_gpu().unwrap().device(), &device);
    let plan = shared.compile(&lenet()).unwrap();
    let expected = plan.run_one(&image(11)).unwrap();
    plan.run_one(&image(12)).unwrap();

    // The input comes from a buffer of the caller's; the output stays on the GPU until the caller fetches it.
    let gpu = plan.as_gpu().unwrap();
    let source = device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
        label: None,
        contents: bytemuck::cast_slice(values(&image(11))),
        usage: wgpu::BufferUsages::COPY_SRC,
    });
    let (input, input_offset) = gpu.input_buffer(0).unwrap();
    let (output, output_offset) = gpu.output_buffer(0).unwrap();
    let mut encoder = device.create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(&source, 0, input, input_offset, source.size());
    gpu.encode(&mut encoder);
    queue.submit([encoder.finish()]);
    let actual = download(&device, &queue, output, output_offset, 10);
    assert_eq!(actual, values(&expected));
    assert!(gpu.input_buffer(1).is_none() && gpu.output_buffer(1).is_none());
}

#[test]
fn a_lost_device_is_said_to_be_lost() {
    let (device, queue) = callers_device();
    let shared = Device::from_wgpu(device.clone(), queue);
    let plan = shared.compile(&lenet()).unwrap();
    plan.run_one(&image(13)).unwrap();
    device.destroy();
    let lost = |error: Error| {
        assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
        assert!(error.to_string().contains(&shared.info().name), "{error}");
    };
    lost(plan.run_one(&image(13)).unwrap_err());
    lost(pollster::block_on(plan.run_async(&[image(13)])).unwrap_err());
    lost(shared.compile(&lenet()).err().expect("nothing compiles for a lost device"));
    // A device opened afresh works.
    gpu().compile(&lenet()).unwrap().run_one(&image(13)).unwrap();
}

/// A matrix product of `m x k` and `k x n` by one of the library's kernels as it is in its source, run without the
/// library.
fn product(source: &str, groups: u32, [m, n, k]: [u32; 3], a: &[f32], b: &[f32]) -> Vec<f32> {
    let (device, queue) = callers_device();
    let buffer = |contents: &[u8], usage| {
        device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: None, contents, usage })
    };
    // `Params` of shaders/shared/gemm.wgsl: the batch and its steps, sizes, rows, columns, bias, scales, slices, and
    // what only patches read.
    let mut params = vec![1, 1, 1, 1];
    params.extend([0; 20]);
    params.extend([1, m, n, k, k, k, n, n, 0, n, 0, 0, 0]);
    params.extend([1f32.to_bits(), 1f32.to_bits(), 1, 0, 0, 0, 0]);
    params.extend([0; 16]);
    let params = buffer(bytemuck::cast_slice(&params), wgpu::BufferUsages::UNIFORM);
    let [a, b] = [a, b].map(|data| buffer(bytemuck::cast_slice(data), wgpu::BufferUsages::STORAGE));
    let poison = vec![f32::NAN; (m * n) as usize];
    let c = buffer(bytemuck::cast_slice(&poison), wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);

    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(source.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: Default::default(),
        cache: None,
    });
    // Bias and residual are absent: their code, and with it their bindings, is only there in other specialisations.
    let bound = [&params, &a, &b, &a, &a, &c];
    let entries: Vec<_> = bound
        .iter()
        .enumerate()
        .map(|(i, buffer)| wgpu::BindGroupEntry { binding: i as u32, resource: buffer.as_entire_binding() })
        .collect();
    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &entries,
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    let mut pass = encoder.begin_compute_pass(&Default::default());
    pass.set_pipeline(&pipeline);
    pass.set_bind_group(0, &bind_group, &[]);
    pass.dispatch_workgroups(groups, 1, 1);
    drop(pass);
    queue.submit([encoder.finish()]);
    download(&device, &queue, &c, 0, u64::from(m * n))
}

#[test]
fn a_corrupted_kernel_turns_its_test_red() {
    // Past one tile of every size, either way.
    let sizes @ [m, n, k] = [134, 139, 19];
    let mut rng = Rng::new(14);
    let (a, b) = (rng.values((m * k) as usize), rng.values((k * n) as usize));
    let shapes = [[m, k], [k, n]].map(|shape| shape.map(|size| size as usize));
    let answer = gemm(&a, shapes[0], false, &b, shapes[1], false, 1.0, 1.0, None);

    let plain = ["TRANS_A", "TRANS_B", "HAS_BIAS", "HAS_RESIDUAL", "SCALED"]
        .map(|flag| format!("const {flag} = false;"));
    let identity = "fn activate(x: f32) -> f32 { return x; }";
    let kernels: Vec<Kernel> = variants()
        .into_iter()
        // Those that multiply two stored matrices; of each name the first reads them as they are.
        .filter(|(op, _)| *op == "gemm")
        .map(|(_, kernel)| kernel)
        .filter(|k| ["gemm_tiled", "gemm_flat"].iter().any(|name| k.name().starts_with(name)))
        .filter(|k| k.reads() == 4 && k.source().contains(identity))
        .filter(|k| plain.iter().all(|flag| k.source().contains(flag)))
        .collect();
    let mut names: Vec<_> = kernels.iter().map(Kernel::name).collect();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() >= 4, "{names:?}");

    let corruptions: [(&str, &str, &str); 7] = [
        ("gemm_", "sum0 += ", "sum0 -= "),
        ("gemm_tiled", "sum2 += ", "sum2 -= "),
        ("gemm_tiled", "sum3 += a0.w", "sum3 += a0.z"),
        ("gemm_tiled", "k0 += DEPTH", "k0 += DEPTH + 1u"),
        ("gemm_flat", "k < end; k++", "k + 1u < end; k++"),
        ("gemm_", "row >= params.m || k >= tile.k_end", "row >= params.m || k + 1u >= tile.k_end"),
        ("gemm_", "within % across * columns", "within % across"),
    ];
    for name in names {
        let kernel = kernels.iter().find(|kernel| kernel.name() == name).unwrap();
        // Enough groups for any tiling; those too many find nothing to do.
        let run = |source: &str| product(source, 400, sizes, &a, &b);
        assert_within(name, &run(kernel.source()), &answer, 2.0);
        let mut red = 0;
        for (kernels, from, to) in corruptions {
            let corrupted = kernel.source().replace(from, to);
            if !name.starts_with(kernels) || corrupted == kernel.source() {
                continue;
            }
            assert!(within(name, &run(&corrupted), &answer, 2.0).is_err(), "{name} with '{to}' for '{from}'");
            red += 1;
        }
        assert!(red >= 2, "{name}: only {red} corruptions apply");
    }
}

#[test]
fn products_run_by_hand_are_those_of_a_plan() {
    // What the corruption test runs is what plans run: the same bits come out.
    let (a, b) = (tensor(&[5, 9], 15), tensor(&[9, 6], 16));
    let mut graph = Graph::new("product");
    let ids = [&a, &b].map(|t| graph.input(format!("{}", t.shape()), Info::f32(t.shape().clone())));
    let c = graph.push("c", Gemm::default(), &ids).unwrap();
    graph.output(c);
    let mut options = PlanOptions::default();
    options.variant = Some("gemm_flat_4");
    let plan = gpu().compile_with(&graph, &options).unwrap();
    let from_plan = plan.run(&[a.clone(), b.clone()]).unwrap();
    let plain = variants()
        .into_iter()
        .filter(|(op, _)| *op == "gemm")
        .map(|(_, kernel)| kernel)
        .find(|kernel| kernel.name() == "gemm_flat_4" && kernel.reads() == 4)
        .expect("the first specialisation is the plain one");
    let by_hand = product(plain.source(), 1, [5, 6, 9], values(&a), values(&b));
    assert_eq!(by_hand, values(&from_plan[0]));
}
