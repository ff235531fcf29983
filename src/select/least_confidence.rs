//! Lowest probability of the most likely class first (Lewis and Gale, A sequential algorithm for training text
//! classifiers, SIGIR 1994). Cost: one forward pass. When not to use: where classes are so unequal in number
//! that rare ones are always predicted with low confidence.

use super::strategy::{First, Needs, NoOptions, StrategyOptions, StrategyRow};
use crate::scores::belief;

pub(super) const ROW: StrategyRow = StrategyRow {
    name: "least-confidence",
    about: "lowest probability of the most likely label first",
    needs: Needs::Belief { name: belief::CONFIDENCE, first: First::Lowest },
    options: || StrategyOptions::LeastConfidence(NoOptions {}),
};
