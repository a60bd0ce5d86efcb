//! The builder: a network written down layer by layer, with named settings and seeded weights.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::graph::{Graph, Info, ValueId};
use crate::ops::{
    Activation, BatchNorm, Binary, Concat, Conv, Dropout, Gemm, Op, Pool, PoolKind, Reduce, ReduceKind,
    Reshape, Softmax,
};
use crate::random::Random;
use crate::tensor::{Shape, Tensor};
use crate::window::{Padding, PerAxis, Window};

/// A two-dimensional convolution of a [`Network`].
#[derive(Clone, Debug)]
pub struct Conv2d {
    filters: usize,
    kernel: PerAxis,
    stride: PerAxis,
    dilation: PerAxis,
    padding: Padding,
    groups: usize,
    bias: bool,
}

impl Conv2d {
    /// So many filters with a kernel of this size (one number, or `[height, width]`); stride 1, no padding, with bias.
    pub fn new(filters: usize, kernel: impl Into<PerAxis>) -> Self {
        Conv2d {
            filters,
            kernel: kernel.into(),
            stride: PerAxis::All(1),
            dilation: PerAxis::All(1),
            padding: Padding::Valid,
            groups: 1,
            bias: true,
        }
    }

    /// The distance between neighbouring windows.
    pub fn stride(mut self, stride: impl Into<PerAxis>) -> Self {
        self.stride = stride.into();
        self
    }

    /// The distance between neighbouring taps of a window.
    pub fn dilation(mut self, dilation: impl Into<PerAxis>) -> Self {
        self.dilation = dilation.into();
        self
    }

    /// Zeros around the input.
    pub fn padding(mut self, padding: impl Into<Padding>) -> Self {
        self.padding = padding.into();
        self
    }

    /// Groups of channels that do not see each other.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// Whether a bias is added; a batch norm behind it makes one superfluous.
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }
}

/// A two-dimensional pooling of a [`Network`].
#[derive(Clone, Debug)]
pub struct Pool2d {
    kernel: PerAxis,
    stride: PerAxis,
    dilation: PerAxis,
    padding: Padding,
    ceil_mode: bool,
    count_include_pad: bool,
}

impl Pool2d {
    /// Windows of this size (one number, or `[height, width]`), side by side, without padding.
    pub fn new(kernel: impl Into<PerAxis>) -> Self {
        let kernel = kernel.into();
        Pool2d {
            stride: kernel.clone(),
            kernel,
            dilation: PerAxis::All(1),
            padding: Padding::Valid,
            ceil_mode: false,
            count_include_pad: true,
        }
    }

    /// The distance between neighbouring windows; as large as the kernel unless set.
    pub fn stride(mut self, stride: impl Into<PerAxis>) -> Self {
        self.stride = stride.into();
        self
    }

    /// The distance between neighbouring elements of a window.
    pub fn dilation(mut self, dilation: impl Into<PerAxis>) -> Self {
        self.dilation = dilation.into();
        self
    }

    /// Elements around the input: never the maximum, zeros to the mean.
    pub fn padding(mut self, padding: impl Into<Padding>) -> Self {
        self.padding = padding.into();
        self
    }

    /// Whether a last window that hangs over the end counts.
    pub fn ceil_mode(mut self, ceil_mode: bool) -> Self {
        self.ceil_mode = ceil_mode;
        self
    }

    /// Whether a mean divides by padding too; true unless set, as in PyTorch.
    pub fn count_include_pad(mut self, count: bool) -> Self {
        self.count_include_pad = count;
        self
    }
}

impl<T: Into<PerAxis>> From<T> for Pool2d {
    /// [`Pool2d::new`].
    fn from(kernel: T) -> Self {
        Pool2d::new(kernel)
    }
}

/// A network being written down. An impossible layer is reported by [`Network::build`], which names it.
///
/// Layers are called after what they are and numbered (`conv1`, `conv2`, `fc1`, ...), or by [`Network::name`]; their
/// weights `conv1.weight`, `conv1.bias`. Weights start as He et al. 2015 propose, normal with variance
/// `2 / inputs of a unit`, from the network's seed; biases start at 0.
#[derive(Debug)]
pub struct Network {
    graph: Graph,
    at: ValueId,
    counts: HashMap<String, usize>,
    random: Random,
    next_name: Option<String>,
    error: Option<Error>,
}

/// A part of a network: layers added to what they are given.
pub type Branch<'a> = &'a dyn Fn(Network) -> Network;

