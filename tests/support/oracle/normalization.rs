//! Softmax and its kin, and the normalisation layers.

use super::approx::{Approx, Number};
use super::reduction::{Arg, arg};
use super::{Answer, Exact, broadcast_position, count, per_index, position, with_axis};

/// The elements along `axis` through `index`.
fn along(x: &[impl Number], shape: &[usize], index: &[usize], axis: usize) -> Vec<Approx> {
    (0..shape[axis]).map(|i| x[position(&with_axis(index, axis, i), shape)].into()).collect()
}

fn largest(list: &[Approx]) -> Approx {
    Approx::exact(list.iter().fold(f64::NEG_INFINITY, |best, x| best.max(x.value)))
}

/// exp(x - max) / Σ exp(x - max) along one axis.
pub fn softmax(x: &[impl Number], shape: &[usize], axis: usize) -> Answer {
    let elements = per_index(shape, |index| {
        let list = along(x, shape, index, axis);
        let shift = largest(&list);
        (list[index[axis]] - shift).exp() / Approx::sum(list.iter().map(|&v| (v - shift).exp()))
    });
    Answer::from_approx(shape.to_vec(), shape[axis], elements)
}

/// x - max - log Σ exp(x - max) along one axis.
pub fn log_softmax(x: &[impl Number], shape: &[usize], axis: usize) -> Answer {
    let elements = per_index(shape, |index| {
        let list = along(x, shape, index, axis);
        let shift = largest(&list);
        list[index[axis]] - shift - Approx::sum(list.iter().map(|&v| (v - shift).exp())).ln()
    });
    Answer::from_approx(shape.to_vec(), shape[axis], elements)
}

/// 1 at the first maximum along one axis, 0 elsewhere.
pub fn hardmax(x: &[f32], shape: &[usize], axis: usize) -> Exact<f32> {
    let winners = arg(Arg::Max, x, shape, axis, true, false);
    let value = per_index(shape, |index| {
        let winner = winners.value[position(&with_axis(index, axis, 0), &winners.shape)];
        if index[axis] as i64 == winner { 1.0 } else { 0.0 }
    });
    Exact { shape: shape.to_vec(), value }
}

/// Inference batch normalisation of N C …: scale · (x - mean) / √(variance + epsilon) + bias, each per
/// channel. The bound covers both that form and the folded one, a·x + (bias - a·mean).
pub fn batch_norm<N: Number>(
    x: &[N],
    shape: &[usize],
    scale: &[N],
    bias: &[N],
    mean: &[N],
    variance: &[N],
    epsilon: f32,
) -> Answer {
    let elements = per_index(shape, |index| {
        let number = |list: &[N]| -> Approx { list[index[1]].into() };
        let a = number(scale) / (number(variance) + Approx::exact(epsilon)).sqrt();
        Approx::sum([a * x[position(index, shape)].into(), -(a * number(mean)), number(bias)])
    });
    Answer::from_approx(shape.to_vec(), 1, elements)
}

/// Scale and bias around (x - mean) / √(variance + epsilon). `set` numbers the set of elements over
/// which an element's statistics are taken; variances are those of the population, in two passes.
fn standardized<N: Number>(
    x: &[N],
    shape: &[usize],
    epsilon: f32,
    set: impl Fn(&[usize]) -> usize,
    scale: impl Fn(&[usize]) -> Option<N>,
    bias: impl Fn(&[usize]) -> Option<N>,
) -> Answer {
    assert_eq!(x.len(), count(shape));
    let sets = per_index(shape, set);
    let mut members = vec![Vec::new(); sets.iter().max().map_or(0, |last| last + 1)];
    for (i, &s) in sets.iter().enumerate() {
        members[s].push(x[i].into());
    }
    let statistics: Vec<(Approx, Approx)> = members
        .iter()
        .map(|list| {
            let n = Approx::exact(list.len() as f64);
            let mean = Approx::sum(list.iter().copied()) / n;
            let squares = list.iter().map(|&v| (v - mean) * (v - mean));
            (mean, (Approx::sum(squares) / n + Approx::exact(epsilon)).sqrt())
        })
        .collect();
    let elements = per_index(shape, |index| {
        let i = position(index, shape);
        let (mean, deviation) = statistics[sets[i]];
        let mut y = (x[i].into() - mean) / deviation;
        if let Some(scale) = scale(index) {
            y = y * scale.into();
        }
        if let Some(bias) = bias(index) {
            y = y + bias.into();
        }
        y
    });
    Answer::from_approx(shape.to_vec(), members.first().map_or(1, Vec::len), elements)
}

/// Layer normalisation over the axes from `axis` on; scale and bias broadcast to `x` as numpy does.
pub fn layer_norm<N: Number>(
    x: &[N],
    shape: &[usize],
    axis: usize,
    scale: Option<(&[N], &[usize])>,
    bias: Option<(&[N], &[usize])>,
    epsilon: f32,
) -> Answer {
    let read = |from: Option<(&[N], &[usize])>, index: &[usize]| {
        from.map(|(values, shape)| values[broadcast_position(index, shape)])
    };
    standardized(
        x,
        shape,
        epsilon,
        |index| position(&index[..axis], &shape[..axis]),
        |index| read(scale, index),
        |index| read(bias, index),
    )
}

/// Instance normalisation of N C …: over the spatial axes, scale and bias per channel.
pub fn instance_norm(x: &[f32], shape: &[usize], scale: &[f32], bias: &[f32], epsilon: f32) -> Answer {
    group_norm(x, shape, shape[1], scale, bias, epsilon)
}

/// Group normalisation of N C …: over the channels of a group and the spatial axes, scale and bias per channel.
pub fn group_norm(
    x: &[f32],
    shape: &[usize],
    groups: usize,
    scale: &[f32],
    bias: &[f32],
    epsilon: f32,
) -> Answer {
    assert_eq!(shape[1] % groups, 0, "channels per group");
    let per_group = shape[1] / groups;
    standardized(
        x,
        shape,
        epsilon,
        |index| index[0] * groups + index[1] / per_group,
        |index| Some(scale[index[1]]),
        |index| Some(bias[index[1]]),
    )
}

/// Local response normalisation across channels of N C …:
/// x / (bias + alpha/size · Σ x²)^beta, the sum over `size` channels of which ⌊(size-1)/2⌋ come before.
pub fn lrn(x: &[impl Number], shape: &[usize], size: usize, alpha: f32, beta: f32, bias: f32) -> Answer {
    let elements = per_index(shape, |index| {
        let c = index[1];
        let first = c.saturating_sub((size - 1) / 2);
        let last = (c + size / 2).min(shape[1] - 1);
        let squares = (first..=last).map(|c| {
            let v: Approx = x[position(&with_axis(index, 1, c), shape)].into();
            v * v
        });
        let rate = Approx::exact(alpha) / Approx::exact(size as f64);
        let base = Approx::exact(bias) + rate * Approx::sum(squares);
        x[position(index, shape)].into() / base.pow(beta.into())
    });
    Answer::from_approx(shape.to_vec(), size, elements)
}
