//! VGG: Simonyan & Zisserman, *Very Deep Convolutional Networks for Large-Scale Image Recognition* (2014).

use super::{IMAGENET, IMAGENET_CLASSES};
use crate::error::Result;
use crate::graph::Graph;
use crate::network::{Conv2d, Network};

/// Filters and convolutions of each stage of configuration D, which a 2x2 max pool ends.
const VGG16: [(usize, usize); 5] = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)];

/// VGG-16 without batch norm: `[1, 3, 224, 224]` to logits `[1, 1000]`, random weights (553 MB).
///
/// # Errors
/// Where memory for the weights runs out.
pub fn vgg16() -> Result<Graph> {
    let mut net = Network::new("vgg16", IMAGENET);
    let mut names = (0..).map(|i| format!("features.{i}"));
    let mut named = |net: Network| net.name(names.next().unwrap_or_default());
    for (filters, convolutions) in VGG16 {
        for _ in 0..convolutions {
            net = named(net).conv2d(Conv2d::new(filters, 3).padding(1));
            net = named(net).relu();
        }
        net = named(net).max_pool(2);
    }
    net.name("flatten")
        .flatten()
        .name("classifier.0")
        .linear(4096)
        .name("classifier.1")
        .relu()
        .name("classifier.3")
        .linear(4096)
        .name("classifier.4")
        .relu()
        .name("classifier.6")
        .linear(IMAGENET_CLASSES)
        .build()
}