impl Network {
    /// A network over one image of `[channels, height, width]`; [`Graph::with_batch`] runs more at once.
    pub fn new(name: impl Into<String>, image: [usize; 3]) -> Self {
        let mut graph = Graph::new(name);
        let [c, h, w] = image;
        let (shape, error) = match Shape::new([1, c, h, w]) {
            Ok(shape) if shape.elements() == 0 => {
                let error = shape_error("input", "input", "an image with elements", &shape);
                (shape, Some(error))
            }
            Ok(shape) => (shape, None),
            Err(e) => (Shape::default(), Some(e)),
        };
        let at = graph.input("input", Info::f32(shape));
        Network { graph, at, counts: HashMap::new(), random: Random::new(0), next_name: None, error }
    }

    /// The seed of the weights of the layers that follow; 0 unless set.
    pub fn seed(mut self, seed: u64) -> Self {
        self.random = Random::new(seed);
        self
    }

    /// The name of the next layer.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.next_name = Some(name.into());
        self
    }

    /// The network, with batch 1.
    ///
    /// # Errors
    /// The first layer that could not be added, with what it expected and what it got.
    pub fn build(mut self) -> Result<Graph> {
        if let Some(error) = self.error {
            return Err(error);
        }
        self.graph.output(self.at);
        self.graph.check()?;
        Ok(self.graph)
    }

    /// The shape that the next layer will be given, for one image.
    pub fn shape(&self) -> &Shape {
        &self.graph.value(self.at).info.shape
    }

    fn layer_name(&mut self, kind: &str) -> String {
        if let Some(name) = self.next_name.take() {
            return name;
        }
        let count = self.counts.entry(kind.to_string()).or_default();
        *count += 1;
        format!("{kind}{count}")
    }

    /// Adds a node behind the last one, unless the network has failed already.
    fn layer(
        mut self,
        kind: &'static str,
        make: impl FnOnce(&mut Self, &str, Shape) -> Result<(Op, Vec<Option<ValueId>>)>,
    ) -> Self {
        if self.error.is_some() {
            return self;
        }
        let name = self.layer_name(kind);
        let shape = self.shape().clone();
        let made = make(&mut self, &name, shape).map_err(|e| match e {
            Error::ShapeOverflow(dims) => {
                shape_error(&name, kind, "a weight that can be addressed", format!("{dims:?}"))
            }
            e => e,
        });
        let added = made.and_then(|(op, weights)| {
            let mut inputs = vec![Some(self.at)];
            inputs.extend(weights);
            self.graph.push_node(name, op, &inputs)
        });
        match added {
            Ok(outputs) => self.at = outputs[0],
            Err(e) => self.error = Some(e),
        }
        self
    }

    fn weight(&mut self, name: String, shape: &[usize]) -> Result<ValueId> {
        let shape = Shape::new(shape)?;
        let fan_in = shape.iter().skip(1).product();
        let mut values = allocate(&name, shape.elements(), 0.0)?;
        self.random.fill_he(&mut values, fan_in);
        Ok(self.graph.constant(name, Tensor::new(shape.to_vec(), values)?))
    }

    fn filled(&mut self, name: String, length: usize, value: f32) -> Result<ValueId> {
        let values = allocate(&name, length, value)?;
        Ok(self.graph.constant(name, Tensor::new([length], values)?))
    }

    /// A convolution.
    pub fn conv2d(self, conv: Conv2d) -> Self {
        self.layer("conv", |net, name, x| {
            let kernel = window_sizes(&conv.kernel, name)?;
            if conv.filters == 0 {
                return Err(shape_error(name, "conv", "at least one filter", 0));
            }
            let window =
                Window::new(kernel.clone()).stride(conv.stride).dilation(conv.dilation).padding(conv.padding);
            let op = Conv { window, groups: conv.groups, activation: None };
            let channels = x.get(1).copied().unwrap_or(0);
            // Whether the channels divide is for the operator to say, which names what it expected.
            let weight = [conv.filters, channels / conv.groups.max(1), kernel[0], kernel[1]];
            let mut weights = vec![Some(net.weight(format!("{name}.weight"), &weight)?)];
            if conv.bias {
                weights.push(Some(net.filled(format!("{name}.bias"), conv.filters, 0.0)?));
            }
            Ok((op.into(), weights))
        })
    }

    /// A linear layer over the last axis of `[n, features]`; [`Network::flatten`] comes before the first.
    pub fn linear(self, features: usize) -> Self {
        self.layer("fc", |net, name, x| {
            if x.len() != 2 {
                return Err(shape_error(name, "gemm", "an input of rank 2 (flatten it first)", x));
            }
            if features == 0 {
                return Err(shape_error(name, "gemm", "at least one feature", 0));
            }
            let weight = net.weight(format!("{name}.weight"), &[features, x[1]])?;
            let bias = net.filled(format!("{name}.bias"), features, 0.0)?;
            Ok((Gemm::linear().into(), vec![Some(weight), Some(bias)]))
        })
    }

    /// Batch normalisation with the statistics of training, which start as mean 0 and variance 1.
    pub fn batch_norm(self) -> Self {
        self.layer("bn", |net, name, x| {
            let channels = x.get(1).copied().unwrap_or(0);
            let mut weights = Vec::new();
            for (part, start) in [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)]
            {
                weights.push(Some(net.filled(format!("{name}.{part}"), channels, start)?));
            }
            Ok((BatchNorm { epsilon: 1e-5 }.into(), weights))
        })
    }

    /// An elementwise function.
    pub fn activation(self, activation: Activation) -> Self {
        self.layer(activation.signature().0.trim_end_matches('_'), |_, _, _| Ok((activation.into(), vec![])))
    }

    /// Dropout, which changes nothing until the network is trained; `rate` is the probability that an element is dropped.
    pub fn dropout(self, rate: f32) -> Self {
        self.layer("dropout", |net, _, _| Ok((Dropout { rate, seed: net.random.draw_seed() }.into(), vec![])))
    }

    /// `max(x, 0)`
    pub fn relu(self) -> Self {
        self.activation(Activation::Relu)
    }

    /// `tanh(x)`
    pub fn tanh(self) -> Self {
        self.activation(Activation::Tanh)
    }

    /// The largest element of each window.
    pub fn max_pool(self, pool: impl Into<Pool2d>) -> Self {
        self.pool(PoolKind::Max, pool.into())
    }

    /// The mean of each window.
    pub fn average_pool(self, pool: impl Into<Pool2d>) -> Self {
        let pool = pool.into();
        self.pool(PoolKind::Average { count_include_pad: pool.count_include_pad }, pool)
    }

    fn pool(self, kind: PoolKind, pool: Pool2d) -> Self {
        self.layer("pool", |_, name, _| {
            let window = Window::new(window_sizes(&pool.kernel, name)?)
                .stride(pool.stride)
                .dilation(pool.dilation)
                .padding(pool.padding)
                .ceil_mode(pool.ceil_mode);
            Ok((Pool::new(kind, window).into(), vec![]))
        })
    }

    /// The mean of each channel, which stays 1x1.
    pub fn global_average_pool(self) -> Self {
        self.layer("global_pool", |_, _, _| Ok((Reduce::global(ReduceKind::Mean).into(), vec![])))
    }

    /// The largest element of each channel, which stays 1x1.
    pub fn global_max_pool(self) -> Self {
        self.layer("global_pool", |_, _, _| Ok((Reduce::global(ReduceKind::Max).into(), vec![])))
    }

    /// Each image as one row of features.
    pub fn flatten(self) -> Self {
        self.layer("flatten", |_, _, _| Ok((Reshape::Flatten { axis: 1 }.into(), vec![])))
    }

    /// Probabilities over axis 1.
    pub fn softmax(self) -> Self {
        self.layer("softmax", |_, _, _| Ok((Softmax { axis: 1, log: false }.into(), vec![])))
    }

    /// The logarithms of probabilities over axis 1.
    pub fn log_softmax(self) -> Self {
        self.layer("log_softmax", |_, _, _| Ok((Softmax { axis: 1, log: true }.into(), vec![])))
    }

    /// The sum of two branches over what came last: a residual connection where one of them adds nothing.
    pub fn add(self, left: Branch, right: Branch) -> Self {
        self.join("add", &[left, right], Binary::Add.into())
    }

    /// The channels of several branches over what came last, one after another.
    pub fn concat(self, branches: &[Branch]) -> Self {
        self.join("concat", branches, Concat { axis: 1 }.into())
    }

    fn join(mut self, kind: &str, branches: &[Branch], op: Op) -> Self {
        let name = self.layer_name(kind);
        let start = self.at;
        let mut ends = Vec::new();
        for branch in branches {
            self.at = start;
            self = branch(self);
            ends.push(self.at);
        }
        if self.error.is_none() {
            match self.graph.push(name, op, &ends) {
                Ok(value) => self.at = value,
                Err(e) => self.error = Some(e),
            }
        }
        self
    }
}

/// What a layer needs, and what it was given.
fn shape_error(layer: &str, op: &'static str, expected: &str, actual: impl ToString) -> Error {
    Error::Shape { layer: layer.into(), op, expected: expected.into(), actual: actual.to_string() }
}

/// So many times `value`, for the weight of this name.
fn allocate(name: &str, length: usize, value: f32) -> Result<Vec<f32>> {
    let mut values = Vec::new();
    values.try_reserve_exact(length).map_err(|e| Error::OutOfMemory {
        device: "host".into(),
        reason: format!("'{name}' has {length} elements: {e}"),
    })?;
    values.resize(length, value);
    Ok(values)
}

/// Height and width of a kernel.
fn window_sizes(kernel: &PerAxis, layer: &str) -> Result<Vec<usize>> {
    kernel.get(2).map_err(|source| Error::Window { layer: layer.into(), source })
}
