//! The builder: what it refuses and how it says so, and that what it builds runs, the same everywhere.

mod support;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestCaseError};
use wgpu_cnn::graph::passes::Passes;
use wgpu_cnn::network::Branch;
use wgpu_cnn::ops::Activation;
use wgpu_cnn::window::Padding;
use wgpu_cnn::{Conv2d, Device, Error, Graph, Network, PlanOptions, Pool2d, Tensor};

use support::compare::bound;
use support::oracle::U;
use support::oracle::normalization::{log_softmax, softmax};
use support::random::Rng;

fn image(channels: usize, height: usize, width: usize) -> Network {
    Network::new("net", [channels, height, width])
}

/// The network is refused at this layer, for what it expected and what it got.
#[track_caller]
fn refused(network: Network, layer: &str, expected: &str, got: &str) {
    match network.build() {
        Err(Error::Shape { layer: at, expected: e, actual, .. }) => {
            assert_eq!(at, layer);
            assert!(e.contains(expected), "expected {e}, not {expected}");
            assert!(actual.contains(got), "got {actual}, not {got}");
        }
        other => panic!("{other:?}"),
    }
}

/// The network is refused for the window of this layer, with these words.
#[track_caller]
fn window_refused(network: Network, layer: &str, words: &[&str]) {
    let error = network.build().expect_err("a window that does not fit");
    assert!(matches!(&error, Error::Window { layer: at, .. } if at == layer), "{error:?}");
    let text = error.to_string();
    for word in words.iter().chain([&layer]) {
        assert!(text.contains(word), "'{text}' does not say {word}");
    }
}

#[test]
fn a_linear_layer_needs_a_row() {
    refused(image(3, 8, 9).linear(10), "fc1", "rank 2", "1x3x8x9");
    refused(image(3, 8, 9).relu().name("head").linear(10), "head", "flatten", "1x3x8x9");
}

#[test]
fn groups_divide_channels_and_filters() {
    let groups = |filters, groups| image(3, 8, 8).conv2d(Conv2d::new(filters, 3).groups(groups));
    refused(groups(4, 2), "conv1", "channels that divide into 2 groups", "1x3x8x8");
    refused(groups(4, 3), "conv1", "filters that divide into 3 groups", "4x1x3x3");
    refused(groups(4, 0), "conv1", "0 groups", "1x3x8x8");
    refused(groups(4, usize::MAX), "conv1", "groups", "1x3x8x8");
    groups(6, 3).build().unwrap();
}

#[test]
fn windows_need_an_image() {
    refused(image(3, 8, 8).flatten().conv2d(Conv2d::new(4, 3)), "conv1", "rank 4", "1x192");
    refused(image(3, 8, 8).flatten().max_pool(2), "pool1", "rank 4", "1x192");
    refused(image(3, 8, 8).flatten().average_pool(2), "pool1", "rank 4", "1x192");
}

#[test]
fn branches_agree() {
    let narrow: Branch = &|net| net.conv2d(Conv2d::new(2, 1));
    let small: Branch = &|net| net.max_pool(2);
    let same: Branch = &|net| net;
    refused(image(3, 8, 8).add(same, narrow), "add1", "shapes that broadcast", "1x2x8x8");
    refused(image(3, 8, 8).relu().concat(&[same, small]), "concat1", "every axis but 1", "1x3x4x4");
    refused(image(3, 8, 8).concat(&[]), "concat1", "an input", "nothing");
    let inner: Branch = &|net| net.relu().linear(3);
    refused(image(3, 8, 8).add(inner, same), "fc1", "rank 2", "1x3x8x8");
}

