//! Convolution arithmetic against the published relationships and against counting cells one by one.

use wgpu_cnn::window::{Axis, Padding, PerAxis, Transposed, Window, WindowError, average_divisor};

/// One axis, as `Window::resolve` sees it.
fn resolve(window: Window, input: usize) -> Result<Axis, WindowError> {
    window.resolve(&[input]).map(|axes| axes[0])
}

fn outputs(axes: &[Axis]) -> Vec<usize> {
    axes.iter().map(|axis| axis.output).collect()
}

fn forward(i: usize, k: usize, s: usize, p: usize, d: usize) -> Option<usize> {
    let window = Window::new([k]).stride(s).padding(p).dilation(d);
    resolve(window, i).ok().map(|axis| axis.output)
}

fn transposed(i: usize, k: usize, s: usize, p: usize, a: usize) -> Option<usize> {
    let window = Window::new([k]).stride(s).padding(p);
    let axes = Transposed::new(window).output_padding(a).resolve(&[i]);
    axes.ok().map(|axes| axes[0].output)
}

/// The places a window can take on `i` cells with `p` more on either side: those where every tap meets a cell.
fn count_places(i: usize, k: usize, s: usize, p: usize, d: usize) -> Option<usize> {
    let cells = i + 2 * p;
    let fits = |start: &usize| (0..k).all(|tap| start + tap * d < cells);
    Some((0..cells).step_by(s).filter(fits).count()).filter(|n| *n > 0)
}

/// The cells that `i` inputs reach when each is spread over `k` cells, less `p` at either end, plus `a` at the end.
fn count_spread(i: usize, k: usize, s: usize, p: usize, a: usize) -> Option<usize> {
    let last = (0..i).flat_map(|input| (0..k).map(move |tap| input * s + tap)).max()?;
    (last + 1 + a).checked_sub(2 * p).filter(|n| *n > 0)
}

/// Every `(i, k, s, p)` of the sweep.
fn sweep() -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (1..=13).flat_map(|i| {
        (1..=7).flat_map(move |k| (1..=5).flat_map(move |s| (0..=4).map(move |p| (i, k, s, p))))
    })
}

/// Checks a forward relationship on all of the sweep that satisfies `given`, and that the formula is right there.
fn check_forward(
    given: impl Fn(usize, usize, usize, usize) -> bool,
    formula: impl Fn(usize, usize, usize, usize) -> usize,
) {
    let mut checked = 0;
    for (i, k, s, p) in sweep().filter(|&(i, k, s, p)| given(i, k, s, p)) {
        let counted = count_places(i, k, s, p, 1);
        assert_eq!(forward(i, k, s, p, 1), counted, "i={i} k={k} s={s} p={p}");
        if let Some(counted) = counted {
            assert_eq!(counted, formula(i, k, s, p), "i={i} k={k} s={s} p={p}");
            checked += 1;
        }
    }
    assert!(checked >= 30, "only {checked} cases");
}

/// Checks a transposed relationship: `formula(i', k, s, p, a)` for the transpose of each convolution `(i, k, s, p)`
/// that satisfies `given`, where `i'` is that convolution's output and `a` its left-over cells.
fn check_transposed(
    given: impl Fn(usize, usize, usize, usize) -> bool,
    formula: impl Fn(usize, usize, usize, usize, usize) -> usize,
) {
    let mut checked = 0;
    for (i, k, s, p) in sweep().filter(|&(i, k, s, p)| given(i, k, s, p)) {
        let Some(output) = count_places(i, k, s, p, 1) else {
            continue;
        };
        let a = (i + 2 * p - k) % s;
        let case = format!("i={i} k={k} s={s} p={p} a={a}");
        assert_eq!(count_spread(output, k, s, p, a), Some(i), "{case}");
        assert_eq!(transposed(output, k, s, p, a), Some(i), "{case}");
        assert_eq!(formula(output, k, s, p, a), i, "{case}");
        checked += 1;
    }
    assert!(checked >= 30, "only {checked} cases");
}

