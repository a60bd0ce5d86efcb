//! Reproducible inputs: a seeded generator, awkward sizes, and generated cases that can be repeated.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Sizes where kernels go wrong: small, prime, and one beside each tile of 4, 8, 16, 32 and 64.
pub const SIZES: [usize; 18] = [1, 2, 3, 4, 5, 7, 8, 9, 13, 15, 16, 17, 31, 32, 33, 63, 64, 65];

/// The environment variable that repeats a failing case: `SEED`, or `SEED:INDEX` for one case alone.
pub const SEED_VARIABLE: &str = "WGPU_CNN_TEST_SEED";

/// SplitMix64 (Steele, Lea and Flood, 2014): small, seedable with any number, the same on every platform.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in `[0, 1)`, a multiple of 2⁻⁵³.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in `[-1, 1)`, a multiple of 2⁻²³ and so exact in `f32`.
    pub fn value(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
    }

    /// Standard normal, by Box and Muller.
    pub fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        (radius * (std::f64::consts::TAU * self.unit()).cos()) as f32
    }

    /// Uniform over a non-empty range.
    pub fn range(&mut self, range: Range<usize>) -> usize {
        assert!(!range.is_empty(), "nothing to choose from in {range:?}");
        range.start + (self.next_u64() % range.len() as u64) as usize
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// One of `options`, which must not be empty.
    pub fn pick<T: Clone>(&mut self, options: &[T]) -> T {
        options[self.range(0..options.len())].clone()
    }

    /// One of [`SIZES`] that is at most `largest` (which must be at least 1).
    pub fn size(&mut self, largest: usize) -> usize {
        let count = SIZES.iter().filter(|&&size| size <= largest).count();
        SIZES[self.range(0..count)]
    }

    /// `n` values uniform in `[-1, 1)`.
    pub fn values(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.value()).collect()
    }
}

/// `n` values uniform in `[-1, 1)`.
pub fn values(seed: u64, n: usize) -> Vec<f32> {
    Rng::new(seed).values(n)
}

/// `n` standard normal values.
pub fn normal(seed: u64, n: usize) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    (0..n).map(|_| rng.normal()).collect()
}

/// Runs `count` generated cases. Each has a generator of its own, so that one case can be repeated
/// alone; a panic names the seed and the index that [`SEED_VARIABLE`] takes to do so.
#[track_caller]
pub fn cases(seed: u64, count: usize, case: impl Fn(&mut Rng)) {
    let wish = std::env::var(SEED_VARIABLE).ok();
    let (seed, indices) = chosen(seed, count, wish.as_deref());
    for index in indices {
        let mut rng = Rng::new(Rng::new(seed ^ (index as u64).rotate_left(32)).next_u64());
        if let Err(cause) = catch_unwind(AssertUnwindSafe(|| case(&mut rng))) {
            let text = (cause.downcast_ref::<String>().map(String::as_str))
                .or_else(|| cause.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            panic!("case {index} of seed {seed}: {text}\nrepeat it with {SEED_VARIABLE}={seed}:{index}");
        }
    }
}

/// The seed and the cases to run, given the value of [`SEED_VARIABLE`].
pub fn chosen(seed: u64, count: usize, wish: Option<&str>) -> (u64, Range<usize>) {
    let Some(wish) = wish else { return (seed, 0..count) };
    let number = |text: &str| -> u64 {
        text.parse().unwrap_or_else(|_| panic!("{SEED_VARIABLE}={wish} is neither SEED nor SEED:INDEX"))
    };
    match wish.split_once(':') {
        None => (number(wish), 0..count),
        Some((seed, index)) => {
            let index = number(index) as usize;
            (number(seed), index..index + 1)
        }
    }
}