#[test]
fn windows_fit_their_input() {
    let conv = |conv| image(3, 8, 8).conv2d(conv);
    window_refused(conv(Conv2d::new(4, 9)), "conv1", &["9", "8"]);
    window_refused(conv(Conv2d::new(4, 3).dilation(4)), "conv1", &["9", "8"]);
    window_refused(conv(Conv2d::new(4, [3, 3, 3])), "conv1", &["2", "3"]);
    window_refused(conv(Conv2d::new(4, 3).stride([1, 1, 1])), "conv1", &["stride", "2", "3"]);
    window_refused(conv(Conv2d::new(4, 0)), "conv1", &["kernel", "0"]);
    window_refused(conv(Conv2d::new(4, 3).stride(0)), "conv1", &["stride", "0"]);
    window_refused(conv(Conv2d::new(4, 3).dilation(0)), "conv1", &["dilation", "0"]);
    window_refused(conv(Conv2d::new(4, 3).padding(usize::MAX)), "conv1", &[]);
    window_refused(conv(Conv2d::new(4, 3).dilation(usize::MAX)), "conv1", &[]);
    window_refused(image(3, 2, 8).max_pool(3), "pool1", &["3", "2"]);
    window_refused(image(3, 8, 8).max_pool(Pool2d::new(2).stride(0)), "pool1", &["stride", "0"]);
}

#[test]
fn nothing_is_refused() {
    refused(image(0, 8, 8).relu(), "input", "elements", "1x0x8x8");
    refused(image(3, 0, 8).conv2d(Conv2d::new(4, 3)), "input", "elements", "1x3x0x8");
    refused(image(3, 8, 8).conv2d(Conv2d::new(0, 3)), "conv1", "one filter", "0");
    refused(image(3, 8, 8).flatten().linear(0), "fc1", "one feature", "0");
}

#[test]
fn sizes_past_the_address_space_are_refused() {
    let vast = usize::MAX / 2;
    assert!(matches!(image(3, vast, vast).build(), Err(Error::ShapeOverflow(_))));
    refused(image(3, 8, 8).conv2d(Conv2d::new(vast, 3)), "conv1", "addressed", &vast.to_string());
    refused(image(3, 8, 8).flatten().linear(vast), "fc1", "addressed", &vast.to_string());
    let wide = image(1, 1, 1).max_pool(Pool2d::new(1).padding(1 << 40));
    refused(wide, "pool1", "addressed", &((2_usize << 40) + 1).to_string());
    // A length that addresses hold, and memory does not.
    let many = image(3, 8, 8).conv2d(Conv2d::new(1 << 50, 3)).build();
    assert!(
        matches!(&many, Err(Error::OutOfMemory { reason, .. }) if reason.contains("conv1.weight")),
        "{many:?}"
    );
    // Lengths that add up past the range.
    let same: Branch = &|net| net;
    refused(image(1 << 59, 1, 1).concat(&[same; 33]), "concat1", "addressed", &usize::MAX.to_string());
}

#[test]
fn sums_past_the_range_end_at_it() {
    let conv = || Conv2d::new(1, 9).padding(4);
    let graph = image(1, 1 << 29, 1 << 29).conv2d(conv()).conv2d(conv()).build().unwrap();
    assert_eq!(graph.summary().macs, u64::MAX);
}

#[test]
fn a_network_past_the_memory_is_refused_when_compiled() {
    let graph = image(1, 1 << 25, 1 << 25).relu().build().unwrap();
    let cpu = Device::cpu().compile(&graph).err();
    assert!(matches!(cpu, Some(Error::OutOfMemory { .. })), "{cpu:?}");
    let gpu = gpu().compile(&graph).err();
    assert!(matches!(gpu, Some(Error::TooLarge { .. })), "{gpu:?}");
}

#[test]
fn names_are_unique_and_the_first_error_stands() {
    let twice = image(3, 8, 8).name("a").relu().name("a").relu().build();
    assert!(matches!(&twice, Err(Error::Graph(reason)) if reason.contains("'a'")), "{twice:?}");
    refused(image(3, 8, 8).linear(1).conv2d(Conv2d::new(4, 9)).max_pool(0), "fc1", "rank 2", "1x3x8x8");
}

