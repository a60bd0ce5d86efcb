//! The zoo against published numbers, torchvision's names, and itself.

use std::collections::{BTreeMap, BTreeSet};

use wgpu_cnn::receptive::ReceptiveField;
use wgpu_cnn::window::{Padding, Window};
use wgpu_cnn::zoo::{self, LeNetFamily};
use wgpu_cnn::{Conv2d, Error, Graph, Network, Tensor};

fn field(graph: &Graph, value: &str) -> ReceptiveField {
    let id = graph.find(value).unwrap_or_else(|| panic!("{} has no value '{value}'", graph.name()));
    graph.receptive_field(id).unwrap().unwrap()
}

fn output(graph: &Graph) -> &[usize] {
    &graph.value(graph.outputs()[0]).info.shape
}

/// A network's published numbers, for one image of 224x224 where there is a choice.
struct Published {
    name: &'static str,
    parameters: u64,
    macs: Option<u64>,
    /// Layer, size, stride and padding.
    fields: &'static [(&'static str, usize, usize, i64)],
    /// Tensors in the state dict, less `num_batches_tracked`.
    tensors: usize,
}

const PUBLISHED: &[Published] = &[
    Published { name: "lenet5", parameters: 61_706, macs: None, fields: &[("pool2", 16, 4, 0)], tensors: 10 },
    Published {
        name: "alexnet",
        parameters: 61_100_840,
        macs: Some(714_188_480),
        fields: &[("features.12", 195, 32, 66)],
        tensors: 16,
    },
    Published {
        name: "vgg16",
        parameters: 138_357_544,
        macs: Some(15_470_264_320),
        fields: &[
            ("features.4", 6, 2, 2),
            ("features.9", 16, 4, 6),
            ("features.16", 44, 8, 18),
            ("features.23", 100, 16, 42),
            ("features.30", 212, 32, 90),
        ],
        tensors: 32,
    },
    Published {
        name: "resnet18",
        parameters: 11_689_512,
        macs: Some(1_814_073_344),
        fields: &[("layer4.1", 435, 32, 217)],
        tensors: 102,
    },
    Published { name: "resnet34", parameters: 21_797_672, macs: None, fields: &[], tensors: 182 },
    Published {
        name: "resnet50",
        parameters: 25_557_032,
        macs: Some(4_089_184_256),
        fields: &[("layer4.2", 427, 32, 213)],
        tensors: 267,
    },
    Published {
        name: "resnet50_v1",
        parameters: 25_557_032,
        macs: Some(3_857_973_248),
        fields: &[("layer4.2", 483, 32, 241)],
        tensors: 267,
    },
    Published {
        name: "mobilenet_v1",
        parameters: 4_231_976,
        macs: Some(568_740_352),
        fields: &[("blocks.12.pointwise.relu6", 315, 32, 126)],
        tensors: 137,
    },
    Published {
        name: "mobilenet_v2",
        parameters: 3_504_872,
        macs: Some(300_774_272),
        fields: &[],
        tensors: 262,
    },
    Published {
        name: "squeezenet1_0",
        parameters: 1_248_424,
        macs: Some(818_924_576),
        fields: &[],
        tensors: 52,
    },
    Published {
        name: "squeezenet1_1",
        parameters: 1_235_496,
        macs: Some(349_151_936),
        fields: &[],
        tensors: 52,
    },
];

#[test]
fn parameters_macs_and_receptive_fields_are_the_published_ones() {
    let names: Vec<_> = PUBLISHED.iter().map(|p| p.name).collect();
    assert_eq!(names, zoo::NAMES);
    for published in PUBLISHED {
        let name = published.name;
        let graph = zoo::load(name).unwrap();
        assert_eq!(graph.name(), name);
        assert_eq!(output(&graph), if name == "lenet5" { [1, 10] } else { [1, 1000] }, "{name}");
        let summary = graph.summary();
        assert_eq!(summary.parameters, published.parameters, "{name}");
        assert_eq!(summary.parameters, summary.layers.iter().map(|l| l.parameters).sum::<u64>());
        assert_eq!(summary.macs, summary.layers.iter().map(|l| l.macs).sum::<u64>());
        if let Some(macs) = published.macs {
            assert_eq!(summary.macs, macs, "{name}");
        }
        assert_eq!(graph.weights().count(), published.tensors, "{name}");
        for &(layer, size, stride, padding) in published.fields {
            for axis in field(&graph, layer).axes {
                assert_eq!(
                    (axis.size, axis.stride, axis.padding),
                    (size, stride, Some(padding)),
                    "{name} {layer}"
                );
            }
        }
        // No branch of any of them is misaligned.
        graph.receptive_field(graph.outputs()[0]).unwrap();
        assert_eq!(graph.with_batch(2).unwrap().summary().macs, 2 * summary.macs, "{name}");
    }
}

