//! burn on wgpu, with kernel fusion and autotuning: each node of the file becomes burn's operation of that kind. (burn's own
//! import turns files into Rust code when a program is built, so that it cannot take any file.)

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::tensor::module::{avg_pool2d, batch_norm, conv2d, linear, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor, TensorData, activation};
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};
use tract_onnx::prelude::*;

use crate::{Array, Run};

/// A value of the network. A tensor's rank is part of its type in burn.
#[derive(Clone)]
enum Value {
    Number(f32),
    One(Tensor<1>),
    Two(Tensor<2>),
    Four(Tensor<4>),
}

impl Value {
    fn new(shape: &[usize], values: Vec<f32>, device: &Device) -> Result<Self> {
        if let ([], [value]) = (shape, values.as_slice()) {
            return Ok(Value::Number(*value));
        }
        let data = TensorData::new(values, shape.to_vec());
        Ok(match shape.len() {
            1 => Value::One(Tensor::from_data(data, device)),
            2 => Value::Two(Tensor::from_data(data, device)),
            4 => Value::Four(Tensor::from_data(data, device)),
            rank => bail!("a tensor of {rank} axes"),
        })
    }

    fn number(self) -> Result<f32> {
        if let Value::Number(value) = self { Ok(value) } else { bail!("expected a number") }
    }

    fn one(self) -> Result<Tensor<1>> {
        if let Value::One(tensor) = self { Ok(tensor) } else { bail!("expected 1 axis") }
    }

    fn two(self) -> Result<Tensor<2>> {
        if let Value::Two(tensor) = self { Ok(tensor) } else { bail!("expected 2 axes") }
    }

    fn four(self) -> Result<Tensor<4>> {
        if let Value::Four(tensor) = self { Ok(tensor) } else { bail!("expected 4 axes") }
    }

    fn read(self) -> Result<Array> {
        let data = match self {
            Value::Number(_) => bail!("the output is a number"),
            Value::One(tensor) => tensor.into_data(),
            Value::Two(tensor) => tensor.into_data(),
            Value::Four(tensor) => tensor.into_data(),
        };
        let shape = data.shape().to_vec();
        let values = data.try_to_vec().map_err(|e| anyhow::anyhow!("{e:?}"))?;
        Ok(Array { shape, values })
    }
}

/// Runs `$function` on a value of 2 or 4 axes.
macro_rules! either {
    ($value:expr, $function:expr) => {
        match $value {
            Value::Two(x) => Value::Two($function(x)),
            Value::Four(x) => Value::Four($function(x)),
            _ => bail!("expected 2 or 4 axes"),
        }
    };
}

pub fn load(path: &Path) -> Result<Run> {
    let device = Device::wgpu(Default::default());
    let graph = tract_onnx::onnx().proto_model_for_path(path)?.graph.context("the file has no graph")?;
    let mut weights = HashMap::new();
    for tensor in &graph.initializer {
        weights.insert(tensor.name.clone(), weight(tensor, &device).with_context(|| tensor.name.clone())?);
    }
    for node in graph.node.iter().filter(|node| node.op_type == "Gemm") {
        // burn's linear layers take weights as [in, out].
        if node.get_attr_opt::<bool>("transB")?.unwrap_or(false) {
            let weight = weights.get_mut(&node.input[1]).context("a weight that is no constant")?;
            *weight = Value::Two(weight.clone().two()?.transpose());
        }
    }
    Ok(Box::new(move |input| run(&graph, &weights, &device, input)))
}

fn weight(tensor: &TensorProto, device: &Device) -> Result<Value> {
    let shape: Vec<usize> = tensor.dims.iter().map(|&size| size as usize).collect();
    let (words, rest) = tensor.raw_data.as_chunks::<4>();
    if tensor.data_type != 1 || !rest.is_empty() || words.len() != shape.iter().product::<usize>() {
        bail!("a weight that is not raw f32");
    }
    Value::new(&shape, words.iter().map(|&word| f32::from_le_bytes(word)).collect(), device)
}

