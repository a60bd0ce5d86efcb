//! Reductions over any set of axes, and the position of extremes along one.

use super::approx::Approx;
use super::{Answer, Exact, count, each_index, per_index, position, with_axis};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduce {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
    L1,
    L2,
    LogSum,
    LogSumExp,
    SumSquare,
}

impl Reduce {
    /// All of them, for tests that walk the list.
    pub const ALL: [Reduce; 10] = [
        Reduce::Sum,
        Reduce::Mean,
        Reduce::Max,
        Reduce::Min,
        Reduce::Prod,
        Reduce::L1,
        Reduce::L2,
        Reduce::LogSum,
        Reduce::LogSumExp,
        Reduce::SumSquare,
    ];

    /// The reduction of one list; NaN in it gives NaN.
    pub fn of(self, x: &[f64]) -> Approx {
        let each = |f: fn(Approx) -> Approx| Approx::sum(x.iter().map(|&v| f(Approx::exact(v))));
        let extreme = |better: fn(f64, f64) -> bool, start: f64| {
            let pick = |best: f64, &v: &f64| if best.is_nan() || better(best, v) { best } else { v };
            Approx::exact(x.iter().fold(start, pick))
        };
        let largest = |a, b| a >= b;
        match self {
            Reduce::Sum => each(|v| v),
            Reduce::Mean => each(|v| v) / Approx::exact(x.len() as f64),
            Reduce::Max => extreme(largest, f64::NEG_INFINITY),
            Reduce::Min => extreme(|a, b| a <= b, f64::INFINITY),
            Reduce::Prod => x.iter().map(|&v| Approx::exact(v)).fold(Approx::exact(1.0), |a, b| a * b),
            Reduce::L1 => each(Approx::abs),
            Reduce::L2 => each(|v| v * v).sqrt(),
            Reduce::LogSum => each(|v| v).ln(),
            Reduce::LogSumExp => {
                // Shifted by the maximum, so that exp cannot overflow.
                let shift = extreme(largest, f64::NEG_INFINITY);
                shift + Approx::sum(x.iter().map(|&v| (Approx::exact(v) - shift).exp())).ln()
            }
            Reduce::SumSquare => each(|v| v * v),
        }
    }
}

/// The lists that are reduced into each output, for axes that are kept with size 1.
fn gathered(x: &[f32], shape: &[usize], axes: &[usize]) -> (Vec<usize>, Vec<Vec<f64>>) {
    assert_eq!(x.len(), count(shape));
    let kept: Vec<usize> =
        (0..shape.len()).map(|axis| if axes.contains(&axis) { 1 } else { shape[axis] }).collect();
    let mut lists = vec![Vec::new(); count(&kept)];
    each_index(shape, |index| {
        let to: Vec<usize> =
            (0..shape.len()).map(|axis| if axes.contains(&axis) { 0 } else { index[axis] }).collect();
        lists[position(&to, &kept)].push(f64::from(x[position(index, shape)]));
    });
    (kept, lists)
}

fn dropped(kept: Vec<usize>, axes: &[usize], keepdims: bool) -> Vec<usize> {
    if keepdims {
        return kept;
    }
    (0..kept.len()).filter(|axis| !axes.contains(axis)).map(|axis| kept[axis]).collect()
}

/// Reduces `axes`, which stay with size 1 where `keepdims`.
pub fn reduce(kind: Reduce, x: &[f32], shape: &[usize], axes: &[usize], keepdims: bool) -> Answer {
    let (kept, lists) = gathered(x, shape, axes);
    let terms = lists.first().map_or(1, Vec::len);
    let elements = lists.iter().map(|list| kind.of(list)).collect();
    Answer::from_approx(dropped(kept, axes, keepdims), terms, elements)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arg {
    Max,
    Min,
}

/// Position along `axis` of the largest or smallest; of equals the first, or the last where asked.
pub fn arg(
    kind: Arg,
    x: &[f32],
    shape: &[usize],
    axis: usize,
    keepdims: bool,
    select_last: bool,
) -> Exact<i64> {
    let kept = with_axis(shape, axis, 1);
    let value = per_index(&kept, |index| {
        let at = |i: usize| x[position(&with_axis(index, axis, i), shape)];
        let mut best = 0;
        for i in 1..shape[axis] {
            let better = match kind {
                Arg::Max => at(i) > at(best),
                Arg::Min => at(i) < at(best),
            };
            if better || (select_last && at(i) == at(best)) {
                best = i;
            }
        }
        best as i64
    });
    Exact { shape: dropped(kept, &[axis], keepdims), value }
}
