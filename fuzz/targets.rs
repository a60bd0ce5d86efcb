//! What the fuzz targets do with their bytes. `tests/fuzz_corpus.rs` replays the corpus through the same functions.
//!
//! `cargo +nightly fuzz run onnx_import` (with cargo-fuzz installed) goes on from the corpus; a file that it finds belongs
//! into `corpus/`. `corpus.py` wrote the files that are there.
//!
//! No input may panic, take long, or allocate far beyond its size. What is accepted is also run, if it is small.

use wgpu_cnn::graph::Info;
use wgpu_cnn::onnx::{self, Bindings, Dim, ElementType, Model};
use wgpu_cnn::ops::{Gemm, Op};
use wgpu_cnn::picture::{self, Preprocess};
use wgpu_cnn::{DType, Device, Graph, PlanOptions, Result, Shape, Tensor};

/// What a target does with its bytes; whether it accepts them.
pub type Target = fn(&[u8]) -> bool;

/// The targets by name.
pub const ALL: [(&str, Target); 4] = [
    ("onnx_bytes", onnx_bytes),
    ("onnx_import", onnx_import),
    ("safetensors", safetensors),
    ("picture", picture),
];

/// The most elements that all values of a graph may have together to be run.
const MOST_ELEMENTS: usize = 1 << 18;
/// The most multiply-accumulates of a graph to be run.
const MOST_MACS: u64 = 1 << 22;

/// Any bytes as an ONNX file; whether it was imported.
pub fn onnx_bytes(data: &[u8]) -> bool {
    Model::from_bytes(data).is_ok_and(|model| import(&model))
}

/// Imports a model, whatever sizes it leaves open; runs it, if it is small; writes and reads it back.
pub fn import(model: &Model) -> bool {
    let mut bindings = Bindings::new().constant_limit(4 << 20);
    for input in model.inputs() {
        let Some(dims) = &input.dims else {
            bindings = bindings.shape(input.name.as_str(), [2, 3]);
            continue;
        };
        let size = |dim: &Dim| if let Dim::Fixed(size) = dim { *size } else { 3 };
        let shape: Vec<usize> = dims.iter().map(size).collect();
        let Some(count) = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)) else { continue };
        if input.needed_at_load && count <= 64 {
            let tensor = match input.element.and_then(ElementType::dtype) {
                Some(DType::I64) => Tensor::new(shape, vec![1i64; count]),
                Some(DType::Bool) => Tensor::new(shape, vec![true; count]),
                _ => Tensor::new(shape, vec![1f32; count]),
            };
            if let Ok(tensor) = tensor {
                bindings = bindings.tensor(input.name.as_str(), tensor);
            }
        } else {
            bindings = bindings.shape(input.name.as_str(), shape);
        }
    }
    let Ok(graph) = model.graph(&bindings) else { return false };
    let elements = graph.values().iter().fold(0usize, |n, v| n.saturating_add(v.info.shape.elements()));
    if elements <= MOST_ELEMENTS && graph.summary().macs <= MOST_MACS {
        let _ = run(&graph);
        if let Ok(bytes) = onnx::to_bytes(&graph) {
            let _ = Model::from_bytes(&bytes[..]).and_then(|model| model.graph(&Bindings::new()));
        }
    }
    true
}

fn run(graph: &Graph) -> Result<()> {
    let mut options = PlanOptions::default();
    options.reject_nan = false;
    let plan = Device::cpu().compile_with(graph, &options)?;
    let inputs = plan.inputs().iter().map(|port| {
        let (shape, count) = (port.info.shape.to_vec(), port.info.shape.elements());
        match port.info.dtype {
            DType::I64 => Tensor::new(shape, (0..count as i64).map(|i| i - 1).collect()),
            DType::Bool => Tensor::new(shape, (0..count).map(|i| i % 2 == 0).collect()),
            _ => Tensor::new(shape, (0..count).map(|i| i as f32 * 0.25 - 1.0).collect()),
        }
    });
    plan.run(&inputs.collect::<Result<Vec<_>>>()?)?;
    Ok(())
}

