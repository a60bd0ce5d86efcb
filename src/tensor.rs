//! Tensors in host memory: a shape, an element type and shared, immutable data.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Weak};

use crate::error::{Error, Result};
use sealed::Data;

/// The sizes of a tensor's axes, outermost first. A scalar has none; an axis may be 0 long.
///
/// The element count of every `Shape` fits in `usize`, and so does its size in bytes.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// A shape with these axes, or [`Error::ShapeOverflow`] if its bytes cannot be addressed.
    pub fn new(dims: impl Into<Vec<usize>>) -> Result<Self> {
        let dims = dims.into();
        // A zero anywhere makes the count zero, but the other axes must still multiply safely.
        let bytes = dims.iter().filter(|&&d| d != 0).try_fold(8usize, |n, &d| n.checked_mul(d));
        match bytes {
            Some(bytes) if bytes <= isize::MAX as usize => Ok(Shape(dims)),
            _ => Err(Error::ShapeOverflow(dims)),
        }
    }

    /// The number of elements; 1 for a scalar.
    pub fn elements(&self) -> usize {
        self.0.iter().product()
    }

    /// The distance in elements between neighbours along each axis, for contiguous data.
    pub fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.0.len()];
        for axis in (1..self.0.len()).rev() {
            strides[axis - 1] = strides[axis] * self.0[axis].max(1);
        }
        strides
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("scalar");
        }
        for (i, d) in self.0.iter().enumerate() {
            write!(f, "{}{d}", if i == 0 { "" } else { "x" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The type of a tensor's elements.
///
/// Networks compute in `F32`. `I64` and `Bool` carry indices and masks; while a network runs each of their elements
/// takes one 32-bit word. `F64` is for host memory alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// 32-bit IEEE 754 floating point.
    F32,
    /// 64-bit IEEE 754 floating point.
    F64,
    /// 64-bit signed integers.
    I64,
    /// Truth values.
    Bool,
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::I64 => "i64",
            DType::Bool => "bool",
        })
    }
}

/// A contiguous, row-major tensor in host memory. Clones share the data.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Shape,
    data: Data,
}

/// An element type a [`Tensor`] can hold.
pub trait Element: Copy + Sized + sealed::Sealed {
    /// Its [`DType`].
    const DTYPE: DType;
}

mod sealed {
    use super::Arc;

    /// Elements of any type, shared.
    #[derive(Clone, Debug, PartialEq)]
    pub enum Data {
        F32(Arc<Vec<f32>>),
        F64(Arc<Vec<f64>>),
        I64(Arc<Vec<i64>>),
        Bool(Arc<Vec<bool>>),
    }

    pub trait Sealed: Sized {
        fn wrap(values: Vec<Self>) -> Data;
        fn unwrap(data: &Data) -> Option<&Arc<Vec<Self>>>;
        fn unwrap_mut(data: &mut Data) -> Option<&mut Arc<Vec<Self>>>;
    }
}

macro_rules! element {
    ($($rust:ty => $variant:ident),*) => { $(
        impl sealed::Sealed for $rust {
            fn wrap(values: Vec<Self>) -> Data { Data::$variant(Arc::new(values)) }
            fn unwrap(data: &Data) -> Option<&Arc<Vec<Self>>> {
                match data { Data::$variant(v) => Some(v), _ => None }
            }
            fn unwrap_mut(data: &mut Data) -> Option<&mut Arc<Vec<Self>>> {
                match data { Data::$variant(v) => Some(v), _ => None }
            }
        }
        impl Element for $rust { const DTYPE: DType = DType::$variant; }
    )* };
}
element!(f32 => F32, f64 => F64, i64 => I64, bool => Bool);

impl Tensor {
    /// A tensor of `values` in row-major order.
    ///
    /// # Errors
    /// [`Error::ElementCount`] where the values do not fill the shape, [`Error::ShapeOverflow`].
    pub fn new<T: Element>(shape: impl Into<Vec<usize>>, values: Vec<T>) -> Result<Self> {
        let shape = Shape::new(shape)?;
        if shape.elements() != values.len() {
            return Err(Error::ElementCount { expected: shape.elements(), actual: values.len(), shape });
        }
        Ok(Tensor { shape, data: T::wrap(values) })
    }

    /// A tensor of f32 zeros.
    ///
    /// # Errors
    /// [`Error::ShapeOverflow`].
    pub fn zeros(shape: impl Into<Vec<usize>>) -> Result<Self> {
        let shape = Shape::new(shape)?;
        let values = vec![0f32; shape.elements()];
        Ok(Tensor { shape, data: Data::F32(Arc::new(values)) })
    }

    /// A tensor without axes.
    pub fn scalar<T: Element>(value: T) -> Self {
        Tensor { shape: Shape::default(), data: T::wrap(vec![value]) }
    }

    /// The tensor's shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The type of its elements.
    pub fn dtype(&self) -> DType {
        match self.data {
            Data::F32(_) => DType::F32,
            Data::F64(_) => DType::F64,
            Data::I64(_) => DType::I64,
            Data::Bool(_) => DType::Bool,
        }
    }

    /// The elements in row-major order.
    ///
    /// # Errors
    /// [`Error::DType`] where the tensor holds another type.
    pub fn values<T: Element>(&self) -> Result<&[T]> {
        T::unwrap(&self.data)
            .map(|v| v.as_slice())
            .ok_or(Error::DType { expected: T::DTYPE, actual: self.dtype() })
    }

