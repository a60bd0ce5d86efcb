//! ONNX files as graphs, at run time, and graphs as ONNX files ([`save`]).
//!
//! A [`Model`] is a file that has been read: its weights in memory, its nodes in order. [`Model::graph`] makes a
//! [`Graph`] of it for inputs of given shapes; weights are shared between all graphs of one model.
//!
//! Opsets 1 to 28 of ONNX's default domain are read; [`operators`] lists the operators. Floats of every width are
//! computed in f32, save arithmetic on constants of f64. Integers are for shapes, axes and indices: what is computed with them is computed here, so where it
//! depends on an input, that input's data must be bound ([`Bindings::tensor`]); [`ValueInfo::needed_at_load`] says
//! where it does. What cannot be imported is refused with all reasons at once ([`Error::Unsupported`]).
//!
//! ```no_run
//! use wgpu_cnn::onnx::{Bindings, Model};
//! use wgpu_cnn::{Device, Tensor};
//!
//! let model = Model::open("resnet50.onnx")?;
//! let graph = model.graph(&Bindings::new().symbol("batch", 1))?;
//! let plan = Device::auto().compile(&graph)?;
//! let scores = plan.run_one(&Tensor::zeros([1, 3, 224, 224])?)?;
//! # Ok::<(), wgpu_cnn::Error>(())
//! ```

mod element;
mod export;
mod external;
mod fold;
mod import;
mod proto;
mod stream;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use prost::Message;
use prost::bytes::Buf;

pub use element::ElementType;
pub use export::{save, to_bytes};

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::tensor::Tensor;
use element::Fault;
use proto::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use stream::Stream;

/// The last opset that is read.
const LAST_OPSET: u32 = 28;

/// The operators that can be imported, by name, with the opsets that have them.
pub fn operators() -> impl Iterator<Item = (&'static str, RangeInclusive<u32>)> {
    import::OPERATORS.iter().map(|o| (o.name, o.opsets.0..=o.opsets.1))
}

/// A node that cannot be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// The node's name, or where it has none that of its first output.
    pub node: String,
    /// The operator.
    pub op: String,
    /// The operator's domain; empty for ONNX's own.
    pub domain: String,
    /// The opset the model is written in.
    pub opset: u32,
    /// What is not supported.
    pub reason: String,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dot = if self.domain.is_empty() { "" } else { "." };
        write!(
            f,
            "node '{}' ({}{dot}{}, opset {}): {}",
            self.node, self.domain, self.op, self.opset, self.reason
        )
    }
}

/// The size of an axis as a model declares it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// This size.
    Fixed(usize),
    /// Any size, the same wherever this name stands.
    Symbol(String),
    /// Any size.
    Unknown,
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Fixed(size) => write!(f, "{size}"),
            Dim::Symbol(name) => f.write_str(name),
            Dim::Unknown => f.write_str("?"),
        }
    }
}

/// An input or output as a model declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueInfo {
    /// Its name.
    pub name: String,
    /// The type of its elements; `None` where it is no tensor.
    pub element: Option<ElementType>,
    /// The sizes of its axes; `None` where not even their number is declared.
    pub dims: Option<Vec<Dim>>,
    /// Whether its data must be bound ([`Bindings::tensor`]): shapes depend on them, or they are f64 and only arithmetic
    /// is done with them, for which there is no f64 at run time.
    pub needed_at_load: bool,
}

impl fmt::Display for ValueInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.element {
            Some(element) => write!(f, "{element}")?,
            None => f.write_str("no tensor")?,
        }
        match &self.dims {
            Some(dims) => {
                let dims: Vec<_> = dims.iter().map(Dim::to_string).collect();
                write!(f, " [{}]", dims.join(", "))
            }
            None => f.write_str(" of unknown shape"),
        }
    }
}

/// What is known of a model's inputs when a graph is made of it.
#[derive(Clone, Debug)]
pub struct Bindings {
    symbols: HashMap<String, usize>,
    shapes: BTreeMap<String, Vec<usize>>,
    tensors: BTreeMap<String, Tensor>,
    constant_limit: usize,
}

