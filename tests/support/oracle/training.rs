//! What only training has: dropout and the steps of optimisers.

use super::approx::Approx;
use super::{Answer, Exact, count};

/// The hash pcg4d of four words (Jarzynski and Olano, "Hash Functions for GPU Rendering", JCGT 9(3), 2020), in
/// arithmetic modulo 2^32.
pub fn pcg4d(words: [u32; 4]) -> [u32; 4] {
    const MODULUS: u128 = 1 << 32;
    let mut v = words.map(|word| (u128::from(word) * 1_664_525 + 1_013_904_223) % MODULUS);
    for round in 0..2 {
        for (to, a, b) in [(0, 1, 3), (1, 2, 0), (2, 0, 1), (3, 1, 2)] {
            v[to] = (v[to] + v[a] * v[b]) % MODULUS;
        }
        if round == 0 {
            v = v.map(|word| word ^ (word >> 16));
        }
    }
    v.map(|word| word as u32)
}

/// `x / (1 - rate)` where the hash of position, step and seed, as a fraction of 2^32, is not below the rate; else 0.
pub fn dropout(rate: f32, seed: u64, step: u32, x: &[f32], shape: &[usize]) -> Exact<f32> {
    assert_eq!(x.len(), count(shape));
    let scale = (1.0 / (1.0 - f64::from(rate))) as f32;
    let value = x
        .iter()
        .enumerate()
        .map(|(i, &x)| {
            let hash = pcg4d([i as u32, step, (seed % (1 << 32)) as u32, (seed >> 32) as u32])[0];
            let dropped = f64::from(hash) < (f64::from(rate) * 2_f64.powi(32)).floor();
            if dropped { 0.0 } else { (f64::from(x) * f64::from(scale)) as f32 }
        })
        .collect();
    Exact { shape: shape.to_vec(), value }
}

fn answers<const N: usize>(n: usize, element: impl Fn(usize) -> [Approx; N]) -> [Answer; N] {
    let all: Vec<_> = (0..n).map(element).collect();
    std::array::from_fn(|k| Answer::from_approx(vec![n], 1, all.iter().map(|e| e[k]).collect()))
}

/// Weights and velocity after a step of `torch.optim.SGD` without dampening.
pub fn sgd([momentum, weight_decay, rate]: [f32; 3], nesterov: bool, [w, g, v]: [&[f32]; 3]) -> [Answer; 2] {
    let [momentum, weight_decay, rate] = [momentum, weight_decay, rate].map(Approx::exact);
    answers(w.len(), |i| {
        let [w, g, v] = [w[i], g[i], v[i]].map(Approx::exact);
        let d = g + weight_decay * w;
        let velocity = momentum * v + d;
        let direction = if nesterov { d + momentum * velocity } else { velocity };
        [w - rate * direction, velocity]
    })
}

/// The settings of [`adam`].
#[derive(Debug, Clone, Copy)]
pub struct Adam {
    pub beta1: f32,
    pub beta2: f32,
    pub epsilon: f32,
    pub weight_decay: f32,
    pub decoupled: bool,
}

/// Weights and moments after a step of `torch.optim.Adam`, or of `AdamW` where decay is decoupled. `rates` are the
/// learning rate and the factors that undo the bias of the moments.
pub fn adam(settings: Adam, rates: [f32; 3], [w, g, m, v]: [&[f32]; 4]) -> [Answer; 3] {
    let Adam { beta1, beta2, epsilon, weight_decay, decoupled } = settings;
    let [beta1, beta2, epsilon, decay] = [beta1, beta2, epsilon, weight_decay].map(Approx::exact);
    let [rate, c1, c2] = rates.map(Approx::exact);
    let one = Approx::exact(1.0);
    answers(w.len(), |i| {
        let [w, g, m, v] = [w[i], g[i], m[i], v[i]].map(Approx::exact);
        let (w, d) = if decoupled { (w - rate * decay * w, g) } else { (w, g + decay * w) };
        let m = beta1 * m + (one - beta1) * d;
        let v = beta2 * v + (one - beta2) * d * d;
        [w - rate * (c1 * m) / ((c2 * v).sqrt() + epsilon), m, v]
    })
}
