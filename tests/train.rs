//! Training as its users meet it: what a step computes, that it learns, stops, goes on and fails as it says.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use wgpu_cnn::ops::Dropout;
use wgpu_cnn::train::data::Dataset;
use wgpu_cnn::train::{
    Checkpoint, Clip, Ending, EpochReport, Event, Loss, Optimizer, Schedule, TrainOptions, Trainer, evaluate,
    fresh_weights, layers_below_head, new_head, without_softmax,
};
use wgpu_cnn::{Activation, Conv2d, Device, Error, Graph, Network, Tensor};

use support::random::Rng;

#[path = "support/mod.rs"]
mod support;

const CLASSES: usize = 3;
const SIDE: usize = 8;
/// Half the distance between 1 and the next f32: the relative error of one rounding.
const EPSILON: f64 = 1.0 / (1u64 << 24) as f64;

fn devices() -> [Device; 2] {
    let gpu =
        Device::gpu().expect("the tests need a GPU adapter; `cargo xtask test` installs a software one");
    [Device::cpu(), gpu]
}

/// Noise with a bright patch whose place tells the class.
fn images(count: usize, seed: u64) -> (Tensor, Vec<usize>) {
    let mut rng = Rng::new(seed);
    let labels: Vec<_> = (0..count).map(|i| i % CLASSES).collect();
    let mut values = Vec::new();
    for &label in &labels {
        for (y, x) in (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (y, x))) {
            let lit = x / 3 == label && y / 3 == label;
            values.push(0.3 * rng.value() + f32::from(u8::from(lit)));
        }
    }
    (Tensor::new([count, 1, SIDE, SIDE], values).unwrap(), labels)
}

fn dataset(count: usize, seed: u64) -> Dataset {
    let (images, labels) = images(count, seed);
    Dataset::new(images, labels, CLASSES).unwrap()
}

/// A network with a layer of each kind that training treats in its own way.
fn network() -> Graph {
    Network::new("small", [1, SIDE, SIDE])
        .seed(5)
        .conv2d(Conv2d::new(4, 3).padding(1).bias(false))
        .batch_norm()
        .relu()
        .max_pool(2)
        .conv2d(Conv2d::new(6, 3))
        .tanh()
        .dropout(0.25)
        .flatten()
        .linear(CLASSES)
        .build()
        .unwrap()
}

fn options(epochs: u64) -> TrainOptions {
    let mut options = TrainOptions::default();
    options.epochs = epochs;
    options.batch = 8;
    options.seed = 3;
    options.schedule = Schedule::cosine(0.01);
    options.augment.shift = 1;
    options
}

fn go_on(_: Event) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// The bits of all weights.
fn bits(network: &Graph) -> BTreeMap<String, Vec<u32>> {
    let bits = |tensor: &Tensor| tensor.values::<f32>().unwrap().iter().map(|v| v.to_bits()).collect();
    network.weights().map(|(name, tensor)| (name.to_string(), bits(tensor))).collect()
}

fn weights(network: &Graph, name: &str) -> Vec<f64> {
    let (_, tensor) = network.weights().find(|(other, _)| *other == name).expect(name);
    tensor.values::<f32>().unwrap().iter().map(|&v| f64::from(v)).collect()
}

fn trained(device: &Device, network: &Graph, options: TrainOptions) -> Trainer {
    let mut trainer = Trainer::new(device, network, options).unwrap();
    let ending = trainer.run(&dataset(48, 1), Some(&dataset(30, 2)), &mut go_on).unwrap();
    assert_eq!(ending, Ending::Complete);
    trainer
}

#[test]
fn a_network_learns_on_both_devices_and_the_same_seed_gives_the_same_bits() {
    for device in devices() {
        let trainer = trained(&device, &network(), options(12));
        let history = trainer.history();
        assert_eq!(history.len(), 12);
        let [first, .., last] = history else { panic!() };
        assert!(last.train_loss < 0.5 * first.train_loss, "{device:?} {first:?} {last:?}");
        assert!(last.validation_accuracy > Some(0.9), "{device:?} {last:?}");
        assert!(last.learning_rate < first.learning_rate && last.images_per_s > 0.0);
        let weights = bits(&trainer.network().unwrap());

        assert_eq!(
            weights,
            bits(&trained(&device, &network(), options(12)).network().unwrap()),
            "{device:?}"
        );
        let mut other = options(12);
        other.seed = 4;
        assert_ne!(weights, bits(&trained(&device, &network(), other).network().unwrap()), "{device:?}");
    }
}

