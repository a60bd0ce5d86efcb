//! MobileNets, made of depthwise convolutions: Howard et al., *MobileNets* (2017), and Sandler et al., *MobileNetV2*
//! (2018).

use super::{IMAGENET, IMAGENET_CLASSES, conv_bn};
use crate::error::Result;
use crate::graph::Graph;
use crate::network::{Conv2d, Network};
use crate::ops::Activation;
use crate::window::Padding;

/// Filters and stride of each depthwise-separable block of MobileNetV1.
const V1_BLOCKS: [(usize, usize); 13] = [
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
];

/// MobileNetV1 of width 1: `[1, 3, 224, 224]` to logits `[1, 1000]`, random weights.
///
/// `SAME` padding and ReLU6 as in its authors' TensorFlow implementation. torchvision has no such network; weights are
/// called `stem.conv.weight`, `stem.bn.weight`, `blocks.0.depthwise.conv.weight`, `blocks.0.pointwise.bn.bias`,
/// `classifier.weight` and so on.
///
/// # Errors
/// Where memory for the weights runs out.
pub fn mobilenet_v1() -> Result<Graph> {
    let part = |net: Network, name: &str, conv: Conv2d| {
        conv_bn(net, &format!("{name}.conv"), &format!("{name}.bn"), conv.padding(Padding::SameUpper))
            .name(format!("{name}.relu6"))
            .activation(Activation::RELU6)
    };
    let mut channels = 32;
    let mut net = part(Network::new("mobilenet_v1", IMAGENET), "stem", Conv2d::new(channels, 3).stride(2));
    for (i, (filters, stride)) in V1_BLOCKS.into_iter().enumerate() {
        let depthwise = Conv2d::new(channels, 3).stride(stride).groups(channels);
        net = part(net, &format!("blocks.{i}.depthwise"), depthwise);
        net = part(net, &format!("blocks.{i}.pointwise"), Conv2d::new(filters, 1));
        channels = filters;
    }
    net.name("avgpool")
        .global_average_pool()
        .name("flatten")
        .flatten()
        .name("classifier")
        .linear(IMAGENET_CLASSES)
        .build()
}

/// Expansion, filters, blocks and the first block's stride of each stage of MobileNetV2.
const V2_STAGES: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

/// MobileNetV2 of width 1: `[1, 3, 224, 224]` to logits `[1, 1000]`, random weights.
///
/// # Errors
/// Where memory for the weights runs out.
pub fn mobilenet_v2() -> Result<Graph> {
    let mut channels = 32;
    let stem = Conv2d::new(channels, 3).stride(2).padding(1);
    let mut net = conv_bn_relu6(Network::new("mobilenet_v2", IMAGENET), "features.0", stem);
    let mut block = 1;
    for (expansion, filters, count, first_stride) in V2_STAGES {
        for i in 0..count {
            let name = format!("features.{block}");
            let stride = if i == 0 { first_stride } else { 1 };
            let inner = |net| inverted_bottleneck(net, &name, channels, expansion, filters, stride);
            net = if stride == 1 && channels == filters {
                net.name(&name).add(&inner, &|net| net)
            } else {
                inner(net)
            };
            channels = filters;
            block += 1;
        }
    }
    conv_bn_relu6(net, &format!("features.{block}"), Conv2d::new(1280, 1))
        .name("avgpool")
        .global_average_pool()
        .name("flatten")
        .flatten()
        .name("classifier.1")
        .linear(IMAGENET_CLASSES)
        .build()
}

/// Torchvision's `Conv2dNormActivation`.
fn conv_bn_relu6(net: Network, name: &str, conv: Conv2d) -> Network {
    conv_bn(net, &format!("{name}.0"), &format!("{name}.1"), conv)
        .name(format!("{name}.2"))
        .activation(Activation::RELU6)
}

/// Channels are expanded, filtered each by itself, and brought together again without a non-linearity.
fn inverted_bottleneck(
    mut net: Network,
    block: &str,
    channels: usize,
    expansion: usize,
    filters: usize,
    stride: usize,
) -> Network {
    let wide = expansion * channels;
    let mut part = 0;
    if expansion != 1 {
        net = conv_bn_relu6(net, &format!("{block}.conv.{part}"), Conv2d::new(wide, 1));
        part += 1;
    }
    let depthwise = Conv2d::new(wide, 3).stride(stride).padding(1).groups(wide);
    net = conv_bn_relu6(net, &format!("{block}.conv.{part}"), depthwise);
    let (conv, bn) = (format!("{block}.conv.{}", part + 1), format!("{block}.conv.{}", part + 2));
    conv_bn(net, &conv, &bn, Conv2d::new(filters, 1))
}
