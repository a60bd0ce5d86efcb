//! From the nodes of a model to those of a [`Graph`].
//!
//! The nodes are walked once, in an order in which each can run. A value is either known (weights, shapes and what is
//! computed from them) or computed at run time; the builder evaluates what it can at once, so that shape arithmetic
//! leaves no trace in the graph. [`OPERATORS`] lists what can be imported, one entry per operator, with the function
//! that lowers it; the functions stand in one file per family and say how the opsets differ.

mod builder;
mod constants;
mod elementwise;
mod layout;
mod matmul;
mod node;
mod norm;
mod reduce;
mod resize;
mod windowed;

use std::collections::{HashMap, HashSet};

use builder::{Builder, Val};
use node::Node;

use super::element::Fault;
use super::proto::NodeProto;
use super::{Bindings, Dim, LAST_OPSET, Model, Unsupported};
use crate::error::{Error, Result};
use crate::graph::{Graph, Info};
use crate::ops::OpError;
use crate::tensor::{DType, Shape};
use crate::window::WindowError;

/// Why one node cannot be imported.
pub(super) struct Refusal(String);

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Refusal(reason)
    }
}

impl From<&str> for Refusal {
    fn from(reason: &str) -> Self {
        Refusal(reason.into())
    }
}

impl From<Error> for Refusal {
    fn from(e: Error) -> Self {
        Refusal(e.to_string())
    }
}

impl From<WindowError> for Refusal {
    fn from(e: WindowError) -> Self {
        Refusal(e.to_string())
    }
}

impl From<OpError> for Refusal {
    fn from(e: OpError) -> Self {
        match e {
            OpError::Shape { expected, actual } => Refusal(format!("expected {expected}, got {actual}")),
            OpError::Window(e) => e.into(),
            OpError::TrainingOnly => Refusal::from("an operator of training"),
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Malformed(reason) | Fault::Unsupported(reason) => Refusal(reason),
        }
    }
}

type Lower = fn(&mut Node) -> Result<Vec<Val>, Refusal>;

/// An operator that can be imported.
pub(super) struct Operator {
    /// Its name in ONNX.
    pub name: &'static str,
    /// The first and the last opset that has it.
    pub opsets: (u32, u32),
    /// The inputs that must be known while a model is loaded.
    load_time: &'static [usize],
    lower: Lower,
}

const fn op(name: &'static str, since: u32, load_time: &'static [usize], lower: Lower) -> Operator {
    Operator { name, opsets: (since, LAST_OPSET), load_time, lower }
}