/// The network of 1998, layer by layer: its pools have a weight and a bias per map, its second convolution sees some
/// maps only (table I of the paper), and its last layer compares with patterns that are not trained.
#[test]
fn lenet5_of_1998_has_its_published_weights_and_connections() {
    let size = |window: Window, input: usize| window.resolve(&[input, input]).unwrap()[0].output;
    let conv = || Window::new([5, 5]);
    let pool = || Window::new([2, 2]).stride(2);
    let c1 = size(conv(), 32);
    let s2 = size(pool(), c1);
    let c3 = size(conv(), s2);
    let s4 = size(pool(), c3);
    let c5 = size(conv(), s4);
    assert_eq!([c1, s2, c3, s4, c5], [28, 14, 10, 5, 1]);

    // Weights and bias of each map of the partly connected convolution, by how many maps it sees.
    let c3_weights: usize = [(6, 3), (9, 4), (1, 6)].iter().map(|(maps, seen)| maps * (seen * 25 + 1)).sum();
    // Trained weights; connections.
    let layers = [
        (6 * 26, 6 * 26 * c1 * c1),
        (6 * 2, 6 * (4 + 1) * s2 * s2),
        (c3_weights, c3_weights * c3 * c3),
        (16 * 2, 16 * (4 + 1) * s4 * s4),
        (120 * (16 * 25 + 1), 120 * (16 * 25 + 1) * c5 * c5),
        (84 * 121, 84 * 121),
        (0, 10 * 84),
    ];
    assert_eq!(layers.map(|(weights, _)| weights), [156, 12, 1516, 32, 48_120, 10_164, 0]);
    assert_eq!(layers.iter().map(|(weights, _)| weights).sum::<usize>(), 60_000);
    assert_eq!(layers.iter().map(|(_, connections)| connections).sum::<usize>(), 340_908);

    // The layers that the network of today shares with it.
    let today = zoo::lenet5().unwrap().summary();
    let parameters = |name| today.layers.iter().find(|l| l.name == name).unwrap().parameters as usize;
    assert_eq!([parameters("conv1"), parameters("fc1"), parameters("fc2")], [156, 48_120, 10_164]);
    assert_eq!([parameters("conv2"), parameters("fc3")], [16 * (6 * 25 + 1), 850]);
}

/// A tensor's name and shape.
type Entry = (&'static str, &'static [usize]);

/// The names and shapes that `torchvision.models.resnet18().state_dict()` has.
fn torchvision_resnet18() -> BTreeMap<String, Vec<usize>> {
    let mut dict = BTreeMap::new();
    let mut conv_bn = |conv: String, bn: String, shape: [usize; 4]| {
        dict.insert(format!("{conv}.weight"), shape.to_vec());
        for part in ["weight", "bias", "running_mean", "running_var"] {
            dict.insert(format!("{bn}.{part}"), vec![shape[0]]);
        }
    };
    conv_bn("conv1".into(), "bn1".into(), [64, 3, 7, 7]);
    for (layer, width) in [(1, 64), (2, 128), (3, 256), (4, 512)] {
        for block in 0..2 {
            let first = layer > 1 && block == 0;
            let input = if first { width / 2 } else { width };
            let name = format!("layer{layer}.{block}");
            conv_bn(format!("{name}.conv1"), format!("{name}.bn1"), [width, input, 3, 3]);
            conv_bn(format!("{name}.conv2"), format!("{name}.bn2"), [width, width, 3, 3]);
            if first {
                let shape = [width, input, 1, 1];
                conv_bn(format!("{name}.downsample.0"), format!("{name}.downsample.1"), shape);
            }
        }
    }
    dict.insert("fc.weight".into(), vec![1000, 512]);
    dict.insert("fc.bias".into(), vec![1000]);
    dict
}

