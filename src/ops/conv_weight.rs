//! The gradient of a convolution to its filters.

use super::{Conv, Infer, OpError, Operator, Reach, dims};
use crate::error::Result;
use crate::graph::{Backward, Info};
use crate::tensor::Shape;
use crate::window::{Axis, Window};

/// What each weight of a [`Conv`] adds to a loss: for filter `f`, channel `c` and tap `t` the sum of `dy[n, f, o] * x[n, c,
/// i]` over all images and over all outputs `o` with the input cells `i` that the tap reads for them.
///
/// Inputs: `x` `[n, c_in, spatial...]`, what the convolution read; `dy` `[n, c_out, spatial...]`, the gradient to its
/// output. Output `[c_out, c_in / groups, kernel...]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvWeight {
    /// The convolution's window.
    pub window: Window,
    /// The convolution's groups.
    pub groups: usize,
}

impl ConvWeight {
    /// The window's axes over an input of shape `x`, for inputs that `infer` took.
    pub(crate) fn axes(&self, x: &Shape) -> Result<Vec<Axis>, OpError> {
        Ok(self.window.resolve(x.get(2..).unwrap_or_default())?)
    }
}

impl Operator for ConvWeight {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        let rank = self.window.rank();
        let (x, dy) = (inputs.f32("an input x")?, inputs.f32("a gradient dy")?);
        if x.len() != rank + 2 {
            return Err(OpError::shape(format!("an input of rank {}", rank + 2), x));
        }
        if self.groups == 0 || x[1] % self.groups != 0 {
            return Err(OpError::shape(format!("channels that divide into {} groups", self.groups), x));
        }
        let filters = dy.get(1).copied().unwrap_or(0);
        if filters % self.groups != 0 {
            return Err(OpError::shape(format!("filters that divide into {} groups", self.groups), dy));
        }
        let mut wanted = vec![x[0], filters];
        wanted.extend(self.axes(x)?.iter().map(|a| a.output));
        if dy[..] != wanted[..] {
            return Err(OpError::shape(format!("a gradient {} for the input {x}", dims(&wanted)), dy));
        }
        let mut out = vec![filters, x[1] / self.groups];
        out.extend_from_slice(self.window.kernel());
        Ok(vec![Info::f32(Shape::new(out)?)])
    }

    fn macs(&self, inputs: &[Option<&Info>], outputs: &[&Info]) -> u64 {
        let per_filter = outputs[0].shape[1..].iter().product::<usize>();
        inputs[1].map_or(0, |dy| (dy.shape.elements() as u64).saturating_mul(per_filter as u64))
    }

    /// The operator is linear in both operands: to x what a convolution's gradient is, to dy a convolution, the gradient
    /// to the output in the place of the filters.
    fn gradient(&self, at: &mut Backward) -> Result<()> {
        let (x, dy, g) = (at.operand(0)?, at.operand(1)?, at.gradient()?);
        let conv = Conv { window: self.window.clone(), groups: self.groups, activation: None };
        if at.wants(0) {
            let axes = self.axes(&at.info(x).shape).map_err(|e| at.error(e))?;
            let dx = conv.to_input(at, g, dy, &axes)?;
            at.set(0, dx);
        }
        if at.wants(1) {
            let ddy = at.push(conv, &[x, g])?;
            at.set(1, ddy);
        }
        Ok(())
    }

    fn reach(&self, _inputs: &[Option<&Info>]) -> Reach {
        Reach::Unknown
    }
}
