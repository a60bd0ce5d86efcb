//! Convolution, transposed convolution and im2col over any number of spatial axes.
//!
//! Tensors are N C D1 … Dn; convolution weights M C/groups k1 … kn, those of the transposed
//! convolution C M/groups k1 … kn.

use super::activation::Activation;
use super::approx::{Number, Products};
use super::{Answer, Exact, count, each_index, per_index, position};

/// How a window moves over the spatial axes; every list has one entry per axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    pub kernel: Vec<usize>,
    pub stride: Vec<usize>,
    pub dilation: Vec<usize>,
    /// Padding before and after each axis.
    pub pads: Vec<(usize, usize)>,
    /// Whether a last window may overhang the end (pooling only).
    pub ceil: bool,
}

impl Window {
    /// Stride 1, no dilation, no padding.
    pub fn new(kernel: &[usize]) -> Self {
        let rank = kernel.len();
        Self {
            kernel: kernel.to_vec(),
            stride: vec![1; rank],
            dilation: vec![1; rank],
            pads: vec![(0, 0); rank],
            ceil: false,
        }
    }

    pub fn stride(self, stride: &[usize]) -> Self {
        Self { stride: stride.to_vec(), ..self }
    }

    pub fn dilation(self, dilation: &[usize]) -> Self {
        Self { dilation: dilation.to_vec(), ..self }
    }

    pub fn pads(self, pads: &[(usize, usize)]) -> Self {
        Self { pads: pads.to_vec(), ..self }
    }

    pub fn ceil(self, ceil: bool) -> Self {
        Self { ceil, ..self }
    }

    /// How many inputs a dilated window spans along an axis.
    pub fn extent(&self, axis: usize) -> usize {
        self.dilation[axis] * (self.kernel[axis] - 1) + 1
    }

    /// Output sizes, found by placing windows until none fits. A ceil window may overhang the padded
    /// end by less than one stride, but must start before the padding that follows the input.
    pub fn output(&self, input: &[usize]) -> Vec<usize> {
        assert_eq!(input.len(), self.kernel.len(), "spatial axes");
        (0..input.len())
            .map(|axis| {
                let (before, after) = self.pads[axis];
                let end = before + input[axis] + after;
                let fits = |start: usize| {
                    if self.ceil {
                        start + self.extent(axis) < end + self.stride[axis] && start < before + input[axis]
                    } else {
                        start + self.extent(axis) <= end
                    }
                };
                (0..).take_while(|t| fits(t * self.stride[axis])).count()
            })
            .collect()
    }

    /// The input coordinate along `axis` that tap `k` of output `o` reads; negative or past the end in padding.
    pub fn coordinate(&self, axis: usize, o: usize, k: usize) -> isize {
        (o * self.stride[axis] + k * self.dilation[axis]) as isize - self.pads[axis].0 as isize
    }

    /// The input multi-index of a tap, or `None` in padding.
    pub fn read(&self, out: &[usize], tap: &[usize], input: &[usize]) -> Option<Vec<usize>> {
        (0..input.len())
            .map(|axis| {
                let i = self.coordinate(axis, out[axis], tap[axis]);
                usize::try_from(i).ok().filter(|&i| i < input[axis])
            })
            .collect()
    }
}

fn joined(head: &[usize], tail: &[usize]) -> Vec<usize> {
    [head, tail].concat()
}

/// The matrices whose product with the weights is the convolution: shape `[N, groups, K, P]`, rows
/// ordered (channel of the group, k1, …, kn), one column per output position, zeros for padding.
pub fn im2col<T: Copy + From<f32>>(x: &[T], shape: &[usize], groups: usize, window: &Window) -> Exact<T> {
    let (batch, channels, input) = (shape[0], shape[1], &shape[2..]);
    assert_eq!(x.len(), count(shape));
    assert_eq!(channels % groups, 0, "channels per group");
    let per_group = channels / groups;
    let output = window.output(input);
    let mut value = Vec::new();
    for n in 0..batch {
        for group in 0..groups {
            for c in 0..per_group {
                each_index(&window.kernel, |tap| {
                    each_index(&output, |out| {
                        value.push(match window.read(out, tap, input) {
                            Some(i) => x[position(&joined(&[n, group * per_group + c], &i), shape)],
                            None => 0.0.into(),
                        });
                    });
                });
            }
        }
    }
    Exact { shape: vec![batch, groups, per_group * count(&window.kernel), count(&output)], value }
}