#[test]
fn weights_have_torchvisions_names() {
    let resnet18 = zoo::resnet18().unwrap();
    let weights: BTreeMap<_, _> =
        resnet18.weights().map(|(n, t)| (n.to_string(), t.shape().to_vec())).collect();
    assert_eq!(weights, torchvision_resnet18());

    let some: [(&str, &[Entry]); 4] = [
        (
            "mobilenet_v2",
            &[
                ("features.0.0.weight", &[32, 3, 3, 3]),
                ("features.0.1.running_var", &[32]),
                ("features.1.conv.0.0.weight", &[32, 1, 3, 3]),
                ("features.1.conv.1.weight", &[16, 32, 1, 1]),
                ("features.1.conv.2.running_mean", &[16]),
                ("features.2.conv.0.0.weight", &[96, 16, 1, 1]),
                ("features.2.conv.1.0.weight", &[96, 1, 3, 3]),
                ("features.2.conv.1.1.bias", &[96]),
                ("features.2.conv.2.weight", &[24, 96, 1, 1]),
                ("features.2.conv.3.weight", &[24]),
                ("features.17.conv.2.weight", &[320, 960, 1, 1]),
                ("features.18.0.weight", &[1280, 320, 1, 1]),
                ("features.18.1.weight", &[1280]),
                ("classifier.1.weight", &[1000, 1280]),
                ("classifier.1.bias", &[1000]),
            ],
        ),
        (
            "squeezenet1_0",
            &[
                ("features.0.weight", &[96, 3, 7, 7]),
                ("features.3.squeeze.weight", &[16, 96, 1, 1]),
                ("features.5.expand3x3.bias", &[128]),
                ("features.7.squeeze.weight", &[32, 256, 1, 1]),
                ("features.12.expand1x1.weight", &[256, 64, 1, 1]),
                ("classifier.1.weight", &[1000, 512, 1, 1]),
            ],
        ),
        (
            "squeezenet1_1",
            &[
                ("features.0.weight", &[64, 3, 3, 3]),
                ("features.3.squeeze.weight", &[16, 64, 1, 1]),
                ("features.6.squeeze.weight", &[32, 128, 1, 1]),
                ("features.9.expand3x3.weight", &[192, 48, 3, 3]),
                ("features.12.squeeze.bias", &[64]),
                ("classifier.1.bias", &[1000]),
            ],
        ),
        (
            "alexnet",
            &[
                ("features.0.weight", &[64, 3, 11, 11]),
                ("features.3.weight", &[192, 64, 5, 5]),
                ("features.6.bias", &[384]),
                ("features.8.weight", &[256, 384, 3, 3]),
                ("features.10.weight", &[256, 256, 3, 3]),
                ("classifier.1.weight", &[4096, 9216]),
                ("classifier.4.weight", &[4096, 4096]),
                ("classifier.6.bias", &[1000]),
            ],
        ),
    ];
    for (name, tensors) in some {
        let graph = zoo::load(name).unwrap();
        let weights: BTreeMap<_, _> = graph.weights().map(|(name, t)| (name, &t.shape()[..])).collect();
        for (tensor, shape) in tensors {
            assert_eq!(weights.get(tensor), Some(shape), "{name} {tensor}");
        }
    }
    let vgg16 = zoo::vgg16().unwrap();
    let names: BTreeSet<_> = vgg16.weights().map(|(name, _)| name.to_string()).collect();
    let features = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28].map(|i| format!("features.{i}"));
    let layers = features.into_iter().chain([0, 3, 6].map(|i| format!("classifier.{i}")));
    let want: BTreeSet<_> = layers.flat_map(|l| [format!("{l}.weight"), format!("{l}.bias")]).collect();
    assert_eq!(names, want);
}

#[test]
fn a_seed_gives_the_same_weights_of_the_published_spread() {
    let weights =
        |graph: &Graph| graph.weights().map(|(name, t)| (name.to_string(), t.clone())).collect::<Vec<_>>();
    let twice = [zoo::squeezenet1_1().unwrap(), zoo::squeezenet1_1().unwrap()];
    assert_eq!(weights(&twice[0]), weights(&twice[1]));
    let seeded = |seed| weights(&LeNetFamily::new([1, 28, 28]).seed(seed).build().unwrap());
    assert_eq!(seeded(3), seeded(3));
    assert_ne!(seeded(3), seeded(4));

    for (name, tensor) in twice[0].weights().filter(|(name, _)| name.ends_with(".weight")) {
        let values = tensor.values::<f32>().unwrap();
        let n = values.len() as f64;
        let fan_in = tensor.shape()[1..].iter().product::<usize>() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let variance = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / n;
        // Five standard errors of the mean and of the variance of n normal numbers.
        let want = 2.0 / fan_in;
        assert!(mean.abs() < 5.0 * (want / n).sqrt(), "{name}: mean {mean}");
        assert!((variance - want).abs() < 5.0 * want * (2.0 / n).sqrt(), "{name}: variance {variance}");
    }
    for (name, tensor) in twice[0].weights().filter(|(name, _)| name.ends_with(".bias")) {
        assert!(tensor.values::<f32>().unwrap().iter().all(|&v| v == 0.0), "{name}");
    }
}