#[test]
fn layers_are_named_by_kind_and_number() {
    let graph = image(3, 8, 8)
        .conv2d(Conv2d::new(4, 3))
        .batch_norm()
        .relu()
        .conv2d(Conv2d::new(4, 3).bias(false))
        .tanh()
        .name("down")
        .max_pool(2)
        .flatten()
        .linear(5)
        .softmax()
        .build()
        .unwrap();
    let names: Vec<_> = graph.nodes().iter().map(|n| n.name.as_str()).collect();
    let expected = ["conv1", "bn1", "relu1", "conv2", "tanh1", "down", "flatten1", "fc1", "softmax1"];
    assert_eq!(names, expected);
    let weights: Vec<_> = graph.weights().map(|(name, tensor)| (name, tensor.shape().to_vec())).collect();
    assert_eq!(weights[..2], [("conv1.weight", vec![4, 3, 3, 3]), ("conv1.bias", vec![4])]);
    assert_eq!(
        weights[6..],
        [("conv2.weight", vec![4, 4, 3, 3]), ("fc1.weight", vec![5, 16]), ("fc1.bias", vec![5])]
    );
}

#[test]
fn the_seed_decides_the_weights() {
    let weights = |seed| {
        let graph = image(3, 8, 8).seed(seed).conv2d(Conv2d::new(64, 3)).build().unwrap();
        graph.weights().next().unwrap().1.clone()
    };
    assert_eq!(weights(3), weights(3));
    assert_ne!(weights(3), weights(4));
    // Variance 2 / fan-in (He et al. 2015), from 1728 samples: four standard errors of a variance are 14 %.
    let weight = weights(5);
    let values = weight.values::<f32>().unwrap();
    let variance = values.iter().map(|v| f64::from(v * v)).sum::<f64>() / values.len() as f64;
    assert!((variance * 27.0 / 2.0 - 1.0).abs() < 0.14, "{variance}");
}

/// A layer of a generated network.
#[derive(Debug, Clone)]
enum Layer {
    Conv {
        filters: usize,
        kernel: [usize; 2],
        stride: usize,
        dilation: usize,
        padding: Padding,
        groups: usize,
        bias: bool,
    },
    Pool {
        max: bool,
        kernel: [usize; 2],
        stride: usize,
        dilation: usize,
        padding: Padding,
        ceil: bool,
        count_pad: bool,
    },
    BatchNorm,
    Activation(Activation),
    GlobalAverage,
    GlobalMax,
    Flatten,
    Linear(usize),
    Softmax {
        log: bool,
    },
    Residual(Vec<Layer>),
    Concat(Vec<Vec<Layer>>),
}

/// Adds a layer. In a `majorant` activations are absolute values.
fn add(net: Network, layer: &Layer, majorant: bool) -> Network {
    match layer.clone() {
        Layer::Conv { filters, kernel, stride, dilation, padding, groups, bias } => net.conv2d(
            Conv2d::new(filters, kernel)
                .stride(stride)
                .dilation(dilation)
                .padding(padding)
                .groups(groups)
                .bias(bias),
        ),
        Layer::Pool { max, kernel, stride, dilation, padding, ceil, count_pad } => {
            let pool = Pool2d::new(kernel).stride(stride).dilation(dilation).padding(padding);
            let pool = pool.ceil_mode(ceil).count_include_pad(count_pad);
            if max { net.max_pool(pool) } else { net.average_pool(pool) }
        }
        Layer::BatchNorm => net.batch_norm(),
        Layer::Activation(activation) => net.activation(if majorant { Activation::Abs } else { activation }),
        Layer::GlobalAverage => net.global_average_pool(),
        Layer::GlobalMax => net.global_max_pool(),
        Layer::Flatten => net.flatten(),
        Layer::Linear(features) => net.linear(features),
        Layer::Softmax { log: false } => net.softmax(),
        Layer::Softmax { log: true } => net.log_softmax(),
        Layer::Residual(layers) => net.add(&|net| net, &|net| chain(net, &layers, majorant)),
        Layer::Concat(branches) => {
            let branches: Vec<Box<dyn Fn(Network) -> Network>> = branches
                .into_iter()
                .map(|layers| Box::new(move |net| chain(net, &layers, majorant)) as Box<dyn Fn(_) -> _>)
                .collect();
            net.concat(&branches.iter().map(|b| &**b as Branch).collect::<Vec<_>>())
        }
    }
}

