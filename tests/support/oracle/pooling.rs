//! Pooling over the spatial axes of N C D1 … Dn.

use super::approx::{Approx, Number, Products};
use super::convolution::Window;
use super::{Answer, Exact, count, each_index, position};

fn output_shape(shape: &[usize], window: &Window) -> Vec<usize> {
    [&shape[..2], &window.output(&shape[2..])].concat()
}

/// The positions in `x` that the window of one output reads, in row-major order of the window.
fn taps(index: &[usize], shape: &[usize], window: &Window) -> Vec<usize> {
    let mut reads = Vec::new();
    each_index(&window.kernel, |tap| {
        if let Some(i) = window.read(&index[2..], tap, &shape[2..]) {
            reads.push(position(&[&index[..2], &i].concat(), shape));
        }
    });
    reads
}

/// Where the spatial axes come first-fastest: ONNX's `storage_order` 1.
fn column_major(flat: usize, shape: &[usize]) -> usize {
    let plane = count(&shape[2..]);
    let (before, mut rest) = (flat / plane, flat % plane);
    let mut index = vec![0; shape.len() - 2];
    for axis in (0..index.len()).rev() {
        index[axis] = rest % shape[2 + axis];
        rest /= shape[2 + axis];
    }
    let inside = (0..index.len()).rev().fold(0, |flat, axis| flat * shape[2 + axis] + index[axis]);
    before * plane + inside
}

/// Maxima and ONNX's `Indices`: the position of each in the whole input, without padding, the spatial
/// axes in row-major (`storage_order` 0) or column-major order (1). The first of equals wins; NaN wins
/// over numbers.
pub fn max_pool<T: Copy + Into<f64>>(
    x: &[T],
    shape: &[usize],
    window: &Window,
    storage_order: usize,
) -> (Exact<T>, Exact<i64>) {
    assert_eq!(x.len(), count(shape));
    let out = output_shape(shape, window);
    let (mut value, mut indices) = (Vec::new(), Vec::new());
    each_index(&out, |index| {
        let reads = taps(index, shape, window);
        let mut best = *reads.first().expect("a window reads at least one element");
        for &at in &reads {
            let (new, old): (f64, f64) = (x[at].into(), x[best].into());
            if new > old || (new.is_nan() && !old.is_nan()) {
                best = at;
            }
        }
        value.push(x[best]);
        indices.push(if storage_order == 0 { best } else { column_major(best, shape) } as i64);
    });
    (Exact { shape: out.clone(), value }, Exact { shape: out, value: indices })
}

/// The gradient of max pooling from `dy`, that of its output: each output's goes to where its maximum is.
pub fn max_pool_gradient(dy: &[impl Number], indices: &[i64], shape: &[usize]) -> Answer {
    assert_eq!(dy.len(), indices.len());
    let mut sums = vec![Products::default(); count(shape)];
    for (&dy, &at) in dy.iter().zip(indices) {
        let at = usize::try_from(at).expect("a window reads at least one element");
        sums[at].add(dy, 1.0);
    }
    let terms = sums.iter().map(Products::terms).max().unwrap_or(0).max(1);
    Products::answer(shape.to_vec(), terms, &sums)
}

/// What the mean of an output is divided by.
fn divisor(index: &[usize], shape: &[usize], window: &Window, count_include_pad: bool) -> usize {
    if !count_include_pad {
        return taps(index, shape, window).len();
    }
    (0..window.kernel.len())
        .map(|axis| {
            let end = (shape[2 + axis] + window.pads[axis].1) as isize;
            (0..window.kernel[axis]).filter(|&k| window.coordinate(axis, index[2 + axis], k) < end).count()
        })
        .product()
}

/// The gradient of average pooling of an input of `shape` from `dy`, that of its output: each element of a window gets the
/// same share.
pub fn average_pool_gradient(
    dy: &[impl Number],
    shape: &[usize],
    window: &Window,
    count_include_pad: bool,
) -> Answer {
    let out = output_shape(shape, window);
    assert_eq!(dy.len(), count(&out));
    let mut shares = vec![Vec::new(); count(shape)];
    each_index(&out, |index| {
        let divisor = divisor(index, shape, window, count_include_pad);
        let share = dy[position(index, &out)].into() / Approx::exact(divisor as f64);
        taps(index, shape, window).into_iter().for_each(|at| shares[at].push(share));
    });
    let elements = shares.into_iter().map(Approx::sum).collect();
    Answer::from_approx(shape.to_vec(), 1, elements)
}

/// Means. With `count_include_pad` the divisor counts padding, but never what overhangs it.
pub fn average_pool(x: &[impl Number], shape: &[usize], window: &Window, count_include_pad: bool) -> Answer {
    assert_eq!(x.len(), count(shape));
    let out = output_shape(shape, window);
    let mut elements = Vec::new();
    each_index(&out, |index| {
        let reads = taps(index, shape, window);
        let divisor = divisor(index, shape, window, count_include_pad);
        let sum = Approx::sum(reads.iter().map(|&at| x[at].into()));
        elements.push(sum / Approx::exact(divisor as f64));
    });
    Answer::from_approx(out, count(&window.kernel), elements)
}

/// (Σ|x|ᵖ)^(1/p); padding adds nothing.
pub fn lp_pool(x: &[f32], shape: &[usize], window: &Window, p: u32) -> Answer {
    assert_eq!(x.len(), count(shape));
    let out = output_shape(shape, window);
    let mut elements = Vec::new();
    each_index(&out, |index| {
        let sum = Approx::sum(taps(index, shape, window).into_iter().map(|at| {
            let size = Approx::exact(x[at].abs());
            match p {
                1 => size,
                2 => size * size,
                _ => size.pow(p.into()),
            }
        }));
        elements.push(match p {
            1 => sum,
            2 => sum.sqrt(),
            _ => sum.pow(1.0 / f64::from(p)),
        });
    });
    Answer::from_approx(out, count(&window.kernel), elements)
}

/// The window that covers all spatial axes: with it, pooling is global and leaves N C 1 … 1.
pub fn global(shape: &[usize]) -> Window {
    Window::new(&shape[2..])
}
