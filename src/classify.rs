//! From logits to classes.

/// `exp(x) / sum exp(x)`: probabilities that sum to 1.
///
/// Logits of plus infinity share all of it. A NaN among the logits makes every probability NaN.
///
/// ```
/// let p = wgpu_cnn::classify::softmax(&[1000.0, 1000.0, f32::NEG_INFINITY]);
/// assert_eq!(p, [0.5, 0.5, 0.0]);
/// ```
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // The comparison keeps infinity minus infinity out.
    let weight = |x: f32| if x == max { 1.0 } else { f64::from(x - max).exp() };
    let sum: f64 = logits.iter().map(|&x| weight(x)).sum();
    logits.iter().map(|&x| (weight(x) / sum) as f32).collect()
}

/// The `k` largest values with their indices, the largest first; of equal values the one with the lower index, and a
/// NaN behind every number. All values, where there are fewer than `k`.
///
/// ```
/// assert_eq!(wgpu_cnn::classify::top_k(&[0.1, 0.6, 0.3], 2), [(1, 0.6), (2, 0.3)]);
/// ```
pub fn top_k(values: &[f32], k: usize) -> Vec<(usize, f32)> {
    let mut ranked: Vec<_> = values.iter().copied().enumerate().collect();
    // -0 and 0 are equal; total_cmp alone would tell them apart.
    ranked.sort_by(|(_, a), (_, b)| a.is_nan().cmp(&b.is_nan()).then((b + 0.0).total_cmp(&(a + 0.0))));
    ranked.truncate(k);
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_is_right_far_from_zero_and_for_what_is_no_number() {
        for shift in [0.0, 80.0, -300.0] {
            let p = softmax(&[shift, shift + 1.0]);
            let want = 1.0 / (1.0 + 1f64.exp());
            assert!((f64::from(p[0]) - want).abs() < 1e-7 && (p[0] + p[1] - 1.0).abs() < 1e-7, "{p:?}");
        }
        assert_eq!(softmax(&[f32::INFINITY, 3.0, f32::INFINITY]), [0.5, 0.0, 0.5]);
        assert_eq!(softmax(&[f32::NEG_INFINITY; 2]), [0.5, 0.5]);
        assert!(softmax(&[1.0, f32::NAN]).iter().all(|p| p.is_nan()));
        assert!(softmax(&[f32::NAN; 2]).iter().all(|p| p.is_nan()));
        assert!(softmax(&[]).is_empty());
    }

    #[test]
    fn top_k_ranks_ties_by_index_and_nan_last() {
        let values = [0.0, f32::NAN, -0.0, 2.0, -f32::NAN, f32::NEG_INFINITY, 2.0];
        let order = |k| top_k(&values, k).into_iter().map(|(i, _)| i).collect::<Vec<_>>();
        assert_eq!(order(7)[..5], [3, 6, 0, 2, 5]);
        assert_eq!(order(2), [3, 6]);
        assert_eq!(order(100).len(), 7);
        assert!(order(0).is_empty());
    }
}
