//! Transposed convolution: the gradient of a convolution to its input, used to upsample.

use super::{
    Activation, Conv, ConvWeight, Infer, Op, OpError, Operator, Reach, Rearrange, dims, first_alone,
};
use crate::error::Result;
use crate::graph::{Backward, Info};
use crate::tensor::Shape;
use crate::window::{Axis, Transposed, Window};

/// Spreads each input element over a window of the output, weighted by a bank of filters.
///
/// Inputs: `x` `[n, c_in, spatial...]`; `weight` `[c_in, c_out / groups, kernel...]`; optional `bias` `[c_out]`.
/// Output `[n, c_out, spatial...]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvTranspose {
    /// Kernel size, stride, dilation, padding and output padding per spatial axis.
    pub window: Transposed,
    /// Channels are split into this many groups that do not see each other.
    pub groups: usize,
    /// Applied to the sum.
    pub activation: Option<Activation>,
}

impl ConvTranspose {
    /// The window's axes over an input of shape `x`: `input` is the size of `x`, `output` that of the result, and
    /// `before` and `after` are what is cropped.
    pub(crate) fn axes(&self, x: &Shape) -> Result<Vec<Axis>, OpError> {
        Ok(self.window.resolve(x.get(2..).unwrap_or_default())?)
    }
}

impl Operator for ConvTranspose {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        let window = self.window.window();
        let x = inputs.f32("an input x")?;
        let weight = inputs.f32("a weight")?;
        if x.len() != window.rank() + 2 {
            return Err(OpError::shape(format!("an input of rank {}", window.rank() + 2), x));
        }
        if self.groups == 0 || x[1] % self.groups != 0 {
            return Err(OpError::shape(format!("channels that divide into {} groups", self.groups), x));
        }
        let of_group = weight.get(1).copied().unwrap_or(0);
        let mut wanted = vec![x[1], of_group];
        wanted.extend_from_slice(window.kernel());
        if weight[..] != wanted[..] {
            return Err(OpError::shape(format!("a weight {} for the input {x}", dims(&wanted)), weight));
        }
        let filters = of_group.saturating_mul(self.groups);
        inputs.optional_f32("a bias", &[filters])?;
        let mut out = vec![x[0], filters];
        out.extend(self.axes(x)?.iter().map(|a| a.output));
        Ok(vec![Info::f32(Shape::new(out)?)])
    }

    fn macs(&self, inputs: &[Option<&Info>], _outputs: &[&Info]) -> u64 {
        let (Some(x), Some(weight)) = (inputs[0], inputs[1]) else { return 0 };
        let per_input: usize = weight.shape[1..].iter().product();
        (x.shape.elements() as u64).saturating_mul(per_input as u64)
    }

    /// To x a convolution by the same filters; to the weight that convolution's, x in the place of its gradient.
    fn gradient(&self, at: &mut Backward) -> Result<()> {
        let (x, weight, dy) = (at.operand(0)?, at.operand(1)?, at.gradient()?);
        let axes = self.axes(&at.info(x).shape).map_err(|e| at.error(e))?;
        if at.wants(0) || at.wants(1) {
            let (window, reads) = Window::back(&axes);
            let mut part = at.dims(dy);
            part[2..].copy_from_slice(&reads);
            let read = match part == at.dims(dy) {
                true => dy,
                false => at.push(Rearrange::identity(&part), &[dy])?,
            };
            if at.wants(0) {
                let conv = Conv { window: window.clone(), groups: self.groups, activation: None };
                let dx = at.push(conv, &[read, weight])?;
                at.set(0, dx);
            }
            if at.wants(1) {
                let dw = at.push(ConvWeight { window, groups: self.groups }, &[read, x])?;
                at.set(1, dw);
            }
        }
        if at.wants(2) {
            let db = at.sum_per_channel(dy)?;
            at.set(2, db);
        }
        Ok(())
    }

    fn trained_inputs(&self) -> &'static [usize] {
        &[1, 2]
    }

    fn reach(&self, _inputs: &[Option<&Info>]) -> Reach {
        Reach::Unknown
    }

    fn for_one_image(&self, _inputs: &[Option<&Info>], batched: &[bool]) -> Option<Op> {
        first_alone(batched).then(|| self.clone().into())
    }
}
