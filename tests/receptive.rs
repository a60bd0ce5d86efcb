//! Receptive fields against tracing every tap, and against published values.

use wgpu_cnn::receptive::{Field, Misaligned, ReceptiveField};
use wgpu_cnn::window::{Padding, Window, WindowError};

/// A value of a network: its receptive field on the input, and its spatial sizes where they are known.
#[derive(Clone)]
struct Value {
    field: ReceptiveField,
    sizes: Option<Vec<usize>>,
}

impl Value {
    fn square(size: usize) -> Self {
        Self { field: ReceptiveField::identity(2), sizes: Some(vec![size; 2]) }
    }

    fn unknown() -> Self {
        Self { field: ReceptiveField::identity(2), sizes: None }
    }

    fn then(&self, window: Window) -> Self {
        let field = self.field.then_window(&window, self.sizes.as_deref());
        let sizes = self.sizes.as_ref().map(|sizes| {
            let axes = window.resolve(sizes).unwrap();
            axes.iter().map(|axis| axis.output).collect()
        });
        Self { field: field.unwrap(), sizes }
    }

    /// The sum of two branches.
    fn join(&self, other: &Self) -> Self {
        assert_eq!(self.sizes, other.sizes);
        Self {
            field: ReceptiveField::join(&[self.field.clone(), other.field.clone()]).unwrap(),
            sizes: self.sizes.clone(),
        }
    }

    /// Size, stride and padding, which are the same on both axes.
    fn rsp(&self) -> (usize, usize, Option<i64>) {
        let field = self.field.axes[0];
        assert_eq!(self.field.axes, [field; 2]);
        (field.size, field.stride, field.padding)
    }
}

fn same(k: usize, s: usize) -> Window {
    Window::new([k, k]).stride(s).padding(Padding::SameUpper)
}

fn valid(k: usize, s: usize) -> Window {
    Window::new([k, k]).stride(s)
}

fn padded(k: usize, s: usize, p: usize) -> Window {
    valid(k, s).padding(p)
}

/// The input cells that output `at` of a chain reads, found by walking every tap of every layer backwards. Cells are
/// not clipped to any input, as a receptive field's are not.
fn trace(chain: &[(usize, usize, usize, usize)], at: i64) -> (i64, i64) {
    let mut cells = vec![at];
    for &(k, s, p, d) in chain.iter().rev() {
        let taps = |cell: i64| (0..k).map(move |t| cell * s as i64 + (t * d) as i64 - p as i64);
        cells = cells.into_iter().flat_map(taps).collect();
        cells.sort_unstable();
        cells.dedup();
    }
    (cells[0], cells[cells.len() - 1])
}

#[test]
fn chains_reach_what_their_taps_reach() {
    let layers = [(1, 2, 0, 1), (3, 1, 1, 1), (3, 2, 0, 1), (2, 2, 1, 1), (3, 1, 2, 3), (4, 3, 1, 2)];
    for first in layers {
        for second in layers {
            for third in layers {
                let chain = [first, second, third];
                let windows = chain.map(|(k, s, p, d)| Window::new([k]).stride(s).padding(p).dilation(d));
                let mut unsized_field = ReceptiveField::identity(1);
                let mut sized = ReceptiveField::identity(1);
                let mut sizes = vec![100];
                for window in &windows {
                    unsized_field = unsized_field.then_window(window, None).unwrap();
                    let axes = window.resolve(&sizes).unwrap();
                    sized = sized.then(&axes);
                    sizes = vec![axes[0].output];
                }
                assert_eq!(sized, unsized_field);
                for at in 0..4 {
                    let range = sized.range(&[at]).unwrap()[0].clone();
                    let (from, to) = trace(&chain, at as i64);
                    assert_eq!(range, from..to + 1, "{chain:?} at {at}");
                }
            }
        }
    }
}

#[test]
fn two_3x3_see_as_far_as_one_5x5() {
    let stacked = Value::unknown().then(padded(3, 1, 1)).then(padded(3, 1, 1));
    assert_eq!(stacked.rsp(), Value::unknown().then(padded(5, 1, 2)).rsp());
    assert_eq!(stacked.rsp(), (5, 1, Some(2)));
}

// The unit tests of the authors' library (Araujo et al., Distill 2019).

fn pad_1_0_then_3x3_then_1x1(from: Value) -> Value {
    from.then(valid(3, 2).padding([(1, 0), (1, 0)])).then(valid(1, 2))
}

#[test]
fn aligned_branches() {
    let joined = Value::unknown().then(valid(1, 4)).field;
    let other = pad_1_0_then_3x3_then_1x1(Value::unknown()).field;
    let joined = ReceptiveField::join(&[joined, other]).unwrap();
    let field = Field { size: 3, stride: 4, padding: Some(1) };
    assert_eq!(joined.axes, [field, field]);
}

