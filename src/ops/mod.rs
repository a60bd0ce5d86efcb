//! The operators: attributes, output shapes and cost of each, in a file of its own.
//!
//! An operator has one name and stands under it in every room: `ops/NAME.rs` here, `cpu/NAME.rs` its CPU kernel,
//! `gpu/ops/NAME.rs` the choice and recording of its GPU kernels, `tests/ops/NAME.rs` its cases. `for_each_op` is
//! the one list of them.

pub mod activation;
pub mod activation_gradient;
pub mod adam;
pub mod arg_reduce;
pub mod batch_norm;
pub mod binary;
pub mod concat;
pub mod conv;
pub mod conv_transpose;
pub mod conv_weight;
pub mod dropout;
pub mod gather;
pub mod gemm;
pub mod im2col;
pub mod lrn;
pub mod normalize;
pub mod pool;
pub mod pool_gradient;
pub mod rearrange;
pub mod reduce;
pub mod resample;
pub mod reshape;
pub mod select;
pub mod sgd;
pub mod softmax;

pub(crate) mod broadcast;

pub use activation::Activation;
pub use activation_gradient::ActivationGradient;
pub use adam::Adam;
pub use arg_reduce::ArgReduce;
pub use batch_norm::BatchNorm;
pub use binary::Binary;
pub use concat::Concat;
pub use conv::Conv;
pub use conv_transpose::ConvTranspose;
pub use conv_weight::ConvWeight;
pub use dropout::Dropout;
pub use gather::Gather;
pub use gemm::Gemm;
pub use im2col::Im2col;
pub use lrn::Lrn;
pub use normalize::Normalize;
pub use pool::{Pool, PoolKind};
pub use pool_gradient::PoolGradient;
pub use rearrange::Rearrange;
pub use reduce::{Reduce, ReduceKind};
pub use resample::Resample;
pub use reshape::Reshape;
pub use select::Select;
pub use sgd::Sgd;
pub use softmax::Softmax;

use crate::error::{Error, Result};
use crate::graph::{Backward, Info};
use crate::tensor::{DType, Shape};
use crate::window::{Axis, WindowError};

/// Hands the list of operators, `module Type` each, to the macro of the given name.
macro_rules! for_each_op {
    ($with:ident) => {
        $with! {
            activation Activation,
            activation_gradient ActivationGradient,
            adam Adam,
            arg_reduce ArgReduce,
            batch_norm BatchNorm,
            binary Binary,
            concat Concat,
            conv Conv,
            conv_transpose ConvTranspose,
            conv_weight ConvWeight,
            dropout Dropout,
            gather Gather,
            gemm Gemm,
            im2col Im2col,
            lrn Lrn,
            normalize Normalize,
            pool Pool,
            pool_gradient PoolGradient,
            rearrange Rearrange,
            reduce Reduce,
            resample Resample,
            reshape Reshape,
            select Select,
            sgd Sgd,
            softmax Softmax,
        }
    };
}
pub(crate) use for_each_op;

/// What every operator knows of itself.
pub trait Operator {
    /// The shapes and types of the outputs, or what the operator expected instead.
    ///
    /// # Errors
    /// [`OpError`], to which the graph adds the layer's name.
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError>;

    /// Multiply-accumulates for inputs that [`Operator::infer`] took; bias, activations, norms and pools count none.
    fn macs(&self, _inputs: &[Option<&Info>], _outputs: &[&Info]) -> u64 {
        0
    }

    /// The inputs whose elements are trained.
    fn trained_inputs(&self) -> &'static [usize] {
        &[]
    }

    /// Adds the nodes that compute the gradients to the inputs from those to the outputs, and states them in `at`.
    ///
    /// # Errors
    /// [`Error::NoGradient`] with the reason, which the default gives for every operator without a rule.
    fn gradient(&self, at: &mut Backward) -> Result<()> {
        Err(at.refuse("the operator has no rule; keep it off the way from what is trained to the loss"))
    }

    /// What of its input one output position sees.
    fn reach(&self, _inputs: &[Option<&Info>]) -> Reach {
        Reach::Point
    }

    /// The operator for one image of a batch, which lies along axis 0 of the operands that are `batched`. `None`, which is
    /// the default, unless each image of the outputs, along axis 0 too, depends on no other image.
    fn for_one_image(&self, _inputs: &[Option<&Info>], _batched: &[bool]) -> Option<Op> {
        None
    }
}

/// Whether the first operand is batched and the others are what all images share.
pub(crate) fn first_alone(batched: &[bool]) -> bool {
    matches!(batched, [true, others @ ..] if !others.contains(&true))
}

/// What of an operator's input one spatial position of its output depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The same position only.
    Point,
    /// A window around it, one [`Axis`] per spatial axis.
    Window(Vec<Axis>),
    /// All positions.
    All,
    /// Positions that do not follow the spatial axes.
    Unknown,
}