fn chain(net: Network, layers: &[Layer], majorant: bool) -> Network {
    layers.iter().fold(net, |net, layer| add(net, layer, majorant))
}

fn build(image: [usize; 3], layers: &[Layer], majorant: bool) -> wgpu_cnn::Result<Graph> {
    chain(Network::new("generated", image), layers, majorant).build()
}

/// The layers but for those that the ones before do not allow.
fn possible(image: [usize; 3], layers: Vec<Layer>) -> Vec<Layer> {
    let mut kept = Vec::new();
    for layer in layers {
        kept.push(layer);
        if build(image, &kept, false).is_err() {
            kept.pop();
        }
    }
    kept
}

/// Sizes that no layer has, at which arithmetic overflows, among small ones.
fn wild() -> BoxedStrategy<usize> {
    prop_oneof![12 => 0_usize..6, 1 => Just(1 << 58), 1 => Just(usize::MAX / 2), 1 => Just(usize::MAX)]
        .boxed()
}

fn activations() -> BoxedStrategy<Activation> {
    prop_oneof![
        Just(Activation::Relu),
        Just(Activation::LeakyRelu { alpha: 0.1 }),
        Just(Activation::RELU6),
        Just(Activation::Tanh),
        Just(Activation::Abs),
    ]
    .boxed()
}

/// Layers whose numbers are of `size`; where these are tame, no pool has a window that sees padding alone.
fn layers(size: &BoxedStrategy<usize>, tame: bool) -> BoxedStrategy<Vec<Layer>> {
    let pair = || [size.clone(), size.clone()];
    let same = prop_oneof![Just(Padding::Valid), Just(Padding::SameUpper), Just(Padding::SameLower)];
    let pads = || (pair(), pair()).prop_map(|([a, b], [c, d])| Padding::from([(a, b), (c, d)]));
    let any_padding = prop_oneof![same.clone(), size.clone().prop_map(Padding::from), pads()].boxed();
    let pool_padding = if tame { same.boxed() } else { any_padding.clone() };
    let pool_dilation = if tame { Just(1).boxed() } else { size.clone() };
    // So that something is left for the layers behind.
    let step = if tame { prop_oneof![4 => Just(1), 1 => 2_usize..4].boxed() } else { size.clone() };
    let groups = prop_oneof![3 => Just(1), 1 => size.clone()];
    let conv = (size.clone(), pair(), step.clone(), step.clone(), any_padding, groups, any::<bool>())
        .prop_map(|(filters, kernel, stride, dilation, padding, groups, bias)| Layer::Conv {
            filters,
            kernel,
            stride,
            dilation,
            padding,
            groups,
            bias,
        });
    let pool = (any::<bool>(), pair(), step, pool_dilation, pool_padding, any::<bool>(), any::<bool>())
        .prop_map(|(max, kernel, stride, dilation, padding, ceil, count_pad)| Layer::Pool {
            max,
            kernel,
            stride,
            dilation,
            padding,
            ceil,
            count_pad,
        });
    let head = prop_oneof![
        Just(Layer::GlobalAverage),
        Just(Layer::GlobalMax),
        Just(Layer::Flatten),
        size.clone().prop_map(Layer::Linear),
    ];
    let leaf = prop_oneof![
        8 => conv,
        4 => pool,
        2 => Just(Layer::BatchNorm),
        6 => activations().prop_map(Layer::Activation),
        1 => head,
    ];
    let layer = leaf.prop_recursive(2, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Layer::Residual),
            vec(vec(inner, 0..3), 0..4).prop_map(Layer::Concat),
        ]
    });
    vec(layer, 0..if tame { 16 } else { 9 }).boxed()
}