/// What follows the sums: bias per output channel, then a residual of the output's shape, then an activation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    pub bias: Option<&'a [f32]>,
    pub residual: Option<&'a [f32]>,
    pub activation: Option<Activation>,
}

impl Epilogue<'_> {
    /// Adds to sums of shape N M …, whose magnitudes and terms grow accordingly.
    fn finish(&self, mut sums: Answer) -> Answer {
        let shape = sums.shape.clone();
        let mut add = |value: f32, i: usize| {
            sums.value[i] += f64::from(value);
            sums.magnitude[i] += f64::from(value).abs();
        };
        if let Some(bias) = self.bias {
            assert_eq!(bias.len(), shape[1], "bias");
            each_index(&shape, |index| add(bias[index[1]], position(index, &shape)));
        }
        if let Some(residual) = self.residual {
            assert_eq!(residual.len(), count(&shape), "residual");
            residual.iter().enumerate().for_each(|(i, &r)| add(r, i));
        }
        sums.terms += usize::from(self.bias.is_some()) + usize::from(self.residual.is_some());
        match self.activation {
            Some(activation) => activation.after(&sums),
            None => sums,
        }
    }
}

/// Convolution (cross-correlation, as in every neural network library).
pub fn conv<N: Number>(
    x: &[N],
    x_shape: &[usize],
    w: &[N],
    w_shape: &[usize],
    groups: usize,
    window: &Window,
    epilogue: Epilogue,
) -> Answer {
    let (batch, channels, input) = (x_shape[0], x_shape[1], &x_shape[2..]);
    let (maps, per_group) = (w_shape[0], w_shape[1]);
    assert_eq!((x.len(), w.len()), (count(x_shape), count(w_shape)));
    assert_eq!(channels, per_group * groups, "input channels");
    assert_eq!(maps % groups, 0, "output channels per group");
    assert_eq!(window.kernel, w_shape[2..], "kernel");
    let output = window.output(input);
    let shape = joined(&[batch, maps], &output);
    let sums = per_index(&shape, |index| {
        let (n, m, out) = (index[0], index[1], &index[2..]);
        let first_channel = m / (maps / groups) * per_group;
        let mut sum = Products::default();
        each_index(&window.kernel, |tap| {
            let Some(i) = window.read(out, tap, input) else { return };
            for c in 0..per_group {
                let a = x[position(&joined(&[n, first_channel + c], &i), x_shape)];
                let b = w[position(&joined(&[m, c], tap), w_shape)];
                sum.add(a, b);
            }
        });
        sum
    });
    epilogue.finish(Products::answer(shape, per_group * count(&window.kernel), &sums))
}

/// Winograd's filtering F(m x m, 3 x 3) along one axis, as the magnitudes of its matrices: A^T, G and B^T (Lavin & Gray,
/// *Fast Algorithms for Convolutional Neural Networks*, 2016).
fn winograd_matrices(m: usize) -> (Vec<Vec<f64>>, Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let rows = |text: &str| -> Vec<Vec<f64>> {
        let numbers = |row: &str| row.split_whitespace().map(|n| n.parse().expect("a number")).collect();
        text.split(';').map(numbers).collect()
    };
    let [sixth, twelfth, last] = [6.0, 12.0, 24.0].map(f64::recip);
    match m {
        2 => (
            rows("1 1 1 0; 0 1 1 1"),
            rows("1 0 0; 0.5 0.5 0.5; 0.5 0.5 0.5; 0 0 1"),
            rows("1 0 1 0; 0 1 1 0; 0 1 1 0; 0 1 0 1"),
        ),
        4 => (
            rows("1 1 1 1 1 0; 0 1 1 2 2 0; 0 1 1 4 4 0; 0 1 1 8 8 1"),
            vec![
                vec![0.25, 0.0, 0.0],
                vec![sixth; 3],
                vec![sixth; 3],
                vec![last, twelfth, sixth],
                vec![last, twelfth, sixth],
                vec![0.0, 0.0, 1.0],
            ],
            rows("4 0 5 0 1 0; 0 4 4 1 1 0; 0 4 4 1 1 0; 0 2 1 2 1 0; 0 2 1 2 1 0; 0 4 0 5 0 1"),
        ),
        _ => panic!("no F({m}, 3) here"),
    }
}

