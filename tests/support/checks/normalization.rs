//! Values from the ONNX operator documentation, and normalisation by hand.

use super::{count_up, published};
use crate::support::compare::within;
use crate::support::oracle::normalization::{
    batch_norm, group_norm, hardmax, instance_norm, layer_norm, log_softmax, lrn, softmax,
};
use crate::support::random::values;

const LARGE: [f32; 8] = [0.0, 1.0, 2.0, 3.0, 10000.0, 10001.0, 10002.0, 10003.0];

#[test]
fn published_softmax() {
    published(&softmax(&[-1.0, 0.0, 1.0], &[1, 3], 1), &[1, 3], &[0.09003058, 0.24472848, 0.66524094]);
    let row = [0.032058604, 0.08714432, 0.23688284, 0.6439143];
    published(&softmax(&LARGE, &[2, 4], 1), &[2, 4], &[row, row].concat());
    let log = log_softmax(&[-1.0, 0.0, 1.0], &[1, 3], 1);
    published(&log, &[1, 3], &[-2.4076061, -1.407606, -0.40760604]);
    let row = [-3.4401896, -2.4401896, -1.4401896, -0.44018966];
    published(&log_softmax(&LARGE, &[2, 4], 1), &[2, 4], &[row, row].concat());
}

#[test]
fn softmax_takes_any_axis() {
    let down = softmax(&[0.0, 5.0, 0.0, 5.0], &[2, 2], 0);
    published(&down, &[2, 2], &[0.5; 4]);
    let masked = softmax(&[0.0, f32::NEG_INFINITY, 0.0], &[3], 0);
    published(&masked, &[3], &[0.5, 0.0, 0.5]);
    within("masked", &[0.5, 0.0, 0.5], &masked, 1.0).unwrap();
    assert!(softmax(&[0.0, f32::NAN], &[2], 0).value.iter().all(|v| v.is_nan()));
}

#[test]
fn published_hardmax() {
    let x = [3.0, 0.0, 1.0, 2.0, 2.0, 5.0, 1.0, 0.0, 0.0, 1.0, 3.0, 2.0, 0.0, 1.0, 2.0, 3.0];
    let mut y = [0.0; 16];
    [0, 5, 10, 15].iter().for_each(|&i: &usize| y[i] = 1.0);
    assert_eq!(hardmax(&x, &[4, 4], 1).value, y);
    assert_eq!(hardmax(&[3.0, 3.0, 3.0, 1.0], &[1, 4], 1).value, [1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn batch_norm_by_hand() {
    // 2·(x-3)/√(3+1) + 1 and (x-0)/√(0.25) per channel.
    let x = [3.0, 5.0, 1.0, -1.0];
    let one = batch_norm(&x[..2], &[1, 1, 2], &[2.0], &[1.0], &[3.0], &[3.0], 1.0);
    published(&one, &[1, 1, 2], &[1.0, 3.0]);
    let two = batch_norm(&x, &[1, 2, 2], &[2.0, 1.0], &[1.0, 0.0], &[3.0, 0.0], &[4.0, 0.25], 0.0);
    published(&two, &[1, 2, 2], &[1.0, 3.0, 2.0, -2.0]);
}

#[test]
fn layers_by_hand() {
    // 1 2 3 has mean 2 and variance 2/3; 1 … 6 mean 3.5 and variance 35/12.
    let side = 1.5_f64.sqrt();
    let layer = layer_norm(&[1.0, 2.0, 3.0, 6.0, 6.0, 6.0], &[2, 3], 1, None, None, 1e-12);
    published(&layer, &[2, 3], &[-side, 0.0, side, 0.0, 0.0, 0.0]);
    let (scale, bias) = ([1.0, 2.0, 3.0], [10.0]);
    let affine = layer_norm(&[1.0, 2.0, 3.0], &[1, 3], 1, Some((&scale, &[3])), Some((&bias, &[1])), 0.0);
    published(&affine, &[1, 3], &[10.0 - side, 10.0, 10.0 + 3.0 * side]);

    let x = count_up(1, 6);
    let instance = instance_norm(&x, &[1, 2, 3], &[1.0, 2.0], &[0.0, 5.0], 0.0);
    published(&instance, &[1, 2, 3], &[-side, 0.0, side, 5.0 - 2.0 * side, 5.0, 5.0 + 2.0 * side]);
    let unit = (35.0_f64 / 12.0).sqrt();
    let group: Vec<f64> = (0..6).map(|i| (f64::from(i) - 2.5) / unit).collect();
    published(&group_norm(&x, &[1, 2, 3], 1, &[1.0; 2], &[0.0; 2], 0.0), &[1, 2, 3], &group);
    let two = group_norm(&[x.clone(), x].concat(), &[1, 4, 3], 2, &[1.0; 4], &[0.0; 4], 0.0);
    published(&two, &[1, 4, 3], &[group.clone(), group].concat());
}

#[test]
fn lrn_by_hand() {
    // Four channels 1 2 3 4, alpha/size = 1: sums of squares over {c-1, c, c+1}, then over {c, c+1}.
    let x = count_up(1, 4);
    let three = lrn(&x, &[1, 4, 1], 3, 3.0, 1.0, 1.0);
    published(&three, &[1, 4, 1], &[1.0 / 6.0, 2.0 / 15.0, 3.0 / 30.0, 4.0 / 26.0]);
    let two = lrn(&x, &[1, 4, 1], 2, 2.0, 0.5, 0.0);
    let root = |v: f64| v.sqrt();
    published(&two, &[1, 4, 1], &[1.0 / root(5.0), 2.0 / root(13.0), 3.0 / 5.0, 1.0]);
}

#[test]
fn f32_evaluations_lie_within_the_bounds() {
    let x: Vec<f32> = values(41, 65).iter().map(|v| v * 8.0).collect();
    let top = x.iter().copied().fold(f32::MIN, f32::max);
    let total: f32 = x.iter().map(|v| (v - top).exp()).sum();
    let soft: Vec<f32> = x.iter().map(|v| (v - top).exp() / total).collect();
    let log: Vec<f32> = x.iter().map(|v| v - top - total.ln()).collect();
    let mean = x.iter().sum::<f32>() / 65.0;
    let variance = x.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / 65.0;
    let normal: Vec<f32> = x.iter().map(|v| (v - mean) * (1.0 / (variance + 1e-5).sqrt())).collect();
    let a = 0.7 / (variance + 1e-5).sqrt();
    let folded: Vec<f32> = x.iter().map(|v| v * a + (0.3 - mean * a)).collect();
    for (name, actual, answer) in [
        ("softmax", soft, softmax(&x, &[65], 0)),
        ("log_softmax", log, log_softmax(&x, &[65], 0)),
        ("layer_norm", normal, layer_norm(&x, &[65], 0, None, None, 1e-5)),
        ("batch_norm", folded, batch_norm(&x, &[65, 1], &[0.7], &[0.3], &[mean], &[variance], 1e-5)),
    ] {
        within(name, &actual, &answer, 1.0).unwrap();
        let wrong: Vec<f32> = actual.iter().map(|v| v * 1.001).collect();
        assert!(within(name, &wrong, &answer, 1.0).is_err(), "{name} accepts an error of a thousandth");
    }
}