/// Cases that are the same in every run; a failure prints the smallest network that fails.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(0x6e65_7477),
        failure_persistence: None,
        max_shrink_iters: 2000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn no_description_makes_the_builder_panic(
        image in [wild(), wild(), wild()],
        layers in layers(&wild(), false),
        softmax in proptest::option::of(any::<bool>().prop_map(|log| Layer::Softmax { log })),
    ) {
        let layers: Vec<_> = layers.into_iter().chain(softmax).collect();
        if let Ok(graph) = build(image, &layers, false) {
            prop_assert_eq!(graph.summary().layers.len(), graph.nodes().len());
            let last = &graph.value(graph.outputs()[0]).info.shape;
            if let Some(layer) = graph.summary().layers.last() {
                prop_assert_eq!(&layer.output, last);
            }
            // Another batch is another overflow.
            for batch in [0, 3, 1 << 40, usize::MAX] {
                let _ = graph.with_batch(batch).map(|graph| graph.summary());
            }
        }
    }
}

fn tame() -> (BoxedStrategy<[usize; 3]>, BoxedStrategy<Vec<Layer>>) {
    ([1_usize..5, 4..9, 4..9].boxed(), layers(&(1_usize..5).boxed(), true))
}

fn gpu() -> &'static Device {
    static GPU: OnceLock<Device> = OnceLock::new();
    GPU.get_or_init(|| {
        Device::gpu().expect("the tests need a GPU adapter; `cargo xtask test` installs a software one")
    })
}

fn options(passes: Passes) -> PlanOptions {
    let mut options = PlanOptions::default();
    options.passes = passes;
    options
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn the_summary_foretells_the_shapes(image in tame().0, layers in tame().1) {
        let layers = possible(image, layers);
        let graph = build(image, &layers, false).unwrap();
        let names: Vec<_> = graph.nodes().iter().map(|n| n.name.as_str()).collect();
        for batch in [1, 3] {
            let graph = graph.with_batch(batch).unwrap();
            let all = if names.is_empty() { graph.clone() } else { graph.with_outputs(&names).unwrap() };
            let x = random(&graph, batch as u64);
            for passes in [Passes::default(), Passes::none()] {
                let plan = Device::cpu().compile_with(&all, &options(passes)).unwrap();
                let outputs = plan.run(std::slice::from_ref(&x)).unwrap();
                for (output, layer) in outputs.iter().zip(&graph.summary().layers) {
                    prop_assert_eq!(output.shape(), &layer.output, "{}", layer.name);
                }
            }
        }
    }
}

fn random(graph: &Graph, seed: u64) -> Tensor {
    let shape = &graph.value(graph.inputs()[0]).info.shape;
    Tensor::new(shape.to_vec(), Rng::new(seed).values(shape.elements())).unwrap()
}

/// Biases and statistics that are not those of an untrained network; with variances from 0.5.
fn trained(graph: &mut Graph) {
    let mut rng = Rng::new(11);
    let mut weights: BTreeMap<String, Tensor> =
        graph.weights().map(|(name, tensor)| (name.to_string(), tensor.clone())).collect();
    for (name, tensor) in &mut weights {
        let is_matrix = tensor.shape().len() > 1;
        for value in tensor.values_mut::<f32>().unwrap() {
            match name {
                _ if is_matrix => {}
                name if name.ends_with("running_var") => *value = 1.0 + 0.5 * rng.value(),
                _ => *value = rng.value(),
            }
        }
    }
    graph.set_weights(weights).unwrap();
}

/// The weights of a network for its majorant: absolute values, so that no two terms cancel.
fn absolute(weights: &Graph, majorant: &mut Graph) {
    let weights = weights.weights().map(|(name, tensor)| {
        let mut tensor = tensor.clone();
        // A mean is subtracted.
        let sign = if name.ends_with("running_mean") { -1.0 } else { 1.0 };
        tensor.values_mut::<f32>().unwrap().iter_mut().for_each(|v| *v = sign * v.abs());
        (name.to_string(), tensor)
    });
    majorant.set_weights(weights.collect()).unwrap();
}

