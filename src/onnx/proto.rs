//! The messages of `onnx.proto` that an import needs; other fields are skipped, not stored.
//!
//! What a file may repeat without end costs at most a small multiple of its bytes; subgraphs, of which only the presence
//! matters, are skipped without being entered.

use prost::Message;
use prost::bytes::{Buf, BufMut};
use prost::encoding::{DecodeContext, WireType, check_wire_type, skip_field};
use prost::{DecodeError, decode_length_delimiter, encoding};

/// A whole file.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ModelProto {
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    #[prost(message, optional, tag = "7")]
    pub graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSetIdProto>,
    #[prost(message, repeated, tag = "25")]
    pub functions: Vec<FunctionProto>,
}

/// A domain and the version of its operators that the model is written in.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OperatorSetIdProto {
    #[prost(string, tag = "1")]
    pub domain: String,
    #[prost(int64, tag = "2")]
    pub version: i64,
}

/// A function of the model's own, as far as a message can name it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct FunctionProto {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "10")]
    pub domain: String,
}

/// Nodes, weights, inputs and outputs.
#[derive(Clone, PartialEq, Message)]
pub(super) struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<NodeProto>,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "15")]
    pub sparse_initializer: Vec<Skipped>,
}

/// One application of an operator.
#[derive(Clone, PartialEq, Message)]
pub(super) struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<AttributeProto>,
    #[prost(string, tag = "7")]
    pub domain: String,
}

/// A named setting of a node. Which field holds the value is said by `type`, or by the field that is there.
#[derive(Clone, PartialEq, Message)]
pub(super) struct AttributeProto {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(float, optional, tag = "2")]
    pub f: Option<f32>,
    #[prost(int64, optional, tag = "3")]
    pub i: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub s: Option<Vec<u8>>,
    #[prost(message, optional, boxed, tag = "5")]
    pub t: Option<Box<TensorProto>>,
    #[prost(message, optional, tag = "6")]
    pub g: Option<Skipped>,
    #[prost(float, repeated, tag = "7")]
    pub floats: Vec<f32>,
    #[prost(int64, repeated, tag = "8")]
    pub ints: Vec<i64>,
    #[prost(int32, tag = "20")]
    pub r#type: i32,
    #[prost(string, tag = "21")]
    pub ref_attr_name: String,
}

/// A named value with its type.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ValueInfoProto {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<TypeProto>,
}

/// A tensor's type; of sequences, maps and optionals nothing is kept.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TypeProto {
    #[prost(message, optional, tag = "1")]
    pub tensor_type: Option<TensorTypeProto>,
}

/// Element type and shape.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorTypeProto {
    #[prost(int32, tag = "1")]
    pub elem_type: i32,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShapeProto>,
}

/// The sizes of a tensor's axes.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorShapeProto {
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<DimensionProto>,
}

/// A size, a symbol, or neither.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DimensionProto {
    #[prost(int64, optional, tag = "1")]
    pub dim_value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    pub dim_param: Option<String>,
}

/// A key and a value.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StringStringEntryProto {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

/// A message of which only the presence matters.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Skipped;

impl Message for Skipped {
    fn encode_raw(&self, _buf: &mut impl BufMut) {}

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        skip_field(wire_type, tag, buf, ctx)
    }

    fn encoded_len(&self) -> usize {
        0
    }

    fn clear(&mut self) {}
}

/// Little-endian bytes at the alignment of the words they will be read as, so that f32 weights need no second copy.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Words {
    words: Vec<u32>,
    bytes: usize,
}

impl Words {
    /// Room for so many bytes, all 0.
    pub fn zeros(bytes: usize) -> Self {
        Words { words: vec![0; bytes.div_ceil(4)], bytes }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.words).get(..self.bytes).unwrap_or_default()
    }

    /// The bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.words).get_mut(..self.bytes).unwrap_or_default()
    }

    /// The bytes as floats, in the same memory.
    pub fn into_f32(mut self) -> Vec<f32> {
        self.words.truncate(self.bytes / 4);
        for word in &mut self.words {
            *word = u32::from_le(*word);
        }
        bytemuck::allocation::cast_vec(self.words)
    }
}

