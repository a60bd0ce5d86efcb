//! Graphs as ONNX files.
//!
//! Every operator becomes the ONNX operator of its name where that computes the same in every case, else a composition
//! of others; what is fused into an operator (activations, residuals) is written as nodes of its own. Values keep their
//! names, so layers can be told apart in other tools.

mod arithmetic;
mod layout;
mod windowed;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use prost::Message;
use prost::encoding::{self, WireType};

use super::proto::{
    AttributeProto, DimensionProto, GraphProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TensorTypeProto, TypeProto, ValueInfoProto,
};
use crate::error::{Error, Result};
use crate::graph::{Graph, Info, Node, Value, ValueId};
use crate::ops::{Op, OpError};
use crate::tensor::{DType, Element, Shape, Tensor};

/// The version of the file format: the first that goes with [`OPSET`].
const IR_VERSION: i64 = 9;

/// The version of ONNX's operators that is written: the first with Gelu and with dilated average pools.
const OPSET: i64 = 20;

/// What protobuf's messages may take; readers refuse more.
const MOST_BYTES: usize = i32::MAX as usize;

/// Writes a network as an ONNX file (opset 20); the file appears whole or not at all.
///
/// Inputs and outputs have the graph's names and shapes, the batch included. Layers that no output needs are left out.
///
/// Two things ONNX leaves open, so that another runtime may answer differently: which extreme element is found, and which
/// maximum pooled, among NaN; and [`crate::ops::Gather`] with indices from an input that lie outside the axis.
///
/// # Errors
/// [`Error::Io`]; [`Error::Graph`] where the graph is not sound; [`Error::Onnx`] where the file would pass the 2 GiB that
/// the format allows.
pub fn save(graph: &Graph, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let file = Encoded::new(graph).map_err(|e| match e {
        Error::Onnx { reason, .. } => Error::Onnx { path: Some(path.into()), reason },
        other => other,
    })?;
    let unfinished = path.with_extension("unfinished");
    let written = || -> io::Result<()> {
        let mut out = BufWriter::new(File::create(&unfinished)?);
        file.write(&mut out)?;
        out.into_inner()?.sync_all()?;
        std::fs::rename(&unfinished, path)
    };
    written().map_err(|source| {
        // What is left of it is of no use; that it cannot be removed adds nothing to the error.
        let _ = std::fs::remove_file(&unfinished);
        Error::Io { path: path.into(), source }
    })
}

/// The bytes that [`save`] writes.
///
/// # Errors
/// As [`save`], less [`Error::Io`].
pub fn to_bytes(graph: &Graph) -> Result<Vec<u8>> {
    let file = Encoded::new(graph)?;
    let mut bytes = Vec::with_capacity(file.length);
    file.write(&mut bytes).map_err(|e| Error::Onnx { path: None, reason: e.to_string() })?;
    Ok(bytes)
}

/// A file that is ready to be written; the weights are still the graph's own.
struct Encoded {
    /// Everything in front of the graph's bytes, their length included.
    head: Vec<u8>,
    /// The graph without its weights.
    graph: Vec<u8>,
    /// What stands before the elements of each weight, and the weight.
    weights: Vec<(Vec<u8>, Tensor)>,
    length: usize,
}

impl Encoded {
    fn new(graph: &Graph) -> Result<Self> {
        graph.check()?;
        let mut export = Export::new(graph);
        export.nodes()?;
        let (proto, constants) = export.finish();

        let weights: Vec<_> =
            constants.into_iter().map(|(name, tensor)| (weight_head(name, &tensor), tensor)).collect();
        let graph = proto.encode_to_vec();
        let graph_length = weights
            .iter()
            .map(|(head, tensor)| head.len().saturating_add(raw_length(tensor)))
            .fold(graph.len(), usize::saturating_add);

        let mut head = Vec::new();
        encoding::int64::encode(1, &IR_VERSION, &mut head);
        encoding::string::encode(2, &env!("CARGO_PKG_NAME").to_string(), &mut head);
        encoding::string::encode(3, &env!("CARGO_PKG_VERSION").to_string(), &mut head);
        let opset = OperatorSetIdProto { domain: String::new(), version: OPSET };
        encoding::message::encode(8, &opset, &mut head);
        encoding::encode_key(7, WireType::LengthDelimited, &mut head);
        encoding::encode_varint(graph_length as u64, &mut head);

        let length = head.len().saturating_add(graph_length);
        if length > MOST_BYTES {
            let reason = format!("{length} bytes, more than the {MOST_BYTES} that an ONNX file may have");
            return Err(Error::Onnx { path: None, reason });
        }
        Ok(Encoded { head, graph, weights, length })
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.head)?;
        out.write_all(&self.graph)?;
        for (head, tensor) in &self.weights {
            out.write_all(head)?;
            write_raw(tensor, out)?;
        }
        Ok(())
    }
}

