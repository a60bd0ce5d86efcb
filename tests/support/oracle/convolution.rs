//! Convolution, transposed convolution and im2col over any number of spatial axes.
//!
//! Tensors are N C D1 … Dn; convolution weights M C/groups k1 … kn, those of the transposed
//! convolution C M/groups k1 … kn.

use super::activation::Activation;
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
pub fn im2col(x: &[f32], shape: &[usize], groups: usize, window: &Window) -> Exact<f32> {
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
                            None => 0.0,
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
pub fn conv(
    x: &[f32],
    x_shape: &[usize],
    w: &[f32],
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
    let (mut value, mut magnitude) = (Vec::new(), Vec::new());
    each_index(&shape, |index| {
        let (n, m, out) = (index[0], index[1], &index[2..]);
        let first_channel = m / (maps / groups) * per_group;
        let (mut sum, mut size) = (0.0, 0.0);
        each_index(&window.kernel, |tap| {
            let Some(i) = window.read(out, tap, input) else { return };
            for c in 0..per_group {
                let a = x[position(&joined(&[n, first_channel + c], &i), x_shape)];
                let b = w[position(&joined(&[m, c], tap), w_shape)];
                let product = f64::from(a) * f64::from(b);
                sum += product;
                size += product.abs();
            }
        });
        value.push(sum);
        magnitude.push(size);
    });
    let terms = per_group * count(&window.kernel);
    epilogue.finish(Answer { shape, value, magnitude, terms })
}

/// A convolution of 3x3 with stride 1 over two axes, as Winograd's F(4x4, 3x3) computes it in f32: the answer of
/// [`conv`], with the magnitude that bounds the rounding of that algorithm.
///
/// An output is a sum over the 36 places of its tile, of `A'[i][a] A'[j][b]` times the transforms of the filter (`G`) and
/// of the tile's 6x6 cells (`B'`). Its rounding is bounded by the same formula over absolute values (Higham, section
/// 3.1), times the roundings on the way: 1 for the filter's transform, which is made in f64; 4 along each axis of `B'`; 1
/// per channel; 3 along each axis of `A'`.
pub fn winograd(
    x: &[f32],
    x_shape: &[usize],
    w: &[f32],
    w_shape: &[usize],
    window: &Window,
    epilogue: Epilogue,
) -> Answer {
    const FILTER: [[f64; 3]; 6] = [
        [0.25, 0.0, 0.0],
        [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
        [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
        [0.0, 0.0, 1.0],
    ];
    const INPUT: [[f64; 6]; 6] = [
        [4.0, 0.0, -5.0, 0.0, 1.0, 0.0],
        [0.0, -4.0, -4.0, 1.0, 1.0, 0.0],
        [0.0, 4.0, -4.0, -1.0, 1.0, 0.0],
        [0.0, -2.0, -1.0, 2.0, 1.0, 0.0],
        [0.0, 2.0, -1.0, -2.0, 1.0, 0.0],
        [0.0, 4.0, 0.0, -5.0, 0.0, 1.0],
    ];
    const OUTPUT: [[f64; 6]; 4] = [
        [1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
        [0.0, 1.0, -1.0, 2.0, -2.0, 0.0],
        [0.0, 1.0, 1.0, 4.0, 4.0, 0.0],
        [0.0, 1.0, -1.0, 8.0, -8.0, 1.0],
    ];
    assert!(window.stride == [1, 1] && window.dilation == [1, 1] && window.kernel == [3, 3]);
    let none = Epilogue { bias: None, residual: None, activation: None };
    let mut sums = conv(x, x_shape, w, w_shape, 1, window, none);
    let channels = x_shape[1];
    let shape = sums.shape.clone();
    let (pad_y, pad_x) = (window.pads[0].0, window.pads[1].0);
    let cell = |n: usize, c: usize, y: usize, x_at: usize| {
        let (y, x_at) = (y.checked_sub(pad_y)?, x_at.checked_sub(pad_x)?);
        let inside = y < x_shape[2] && x_at < x_shape[3];
        inside.then(|| f64::from(x[position(&[n, c, y, x_at], x_shape)]).abs())
    };
    // For each place of a tile, the sum over channels of the transforms' magnitudes.
    let places = |n: usize, m: usize, tile_y: usize, tile_x: usize| -> Vec<f64> {
        per_index(&[6, 6], |place| {
            let (a, b) = (place[0], place[1]);
            let mut sum = 0.0;
            for c in 0..channels {
                let (mut filter, mut input) = (0.0, 0.0);
                each_index(&[3, 3], |tap| {
                    let g = f64::from(w[position(&[m, c, tap[0], tap[1]], w_shape)]);
                    filter += (FILTER[a][tap[0]] * FILTER[b][tap[1]] * g).abs();
                });
                each_index(&[6, 6], |at| {
                    let d = cell(n, c, 4 * tile_y + at[0], 4 * tile_x + at[1]).unwrap_or(0.0);
                    input += (INPUT[a][at[0]] * INPUT[b][at[1]]).abs() * d;
                });
                sum += filter * input;
            }
            sum
        })
    };
    let tiles = [shape[0], shape[1], shape[2].div_ceil(4), shape[3].div_ceil(4)];
    let all = per_index(&tiles, |tile| places(tile[0], tile[1], tile[2], tile[3]));
    each_index(&shape, |index| {
        let (y, x_at) = (index[2], index[3]);
        let places = &all[position(&[index[0], index[1], y / 4, x_at / 4], &tiles)];
        let mut magnitude = 0.0;
        each_index(&[6, 6], |place| {
            let factor = OUTPUT[y % 4][place[0]] * OUTPUT[x_at % 4][place[1]];
            magnitude += factor.abs() * places[6 * place[0] + place[1]];
        });
        sums.magnitude[position(index, &shape)] = magnitude;
    });
    sums.terms = channels + 1 + 2 * 4 + 2 * 3;
    epilogue.finish(sums)
}

/// Transposed convolution: every input adds its multiple of the kernel to the output it would read.
pub fn conv_transpose(
    x: &[f32],
    x_shape: &[usize],
    w: &[f32],
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
    let mut value = vec![0.0; count(&shape)];
    let mut magnitude = value.clone();
    let mut terms = vec![0_usize; value.len()];
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
                let product = f64::from(a) * f64::from(b);
                value[at] += product;
                magnitude[at] += product.abs();
                terms[at] += 1;
            }
        });
    });
    let terms = terms.into_iter().max().unwrap_or(0).max(1);
    epilogue.finish(Answer { shape, value, magnitude, terms })
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
