//! Seeded random numbers that are the same on every machine.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

/// Numbers drawn from one stream; no other generator may take its place without changing every seeded network.
const CHUNK: usize = 1 << 16;

/// A source of seeded numbers. Each call draws from streams of its own, so long ones are filled in parallel.
#[derive(Debug)]
pub(crate) struct Random {
    seed: u64,
    streams: u64,
    /// Seeds drawn, which take their streams from the other end, so that they do not change the weights.
    seeds: u64,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Random { seed, streams: 0, seeds: 0 }
    }

    /// A seed for something else.
    pub fn draw_seed(&mut self) -> u64 {
        self.seeds += 1;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(u64::MAX - self.seeds);
        rng.next_u64()
    }

    /// Weights of units with so many inputs: normal with variance `2 / inputs` (He et al. 2015).
    pub fn fill_he(&mut self, values: &mut [f32], inputs: usize) {
        self.fill_normal(values, (2.0 / inputs.max(1) as f32).sqrt());
    }

    /// Fills `values` with normal numbers of mean 0 and this standard deviation.
    pub fn fill_normal(&mut self, values: &mut [f32], deviation: f32) {
        let (seed, first) = (self.seed, self.streams);
        self.streams += values.len().div_ceil(CHUNK) as u64;
        values.par_chunks_mut(CHUNK).enumerate().for_each(|(i, chunk)| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(first + i as u64);
            for value in chunk {
                let normal: f32 = StandardNormal.sample(&mut rng);
                *value = normal * deviation;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_of_the_right_spread() {
        let draw = |seed| {
            let mut values = vec![0.0; 3 * CHUNK + 5];
            Random::new(seed).fill_normal(&mut values, 2.0);
            values
        };
        let values = draw(7);
        assert_eq!(values, draw(7));
        assert_ne!(values, draw(8));
        let variance = values.iter().map(|v| f64::from(v * v)).sum::<f64>() / values.len() as f64;
        assert!((variance - 4.0).abs() < 0.05, "{variance}");
        assert_ne!(values[..8], values[CHUNK..CHUNK + 8]);
    }

    #[test]
    fn drawn_seeds_differ_and_change_nothing_else() {
        let draw = |seeds| {
            let mut random = Random::new(7);
            let drawn: Vec<_> = (0..seeds).map(|_| random.draw_seed()).collect();
            let mut values = [0.0; 4];
            random.fill_normal(&mut values, 1.0);
            (drawn, values)
        };
        let ((none, values), (three, same)) = (draw(0), draw(3));
        assert!(none.is_empty() && values == same);
        assert!(three[0] != three[1] && three[1] != three[2] && three[0] != three[2]);
        assert_ne!(three[0], Random::new(8).draw_seed());
    }
}
