//! The element types of ONNX tensors, and tensors of all of them as the crate's three.

use std::fmt;

use super::proto::{TensorProto, Words};
use crate::error::Error;
use crate::tensor::{DType, Shape, Tensor};

/// The type of a tensor's elements in an ONNX file.
///
/// Floats of every width are computed in f32, integers of every width are held as i64; [`ElementType::dtype`] says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ElementType {
    /// 32-bit floats.
    F32,
    /// 64-bit floats.
    F64,
    /// 16-bit IEEE 754 floats.
    F16,
    /// The upper half of 32-bit floats.
    Bf16,
    /// 8-bit signed integers.
    I8,
    /// 16-bit signed integers.
    I16,
    /// 32-bit signed integers.
    I32,
    /// 64-bit signed integers.
    I64,
    /// 8-bit unsigned integers.
    U8,
    /// 16-bit unsigned integers.
    U16,
    /// 32-bit unsigned integers.
    U32,
    /// 64-bit unsigned integers.
    U64,
    /// Truth values.
    Bool,
    /// Another of ONNX's types by its number: strings, complex numbers, floats and integers of 8 bits or fewer.
    Other(i32),
}

impl ElementType {
    /// The type with this number in `onnx.proto`'s `TensorProto.DataType`.
    pub(super) fn from_number(number: i32) -> Self {
        match number {
            1 => ElementType::F32,
            2 => ElementType::U8,
            3 => ElementType::I8,
            4 => ElementType::U16,
            5 => ElementType::I16,
            6 => ElementType::I32,
            7 => ElementType::I64,
            9 => ElementType::Bool,
            10 => ElementType::F16,
            11 => ElementType::F64,
            12 => ElementType::U32,
            13 => ElementType::U64,
            16 => ElementType::Bf16,
            other => ElementType::Other(other),
        }
    }

    /// The type it is computed in; `None` where it is not supported.
    pub fn dtype(self) -> Option<DType> {
        match self {
            ElementType::F32 | ElementType::F64 | ElementType::F16 | ElementType::Bf16 => Some(DType::F32),
            ElementType::Bool => Some(DType::Bool),
            ElementType::Other(_) => None,
            _ => Some(DType::I64),
        }
    }

    /// Bytes per element in `raw_data`; `None` where the type is not supported.
    pub(super) fn size(self) -> Option<usize> {
        match self {
            ElementType::I8 | ElementType::U8 | ElementType::Bool => Some(1),
            ElementType::F16 | ElementType::Bf16 | ElementType::I16 | ElementType::U16 => Some(2),
            ElementType::F32 | ElementType::I32 | ElementType::U32 => Some(4),
            ElementType::F64 | ElementType::I64 | ElementType::U64 => Some(8),
            ElementType::Other(_) => None,
        }
    }

    /// The smallest and the largest integer; `None` for other types.
    pub(super) fn integers(self) -> Option<(i64, i64)> {
        match self {
            ElementType::I8 => Some((i64::from(i8::MIN), i64::from(i8::MAX))),
            ElementType::I16 => Some((i64::from(i16::MIN), i64::from(i16::MAX))),
            ElementType::I32 => Some((i64::from(i32::MIN), i64::from(i32::MAX))),
            ElementType::I64 => Some((i64::MIN, i64::MAX)),
            ElementType::U8 => Some((0, i64::from(u8::MAX))),
            ElementType::U16 => Some((0, i64::from(u16::MAX))),
            ElementType::U32 => Some((0, i64::from(u32::MAX))),
            ElementType::U64 => Some((0, i64::MAX)),
            _ => None,
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ElementType::F32 => "float32",
            ElementType::F64 => "float64",
            ElementType::F16 => "float16",
            ElementType::Bf16 => "bfloat16",
            ElementType::I8 => "int8",
            ElementType::I16 => "int16",
            ElementType::I32 => "int32",
            ElementType::I64 => "int64",
            ElementType::U8 => "uint8",
            ElementType::U16 => "uint16",
            ElementType::U32 => "uint32",
            ElementType::U64 => "uint64",
            ElementType::Bool => "bool",
            ElementType::Other(8) => "string",
            ElementType::Other(14) => "complex64",
            ElementType::Other(15) => "complex128",
            ElementType::Other(n) => return write!(f, "ONNX element type {n}"),
        })
    }
}

/// Why a tensor of the file cannot be had.
pub(super) enum Fault {
    /// The file is not sound.
    Malformed(String),
    /// The file is sound, its type is not supported.
    Unsupported(String),
}

/// The shape of a tensor of the file.
pub(super) fn shape_of(dims: &[i64]) -> Result<Shape, Fault> {
    let sizes = dims.iter().map(|&d| usize::try_from(d)).collect::<Result<Vec<_>, _>>();
    let sizes = sizes.map_err(|_| Fault::Malformed(format!("a tensor of shape {dims:?}")))?;
    Shape::new(sizes).map_err(|e| Fault::Malformed(e.to_string()))
}

