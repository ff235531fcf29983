//! Sigmoid cross-entropy: any number of classes an image, or a single yes or no.
//!
//! A score x under a label y costs `w y softplus(-x) + (1 - y) softplus(x)`, w the weight of the class's positives. Softplus has
//! no kink, so both derivatives are right at 0, and its slope is exact far from it.

use super::draft::{Draft, Role};
use crate::Result;
use isal_onnx::DataType;

pub(super) const NAME: &str = "sigmoid-cross-entropy";
const LABELS: &str = "labels";

/// Options of `sigmoid-cross-entropy`: scores `[N, C]` or `[N]`, annotation `labels` of the same shape, float: 0 to 1, and below
/// zero (-1) where it is unknown, which costs nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct SigmoidCrossEntropy {
    /// Weight of each class's positives; none: all 1.
    pub pos_weight: Option<Vec<f32>>,
    /// The mean over the classes, the unknown ones counted, in place of the sum.
    pub mean: bool,
}

impl SigmoidCrossEntropy {
    pub(super) const DEFAULT: SigmoidCrossEntropy = SigmoidCrossEntropy { pos_weight: None, mean: false };

    pub(super) fn add(&self, g: &mut Draft) -> Result<()> {
        let classes = match &g.shape[..] {
            [_] => Some(1),
            [_, classes] => classes.known().filter(|c| *c > 0),
            _ => return Err(g.wrong_shape("[N, C] or [N]")),
        };
        let Some(classes) = classes else { return Err(g.wrong_shape("[N, C], C a number above 0, or [N]")) };
        if let Some(weights) = &self.pos_weight {
            g.per_class("pos_weight", weights, classes)?;
        }
        match g.role {
            Role::Loss => self.loss(g),
            Role::Decode => decode(g),
        }
        Ok(())
    }

    fn loss(&self, g: &mut Draft) {
        let (scores, shape, rank) = (g.outputs, g.shape.clone(), g.shape.len());
        let labels = g.annotation(LABELS, DataType::Float, shape);
        let (zero, one) = (g.number(0.0), g.number(1.0));
        let unknown = g.op("Less", [labels, zero]);
        let known = g.op("Not", [unknown]);
        let known = g.cast(known, DataType::Float);
        let mut positive = labels;
        if let Some(weights) = &self.pos_weight {
            let weights = match (rank, weights.first()) {
                (1, Some(weight)) => g.number(*weight),
                _ => g.classes("pos_weight", weights, rank),
            };
            positive = g.op("Mul", [positive, weights]);
        }
        let negative = g.op("Sub", [one, labels]);
        let against = g.op("Neg", [scores]);
        let mut cost = |label, score| {
            let weight = g.op("Mul", [known, label]);
            let softplus = g.op("Softplus", [score]);
            g.op("Mul", [weight, softplus])
        };
        let (if_so, if_not) = (cost(positive, against), cost(negative, scores));
        let costs = g.op("Add", [if_so, if_not]);
        let loss = match (rank, self.mean) {
            (1, _) => costs,
            (_, false) => g.sum(costs, 1, false),
            (_, true) => g.mean(costs, rank),
        };
        g.give_loss(loss);
    }
}

/// 1 where the score is above 0.
fn decode(g: &mut Draft) {
    let zero = g.number(0.0);
    let likely = g.op("Greater", [g.outputs, zero]);
    let labels = g.cast(likely, DataType::Float);
    let (shape, rank) = (g.shape.clone(), g.shape.len());
    g.give_annotation(LABELS, labels, DataType::Float, shape);
    let (name, whole) = if rank > 1 { ("positives", g.sum(labels, 1, false)) } else { ("pseudo_label", labels) };
    let whole = g.cast(whole, DataType::Int64);
    g.give_belief(name, whole, DataType::Int64);
    let sureness = g.sureness_of_labelling();
    g.give_sureness(&sureness);
}

impl Default for SigmoidCrossEntropy {
    fn default() -> Self {
        Self::DEFAULT
    }
}
