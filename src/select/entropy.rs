//! Highest predictive entropy first, `-sum_c p_c ln p_c` (Settles, Active learning literature survey, 2009,
//! section 3.1). Cost: one forward pass. When not to use: with many classes, where the tail of the distribution
//! outweighs the confusion between the likely ones; `margin` looks at those alone.

use super::strategy::{First, Needs, NoOptions, StrategyOptions, StrategyRow};
use crate::scores::belief;

pub(super) const ROW: StrategyRow = StrategyRow {
    name: "entropy",
    about: "highest entropy of the prediction first",
    needs: Needs::Belief { name: belief::ENTROPY, first: First::Highest },
    options: || StrategyOptions::Entropy(NoOptions {}),
};