#[test]
fn same_padding_is_undefined_until_the_size_is_known() {
    let branches = |from: Value| {
        ReceptiveField::join(&[from.then(valid(1, 4)).field, from.then(same(3, 2)).then(valid(1, 2)).field])
    };
    let field = |padding| Field { size: 3, stride: 4, padding };
    let unknown = branches(Value::unknown()).unwrap();
    assert_eq!(unknown.axes, [field(None); 2]);
    assert_eq!(unknown.range(&[0, 0]), None);
    let nine = branches(Value::square(9)).unwrap();
    assert_eq!(nine.axes, [field(Some(1)); 2]);
    assert_eq!(nine.range(&[0, 2]), Some(vec![-1..2, 7..10]));
    assert_eq!(branches(Value::square(8)), Err(Misaligned::Centre { axis: 0, one_twice: 0, other_twice: 2 }));
}

#[test]
fn branches_of_different_stride_are_misaligned() {
    let one = Value::unknown().then(valid(5, 2).padding([(2, 1), (2, 1)])).field;
    let other = Value::unknown().then(valid(3, 1)).then(valid(3, 1)).field;
    assert_eq!(ReceptiveField::join(&[one, other]), Err(Misaligned::Stride { axis: 0, one: 2, other: 1 }));
}

#[test]
fn axes_have_their_own_fields() {
    // Kernels as [height, width].
    let field = ReceptiveField::identity(2)
        .then_window(&Window::new([3, 5]).stride(2), None)
        .unwrap()
        .then_window(&Window::new([3, 1]).stride(2), None)
        .unwrap();
    let axis = |size| Field { size, stride: 4, padding: Some(0) };
    assert_eq!(field.axes, [axis(7), axis(5)]);
    assert_eq!(field.to_string(), "7x5 stride 4 padding 0");
}

#[test]
fn misaligned_names_axis_and_centres() {
    let shifted = Window::new([3, 3]).padding([(1, 1), (0, 2)]);
    let shifted = Value::unknown().then(shifted).field;
    let error = ReceptiveField::join(&[ReceptiveField::identity(2), shifted]).unwrap_err();
    assert_eq!(error.to_string(), "branches are centred 0 and 1 cells after the input's first on axis 1");
    let half = Value::unknown().then(valid(2, 1)).field;
    let error = ReceptiveField::join(&[ReceptiveField::identity(2), half]).unwrap_err();
    assert_eq!(error.to_string(), "branches are centred 0 and 0.5 cells after the input's first on axis 0");
    assert_eq!(ReceptiveField::join(&[]), Err(Misaligned::NoBranch));
    assert_eq!(
        ReceptiveField::join(&[ReceptiveField::identity(1), ReceptiveField::identity(2)]),
        Err(Misaligned::Rank { one: 1, other: 2 })
    );
}

#[test]
fn an_unknown_branch_does_not_hide_a_misaligned_one() {
    let unknown = Value::unknown().then(same(3, 2)).field;
    let left = Value::unknown().then(valid(1, 2)).field;
    let right = Value::unknown().then(valid(3, 2)).field;
    assert!(ReceptiveField::join(&[unknown.clone(), left.clone()]).is_ok());
    let wide = Value::unknown().then(valid(5, 2)).field;
    let joined = ReceptiveField::join(&[wide, unknown.clone()]).unwrap();
    assert_eq!((joined.axes[0].size, joined.axes[0].padding), (5, None));
    let error = ReceptiveField::join(&[left, unknown, right]).unwrap_err();
    assert!(matches!(error, Misaligned::Centre { .. }), "{error}");
}

#[test]
fn same_padding_that_no_size_changes_is_known() {
    for i in 1..=12 {
        for window in [same(3, 1), same(4, 1), same(1, 3), same(1, 1)] {
            let unknown = Value::unknown().then(window.clone());
            assert_eq!(unknown.rsp(), Value::square(i).then(window).rsp());
        }
    }
    assert_eq!(Value::unknown().then(same(3, 2)).rsp(), (3, 2, None));
    // Once undefined, it stays so.
    let later = Value::unknown().then(same(3, 2)).then(padded(3, 1, 1));
    assert_eq!(later.rsp(), (7, 2, None));
    assert_eq!(later.field.to_string(), "7x7 stride 2 padding unknown");
}

#[test]
fn bad_windows_are_errors() {
    let field = ReceptiveField::identity(2);
    let rank = field.then_window(&Window::new([3]), None);
    assert!(matches!(rank, Err(WindowError::RankMismatch { .. })));
    let zero = field.then_window(&Window::new([3, 3]).stride(0), None);
    assert!(matches!(zero, Err(WindowError::Zero { .. })));
    let large = field.then_window(&Window::new([3, 3]), Some(&[2, 2]));
    assert!(matches!(large, Err(WindowError::TooLarge { .. })));
    assert_eq!(field.range(&[0]), None);
    let mut huge = field;
    let window = Window::new([usize::MAX; 2]).stride(usize::MAX).padding(usize::MAX);
    for _ in 0..3 {
        huge = huge.then_window(&window, None).unwrap();
        assert!(ReceptiveField::join(&[huge.clone(), huge.clone()]).is_ok());
        assert_eq!(huge.range(&[usize::MAX, 1]), None);
    }
}

