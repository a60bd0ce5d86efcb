//! A network compiled for one device and one set of input shapes, to be run many times.

use crate::cpu::CpuPlan;
use crate::error::{Error, Result};
use crate::gpu::GpuPlan;
use crate::graph::passes::{Folded, Passes, optimize_with};
use crate::graph::{Graph, Info, Node, ValueId};
use crate::ops::OpError;
use crate::tensor::{DType, Tensor};

/// How a network is compiled. The default is right for almost all uses.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PlanOptions {
    /// The rewrites applied to the graph first.
    pub passes: Passes,
    /// Bounds-checked shaders, outputs that start as NaN, and fences around every GPU buffer that are looked at after
    /// each run ([`Error::OutOfBoundsWrite`]). Slow and without reuse of memory: for tests and for hunting a fault.
    pub checked: bool,
    /// The most bytes an im2col matrix may take, or on the GPU the matrices of Winograd's form; larger convolutions are
    /// cut into pieces, the latter of whole images.
    pub im2col_cap: usize,
    /// A kernel variant by name (see [`crate::gpu::variants`] and [`CPU_VARIANTS`]), chosen wherever it can run in place of
    /// the rule's choice.
    pub variant: Option<&'static str>,
    /// How kernels are chosen where no variant is asked for.
    pub tuning: Tuning,
    /// Whether a NaN in an input is an error rather than a NaN in the output.
    pub reject_nan: bool,
}

impl Default for PlanOptions {
    fn default() -> Self {
        PlanOptions {
            passes: Passes::default(),
            checked: false,
            im2col_cap: 32 << 20,
            variant: None,
            tuning: Tuning::Rule,
            reject_nan: true,
        }
    }
}

/// How a GPU plan's kernels are chosen; on the CPU backend both are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tuning {
    /// By a rule over shapes and the kind of adapter, without measuring.
    #[default]
    Rule,
    /// By measuring: for each layer of a shape not met before on the device, at most eight candidates, of which the
    /// rule's choice is one, are run and timed, by the GPU's timestamps where it has them. Only a candidate whose outputs
    /// agree with the CPU backend's can win: each element within the bound of [`crate::verify::bounds`], which for a sum
    /// of K products is `2 K 2^-24 sum |a b|`. This makes the first compilation slow, by seconds to minutes.
    ///
    /// What won is known to the device from then on, and where it has a cache
    /// ([`DeviceOptions::cache`](crate::DeviceOptions::cache)) also to later processes, so that they choose the same
    /// kernels and compute the same bits. In a browser this is [`Tuning::Rule`].
    Measured,
}

/// The kernel variants of the CPU backend: an operator and a name for [`PlanOptions::variant`].
///
/// `blocked` and `winograd` kernels work on channels in blocks of 16; the others on tensors as they are. With any variant, or
/// with the name `layers`, which is none, a batch is run layer by layer; without, networks of small weights run it image
/// by image.
pub const CPU_VARIANTS: &[(&str, &str)] = &[
    ("activation", "blocked"),
    ("binary", "blocked"),
    ("concat", "blocked"),
    ("conv", "blocked"),
    ("conv", "conv_direct"),
    ("conv", "conv_im2col"),
    ("conv", "winograd"),
    ("pool", "blocked"),
    ("reduce", "blocked"),
];

/// What a plan holds in device memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryReport {
    /// Weights and other constants, as packed for the kernels.
    pub weights: u64,
    /// Activations and scratch: what a run works in.
    pub activations: u64,
    /// The most that is alive at one step; no plan of the same steps needs less.
    pub activations_lower_bound: u64,
}

/// How long one step of a plan took.
#[derive(Clone, Debug, PartialEq)]
pub struct StepTime {
    /// The layer it is part of.
    pub layer: String,
    /// The GPU kernel, or on the CPU the operator.
    pub kernel: String,
    /// The constants that specialise the GPU kernel, by name: tile sizes, what is fused into it.
    pub constants: Vec<(String, String)>,
    /// The workgroups of the GPU kernel.
    pub workgroups: Option<[u32; 3]>,
    /// Milliseconds, the median over the runs.
    pub milliseconds: f64,
}

impl StepTime {
    pub(crate) fn median(layer: &str, kernel: &str, mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let milliseconds = samples.get(samples.len() / 2).copied().unwrap_or(0.0);
        let (layer, kernel) = (layer.into(), kernel.into());
        StepTime { layer, kernel, constants: Vec::new(), workgroups: None, milliseconds }
    }
}

/// What a plan reads or returns: a name, a shape and a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The value's name in the graph.
    pub name: String,
    /// Its shape and type.
    pub info: Info,
}

impl Port {
    fn expected(&self) -> String {
        format!("{} {}", self.info.dtype, self.info.shape)
    }