/// The number of a type in `onnx.proto`'s `TensorProto.DataType`.
fn type_number(dtype: DType) -> i32 {
    match dtype {
        DType::F32 => 1,
        DType::I64 => 7,
        DType::Bool => 9,
        DType::F64 => 11,
    }
}

/// How many bytes a tensor's elements take in the file.
fn raw_length(tensor: &Tensor) -> usize {
    let size = match tensor.dtype() {
        DType::F32 => 4,
        DType::I64 | DType::F64 => 8,
        DType::Bool => 1,
    };
    // 8 bytes per element can be addressed, as `Shape` guarantees.
    tensor.shape().elements() * size
}

/// The bytes of an initializer of the graph up to its elements, which are the last of its fields.
fn weight_head(name: String, tensor: &Tensor) -> Vec<u8> {
    let described = TensorProto {
        dims: integers(tensor.shape()),
        data_type: type_number(tensor.dtype()),
        name,
        ..TensorProto::default()
    };
    let raw = raw_length(tensor);
    let mut fields = described.encode_to_vec();
    encoding::encode_key(9, WireType::LengthDelimited, &mut fields);
    encoding::encode_varint(raw as u64, &mut fields);

    let mut head = Vec::with_capacity(fields.len() + 12);
    encoding::encode_key(5, WireType::LengthDelimited, &mut head);
    encoding::encode_varint(fields.len().saturating_add(raw) as u64, &mut head);
    head.extend(fields);
    head
}

/// Writes a tensor's elements, little-endian.
fn write_raw(tensor: &Tensor, out: &mut impl Write) -> io::Result<()> {
    fn all<const N: usize, T: Element>(
        tensor: &Tensor,
        out: &mut impl Write,
        bytes: impl Fn(T) -> [u8; N],
    ) -> io::Result<()> {
        let values = tensor.values::<T>().map_err(io::Error::other)?;
        for values in values.chunks(16 << 10) {
            let block: Vec<u8> = values.iter().flat_map(|&v| bytes(v)).collect();
            out.write_all(&block)?;
        }
        Ok(())
    }
    match tensor.dtype() {
        DType::F32 => all(tensor, out, f32::to_le_bytes),
        DType::F64 => all(tensor, out, f64::to_le_bytes),
        DType::I64 => all(tensor, out, i64::to_le_bytes),
        DType::Bool => all(tensor, out, |v: bool| [u8::from(v)]),
    }
}

/// A size as ONNX has them. The sizes of a `Shape` fit.
fn integer(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn integers(sizes: &[usize]) -> Vec<i64> {
    sizes.iter().map(|&size| integer(size)).collect()
}

/// An attribute that is an integer.
fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i: Some(value), r#type: 2, ..AttributeProto::default() }
}

/// An attribute that is a float.
fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { name: name.into(), f: Some(value), r#type: 1, ..AttributeProto::default() }
}