#[test]
fn a_resumed_training_ends_in_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let (train, validation) = (dataset(48, 1), dataset(30, 2));
    for device in devices() {
        let straight = trained(&device, &network(), options(4));
        // Between two epochs, and within one.
        for (epoch, step) in [(2, 6), (3, 2)] {
            let file = folder.path().join("state");
            let mut stopping = options(4);
            stopping.checkpoint = Some(file.clone());
            let mut trainer = Trainer::new(&device, &network(), stopping).unwrap();
            let ending = trainer.run(&train, Some(&validation), &mut |event| match event {
                Event::Step { epoch: e, step: s, .. } if (e, s) == (epoch, step) && s < 6 => {
                    ControlFlow::Break(())
                }
                Event::Epoch(report) if step == 6 && report.epoch == epoch => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            });
            assert_eq!(ending.unwrap(), Ending::Stopped);
            drop(trainer);

            let mut resumed = Trainer::new(&device, &network(), options(4)).unwrap();
            resumed.resume(Checkpoint::load(&file).unwrap()).unwrap();
            resumed.run(&train, Some(&validation), &mut go_on).unwrap();
            assert_eq!(bits(&straight.network().unwrap()), bits(&resumed.network().unwrap()), "{device:?}");
            let (best, best_report) = straight.best().unwrap().unwrap();
            let (resumed_best, resumed_report) = resumed.best().unwrap().unwrap();
            assert_eq!(bits(&best), bits(&resumed_best));
            assert_eq!(best_report.epoch, resumed_report.epoch);
            let losses = |trainer: &Trainer| {
                let numbers = |r: &EpochReport| (r.epoch, r.train_loss, r.train_accuracy, r.validation_loss);
                trainer.history().iter().map(numbers).collect::<Vec<_>>()
            };
            assert_eq!(losses(&straight), losses(&resumed));
        }
    }
}

#[test]
fn what_is_no_checkpoint_of_this_training_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::cpu();
    let mut trainer = trained(&device, &network(), options(1));
    let before = bits(&trainer.network().unwrap());
    let file = folder.path().join("state");
    trainer.checkpoint().unwrap().save(&file).unwrap();
    let whole = std::fs::read(&file).unwrap();

    let broken = folder.path().join("broken");
    for length in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
        std::fs::write(&broken, &whole[..length]).unwrap();
        let error = Checkpoint::load(&broken).unwrap_err();
        assert!(matches!(error, Error::Checkpoint { .. }), "{length}: {error}");
    }
    let weights = folder.path().join("weights.safetensors");
    trainer.network().unwrap().save_weights(&weights).unwrap();
    let error = Checkpoint::load(&weights).unwrap_err();
    assert!(error.to_string().contains("no checkpoint"), "{error}");
    let error = Checkpoint::load(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap_err();
    assert!(matches!(error, Error::Checkpoint { .. }), "{error}");
    assert!(matches!(Checkpoint::load(folder.path().join("none")).unwrap_err(), Error::Io { .. }));

    // Sound checkpoints, but of other trainings.
    let foreign = |network: &Graph, options: TrainOptions| {
        Trainer::new(&device, network, options).unwrap().checkpoint().unwrap()
    };
    let mut seed = options(1);
    seed.seed = 9;
    let mut batch = options(1);
    batch.batch = 4;
    let mut rule = options(1);
    rule.optimizer = Optimizer::sgd(0.9);
    let other = new_head(&network(), 7, 0).unwrap();
    for (checkpoint, reason) in [
        (foreign(&network(), seed), "seed 9"),
        (foreign(&network(), batch), "batch size 4"),
        (foreign(&network(), rule), "velocity"),
        (foreign(&other, options(1)), "fc1.weight"),
    ] {
        let error = trainer.resume(checkpoint).unwrap_err();
        assert!(matches!(error, Error::Training(_)) && error.to_string().contains(reason), "{error}");
        assert_eq!(bits(&trainer.network().unwrap()), before);
    }
    trainer.resume(Checkpoint::load(&file).unwrap()).unwrap();
    assert_eq!(bits(&trainer.network().unwrap()), before);
    let error = trainer.run(&dataset(40, 1), None, &mut go_on).unwrap_err();
    assert!(error.to_string().contains("48 images"), "{error}");
}

