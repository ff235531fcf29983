//! The learning rate over the course of a training.

use std::f64::consts::PI;

/// How the learning rate falls.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "shape", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Shape {
    /// Half a cosine, from the base rate to zero (Loshchilov and Hutter, SGDR, ICLR 2017, without restarts).
    Cosine,
    /// Multiplied by `factor` at each milestone.
    Step {
        /// Epochs, counted from 0, at whose beginning the rate falls.
        milestones: Vec<usize>,
        /// What it is multiplied by.
        factor: f64,
    },
    /// It does not fall.
    Constant,
}

/// The learning rate as a function of the epoch.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Schedule {
    /// The rate that the shape starts from.
    pub base: f64,
    /// Epochs in all.
    pub epochs: usize,
    /// Epochs in which the rate rises in a line from a tenth of what it would be.
    pub warm_up: f64,
    /// How it falls.
    pub shape: Shape,
}

/// Share of the rate that a warm-up starts from.
const WARM_UP_START: f64 = 0.1;

impl Schedule {
    /// The rate at `epoch`, which may lie between two: half way through the third epoch is 2.5.
    pub fn rate(&self, epoch: f64) -> f64 {
        let fallen = match &self.shape {
            Shape::Constant => 1.0,
            Shape::Cosine => 0.5 * (1.0 + (PI * epoch / self.epochs.max(1) as f64).cos()),
            Shape::Step { milestones, factor } => {
                milestones.iter().filter(|m| epoch >= **m as f64).fold(1.0, |rate, _| rate * factor)
            }
        };
        let warm =
            if epoch < self.warm_up { WARM_UP_START + (1.0 - WARM_UP_START) * epoch / self.warm_up } else { 1.0 };
        self.base * fallen * warm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(shape: Shape, warm_up: f64) -> Schedule {
        Schedule { base: 0.8, epochs: 10, warm_up, shape }
    }

    #[test]
    fn a_cosine_starts_at_the_base_is_half_at_half_and_ends_at_zero() {
        let cosine = schedule(Shape::Cosine, 0.0);
        for (epoch, rate) in [(0.0, 0.8), (5.0, 0.4), (10.0, 0.0)] {
            assert!((cosine.rate(epoch) - rate).abs() < 1e-12, "{epoch}");
        }
    }

    #[test]
    fn steps_fall_at_their_milestones() {
        let step = schedule(Shape::Step { milestones: vec![3, 6], factor: 0.1 }, 0.0);
        for (epoch, rate) in [(0.0, 0.8), (2.9, 0.8), (3.0, 0.08), (5.9, 0.08), (6.5, 0.008)] {
            assert!((step.rate(epoch) - rate).abs() < 1e-12, "{epoch}");
        }
    }

    #[test]
    fn a_warm_up_rises_from_a_tenth() {
        let warm = schedule(Shape::Constant, 2.0);
        for (epoch, rate) in [(0.0, 0.08), (1.0, 0.44), (2.0, 0.8)] {
            assert!((warm.rate(epoch) - rate).abs() < 1e-12, "{epoch}");
        }
    }
}
