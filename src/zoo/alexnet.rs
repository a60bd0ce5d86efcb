//! AlexNet as torchvision has it: Krizhevsky, *One weird trick for parallelizing convolutional neural networks* (2014).

use super::{IMAGENET, IMAGENET_CLASSES};
use crate::error::Result;
use crate::graph::Graph;
use crate::network::{Conv2d, Network, Pool2d};

/// AlexNet, in its version for one GPU: `[1, 3, 224, 224]` to logits `[1, 1000]`, random weights.
///
/// # Errors
/// Where memory for the weights runs out.
pub fn alexnet() -> Result<Graph> {
    let pool = || Pool2d::new(3).stride(2);
    Network::new("alexnet", IMAGENET)
        .name("features.0")
        .conv2d(Conv2d::new(64, 11).stride(4).padding(2))
        .name("features.1")
        .relu()
        .name("features.2")
        .max_pool(pool())
        .name("features.3")
        .conv2d(Conv2d::new(192, 5).padding(2))
        .name("features.4")
        .relu()
        .name("features.5")
        .max_pool(pool())
        .name("features.6")
        .conv2d(Conv2d::new(384, 3).padding(1))
        .name("features.7")
        .relu()
        .name("features.8")
        .conv2d(Conv2d::new(256, 3).padding(1))
        .name("features.9")
        .relu()
        .name("features.10")
        .conv2d(Conv2d::new(256, 3).padding(1))
        .name("features.11")
        .relu()
        .name("features.12")
        .max_pool(pool())
        .name("flatten")
        .flatten()
        .name("classifier.1")
        .linear(4096)
        .name("classifier.2")
        .relu()
        .name("classifier.4")
        .linear(4096)
        .name("classifier.5")
        .relu()
        .name("classifier.6")
        .linear(IMAGENET_CLASSES)
        .build()
}