#[test]
fn patience_ends_a_training_that_does_not_improve() {
    let mut options = options(50);
    options.schedule = Schedule::constant(0.0);
    options.patience = Some(3);
    let network = Network::new("fc", [1, SIDE, SIDE]).flatten().linear(CLASSES).build().unwrap();
    let mut trainer = Trainer::new(&Device::cpu(), &network, options).unwrap();
    let ending = trainer.run(&dataset(48, 1), Some(&dataset(30, 2)), &mut go_on).unwrap();
    assert_eq!((ending, trainer.history().len()), (Ending::Patience, 4));
    assert_eq!(trainer.best().unwrap().unwrap().1.epoch, 1);
}

#[test]
fn a_loss_that_leaves_the_numbers_names_step_and_layer() {
    for device in devices() {
        // The logarithm of what becomes negative.
        let logarithm = Network::new("log", [1, SIDE, SIDE])
            .flatten()
            .linear(4)
            .name("ln")
            .activation(Activation::Log)
            .linear(CLASSES)
            .build()
            .unwrap();
        let mut trainer = Trainer::new(&device, &logarithm, options(3)).unwrap();
        let before = bits(&trainer.network().unwrap());
        let error = trainer.run(&dataset(48, 1), None, &mut go_on).unwrap_err();
        let Error::NotFinite { epoch: 1, step: 1, layer } = &error else { panic!("{error}") };
        assert!(layer.contains("'ln'"), "{error}");
        assert_eq!(bits(&trainer.network().unwrap()), before);

        // Weights that a huge step throws out of range: the update is finite, the next forward pass is not.
        let mut options = options(3);
        options.optimizer = Optimizer::sgd(0.0);
        options.schedule = Schedule::constant(1e30);
        let deep = Network::new("deep", [1, SIDE, SIDE]).flatten().linear(9).relu().linear(CLASSES).build();
        let mut trainer = Trainer::new(&device, &deep.unwrap(), options).unwrap();
        let error = trainer.run(&dataset(48, 1), None, &mut go_on).unwrap_err();
        let Error::NotFinite { epoch: 1, step, layer } = &error else { panic!("{error}") };
        assert!(*step <= 6 && layer.contains("fc"), "{error}");
    }
}

#[test]
fn frozen_layers_keep_their_bits_and_all_others_learn() {
    let mut options = options(2);
    options.frozen = vec!["conv1".into(), "bn1".into()];
    for device in devices() {
        let before = bits(&network());
        let after = bits(&trained(&device, &network(), options.clone()).network().unwrap());
        for (name, weights) in &before {
            let frozen = name.starts_with("conv1.") || name.starts_with("bn1.");
            assert_eq!(after[name] == *weights, frozen, "{name}");
        }
        assert_eq!(before.len(), 9);
    }
    options.frozen = layers_below_head(&network());
    let before = bits(&network());
    let after = bits(&trained(&Device::cpu(), &network(), options.clone()).network().unwrap());
    let changed: Vec<_> = before.keys().filter(|name| before[*name] != after[*name]).collect();
    assert_eq!(changed, ["fc1.bias", "fc1.weight"]);
}

#[test]
fn a_new_head_keeps_all_that_is_below_it() {
    let old = network();
    let new = new_head(&old, 7, 1).unwrap();
    assert_eq!(new.value(new.outputs()[0]).info.shape[..], [1, 7]);
    let (old, new) = (bits(&old), bits(&new));
    for (name, weights) in &old {
        assert_eq!(new[name] == *weights, !name.starts_with("fc1"), "{name}");
    }
    assert!(new["fc1.weight"].iter().any(|w| *w != 0) && new["fc1.bias"] == [0; 7]);
    let resnet = new_head(&wgpu_cnn::zoo::resnet18().unwrap(), 5, 1).unwrap();
    assert_eq!(resnet.value(resnet.outputs()[0]).info.shape[..], [1, 5]);
    // SqueezeNet's last layer is a convolution with a pool behind it.
    let squeezed = new_head(&wgpu_cnn::zoo::squeezenet1_1().unwrap(), 5, 1).unwrap();
    assert_eq!(squeezed.value(squeezed.outputs()[0]).info.shape[..], [1, 5]);
}