// Dumoulin & Visin, A guide to convolution arithmetic for deep learning, relationships 1 to 15.

#[test]
fn relationship_1_unit_stride_no_padding() {
    check_forward(|_, _, s, p| s == 1 && p == 0, |i, k, _, _| i - k + 1);
}

#[test]
fn relationship_2_unit_stride() {
    check_forward(|_, _, s, _| s == 1, |i, k, _, p| i + 2 * p + 1 - k);
}

#[test]
fn relationship_3_half_padding() {
    check_forward(|_, k, s, p| s == 1 && k % 2 == 1 && p == k / 2, |i, _, _, _| i);
}

#[test]
fn relationship_4_full_padding() {
    check_forward(|_, k, s, p| s == 1 && p == k - 1, |i, k, _, _| i + k - 1);
}

#[test]
fn relationship_5_no_padding() {
    check_forward(|_, _, _, p| p == 0, |i, k, s, _| (i - k) / s + 1);
}

#[test]
fn relationship_6_any_padding_and_stride() {
    check_forward(|_, _, _, _| true, |i, k, s, p| (i + 2 * p - k) / s + 1);
}

#[test]
fn relationship_7_pooling() {
    // A pooling moves by its own size unless told otherwise, and has no padding.
    check_forward(|_, k, s, p| p == 0 && s == k, |i, k, s, _| (i - k) / s + 1);
}

#[test]
fn relationship_8_transposed_unit_stride_no_padding() {
    check_transposed(|_, _, s, p| s == 1 && p == 0, |i, k, _, _, _| i + k - 1);
}

#[test]
fn relationship_9_transposed_unit_stride() {
    check_transposed(|_, _, s, _| s == 1, |i, k, _, p, _| i + k - 1 - 2 * p);
}

#[test]
fn relationship_10_transposed_half_padding() {
    check_transposed(|_, k, s, p| s == 1 && k % 2 == 1 && p == k / 2, |i, _, _, _, _| i);
}

#[test]
fn relationship_11_transposed_full_padding() {
    check_transposed(|_, k, s, p| s == 1 && p == k - 1, |i, k, _, _, _| i - (k - 1));
}

#[test]
fn relationship_12_transposed_no_padding() {
    check_transposed(
        |i, k, s, p| p == 0 && i >= k && (i - k).is_multiple_of(s),
        |i, k, s, _, _| s * (i - 1) + k,
    );
}

#[test]
fn relationship_13_transposed_nothing_left_over() {
    check_transposed(
        |i, k, s, p| i + 2 * p >= k && (i + 2 * p - k).is_multiple_of(s),
        |i, k, s, p, _| s * (i - 1) + k - 2 * p,
    );
}

#[test]
fn relationship_14_transposed_left_over() {
    check_transposed(|_, _, _, _| true, |i, k, s, p, a| s * (i - 1) + a + k - 2 * p);
}

#[test]
fn relationship_15_dilated() {
    let mut checked = 0;
    for (i, k, s, p) in sweep() {
        for d in 1..=4 {
            let counted = count_places(i, k, s, p, d);
            let case = format!("i={i} k={k} s={s} p={p} d={d}");
            assert_eq!(forward(i, k, s, p, d), counted, "{case}");
            if let Some(counted) = counted {
                let formula = (i + 2 * p - k - (k - 1) * (d - 1)) / s + 1;
                assert_eq!(counted, formula, "{case}");
                checked += 1;
            }
        }
    }
    assert!(checked >= 1000, "only {checked} cases");
}

#[test]
fn figures_of_the_guide() {
    assert_eq!(forward(5, 3, 2, 1, 1), Some(3));
    assert_eq!(forward(6, 3, 2, 1, 1), Some(3));
    assert_eq!(forward(7, 3, 1, 0, 2), Some(3));
    // Their transposes: two inputs share an output size, and the output padding tells them apart.
    assert_eq!(transposed(3, 3, 2, 1, 0), Some(5));
    assert_eq!(transposed(3, 3, 2, 1, 1), Some(6));
}