/// [`conv`] of one group with a 3x3 kernel of stride and dilation 1, with the error that Winograd's F(m x m, 3 x 3) may make.
///
/// Its formula A^T [(G g G^T) * (B^T d B)] A, with the absolute values of all that is in it, is the magnitude. A term passes
/// through at most 3 roundings in each of four one-dimensional transforms, 1 in the filters' (computed in f64), 1 in its
/// product, and `c_in` in the sum over the channels: Higham's argument as for [`Answer`], with so many in place of K.
pub fn winograd(
    m: usize,
    x: &[f32],
    x_shape: &[usize],
    w: &[f32],
    w_shape: &[usize],
    window: &Window,
    epilogue: Epilogue,
) -> Answer {
    let plain = Window::new(&[3, 3]);
    assert_eq!(
        (&window.kernel, &window.stride, &window.dilation),
        (&plain.kernel, &plain.stride, &plain.dilation)
    );
    let mut sums = conv(x, x_shape, w, w_shape, 1, window, Epilogue::default());
    let (a, g, b) = winograd_matrices(m);
    let side = m + 2;
    let channels = x_shape[1];
    let at = |n: usize, c: usize, y: isize, x_: isize| -> f64 {
        let inside = |i: isize, size: usize| usize::try_from(i).ok().filter(|&i| i < size);
        match (inside(y, x_shape[2]), inside(x_, x_shape[3])) {
            (Some(y), Some(x_)) => f64::from(x[position(&[n, c, y, x_], x_shape)]).abs(),
            _ => 0.0,
        }
    };
    let shape = sums.shape.clone();
    each_index(&shape, |index| {
        let &[n, filter, oy, ox] = index else { panic!("two spatial axes") };
        let first = |o: usize, axis: usize| (o / m * m) as isize - window.pads[axis].0 as isize;
        let (top, left) = (first(oy, 0), first(ox, 1));
        let mut magnitude = 0.0;
        for c in 0..channels {
            each_index(&[side, side], |kl| {
                let (k, l) = (kl[0], kl[1]);
                let outer = a[oy % m][k] * a[ox % m][l];
                let (mut filters, mut inputs) = (0.0, 0.0);
                each_index(&[3, 3], |ij| {
                    let tap = f64::from(w[position(&[filter, c, ij[0], ij[1]], w_shape)]).abs();
                    filters += g[k][ij[0]] * g[l][ij[1]] * tap;
                });
                each_index(&[side, side], |pq| {
                    inputs +=
                        b[k][pq[0]] * b[l][pq[1]] * at(n, c, top + pq[0] as isize, left + pq[1] as isize);
                });
                magnitude += outer * filters * inputs;
            });
        }
        sums.magnitude[position(index, &shape)] = magnitude;
    });
    sums.terms = channels + 14;
    epilogue.finish(sums)
}

