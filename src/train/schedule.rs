//! How the learning rate changes as training goes on.

use std::f64::consts::PI;

/// The learning rate of every step, a function of the step's number alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The learning rate where it is highest.
    pub peak: f64,
    /// Over so many first steps it rises linearly: to `peak * (step + 1) / warm_up` at `step`, counted from 0.
    pub warm_up: u64,
    /// What it does after them.
    pub decay: Decay,
}

/// What becomes of the learning rate after the warm-up. `t` counts the steps since, from 0.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Decay {
    /// It stays.
    Constant,
    /// `peak * factor^floor(t / every)`
    Step {
        /// Steps between two drops; not 0.
        every: u64,
        /// What each drop multiplies by.
        factor: f64,
    },
    /// `floor + (peak - floor) / 2 * (1 + cos(pi * t / steps left after the warm-up))`, with the floor
    /// `peak * floor` (Loshchilov & Hutter 2017, eq. 5, without restarts).
    Cosine {
        /// The last step's rate as a part of the peak; commonly 0.
        floor: f64,
    },
}

impl Schedule {
    /// The same learning rate for every step.
    pub fn constant(rate: f64) -> Self {
        Schedule { peak: rate, warm_up: 0, decay: Decay::Constant }
    }

    /// From this rate to 0 along half a cosine.
    pub fn cosine(peak: f64) -> Self {
        Schedule { peak, warm_up: 0, decay: Decay::Cosine { floor: 0.0 } }
    }

    /// With so many steps of linear rise in front.
    pub fn warm_up(self, steps: u64) -> Self {
        Schedule { warm_up: steps, ..self }
    }

    /// The learning rate of `step`, counted from 0, of a training of `steps`.
    pub fn rate(&self, step: u64, steps: u64) -> f64 {
        if step < self.warm_up {
            return self.peak * (step + 1) as f64 / self.warm_up as f64;
        }
        let t = step - self.warm_up;
        match self.decay {
            Decay::Constant => self.peak,
            Decay::Step { every, factor } => {
                let drops = i32::try_from(t / every.max(1)).unwrap_or(i32::MAX);
                self.peak * factor.powi(drops)
            }
            Decay::Cosine { floor } => {
                let left = steps.saturating_sub(self.warm_up).max(1);
                let part = t.min(left) as f64 / left as f64;
                let floor = self.peak * floor;
                floor + (self.peak - floor) / 2.0 * (1.0 + (PI * part).cos())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-15, "{a} is not {b}");
    }

    #[test]
    fn rates_are_those_of_the_formulas() {
        let constant = Schedule::constant(0.1);
        assert_eq!([0, 7, 99].map(|t| constant.rate(t, 100)), [0.1; 3]);

        let step = Schedule { peak: 1.0, warm_up: 0, decay: Decay::Step { every: 10, factor: 0.5 } };
        assert_eq!([0, 9, 10, 19, 20, 35].map(|t| step.rate(t, 100)), [1.0, 1.0, 0.5, 0.5, 0.25, 0.125]);

        // cos(pi/3) = 1/2, cos(pi/2) = 0, cos(2 pi/3) = -1/2, cos(pi) = -1
        let cosine = Schedule::cosine(2.0);
        for (t, rate) in [(0, 2.0), (20, 1.5), (30, 1.0), (40, 0.5), (60, 0.0), (61, 0.0)] {
            close(cosine.rate(t, 60), rate);
        }
        let floor = Schedule { peak: 2.0, warm_up: 0, decay: Decay::Cosine { floor: 0.1 } };
        for (t, rate) in [(0, 2.0), (30, 1.1), (60, 0.2)] {
            close(floor.rate(t, 60), rate);
        }
    }

    #[test]
    fn a_warm_up_rises_linearly_and_the_decay_begins_behind_it() {
        let schedule = Schedule::cosine(1.0).warm_up(4);
        for (t, rate) in [(0, 0.25), (1, 0.5), (2, 0.75), (3, 1.0), (4, 1.0), (7, 0.5), (10, 0.0)] {
            close(schedule.rate(t, 10), rate);
        }
        // Longer than the training itself.
        let schedule = Schedule::cosine(1.0).warm_up(100);
        close(schedule.rate(9, 10), 0.1);
        close(schedule.rate(100, 10), 1.0);
    }
}
