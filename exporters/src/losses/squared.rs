//! Squared error: regression.
//!
//! The pseudo-label is the output itself, where the gradient of this loss is zero: **so is every influence under one's own
//! prediction**. A caller has to score regression in another way.

use super::draft::{Draft, Role};
use crate::Result;
use isal_onnx::{DataType, Value};

pub(super) const NAME: &str = "squared-error";
const TARGETS: &str = "targets";

/// `squared-error`: numbers `[N, ...]`, annotation `targets` of the same shape, float; the mean over the numbers of an image.
///
/// The gradient at one's own prediction is zero, and with it the influence under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SquaredError;

impl SquaredError {
    pub(super) fn add(&self, g: &mut Draft) -> Result<()> {
        with_targets(g, |g, difference| g.op("Mul", [difference, difference]));
        Ok(())
    }
}

/// The mean of what `cost` makes of output minus target; or the outputs as targets.
pub(super) fn with_targets(g: &mut Draft, cost: impl FnOnce(&mut Draft, Value) -> Value) {
    let shape = g.shape.clone();
    let rank = shape.len();
    if g.role == Role::Decode {
        let one = shape.iter().skip(1).all(|dim| dim.known() == Some(1));
        g.give_annotation(TARGETS, g.outputs, DataType::Float, shape);
        if one {
            let value = (1..rank).fold(g.outputs, |x, _| g.sum(x, 1, false));
            g.give_belief("value", value, DataType::Float);
        }
        return;
    }
    let targets = g.annotation(TARGETS, DataType::Float, shape);
    let difference = g.op("Sub", [g.outputs, targets]);
    let costs = cost(g, difference);
    let loss = g.mean(costs, rank);
    g.give_loss(loss);
}
