//! Convolution over one to three spatial axes, with groups, dilation and any padding.

use super::{
    Activation, ConvTranspose, ConvWeight, Infer, Op, OpError, Operator, Reach, Rearrange, dims, first_alone,
};
use crate::error::Result;
use crate::graph::{Backward, Info, ValueId};
use crate::tensor::Shape;
use crate::window::{Axis, Transposed, Window};

/// Cross-correlation of `x` with a bank of filters, as deep learning calls convolution.
///
/// Inputs: `x` `[n, c_in, spatial...]`; `weight` `[c_out, c_in / groups, kernel...]`; optional `bias` `[c_out]`;
/// optional `residual` of the output's shape, added before the activation. Output `[n, c_out, spatial...]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// Kernel size, stride, dilation and padding per spatial axis.
    pub window: Window,
    /// Channels are split into this many groups that do not see each other; `c_in` groups make it depthwise.
    pub groups: usize,
    /// Applied to the sum.
    pub activation: Option<Activation>,
}

impl Conv {
    /// A convolution with one group and no activation.
    pub fn new(window: Window) -> Self {
        Conv { window, groups: 1, activation: None }
    }

    /// The window's axes over an input of shape `x`, for inputs that `infer` took.
    pub(crate) fn axes(&self, x: &Shape) -> Result<Vec<Axis>, OpError> {
        Ok(self.window.resolve(x.get(2..).unwrap_or_default())?)
    }

    /// The gradient to x: with a stride of 1 a convolution with each filter flipped and its channels in the place of the
    /// filters, else a transposed convolution.
    pub(super) fn to_input(
        &self,
        at: &mut Backward,
        weight: ValueId,
        dy: ValueId,
        axes: &[Axis],
    ) -> Result<ValueId> {
        let Some(window) = Window::flipped(axes) else {
            let window = Transposed::back(axes);
            let op = ConvTranspose { window, groups: self.groups, activation: None };
            return at.push(op, &[dy, weight]);
        };
        let shape = at.dims(weight);
        let (filters, channels, kernel) = (shape[0] / self.groups, shape[1], &shape[2..]);
        let of_groups = [&[self.groups, filters, channels], kernel].concat();
        let order: Vec<_> = [0, 2, 1].into_iter().chain(3..of_groups.len()).collect();
        let mut swap = Rearrange::transpose(&of_groups, &order);
        for (axis, &size) in swap.axes[3..].iter_mut().zip(kernel) {
            (axis.start, axis.step) = (size as i64 - 1, -1);
        }
        let weight = at.reshape(weight, &of_groups)?;
        let weight = at.push(swap, &[weight])?;
        let weight = at.reshape(weight, &[&[self.groups * channels, filters], kernel].concat())?;
        at.push(Conv { window, groups: self.groups, activation: None }, &[dy, weight])
    }
}

impl Operator for Conv {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        let rank = self.window.rank();
        let x = inputs.f32("an input x")?;
        let weight = inputs.f32("a weight")?;
        if x.len() != rank + 2 {
            return Err(OpError::shape(format!("an input of rank {}", rank + 2), x));
        }
        if self.groups == 0 || x[1] % self.groups != 0 {
            return Err(OpError::shape(format!("channels that divide into {} groups", self.groups), x));
        }
        let filters = weight.first().copied().unwrap_or(0);
        if filters % self.groups != 0 {
            return Err(OpError::shape(format!("filters that divide into {} groups", self.groups), weight));
        }
        let mut wanted = vec![filters, x[1] / self.groups];
        wanted.extend_from_slice(self.window.kernel());
        if weight[..] != wanted[..] {
            return Err(OpError::shape(format!("a weight {} for the input {x}", dims(&wanted)), weight));
        }
        let axes = self.axes(x)?;
        let mut out = vec![x[0], filters];
        out.extend(axes.iter().map(|a| a.output));
        inputs.optional_f32("a bias", &[filters])?;
        inputs.optional_f32("a residual", &out)?;
        Ok(vec![Info::f32(Shape::new(out)?)])
    }

    fn macs(&self, inputs: &[Option<&Info>], outputs: &[&Info]) -> u64 {
        let per_output = inputs[1].map_or(0, |w| w.shape[1..].iter().product::<usize>());
        (outputs[0].shape.elements() as u64).saturating_mul(per_output as u64)
    }

    fn gradient(&self, at: &mut Backward) -> Result<()> {
        let (x, weight, dy) = (at.operand(0)?, at.operand(1)?, at.gradient()?);
        let axes = self.axes(&at.info(x).shape).map_err(|e| at.error(e))?;
        if at.wants(0) {
            let dx = self.to_input(at, weight, dy, &axes)?;
            at.set(0, dx);
        }
        if at.wants(1) {
            let op = ConvWeight { window: self.window.clone(), groups: self.groups };
            let dw = at.push(op, &[x, dy])?;
            at.set(1, dw);
        }
        if at.wants(2) {
            let db = at.sum_per_channel(dy)?;
            at.set(2, db);
        }
        at.set(3, dy);
        Ok(())
    }

    fn trained_inputs(&self) -> &'static [usize] {
        &[1, 2]
    }

    fn reach(&self, inputs: &[Option<&Info>]) -> Reach {
        let axes = inputs[0].and_then(|x| self.axes(&x.shape).ok());
        axes.map_or(Reach::Unknown, Reach::Window)
    }

    fn for_one_image(&self, inputs: &[Option<&Info>], batched: &[bool]) -> Option<Op> {
        let (operands, residual) = batched.split_at(batched.len().min(3));
        let apart = inputs.iter().skip(3).map(Option::is_some).eq(residual.iter().copied());
        (apart && first_alone(operands)).then(|| self.clone().into())
    }
}