#[test]
fn explicit_padding_may_differ_before_and_after() {
    for i in 1..=9 {
        for k in 1..=5 {
            for s in 1..=3 {
                for (before, after) in (0..=3).flat_map(|b| (0..=3).map(move |a| (b, a))) {
                    let window = Window::new([k]).stride(s).padding([(before, after)]);
                    let cells = i + before + after;
                    let places = (0..cells).step_by(s).filter(|at| at + k <= cells).count();
                    match resolve(window, i) {
                        Ok(axis) => {
                            assert_eq!(axis.output, places);
                            assert_eq!((axis.before, axis.after), (before, after));
                            assert_eq!((axis.input, axis.kernel, axis.stride, axis.dilation), (i, k, s, 1));
                        }
                        Err(error) => {
                            assert_eq!(places, 0);
                            assert!(matches!(error, WindowError::TooLarge { .. }), "{error}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn valid_is_no_padding() {
    for (i, k, s, _) in sweep().filter(|&(i, k, _, p)| k <= i && p == 0) {
        let window = Window::new([k]).stride(s).padding(Padding::Valid);
        assert_eq!(resolve(window, i).unwrap().output, (i - k + 1).div_ceil(s));
    }
}

#[test]
fn same_pads_as_little_as_keeps_every_stride() {
    let mut odd = 0;
    for i in 1..=20 {
        for (k, s, d) in (1..=6).flat_map(|k| (1..=7).flat_map(move |s| (1..=3).map(move |d| (k, s, d)))) {
            // One window starts at every s-th cell of the input; the least padding lets the last of them fit.
            let starts: Vec<usize> = (0..i).step_by(s).collect();
            let last_cell = starts.last().unwrap() + (k - 1) * d;
            let total = (0..).find(|p| last_cell < i + p).unwrap();
            let window = Window::new([k]).stride(s).dilation(d);
            for ceil_mode in [false, true] {
                let window = window.clone().ceil_mode(ceil_mode);
                let upper = resolve(window.clone().padding(Padding::SameUpper), i).unwrap();
                let lower = resolve(window.padding(Padding::SameLower), i).unwrap();
                let case = format!("i={i} k={k} s={s} d={d} ceil={ceil_mode}");
                assert_eq!(upper.output, starts.len(), "{case}");
                assert_eq!(lower.output, starts.len(), "{case}");
                assert_eq!(upper.before + upper.after, total, "{case}");
                assert_eq!((upper.before, upper.after), (lower.after, lower.before));
                assert_eq!(upper.after - upper.before, total % 2, "{case}");
            }
            odd += total % 2;
        }
    }
    assert!(odd > 100, "the odd cell is hardly tested: {odd}");
}

#[test]
fn same_never_pads_by_less_than_nothing() {
    let axis = resolve(Window::new([1]).stride(4).padding(Padding::SameUpper), 8).unwrap();
    assert_eq!((axis.output, axis.before, axis.after), (2, 0, 0));
    // TensorFlow's stem on 224 pixels: one cell of padding, all of it after the image.
    let axis = resolve(Window::new([3]).stride(2).padding(Padding::SameUpper), 224).unwrap();
    assert_eq!((axis.output, axis.before, axis.after), (112, 0, 1));
    let axis = resolve(Window::new([3]).stride(2).padding(Padding::SameLower), 224).unwrap();
    assert_eq!((axis.output, axis.before, axis.after), (112, 1, 0));
}

#[test]
fn ceil_mode_published_cases() {
    let ceil = |i, k, s, p| {
        let window = Window::new([k]).stride(s).padding(p).ceil_mode(true);
        resolve(window, i).unwrap().output
    };
    assert_eq!(ceil(9, 4, 4, 2), 3); // pytorch#116420: not 4
    assert_eq!(ceil(32, 1, 2, 0), 16); // pytorch#57178: not 17
    assert_eq!(ceil(5, 3, 3, 1), 2); // webnn#935: not 3
    // SqueezeNet 1.0's three poolings on 224 pixels; floor mode would make the second 26.
    assert_eq!(ceil(109, 3, 2, 0), 54);
    assert_eq!(ceil(54, 3, 2, 0), 27);
    assert_eq!(ceil(27, 3, 2, 0), 13);
    assert_eq!(ceil(112, 3, 2, 0), 56);
    assert_eq!(forward(112, 3, 2, 0, 1), Some(55));
}

#[test]
fn ceil_mode_keeps_what_starts_before_the_padding_after() {
    let (mut more, mut dropped) = (0, 0);
    for i in 1..=12 {
        for (k, s, d) in (1..=5).flat_map(|k| (1..=5).flat_map(move |s| (1..=3).map(move |d| (k, s, d)))) {
            let extent = (k - 1) * d + 1;
            for (before, after) in (0..=3).flat_map(|b| (0..=3).map(move |a| (b, a))) {
                if after > extent {
                    continue; // the published formula drops one window at most
                }
                let cells = i + before + after;
                // A window is wanted while its predecessor left cells over, as long as it starts before the padding
                // that follows the input.
                let wanted = |at: &usize| at + extent < cells + s;
                let places = (0..cells).step_by(s).filter(wanted).filter(|at| *at < i + before).count();
                let window = Window::new([k]).stride(s).dilation(d).padding([(before, after)]);
                let case = format!("i={i} k={k} s={s} d={d} pads={before}+{after}");
                match resolve(window.clone().ceil_mode(true), i) {
                    Ok(axis) => {
                        assert_eq!(axis.output, places, "{case}");
                        assert!((axis.output - 1) * s < i + before, "{case}");
                        assert_eq!((axis.before, axis.after), (before, after), "{case}");
                    }
                    Err(error) => {
                        assert_eq!(places, 0, "{case}");
                        assert!(matches!(error, WindowError::TooLarge { .. }), "{error}");
                    }
                }
                let floor = resolve(window, i).map_or(0, |axis| axis.output);
                more += usize::from(places > floor);
                dropped += (0..cells).step_by(s).filter(wanted).count() - places;
            }
        }
    }
    assert!(more > 100 && dropped > 100, "{more} more, {dropped} dropped");
}

#[test]
fn ceil_mode_lets_a_window_hang_over_a_small_input() {
    // MaxPool2d(3, stride=2, ceil_mode=True) takes a 2x2 input to 1x1.
    let window = Window::new([3, 3]).stride(2).ceil_mode(true);
    assert_eq!(window.resolve(&[2, 2]).unwrap()[0].output, 1);
    assert!(window.resolve(&[1, 2]).is_err());
    assert!(window.ceil_mode(false).resolve(&[2, 2]).is_err());
}

#[test]
fn average_divisor_counts_cells() {
    let mut overhang = 0;
    for i in 1..=7 {
        for (k, s, d) in (1..=4).flat_map(|k| (1..=4).flat_map(move |s| (1..=3).map(move |d| (k, s, d)))) {
            for (before, after) in (0..=2).flat_map(|b| (0..=2).map(move |a| (b, a))) {
                let window =
                    Window::new([k]).stride(s).dilation(d).padding([(before, after)]).ceil_mode(true);
                let Ok(axes) = window.resolve(&[i]) else {
                    continue;
                };
                for output in 0..axes[0].output {
                    let cells: Vec<usize> = (0..k).map(|tap| output * s + tap * d).collect();
                    let real = |at: &&usize| (before..before + i).contains(*at);
                    let padded = |at: &&usize| **at < before + i + after;
                    let case = format!("i={i} k={k} s={s} d={d} {before}+{after} at {output}");
                    assert_eq!(
                        average_divisor(&axes, &[output], false),
                        cells.iter().filter(real).count(),
                        "{case}"
                    );
                    let with_padding = cells.iter().filter(padded).count();
                    assert_eq!(average_divisor(&axes, &[output], true), with_padding, "{case}");
                    overhang += k - with_padding;
                }
            }
        }
    }
    assert!(overhang > 100, "ceil overhang is hardly tested: {overhang}");
}

#[test]
fn average_divisor_multiplies_axes() {
    let window = Window::new([3, 2]).stride(2).padding(1).ceil_mode(true);
    let axes = window.resolve(&[4, 4]).unwrap();
    assert_eq!((axes[0].output, axes[1].output), (3, 3));
    // Rows -1..2, 1..4, 3..6 of 4: 2, 3, 1 real, and the last has one row of padding and one of overhang.
    // Columns -1..1, 1..3, 3..5 of 4: 1, 2, 1 real.
    let divisors =
        |include| [[0, 0], [0, 1], [1, 1], [2, 1], [2, 2]].map(|at| average_divisor(&axes, &at, include));
    assert_eq!(divisors(false), [2, 4, 6, 2, 1]);
    assert_eq!(divisors(true), [6, 6, 6, 4, 4]);
}

#[test]
fn axes_are_independent() {
    let window =
        Window::new([3, 5, 2]).stride([1, 2, 3]).dilation([2, 1, 4]).padding([(0, 1), (2, 0), (1, 3)]);
    assert_eq!(window.rank(), 3);
    let axes = window.resolve(&[8, 16, 11]).unwrap();
    for (axis, (k, s, d, pads, input)) in
        [(3, 1, 2, (0, 1), 8), (5, 2, 1, (2, 0), 16), (2, 3, 4, (1, 3), 11)].into_iter().enumerate()
    {
        let alone = Window::new([k]).stride(s).dilation(d).padding([pads]);
        assert_eq!(axes[axis], resolve(alone, input).unwrap());
    }
    assert_eq!(outputs(&axes), [5, 7, 4]);
    let same = Window::new([3, 5]).stride([1, 2]).padding([1, 2]);
    assert_eq!(outputs(&same.resolve(&[8, 8]).unwrap()), [8, 4]);
}

// ONNX ConvTranspose.

#[test]
fn transposed_spreads_dilated_taps_and_crops_both_ends() {
    for (i, k, s) in (1..=5).flat_map(|i| (1..=4).flat_map(move |k| (1..=4).map(move |s| (i, k, s)))) {
        for (d, before, after, a) in (1..=3).flat_map(|d| {
            (0..=2).flat_map(move |b| (0..=2).flat_map(move |e| (0..s.max(d)).map(move |a| (d, b, e, a))))
        }) {
            let window = Window::new([k]).stride(s).dilation(d).padding([(before, after)]);
            let reached = (0..i).flat_map(|input| (0..k).map(move |tap| input * s + tap * d)).max().unwrap();
            let full = reached + 1 + a;
            let result = Transposed::new(window).output_padding(a).resolve(&[i]).map(|axes| axes[0]);
            if full > before + after {
                let axis = result.unwrap();
                assert_eq!(axis.output, full - before - after);
                assert_eq!((axis.input, axis.before, axis.after), (i, before, after));
            } else {
                assert_eq!(result.unwrap_err(), WindowError::CroppedAway { axis: 0, full, before, after });
            }
        }
    }
}

#[test]
fn transposed_same_multiplies_by_the_stride() {
    for (i, k, s) in (1..=6).flat_map(|i| (1..=6).flat_map(move |k| (1..=4).map(move |s| (i, k, s)))) {
        for a in 0..s {
            let full: usize = (i - 1) * s + k + a;
            let crop = full.saturating_sub(i * s);
            let axis = |padding| {
                let window = Window::new([k]).stride(s).padding(padding);
                Transposed::new(window).output_padding(a).resolve(&[i]).unwrap()[0]
            };
            let upper = axis(Padding::SameUpper);
            assert_eq!(upper.output, i * s);
            assert_eq!((upper.before, upper.after), (crop / 2, crop - crop / 2));
            let lower = axis(Padding::SameLower);
            assert_eq!(lower.output, i * s);
            assert_eq!((lower.before, lower.after), (crop - crop / 2, crop / 2));
        }
    }
}

#[test]
fn transposed_same_undoes_same() {
    for padding in [Padding::SameUpper, Padding::SameLower] {
        for (k, s, o) in (1..=6).flat_map(|k| (1..=4).flat_map(move |s| (1..=5).map(move |o| (k, s, o)))) {
            let window = Window::new([k]).stride(s).padding(padding.clone());
            let there = resolve(window.clone(), o * s).unwrap();
            let back = Transposed::new(window).resolve(&[there.output]).unwrap()[0];
            assert_eq!(back.output, o * s);
            assert_eq!((back.before, back.after), (there.before, there.after), "{padding}");
        }
    }
}

#[test]
fn transposed_output_size_decides_the_crop() {
    let base = Transposed::new(Window::new([4]).stride(2).padding(1));
    let axis = |t: Transposed, size: usize| t.output_size([size]).resolve(&[3]).unwrap()[0];
    // full = 2*2 + 4 = 8; the stated padding is ignored, the odd cell goes before.
    let explicit = axis(base, 5);
    assert_eq!((explicit.output, explicit.before, explicit.after), (5, 2, 1));
    let upper = Transposed::new(Window::new([4]).stride(2).padding(Padding::SameUpper));
    let upper = axis(upper, 5);
    assert_eq!((upper.output, upper.before, upper.after), (5, 1, 2));
    let lower = Transposed::new(Window::new([4]).stride(2).padding(Padding::SameLower));
    let lower = axis(lower.output_padding(1), 5);
    assert_eq!((lower.output, lower.before, lower.after), (5, 2, 2));
    // The ONNX case convtranspose_output_shape: a size past what the taps reach grows at the end.
    let grown =
        Transposed::new(Window::new([3, 3]).stride([3, 2])).output_size([10, 8]).resolve(&[3, 3]).unwrap();
    for (axis, size) in grown.iter().zip([10, 8]) {
        assert_eq!((axis.output, axis.before, axis.after), (size, 0, 0));
    }
}

#[test]
fn transposed_refuses_what_it_cannot_reach() {
    let base = Transposed::new(Window::new([3]).stride(2));
    assert_eq!(
        base.clone().output_size([9]).resolve(&[3]),
        Err(WindowError::OutputSize { axis: 0, requested: 9, largest: 8 })
    );
    assert_eq!(
        base.clone().output_padding(2).resolve(&[3]),
        Err(WindowError::OutputPadding { axis: 0, output_padding: 2, limit: 2 })
    );
    let zero = base.clone().output_size([0]).resolve(&[3]);
    assert!(matches!(zero, Err(WindowError::Zero { .. })));
    let rank = base.clone().output_size([8, 8]).resolve(&[3]);
    assert!(matches!(rank, Err(WindowError::RankMismatch { .. })));
    let ceil = Transposed::new(base.window().clone().ceil_mode(true)).resolve(&[3]);
    assert_eq!(ceil, Err(WindowError::TransposedCeilMode));
}

// Errors.

#[test]
fn zeros_are_refused_by_name() {
    let zero = |what, axis| Err(WindowError::Zero { what, axis });
    let base = Window::new([3, 3]);
    assert_eq!(Window::new([3, 0]).resolve(&[8, 8]), zero("kernel", 1));
    assert_eq!(base.clone().stride(0).resolve(&[8, 8]), zero("stride", 0));
    assert_eq!(base.clone().dilation([1, 0]).resolve(&[8, 8]), zero("dilation", 1));
    assert_eq!(base.resolve(&[0, 8]), zero("input", 0));
}

#[test]
fn ranks_must_agree() {
    let mismatch = |what, expected, actual| Err(WindowError::RankMismatch { what, expected, actual });
    let base = Window::new([3, 3]);
    assert_eq!(base.resolve(&[8]), mismatch("input", 2, 1));
    let stride = base.clone().stride([1, 1, 1]);
    assert_eq!(stride.resolve(&[8, 8]), mismatch("stride", 2, 3));
    let dilation = base.clone().dilation(vec![1]);
    assert_eq!(dilation.resolve(&[8, 8]), mismatch("dilation", 2, 1));
    let padding = base.clone().padding([1, 1, 1]);
    assert_eq!(padding.resolve(&[8, 8]), mismatch("padding", 2, 3));
    let padding = base.clone().padding([(1, 1)]);
    assert_eq!(padding.resolve(&[8, 8]), mismatch("padding", 2, 1));
    for rank in [0, 4] {
        assert_eq!(
            Window::new(vec![1; rank]).resolve(&vec![8; rank]),
            Err(WindowError::UnsupportedRank { rank })
        );
    }
    assert_eq!(PerAxis::from(2).get(3), Ok(vec![2, 2, 2]));
    assert_eq!(PerAxis::from([1, 2]).get(2), Ok(vec![1, 2]));
    assert!(PerAxis::from(&[1, 2][..]).get(3).is_err());
}

#[test]
fn a_window_too_large_says_by_how_much() {
    let window = Window::new([1, 3]).dilation(4).padding([(0, 0), (2, 1)]);
    let error = window.resolve(&[5, 5]).unwrap_err();
    assert_eq!(error, WindowError::TooLarge { axis: 1, extent: 9, input: 5, before: 2, after: 1 });
    assert_eq!(error.to_string(), "window larger than its padded input on axis 1: it spans 9 cells of 2+5+1");
}

#[test]
fn no_number_makes_it_panic() {
    let numbers = [0, 1, 2, 3, usize::MAX / 2, usize::MAX / 2 + 1, usize::MAX - 1, usize::MAX];
    let mut overflows = 0;
    for (k, s) in numbers.iter().flat_map(|k| numbers.map(move |s| (*k, s))) {
        for (d, i) in numbers.iter().flat_map(|d| numbers.map(move |i| (*d, i))) {
            let stated = numbers.iter().flat_map(|b| numbers.map(move |a| Padding::Explicit(vec![(*b, a)])));
            for padding in stated.chain([Padding::SameUpper, Padding::SameLower]) {
                let window = Window::new([k]).stride(s).dilation(d).padding(padding);
                for ceil_mode in [false, true] {
                    match window.clone().ceil_mode(ceil_mode).resolve(&[i]) {
                        Ok(axes) => {
                            let axis = axes[0];
                            assert!(axis.output > 0);
                            let reach = (axis.output - 1).checked_mul(axis.stride);
                            assert!(reach.and_then(|n| n.checked_add(axis.extent())).is_some());
                            average_divisor(&axes, &[axis.output - 1], ceil_mode);
                        }
                        Err(error) => {
                            overflows += usize::from(matches!(error, WindowError::Overflow { .. }));
                        }
                    }
                }
                let transposed = Transposed::new(window);
                for a in [0, 1, usize::MAX - 1] {
                    let padded = transposed.clone().output_padding(a);
                    if let Ok(axes) = padded.resolve(&[i]) {
                        assert!(axes[0].output > 0);
                    }
                    let _ = padded.output_size([usize::MAX]).resolve(&[i]);
                }
            }
        }
    }
    assert!(overflows > 100);
    // Axis has public fields, so its own arithmetic must hold for any numbers.
    for n in numbers {
        let axis = Axis { input: n, output: n, kernel: n, stride: n, dilation: n, before: n, after: n };
        axis.extent();
        for include in [false, true] {
            average_divisor(&[axis, axis], &[n, n], include);
        }
    }
}

#[test]
fn windows_read_well() {
    let window = Window::new([3, 3]);
    assert_eq!(window.to_string(), "3x3");
    let window = window.stride(2).padding(1);
    assert_eq!(window.to_string(), "3x3, stride 2, padding 1");
    assert_eq!(
        window.resolve(&[224, 224]).unwrap()[0].to_string(),
        "224 -> 112 (kernel 3, stride 2, padding 1+1)"
    );
    let window = window.stride([2, 1]).dilation(2).padding([(0, 1), (2, 2)]).ceil_mode(true);
    assert_eq!(window.to_string(), "3x3, stride 2x1, dilation 2, padding (0+1)x(2+2), ceil mode");
    let same = Window::new([5]).padding(Padding::SameLower);
    assert_eq!(
        Transposed::new(same).output_padding(1).output_size([7]).to_string(),
        "transposed 5, padding same-lower, output padding 1, output size 7"
    );
}
