//! The comparison must accept what is within its bounds and reject everything else.

use crate::support::compare::{Mismatch, assert_exact, assert_within, bound, exact, within};
use crate::support::oracle::approx::Approx;
use crate::support::oracle::{Answer, U};

/// Twelve sums of four products, of magnitude 8.
fn answer() -> Answer {
    Answer { shape: vec![3, 4], value: (0..12).map(f64::from).collect(), magnitude: vec![8.0; 12], terms: 4 }
}

fn rejected(actual: &[f32], answer: &Answer, c: f64) -> Mismatch {
    within("case", actual, answer, c).expect_err("a mismatch")
}

#[test]
fn accepts_the_expectation_itself_and_the_bound() {
    let answer = answer();
    within("case", &answer.to_f32(), &answer, 1.0).unwrap();
    let mut at_the_bound = answer.to_f32();
    at_the_bound[0] = (32.0 * U) as f32;
    within("case", &at_the_bound, &answer, 1.0).unwrap();
}

#[test]
fn rejects_one_element_just_past_the_bound() {
    let answer = answer();
    let mut actual = answer.to_f32();
    actual[6] += 5e-6; // permitted: 4 · 8 · 2⁻²⁴ = 1.9e-6
    actual[9] -= 9e-6;
    let Mismatch::Values { index, bad, total, actual: value, expected, bound, worst, .. } =
        rejected(&actual, &answer, 1.0)
    else {
        panic!("a mismatch of values");
    };
    assert_eq!((index, bad, total), (vec![1, 2], 2, 12));
    assert_eq!((value, expected), (actual[6], 6.0));
    assert!((bound - 32.0 * U).abs() < 1e-12 && (4.0..6.0).contains(&worst), "{bound} {worst}");
    within("case", &actual, &answer, 6.0).unwrap();
}

#[test]
fn rejects_what_was_never_written() {
    let Mismatch::Values { bad, worst, .. } = rejected(&[f32::NAN; 12], &answer(), 1e9) else { panic!() };
    assert_eq!((bad, worst), (12, f64::INFINITY));
}

#[test]
fn rejects_another_class_or_sign() {
    let (nan, inf, high) = (f64::NAN, f64::INFINITY, 1e39);
    let cases: [(f64, f32, bool); 12] = [
        (nan, f32::NAN, true),
        (nan, 0.0, false),
        (nan, f32::INFINITY, false),
        (inf, f32::INFINITY, true),
        (inf, f32::NEG_INFINITY, false),
        (inf, f32::MAX, false),
        (inf, f32::NAN, false),
        (-inf, f32::NEG_INFINITY, true),
        (high, f32::INFINITY, true),
        (high, f32::NEG_INFINITY, false),
        (1.0, f32::INFINITY, false),
        (1.0, f32::NAN, false),
    ];
    for (expected, actual, good) in cases {
        let answer = Answer { shape: vec![1], value: vec![expected], magnitude: vec![1.0], terms: 1 };
        assert_eq!(within("class", &[actual], &answer, 1e9).is_ok(), good, "{actual} for {expected}");
    }
}

#[test]
fn rejects_a_bound_that_could_reject_nothing() {
    for magnitude in [f64::INFINITY, f64::NAN] {
        let answer = Answer { shape: vec![1], value: vec![1.0], magnitude: vec![magnitude], terms: 1 };
        rejected(&[1.0], &answer, 1.0);
    }
    for c in [f64::NAN, f64::INFINITY, -1.0] {
        rejected(&answer().to_f32(), &answer(), c);
    }
}

#[test]
fn no_magnitude_permits_no_error_but_a_flushed_subnormal() {
    let answer = Answer { shape: vec![2], value: vec![1.0, 1e-39], magnitude: vec![0.0; 2], terms: 1 };
    within("case", &[1.0, 0.0], &answer, 1.0).unwrap();
    rejected(&[1.0_f32.next_up(), 0.0], &answer, 1.0);
    rejected(&[1.0, 1e-37], &answer, 1.0);
}

#[test]
fn rejects_another_length() {
    let mismatch = rejected(&[0.0; 11], &answer(), 1.0);
    assert_eq!(mismatch, Mismatch::Length { label: "case".into(), actual: 11, expected: 12 });
    assert!(exact("case", &[0.0], &[]).is_err());
}

#[test]
fn exact_means_every_bit() {
    exact("case", &[1.0, f32::NAN, -0.0], &[1.0, -f32::NAN, -0.0]).unwrap();
    for (actual, expected) in
        [(1.0, 1.0_f32.next_up()), (0.0, -0.0), (f32::NAN, 0.0), (0.0, f32::NAN), (f32::INFINITY, f32::MAX)]
    {
        let mismatch = exact("case", &[7.0, actual], &[7.0, expected]).expect_err("a mismatch");
        assert!(matches!(mismatch, Mismatch::Values { index, bad: 1, total: 2, .. } if index == [1]));
    }
}

#[test]
#[should_panic(expected = "pool: 1 of 12 elements are wrong, first at [0, 3]: 4e0 instead of 3e0")]
fn assert_within_says_what_differs() {
    let mut actual = answer().to_f32();
    actual[3] = 4.0;
    assert_within("pool", &actual, &answer(), 1.0);
}

#[test]
#[should_panic(expected = "copy: 1 of 2 elements are wrong, first at [1]")]
fn assert_exact_says_what_differs() {
    assert_exact("copy", &[1.0, 2.0], &[1.0, 3.0]);
}

#[test]
fn approx_and_answer_agree_on_the_bound() {
    let error = Approx { value: 2.0, error: 3e-6 };
    let answer = Answer::from_approx(vec![1], 5, vec![error]);
    assert!((answer.approx(0).error - 3e-6).abs() < 1e-20);
    assert!((bound(&answer, 0, 2.0) - 6e-6).abs() < 1e-20);
}
