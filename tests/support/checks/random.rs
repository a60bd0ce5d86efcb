//! Generated cases must be reproducible, and a failing one must say how.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::support::random::{Rng, SEED_VARIABLE, SIZES, cases, chosen, normal, values};

#[test]
fn the_generator_is_splitmix64() {
    // The first outputs of the published reference code for seed 1234567.
    let mut rng = Rng::new(1234567);
    let first = [6457827717110365317, 3203168211198807973, 9817491932198370423];
    assert_eq!(first.map(|_| rng.next_u64()), first);
}

#[test]
fn values_fill_their_interval() {
    let list = values(1, 10_000);
    assert!(list.iter().all(|v| (-1.0..1.0).contains(v)));
    assert!(list.iter().any(|&v| v < -0.99) && list.iter().any(|&v| v > 0.99));
    assert_eq!(list, values(1, 10_000));
    assert_ne!(list, values(2, 10_000));
    let mean = list.iter().sum::<f32>() / 1e4;
    assert!(mean.abs() < 0.03, "{mean}");
}

#[test]
fn normal_has_its_moments() {
    let list = normal(3, 20_000);
    let mean = list.iter().sum::<f32>() / 2e4;
    let variance = list.iter().map(|v| v * v).sum::<f32>() / 2e4;
    assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    assert!(list.iter().all(|v| v.is_finite()));
}

#[test]
fn choices_reach_every_option_and_no_other() {
    let mut rng = Rng::new(4);
    let mut seen = [false; 5];
    (0..200).for_each(|_| seen[rng.range(2..5)] = true);
    assert_eq!(seen, [false, false, true, true, true]);
    assert!((0..200).all(|_| SIZES.contains(&rng.size(17)) && rng.size(17) <= 17));
    assert!((0..200).map(|_| rng.pick(&["a", "b"])).any(|s| s == "b"));
    let hits = (0..1000).filter(|_| rng.chance(0.25)).count();
    assert!((150..350).contains(&hits), "{hits}");
}

#[test]
#[should_panic(expected = "nothing to choose from")]
fn an_empty_range_is_refused() {
    Rng::new(0).range(3..3);
}

#[test]
fn sizes_surround_the_tiles() {
    for tile in [4, 8, 16, 32, 64] {
        assert!([tile - 1, tile, tile + 1].iter().all(|size| SIZES.contains(size)), "{tile}");
    }
    assert!([1, 3, 13, 17].iter().all(|size| SIZES.contains(size)));
}

#[test]
fn every_case_runs_with_numbers_of_its_own() {
    let seen = RefCell::new(Vec::new());
    cases(5, 20, |rng| seen.borrow_mut().push(rng.next_u64()));
    let mut seen = seen.into_inner();
    if std::env::var(SEED_VARIABLE).is_err() {
        assert_eq!(seen.len(), 20);
    }
    seen.sort_unstable();
    assert!(seen.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn a_failing_case_says_how_to_repeat_it() {
    if std::env::var(SEED_VARIABLE).is_ok() {
        return; // another seed has been asked for
    }
    let run = Cell::new(0);
    let fails = || {
        cases(9, 5, |rng| {
            run.set(run.get() + 1);
            assert!(run.get() < 4, "drew {}", rng.next_u64());
        });
    };
    let cause = catch_unwind(AssertUnwindSafe(fails)).expect_err("the fourth case fails");
    let text = cause.downcast_ref::<String>().expect("a message");
    assert!(text.starts_with("case 3 of seed 9: drew "), "{text}");
    assert!(text.ends_with("repeat it with WGPU_CNN_TEST_SEED=9:3"), "{text}");
}

#[test]
fn the_variable_chooses_seed_and_case() {
    assert_eq!(chosen(1, 10, None), (1, 0..10));
    assert_eq!(chosen(1, 10, Some("7")), (7, 0..10));
    assert_eq!(chosen(1, 10, Some("7:3")), (7, 3..4));
}

#[test]
#[should_panic(expected = "neither SEED nor SEED:INDEX")]
fn another_text_in_the_variable_is_refused() {
    chosen(1, 10, Some("seven"));
}