#[test]
fn fresh_weights_are_those_of_the_builder() {
    let network = |seed| {
        let net = Network::new("net", [2, 6, 6]).seed(seed).conv2d(Conv2d::new(4, 3)).batch_norm().relu();
        net.flatten().linear(5).build().unwrap()
    };
    assert_eq!(bits(&fresh_weights(&network(1), 2).unwrap()), bits(&network(2)));
    assert_ne!(bits(&network(1)), bits(&network(2)));
}

#[test]
fn what_cannot_be_trained_says_why() {
    let device = Device::cpu();
    let refused = |network: &Graph, change: &dyn Fn(&mut TrainOptions)| {
        let mut options = options(1);
        change(&mut options);
        match Trainer::new(&device, network, options) {
            Err(error @ Error::Training(_)) => error.to_string(),
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("not refused"),
        }
    };
    let flat = || Network::new("net", [1, SIDE, SIDE]).flatten().linear(CLASSES);
    let net = flat().build().unwrap();
    let softmax = flat().softmax().build().unwrap();
    let reason = refused(&softmax, &|_| {});
    assert!(reason.contains("softmax1") && reason.contains("logits"), "{reason}");
    let logits = without_softmax(&softmax).unwrap();
    assert!(Trainer::new(&device, &logits, options(1)).is_ok());
    assert!(without_softmax(&logits).is_err());
    // The squared error takes what the network returns, whatever it is.
    let mut squared = options(1);
    squared.loss = Loss::MeanSquaredError;
    assert!(Trainer::new(&device, &softmax, squared).is_ok());

    let spatial = Network::new("net", [1, SIDE, SIDE]).conv2d(Conv2d::new(CLASSES, 3)).build().unwrap();
    assert!(refused(&spatial, &|_| {}).contains("flatten"));
    assert!(refused(&net, &|o| o.frozen = vec!["conv7".into()]).contains("fc1"));
    assert!(refused(&net, &|o| o.frozen = vec!["fc1".into()]).contains("nothing to train"));
    assert!(refused(&net, &|o| o.batch = 0).contains("batch"));
    assert!(refused(&net, &|o| o.clip = Some(Clip::Norm(0.0))).contains("above 0"));
    assert!(refused(&net, &|o| o.optimizer = Optimizer::sgd(1.0)).contains("momentum"));
    assert!(refused(&net, &|o| o.loss = Loss::CrossEntropy { label_smoothing: 1.0 }).contains("smoothing"));
    let one = Network::new("net", [1, 1, 1]).batch_norm().flatten().linear(CLASSES).build().unwrap();
    assert!(refused(&one, &|o| o.batch = 1).contains("bn1"));

    let mut trainer = Trainer::new(&device, &net, options(1)).unwrap();
    let mut run = |data: &Dataset| trainer.run(data, None, &mut go_on).unwrap_err().to_string();
    assert!(run(&dataset(7, 1)).contains("batch of 8"));
    let (pictures, labels) = images(9, 1);
    assert!(run(&Dataset::new(pictures.clone(), labels.clone(), 4).unwrap()).contains("4 classes"));
    let other = Tensor::new([9, 1, 4, 16], pictures.values::<f32>().unwrap().to_vec()).unwrap();
    assert!(run(&Dataset::new(other, labels, CLASSES).unwrap()).contains("1x4x16"));
}

/// One step of plain descent on a linear layer, in f64 from the definitions: new weights, new bias, loss, and for each of
/// the weights the sum of the magnitudes that its gradient is summed of.
struct Reference {
    weight: Vec<f64>,
    bias: Vec<f64>,
    loss: f64,
    magnitude: f64,
}