/// How far an f32 evaluation may lie from the exact logits, by the running error analysis of a whole network.
///
/// A layer of K terms adds at most K u of its majorant, the same sum over absolute values, to the error; what it is
/// given passes through the layers behind as through their majorants, for none of the activations has a slope above 1.
/// So the majorant's logits, times u and the sum of all K, bound the error.
fn permitted(graph: &Graph, majorant: &Graph, x: &Tensor) -> Vec<f64> {
    // Other layers: at most 8 x 8 cells of a plane; 20 units for a hyperbolic tangent or a normalisation.
    const OTHER: f64 = 64.0 + 20.0;
    let terms: f64 = graph
        .summary()
        .layers
        .iter()
        .map(|layer| layer.macs as f64 / layer.output.elements() as f64 + OTHER)
        .sum();
    let mut x = x.clone();
    x.values_mut::<f32>().unwrap().iter_mut().for_each(|v| *v = v.abs());
    let majorant = Device::cpu().compile(majorant).unwrap().run_one(&x).unwrap();
    let majorant = majorant.values::<f32>().unwrap();
    majorant.iter().map(|&m| terms * U * f64::from(m) + f64::from(f32::MIN_POSITIVE)).collect()
}

/// The largest difference over what is permitted.
fn worst(a: &Tensor, b: &Tensor, permitted: &[f64]) -> f64 {
    let (a, b) = (a.values::<f32>().unwrap(), b.values::<f32>().unwrap());
    let ratios = a.iter().zip(b).zip(permitted).map(|((a, b), p)| f64::from(a - b).abs() / p);
    ratios.fold(0.0, |worst, r| if r > worst || r.is_nan() { r } else { worst })
}

fn agree(image: [usize; 3], layers: &[Layer], softmax_of: Option<bool>) -> Result<(), TestCaseError> {
    let mut graph = build(image, layers, false).unwrap();
    trained(&mut graph);
    let mut majorant = build(image, layers, true).unwrap();
    absolute(&graph, &mut majorant);
    let head: Vec<_> = layers.iter().cloned().chain(softmax_of.map(|log| Layer::Softmax { log })).collect();
    let mut whole = build(image, &head, false).unwrap();
    whole.set_weights(graph.weights().map(|(n, t)| (n.to_string(), t.clone())).collect()).unwrap();

    for batch in [1, 3] {
        let [graph, majorant, whole] = [&graph, &majorant, &whole].map(|g| g.with_batch(batch).unwrap());
        let x = random(&graph, 40 + batch as u64);
        let logits =
            Device::cpu().compile_with(&graph, &options(Passes::none())).unwrap().run_one(&x).unwrap();
        let mut permitted = permitted(&graph, &majorant, &x);
        prop_assert!(permitted.iter().all(|p| p.is_finite()), "no bound");
        if let Some(log) = softmax_of {
            // Logits wrong by e move a probability by at most e and its logarithm by at most 2 e, to first order.
            let (shape, values) = (logits.shape(), logits.values::<f32>().unwrap());
            let answer = if log { log_softmax(values, shape, 1) } else { softmax(values, shape, 1) };
            let moved = 2.5 * permitted.iter().fold(0.0, |a: f64, &b| a.max(b));
            permitted = (0..values.len()).map(|i| moved + bound(&answer, i, 1.0)).collect();
        }
        let mut outputs = Vec::new();
        for device in [&Device::cpu(), gpu()] {
            for passes in [Passes::none(), Passes::default()] {
                let plan = device.compile_with(&whole, &options(passes)).unwrap();
                let first = plan.run_one(&x).unwrap();
                let again = plan.run_one(&x).unwrap();
                prop_assert_eq!(&first, &again, "two runs differ on {}", device.info());
                outputs.push((format!("{} {passes:?}", device.info()), first));
            }
        }
        for (label, output) in &outputs[1..] {
            // Both sides may err.
            let worst = worst(&outputs[0].1, output, &permitted);
            prop_assert!(worst <= 2.0, "batch {batch}, {label}: {worst} times the permitted error");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(40))]

    #[test]
    fn the_gpu_agrees_with_the_cpu(
        image in tame().0,
        layers in tame().1,
        softmax_of in proptest::option::of(any::<bool>()),
    ) {
        agree(image, &possible(image, layers), softmax_of)?;
    }
}

