//! Lowest influence first (Liu et al., Influence selection for active learning, ICCV 2021): the images whose
//! labelling is expected to lower the reference loss most.
//!
//! Cost: a sweep with the solved vector. When not to use: with a reference set of few images, whose gradient is
//! mostly noise (measured below random with ten); and near-duplicates score alike, so a pool full of them gives
//! a batch full of them.

use super::strategy::{Needs, NoOptions, StrategyOptions, StrategyRow};

pub(super) const ROW: StrategyRow = StrategyRow {
    name: "influence",
    about: "lowest influence first: expected to lower the reference loss most (default)",
    needs: Needs::Influence,
    options: || StrategyOptions::Influence(NoOptions {}),
};
