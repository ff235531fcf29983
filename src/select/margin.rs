//! Smallest margin first, the probability of the most likely class less that of the second (Scheffer, Decomain
//! and Wrobel, Active hidden Markov models, IDA 2001). Cost: one forward pass. When not to use: on a pool with
//! images that belong to no class; they sit at the boundary and are taken first.

use super::strategy::{Needs, NoOptions, StrategyOptions, StrategyRow};
use crate::scores::ScoreRow;

pub(super) const ROW: StrategyRow = StrategyRow {
    name: "margin",
    about: "smallest margin between the two most likely classes first",
    needs: Needs::Beliefs,
    options: || StrategyOptions::Margin(NoOptions {}),
};

pub(super) fn key(row: &ScoreRow) -> f64 {
    row.margin
}