fn reference(network: &Graph, rate: f64, loss: Loss, clip: Option<Clip>) -> Reference {
    let (pictures, labels) = images(8, 1);
    let x: Vec<f64> = pictures.values::<f32>().unwrap().iter().map(|&v| f64::from(v)).collect();
    let (weight, bias) = (weights(network, "fc1.weight"), weights(network, "fc1.bias"));
    let pixels = SIDE * SIDE;
    let (mut d_weight, mut d_bias) = (vec![0.0; weight.len()], vec![0.0; CLASSES]);
    let (mut total, mut magnitude) = (0.0, 0f64);
    for (image, &label) in x.chunks_exact(pixels).zip(&labels) {
        let dot = |class: usize| -> f64 {
            image.iter().zip(&weight[class * pixels..]).map(|(a, b)| a * b).sum::<f64>() + bias[class]
        };
        let y: Vec<f64> = (0..CLASSES).map(dot).collect();
        let n = labels.len() as f64;
        for class in 0..CLASSES {
            let hit = f64::from(u8::from(class == label));
            let slope = match loss {
                Loss::CrossEntropy { label_smoothing } => {
                    let sum: f64 = y.iter().map(|y| y.exp()).sum();
                    let smoothing = f64::from(label_smoothing);
                    let target = hit * (1.0 - smoothing) + smoothing / CLASSES as f64;
                    total -= target * (y[class].exp() / sum).ln() / n;
                    (y[class].exp() / sum - target) / n
                }
                _ => {
                    total += (y[class] - hit).powi(2) / (n * CLASSES as f64);
                    2.0 * (y[class] - hit) / (n * CLASSES as f64)
                }
            };
            d_bias[class] += slope;
            for (d, x) in d_weight[class * pixels..].iter_mut().zip(image) {
                *d += slope * x;
            }
            magnitude = magnitude.max(slope.abs());
        }
    }
    let all = || d_weight.iter().chain(&d_bias);
    let norm = all().map(|d| d * d).sum::<f64>().sqrt();
    let clipped = |d: f64| match clip {
        None => d,
        Some(Clip::Value(limit)) => d.clamp(-f64::from(limit), f64::from(limit)),
        Some(Clip::Norm(limit)) => d * (f64::from(limit) / (norm + 1e-6)).min(1.0),
    };
    let step = |w: &[f64], d: &[f64]| w.iter().zip(d).map(|(w, d)| w - rate * clipped(*d)).collect();
    Reference {
        weight: step(&weight, &d_weight),
        bias: step(&bias, &d_bias),
        loss: total,
        magnitude: magnitude * labels.len() as f64,
    }
}

#[test]
fn a_step_is_that_of_the_definitions() {
    const RATE: f64 = 0.5;
    let net = Network::new("linear", [1, SIDE, SIDE]).seed(2).flatten().linear(CLASSES).build().unwrap();
    let smooth = Loss::CrossEntropy { label_smoothing: 0.2 };
    for device in devices() {
        for (loss, clip) in [
            (Loss::CROSS_ENTROPY, None),
            (smooth, None),
            (Loss::MeanSquaredError, None),
            (smooth, Some(Clip::Norm(0.05))),
            (smooth, Some(Clip::Norm(1e4))),
            (Loss::MeanSquaredError, Some(Clip::Value(0.01))),
        ] {
            let want = reference(&net, RATE, loss, clip);
            let mut options = options(1);
            options.loss = loss;
            options.clip = clip;
            options.optimizer = Optimizer::sgd(0.0);
            options.schedule = Schedule::constant(RATE);
            options.augment.shift = 0;
            let mut trainer = Trainer::new(&device, &net, options).unwrap();
            trainer.run(&dataset(8, 1), None, &mut go_on).unwrap();
            let got = trainer.network().unwrap();
            // An output is a sum of 65 terms, its slope goes through a softmax of 3, a gradient is a sum of 8 slopes times
            // pixels below 1.3: so many roundings, each of the magnitude of what is summed. Clipping by norm adds the
            // squares of all gradients, 195 of them.
            let roundings = (65 + 2 * CLASSES + 8 + 195 + 16) as f64;
            let scale = 1.3 * want.magnitude + 1.0;
            let bound = EPSILON * (roundings * RATE * scale + 2.0);
            for (name, want) in [("fc1.weight", &want.weight), ("fc1.bias", &want.bias)] {
                for (got, want) in weights(&got, name).iter().zip(want) {
                    assert!((got - want).abs() <= bound, "{device:?} {loss:?} {clip:?} {name}: {got} {want}");
                }
            }
            let far = (trainer.history()[0].train_loss - want.loss).abs();
            assert!(far <= EPSILON * roundings * (1.0 + want.loss), "{device:?} {loss:?}: {far}");
            // The gradients are far above the bound, so a step left out would be seen.
            let moved = weights(&got, "fc1.weight")
                .iter()
                .zip(weights(&net, "fc1.weight"))
                .any(|(a, b)| (a - b).abs() > 100.0 * bound);
            assert!(moved, "{device:?} {loss:?} {clip:?}");
        }
    }
}

