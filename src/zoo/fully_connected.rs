//! A network without convolutions, as the contrast to those with.

use crate::error::Result;
use crate::graph::Graph;
use crate::network::Network;

/// `(fc, relu) x hidden layers, fc` over the flattened image: `[1, channels, height, width]` to logits `[1, classes]`,
/// random weights. `image` is `[channels, height, width]`.
///
/// Every unit is connected to every pixel, so its weights grow with the image, and a pattern learned in one place says
/// nothing about the next.
///
/// # Errors
/// Where a layer's weights cannot be addressed or memory for them runs out.
pub fn fully_connected(
    name: impl Into<String>,
    image: [usize; 3],
    hidden: &[usize],
    classes: usize,
) -> Result<Graph> {
    let net = hidden.iter().fold(Network::new(name, image).flatten(), |net, &units| net.linear(units).relu());
    net.linear(classes).build()
}
