//! SqueezeNet: Iandola et al., *SqueezeNet: AlexNet-level accuracy with 50x fewer parameters* (2016).

use super::{IMAGENET, IMAGENET_CLASSES};
use crate::error::Result;
use crate::graph::Graph;
use crate::network::{Conv2d, Network, Pool2d};

/// A layer of the network's trunk, behind its first convolution.
enum Layer {
    /// The 3x3 max pool.
    Pool,
    /// A fire module: filters that squeeze, and filters of each of the two convolutions that expand.
    Fire(usize, usize),
}
use Layer::{Fire, Pool};

/// SqueezeNet 1.0: `[1, 3, 224, 224]` to logits `[1, 1000]`, random weights.
///
/// # Errors
/// Where memory for the weights runs out.
pub fn squeezenet1_0() -> Result<Graph> {
    let layers = [
        Pool,
        Fire(16, 64),
        Fire(16, 64),
        Fire(32, 128),
        Pool,
        Fire(32, 128),
        Fire(48, 192),
        Fire(48, 192),
        Fire(64, 256),
        Pool,
        Fire(64, 256),
    ];
    squeezenet("squeezenet1_0", Conv2d::new(96, 7).stride(2), layers)
}

/// SqueezeNet 1.1, as accurate with 2.4 times less computation: `[1, 3, 224, 224]` to logits `[1, 1000]`, random
/// weights.
///
/// # Errors
/// Where memory for the weights runs out.
pub fn squeezenet1_1() -> Result<Graph> {
    let layers = [
        Pool,
        Fire(16, 64),
        Fire(16, 64),
        Pool,
        Fire(32, 128),
        Fire(32, 128),
        Pool,
        Fire(48, 192),
        Fire(48, 192),
        Fire(64, 256),
        Fire(64, 256),
    ];
    squeezenet("squeezenet1_1", Conv2d::new(64, 3).stride(2), layers)
}

fn squeezenet(name: &str, stem: Conv2d, layers: impl IntoIterator<Item = Layer>) -> Result<Graph> {
    let net = Network::new(name, IMAGENET).name("features.0").conv2d(stem).name("features.1").relu();
    let trunk = (2..).zip(layers).fold(net, |net, (i, layer)| {
        let name = format!("features.{i}");
        match layer {
            Pool => net.name(name).max_pool(Pool2d::new(3).stride(2).ceil_mode(true)),
            Fire(squeeze, expand) => fire(net, &name, squeeze, expand),
        }
    });
    trunk
        .name("classifier.1")
        .conv2d(Conv2d::new(IMAGENET_CLASSES, 1))
        .name("classifier.2")
        .relu()
        .name("classifier.3")
        .global_average_pool()
        .name("flatten")
        .flatten()
        .build()
}

/// A 1x1 convolution to few channels, then a 1x1 and a 3x3 convolution side by side.
fn fire(net: Network, fire: &str, squeeze: usize, expand: usize) -> Network {
    let part = |net: Network, name: &str, conv: Conv2d| {
        net.name(format!("{fire}.{name}")).conv2d(conv).name(format!("{fire}.{name}_activation")).relu()
    };
    let net = part(net, "squeeze", Conv2d::new(squeeze, 1));
    let expand1x1 = |net| part(net, "expand1x1", Conv2d::new(expand, 1));
    let expand3x3 = |net| part(net, "expand3x3", Conv2d::new(expand, 3).padding(1));
    net.name(fire).concat(&[&expand1x1, &expand3x3])
}