    /// What a tensor is, if not what is expected.
    fn check(&self, tensor: &Tensor) -> Result<(), String> {
        if *tensor.shape() == self.info.shape && tensor.dtype() == self.info.dtype {
            return Ok(());
        }
        Err(format!("{} {}", tensor.dtype(), tensor.shape()))
    }
}

/// A network compiled for one device and one set of input shapes ([`crate::Device::compile`]).
///
/// A run creates no pipeline, bind group or buffer: it writes the inputs, submits once and reads back once. On the CPU it
/// allocates its outputs alone, and into outputs that are there ([`Plan::run_into`]) nothing. Plans are `Send + Sync`; runs of
/// one plan from several threads take turns.
pub struct Plan {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    reject_nan: bool,
    backend: Backend,
}

enum Backend {
    Cpu(Box<CpuPlan>),
    Gpu(Box<GpuPlan>),
}

impl Plan {
    /// A plan of the CPU backend that shares nothing.
    pub(crate) fn cpu(graph: &Graph, options: &PlanOptions) -> Result<Self> {
        Self::cpu_sharing(graph, options, &Folded::default())
    }

    pub(crate) fn cpu_sharing(graph: &Graph, options: &PlanOptions, folded: &Folded) -> Result<Self> {
        let graph = prepare(graph, options, folded)?;
        Ok(Self::new(&graph, options, Backend::Cpu(Box::new(CpuPlan::compile(&graph, options)?))))
    }

    pub(crate) async fn gpu(
        device: &crate::gpu::GpuDevice,
        graph: &Graph,
        options: &PlanOptions,
        folded: &Folded,
    ) -> Result<Self> {
        let graph = prepare(graph, options, folded)?;
        let plan = GpuPlan::compile(device, &graph, options).await?;
        Ok(Self::new(&graph, options, Backend::Gpu(Box::new(plan))))
    }

    fn new(graph: &Graph, options: &PlanOptions, backend: Backend) -> Self {
        Plan {
            inputs: ports(graph, graph.inputs()),
            outputs: ports(graph, graph.outputs()),
            reject_nan: options.reject_nan,
            backend,
        }
    }

    /// What a run takes, in order.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// What a run computes, in order.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// The memory the plan holds on its device.
    pub fn memory(&self) -> MemoryReport {
        match &self.backend {
            Backend::Cpu(plan) => plan.memory(),
            Backend::Gpu(plan) => plan.memory(),
        }
    }

    /// The GPU side of the plan: its buffers, and recording into the caller's own encoder. `None` on the CPU.
    pub fn as_gpu(&self) -> Option<&GpuPlan> {
        match &self.backend {
            Backend::Cpu(_) => None,
            Backend::Gpu(plan) => Some(plan),
        }
    }

