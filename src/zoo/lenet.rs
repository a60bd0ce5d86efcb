//! LeNet-5 and the family of networks it started: LeCun, Bottou, Bengio & Haffner, *Gradient-based learning applied to
//! document recognition* (1998).

use crate::error::Result;
use crate::graph::Graph;
use crate::network::{Conv2d, Network, Pool2d};
use crate::window::{Padding, PerAxis};

/// LeNet-5 trained on handwritten digits: `[1, 1, 32, 32]`, light strokes on a dark ground from 0 to 1, to the logits
/// of the digits `[1, 10]`.
///
/// The version that is common today: average pools without weights, a second convolution that sees all channels, and a
/// linear layer for its output. It has 61,706 weights; the network of 1998 had 60,000.
///
/// ```
/// let lenet = wgpu_cnn::zoo::lenet5()?;
/// assert_eq!(lenet.summary().parameters, 61_706);
/// # Ok::<(), wgpu_cnn::Error>(())
/// ```
///
/// # Errors
/// None in practice: the weights are part of the crate.
pub fn lenet5() -> Result<Graph> {
    let mut graph = Network::new("lenet5", [1, 32, 32])
        .conv2d(Conv2d::new(6, 5))
        .tanh()
        .average_pool(2)
        .conv2d(Conv2d::new(16, 5))
        .tanh()
        .average_pool(2)
        .flatten()
        .linear(120)
        .tanh()
        .linear(84)
        .tanh()
        .linear(10)
        .build()?;
    graph.load_weights_from(include_bytes!("../../assets/digits/lenet5.safetensors"))?;
    Ok(graph)
}

/// `[(conv, relu) x n, pool] x m, (fc, relu) x k, fc, softmax`: the pattern of most networks before the residual ones.
///
/// ```
/// use wgpu_cnn::zoo::LeNetFamily;
///
/// let graph = LeNetFamily::new([3, 32, 32]).n(2).m(3).k(1).filters(16).classes(10).build()?;
/// assert_eq!(graph.value(graph.outputs()[0]).info.shape[..], [1, 10]);
/// # Ok::<(), wgpu_cnn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LeNetFamily {
    image: [usize; 3],
    n: usize,
    m: usize,
    k: usize,
    filters: usize,
    kernel: PerAxis,
    stride: PerAxis,
    padding: Padding,
    pool: Pool2d,
    units: usize,
    classes: usize,
    seed: u64,
}

impl LeNetFamily {
    /// Over images of `[channels, height, width]`. Unless set otherwise: n 1, m 2, k 2, 8 filters, kernel 3, stride 1,
    /// `SAME` padding, pool 2x2, 128 units, 10 classes, seed 0.
    pub fn new(image: [usize; 3]) -> Self {
        LeNetFamily {
            image,
            n: 1,
            m: 2,
            k: 2,
            filters: 8,
            kernel: PerAxis::All(3),
            stride: PerAxis::All(1),
            padding: Padding::SameUpper,
            pool: Pool2d::new(2),
            units: 128,
            classes: 10,
            seed: 0,
        }
    }

    /// Convolutions, each with a relu, before each pool.
    pub fn n(mut self, n: usize) -> Self {
        self.n = n;
        self
    }

    /// Stages that end in a pool.
    pub fn m(mut self, m: usize) -> Self {
        self.m = m;
        self
    }

    /// Hidden fully connected layers, each with a relu.
    pub fn k(mut self, k: usize) -> Self {
        self.k = k;
        self
    }

    /// Filters of each convolution of the first stage; every further stage has twice as many.
    pub fn filters(mut self, filters: usize) -> Self {
        self.filters = filters;
        self
    }

    /// Kernel of the convolutions: one number, or `[height, width]`.
    pub fn kernel(mut self, kernel: impl Into<PerAxis>) -> Self {
        self.kernel = kernel.into();
        self
    }

    /// Stride of the convolutions.
    pub fn stride(mut self, stride: impl Into<PerAxis>) -> Self {
        self.stride = stride.into();
        self
    }

    /// Padding of the convolutions.
    pub fn padding(mut self, padding: impl Into<Padding>) -> Self {
        self.padding = padding.into();
        self
    }

    /// The max pool that ends a stage.
    pub fn pool(mut self, pool: impl Into<Pool2d>) -> Self {
        self.pool = pool.into();
        self
    }

    /// Units of each hidden fully connected layer.
    pub fn units(mut self, units: usize) -> Self {
        self.units = units;
        self
    }

    /// Classes that the softmax distinguishes.
    pub fn classes(mut self, classes: usize) -> Self {
        self.classes = classes;
        self
    }

    /// Seed of the weights.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The network: `[1, channels, height, width]` to probabilities `[1, classes]`, random weights.
    ///
    /// # Errors
    /// The first layer that its input does not suit: mostly one whose window is larger than what the pools left over.
    pub fn build(self) -> Result<Graph> {
        let mut net = Network::new("lenet-family", self.image).seed(self.seed);
        let mut filters = self.filters;
        for _ in 0..self.m {
            for _ in 0..self.n {
                let conv = Conv2d::new(filters, self.kernel.clone())
                    .stride(self.stride.clone())
                    .padding(self.padding.clone());
                net = net.conv2d(conv).relu();
            }
            net = net.max_pool(self.pool.clone());
            filters = filters.saturating_mul(2);
        }
        net = net.flatten();
        for _ in 0..self.k {
            net = net.linear(self.units).relu();
        }
        net.linear(self.classes).softmax().build()
    }
}
