//! An axis with round numbers.

/// The numbers from `low` to `high`, which are marked at round ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    pub low: f64,
    pub high: f64,
    step: f64,
}

impl Axis {
    /// An axis over these numbers with about so many marks, `least` apart or more, that begins and ends at a mark.
    pub fn around(low: f64, high: f64, marks: usize, least: f64) -> Self {
        let span = (high - low).max(least).max(1e-12);
        let step = round_up(span / marks.max(1) as f64).max(least);
        Axis { low: (low / step).floor() * step, high: (high / step).ceil() * step, step }.not_empty()
    }

    /// An axis between exactly these ends.
    pub fn between(low: f64, high: f64, marks: usize, least: f64) -> Self {
        let step = round_up((high - low).max(least) / marks.max(1) as f64).max(least);
        Axis { low, high, step }.not_empty()
    }

    fn not_empty(mut self) -> Self {
        if self.high <= self.low {
            (self.low, self.high) = (self.low - self.step / 2.0, self.low + self.step / 2.0);
        }
        self
    }

    /// How far along the axis a number is, from 0 to 1.
    pub fn part(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    /// The marked numbers.
    pub fn marks(&self) -> Vec<f64> {
        let first = (self.low / self.step - 1e-9).ceil() as i64;
        let last = (self.high / self.step + 1e-9).floor() as i64;
        (first..=last).map(|i| i as f64 * self.step).collect()
    }

    /// A number with as many decimals as tell two marks apart.
    pub fn label(&self, value: f64) -> String {
        let decimals = (-self.step.log10().floor()).clamp(0.0, 12.0) as usize;
        format!("{:.decimals$}", value + 0.0)
    }
}

/// The smallest of 1, 2 and 5 times a power of ten that is not below `size`.
fn round_up(size: f64) -> f64 {
    let power = 10_f64.powf(size.log10().floor());
    let digit = size / power;
    let rounded = [1.0, 2.0, 5.0].into_iter().find(|&round| digit <= round * (1.0 + 1e-9)).unwrap_or(10.0);
    rounded * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_enclose() {
        let marks = |low, high, count, least| {
            let axis = Axis::around(low, high, count, least);
            axis.marks().into_iter().map(|mark| axis.label(mark)).collect::<Vec<_>>()
        };
        assert_eq!(marks(0.0, 2.3, 5, 0.0), ["0.0", "0.5", "1.0", "1.5", "2.0", "2.5"]);
        assert_eq!(marks(0.913, 0.984, 5, 0.0), ["0.90", "0.92", "0.94", "0.96", "0.98", "1.00"]);
        assert_eq!(marks(0.0, 0.0021, 4, 0.0), ["0.000", "0.001", "0.002", "0.003"]);
        assert_eq!(marks(0.0, 1234.0, 4, 0.0), ["0", "500", "1000", "1500"]);
        assert_eq!(marks(-3.0, 3.0, 3, 0.0), ["-4", "-2", "0", "2", "4"]);
        assert_eq!(marks(5.0, 5.0, 4, 1.0), ["5"]);
        assert_eq!(Axis::between(1.0, 60.0, 6, 1.0).marks(), [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
        assert_eq!(Axis::between(1.0, 3.0, 6, 1.0).marks(), [1.0, 2.0, 3.0]);
        assert_eq!(Axis::between(1.0, 1.0, 6, 1.0).marks(), [1.0]);
    }

    #[test]
    fn all_numbers_lie_between_the_ends() {
        for (low, high) in [(0.0, 2.3), (0.91, 0.98), (-1e-3, 1e9), (7.0, 7.0), (0.0, 0.0)] {
            let axis = Axis::around(low, high, 5, 0.0);
            for value in [low, high] {
                assert!((0.0..=1.0).contains(&axis.part(value)), "{value} on {axis:?}");
            }
            assert!(axis.marks().len() <= 8, "{axis:?}");
        }
    }
}