    /// Runs the network and waits for its outputs.
    ///
    /// # Errors
    /// [`Error::Input`] where an input has another shape or type than the plan, or a NaN;
    /// [`Error::DeviceLost`], [`Error::Device`] and [`Error::OutOfMemory`] from the GPU.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.check_inputs(inputs)?;
        match &self.backend {
            Backend::Cpu(plan) => plan.run(inputs),
            Backend::Gpu(plan) => pollster::block_on(plan.run(inputs, true)),
        }
    }

    /// As [`Plan::run`], into tensors that are there already, such as those of an earlier run.
    ///
    /// ```
    /// use wgpu_cnn::{Device, Tensor, zoo};
    ///
    /// let plan = Device::auto().compile(&zoo::lenet5()?)?;
    /// let mut frame = Tensor::zeros([1, 1, 32, 32])?;
    /// let mut outputs = plan.run(std::slice::from_ref(&frame))?;
    /// for brightness in [0.1, 0.2] {
    ///     frame.values_mut::<f32>()?.fill(brightness);
    ///     plan.run_into(std::slice::from_ref(&frame), &mut outputs)?;
    ///     assert_eq!(outputs[0].shape()[..], [1, 10]);
    /// }
    /// # Ok::<(), wgpu_cnn::Error>(())
    /// ```
    ///
    /// On a GPU this allocates what wgpu takes to submit and to wait, however large the outputs are. On the CPU it allocates
    /// nothing, but for runs that overlap, integer inputs, products of matrices of several rows, and layers of more than eight
    /// operands, 2048 channels or 16 lines of a window. An output that shares its elements with a clone gets elements of its
    /// own first, so that the clone keeps what it holds.
    ///
    /// # Errors
    /// As [`Plan::run`], and [`Error::Output`] where an output has another shape or type than the plan's. The outputs then
    /// are as they were.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run_into(&self, inputs: &[Tensor], outputs: &mut [Tensor]) -> Result<()> {
        self.check_inputs(inputs)?;
        check_outputs(&self.outputs, outputs)?;
        match &self.backend {
            Backend::Cpu(plan) => plan.run_into(inputs, outputs),
            Backend::Gpu(plan) => pollster::block_on(plan.run_into(inputs, outputs, true)),
        }
    }

    /// As [`Plan::run`], for a network of one input and one output.
    ///
    /// # Errors
    /// As [`Plan::run`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run_one(&self, input: &Tensor) -> Result<Tensor> {
        let outputs = self.run(std::slice::from_ref(input))?;
        outputs.into_iter().next().ok_or_else(|| Error::Graph("the plan has no output".into()))
    }

    /// As [`Plan::run`], without blocking the thread while the GPU works.
    ///
    /// # Errors
    /// As [`Plan::run`].
    pub async fn run_async(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.check_inputs(inputs)?;
        match &self.backend {
            Backend::Cpu(plan) => plan.run(inputs),
            Backend::Gpu(plan) => plan.run(inputs, false).await,
        }
    }

    /// As [`Plan::run_into`], without blocking the thread while the GPU works. A run that is dropped before it is done leaves
    /// the outputs as they were.
    ///
    /// # Errors
    /// As [`Plan::run_into`].
    pub async fn run_into_async(&self, inputs: &[Tensor], outputs: &mut [Tensor]) -> Result<()> {
        self.check_inputs(inputs)?;
        check_outputs(&self.outputs, outputs)?;
        match &self.backend {
            Backend::Cpu(plan) => plan.run_into(inputs, outputs),
            Backend::Gpu(plan) => plan.run_into(inputs, outputs, false).await,
        }
    }

    /// Runs the network so many times and measures its steps, in order: a GPU's dispatches by its own timestamps (where
    /// it has none by the clock, each submitted alone), the CPU's operators by the clock.
    ///
    /// On a GPU each dispatch is a pass of its own here, so that their sum is above the time of a run.
    ///
    /// # Errors
    /// As [`Plan::run`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn profile(&self, inputs: &[Tensor], runs: usize) -> Result<Vec<StepTime>> {
        self.run(inputs)?;
        match &self.backend {
            Backend::Cpu(plan) => plan.profile(inputs, runs),
            Backend::Gpu(plan) => pollster::block_on(plan.profile(runs)),
        }
    }

    /// The names of the kernels of its steps, in order.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn kernels(&self) -> Vec<String> {
        match &self.backend {
            Backend::Cpu(plan) => plan.kernels().map(Into::into).collect(),
            Backend::Gpu(plan) => plan.kernels().map(Into::into).collect(),
        }
    }

    /// Runs a plan of the CPU backend, on any target.
    pub(crate) fn run_here(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        match &self.backend {
            Backend::Cpu(plan) => plan.run(inputs),
            Backend::Gpu(_) => Err(Error::Graph("a GPU plan runs on its device".into())),
        }
    }

    fn check_inputs(&self, inputs: &[Tensor]) -> Result<()> {
        check_inputs(&self.inputs, inputs, self.reject_nan)
    }
}

/// That `inputs` are what `ports` say, and where `reject_nan`, numbers.
pub(crate) fn check_inputs(ports: &[Port], inputs: &[Tensor], reject_nan: bool) -> Result<()> {
    if inputs.len() != ports.len() {
        return Err(Error::Graph(format!("the plan takes {} inputs, got {}", ports.len(), inputs.len())));
    }
    for (port, tensor) in ports.iter().zip(inputs) {
        let mismatch = |actual| Error::Input { name: port.name.clone(), expected: port.expected(), actual };
        port.check(tensor).map_err(mismatch)?;
        if reject_nan
            && let Ok(values) = tensor.values::<f32>()
            && let Some(at) = values.iter().position(|v| v.is_nan())
        {
            return Err(mismatch(format!("a NaN at element {at}")));
        }
    }
    Ok(())
}

/// That `outputs` are what `ports` say.
fn check_outputs(ports: &[Port], outputs: &[Tensor]) -> Result<()> {
    if outputs.len() != ports.len() {
        return Err(Error::Graph(format!("the plan has {} outputs, got {}", ports.len(), outputs.len())));
    }
    for (port, tensor) in ports.iter().zip(outputs) {
        let mismatch = |actual| Error::Output { name: port.name.clone(), expected: port.expected(), actual };
        port.check(tensor).map_err(mismatch)?;
    }
    Ok(())
}

/// Names, shapes and types of values.
pub(crate) fn ports(graph: &Graph, values: &[ValueId]) -> Vec<Port> {
    let port = |&id| {
        let value = graph.value(id);
        Port { name: value.name.clone(), info: value.info.clone() }
    };
    values.iter().map(port).collect()
}

pub(crate) fn prepare(graph: &Graph, options: &PlanOptions, folded: &Folded) -> Result<Graph> {
    graph.check()?;
    optimize_with(graph, &options.passes, folded)
}

