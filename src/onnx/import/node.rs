//! A node of the model while it is imported: its inputs and attributes, each read at least once or it is refused.

use std::cell::Cell;

use super::Refusal;
use super::builder::{Builder, Val};
use crate::onnx::element::narrow;
use crate::onnx::proto::{AttributeProto, NodeProto};
use crate::ops::broadcast::broadcast;
use crate::tensor::{DType, Tensor};

/// A node, its inputs as values of the graph, and the graph it is lowered to.
pub(super) struct Node<'a, 'm> {
    proto: &'m NodeProto,
    inputs: &'a [Option<Val>],
    /// The version of the operators the model is written in.
    pub opset: u32,
    /// Where its operators go.
    pub to: &'a mut Builder,
    inputs_read: Vec<Cell<bool>>,
    attributes_read: Vec<Cell<bool>>,
}

impl<'a, 'm> Node<'a, 'm> {
    pub fn new(proto: &'m NodeProto, inputs: &'a [Option<Val>], opset: u32, to: &'a mut Builder) -> Self {
        Node {
            proto,
            inputs,
            opset,
            to,
            inputs_read: vec![Cell::new(false); inputs.len()],
            attributes_read: vec![Cell::new(false); proto.attribute.len()],
        }
    }

    /// The operator's name.
    pub fn op(&self) -> &'m str {
        &self.proto.op_type
    }

    /// How many outputs the model names, absent ones included.
    pub fn output_count(&self) -> usize {
        self.proto.output.len()
    }

    /// Whether the model reads output `i`.
    pub fn wants(&self, i: usize) -> bool {
        self.proto.output.get(i).is_some_and(|name| !name.is_empty())
    }

    /// Input `i`, which may be absent.
    pub fn input(&self, i: usize) -> Option<Val> {
        if let Some(read) = self.inputs_read.get(i) {
            read.set(true);
        }
        self.inputs.get(i).copied().flatten()
    }

    /// Input `i`.
    pub fn required(&self, i: usize) -> Result<Val, Refusal> {
        self.input(i).ok_or_else(|| Refusal::from(format!("input {i} is missing")))
    }

    /// All inputs, none of which may be absent.
    pub fn all_inputs(&self) -> Result<Vec<Val>, Refusal> {
        (0..self.inputs.len()).map(|i| self.required(i)).collect()
    }

    /// The data of input `i`, which must be known while the model is loaded.
    pub fn known(&self, i: usize, what: &str) -> Result<Option<&Tensor>, Refusal> {
        let Some(val) = self.input(i) else { return Ok(None) };
        let tensor = self.to.known(val);
        Ok(Some(tensor.ok_or_else(|| {
            Refusal::from(format!(
                "{what} must be known when the model is loaded: bind the input it comes from"
            ))
        })?))
    }

    /// The integers of input `i`, which must be known.
    pub fn known_integers(&self, i: usize, what: &str) -> Result<Option<Vec<i64>>, Refusal> {
        Ok(self.known(i, what)?.map(|t| t.values::<i64>().map(<[i64]>::to_vec)).transpose()?)
    }

    /// The floats of input `i`, which must be known.
    pub fn known_floats(&self, i: usize, what: &str) -> Result<Option<Vec<f32>>, Refusal> {
        let floats = |t: &Tensor| match t.values::<f64>() {
            Ok(values) => Ok(values.iter().map(|&v| narrow(v)).collect()),
            Err(_) => t.values::<f32>().map(<[f32]>::to_vec),
        };
        Ok(self.known(i, what)?.map(floats).transpose()?)
    }

    fn attribute(&self, name: &str) -> Result<Option<&'m AttributeProto>, Refusal> {
        let mut found = None;
        for (attribute, read) in self.proto.attribute.iter().zip(&self.attributes_read) {
            if attribute.name == name {
                if found.is_some() {
                    return Err(Refusal::from(format!("attribute '{name}' is given twice")));
                }
                if !attribute.ref_attr_name.is_empty() {
                    return Err(Refusal::from(format!("attribute '{name}' refers to a function's")));
                }
                read.set(true);
                found = Some(attribute);
            }
        }
        Ok(found)
    }

    /// An attribute of one kind: the numbers of the kind in `onnx.proto`, and how it is got.
    fn typed<T>(
        &self,
        name: &str,
        kind: (i32, &str),
        get: impl Fn(&'m AttributeProto) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some(attribute) = self.attribute(name)? else { return Ok(None) };
        // Old files leave the type out.
        let value =
            if matches!(attribute.r#type, 0) || attribute.r#type == kind.0 { get(attribute) } else { None };
        value.map(Some).ok_or_else(|| Refusal::from(format!("attribute '{name}' is not {}", kind.1)))
    }

    /// An attribute that has no effect here.
    pub fn ignore(&self, name: &str) -> Result<(), Refusal> {
        self.attribute(name).map(|_| ())
    }

    /// An integer attribute, if it is there.
    pub fn integer(&self, name: &str) -> Result<Option<i64>, Refusal> {
        self.typed(name, (2, "an integer"), |a| a.i.or((a.r#type == 2).then_some(0)))
    }

    /// An integer attribute.
    pub fn integer_or(&self, name: &str, default: i64) -> Result<i64, Refusal> {
        Ok(self.integer(name)?.unwrap_or(default))
    }

    /// A flag: 0 or 1.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, Refusal> {
        match self.integer(name)? {
            None => Ok(default),
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(other) => Err(Refusal::from(format!("attribute '{name}' is {other}, neither 0 nor 1"))),
        }
    }

    /// A count or size.
    pub fn size(&self, name: &str) -> Result<Option<usize>, Refusal> {
        self.integer(name)?.map(|v| size(v, name)).transpose()
    }

    /// A list of integers, if it is there.
    pub fn integers(&self, name: &str) -> Result<Option<&'m [i64]>, Refusal> {
        self.typed(name, (7, "a list of integers"), |a| Some(a.ints.as_slice()))
    }

    /// A list of counts or sizes, if it is there.
    pub fn sizes(&self, name: &str) -> Result<Option<Vec<usize>>, Refusal> {
        self.integers(name)?.map(|values| values.iter().map(|&v| size(v, name)).collect()).transpose()
    }

    /// A float attribute, if it is there.
    pub fn float(&self, name: &str) -> Result<Option<f32>, Refusal> {
        self.typed(name, (1, "a float"), |a| a.f.or((a.r#type == 1).then_some(0.0)))
    }

    /// A float attribute.
    pub fn float_or(&self, name: &str, default: f32) -> Result<f32, Refusal> {
        Ok(self.float(name)?.unwrap_or(default))
    }

    /// A list of floats, if it is there.
    pub fn floats(&self, name: &str) -> Result<Option<&'m [f32]>, Refusal> {
        self.typed(name, (6, "a list of floats"), |a| Some(a.floats.as_slice()))
    }

    /// A string attribute.
    pub fn string_or(&self, name: &str, default: &'static str) -> Result<&'m str, Refusal>
    where
        'static: 'm,
    {
        let text = self.typed(name, (3, "a string"), |a| a.s.as_deref())?;
        let text = text.map(std::str::from_utf8).transpose();
        Ok(text.map_err(|_| Refusal::from(format!("attribute '{name}' is not UTF-8")))?.unwrap_or(default))
    }

    /// The tensor attribute, if it is there.
    pub fn tensor(&self, name: &str) -> Result<Option<Tensor>, Refusal> {
        let proto = self.typed(name, (4, "a tensor"), |a| a.t.as_deref())?;
        Ok(proto.map(|t| crate::onnx::element::tensor(t.clone())).transpose()?)
    }

    /// The axis that `axis` names of a value of this rank; negative ones count from the end.
    pub fn axis(&self, axis: i64, rank: usize) -> Result<usize, Refusal> {
        axis_of(axis, rank)
    }

    /// The axes that `axes` name of a value of this rank, in their order, none twice.
    pub fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>, Refusal> {
        let axes = axes.iter().map(|&a| axis_of(a, rank)).collect::<Result<Vec<_>, _>>()?;
        let mut sorted = axes.clone();
        sorted.sort_unstable();
        match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Refusal::from(format!("axis {} is named twice", pair[0]))),
            None => Ok(axes),
        }
    }

    /// Axes from input `i` in opsets from `since` on, from the attribute `axes` before; `None` where absent.
    pub fn axes_input(&self, i: usize, since: u32, rank: usize) -> Result<Option<Vec<usize>>, Refusal> {
        let axes = if self.opset >= since {
            self.known_integers(i, "the axes")?
        } else {
            self.integers("axes")?.map(<[i64]>::to_vec)
        };
        axes.map(|axes| self.axes(&axes, rank)).transpose()
    }

    /// `b` as it is broadcast to `a`: by NumPy's rule from opset 7 on; before, its axes are matched with `a`'s from the
    /// attribute `axis` on, and only where the attribute `broadcast` is set.
    pub fn broadcast_to(&mut self, a: Val, b: Val) -> Result<Val, Refusal> {
        if self.opset >= 7 {
            return Ok(b);
        }
        self.ignore("consumed_inputs")?;
        let (axis, broadcasts) = (self.integer("axis")?, self.flag("broadcast", false)?);
        let (to, mut dims) = (self.to.dims(a), self.to.dims(b));
        if !broadcasts {
            return if to == dims {
                Ok(b)
            } else {
                Err(Refusal::from("shapes that differ without 'broadcast'"))
            };
        }
        if let Some(axis) = axis {
            let axis = axis_of(axis, to.len())?;
            if axis + dims.len() > to.len() {
                return Err(Refusal::from(format!("axis {axis} leaves no room for {} axes", dims.len())));
            }
            dims.resize(to.len() - axis, 1);
        }
        let (all, _) = broadcast(&[&to, &dims])?;
        if all != to {
            return Err(Refusal::from("the second input does not broadcast to the first"));
        }
        self.to.reshape(b, dims)
    }

    /// Input `i` as f32: itself, or known integers converted.
    pub fn as_f32(&mut self, i: usize) -> Result<Val, Refusal> {
        let val = self.required(i)?;
        if self.to.dtype(val) != DType::I64 {
            return Ok(val);
        }
        let tensor = self.known(i, "an integer operand")?;
        let shape = self.to.dims(val);
        let values = tensor.map(|t| t.values::<i64>()).transpose()?.unwrap_or_default();
        let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
        Ok(self.to.constant(Tensor::new(shape, values)?))
    }

    /// Fails if an input or attribute was there that nothing asked for: the result would not be what the model means.
    pub fn finish(&self) -> Result<(), Refusal> {
        let ignored = self
            .proto
            .attribute
            .iter()
            .zip(&self.attributes_read)
            .find(|(_, read)| !read.get())
            .map(|(a, _)| a);
        if let Some(attribute) = ignored {
            return Err(Refusal::from(format!("attribute '{}' is not supported", attribute.name)));
        }
        let unread =
            self.inputs.iter().zip(&self.inputs_read).position(|(v, read)| v.is_some() && !read.get());
        match unread {
            Some(i) => Err(Refusal::from(format!("input {i} is not supported"))),
            None => Ok(()),
        }
    }
}

/// A number of the file as a count or size.
pub(super) fn size(value: i64, what: &str) -> Result<usize, Refusal> {
    usize::try_from(value).map_err(|_| Refusal::from(format!("'{what}' is {value}")))
}

/// A size as the integers of shape arithmetic.
pub(super) fn integer(size: usize) -> i64 {
    // Sizes come from `Shape`, whose bytes fit `isize`.
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn axis_of(axis: i64, rank: usize) -> Result<usize, Refusal> {
    let counted = if axis < 0 { axis.checked_add(integer(rank)) } else { Some(axis) };
    counted
        .and_then(|a| usize::try_from(a).ok())
        .filter(|&a| a < rank)
        .ok_or_else(|| Refusal::from(format!("axis {axis} of a value of {rank} axes")))
}