/// Any bytes as the weights of a network; whether they fit it.
pub fn safetensors(data: &[u8]) -> bool {
    let network = || -> Result<Graph> {
        let mut graph = Graph::new("linear");
        let x = graph.input("x", Info::f32(Shape::new([1, 3])?));
        let weight = graph.constant("weight", Tensor::zeros([2, 3])?);
        let bias = graph.constant("bias", Tensor::zeros([2])?);
        let y = graph.push_node("y", Op::from(Gemm::linear()), &[Some(x), Some(weight), Some(bias)])?;
        y.into_iter().for_each(|id| graph.output(id));
        Ok(graph)
    };
    network().is_ok_and(|mut graph| graph.load_weights_from(data).is_ok())
}

/// Any bytes as a picture; whether it is one.
pub fn picture(data: &[u8]) -> bool {
    let file = std::env::temp_dir().join(format!("wgpu-cnn-fuzz-{}", std::process::id()));
    let loaded = std::fs::write(&file, data).map(|()| {
        let grey = Preprocess::grey();
        picture::load(&file, [1, 8, 8], &grey).is_ok()
    });
    let _ = std::fs::remove_file(&file);
    loaded.unwrap_or(false)
}

/// A well-formed ONNX file whose operators, inputs and attributes the bytes choose, numbers that are likely to be
/// troublesome among them; whether it was imported.
pub fn onnx_import(data: &[u8]) -> bool {
    onnx_bytes(&Chooser(data).model())
}

/// Makes choices by bytes; when these run out, always the first.
struct Chooser<'d>(&'d [u8]);

const SMALL: [i64; 8] = [1, 0, 2, 3, -1, 1, 2, 4];
const INTEGERS: [i64; 10] =
    [5, -2, 7, -100, i32::MAX as i64, 1 << 32, 1 << 40, i64::MAX, i64::MIN, i64::MAX - 1];
const FLOATS: [f32; 12] =
    [1.0, 0.0, 0.5, 2.0, -1.0, 1e-30, 1e30, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3.7];
const SIZES: [i64; 8] = [1, 2, 3, 4, 5, 0, 7, 1 << 33];

/// What an attribute holds, by its number in ONNX.
const FLOAT: u64 = 1;
const INT: u64 = 2;
const STRING: u64 = 3;
const TENSOR: u64 = 4;
const INTS: u64 = 7;