/// The value whose memory each value lives in: its own, or where reshapes are dropped, that of their input.
pub(crate) fn roots(graph: &Graph, options: &PlanOptions) -> Vec<usize> {
    let mut roots: Vec<usize> = (0..graph.values().len()).collect();
    if options.passes.drop_reshape {
        for node in graph.nodes() {
            if let (crate::ops::Op::Reshape(_), Some(input)) = (&node.op, node.inputs[0]) {
                roots[node.outputs[0].index()] = roots[input.index()];
            }
        }
    }
    roots
}

/// A tensor's elements as 32-bit words: f32, the bits of an i32, or 0 and 1.
pub(crate) fn to_words(tensor: &Tensor) -> Result<Vec<u32>> {
    let too_large =
        |v: &i64| Error::Graph(format!("the integer {v} does not fit the 32 bits of device memory"));
    Ok(match tensor.dtype() {
        DType::F32 => tensor.values::<f32>()?.iter().map(|v| v.to_bits()).collect(),
        DType::F64 => return Err(no_doubles()),
        DType::I64 => tensor
            .values::<i64>()?
            .iter()
            .map(|v| i32::try_from(*v).map(|v| v.cast_unsigned()).map_err(|_| too_large(v)))
            .collect::<Result<_>>()?,
        DType::Bool => tensor.values::<bool>()?.iter().map(|&v| u32::from(v)).collect(),
    })
}

/// Tensors for a run to write.
pub(crate) fn blanks<'a>(infos: impl ExactSizeIterator<Item = &'a Info>) -> Result<Vec<Tensor>> {
    // Not collected: a list of results would get room for more than it holds.
    let mut tensors = Vec::with_capacity(infos.len());
    for info in infos {
        tensors.push(blank(info)?);
    }
    Ok(tensors)
}

fn blank(info: &Info) -> Result<Tensor> {
    let (dims, elements) = (info.shape.to_vec(), info.shape.elements());
    match info.dtype {
        DType::F32 => Tensor::zeros(dims),
        DType::F64 => Err(no_doubles()),
        DType::I64 => Tensor::new(dims, vec![0i64; elements]),
        DType::Bool => Tensor::new(dims, vec![false; elements]),
    }
}

/// Replaces a tensor's elements by those that as many 32-bit words stand for, the inverse of [`to_words`]. The words are
/// given as bytes, for a mapped buffer may lie anywhere.
pub(crate) fn write_words(words: &[u8], to: &mut Tensor) -> Result<()> {
    let word_of = |bytes: &[u8; 4]| u32::from_ne_bytes(*bytes);
    let each = words.as_chunks().0.iter().map(word_of);
    match to.dtype() {
        DType::F32 => bytemuck::cast_slice_mut(to.values_mut::<f32>()?).copy_from_slice(words),
        DType::F64 => return Err(no_doubles()),
        DType::I64 => {
            let values = to.values_mut::<i64>()?.iter_mut();
            values.zip(each).for_each(|(to, word)| *to = i64::from(word.cast_signed()));
        }
        DType::Bool => {
            let values = to.values_mut::<bool>()?.iter_mut();
            values.zip(each).for_each(|(to, word)| *to = word != 0);
        }
    }
    Ok(())
}

/// The tensor that 32-bit words stand for.
pub(crate) fn from_words(info: &Info, words: &[u8]) -> Result<Tensor> {
    let mut tensor = blank(info)?;
    write_words(words, &mut tensor)?;
    Ok(tensor)
}

fn no_doubles() -> Error {
    Error::Graph("networks do not compute with f64; convert it to f32".into())
}

/// A node and what is known of its operands when it is compiled, on either backend.
pub(crate) struct Site<'a> {
    pub graph: &'a Graph,
    pub node: &'a Node,
    pub options: &'a PlanOptions,
}

impl<'a> Site<'a> {
    /// Shape and type of an operand, if it is there.
    pub fn input(&self, i: usize) -> Option<&'a Info> {
        let id = self.node.inputs.get(i).copied().flatten()?;
        Some(&self.graph.value(id).info)
    }

    /// The dimensions of an operand; of an absent one, none.
    pub fn dims(&self, i: usize) -> &'a [usize] {
        self.input(i).map_or(&[], |info| &info.shape)
    }

    /// The data of an operand that is a constant.
    pub fn constant(&self, i: usize) -> Option<&'a Tensor> {
        let id = self.node.inputs.get(i).copied().flatten()?;
        self.graph.value(id).constant.as_ref()
    }

    /// Shape and type of an output.
    pub fn output(&self, i: usize) -> &'a Info {
        &self.graph.value(self.node.outputs[i]).info
    }

    /// An operator's complaint, with the layer's name.
    pub fn error(&self, e: OpError) -> Error {
        self.graph.op_error(&self.node.name, &self.node.op, e)
    }
}
