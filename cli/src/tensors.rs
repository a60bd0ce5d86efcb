//! Tensors from and to `.npy` files, and an ONNX model run from one to the other.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use npyz::{Deserialize, NpyFile, WriterBuilder};
use wgpu_cnn::onnx::{Bindings, ElementType, Model};
use wgpu_cnn::{DType, Device, Graph, PlanOptions, Tensor};

/// Runs a model on inputs from `.npy` files and writes each output to the `.npy` file that `output` names.
pub fn run_model(
    device: &Device,
    model: &Path,
    inputs: &BTreeMap<String, PathBuf>,
    output: impl Fn(&str) -> Option<PathBuf>,
) -> Result<()> {
    let model = Model::open(model)?;
    let mut tensors = read_all(inputs)?;
    let graph = model.graph(&bind(&model, &mut tensors)?)?;
    for (file, tensor, element) in run_graph(device, &model, &graph, tensors)? {
        if let Some(file) = output(file) {
            write(&file, &tensor, element).with_context(|| file.display().to_string())?;
        }
    }
    Ok(())
}

/// Reads tensors, each under its name.
pub fn read_all(files: &BTreeMap<String, PathBuf>) -> Result<BTreeMap<String, Tensor>> {
    let read = |(name, file): (&String, &PathBuf)| {
        Ok((name.clone(), read(file).with_context(|| file.display().to_string())?))
    };
    files.iter().map(read).collect()
}

/// What is known of a model's inputs by these tensors: the shapes of those that a run is given, which become f32 where
/// they are f64, and the data of all others, which are constants.
///
/// Inputs that the model's shapes depend on, and all integers, are constants.
pub fn bind(model: &Model, tensors: &mut BTreeMap<String, Tensor>) -> Result<Bindings> {
    let mut bindings = Bindings::new();
    for (name, tensor) in tensors {
        let mut all = model.inputs().iter().chain(model.optional_inputs());
        let input = all.find(|input| input.name == *name);
        let constant = input.is_some_and(|i| i.needed_at_load) || tensor.dtype() == DType::I64;
        bindings = if constant {
            bindings.tensor(name.as_str(), tensor.clone())
        } else {
            if let Ok(values) = tensor.values::<f64>() {
                // Networks compute in f32.
                *tensor = Tensor::new(tensor.shape().to_vec(), values.iter().map(|&v| v as f32).collect())?;
            }
            bindings.shape(name.as_str(), tensor.shape().to_vec())
        };
    }
    Ok(bindings)
}

/// `NAME=FILE`; the name may hold `=` itself.
pub fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.rsplit_once('=').ok_or("expected NAME=FILE.npy")?;
    Ok((name.into(), file.into()))
}

/// The outputs of a model's graph: name, data and declared type of each. Those that are known already need no run.
fn run_graph<'m>(
    device: &Device,
    model: &'m Model,
    graph: &Graph,
    mut inputs: BTreeMap<String, Tensor>,
) -> Result<Vec<(&'m str, Tensor, Option<ElementType>)>> {
    let values = graph.outputs().iter().map(|&id| graph.value(id));
    let computed: Vec<&str> =
        values.clone().filter(|value| value.constant.is_none()).map(|value| value.name.as_str()).collect();
    let mut outputs = Vec::new().into_iter();
    if !computed.is_empty() {
        let mut options = PlanOptions::default();
        options.reject_nan = false;
        let plan = device.compile_with(&graph.with_outputs(&computed)?, &options)?;
        let inputs = plan.inputs().iter().map(|port| {
            inputs.remove(&port.name).with_context(|| format!("input '{}' is missing", port.name))
        });
        outputs = plan.run(&inputs.collect::<Result<Vec<_>>>()?)?.into_iter();
    }
    model
        .outputs()
        .iter()
        .zip(values)
        .map(|(declared, value)| {
            let tensor = value.constant.clone().or_else(|| outputs.next()).context("an output is missing")?;
            Ok((declared.name.as_str(), tensor, declared.element))
        })
        .collect()
}

/// The file in `folder` for an output of this name; what is not a letter, digit, `.`, `_` or `-` becomes `_`.
pub fn output_file(folder: &Path, name: &str) -> PathBuf {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    folder.join(name + ".npy")
}