/// Why an operator cannot take its inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpError {
    /// A wrong rank, size, type or count.
    Shape {
        /// What the operator needs.
        expected: String,
        /// What it was given.
        actual: String,
    },
    /// A window that does not fit.
    Window(WindowError),
    /// Asked for in a form of the network that has operators of inference alone.
    TrainingOnly,
}

impl OpError {
    /// A mismatch of what was expected and what came.
    pub fn shape(expected: impl ToString, actual: impl ToString) -> Self {
        OpError::Shape { expected: expected.to_string(), actual: actual.to_string() }
    }
}

impl From<WindowError> for OpError {
    fn from(e: WindowError) -> Self {
        OpError::Window(e)
    }
}

impl From<Error> for OpError {
    fn from(e: Error) -> Self {
        OpError::shape("a shape that can be addressed", e)
    }
}

/// The operands of a node while its output shape is found: each is asked for once, and none may be left over.
pub struct Infer<'a> {
    infos: &'a [Option<&'a Info>],
    asked: usize,
}

impl<'a> Infer<'a> {
    /// Over the operands in order.
    pub fn new(infos: &'a [Option<&'a Info>]) -> Self {
        Infer { infos, asked: 0 }
    }

    /// How many operands there are, absent ones included.
    pub fn len(&self) -> usize {
        self.infos.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.infos.is_empty()
    }

    /// The next operand, which may be absent.
    pub fn optional(&mut self) -> Option<&'a Info> {
        let info = self.infos.get(self.asked).copied().flatten();
        self.asked += 1;
        info
    }

    /// The next operand, called `what` in errors.
    ///
    /// # Errors
    /// Where it is absent.
    pub fn required(&mut self, what: &str) -> Result<&'a Info, OpError> {
        self.optional().ok_or_else(|| OpError::shape(what, "nothing"))
    }

    /// The shape of the next operand, which must be f32.
    ///
    /// # Errors
    /// Where it is absent or of another type.
    pub fn f32(&mut self, what: &str) -> Result<&'a Shape, OpError> {
        match self.required(what)? {
            Info { shape, dtype: DType::F32 } => Ok(shape),
            info => Err(OpError::shape(format!("{what} of f32"), info.dtype)),
        }
    }

    /// The next operand, which may be absent, must be f32 of exactly this shape.
    ///
    /// # Errors
    /// Where it is there and is another.
    pub fn optional_f32(&mut self, what: &str, shape: &[usize]) -> Result<bool, OpError> {
        match self.optional() {
            None => Ok(false),
            Some(info) if info.dtype != DType::F32 => {
                Err(OpError::shape(format!("{what} of f32"), info.dtype))
            }
            Some(info) if info.shape[..] != *shape => {
                Err(OpError::shape(format!("{what} {}", dims(shape)), &info.shape))
            }
            Some(_) => Ok(true),
        }
    }

    /// Fails if an operand was never asked for.
    ///
    /// # Errors
    /// Naming both counts.
    pub fn finish(self) -> Result<(), OpError> {
        if self.infos.len() > self.asked {
            return Err(OpError::shape(
                format!("at most {} inputs", self.asked),
                format!("{} inputs", self.infos.len()),
            ));
        }
        Ok(())
    }
}

/// `dims` as a [`Shape`] prints them.
pub(crate) fn dims(dims: &[usize]) -> String {
    Shape::new(dims).map_or_else(|_| format!("{dims:?}"), |s| s.to_string())
}

macro_rules! define_op {
    ($($module:ident $Type:ident),* $(,)?) => {
        /// An operator with its attributes.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum Op {
            $(#[doc = concat!("See [`", stringify!($Type), "`].")] $Type($Type),)*
        }

        $(impl From<$Type> for Op {
            fn from(op: $Type) -> Self {
                Op::$Type(op)
            }
        })*

        impl Op {
            /// The names of all operators, which are also those of their files.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($module)),*];

            /// The operator's name.
            pub fn name(&self) -> &'static str {
                match self { $(Op::$Type(_) => stringify!($module),)* }
            }

            fn operator(&self) -> &dyn Operator {
                match self { $(Op::$Type(op) => op,)* }
            }
        }
    };
}
for_each_op!(define_op);

impl Operator for Op {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        self.operator().infer(inputs)
    }
    fn macs(&self, inputs: &[Option<&Info>], outputs: &[&Info]) -> u64 {
        self.operator().macs(inputs, outputs)
    }
    fn trained_inputs(&self) -> &'static [usize] {
        self.operator().trained_inputs()
    }
    fn gradient(&self, at: &mut Backward) -> Result<()> {
        self.operator().gradient(at)
    }
    fn reach(&self, inputs: &[Option<&Info>]) -> Reach {
        self.operator().reach(inputs)
    }
    fn for_one_image(&self, inputs: &[Option<&Info>], batched: &[bool]) -> Option<Op> {
        self.operator().for_one_image(inputs, batched)
    }
}