/// A small network with one of everything, so that nothing depends on what the generator happens to draw.
#[test]
fn a_network_of_everything_agrees() {
    let conv = |filters, kernel, groups| Layer::Conv {
        filters,
        kernel: [kernel; 2],
        stride: 1,
        dilation: 1,
        padding: Padding::SameUpper,
        groups,
        bias: true,
    };
    let pool = |max, ceil| Layer::Pool {
        max,
        kernel: [3, 2],
        stride: 2,
        dilation: 1,
        padding: Padding::Valid,
        ceil,
        count_pad: false,
    };
    let relu = Layer::Activation(Activation::Relu);
    let block = vec![conv(6, 3, 1), Layer::BatchNorm, relu.clone(), conv(6, 3, 6), Layer::BatchNorm];
    let layers = [
        conv(6, 5, 1),
        relu.clone(),
        pool(true, true),
        Layer::Residual(block),
        relu,
        Layer::Concat(vec![
            vec![conv(2, 1, 1)],
            vec![conv(3, 3, 3), Layer::Activation(Activation::Tanh)],
            vec![],
        ]),
        pool(false, false),
        Layer::Flatten,
        Layer::Linear(10),
    ];
    for head in [None, Some(false), Some(true)] {
        agree([3, 13, 11], &layers, head).unwrap();
    }
}

#[test]
fn a_wrong_weight_is_seen() {
    let graph = |change: f32| {
        let mut graph = image(2, 3, 3).flatten().seed(1).linear(4).build().unwrap();
        let mut weights: BTreeMap<String, Tensor> =
            graph.weights().map(|(n, t)| (n.to_string(), t.clone())).collect();
        weights.get_mut("fc1.weight").unwrap().values_mut::<f32>().unwrap()[5] += change;
        graph.set_weights(weights).unwrap();
        graph
    };
    let (right, wrong) = (graph(0.0), graph(1e-3));
    let mut majorant = graph(0.0);
    absolute(&right, &mut majorant);
    let x = random(&right, 3);
    let run = |graph: &Graph| Device::cpu().compile(graph).unwrap().run_one(&x).unwrap();
    let permitted = permitted(&right, &majorant, &x);
    assert!(worst(&run(&right), &run(&wrong), &permitted) > 2.0);
}

#[test]
fn dropout_changes_nothing_until_a_network_is_trained() {
    let with = |rate: f32| {
        let net = image(1, 4, 4).seed(3).flatten().linear(8).relu();
        if rate > 0.0 { net.dropout(rate).linear(3).dropout(rate) } else { net.linear(3) }.build().unwrap()
    };
    let (plain, dropping) = (with(0.0), with(0.5));
    let seeds: Vec<_> = dropping
        .nodes()
        .iter()
        .filter_map(|node| match node.op {
            wgpu_cnn::ops::Op::Dropout(op) => Some((node.name.as_str(), op.seed)),
            _ => None,
        })
        .collect();
    assert!(matches!(seeds[..], [("dropout1", a), ("dropout2", b)] if a != b), "{seeds:?}");
    let x = Tensor::new([1, 1, 4, 4], Rng::new(1).values(16)).unwrap();
    let run = |graph: &Graph| Device::cpu().compile(graph).unwrap().run_one(&x).unwrap();
    assert_eq!(run(&plain), run(&dropping));
    refused(image(1, 2, 2).dropout(1.0), "dropout1", "below 1", "1");
}