/// An attribute that is text.
fn text(name: &str, value: &str) -> AttributeProto {
    let s = Some(value.as_bytes().to_vec());
    AttributeProto { name: name.into(), s, r#type: 3, ..AttributeProto::default() }
}

/// An attribute that is a list of integers.
fn ints(name: &str, values: impl IntoIterator<Item = i64>) -> AttributeProto {
    let ints = values.into_iter().collect();
    AttributeProto { name: name.into(), ints, r#type: 7, ..AttributeProto::default() }
}

/// A graph while its nodes become ONNX's.
struct Export<'g> {
    graph: &'g Graph,
    /// The name of each value in the file.
    names: Vec<String>,
    taken: HashSet<String>,
    nodes: Vec<NodeProto>,
    constants: Vec<(String, Tensor)>,
}

impl<'g> Export<'g> {
    fn new(graph: &'g Graph) -> Self {
        let mut export = Export {
            graph,
            names: Vec::new(),
            taken: graph.values().iter().map(|v| v.name.clone()).collect(),
            nodes: Vec::new(),
            constants: Vec::new(),
        };
        // An empty name means in ONNX that there is no value.
        let name =
            |value: &Value| if value.name.is_empty() { export.fresh("value") } else { value.name.clone() };
        export.names = graph.values().iter().map(name).collect();
        export
    }

    /// A name like `base` that nothing has yet.
    fn fresh(&mut self, base: &str) -> String {
        let mut name = base.to_string();
        let mut number = 1;
        while !self.taken.insert(name.clone()) {
            number += 1;
            name = format!("{base}_{number}");
        }
        name
    }

    fn name(&self, id: ValueId) -> &str {
        self.names.get(id.index()).map_or("", String::as_str)
    }

    /// Which values the outputs need.
    fn needed(&self) -> Vec<bool> {
        let mut needed = vec![false; self.graph.values().len()];
        for id in self.graph.outputs() {
            needed[id.index()] = true;
        }
        for node in self.graph.nodes().iter().rev() {
            if node.outputs.iter().any(|id| needed[id.index()]) {
                for id in node.inputs.iter().flatten() {
                    needed[id.index()] = true;
                }
            }
        }
        needed
    }

    /// Writes the nodes that the outputs need, and the weights these read.
    fn nodes(&mut self) -> Result<()> {
        let needed = self.needed();
        for (i, value) in self.graph.values().iter().enumerate() {
            if let (true, Some(tensor)) = (needed[i], &value.constant) {
                self.constants.push((self.names[i].clone(), tensor.clone()));
            }
        }
        let graph = self.graph;
        for node in graph.nodes() {
            if node.outputs.iter().any(|id| needed[id.index()]) {
                self.layer(node).map_err(|e| graph.op_error(&node.name, &node.op, e))?;
            }
        }
        Ok(())
    }

    /// Writes one layer; its results get the names of the layer's outputs.
    fn layer(&mut self, node: &Node) -> Result<(), OpError> {
        let start = self.nodes.len();
        let mut layer = Layer { export: self, node };
        let results = layer.lower()?;
        for (result, &id) in results.into_iter().zip(&node.outputs) {
            let wanted = self.name(id).to_string();
            let own = self.nodes.iter().skip(start).any(|n| n.output.contains(&result));
            if own {
                for n in self.nodes.iter_mut().skip(start) {
                    for name in n.input.iter_mut().chain(&mut n.output).filter(|name| **name == result) {
                        *name = wanted.clone();
                    }
                }
            } else {
                self.push("Identity", vec![result], vec![wanted], Vec::new());
            }
        }
        for n in self.nodes.iter_mut().skip(start) {
            n.name = n.output.first().cloned().unwrap_or_default();
        }
        Ok(())
    }

    fn push(&mut self, op: &str, input: Vec<String>, output: Vec<String>, attribute: Vec<AttributeProto>) {
        let node = NodeProto { input, output, op_type: op.into(), attribute, ..NodeProto::default() };
        self.nodes.push(node);
    }

    /// The file's graph without weights, and the weights.
    fn finish(mut self) -> (GraphProto, Vec<(String, Tensor)>) {
        let graph = self.graph;
        let input =
            graph.inputs().iter().map(|&id| value_info(self.name(id), &graph.value(id).info)).collect();
        let mut seen = HashSet::new();
        let mut output = Vec::new();
        for &id in graph.outputs() {
            let mut name = self.name(id).to_string();
            if !seen.insert(id) {
                // One value returned twice needs two names.
                let copy = self.fresh(&name);
                self.push("Identity", vec![name], vec![copy.clone()], Vec::new());
                name = copy;
            }
            output.push(value_info(&name, &graph.value(id).info));
        }
        let name = if graph.name().is_empty() { "network" } else { graph.name() }.to_string();
        let proto = GraphProto { node: self.nodes, name, input, output, ..GraphProto::default() };
        (proto, self.constants)
    }
}

fn value_info(name: &str, info: &Info) -> ValueInfoProto {
    let dim = info.shape.iter().map(|&d| DimensionProto { dim_value: Some(integer(d)), dim_param: None });
    let shape = Some(TensorShapeProto { dim: dim.collect() });
    let tensor_type = Some(TensorTypeProto { elem_type: type_number(info.dtype), shape });
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type }) }
}

/// One layer while it becomes nodes. Values go by their names in the file.
struct Layer<'e, 'g> {
    export: &'e mut Export<'g>,
    node: &'e Node,
}