impl Default for Bindings {
    fn default() -> Self {
        Bindings {
            symbols: HashMap::new(),
            shapes: BTreeMap::new(),
            tensors: BTreeMap::new(),
            constant_limit: 1 << 30,
        }
    }
}

impl Bindings {
    /// Nothing: all sizes are those the model declares.
    pub fn new() -> Self {
        Self::default()
    }

    /// The size that a [`Dim::Symbol`] stands for.
    #[must_use]
    pub fn symbol(mut self, name: impl Into<String>, size: usize) -> Self {
        self.symbols.insert(name.into(), size);
        self
    }

    /// The shape of an input. An input that has a default becomes a real input by it.
    #[must_use]
    pub fn shape(mut self, input: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        self.shapes.insert(input.into(), shape.into());
        self
    }

    /// The data of an input, which so becomes a constant: it is no input of the graph.
    #[must_use]
    pub fn tensor(mut self, input: impl Into<String>, tensor: Tensor) -> Self {
        self.tensors.insert(input.into(), tensor);
        self
    }

    /// The most bytes that constants computed while loading may take together; 1 GiB unless set.
    ///
    /// A few bytes of a file can ask for a constant of any size; this is where that ends.
    #[must_use]
    pub fn constant_limit(mut self, bytes: usize) -> Self {
        self.constant_limit = bytes;
        self
    }
}

/// An ONNX file that has been read.
#[derive(Debug)]
pub struct Model {
    path: Option<PathBuf>,
    name: String,
    opset: u32,
    /// What must be given.
    inputs: Vec<ValueInfo>,
    /// Inputs that have a default among the constants.
    optional_inputs: Vec<ValueInfo>,
    outputs: Vec<ValueInfo>,
    constants: HashMap<String, Tensor>,
    /// Constants of types that are not supported, with the reason.
    unreadable: HashMap<String, String>,
    /// What the outputs need, in an order in which each can run.
    nodes: Vec<NodeProto>,
}