type Named = (&'static str, u64);

/// The attributes of operators whose name starts so or ends so.
const ATTRIBUTES: &[(&str, &[Named])] = &[
    ("Arg", &[("axis", INT), ("keepdims", INT), ("select_last_index", INT)]),
    ("BatchNormalization", &[("epsilon", FLOAT)]),
    ("Cast", &[("to", INT)]),
    ("Concat", &[("axis", INT)]),
    ("ConstantOfShape", &[("value", TENSOR)]),
    ("Constant", &[("value", TENSOR), ("value_ints", INTS), ("value_float", FLOAT)]),
    (
        "ConvTranspose",
        &[("output_padding", INTS), ("output_shape", INTS), ("group", INT), ("auto_pad", STRING)],
    ),
    ("Conv", &[("pads", INTS), ("strides", INTS), ("dilations", INTS), ("group", INT), ("auto_pad", STRING)]),
    ("DepthToSpace", &[("blocksize", INT), ("mode", STRING)]),
    ("SpaceToDepth", &[("blocksize", INT)]),
    ("Flatten", &[("axis", INT)]),
    ("Gather", &[("axis", INT)]),
    ("Gelu", &[("approximate", STRING)]),
    ("Gemm", &[("transA", INT), ("transB", INT), ("alpha", FLOAT), ("beta", FLOAT)]),
    ("GroupNormalization", &[("num_groups", INT), ("epsilon", FLOAT)]),
    ("HardSigmoid", &[("alpha", FLOAT), ("beta", FLOAT)]),
    ("Hardmax", &[("axis", INT)]),
    ("InstanceNormalization", &[("epsilon", FLOAT)]),
    ("LayerNormalization", &[("axis", INT), ("epsilon", FLOAT)]),
    ("LRN", &[("size", INT), ("alpha", FLOAT), ("beta", FLOAT), ("bias", FLOAT)]),
    ("LpNormalization", &[("axis", INT), ("p", INT)]),
    ("MeanVariance", &[("axes", INTS)]),
    ("Mod", &[("fmod", INT)]),
    ("Pad", &[("mode", STRING), ("pads", INTS), ("value", FLOAT)]),
    ("Reduce", &[("axes", INTS), ("keepdims", INT), ("noop_with_empty_axes", INT)]),
    ("Reshape", &[("allowzero", INT), ("shape", INTS)]),
    (
        "Resize",
        &[
            ("mode", STRING),
            ("coordinate_transformation_mode", STRING),
            ("nearest_mode", STRING),
            ("antialias", INT),
            ("exclude_outside", INT),
            ("keep_aspect_ratio_policy", STRING),
            ("cubic_coeff_a", FLOAT),
            ("axes", INTS),
        ],
    ),
    ("Selu", &[("alpha", FLOAT), ("gamma", FLOAT)]),
    ("Shape", &[("start", INT), ("end", INT)]),
    ("Slice", &[("starts", INTS), ("ends", INTS), ("axes", INTS)]),
    ("Softmax", &[("axis", INT)]),
    ("Split", &[("axis", INT), ("split", INTS), ("num_outputs", INT)]),
    ("Squeeze", &[("axes", INTS)]),
    ("Transpose", &[("perm", INTS)]),
    ("Unsqueeze", &[("axes", INTS)]),
    ("Upsample", &[("mode", STRING)]),
    (
        "Pool",
        &[
            ("kernel_shape", INTS),
            ("pads", INTS),
            ("strides", INTS),
            ("dilations", INTS),
            ("ceil_mode", INT),
            ("count_include_pad", INT),
            ("storage_order", INT),
            ("auto_pad", STRING),
            ("p", INT),
        ],
    ),
    ("Elu", &[("alpha", FLOAT)]),
    ("Relu", &[("alpha", FLOAT)]),
    ("Add", &[("broadcast", INT), ("axis", INT)]),
];
const STRINGS: [&str; 20] = [
    "constant",
    "SAME_UPPER",
    "SAME_LOWER",
    "VALID",
    "NOTSET",
    "edge",
    "reflect",
    "wrap",
    "linear",
    "cubic",
    "nearest",
    "align_corners",
    "tf_crop_and_resize",
    "not_larger",
    "floor",
    "CRD",
    "asymmetric",
    "half_pixel",
    "tanh",
    "",
];
/// What operators whose name starts so or ends so read: `x` floats, `i` integers, `b` truth values.
const INPUTS: &[(&str, &str)] = &[
    ("Add", "xx"),
    ("And", "bb"),
    ("BatchNormalization", "xxxxx"),
    ("Clip", "xxx"),
    ("Concat", "xxx"),
    ("ConstantOfShape", "i"),
    ("Constant", ""),
    ("Conv", "xxx"),
    ("Div", "xx"),
    ("Equal", "ii"),
    ("Expand", "xi"),
    ("Gather", "xi"),
    ("Gemm", "xxx"),
    ("GroupNormalization", "xxx"),
    ("InstanceNormalization", "xxx"),
    ("LayerNormalization", "xxx"),
    ("Less", "ii"),
    ("Greater", "ii"),
    ("MatMul", "xx"),
    ("Max", "xx"),
    ("Mean", "xxx"),
    ("Min", "xx"),
    ("Mod", "ii"),
    ("Mul", "xx"),
    ("NonZero", "i"),
    ("Not", "b"),
    ("Or", "bb"),
    ("PRelu", "xx"),
    ("Pad", "xixi"),
    ("Pow", "xx"),
    ("Range", "iii"),
    ("Reduce", "xi"),
    ("Reshape", "xi"),
    ("Resize", "x xi"),
    ("Slice", "xiiii"),
    ("Split", "xi"),
    ("Squeeze", "xi"),
    ("Sub", "xx"),
    ("Sum", "xx"),
    ("Tile", "xi"),
    ("Unsqueeze", "xi"),
    ("Upsample", "xx"),
    ("Where", "bxx"),
    ("Xor", "bb"),
];
const FLOAT_SOURCES: [&str; 8] = ["x", "x", "x", "x", "f0", "f1", "f2", "f3"];
const INTEGER_SOURCES: [&str; 4] = ["i0", "i1", "i2", "i3"];
const ODD_SOURCES: [&str; 5] = ["", "nowhere", "b0", "i0", "x"];

/// The entry of a table that an operator's name starts or ends with.
fn entry<T: Copy>(table: &[(&str, T)], op: &str) -> Option<T> {
    table.iter().find(|(of, _)| op.starts_with(of) || op.ends_with(of)).map(|entry| entry.1)
}

impl Chooser<'_> {
    fn byte(&mut self) -> usize {
        match self.0.split_first() {
            Some((&first, rest)) => {
                self.0 = rest;
                usize::from(first)
            }
            None => 0,
        }
    }

    fn pick<T: Clone>(&mut self, options: &[T]) -> T {
        options[self.byte() % options.len()].clone()
    }

    fn model(&mut self) -> Vec<u8> {
        let opset = self.pick(&[17, 20, 13, 11, 9, 18, 22, 6, 1, 28]);
        let operators = onnx::operators().filter(|(_, opsets)| opsets.contains(&opset));
        let operators: Vec<_> = operators.map(|(name, _)| name).collect();
        let (mut graph, mut last) = (Vec::new(), Vec::new());
        let mut written: Vec<String> = Vec::new();
        for number in 0..self.pick(&[1, 1, 2, 3, 4]) {
            let op = self.pick(&operators);
            let mut node = Vec::new();
            let reads = entry(INPUTS, op).unwrap_or("x");
            let left_out = self.pick(&[0, 0, 0, 1, 2]);
            for kind in reads.chars().take(reads.len().saturating_sub(left_out).max(1)) {
                let source = match kind {
                    _ if self.byte() > 245 => self.pick(&ODD_SOURCES),
                    'x' if self.byte() < 128 && !written.is_empty() => &self.pick(&written),
                    'x' => self.pick(&FLOAT_SOURCES),
                    'i' => self.pick(&INTEGER_SOURCES),
                    'b' => "b0",
                    _ => "",
                };
                field(&mut node, 1, source.as_bytes());
            }
            last = (0..self.pick(&[1, 1, 1, 2, 3])).map(|i| format!("{number}:{i}")).collect::<Vec<String>>();
            last.iter().for_each(|name| field(&mut node, 2, name.as_bytes()));
            field(&mut node, 4, op.as_bytes());
            let mut known = entry(ATTRIBUTES, op).unwrap_or_default().to_vec();
            for _ in 0..self.pick(&[0, 1, 2, 3, 5]) {
                if !known.is_empty() {
                    let (name, kind) = known.remove(self.byte() % known.len());
                    let attribute = self.attribute(name, kind);
                    field(&mut node, 5, &attribute);
                }
            }
            field(&mut graph, 1, &node);
            written.extend(last.iter().cloned());
        }
        for name in ["f0", "f1", "f2", "f3"] {
            field(&mut graph, 5, &self.tensor(name, 1));
        }
        for name in INTEGER_SOURCES {
            field(&mut graph, 5, &self.tensor(name, 7));
        }
        field(&mut graph, 5, &self.tensor("b0", 9));
        let shape: Vec<i64> = (0..self.pick(&[4, 3, 2, 5, 1, 0])).map(|_| self.size()).collect();
        field(&mut graph, 11, &value_info("x", &shape));
        last.iter().for_each(|name| field(&mut graph, 12, &value_info(name, &[])));

        let mut version = Vec::new();
        number(&mut version, 2, u64::from(opset));
        let mut model = Vec::new();
        number(&mut model, 1, 8);
        field(&mut model, 7, &graph);
        field(&mut model, 8, &version);
        model
    }

    /// Most often 1 to 5.
    fn size(&mut self) -> i64 {
        if self.byte() < 240 { self.pick(&SIZES[..5]) } else { self.pick(&SIZES) }
    }

    /// Most often a small one.
    fn integer(&mut self) -> i64 {
        if self.byte() < 240 { self.pick(&SMALL) } else { self.pick(&INTEGERS) }
    }

    fn attribute(&mut self, name: &str, kind: u64) -> Vec<u8> {
        let mut attribute = Vec::new();
        field(&mut attribute, 1, name.as_bytes());
        number(&mut attribute, 20, kind);
        match kind {
            FLOAT => float(&mut attribute, 2, self.pick(&FLOATS)),
            INT => number(&mut attribute, 3, self.integer() as u64),
            STRING => field(&mut attribute, 4, self.pick(&STRINGS).as_bytes()),
            TENSOR => field(&mut attribute, 5, &self.tensor("", 7)),
            _ => {
                for _ in 0..self.pick(&[2, 4, 1, 3, 6, 0]) {
                    number(&mut attribute, 8, self.integer() as u64);
                }
            }
        }
        attribute
    }

    /// A small tensor of this element type, most often a list.
    fn tensor(&mut self, name: &str, kind: u64) -> Vec<u8> {
        let mut dims: Vec<i64> = (0..self.pick(&[1, 0, 1, 2, 4, 3])).map(|_| self.size()).collect();
        let mut count = dims.iter().try_fold(1i64, |n, &d| n.checked_mul(d)).unwrap_or(i64::MAX) as usize;
        if count > 256 {
            dims = vec![3];
            count = 3;
        }
        let mut tensor = Vec::new();
        dims.into_iter().for_each(|d| number(&mut tensor, 1, d as u64));
        number(&mut tensor, 2, kind);
        field(&mut tensor, 8, name.as_bytes());
        let raw: Vec<u8> = (0..count)
            .flat_map(|_| match kind {
                7 => self.integer().to_le_bytes().to_vec(),
                1 => self.pick(&FLOATS).to_le_bytes().to_vec(),
                _ => vec![(self.byte() % 2) as u8],
            })
            .collect();
        field(&mut tensor, 9, &raw);
        tensor
    }
}

/// A tensor of floats, as a value that is declared.
fn value_info(name: &str, shape: &[i64]) -> Vec<u8> {
    let (mut dims, mut tensor, mut kind, mut value) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for &size in shape {
        let mut dim = Vec::new();
        number(&mut dim, 1, size as u64);
        field(&mut dims, 1, &dim);
    }
    number(&mut tensor, 1, 1);
    field(&mut tensor, 2, &dims);
    field(&mut kind, 1, &tensor);
    field(&mut value, 1, name.as_bytes());
    field(&mut value, 2, &kind);
    value
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A field of protobuf with its length.
fn field(out: &mut Vec<u8>, tag: u64, bytes: &[u8]) {
    varint(out, tag << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn number(out: &mut Vec<u8>, tag: u64, value: u64) {
    varint(out, tag << 3);
    varint(out, value);
}

fn float(out: &mut Vec<u8>, tag: u64, value: f32) {
    varint(out, tag << 3 | 5);
    out.extend(value.to_le_bytes());
}