/// All of them, by name.
pub(super) const OPERATORS: &[Operator] = &[
    op("Abs", 1, &[], elementwise::unary),
    op("Add", 1, &[], elementwise::binary),
    op("And", 1, &[0, 1], constants::logic),
    op("ArgMax", 1, &[], reduce::arg),
    op("ArgMin", 1, &[], reduce::arg),
    op("AveragePool", 1, &[], windowed::pool),
    op("BatchNormalization", 1, &[], norm::batch),
    op("Cast", 1, &[], constants::cast),
    op("CastLike", 15, &[], constants::cast),
    op("Ceil", 1, &[], elementwise::unary),
    op("Celu", 12, &[], elementwise::unary),
    op("Clip", 1, &[], elementwise::clip),
    op("Concat", 1, &[], layout::concat),
    op("Constant", 1, &[], constants::constant),
    op("ConstantOfShape", 9, &[0], constants::constant_of_shape),
    op("Conv", 1, &[], windowed::conv),
    op("ConvTranspose", 1, &[], windowed::conv_transpose),
    op("DepthToSpace", 1, &[], layout::depth_to_space),
    op("Div", 1, &[], elementwise::binary),
    op("Dropout", 1, &[2], layout::dropout),
    op("Elu", 1, &[], elementwise::unary),
    op("Equal", 1, &[0, 1], constants::compare),
    op("Erf", 9, &[], elementwise::unary),
    op("Exp", 1, &[], elementwise::unary),
    op("Expand", 8, &[1], layout::expand),
    op("Flatten", 1, &[], layout::flatten),
    op("Floor", 1, &[], elementwise::unary),
    op("Gather", 1, &[], layout::gather),
    op("Gelu", 20, &[], elementwise::unary),
    op("Gemm", 1, &[], matmul::gemm),
    op("GlobalAveragePool", 1, &[], reduce::global),
    op("GlobalLpPool", 1, &[], reduce::global),
    op("GlobalMaxPool", 1, &[], reduce::global),
    op("Greater", 1, &[0, 1], constants::compare),
    op("GreaterOrEqual", 12, &[0, 1], constants::compare),
    op("GroupNormalization", 18, &[], norm::group),
    op("HardSigmoid", 1, &[], elementwise::unary),
    op("HardSwish", 14, &[], elementwise::unary),
    op("Hardmax", 1, &[], reduce::softmax),
    op("Identity", 1, &[], layout::identity),
    op("InstanceNormalization", 1, &[], norm::instance),
    op("LRN", 1, &[], norm::lrn),
    op("LayerNormalization", 17, &[], norm::layer),
    op("LeakyRelu", 1, &[], elementwise::unary),
    op("Less", 1, &[0, 1], constants::compare),
    op("LessOrEqual", 12, &[0, 1], constants::compare),
    op("Log", 1, &[], elementwise::unary),
    op("LogSoftmax", 1, &[], reduce::softmax),
    op("LpNormalization", 1, &[], norm::lp),
    op("LpPool", 1, &[], windowed::pool),
    op("MatMul", 1, &[], matmul::matmul),
    op("Max", 1, &[], elementwise::variadic),
    op("MaxPool", 1, &[], windowed::pool),
    op("Mean", 1, &[], elementwise::variadic),
    op("MeanVarianceNormalization", 9, &[], norm::mean_variance),
    op("Min", 1, &[], elementwise::variadic),
    op("Mish", 18, &[], elementwise::unary),
    op("Mod", 10, &[0, 1], constants::modulo),
    op("Mul", 1, &[], elementwise::binary),
    op("Neg", 1, &[], elementwise::unary),
    op("NonZero", 9, &[0], constants::non_zero),
    op("Not", 1, &[0], constants::logic),
    op("Or", 1, &[0, 1], constants::logic),
    op("PRelu", 1, &[], elementwise::prelu),
    op("Pad", 1, &[1, 3], layout::pad),
    op("Pow", 1, &[], elementwise::binary),
    op("Range", 11, &[0, 1, 2], constants::range),
    op("Reciprocal", 1, &[], elementwise::unary),
    op("ReduceL1", 1, &[1], reduce::reduce),
    op("ReduceL2", 1, &[1], reduce::reduce),
    op("ReduceLogSum", 1, &[1], reduce::reduce),
    op("ReduceLogSumExp", 1, &[1], reduce::reduce),
    op("ReduceMax", 1, &[1], reduce::reduce),
    op("ReduceMean", 1, &[1], reduce::reduce),
    op("ReduceMin", 1, &[1], reduce::reduce),
    op("ReduceProd", 1, &[1], reduce::reduce),
    op("ReduceSum", 1, &[1], reduce::reduce),
    op("ReduceSumSquare", 1, &[1], reduce::reduce),
    op("Relu", 1, &[], elementwise::unary),
    op("Reshape", 1, &[1], layout::reshape),
    op("Resize", 10, &[1, 2, 3], resize::resize),
    op("Selu", 1, &[], elementwise::unary),
    op("Shape", 1, &[], constants::shape),
    op("Sigmoid", 1, &[], elementwise::unary),
    op("Size", 1, &[], constants::shape),
    op("Slice", 1, &[1, 2, 3, 4], layout::slice),
    op("Softmax", 1, &[], reduce::softmax),
    op("Softplus", 1, &[], elementwise::unary),
    op("Softsign", 1, &[], elementwise::unary),
    op("SpaceToDepth", 1, &[], layout::space_to_depth),
    op("Split", 1, &[1], layout::split),
    op("Sqrt", 1, &[], elementwise::unary),
    op("Squeeze", 1, &[1], layout::squeeze),
    op("Sub", 1, &[], elementwise::binary),
    op("Sum", 1, &[], elementwise::variadic),
    op("Swish", 24, &[], elementwise::unary),
    op("Tanh", 1, &[], elementwise::unary),
    op("ThresholdedRelu", 1, &[], elementwise::unary),
    op("Tile", 1, &[1, 2], layout::tile),
    op("Transpose", 1, &[], layout::transpose),
    op("Unsqueeze", 1, &[1], layout::unsqueeze),
    Operator { name: "Upsample", opsets: (1, 9), load_time: &[1], lower: resize::upsample },
    op("Where", 9, &[], layout::select),
    op("Xor", 1, &[0, 1], constants::logic),
];

