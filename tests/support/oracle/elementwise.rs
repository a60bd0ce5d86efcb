//! Functions of two tensors, with numpy's broadcasting.

use super::approx::{Approx, Number};
use super::{Answer, broadcast, broadcast_position, count, per_index};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Min,
    Max,
    /// The first operand where it is not negative, else its product with the second (the slope).
    PRelu,
}

impl Binary {
    /// All of them, for tests that walk the list.
    pub const ALL: [Binary; 8] = [
        Binary::Add,
        Binary::Sub,
        Binary::Mul,
        Binary::Div,
        Binary::Pow,
        Binary::Min,
        Binary::Max,
        Binary::PRelu,
    ];

    /// The function of two inputs; NaN in either gives NaN.
    pub fn at(self, x: impl Number, y: impl Number) -> Approx {
        let (a, b): (Approx, Approx) = (x.into(), y.into());
        let (x, y) = (a.value, b.value);
        if x.is_nan() || y.is_nan() {
            return Approx::exact(f32::NAN);
        }
        match self {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            Binary::Pow => a.pow(b.value),
            Binary::Min => {
                if x < y {
                    a
                } else {
                    b
                }
            }
            Binary::Max => {
                if x > y {
                    a
                } else {
                    b
                }
            }
            Binary::PRelu => {
                if x < 0.0 {
                    a * b
                } else {
                    a
                }
            }
        }
    }
}

/// `op(a, b)` over the broadcast shape.
pub fn binary<N: Number>(op: Binary, a: &[N], a_shape: &[usize], b: &[N], b_shape: &[usize]) -> Answer {
    assert_eq!((a.len(), b.len()), (count(a_shape), count(b_shape)));
    let shape = broadcast(a_shape, b_shape);
    let elements = per_index(&shape, |index| {
        op.at(a[broadcast_position(index, a_shape)], b[broadcast_position(index, b_shape)])
    });
    Answer::from_approx(shape, 1, elements)
}