#[test]
fn an_unknown_name_is_answered_with_those_there_are() {
    let error = zoo::load("lenet6").unwrap_err();
    assert!(matches!(&error, Error::UnknownNetwork { asked, .. } if asked == "lenet6"));
    for name in zoo::NAMES {
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn the_lenet_family_has_the_layers_asked_for() {
    let graph = LeNetFamily::new([3, 32, 24])
        .n(2)
        .m(3)
        .k(2)
        .filters(5)
        .kernel([3, 5])
        .units(7)
        .classes(4)
        .build()
        .unwrap();
    let ops: Vec<_> = graph.nodes().iter().map(|n| n.op.name()).collect();
    let mut want = Vec::new();
    for _ in 0..3 {
        want.extend(["conv", "activation", "conv", "activation", "pool"]);
    }
    want.extend(["reshape", "gemm", "activation", "gemm", "activation", "gemm", "softmax"]);
    assert_eq!(ops, want);
    let shape = |name: &str| graph.value(graph.find(name).unwrap()).info.shape.to_vec();
    assert_eq!(shape("conv1.weight"), [5, 3, 3, 5]);
    assert_eq!(shape("conv3.weight"), [10, 5, 3, 5]);
    assert_eq!(shape("pool1"), [1, 5, 16, 12]);
    assert_eq!(shape("pool3"), [1, 20, 4, 3]);
    assert_eq!(shape("fc1.weight"), [7, 20 * 4 * 3]);
    assert_eq!(output(&graph), [1, 4]);

    let valid =
        LeNetFamily::new([1, 32, 32]).kernel(5).padding(Padding::Valid).stride(1).pool(2).build().unwrap();
    let size = |name: &str| valid.value(valid.find(name).unwrap()).info.shape[2];
    assert_eq!(["conv1", "pool1", "conv2", "pool2"].map(size), [28, 14, 10, 5]);

    let linear = LeNetFamily::new([1, 8, 8]).m(0).k(0).build().unwrap();
    assert_eq!(linear.summary().parameters, 64 * 10 + 10);

    let error = LeNetFamily::new([1, 8, 8]).m(5).build().unwrap_err();
    assert!(matches!(&error, Error::Window { layer, .. } if layer == "pool4"), "{error}");
}

#[test]
fn fully_connected_weights_grow_with_the_image() {
    let parameters = |side| {
        let graph = zoo::fully_connected("fc", [3, side, side], &[50, 20], 10).unwrap();
        assert_eq!(output(&graph), [1, 10]);
        graph.summary().parameters
    };
    let rest = 50 + (50 * 20 + 20) + (20 * 10 + 10);
    assert_eq!(parameters(8), 3 * 64 * 50 + rest);
    assert_eq!(parameters(16), 3 * 256 * 50 + rest);
}

#[test]
fn a_network_too_large_for_any_memory_is_an_error() {
    let units = 1 << 40;
    let error = zoo::fully_connected("fc", [3, 1 << 7, 1 << 7], &[units], 10).unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
    let error = zoo::fully_connected("fc", [3, 1 << 15, 1 << 15], &[units], 10).unwrap_err();
    assert!(matches!(&error, Error::Shape { layer, .. } if layer == "fc1"), "{error}");
    let error = Network::new("n", [usize::MAX, 2, 2]).relu().build().unwrap_err();
    assert!(matches!(error, Error::ShapeOverflow(_)), "{error}");
}

#[test]
fn weights_come_back_from_safetensors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let saved = LeNetFamily::new([2, 12, 12]).seed(1).build().unwrap();
    saved.save_weights(&path).unwrap();
    let mut loaded = LeNetFamily::new([2, 12, 12]).seed(2).build().unwrap();
    assert!(saved.weights().ne(loaded.weights()));
    loaded.load_weights(&path).unwrap();
    assert!(saved.weights().eq(loaded.weights()));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

    let missing = folder.path().join("missing.safetensors");
    assert!(matches!(loaded.load_weights(&missing), Err(Error::Io { path, .. }) if path == missing));
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let broken_off = loaded.load_weights(&path);
    assert!(matches!(broken_off, Err(Error::WeightsFile { path: named, .. }) if named == path));
    assert!(saved.weights().eq(loaded.weights()));
}

/// As `torch.save` would have it: counters of training are in the file, and no concern of the network.
#[test]
fn counters_of_training_are_passed_over() {
    use safetensors::{Dtype, tensor::TensorView};
    let net = |seed| {
        let conv = Conv2d::new(2, 3).bias(false);
        Network::new("n", [1, 4, 4])
            .seed(seed)
            .name("conv1")
            .conv2d(conv)
            .name("bn1")
            .batch_norm()
            .build()
            .unwrap()
    };
    let saved = net(1);
    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = saved
        .weights()
        .map(|(name, t)| {
            let bytes = t.values::<f32>().unwrap().iter().flat_map(|v| v.to_le_bytes()).collect();
            (name.to_string(), Dtype::F32, t.shape().to_vec(), bytes)
        })
        .collect();
    tensors.push(("bn1.num_batches_tracked".into(), Dtype::I64, vec![], vec![0; 8]));
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    let bytes = safetensors::serialize(views, None).unwrap();
    let mut loaded = net(2);
    loaded.load_weights_from(&bytes).unwrap();
    assert!(saved.weights().eq(loaded.weights()));
}

#[test]
fn weights_that_do_not_fit_are_named_all_at_once() {
    let mut graph = zoo::lenet5().unwrap();
    let before = graph.clone();
    let mut tensors: BTreeMap<_, _> =
        graph.weights().map(|(name, t)| (name.to_string(), t.clone())).collect();
    tensors.remove("conv1.bias");
    tensors.remove("fc3.weight");
    tensors.insert("fc4.weight".into(), Tensor::zeros([3]).unwrap());
    tensors.insert("conv2.weight".into(), Tensor::zeros([16, 6, 3, 3]).unwrap());
    let error = graph.set_weights(tensors).unwrap_err();
    let Error::Weights(problems) = &error else { panic!("{error}") };
    assert_eq!(problems.len(), 4, "{error}");
    let text = error.to_string();
    for part in ["'conv1.bias'", "'fc3.weight'", "'fc4.weight'", "'conv2.weight'", "16x6x5x5", "16x6x3x3"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(before.weights().eq(graph.weights()));
}

#[test]
fn impossible_layers_are_named_with_what_they_expected_and_got() {
    let net = || Network::new("n", [3, 8, 8]);
    let cases: [(Network, &str, &[&str]); 6] = [
        (net().name("wide").conv2d(Conv2d::new(4, 9)), "wide", &["9", "8"]),
        (net().conv2d(Conv2d::new(4, 3).groups(2)), "conv1", &["2 groups", "1x3x8x8"]),
        (net().relu().linear(10), "fc1", &["rank 2", "1x3x8x8"]),
        (net().conv2d(Conv2d::new(4, [3, 3]).stride([1, 1, 1])), "conv1", &["stride", "2", "3"]),
        (
            net().name("sum").add(&|n| n.conv2d(Conv2d::new(3, 3)), &|n| n),
            "sum",
            &["broadcast", "1x3x6x6", "1x3x8x8"],
        ),
        (net().flatten().conv2d(Conv2d::new(4, 3)), "conv1", &["rank 4", "1x192"]),
    ];
    for (network, layer, parts) in cases {
        // What follows the first failure does not hide it.
        let error = network.relu().max_pool(2).build().unwrap_err().to_string();
        assert!(error.contains(&format!("'{layer}'")), "{error}");
        for part in parts {
            assert!(error.contains(part), "'{part}' in: {error}");
        }
    }
    let twice = net().name("a").relu().name("a").relu().build().unwrap_err().to_string();
    assert!(twice.contains("'a'"), "{twice}");
}

#[test]
fn misaligned_branches_have_no_receptive_field() {
    let shifted = |padding: [(usize, usize); 2]| {
        Network::new("n", [1, 9, 9])
            .name("sum")
            .add(&|n| n.conv2d(Conv2d::new(1, 3).padding(1)), &|n| {
                n.conv2d(Conv2d::new(1, 3).padding(padding))
            })
            .build()
            .unwrap()
    };
    let aligned = shifted([(1, 1), (1, 1)]);
    assert_eq!(field(&aligned, "sum").axes[0].size, 3);

    let misaligned = shifted([(2, 0), (1, 1)]);
    let sum = misaligned.find("sum").unwrap();
    let error = misaligned.receptive_field(sum).unwrap_err();
    assert!(matches!(&error, Error::Misaligned { layer, .. } if layer == "sum"), "{error}");
    assert!(misaligned.summary().layers.last().unwrap().receptive_field.is_none());
}