/// The tensor a message describes; f32 data keep their memory. External data are in `raw_data` already.
pub(super) fn tensor(proto: TensorProto) -> Result<Tensor, Fault> {
    let element = ElementType::from_number(proto.data_type);
    let shape = shape_of(&proto.dims)?;
    let Some(size) = element.size() else {
        return Err(Fault::Unsupported(format!("a tensor of {element}")));
    };
    let count = shape.elements();
    let dims = shape.to_vec();
    let filled = |tensor: Result<Tensor, Error>| tensor.map_err(|e| Fault::Malformed(e.to_string()));
    if let Some(raw) = proto.raw_data {
        if count.checked_mul(size) != Some(raw.len()) {
            return Err(Fault::Malformed(format!("{element} {shape} in {} bytes", raw.len())));
        }
        return filled(from_bytes(element, dims, raw)?);
    }
    let unsigned = |v: &u64| i64::try_from(*v).map_err(|_| too_large(*v));
    filled(match element {
        ElementType::F32 => Tensor::new(dims, proto.float_data),
        ElementType::F64 => Tensor::new(dims, proto.double_data),
        ElementType::I64 => Tensor::new(dims, proto.int64_data),
        ElementType::U32 | ElementType::U64 => {
            Tensor::new(dims, proto.uint64_data.iter().map(unsigned).collect::<Result<Vec<_>, _>>()?)
        }
        ElementType::Bool => Tensor::new(dims, proto.int32_data.iter().map(|&v| v != 0).collect::<Vec<_>>()),
        ElementType::F16 | ElementType::Bf16 => {
            let bits = proto.int32_data.iter().map(|&v| u16::try_from(v));
            let bits = bits.collect::<Result<Vec<_>, _>>();
            let bits = bits.map_err(|_| Fault::Malformed("more than 16 bits in a 16-bit float".into()))?;
            Tensor::new(dims, bits.into_iter().map(|v| half(element, v)).collect::<Vec<_>>())
        }
        _ => Tensor::new(dims, proto.int32_data.iter().map(|&v| i64::from(v)).collect::<Vec<_>>()),
    })
}

/// Little-endian bytes, as many as the shape needs, as a tensor.
fn from_bytes(element: ElementType, dims: Vec<usize>, raw: Words) -> Result<Result<Tensor, Error>, Fault> {
    fn all<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks().0.iter().map(|chunk| read(*chunk)).collect()
    }
    let bytes = raw.bytes();
    let integers = match element {
        ElementType::F32 => return Ok(Tensor::new(dims, raw.into_f32())),
        ElementType::F64 => return Ok(Tensor::new(dims, all(bytes, f64::from_le_bytes))),
        ElementType::F16 | ElementType::Bf16 => {
            return Ok(Tensor::new(dims, all(bytes, |b| half(element, u16::from_le_bytes(b)))));
        }
        ElementType::Bool => return Ok(Tensor::new(dims, all(bytes, |[b]: [u8; 1]| b != 0))),
        ElementType::I8 => all(bytes, |b| i64::from(i8::from_le_bytes(b))),
        ElementType::U8 => all(bytes, |[b]: [u8; 1]| i64::from(b)),
        ElementType::I16 => all(bytes, |b| i64::from(i16::from_le_bytes(b))),
        ElementType::U16 => all(bytes, |b| i64::from(u16::from_le_bytes(b))),
        ElementType::I32 => all(bytes, |b| i64::from(i32::from_le_bytes(b))),
        ElementType::U32 => all(bytes, |b| i64::from(u32::from_le_bytes(b))),
        ElementType::I64 => all(bytes, i64::from_le_bytes),
        ElementType::U64 => {
            let values = all(bytes, u64::from_le_bytes).into_iter();
            values.map(|v| i64::try_from(v).map_err(|_| too_large(v))).collect::<Result<_, _>>()?
        }
        ElementType::Other(_) => return Err(Fault::Unsupported(format!("a tensor of {element}"))),
    };
    Ok(Tensor::new(dims, integers))
}

fn too_large(value: u64) -> Fault {
    Fault::Unsupported(format!("the integer {value}, which does not fit 64 bits with a sign"))
}

/// The nearest f32.
pub(super) fn narrow(value: f64) -> f32 {
    value as f32
}

/// The f32 equal to a 16-bit float.
fn half(element: ElementType, bits: u16) -> f32 {
    let wide = u32::from(bits);
    if element == ElementType::Bf16 {
        return f32::from_bits(wide << 16);
    }
    let sign = (wide & 0x8000) << 16;
    let magnitude = wide & 0x7fff;
    if magnitude >= 0x7c00 {
        // Infinity or NaN.
        return f32::from_bits(sign | 0x7f80_0000 | (magnitude & 0x03ff) << 13);
    }
    // With the exponent read as f32's it is 112 too small; the product is exact, for subnormals too.
    let value = f32::from_bits(magnitude << 13) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(sign | value.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bit_floats_widen_exactly() {
        let cases = [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 2f32.powi(-24)),
            (0x03ff, 1023.0 * 2f32.powi(-24)),
            (0x7c00, f32::INFINITY),
            (0xfc00, f32::NEG_INFINITY),
            (0x8000, -0.0),
        ];
        for (bits, value) in cases {
            assert_eq!(half(ElementType::F16, bits).to_bits(), f32::to_bits(value), "{bits:#x}");
        }
        assert!(half(ElementType::F16, 0x7e00).is_nan());
        assert_eq!(half(ElementType::Bf16, 0x3fc0), 1.5);
    }

    #[test]
    fn a_count_that_does_not_fill_the_shape_is_malformed() {
        let proto = |dims, raw_data| TensorProto { dims, data_type: 1, raw_data, ..Default::default() };
        assert!(tensor(proto(vec![2], Some(Words::zeros(8)))).is_ok());
        for bad in [proto(vec![3], Some(Words::zeros(8))), proto(vec![-1], None), proto(vec![2], None)] {
            assert!(matches!(tensor(bad), Err(Fault::Malformed(_))));
        }
        let overflow = proto(vec![i64::MAX, i64::MAX], Some(Words::default()));
        assert!(matches!(tensor(overflow), Err(Fault::Malformed(_))));
    }
}