    /// The elements, to be changed in place; copied first if another clone shares them.
    ///
    /// # Errors
    /// [`Error::DType`] where the tensor holds another type.
    pub fn values_mut<T: Element>(&mut self) -> Result<&mut [T]> {
        let actual = self.dtype();
        T::unwrap_mut(&mut self.data)
            .map(|v| Arc::make_mut(v).as_mut_slice())
            .ok_or(Error::DType { expected: T::DTYPE, actual })
    }

    /// The same elements under another shape of as many elements.
    ///
    /// # Errors
    /// [`Error::ElementCount`] where the counts differ.
    pub fn reshape(&self, shape: impl Into<Vec<usize>>) -> Result<Self> {
        let shape = Shape::new(shape)?;
        if shape.elements() != self.shape.elements() {
            return Err(Error::ElementCount {
                expected: shape.elements(),
                actual: self.shape.elements(),
                shape,
            });
        }
        Ok(Tensor { shape, data: self.data.clone() })
    }

    /// The tensors of `images` one after another along axis 0.
    ///
    /// # Errors
    /// [`Error::Graph`] where there is none, [`Error::Input`] where two differ in shape past axis 0.
    pub fn stack(images: &[Tensor]) -> Result<Self> {
        let first = images.first().ok_or_else(|| Error::Graph("no tensors to stack".into()))?;
        let mut values = Vec::new();
        let mut count = 0;
        for (i, image) in images.iter().enumerate() {
            if image.shape.is_empty() || image.shape.get(1..) != first.shape.get(1..) {
                return Err(Error::Input {
                    name: format!("tensor {i}"),
                    expected: first.shape.to_string(),
                    actual: image.shape.to_string(),
                });
            }
            values.extend_from_slice(image.values::<f32>()?);
            count += image.shape[0];
        }
        let mut shape = first.shape.to_vec();
        shape[0] = count;
        Tensor::new(shape, values)
    }

    /// Tells whether the data still exist, without keeping them.
    pub(crate) fn witness(&self) -> Witness {
        match &self.data {
            Data::F32(v) => Witness::F32(Arc::downgrade(v)),
            Data::F64(v) => Witness::F64(Arc::downgrade(v)),
            Data::I64(v) => Witness::I64(Arc::downgrade(v)),
            Data::Bool(v) => Witness::Bool(Arc::downgrade(v)),
        }
    }

    /// A number that is equal for clones that share their data, and differs between tensors alive at once.
    pub(crate) fn identity(&self) -> usize {
        match &self.data {
            Data::F32(v) => Arc::as_ptr(v) as usize,
            Data::F64(v) => Arc::as_ptr(v) as usize,
            Data::I64(v) => Arc::as_ptr(v) as usize,
            Data::Bool(v) => Arc::as_ptr(v) as usize,
        }
    }
}

/// Tells whether a tensor's data still exist. While a witness does, no other tensor gets their [`Tensor::identity`].
#[derive(Clone, Debug)]
pub(crate) enum Witness {
    F32(Weak<Vec<f32>>),
    F64(Weak<Vec<f64>>),
    I64(Weak<Vec<i64>>),
    Bool(Weak<Vec<bool>>),
}

impl Witness {
    /// Whether some tensor still holds the data.
    pub fn is_alive(&self) -> bool {
        0 < match self {
            Witness::F32(data) => data.strong_count(),
            Witness::F64(data) => data.strong_count(),
            Witness::I64(data) => data.strong_count(),
            Witness::Bool(data) => data.strong_count(),
        }
    }
}

#[cfg(feature = "ndarray")]
mod convert {
    use super::{Error, Result, Tensor};
    use ndarray::{ArrayD, ArrayViewD, IxDyn};

    impl TryFrom<ArrayViewD<'_, f32>> for Tensor {
        type Error = Error;
        /// Copies the array in row-major order.
        fn try_from(array: ArrayViewD<'_, f32>) -> Result<Self> {
            Tensor::new(array.shape(), array.iter().copied().collect())
        }
    }

    impl TryFrom<&Tensor> for ArrayD<f32> {
        type Error = Error;
        /// Copies an f32 tensor.
        fn try_from(tensor: &Tensor) -> Result<Self> {
            let values = tensor.values::<f32>()?.to_vec();
            ArrayD::from_shape_vec(IxDyn(tensor.shape()), values).map_err(|_| Error::ElementCount {
                shape: tensor.shape().clone(),
                expected: tensor.shape().elements(),
                actual: tensor.shape().elements(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_that_cannot_be_addressed_is_an_error() {
        assert!(Shape::new([usize::MAX, 2]).is_err());
        assert!(Shape::new([1 << 40, 1 << 40, 0]).is_err());
        assert_eq!(Shape::new([3, 0, 2]).unwrap().elements(), 0);
        assert_eq!(Shape::new([]).unwrap().elements(), 1);
    }

    #[test]
    fn values_are_typed_and_shared() {
        let mut a = Tensor::new([2], vec![1f32, 2.0]).unwrap();
        let b = a.clone();
        assert!(a.values::<i64>().is_err());
        a.values_mut::<f32>().unwrap()[0] = 5.0;
        assert_eq!(b.values::<f32>().unwrap(), [1.0, 2.0]);
        assert!(Tensor::new([3], vec![1i64]).is_err());
    }
}