impl Model {
    /// Reads a file, and the files beside it that hold its weights.
    ///
    /// The weights are in memory once, and nothing else of the file is kept.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Onnx`] where it is no ONNX file or not a sound one.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let io = |source| Error::Io { path: path.into(), source };
        let file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        let malformed = |reason: &str| Error::Onnx { path: Some(path.into()), reason: reason.into() };
        if !metadata.is_file() {
            return Err(malformed("it is not a file"));
        }
        let length = usize::try_from(metadata.len()).map_err(|_| malformed("it is too large"))?;
        let mut stream = Stream::new(file, length);
        let decoded = ModelProto::decode(&mut stream);
        stream.finish().map_err(io)?;
        let folder = path.parent().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
        Self::new(decoded, Some(path), folder)
    }

    /// Reads a file that is in memory. Weights in other files cannot be had.
    ///
    /// # Errors
    /// [`Error::Onnx`].
    pub fn from_bytes(bytes: impl Buf) -> Result<Self> {
        Self::new(ModelProto::decode(bytes), None, None)
    }

    fn new(
        decoded: std::result::Result<ModelProto, prost::DecodeError>,
        path: Option<&Path>,
        folder: Option<&Path>,
    ) -> Result<Self> {
        let path = path.map(PathBuf::from);
        let malformed = |reason: String| Error::Onnx { path: path.clone(), reason };
        let proto = decoded.map_err(|e| malformed(format!("it is not an ONNX file ({e})")))?;
        let graph =
            proto.graph.ok_or_else(|| malformed("it is not an ONNX file (there is no graph)".into()))?;
        // Files from before there were opsets are of the first.
        let opsets = proto.opset_import.iter().filter(|o| matches!(o.domain.as_str(), "" | "ai.onnx"));
        let opset = opsets.map(|o| o.version).max().unwrap_or(1);
        let opset = u32::try_from(opset)
            .ok()
            .filter(|version| (1..=LAST_OPSET).contains(version))
            .ok_or_else(|| malformed(format!("opset {opset} is not one of 1 to {LAST_OPSET}")))?;
        let mut model = Model {
            path: path.clone(),
            name: graph.name.clone(),
            opset,
            inputs: Vec::new(),
            optional_inputs: Vec::new(),
            outputs: Vec::new(),
            constants: HashMap::new(),
            unreadable: HashMap::new(),
            nodes: Vec::new(),
        };
        model.take(graph, folder).map_err(malformed)?;
        Ok(model)
    }

    /// Takes over a graph's parts; fails with the reason why it is not sound.
    fn take(&mut self, graph: GraphProto, folder: Option<&Path>) -> std::result::Result<(), String> {
        if !graph.sparse_initializer.is_empty() {
            return Err("sparse initializers are not supported".into());
        }
        for tensor in graph.initializer {
            let name = tensor.name.clone();
            self.add_constant(name, tensor, folder)?;
        }
        let mut nodes = Vec::with_capacity(graph.node.len());
        for mut node in graph.node {
            let is_constant = node.op_type == "Constant" && matches!(node.domain.as_str(), "" | "ai.onnx");
            let value = match &mut node.attribute[..] {
                [value] if is_constant && value.name == "value" => value.t.take(),
                _ => None,
            };
            match (value, &node.output[..]) {
                (Some(tensor), [name]) => self.add_constant(name.clone(), *tensor, folder)?,
                _ => nodes.push(node),
            }
        }
        self.nodes = ordered(nodes, &graph.output)?;

        let needed = import::needed_at_load(&self.nodes, self.opset);
        let in_f32 = import::computed_in_f32(&self.nodes);
        let mut seen = HashSet::new();
        let mut inputs = Vec::new();
        for input in graph.input {
            let mut info = value_info(input)?;
            let double = info.element == Some(ElementType::F64) && !in_f32.contains(info.name.as_str());
            info.needed_at_load = double || needed.contains(info.name.as_str());
            if !seen.insert(info.name.clone()) {
                return Err(format!("two inputs are called '{}'", info.name));
            }
            inputs.push(info);
        }
        for node in &self.nodes {
            for name in node.output.iter().filter(|name| !name.is_empty()) {
                if seen.contains(name)
                    || self.constants.contains_key(name)
                    || self.unreadable.contains_key(name)
                {
                    return Err(format!("'{name}' is computed twice"));
                }
            }
        }
        let has_default = |info: &ValueInfo| {
            self.constants.contains_key(&info.name) || self.unreadable.contains_key(&info.name)
        };
        (self.optional_inputs, self.inputs) = inputs.into_iter().partition(has_default);
        let mut seen = HashSet::new();
        for output in graph.output {
            let info = value_info(output)?;
            if !seen.insert(info.name.clone()) {
                return Err(format!("two outputs are called '{}'", info.name));
            }
            self.outputs.push(info);
        }
        if self.outputs.is_empty() {
            return Err("there are no outputs".into());
        }
        Ok(())
    }

    fn add_constant(
        &mut self,
        name: String,
        mut tensor: TensorProto,
        folder: Option<&Path>,
    ) -> std::result::Result<(), String> {
        if self.constants.contains_key(&name) || self.unreadable.contains_key(&name) {
            return Err(format!("two constants are called '{name}'"));
        }
        let loaded =
            if external::is_external(&tensor) { external::load(&mut tensor, folder) } else { Ok(()) };
        match loaded.and_then(|()| element::tensor(tensor)) {
            Ok(tensor) => {
                self.constants.insert(name, tensor);
            }
            Err(Fault::Unsupported(reason)) => {
                self.unreadable.insert(name, reason);
            }
            Err(Fault::Malformed(reason)) => return Err(format!("constant '{name}': {reason}")),
        }
        Ok(())
    }

    /// The graph's name in the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The opset the model is written in.
    pub fn opset(&self) -> u32 {
        self.opset
    }

    /// What a run must be given, in order.
    pub fn inputs(&self) -> &[ValueInfo] {
        &self.inputs
    }

    /// Inputs that have a default, which stays unless they are bound.
    pub fn optional_inputs(&self) -> &[ValueInfo] {
        &self.optional_inputs
    }

    /// What a run returns, in order. The outputs of [`Model::graph`] are these.
    pub fn outputs(&self) -> &[ValueInfo] {
        &self.outputs
    }

    /// The model as a graph for inputs of these shapes.
    ///
    /// The graph's inputs are the model's in their order, without those whose data are bound; its layers are called
    /// after the values they compute.
    ///
    /// # Errors
    /// [`Error::Unsupported`] with every node that cannot be imported; [`Error::Input`] where an input is bound to what
    /// it is not declared as, or has a size that is neither declared nor bound; [`Error::Onnx`] where an output is not
    /// computed.
    pub fn graph(&self, bindings: &Bindings) -> Result<Graph> {
        import::import(self, bindings)
    }

    fn malformed(&self, reason: String) -> Error {
        Error::Onnx { path: self.path.clone(), reason }
    }
}

