//! Huber loss: squared error for small differences, absolute for large ones.
//!
//! With d the difference and c = d held between -delta and delta, `c (d - c/2)`: d^2/2 within, delta (|d| - delta/2) beyond. No
//! absolute value is taken, so both derivatives are right at 0. As for squared error, the gradient at one's own prediction is
//! zero, and **so is every influence under it**.

use super::draft::Draft;
use super::squared::with_targets;
use crate::Result;

pub(super) const NAME: &str = "huber";

/// Options of `huber`: numbers `[N, ...]`, annotation `targets` of the same shape, float; the mean over the numbers of an image.
///
/// The gradient at one's own prediction is zero, and with it the influence under it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Huber {
    /// The difference from which on the loss grows linearly.
    pub delta: f32,
}

impl Huber {
    pub(super) const DEFAULT: Huber = Huber { delta: 1.0 };

    pub(super) fn add(&self, g: &mut Draft) -> Result<()> {
        let delta = self.delta;
        if !(delta.is_finite() && delta > 0.0) {
            return Err(g.wrong("delta", delta, "a finite number above 0"));
        }
        with_targets(g, |g, difference| {
            let held = g.clip(difference, -delta, delta);
            let half = g.number(0.5);
            let half = g.op("Mul", [held, half]);
            let rest = g.op("Sub", [difference, half]);
            g.op("Mul", [held, rest])
        });
        Ok(())
    }
}

impl Default for Huber {
    fn default() -> Self {
        Self::DEFAULT
    }
}