/// Transposed convolution: every input adds its multiple of the kernel to the output it would read.
pub fn conv_transpose<N: Number>(
    x: &[N],
    x_shape: &[usize],
    w: &[N],
    w_shape: &[usize],
    groups: usize,
    window: &Window,
    output_padding: &[usize],
    epilogue: Epilogue,
) -> Answer {
    let (batch, channels, input) = (x_shape[0], x_shape[1], &x_shape[2..]);
    let per_group = w_shape[1];
    assert_eq!((x.len(), w.len()), (count(x_shape), count(w_shape)));
    assert_eq!(channels, w_shape[0], "input channels");
    assert_eq!(window.kernel, w_shape[2..], "kernel");
    // The last input's kernel ends the output; padding cuts both ends, output padding extends the last.
    let output: Vec<usize> = (0..input.len())
        .map(|axis| {
            let (before, after) = window.pads[axis];
            let end = (input[axis] - 1) * window.stride[axis] + window.extent(axis);
            (end + output_padding[axis]).checked_sub(before + after).expect("pads smaller than the output")
        })
        .collect();
    let shape = joined(&[batch, per_group * groups], &output);
    let mut sums = vec![Products::default(); count(&shape)];
    each_index(x_shape, |index| {
        let (n, c, i) = (index[0], index[1], &index[2..]);
        let group = c / (channels / groups);
        each_index(&window.kernel, |tap| {
            // Seen from the output, this convolution reads coordinate `i · stride + tap · dilation - pad`.
            let Some(o) = window.read(i, tap, &output) else { return };
            for m in 0..per_group {
                let at = position(&joined(&[n, group * per_group + m], &o), &shape);
                let a = x[position(index, x_shape)];
                let b = w[position(&joined(&[c, m], tap), w_shape)];
                sums[at].add(a, b);
            }
        });
    });
    let terms = sums.iter().map(Products::terms).max().unwrap_or(0).max(1);
    epilogue.finish(Products::answer(shape, terms, &sums))
}

/// The gradient of a convolution's weights from `dy`, the gradient of its output: each output's is spread over the weights
/// that it was made with, times what they met.
pub fn conv_weight<N: Number>(
    x: &[N],
    x_shape: &[usize],
    dy: &[N],
    dy_shape: &[usize],
    groups: usize,
    window: &Window,
) -> Answer {
    let (channels, input) = (x_shape[1], &x_shape[2..]);
    let maps = dy_shape[1];
    assert_eq!((x.len(), dy.len()), (count(x_shape), count(dy_shape)));
    assert_eq!(dy_shape[2..], window.output(input), "positions");
    let per_group = channels / groups;
    let shape = joined(&[maps, per_group], &window.kernel);
    let mut sums = vec![Products::default(); count(&shape)];
    each_index(dy_shape, |index| {
        let (n, m, out) = (index[0], index[1], &index[2..]);
        let first_channel = m / (maps / groups) * per_group;
        each_index(&window.kernel, |tap| {
            let Some(i) = window.read(out, tap, input) else { return };
            for c in 0..per_group {
                let at = position(&joined(&[m, c], tap), &shape);
                let a = dy[position(index, dy_shape)];
                let b = x[position(&joined(&[n, first_channel + c], &i), x_shape)];
                sums[at].add(a, b);
            }
        });
    });
    Products::answer(shape, (x_shape[0] * count(&dy_shape[2..])).max(1), &sums)
}

/// Sums the columns of an im2col matrix back into the input they were read from (the adjoint of
/// [`im2col`]): `[N, groups, K, P]` to N C D1 … Dn.
pub fn col2im(columns: &[f32], shape: &[usize], groups: usize, window: &Window) -> Answer {
    let positions: Vec<f32> = (0..count(shape)).map(|i| i as f32 + 1.0).collect();
    assert!(count(shape) < 1 << 24, "positions exact in f32");
    let from = im2col(&positions, shape, groups, window);
    assert_eq!(columns.len(), from.value.len());
    let mut value = vec![0.0; count(shape)];
    let mut magnitude = value.clone();
    let mut terms = vec![0_usize; value.len()];
    for (&column, &source) in columns.iter().zip(&from.value) {
        if source > 0.0 {
            let at = source as usize - 1;
            value[at] += f64::from(column);
            magnitude[at] += f64::from(column).abs();
            terms[at] += 1;
        }
    }
    Answer { shape: shape.to_vec(), value, magnitude, terms: terms.into_iter().max().unwrap_or(1).max(1) }
}

/// One-hot filters `[C·K, C, k1, …]` (each picks one tap of one channel), used to check [`im2col`].
pub fn one_hot_filters(channels: usize, kernel: &[usize]) -> (Vec<f32>, Vec<usize>) {
    let rows = channels * count(kernel);
    let shape = joined(&[rows, channels], kernel);
    (per_index(&[rows, rows], |i| if i[0] == i[1] { 1.0 } else { 0.0 }), shape)
}
