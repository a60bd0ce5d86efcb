//! NumPy's broadcasting: shapes are aligned at their last axes, and an axis that is one long is repeated.

use super::{OpError, dims};
use crate::graph::Info;

/// The shape that contiguous `shapes` broadcast to, and the strides of each along its axes, 0 where it is repeated.
pub(crate) fn broadcast(shapes: &[&[usize]]) -> Result<(Vec<usize>, Vec<Vec<usize>>), OpError> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut out = vec![1; rank];
    for shape in shapes {
        for (o, &d) in out[rank - shape.len()..].iter_mut().zip(*shape) {
            if *o == 1 {
                *o = d;
            } else if d != 1 && d != *o {
                let all: Vec<_> = shapes.iter().map(|s| dims(s)).collect();
                return Err(OpError::shape("shapes that broadcast", all.join(" and ")));
            }
        }
    }
    let strides = shapes
        .iter()
        .map(|shape| {
            let mut strides = vec![0; rank];
            let mut step = 1;
            for (i, &d) in shape.iter().enumerate().rev() {
                if d != 1 {
                    strides[rank - shape.len() + i] = step;
                }
                step *= d;
            }
            strides
        })
        .collect();
    Ok((out, strides))
}

/// Whether operands that broadcast to `rank` axes do so image by image: axis 0 of the batched ones is that of the output, and
/// others are the same along it.
pub(crate) fn by_image(rank: usize, inputs: &[Option<&Info>], batched: &[bool]) -> bool {
    inputs.iter().zip(batched).all(|(info, &batched)| {
        let Some(Info { shape, .. }) = info else { return true };
        if batched { shape.len() == rank } else { shape.len() < rank || shape.first() == Some(&1) }
    })
}

/// An axis of the output: its size, and the step in elements along it of each of `N` operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span<const N: usize> {
    pub size: usize,
    pub steps: [usize; N],
}

/// The axes that `shapes` broadcast to, without those that are one long and with neighbours joined wherever all
/// operands go on from one to the next; never none.
pub(crate) fn spans<const N: usize>(shapes: [&[usize]; N]) -> Result<Vec<Span<N>>, OpError> {
    let (shape, strides) = broadcast(&shapes)?;
    let mut spans: Vec<Span<N>> = Vec::new();
    for (i, &size) in shape.iter().enumerate().filter(|&(_, &size)| size != 1) {
        let steps = std::array::from_fn(|operand| strides[operand][i]);
        match spans.last_mut() {
            Some(outer) if outer.steps == steps.map(|s: usize| s * size) => {
                *outer = Span { size: outer.size * size, steps };
            }
            _ => spans.push(Span { size, steps }),
        }
    }
    if spans.is_empty() {
        spans.push(Span { size: 1, steps: [0; N] });
    }
    Ok(spans)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_joined_only_where_all_operands_go_on() {
        let joined = |a: &[usize], b: &[usize]| {
            spans([a, b]).unwrap().iter().map(|s| (s.size, s.steps[0], s.steps[1])).collect::<Vec<_>>()
        };
        assert_eq!(joined(&[2, 3, 4], &[2, 3, 4]), [(24, 1, 1)]);
        assert_eq!(joined(&[2, 3, 4, 5], &[3, 1, 1]), [(2, 60, 0), (3, 20, 1), (20, 1, 0)]);
        assert_eq!(joined(&[2, 3], &[]), [(6, 1, 0)]);
        assert_eq!(joined(&[2, 1], &[1, 3]), [(2, 1, 0), (3, 0, 1)]);
        assert_eq!(joined(&[1], &[]), [(1, 0, 0)]);
    }
}
