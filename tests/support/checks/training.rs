//! Steps worked out by hand, and error bounds that hold and are narrow.

use super::published;
use crate::support::compare::{bound, within};
use crate::support::oracle::training::{Adam, adam, dropout, pcg4d, sgd};
use crate::support::random::Rng;

const ADAM: Adam = Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, decoupled: false };

#[test]
fn steps_worked_out_by_hand() {
    let [w, v] = sgd([0.5, 0.25, 0.125], false, [&[1.0], &[2.0], &[4.0]]);
    published(&v, &[1], &[0.5 * 4.0 + 2.25]);
    published(&w, &[1], &[1.0 - 0.125 * 4.25]);
    let [w, _] = sgd([0.5, 0.25, 0.125], true, [&[1.0], &[2.0], &[4.0]]);
    published(&w, &[1], &[1.0 - 0.125 * (2.25 + 0.5 * 4.25)]);

    let half = Adam { beta1: 0.5, beta2: 0.5, epsilon: 0.5, weight_decay: 0.25, decoupled: false };
    let rates = [0.125, 2.0, 2.0];
    let [w, m, v] = adam(half, rates, [&[4.0], &[2.0], &[1.0], &[9.0]]);
    published(&m, &[1], &[0.5 + 0.5 * 3.0]);
    published(&v, &[1], &[4.5 + 0.5 * 9.0]);
    published(&w, &[1], &[4.0 - 0.125 * 4.0 / (18_f64.sqrt() + 0.5)]);
    let [w, m, _] = adam(Adam { decoupled: true, ..half }, rates, [&[4.0], &[2.0], &[1.0], &[9.0]]);
    published(&m, &[1], &[0.5 + 0.5 * 2.0]);
    published(&w, &[1], &[4.0 - 0.125 - 0.125 * 3.0 / (13_f64.sqrt() + 0.5)]);
}

#[test]
fn f32_evaluations_lie_within_narrow_bounds() {
    let mut rng = Rng::new(1);
    let n = 500;
    let [w, g, m, v] = [(); 4].map(|()| rng.values(n));
    let v: Vec<f32> = v.iter().map(|v| v * v).collect();
    let [rate, c1, c2] = [1e-3, 3.7, 333.0];
    let answers = adam(ADAM, [rate, c1, c2], [&w, &g, &m, &v]);
    let step: Vec<f32> = (0..n)
        .map(|i| {
            let m = 0.9 * m[i] + (1.0 - 0.9) * g[i];
            let v = 0.999 * v[i] + (1.0 - 0.999) * g[i] * g[i];
            w[i] - rate * (c1 * m) / ((c2 * v).sqrt() + 1e-8)
        })
        .collect();
    within("adam", &step, &answers[0], 1.0).unwrap();
    assert!((0..n).all(|i| bound(&answers[0], i, 1.0) < 1e-6));
}

#[test]
fn hashes_are_in_arithmetic_modulo_two_to_the_32() {
    // By hand for zeros: all words c = 1013904223, and the first round in 32 bits.
    let c = 1_013_904_223_u32;
    let mix = |[mut x, mut y, mut z, mut w]: [u32; 4]| {
        x = x.wrapping_add(y.wrapping_mul(w));
        y = y.wrapping_add(z.wrapping_mul(x));
        z = z.wrapping_add(x.wrapping_mul(y));
        w = w.wrapping_add(y.wrapping_mul(z));
        [x, y, z, w]
    };
    assert_eq!(pcg4d([0; 4]), mix(mix([c; 4]).map(|v| v ^ (v >> 16))));
}

#[test]
fn what_is_kept_is_scaled() {
    let y = dropout(0.75, 9, 1, &[1.0; 1000], &[1000]).value;
    assert!(y.iter().all(|&y| y == 0.0 || y == 4.0));
    let kept = y.iter().filter(|&&y| y != 0.0).count();
    assert!((200..300).contains(&kept), "{kept}");
}