#[test]
fn batch_norm_uses_the_batch_and_remembers_it() {
    let net = Network::new("norm", [1, SIDE, SIDE]).seed(2).batch_norm().flatten().linear(CLASSES);
    let net = net.build().unwrap();
    let (pictures, labels) = images(8, 1);
    let x: Vec<f64> = pictures.values::<f32>().unwrap().iter().map(|&v| f64::from(v)).collect();
    let count = x.len() as f64;
    let mean = x.iter().sum::<f64>() / count;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
    // A sum of 512 magnitudes below 1.3 and their squares.
    let bound = EPSILON * 520.0 * 1.7;
    let normal: Vec<f64> = x.iter().map(|x| (x - mean) / (variance + 1e-5).sqrt()).collect();
    let weight = weights(&net, "fc1.weight");
    let pixels = SIDE * SIDE;
    let logits = normal.chunks_exact(pixels).map(|image| -> Vec<f32> {
        let dot = |w: &[f64]| image.iter().zip(w).map(|(a, b)| a * b).sum::<f64>() as f32;
        weight.chunks_exact(pixels).map(dot).collect()
    });
    let loss = logits.zip(&labels).map(|(y, &label)| Loss::CROSS_ENTROPY.of(&y, label)).sum::<f64>() / 8.0;
    for device in devices() {
        let mut options = options(1);
        options.schedule = Schedule::constant(0.0);
        options.augment.shift = 0;
        let mut trainer = Trainer::new(&device, &net, options).unwrap();
        trainer.run(&dataset(8, 1), None, &mut go_on).unwrap();
        let got = trainer.network().unwrap();
        let running_mean = weights(&got, "bn1.running_mean")[0];
        let running_variance = weights(&got, "bn1.running_var")[0];
        assert!((running_mean - 0.1 * mean).abs() <= bound, "{device:?} {running_mean} {mean}");
        let want = 0.9 + 0.1 * variance * count / (count - 1.0);
        assert!((running_variance - want).abs() <= bound, "{device:?} {running_variance} {want}");
        let far = (trainer.history()[0].train_loss - loss).abs();
        // Logits are sums of 64 products of normal numbers below 5 with weights below 1.
        assert!(far <= EPSILON * (520.0 + 64.0) * 64.0 * 5.0, "{device:?} {far}");
    }
}

#[test]
fn dropout_drops_in_training_alone_and_other_units_each_time() {
    let net = |rate: f32| {
        let net = Network::new("net", [1, SIDE, SIDE]).seed(2).flatten().linear(30).relu();
        let net = if rate > 0.0 { net.dropout(rate) } else { net };
        net.linear(CLASSES).build().unwrap()
    };
    let (data, device) = (dataset(48, 1), Device::cpu());
    let evaluated = |net: &Graph| evaluate(&device, net, &data, 16, &Loss::CROSS_ENTROPY).unwrap();
    assert_eq!(evaluated(&net(0.5)), evaluated(&net(0.0)));
    // Nothing is learned, so that all that differs between epochs is what is dropped.
    let losses = |rate| {
        let mut options = options(3);
        options.schedule = Schedule::constant(0.0);
        options.augment.shift = 0;
        let trainer = trained(&device, &net(rate), options);
        trainer.history().iter().map(|r| (1e4 * r.train_loss).round() as i64).collect::<Vec<_>>()
    };
    let without = losses(0.0);
    assert!(without.iter().all(|loss| (loss - without[0]).abs() <= 1), "{without:?}");
    let with = losses(0.5);
    assert!(with[0] != with[1] && with[1] != with[2], "{with:?}");
    assert_eq!(Dropout { rate: 0.5, seed: 1 }.rate, 0.5);
}