/// Reads a tensor; integers become i64.
pub fn read(path: &Path) -> Result<Tensor> {
    let file = NpyFile::new(BufReader::new(File::open(path)?))?;
    ensure!(file.order() == npyz::Order::C, "the array is in Fortran order; save it in C order");
    let shape = file.shape().iter().map(|&d| usize::try_from(d)).collect::<Result<Vec<_>, _>>()?;
    let kind = match file.dtype() {
        npyz::DType::Plain(kind) => kind.to_string(),
        other => bail!("the array holds {}", other.descr()),
    };
    type Reader = BufReader<File>;
    fn all<T: Deserialize, U>(file: NpyFile<Reader>, convert: impl Fn(T) -> Result<U>) -> Result<Vec<U>> {
        let data = file.data::<T>().map_err(|e| anyhow!("{e}"))?;
        data.map(|value| convert(value?)).collect()
    }
    let integers = match kind.trim_start_matches(['<', '|']) {
        "f4" => return Ok(Tensor::new(shape, all(file, |v: f32| Ok(v))?)?),
        "f8" => return Ok(Tensor::new(shape, all(file, |v: f64| Ok(v))?)?),
        "b1" => return Ok(Tensor::new(shape, all(file, |v: bool| Ok(v))?)?),
        "i1" => all(file, |v: i8| Ok(v.into()))?,
        "i2" => all(file, |v: i16| Ok(v.into()))?,
        "i4" => all(file, |v: i32| Ok(v.into()))?,
        "i8" => all(file, |v: i64| Ok(v))?,
        "u1" => all(file, |v: u8| Ok(v.into()))?,
        "u2" => all(file, |v: u16| Ok(v.into()))?,
        "u4" => all(file, |v: u32| Ok(v.into()))?,
        "u8" => all(file, |v: u64| Ok(v.try_into()?))?,
        _ => bail!("the array holds {kind}, neither floats of 32 or 64 bits nor integers nor truth values"),
    };
    Ok(Tensor::new(shape, integers)?)
}

/// Writes a tensor in the element type that a model declares; without one, in its own.
pub fn write(path: &Path, tensor: &Tensor, element: Option<ElementType>) -> Result<()> {
    fn all<T: npyz::AutoSerialize>(path: &Path, shape: &[usize], values: Vec<T>) -> Result<()> {
        let shape: Vec<u64> = shape.iter().map(|&d| u64::try_from(d)).collect::<Result<_, _>>()?;
        let mut file = BufWriter::new(File::create(path)?);
        let mut writer =
            npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut file).begin_nd()?;
        writer.extend(values)?;
        writer.finish()?;
        Ok(file.flush()?)
    }
    fn narrow<T: TryFrom<i64>>(tensor: &Tensor) -> Result<Vec<T>>
    where
        T::Error: std::error::Error + Send + Sync + 'static,
    {
        Ok(tensor.values::<i64>()?.iter().map(|&v| T::try_from(v)).collect::<Result<_, _>>()?)
    }
    let shape = tensor.shape();
    let own = match tensor.dtype() {
        DType::F64 => ElementType::F64,
        DType::I64 => ElementType::I64,
        DType::Bool => ElementType::Bool,
        _ => ElementType::F32,
    };
    match element.unwrap_or(own) {
        ElementType::F32 => all(path, shape, tensor.values::<f32>()?.to_vec()),
        ElementType::F64 => match tensor.values::<f64>() {
            Ok(values) => all(path, shape, values.to_vec()),
            Err(_) => all(path, shape, tensor.values::<f32>()?.iter().map(|&v| f64::from(v)).collect()),
        },
        ElementType::Bool => all(path, shape, tensor.values::<bool>()?.to_vec()),
        ElementType::I8 => all(path, shape, narrow::<i8>(tensor)?),
        ElementType::I16 => all(path, shape, narrow::<i16>(tensor)?),
        ElementType::I32 => all(path, shape, narrow::<i32>(tensor)?),
        ElementType::I64 => all(path, shape, tensor.values::<i64>()?.to_vec()),
        ElementType::U8 => all(path, shape, narrow::<u8>(tensor)?),
        ElementType::U16 => all(path, shape, narrow::<u16>(tensor)?),
        ElementType::U32 => all(path, shape, narrow::<u32>(tensor)?),
        ElementType::U64 => all(path, shape, narrow::<u64>(tensor)?),
        other => bail!("{other} cannot be written as an array"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = output_file(folder.path(), "a/b:0 é.y");
        assert_eq!(file.file_name().unwrap(), "a_b_0__.y.npy");
        let cases = [
            (Tensor::new([2, 2], vec![1f32, f32::NAN, -0.0, f32::INFINITY]).unwrap(), ElementType::F32),
            (Tensor::new([0, 3], Vec::<f32>::new()).unwrap(), ElementType::F32),
            (Tensor::new([2], vec![1e300, -0.1]).unwrap(), ElementType::F64),
            (Tensor::new([2], vec![-1i64, 127]).unwrap(), ElementType::I8),
            (Tensor::scalar(i64::MIN), ElementType::I64),
            (Tensor::new([2], vec![true, false]).unwrap(), ElementType::Bool),
        ];
        for (tensor, element) in cases {
            write(&file, &tensor, Some(element)).unwrap();
            let again = read(&file).unwrap();
            assert_eq!(format!("{again:?}"), format!("{tensor:?}"));
        }
        assert!(write(&file, &Tensor::scalar(256i64), Some(ElementType::U8)).is_err());
    }
}
