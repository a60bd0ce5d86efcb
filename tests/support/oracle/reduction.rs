//! Reductions over any set of axes, and the position of extremes along one.

use super::approx::{Approx, Number};
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
    pub fn of<N: Number>(self, x: &[N]) -> Approx {
        let each = |f: fn(Approx) -> Approx| Approx::sum(x.iter().map(|&v| f(v.into())));
        let extreme = |better: fn(f64, f64) -> bool, start: f64| {
            let kept = |best: Approx, v: Approx| best.value.is_nan() || better(best.value, v.value);
            let pick = |best: Approx, v: Approx| if kept(best, v) { best } else { v };
            x.iter().fold(Approx::exact(start), |best, &v| pick(best, v.into()))
        };
        let largest = |a, b| a >= b;
        match self {
            Reduce::Sum => each(|v| v),
            Reduce::Mean => each(|v| v) / Approx::exact(x.len() as f64),
            Reduce::Max => extreme(largest, f64::NEG_INFINITY),
            Reduce::Min => extreme(|a, b| a <= b, f64::INFINITY),
            Reduce::Prod => x.iter().fold(Approx::exact(1.0), |product, &v| product * v.into()),
            Reduce::L1 => each(Approx::abs),
            Reduce::L2 => each(|v| v * v).sqrt(),
            Reduce::LogSum => each(|v| v).ln(),
            Reduce::LogSumExp => {
                // Shifted by the maximum, so that exp cannot overflow.
                let shift = Approx::exact(extreme(largest, f64::NEG_INFINITY).value);
                shift + Approx::sum(x.iter().map(|&v| (v.into() - shift).exp())).ln()
            }
            Reduce::SumSquare => each(|v| v * v),
        }
    }
}

/// The lists that are reduced into each output, for axes that are kept with size 1.
fn gathered(x: &[impl Number], shape: &[usize], axes: &[usize]) -> (Vec<usize>, Vec<Vec<Approx>>) {
    assert_eq!(x.len(), count(shape));
    let kept: Vec<usize> =
        (0..shape.len()).map(|axis| if axes.contains(&axis) { 1 } else { shape[axis] }).collect();
    let mut lists = vec![Vec::new(); count(&kept)];
    each_index(shape, |index| {
        let to: Vec<usize> =
            (0..shape.len()).map(|axis| if axes.contains(&axis) { 0 } else { index[axis] }).collect();
        lists[position(&to, &kept)].push(x[position(index, shape)].into());
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
pub fn reduce(kind: Reduce, x: &[impl Number], shape: &[usize], axes: &[usize], keepdims: bool) -> Answer {
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
    x: &[impl Copy + Into<f64>],
    shape: &[usize],
    axis: usize,
    keepdims: bool,
    select_last: bool,
) -> Exact<i64> {
    let kept = with_axis(shape, axis, 1);
    let value = per_index(&kept, |index| {
        let at = |i: usize| -> f64 { x[position(&with_axis(index, axis, i), shape)].into() };
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