fn is_default_domain(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

/// The entry of a node's operator, or why there is none.
fn find(node: &NodeProto, opset: u32) -> Result<&'static Operator, Refusal> {
    if !is_default_domain(&node.domain) {
        return Err(Refusal(format!("operators of the domain '{}' are not supported", node.domain)));
    }
    let operator = OPERATORS.iter().find(|o| o.name == node.op_type);
    let operator = operator.ok_or_else(|| Refusal::from("the operator is not supported"))?;
    let (first, last) = operator.opsets;
    if opset < first || opset > last {
        return Err(Refusal(format!("the operator is defined for opsets {first} to {last}")));
    }
    Ok(operator)
}

/// Whether what an operator does with f64 is done in f64, while the model is loaded.
fn keeps_doubles(op: &str) -> bool {
    const ARITHMETIC: &[&str] = &["Add", "Div", "Max", "Mean", "Min", "Mul", "Pow", "Sub", "Sum"];
    const LAYOUT: &[&str] =
        &["Concat", "Expand", "Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"];
    ARITHMETIC.contains(&op) || LAYOUT.contains(&op)
}

/// The values that reach an operator which computes in f32.
pub(super) fn computed_in_f32(nodes: &[NodeProto]) -> HashSet<&str> {
    let mut reach = HashSet::new();
    for node in nodes.iter().rev() {
        if !keeps_doubles(&node.op_type) || node.output.iter().any(|name| reach.contains(name.as_str())) {
            reach.extend(node.input.iter().map(String::as_str));
        }
    }
    reach
}

/// The values that must be known while the model is loaded for its shapes to be known.
pub(super) fn needed_at_load(nodes: &[NodeProto], opset: u32) -> HashSet<&str> {
    let mut needed = HashSet::new();
    for node in nodes.iter().rev() {
        let whole = node.output.iter().any(|name| needed.contains(name.as_str()));
        let load_time = find(node, opset).map_or(&[][..], |o| o.load_time);
        let only_shape = matches!(node.op_type.as_str(), "Shape" | "Size");
        for (i, name) in node.input.iter().enumerate() {
            if !name.is_empty() && (load_time.contains(&i) || whole && !only_shape) {
                needed.insert(name.as_str());
            }
        }
    }
    needed
}

/// What a name of the model stands for.
#[derive(Clone)]
enum Entry {
    Value(Val),
    /// It could not be imported, which has been reported.
    Failed,
    /// It could not be imported, which matters only where it is read.
    Absent(String),
}

