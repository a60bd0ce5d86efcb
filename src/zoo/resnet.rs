//! Residual networks: He, Zhang, Ren & Sun, *Deep Residual Learning for Image Recognition* (2015).

use super::{IMAGENET, IMAGENET_CLASSES, conv_bn};
use crate::error::Result;
use crate::graph::Graph;
use crate::network::{Conv2d, Network, Pool2d};

/// ResNet-18: `[1, 3, 224, 224]` to logits `[1, 1000]`, random weights.
///
/// # Errors
/// Where memory for the weights runs out.
pub fn resnet18() -> Result<Graph> {
    resnet("resnet18", Block::Basic, [2, 2, 2, 2])
}

/// ResNet-34: `[1, 3, 224, 224]` to logits `[1, 1000]`, random weights.
///
/// # Errors
/// Where memory for the weights runs out.
pub fn resnet34() -> Result<Graph> {
    resnet("resnet34", Block::Basic, [3, 4, 6, 3])
}

/// ResNet-50 v1.5, which is torchvision's: a stage's stride is in the 3x3 convolution of its first block.
/// `[1, 3, 224, 224]` to logits `[1, 1000]`, random weights.
///
/// # Errors
/// Where memory for the weights runs out.
pub fn resnet50() -> Result<Graph> {
    resnet("resnet50", Block::Bottleneck { early_stride: false }, [3, 4, 6, 3])
}

/// ResNet-50 as published: a stage's stride is in the first 1x1 convolution of its first block. Shapes and the names of
/// weights are those of [`resnet50`].
///
/// # Errors
/// Where memory for the weights runs out.
pub fn resnet50_v1() -> Result<Graph> {
    resnet("resnet50_v1", Block::Bottleneck { early_stride: true }, [3, 4, 6, 3])
}

#[derive(Clone, Copy)]
enum Block {
    /// Two 3x3 convolutions.
    Basic,
    /// A 3x3 convolution between two 1x1, the last of which has four times the channels.
    Bottleneck {
        /// Whether the first 1x1 convolution has the block's stride, rather than the 3x3.
        early_stride: bool,
    },
}

impl Block {
    /// Channels out of a block, for each of its width.
    fn expansion(self) -> usize {
        match self {
            Block::Basic => 1,
            Block::Bottleneck { .. } => 4,
        }
    }

    /// What a block of this width adds to its input.
    fn residual(self, net: Network, block: &str, width: usize, stride: usize) -> Network {
        // Kernel, filters and stride of each convolution; the sum's relu follows the last.
        let convs = match self {
            Block::Basic => vec![(3, width, stride), (3, width, 1)],
            Block::Bottleneck { early_stride } => {
                let (first, second) = if early_stride { (stride, 1) } else { (1, stride) };
                vec![(1, width, first), (3, width, second), (1, self.expansion() * width, 1)]
            }
        };
        let last = convs.len();
        (1..).zip(convs).fold(net, |net, (i, (kernel, filters, stride))| {
            let conv = Conv2d::new(filters, kernel).stride(stride).padding(kernel / 2);
            let net = conv_bn(net, &format!("{block}.conv{i}"), &format!("{block}.bn{i}"), conv);
            if i == last { net } else { net.name(format!("{block}.relu{i}")).relu() }
        })
    }
}

fn resnet(name: &str, block: Block, blocks: [usize; 4]) -> Result<Graph> {
    let net = Network::new(name, IMAGENET);
    let mut net = conv_bn(net, "conv1", "bn1", Conv2d::new(64, 7).stride(2).padding(3))
        .name("relu")
        .relu()
        .name("maxpool")
        .max_pool(Pool2d::new(3).stride(2).padding(1));
    let mut channels = 64;
    for (stage, count) in blocks.into_iter().enumerate() {
        let width = 64 << stage;
        for i in 0..count {
            let name = format!("layer{}.{i}", stage + 1);
            let stride = if stage > 0 && i == 0 { 2 } else { 1 };
            let out = block.expansion() * width;
            let same_shape = stride == 1 && channels == out;
            let residual = |net: Network| block.residual(net, &name, width, stride);
            let shortcut = |net: Network| {
                if same_shape {
                    return net;
                }
                let conv = Conv2d::new(out, 1).stride(stride);
                conv_bn(net, &format!("{name}.downsample.0"), &format!("{name}.downsample.1"), conv)
            };
            net = net.name(format!("{name}.add")).add(&residual, &shortcut).name(&name).relu();
            channels = out;
        }
    }
    net.name("avgpool")
        .global_average_pool()
        .name("flatten")
        .flatten()
        .name("fc")
        .linear(IMAGENET_CLASSES)
        .build()
}