#[test]
fn an_evaluation_counts_what_is_seen_as_what() {
    let (pictures, _) = images(6, 1);
    // A network that sees class 1 in everything.
    let mut net = Network::new("net", [1, SIDE, SIDE]).flatten().linear(CLASSES).build().unwrap();
    let mut set = |name: &str, values: Vec<f32>| {
        let id = net.find(name).unwrap();
        let shape = net.value(id).info.shape.to_vec();
        net.set_constant(id, Tensor::new(shape, values).unwrap()).unwrap();
    };
    set("fc1.weight", vec![0.0; CLASSES * SIDE * SIDE]);
    set("fc1.bias", vec![0.0, 2.0, 0.0]);
    let data = Dataset::new(pictures, vec![0, 1, 1, 2, 2, 2], CLASSES).unwrap();
    for device in devices() {
        // A batch of 4 leaves a short one.
        let result = evaluate(&device, &net, &data, 4, &Loss::CROSS_ENTROPY).unwrap();
        assert_eq!(result.confusion, [[0, 1, 0], [0, 2, 0], [0, 3, 0]]);
        assert_eq!(result.accuracy, 2.0 / 6.0);
        let sum = 2f64.exp() + 2.0;
        let want = (4.0 * sum.ln() + 2.0 * (sum.ln() - 2.0)) / 6.0;
        assert!((result.loss - want).abs() < 1e-12, "{}", result.loss);
    }
}

/// Writes checkpoints, all of whose numbers are alike, to the file that the environment names, until it is killed; without
/// one, once.
#[test]
fn checkpoints_are_written_and_read() {
    let checkpoint = |number: u64| Checkpoint {
        progress: wgpu_cnn::train::Progress { epoch: number, ..Default::default() },
        state: BTreeMap::from([(
            "w".to_string(),
            Tensor::new([100_000], vec![number as f32; 100_000]).unwrap(),
        )]),
        best: BTreeMap::new(),
    };
    let write = |path: &Path| (1..=2).for_each(|number| checkpoint(number).save(path).unwrap());
    match std::env::var_os("WGPU_CNN_TEST_CHECKPOINT") {
        Some(path) => loop {
            write(path.as_ref());
        },
        None => {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("state");
            write(&file);
            assert_eq!(Checkpoint::load(&file).unwrap(), checkpoint(2));
        }
    }
}

#[test]
fn a_killed_process_leaves_the_old_checkpoint_or_the_new_one() {
    use std::process::{Command, Stdio};
    use std::time::Duration;
    const KILLS: usize = 60;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state");
    let mut rng = Rng::new(11);
    let mut unfinished = 0;
    let written = || std::fs::metadata(&file).and_then(|file| file.modified()).ok();
    for round in 0..KILLS {
        let _ = std::fs::remove_file(folder.path().join("state.unfinished"));
        let before = written();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "checkpoints_are_written_and_read"])
            .env("WGPU_CNN_TEST_CHECKPOINT", &file)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Once it writes, at a moment that is another each time.
        while written() == before {
            assert!(child.try_wait().unwrap().is_none(), "the writer has ended");
            std::thread::sleep(Duration::from_micros(100));
        }
        std::thread::sleep(Duration::from_micros((20_000.0 * rng.unit()) as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        unfinished += usize::from(folder.path().join("state.unfinished").exists());
        let checkpoint = Checkpoint::load(&file).unwrap();
        let number = checkpoint.progress.epoch;
        assert!(number == 1 || number == 2);
        let values = checkpoint.state["w"].values::<f32>().unwrap();
        assert!(values.len() == 100_000 && values.iter().all(|&v| v == number as f32), "round {round}");
    }
    // Otherwise the kills came when nothing was being written.
    assert!(unfinished > 0, "no kill met a write");
}