/// The model as a graph for the shapes and constants of `bindings`.
pub(super) fn import(model: &Model, bindings: &Bindings) -> Result<Graph> {
    let mut builder = Builder::new(bindings.constant_limit);
    let mut names: HashMap<&str, Entry> = HashMap::new();
    for name in bindings.tensors.keys().chain(bindings.shapes.keys()) {
        if !model.inputs.iter().any(|i| i.name == *name)
            && !model.optional_inputs.iter().any(|i| i.name == *name)
        {
            return Err(Error::Input {
                name: name.clone(),
                expected: "the name of an input".into(),
                actual: "none of this name".into(),
            });
        }
    }
    for (name, reason) in &model.unreadable {
        names.insert(name, Entry::Absent(reason.clone()));
    }
    let replaced = |name: &str| bindings.tensors.contains_key(name) || bindings.shapes.contains_key(name);
    for input in model.inputs.iter().chain(model.optional_inputs.iter().filter(|i| replaced(&i.name))) {
        let name = input.name.as_str();
        let Some(dtype) = input.element.and_then(super::ElementType::dtype) else {
            let what = input.element.map_or("no tensor".into(), |e| format!("a tensor of {e}"));
            names.insert(name, Entry::Absent(format!("the input '{name}' is {what}")));
            continue;
        };
        let entry = if let Some(tensor) = bindings.tensors.get(name) {
            accept(input, &Info { shape: tensor.shape().clone(), dtype: tensor.dtype() }, dtype, bindings)?;
            builder.named_constant(name, tensor.clone())
        } else {
            let shape = match bindings.shapes.get(name) {
                Some(shape) => Shape::new(shape.clone())?,
                None => declared(input, bindings)?,
            };
            let info = Info { shape, dtype };
            accept(input, &info, dtype, bindings)?;
            builder.input(name, info)
        };
        names.insert(name, Entry::Value(entry));
    }

    let mut failures = Vec::new();
    let read = |name: &str, names: &HashMap<&str, Entry>, builder: &mut Builder| match names.get(name) {
        Some(entry) => entry.clone(),
        None => match model.constants.get(name) {
            Some(tensor) => Entry::Value(builder.named_constant(name, tensor.clone())),
            None => Entry::Absent(format!("nothing computes '{name}'")),
        },
    };
    for node in &model.nodes {
        let scope = node.output.iter().find(|name| !name.is_empty()).map_or("", String::as_str);
        let mut fail = |reason: String| {
            failures.push(Unsupported {
                node: if node.name.is_empty() { scope.to_string() } else { node.name.clone() },
                op: node.op_type.clone(),
                domain: node.domain.clone(),
                opset: model.opset,
                reason,
            });
        };
        let mut inputs = Some(Vec::with_capacity(node.input.len()));
        let mut absent = None;
        for name in &node.input {
            let entry = if name.is_empty() { None } else { Some(read(name, &names, &mut builder)) };
            match entry {
                None => inputs.iter_mut().for_each(|inputs| inputs.push(None)),
                Some(Entry::Value(val)) => {
                    names.insert(name, Entry::Value(val));
                    inputs.iter_mut().for_each(|inputs| inputs.push(Some(val)));
                }
                Some(Entry::Failed) => inputs = None,
                Some(Entry::Absent(reason)) => absent = Some(reason),
            }
        }
        builder.enter(scope);
        let outputs = match (find(node, model.opset), absent, inputs) {
            (Err(Refusal(reason)), ..) | (Ok(_), Some(reason), _) => {
                fail(reason);
                None
            }
            // What it reads has failed; that much is reported already.
            (Ok(_), None, None) => None,
            (Ok(operator), None, Some(inputs)) => {
                let mut lowered = Node::new(node, &inputs, model.opset, &mut builder);
                let outputs = (operator.lower)(&mut lowered).and_then(|v| lowered.finish().map(|()| v));
                outputs.map_err(|Refusal(reason)| fail(reason)).ok()
            }
        };
        for (i, name) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let entry = match outputs.as_ref().map(|outputs| outputs.get(i)) {
                None => Entry::Failed,
                Some(None) => {
                    Entry::Absent(format!("output {i} of {} is not computed at inference", node.op_type))
                }
                Some(Some(&val)) => {
                    builder.name(val, name);
                    Entry::Value(val)
                }
            };
            names.insert(name, entry);
        }
    }

    let mut outputs = Vec::new();
    for output in &model.outputs {
        match read(&output.name, &names, &mut builder) {
            Entry::Value(val) => {
                names.insert(&output.name, Entry::Value(val));
                outputs.push((val, output.name.as_str()));
            }
            Entry::Failed => {}
            Entry::Absent(reason) => {
                return Err(model.malformed(format!("output '{}': {reason}", output.name)));
            }
        }
    }
    if !failures.is_empty() {
        return Err(Error::Unsupported(failures));
    }
    builder.finish(&model.name, &outputs)
}

/// The shape an input is declared with, symbols bound.
fn declared(input: &super::ValueInfo, bindings: &Bindings) -> Result<Shape> {
    let unbound = || Error::Input {
        name: input.name.clone(),
        expected: "sizes for all its axes (bind its shape or its symbols)".into(),
        actual: input.to_string(),
    };
    let dims = input.dims.as_ref().ok_or_else(unbound)?;
    let sizes = dims.iter().map(|dim| match dim {
        Dim::Fixed(size) => Some(*size),
        Dim::Symbol(name) => bindings.symbols.get(name).copied(),
        Dim::Unknown => None,
    });
    Shape::new(sizes.collect::<Option<Vec<_>>>().ok_or_else(unbound)?)
}

/// Checks what an input is bound to against its declaration.
fn accept(input: &super::ValueInfo, bound: &Info, dtype: DType, bindings: &Bindings) -> Result<()> {
    let double = bound.dtype == DType::F64 && input.element == Some(super::ElementType::F64);
    let fits = input.dims.as_ref().is_none_or(|dims| {
        dims.len() == bound.shape.len()
            && dims.iter().zip(bound.shape.iter()).all(|(dim, &size)| match dim {
                Dim::Fixed(fixed) => *fixed == size,
                Dim::Symbol(name) => bindings.symbols.get(name).is_none_or(|&s| s == size),
                Dim::Unknown => true,
            })
    });
    if fits && (dtype == bound.dtype || double) {
        return Ok(());
    }
    Err(Error::Input {
        name: input.name.clone(),
        expected: input.to_string(),
        actual: format!("{} {}", bound.dtype, bound.shape),
    })
}
