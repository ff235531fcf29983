//! Smallest margin first, the probability of the most likely class less that of the second (Scheffer, Decomain
//! and Wrobel, Active hidden Markov models, IDA 2001). Cost: one forward pass. When not to use: on a pool with
//! images that belong to no class; they sit at the boundary and are taken first.

use super::strategy::{First, Needs, NoOptions, StrategyOptions, StrategyRow};
use crate::scores::belief;

pub(super) const ROW: StrategyRow = StrategyRow {
    name: "margin",
    about: "smallest margin between the two most likely labels first",
    needs: Needs::Belief { name: belief::MARGIN, first: First::Lowest },
    options: || StrategyOptions::Margin(NoOptions {}),
};
