//! What a training says of itself.

use std::str::FromStr;

/// What one epoch came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EpochReport {
    /// The epoch, from 1.
    pub epoch: u64,
    /// The learning rate of its last step.
    pub learning_rate: f64,
    /// The mean loss of its steps, each with the weights it began with.
    pub train_loss: f64,
    /// The part of its images that were seen rightly in their steps, from 0 to 1.
    pub train_accuracy: f64,
    /// The mean loss on the validation images after it.
    pub validation_loss: Option<f64>,
    /// The part of the validation images seen rightly after it, from 0 to 1.
    pub validation_accuracy: Option<f64>,
    /// Images trained on per second.
    pub images_per_s: f64,
    /// Seconds that it took, validation included.
    pub seconds: f64,
}

impl EpochReport {
    /// The numbers on one line, in the order of the fields; what is absent is `-`.
    pub(crate) fn to_line(self) -> String {
        let optional = |value: Option<f64>| value.map_or("-".to_string(), |value| value.to_string());
        format!(
            "{} {} {} {} {} {} {} {}",
            self.epoch,
            self.learning_rate,
            self.train_loss,
            self.train_accuracy,
            optional(self.validation_loss),
            optional(self.validation_accuracy),
            self.images_per_s,
            self.seconds,
        )
    }

    /// What [`EpochReport::to_line`] wrote, to the bit.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let epoch = words.next()?.parse().ok()?;
        let mut number = || f64::from_str(words.next()?).ok();
        let (learning_rate, train_loss, train_accuracy) = (number()?, number()?, number()?);
        let mut optional = || match words.next()? {
            "-" => Some(None),
            word => f64::from_str(word).ok().map(Some),
        };
        let (validation_loss, validation_accuracy) = (optional()?, optional()?);
        let mut number = || f64::from_str(words.next()?).ok();
        let (images_per_s, seconds) = (number()?, number()?);
        words.next().is_none().then_some(EpochReport {
            epoch,
            learning_rate,
            train_loss,
            train_accuracy,
            validation_loss,
            validation_accuracy,
            images_per_s,
            seconds,
        })
    }

    /// Whether the validation images were seen better than in the epoch of `other`: more of them, or as many at a lower
    /// loss.
    pub(crate) fn is_better_than(&self, other: &EpochReport) -> bool {
        let rank = |report: &EpochReport| {
            let accuracy = report.validation_accuracy.unwrap_or(f64::NEG_INFINITY);
            (accuracy, -report.validation_loss.unwrap_or(f64::INFINITY))
        };
        rank(self) > rank(other)
    }
}

/// What a training is doing, told to whoever watches it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A step was handed to the device.
    Step {
        /// The epoch, from 1.
        epoch: u64,
        /// The step within it, from 1.
        step: u64,
        /// The steps of an epoch.
        steps: u64,
        /// The mean loss of the batch, where it was read back: about ten times a second.
        loss: Option<f32>,
        /// Images trained on per second in this epoch so far.
        images_per_s: f64,
    },
    /// An epoch is complete.
    Epoch(&'a EpochReport),
}

/// Why a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// All epochs are done.
    Complete,
    /// No epoch was better than the best for as long as patience lasts.
    Patience,
    /// Whoever watched asked for it; it can be resumed.
    Stopped,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_gives_the_same_numbers_again() {
        let report = EpochReport {
            epoch: 7,
            learning_rate: 1e-3 / 3.0,
            train_loss: 1.0 / 7.0,
            validation_loss: Some(2f64.powi(-1060)),
            images_per_s: 1e300,
            ..EpochReport::default()
        };
        assert_eq!(EpochReport::from_line(&report.to_line()), Some(report));
        for broken in ["", "7", "7 0 0 0 - - 0", "7 0 0 0 - - 0 0 0", "x 0 0 0 - - 0 0"] {
            assert_eq!(EpochReport::from_line(broken), None, "{broken}");
        }
    }

    #[test]
    fn more_right_is_better_and_of_as_many_a_lower_loss() {
        let report = |accuracy, loss| EpochReport {
            validation_accuracy: Some(accuracy),
            validation_loss: Some(loss),
            ..EpochReport::default()
        };
        assert!(report(0.9, 2.0).is_better_than(&report(0.8, 1.0)));
        assert!(report(0.9, 1.0).is_better_than(&report(0.9, 2.0)));
        assert!(!report(0.9, 1.0).is_better_than(&report(0.9, 1.0)));
        assert!(report(0.0, 1.0).is_better_than(&EpochReport::default()));
    }
}
