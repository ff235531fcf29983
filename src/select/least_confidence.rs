//! Lowest probability of the most likely class first (Lewis and Gale, A sequential algorithm for training text
//! classifiers, SIGIR 1994). Cost: one forward pass. When not to use: where classes are so unequal in number
//! that rare ones are always predicted with low confidence.

use super::strategy::{Needs, NoOptions, StrategyOptions, StrategyRow};
use crate::scores::ScoreRow;

pub(super) const ROW: StrategyRow = StrategyRow {
    name: "least-confidence",
    about: "lowest probability of the most likely class first",
    needs: Needs::Beliefs,
    options: || StrategyOptions::LeastConfidence(NoOptions {}),
};

pub(super) fn key(row: &ScoreRow) -> f64 {
    row.confidence
}
