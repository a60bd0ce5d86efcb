//! Well-known networks by name, and the families they come from.
//!
//! The weights of [`lenet5`] are trained and part of the crate. All others start from seeded random weights (He et al.
//! 2015), under the names that torchvision's `state_dict` gives them: [`Graph::load_weights`] takes its pretrained
//! weights once they are written as safetensors.
//!
//! Every network takes one image, `[1, channels, height, width]` ([`Graph::with_batch`] takes more at once), and
//! returns one logit per class, `[1, classes]`; [`crate::classify`] makes probabilities of them. Adaptive pools that
//! change nothing at the network's input size are left out, and so is dropout, which changes nothing at inference.

mod alexnet;
mod fully_connected;
mod lenet;
mod mobilenet;
mod resnet;
mod squeezenet;
mod vgg;

pub use alexnet::alexnet;
pub use fully_connected::fully_connected;
pub use lenet::{LeNetFamily, lenet5};
pub use mobilenet::{mobilenet_v1, mobilenet_v2};
pub use resnet::{resnet18, resnet34, resnet50, resnet50_v1};
pub use squeezenet::{squeezenet1_0, squeezenet1_1};
pub use vgg::vgg16;

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::network::{Conv2d, Network};

/// The image that the networks for ImageNet take: `[channels, height, width]`.
const IMAGENET: [usize; 3] = [3, 224, 224];

/// The classes of ImageNet.
const IMAGENET_CLASSES: usize = 1000;

macro_rules! networks {
    ($($name:ident)*) => {
        /// The names that [`load`] knows.
        pub const NAMES: &[&str] = &[$(stringify!($name)),*];

        /// In the order of [`NAMES`].
        const CONSTRUCTORS: &[fn() -> Result<Graph>] = &[$($name),*];
    };
}
networks! {
    lenet5 alexnet vgg16 resnet18 resnet34 resnet50 resnet50_v1 mobilenet_v1 mobilenet_v2 squeezenet1_0 squeezenet1_1
}

/// The network of this name, with batch 1.
///
/// # Errors
/// [`Error::UnknownNetwork`], which lists [`NAMES`].
pub fn load(name: &str) -> Result<Graph> {
    match NAMES.iter().position(|known| *known == name) {
        Some(i) => CONSTRUCTORS[i](),
        None => Err(Error::UnknownNetwork {
            asked: name.into(),
            available: NAMES.iter().map(|known| known.to_string()).collect(),
        }),
    }
}

/// A convolution without bias, and the batch norm that makes a bias superfluous.
fn conv_bn(net: Network, conv_name: &str, bn_name: &str, conv: Conv2d) -> Network {
    net.name(conv_name).conv2d(conv.bias(false)).name(bn_name).batch_norm()
}
