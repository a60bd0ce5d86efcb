//! The patches a convolution looks at, laid out as the columns of a matrix.

use super::{ConvTranspose, Infer, Op, OpError, Operator, Reach, first_alone};
use crate::error::Result;
use crate::graph::{Backward, Info};
use crate::tensor::{Shape, Tensor};
use crate::window::{Axis, Transposed, Window};

/// Unfolds `x` into patches, so that a convolution becomes a matrix product.
///
/// Input `[n, c, spatial...]`, output `[n, c * kernel elements, output positions]`: row `(c, kernel offset)`, column
/// output position, both row-major; padding reads as 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Im2col {
    /// Kernel size, stride, dilation and padding per spatial axis.
    pub window: Window,
}

impl Im2col {
    /// The window's axes over an input of shape `x`, for inputs that `infer` took.
    pub(crate) fn axes(&self, x: &Shape) -> Result<Vec<Axis>, OpError> {
        Ok(self.window.resolve(x.get(2..).unwrap_or_default())?)
    }
}

impl Operator for Im2col {
    fn infer(&self, inputs: &mut Infer) -> Result<Vec<Info>, OpError> {
        let x = inputs.f32("an input x")?;
        if x.len() != self.window.rank() + 2 {
            return Err(OpError::shape(format!("an input of rank {}", self.window.rank() + 2), x));
        }
        let axes = self.axes(x)?;
        let taps = axes.iter().map(|a| a.kernel).try_fold(x[1], usize::checked_mul);
        let positions = axes.iter().map(|a| a.output).try_fold(1, usize::checked_mul);
        let (Some(taps), Some(positions)) = (taps, positions) else {
            return Err(OpError::shape("patches that can be addressed", x));
        };
        Ok(vec![Info::f32(Shape::new([x[0], taps, positions])?)])
    }

    /// Patches added up where they were taken from: a transposed convolution of each channel's taps by filters that are 1
    /// at one tap each.
    fn gradient(&self, at: &mut Backward) -> Result<()> {
        let x = at.operand(0)?;
        let (images, channels) = (at.dims(x)[0], at.dims(x)[1]);
        let axes = self.axes(&at.info(x).shape).map_err(|e| at.error(e))?;
        let taps: usize = self.window.kernel().iter().product();
        let rows = channels * taps;
        let mut ones = vec![0f32; rows * taps];
        (0..rows).for_each(|row| ones[row * taps + row % taps] = 1.0);
        let filters = at.constant(Tensor::new([&[rows, 1], self.window.kernel()].concat(), ones)?);

        let positions = axes.iter().map(|axis| axis.output);
        let planes: Vec<_> = [images, rows].into_iter().chain(positions).collect();
        let dy = at.reshape(at.gradient()?, &planes)?;
        let op = ConvTranspose { window: Transposed::back(&axes), groups: channels, activation: None };
        let dx = at.push(op, &[dy, filters])?;
        at.set(0, dx);
        Ok(())
    }

    fn reach(&self, _inputs: &[Option<&Info>]) -> Reach {
        Reach::Unknown
    }

    fn for_one_image(&self, _inputs: &[Option<&Info>], batched: &[bool]) -> Option<Op> {
        first_alone(batched).then(|| self.clone().into())
    }
}