impl<'g> Layer<'_, 'g> {
    /// Writes the nodes that compute the layer; the names of its outputs, as far as it has any.
    fn lower(&mut self) -> Result<Vec<String>, OpError> {
        let result = match &self.node.op {
            Op::Activation(op) => arithmetic::activation(self, op),
            Op::ActivationGradient(_)
            | Op::Adam(_)
            | Op::ConvWeight(_)
            | Op::PoolGradient(_)
            | Op::Sgd(_) => return Err(OpError::TrainingOnly),
            Op::ArgReduce(op) => arithmetic::arg_reduce(self, op),
            Op::BatchNorm(op) => arithmetic::batch_norm(self, op),
            Op::Binary(op) => arithmetic::binary(self, *op),
            Op::Concat(op) => layout::concat(self, op),
            Op::Conv(op) => windowed::conv(self, op)?,
            Op::ConvTranspose(op) => windowed::conv_transpose(self, op)?,
            Op::Dropout(op) => layout::dropout(self, op)?,
            Op::Gather(op) => layout::gather(self, op)?,
            Op::Gemm(op) => arithmetic::gemm(self, op),
            Op::Im2col(op) => windowed::im2col(self, op)?,
            Op::Lrn(op) => arithmetic::lrn(self, op),
            Op::Normalize(op) => return arithmetic::normalize(self, op),
            Op::Pool(op) => return windowed::pool(self, op),
            Op::Rearrange(op) => layout::rearrange(self, op)?,
            Op::Reduce(op) => arithmetic::reduce(self, op),
            Op::Resample(op) => layout::resample(self, op)?,
            Op::Reshape(op) => layout::reshape(self, op),
            Op::Select(_) => layout::select(self),
            Op::Softmax(op) => arithmetic::softmax(self, op),
        };
        Ok(vec![result])
    }

    /// The name of operand `i`; empty where it is absent, which is how ONNX says so.
    fn input(&self, i: usize) -> String {
        let id = self.node.inputs.get(i).copied().flatten();
        id.map_or(String::new(), |id| self.export.name(id).to_string())
    }

    /// Shape and type of operand `i`, if it is there.
    fn info(&self, i: usize) -> Option<&'g Info> {
        let id = self.node.inputs.get(i).copied().flatten()?;
        Some(&self.export.graph.value(id).info)
    }

    /// The shape of operand `i`; of an absent one, none.
    fn shape(&self, i: usize) -> Shape {
        self.info(i).map(|info| info.shape.clone()).unwrap_or_default()
    }

    /// The data of operand `i`, where it is a constant.
    fn constant(&self, i: usize) -> Option<&'g Tensor> {
        let id = self.node.inputs.get(i).copied().flatten()?;
        self.export.graph.value(id).constant.as_ref()
    }

    /// The shape of the layer's first output.
    fn output_shape(&self) -> Shape {
        let first = self.node.outputs.first();
        first.map(|&id| self.export.graph.value(id).info.shape.clone()).unwrap_or_default()
    }

    /// A weight of the file that the graph does not have.
    fn tensor(&mut self, what: &str, tensor: Tensor) -> String {
        let name = self.export.fresh(&format!("{}/{what}", self.node.name));
        self.export.constants.push((name.clone(), tensor));
        name
    }

    /// A list of integers: a shape, axes, pads.
    fn list(&mut self, what: &str, values: Vec<i64>) -> String {
        let tensor = Tensor::new([values.len()], values).expect("a list is as long as it is");
        self.tensor(what, tensor)
    }

    /// A float without axes.
    fn scalar(&mut self, what: &str, value: f32) -> String {
        self.tensor(what, Tensor::scalar(value))
    }

    /// A node of several outputs.
    fn nodes(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
        outputs: usize,
    ) -> Vec<String> {
        let mut inputs: Vec<String> = inputs.iter().map(|name| name.to_string()).collect();
        while inputs.last().is_some_and(String::is_empty) {
            inputs.pop();
        }
        let base = format!("{}/{op}", self.node.name);
        let outputs: Vec<_> = (0..outputs).map(|_| self.export.fresh(&base)).collect();
        self.export.push(op, inputs, outputs.clone(), attributes);
        outputs
    }

    /// A node of one output.
    fn emit(&mut self, op: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        self.nodes(op, inputs, attributes, 1).pop().unwrap_or_default()
    }

    /// The same elements under another shape.
    fn reshape(&mut self, x: &str, shape: &[usize]) -> String {
        let sizes = self.list("shape", integers(shape));
        // A 0 would otherwise copy a size of the input's.
        let zeros = shape.contains(&0).then(|| int("allowzero", 1));
        self.emit("Reshape", &[x, &sizes], zeros.into_iter().collect())
    }
}