fn value_info(proto: ValueInfoProto) -> std::result::Result<ValueInfo, String> {
    let tensor = proto.r#type.and_then(|t| t.tensor_type);
    let element = tensor.as_ref().map(|t| ElementType::from_number(t.elem_type));
    let dims = tensor.and_then(|t| t.shape).map(|shape| {
        shape
            .dim
            .into_iter()
            .map(|dim| match (dim.dim_value, dim.dim_param) {
                // Some exporters mark unknown sizes so.
                (Some(-1), _) => Ok(Dim::Unknown),
                (Some(size), _) => usize::try_from(size).map(Dim::Fixed).map_err(|_| size),
                (None, Some(name)) if !name.is_empty() => Ok(Dim::Symbol(name)),
                (None, _) => Ok(Dim::Unknown),
            })
            .collect::<std::result::Result<Vec<_>, _>>()
    });
    let dims = dims.transpose().map_err(|size| format!("'{}' has an axis of size {size}", proto.name))?;
    Ok(ValueInfo { name: proto.name, element, dims, needed_at_load: false })
}

/// The nodes that the outputs need, in an order in which each can run: the file's own, where it is one.
fn ordered(nodes: Vec<NodeProto>, outputs: &[ValueInfoProto]) -> std::result::Result<Vec<NodeProto>, String> {
    let mut writers = HashMap::new();
    for (i, node) in nodes.iter().enumerate() {
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            if writers.insert(name.as_str(), i).is_some() {
                return Err(format!("'{name}' is computed twice"));
            }
        }
    }
    let mut needed = vec![false; nodes.len()];
    let mut open: Vec<usize> = outputs.iter().filter_map(|o| writers.get(o.name.as_str()).copied()).collect();
    let mut readers = vec![Vec::new(); nodes.len()];
    let mut missing = vec![0usize; nodes.len()];
    while let Some(i) = open.pop() {
        if std::mem::replace(&mut needed[i], true) {
            continue;
        }
        for &writer in nodes[i].input.iter().filter_map(|name| writers.get(name.as_str())) {
            readers[writer].push(i);
            missing[i] += 1;
            open.push(writer);
        }
    }
    let mut ready: BinaryHeap<_> =
        (0..nodes.len()).filter(|&i| needed[i] && missing[i] == 0).map(Reverse).collect();
    let mut order = Vec::new();
    while let Some(Reverse(i)) = ready.pop() {
        order.push(i);
        for &reader in &readers[i] {
            missing[reader] -= 1;
            if missing[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    if let Some(i) = (0..nodes.len()).find(|&i| needed[i] && missing[i] > 0) {
        let name = nodes[i].output.first().map_or("", String::as_str);
        return Err(format!("the nodes form a cycle; '{name}' depends on itself"));
    }
    let mut nodes: Vec<Option<NodeProto>> = nodes.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|i| nodes[i].take()).collect())
}