/// A tensor. Its elements are in `raw_data`, in the field of their type, or in another file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TensorProto {
    pub dims: Vec<i64>,
    pub data_type: i32,
    pub float_data: Vec<f32>,
    pub int32_data: Vec<i32>,
    pub int64_data: Vec<i64>,
    pub name: String,
    pub raw_data: Option<Words>,
    pub double_data: Vec<f64>,
    pub uint64_data: Vec<u64>,
    pub external_data: Vec<StringStringEntryProto>,
    /// 1 where the elements are in another file.
    pub data_location: i32,
}

impl Message for TensorProto {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        encoding::int64::encode_packed(1, &self.dims, buf);
        encoding::int32::encode(2, &self.data_type, buf);
        encoding::float::encode_packed(4, &self.float_data, buf);
        encoding::int32::encode_packed(5, &self.int32_data, buf);
        encoding::int64::encode_packed(7, &self.int64_data, buf);
        encoding::string::encode(8, &self.name, buf);
        if let Some(raw) = &self.raw_data {
            encoding::encode_key(9, WireType::LengthDelimited, buf);
            encoding::encode_varint(raw.len() as u64, buf);
            buf.put_slice(raw.bytes());
        }
        encoding::double::encode_packed(10, &self.double_data, buf);
        encoding::uint64::encode_packed(11, &self.uint64_data, buf);
        encoding::message::encode_repeated(13, &self.external_data, buf);
        encoding::int32::encode(14, &self.data_location, buf);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => encoding::int64::merge_repeated(wire_type, &mut self.dims, buf, ctx),
            2 => encoding::int32::merge(wire_type, &mut self.data_type, buf, ctx),
            4 if wire_type == WireType::LengthDelimited => {
                let start = self.float_data.len();
                self.float_data.resize(start + next_length(buf)? / 4, 0.0);
                let added = self.float_data.get_mut(start..).unwrap_or_default();
                buf.copy_to_slice(bytemuck::cast_slice_mut(added));
                for value in added {
                    *value = f32::from_bits(u32::from_le(value.to_bits()));
                }
                Ok(())
            }
            4 => encoding::float::merge_repeated(wire_type, &mut self.float_data, buf, ctx),
            5 => encoding::int32::merge_repeated(wire_type, &mut self.int32_data, buf, ctx),
            7 => encoding::int64::merge_repeated(wire_type, &mut self.int64_data, buf, ctx),
            8 => encoding::string::merge(wire_type, &mut self.name, buf, ctx),
            9 => {
                check_wire_type(WireType::LengthDelimited, wire_type)?;
                let mut raw = Words::zeros(next_length(buf)?);
                buf.copy_to_slice(raw.bytes_mut());
                self.raw_data = Some(raw);
                Ok(())
            }
            10 => encoding::double::merge_repeated(wire_type, &mut self.double_data, buf, ctx),
            11 => encoding::uint64::merge_repeated(wire_type, &mut self.uint64_data, buf, ctx),
            13 => encoding::message::merge_repeated(wire_type, &mut self.external_data, buf, ctx),
            14 => encoding::int32::merge(wire_type, &mut self.data_location, buf, ctx),
            _ => skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn encoded_len(&self) -> usize {
        let raw = self.raw_data.as_ref().map_or(0, |raw| {
            encoding::key_len(9) + encoding::encoded_len_varint(raw.len() as u64) + raw.len()
        });
        encoding::int64::encoded_len_packed(1, &self.dims)
            + encoding::int32::encoded_len(2, &self.data_type)
            + encoding::float::encoded_len_packed(4, &self.float_data)
            + encoding::int32::encoded_len_packed(5, &self.int32_data)
            + encoding::int64::encoded_len_packed(7, &self.int64_data)
            + encoding::string::encoded_len(8, &self.name)
            + raw
            + encoding::double::encoded_len_packed(10, &self.double_data)
            + encoding::uint64::encoded_len_packed(11, &self.uint64_data)
            + encoding::message::encoded_len_repeated(13, &self.external_data)
            + encoding::int32::encoded_len(14, &self.data_location)
    }

    fn clear(&mut self) {
        *self = TensorProto::default();
    }
}

/// The length of the field that follows, never more than what remains to be read.
///
/// A longer one is cut to that: the message around it then ends in the wrong place or lacks elements, and is refused.
fn next_length(buf: &mut impl Buf) -> Result<usize, DecodeError> {
    Ok(decode_length_delimiter(&mut *buf)?.min(buf.remaining()))
}