fn run(
    graph: &GraphProto,
    weights: &HashMap<String, Value>,
    device: &Device,
    input: &Array,
) -> Result<Array> {
    let name = &graph.input.first().context("the file has no input")?.name;
    let mut values = HashMap::new();
    values.insert(name.as_str(), Value::new(&input.shape, input.values.clone(), device)?);
    for node in &graph.node {
        let operand = |name: &String| {
            values.get(name.as_str()).or_else(|| weights.get(name)).cloned().with_context(|| name.clone())
        };
        let operands = node.input.iter().map(operand).collect::<Result<Vec<_>>>()?;
        values.insert(&node.output[0], apply(node, operands).with_context(|| node.name.clone())?);
    }
    let output = &graph.output.first().context("the file has no output")?.name;
    values.remove(output.as_str()).context("the output is not computed")?.read()
}

fn apply(node: &NodeProto, operands: Vec<Value>) -> Result<Value> {
    let mut operands = operands.into_iter();
    let mut next = || operands.next().context("an operand is missing");
    let pair = |name: &str| -> Result<[usize; 2]> {
        let values = node.get_attr_opt_vec::<usize>(name)?.unwrap_or_else(|| vec![1, 1]);
        values.try_into().map_err(|_| anyhow::anyhow!("{name} is not for two axes"))
    };
    let pads = || -> Result<[(usize, usize); 2]> {
        let pads = node.get_attr_opt_vec::<usize>("pads")?.unwrap_or_else(|| vec![0; 4]);
        let [top, left, bottom, right] =
            pads.try_into().map_err(|_| anyhow::anyhow!("pads are not for two axes"))?;
        Ok([(top, bottom), (left, right)])
    };
    let ceil = || Ok::<_, anyhow::Error>(node.get_attr_opt::<bool>("ceil_mode")?.unwrap_or(false));
    Ok(match node.op_type.as_str() {
        "Conv" => {
            let groups = node.get_attr_opt("group")?.unwrap_or(1);
            let options =
                ConvOptions::new_with_padding(pair("strides")?, pads()?, pair("dilations")?, groups);
            let (x, weight) = (next()?.four()?, next()?.four()?);
            let bias = next().ok().map(Value::one).transpose()?;
            Value::Four(conv2d(x, weight, bias, options))
        }
        "BatchNormalization" => {
            let epsilon = node.get_attr_opt::<f32>("epsilon")?.unwrap_or(1e-5);
            let x = next()?.four()?;
            let mut part = || next()?.one();
            Value::Four(batch_norm(x, part()?, part()?, part()?, part()?, epsilon.into()))
        }
        "MaxPool" => {
            let options = MaxPoolOptions::new(pair("kernel_shape")?).with_stride(pair("strides")?);
            let options = options.with_padding_pairs(pads()?).with_ceil_mode(ceil()?);
            Value::Four(max_pool2d(next()?.four()?, options))
        }
        "AveragePool" => {
            let options = AvgPoolOptions::new(pair("kernel_shape")?).with_stride(pair("strides")?);
            let options = options.with_padding_pairs(pads()?).with_count_include_pad(false);
            Value::Four(avg_pool2d(next()?.four()?, options.with_ceil_mode(ceil()?)))
        }
        "GlobalAveragePool" => Value::Four(next()?.four()?.mean_dims(&[2, 3])),
        "Gemm" => {
            let (x, weight) = (next()?.two()?, next()?.two()?);
            Value::Two(linear(x, weight, next().ok().map(Value::one).transpose()?))
        }
        "Flatten" => Value::Two(next()?.four()?.flatten(1, 3)),
        "Add" => Value::Four(next()?.four()? + next()?.four()?),
        "Concat" => Value::Four(Tensor::cat(operands.map(Value::four).collect::<Result<Vec<_>>>()?, 1)),
        "Relu" => either!(next()?, activation::relu),
        "Tanh" => either!(next()?, activation::tanh),
        "Softmax" => Value::Two(activation::softmax(next()?.two()?, 1)),
        "Clip" => {
            let (x, low, high) = (next()?, next()?.number()?, next()?.number()?);
            match x {
                Value::Two(x) => Value::Two(x.clamp(low, high)),
                x => Value::Four(x.four()?.clamp(low, high)),
            }
        }
        other => bail!("{other} is not translated to burn"),
    })
}
