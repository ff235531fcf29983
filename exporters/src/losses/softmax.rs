//! Softmax cross-entropy: one class an image.
//!
//! Under weights y of the classes (one-hot for a label) the loss is, with class weights w and label smoothing e,
//! `sum_c w_c ((1 - e) y_c + e/C sum_k y_k) (-log p_c)`: PyTorch's for a one-hot y, and linear in y for any other.

use super::draft::{Draft, Role};
use crate::Result;
use isal_onnx::DataType;

pub(super) const NAME: &str = "softmax-cross-entropy";
/// Annotation of `softmax-cross-entropy`: a weight for each class, `[N, C]`.
pub const WEIGHTS: &str = "weights";

/// Options of `softmax-cross-entropy`: scores `[N, C]`, annotation `weights` `[N, C]`, float.
#[derive(Debug, Clone, PartialEq)]
pub struct SoftmaxCrossEntropy {
    /// Part of the label that is spread over all classes, from 0 to 1.
    pub label_smoothing: f32,
    /// Weight of each class; none: all 1.
    pub class_weights: Option<Vec<f32>>,
    /// 1: the pseudo-label is the arg-max, one-hot. More: the so many most likely classes, each with its probability as weight
    /// (not renormalised), so that the loss's gradient is the expected one over them.
    pub top_k: usize,
}

impl SoftmaxCrossEntropy {
    pub(super) const DEFAULT: SoftmaxCrossEntropy =
        SoftmaxCrossEntropy { label_smoothing: 0.0, class_weights: None, top_k: 1 };

    pub(super) fn add(&self, g: &mut Draft) -> Result<()> {
        let [_, classes] = &g.shape[..] else { return Err(g.wrong_shape("[N, C]")) };
        let Some(classes) = classes.known().filter(|c| *c > 0) else {
            return Err(g.wrong_shape("[N, C], C a number above 0"));
        };
        if !(0.0..=1.0).contains(&self.label_smoothing) {
            return Err(g.wrong("label_smoothing", self.label_smoothing, "0 to 1"));
        }
        if !(1..=classes).contains(&self.top_k) {
            return Err(g.wrong("top_k", self.top_k, format!("1 to the number of classes, {classes}")));
        }
        if let Some(weights) = &self.class_weights {
            g.per_class("class_weights", weights, classes)?;
        }
        match g.role {
            Role::Loss => self.loss(g, classes),
            Role::Decode => self.decode(g, classes),
        }
        Ok(())
    }

    fn loss(&self, g: &mut Draft, classes: usize) {
        let shape = g.shape.clone();
        let mut weights = g.annotation(WEIGHTS, DataType::Float, shape);
        if self.label_smoothing > 0.0 {
            let kept = g.number(1.0 - self.label_smoothing);
            let share = g.number(self.label_smoothing / classes as f32);
            let whole = g.sum(weights, 1, true);
            let spread = g.op("Mul", [whole, share]);
            let own = g.op("Mul", [weights, kept]);
            weights = g.op("Add", [own, spread]);
        }
        if let Some(of_classes) = &self.class_weights {
            let of_classes = g.classes("class_weights", of_classes, 2);
            weights = g.op("Mul", [weights, of_classes]);
        }
        let logarithms = g.log_softmax(classes);
        let weighted = g.op("Mul", [weights, logarithms]);
        let sum = g.sum(weighted, 1, false);
        let loss = g.op("Neg", [sum]);
        g.give_loss(loss);
    }

    fn decode(&self, g: &mut Draft, classes: usize) {
        let best = g.arg_max(g.outputs, 1);
        let weights = if self.top_k == 1 {
            g.one_hot(best, classes, 1)
        } else {
            // The scores are told apart where the probabilities round to the same.
            let [_, likely] = g.top(g.outputs, self.top_k);
            let likely = g.one_hot(likely, classes, -1);
            let mask = g.sum(likely, 1, false);
            let probabilities = g.op_along("Softmax", g.outputs, 1);
            g.op("Mul", [mask, probabilities])
        };
        let shape = g.shape.clone();
        g.give_annotation(WEIGHTS, weights, DataType::Float, shape);
        g.give_belief("pseudo_label", best, DataType::Int64);
        let sureness = g.sureness_of_class(classes);
        g.give_sureness(&sureness);
    }
}

impl Default for SoftmaxCrossEntropy {
    fn default() -> Self {
        Self::DEFAULT
    }
}