// Published networks: convolutional trunk, TensorFlow-Slim unless stated otherwise.

/// A VGG trunk: `convs[n]` 3x3 convolutions and a pooling, five times. Returns the value after each pooling.
fn vgg(convs: [usize; 5]) -> Vec<Value> {
    let mut value = Value::square(224);
    convs
        .iter()
        .map(|&convs| {
            for _ in 0..convs {
                value = value.then(same(3, 1));
            }
            value = value.then(valid(2, 2));
            value.clone()
        })
        .collect()
}

#[test]
fn vgg_trunks() {
    assert_eq!(vgg([1, 1, 2, 2, 2])[4].rsp(), (150, 32, Some(59)));
    let pools = vgg([2, 2, 3, 3, 3]);
    assert_eq!(pools[4].rsp(), (212, 32, Some(90)));
    let sizes: Vec<_> = pools.iter().map(|pool| pool.rsp().0).collect();
    assert_eq!(sizes, [6, 16, 44, 100, 212]);
    assert_eq!(pools[4].field.to_string(), "212x212 stride 32 padding 90");
}

#[test]
fn alexnet_trunks() {
    let trunk = |stem: Window| {
        Value::square(224)
            .then(stem)
            .then(valid(3, 2))
            .then(same(5, 1))
            .then(valid(3, 2))
            .then(same(3, 1))
            .then(same(3, 1))
            .then(same(3, 1))
            .then(valid(3, 2))
    };
    assert_eq!(trunk(valid(11, 4)).rsp(), (195, 32, Some(64)));
    // torchvision pads the first convolution.
    assert_eq!(trunk(padded(11, 4, 2)).rsp(), (195, 32, Some(66)));
}

#[test]
fn mobilenet_v1_trunk() {
    let trunk = |from: Value| {
        [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
            .iter()
            .fold(from.then(same(3, 2)), |value, &stride| value.then(same(3, stride)).then(same(1, 1)))
    };
    assert_eq!(trunk(Value::square(224)).rsp(), (315, 32, Some(126)));
    assert_eq!(trunk(Value::square(321)).rsp(), (315, 32, Some(157)));
    assert_eq!(trunk(Value::unknown()).rsp(), (315, 32, None));
}

/// TensorFlow-Slim's resnet_v1: a bottleneck's stride stands in the last unit of each stage, in its 3x3.
fn resnet_v1(image: usize, units: [usize; 4]) -> Value {
    let mut value = Value::square(image).then(padded(7, 2, 3)).then(same(3, 2));
    for (stage, units) in units.into_iter().enumerate() {
        for unit in 1..=units {
            let stride = if unit == units && stage < 3 { 2 } else { 1 };
            let shortcut = value.then(valid(1, stride));
            let bottleneck = value.then(valid(1, 1)).then(padded(3, stride, 1)).then(valid(1, 1));
            value = bottleneck.join(&shortcut);
        }
    }
    value
}

#[test]
fn resnet_v1_trunks() {
    let fifty = [3, 4, 6, 3];
    assert_eq!(resnet_v1(224, fifty).rsp(), (483, 32, Some(239)));
    assert_eq!(resnet_v1(321, fifty).rsp(), (483, 32, Some(241)));
    assert_eq!(resnet_v1(224, [3, 4, 23, 3]).rsp(), (1027, 32, Some(511)));
    assert_eq!(resnet_v1(224, [3, 8, 36, 3]).rsp(), (1507, 32, Some(751)));
    assert_eq!(resnet_v1(224, [3, 24, 36, 3]).rsp(), (1763, 32, Some(879)));
}

/// torchvision's ResNet: the stride stands in the first unit of each stage but the first.
fn resnet(units: [usize; 4], block: impl Fn(&Value, usize) -> Value) -> Value {
    let mut value = Value::square(224).then(padded(7, 2, 3)).then(padded(3, 2, 1));
    for (stage, units) in units.into_iter().enumerate() {
        for unit in 0..units {
            let stride = if unit == 0 && stage > 0 { 2 } else { 1 };
            value = block(&value, stride).join(&value.then(valid(1, stride)));
        }
    }
    value
}

#[test]
fn torchvision_resnets() {
    let basic = |value: &Value, stride| value.then(padded(3, stride, 1)).then(padded(3, 1, 1));
    assert_eq!(resnet([2, 2, 2, 2], basic).rsp(), (435, 32, Some(217)));
    let bottleneck =
        |value: &Value, stride| value.then(valid(1, 1)).then(padded(3, stride, 1)).then(valid(1, 1));
    let fifty = resnet([3, 4, 6, 3], bottleneck);
    assert_eq!(fifty.rsp(), (427, 32, Some(213)));
    assert_eq!(fifty.sizes, Some(vec![7, 7]));
}
