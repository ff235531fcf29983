//! Influence in batches, and BAIT: one greedy design, towards the reference set or towards the pool.
//!
//! `bait` is Ash et al., Gone fishing (arXiv 2106.09675), on the last layer: the pool's own Fisher matrix is what the choice
//! is to serve; `target = "pool+reference"` adds the reference images to it. `influence-batch` is the same with that of the
//! reference images, which show what the model will meet, and of which no label is used. Cost: features and beliefs of
//! candidates, labelled and target images; then `4 C^2 (F + 1)` multiplications a candidate and chosen image. When not to
//! use: with many classes (features are cut so that classes times features stay within `dimension`, and more than 64 classes
//! are dealt into 64 groups), or on features that are good already, of a frozen encoder, where `influence-kernel` was better.

use super::design;
use super::last_layer::{LastLayer, Reading};
use super::{Chosen, JointError, PoolTarget, Rule, Sets, Shortlist, Target};
use crate::observe::Observer;
use crate::select::filters::Gate;
use crate::select::strategy::{Needs, StrategyOptions, StrategyRow};

pub(in crate::select) const INFLUENCE_BATCH: StrategyRow = StrategyRow {
    name: "influence-batch",
    about: "chosen jointly to lower the expected loss on the reference set, whose labels are not used",
    needs: Needs::Embedding,
    options: || StrategyOptions::InfluenceBatch(InfluenceBatch::default()),
};

pub(in crate::select) const BAIT: StrategyRow = StrategyRow {
    name: "bait",
    about: "chosen jointly to lower the expected loss on the pool itself",
    needs: Needs::Embedding,
    options: || StrategyOptions::Bait(Bait::default()),
};

/// Options of `influence-batch`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct InfluenceBatch {
    /// Seed of the shortlist.
    pub seed: u64,
    /// The images whose expected loss is to fall.
    pub target: Target,
    /// What is added to the labelled images' information in every direction.
    pub damping: f64,
    /// Most that classes times features may be.
    pub dimension: usize,
    /// Whether beliefs are divided by the temperature of least loss on the target images, where these have labels.
    pub calibrate: bool,
    /// Whether twice the budget is chosen first and half of it given back.
    pub backward: bool,
    /// The candidates.
    pub shortlist: Shortlist,
}

impl Default for InfluenceBatch {
    fn default() -> Self {
        InfluenceBatch {
            seed: 0,
            target: Target::Reference,
            damping: 1.0,
            dimension: 2048,
            calibrate: false,
            backward: false,
            shortlist: Shortlist::default(),
        }
    }
}

/// Options of `bait`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Bait {
    /// Seed of the shortlist and of the part of the pool that is looked at.
    pub seed: u64,
    /// The images whose expected loss is to fall.
    pub target: PoolTarget,
    /// What is added to the labelled images' information in every direction.
    pub damping: f64,
    /// Most that classes times features may be.
    pub dimension: usize,
    /// Whether twice the budget is chosen first and half of it given back, as published.
    pub backward: bool,
    /// The candidates.
    pub shortlist: Shortlist,
}

impl Default for Bait {
    fn default() -> Self {
        let InfluenceBatch { seed, damping, dimension, backward, shortlist, .. } = InfluenceBatch::default();
        Bait { seed, target: PoolTarget::Pool, damping, dimension, backward, shortlist }
    }
}

impl Bait {
    fn as_design(self) -> InfluenceBatch {
        let Bait { seed, target, damping, dimension, backward, shortlist } = self;
        InfluenceBatch { seed, target: target.into(), damping, dimension, calibrate: false, backward, shortlist }
    }
}

impl Rule for Bait {
    fn shortlist(&self) -> (Shortlist, u64) {
        (self.shortlist, self.seed)
    }

    fn target(&self) -> Option<Target> {
        Some(self.target.into())
    }

    fn goes_by_beliefs(&self) -> bool {
        true
    }

    fn choose(
        &self,
        sets: &Sets,
        budget: usize,
        gate: &mut Gate,
        observer: &dyn Observer,
    ) -> Result<Vec<Chosen>, JointError> {
        self.as_design().choose(sets, budget, gate, observer)
    }
}

impl Rule for InfluenceBatch {
    fn shortlist(&self) -> (Shortlist, u64) {
        (self.shortlist, self.seed)
    }

    fn target(&self) -> Option<Target> {
        Some(self.target)
    }

    fn goes_by_beliefs(&self) -> bool {
        true
    }

    fn choose(
        &self,
        sets: &Sets,
        budget: usize,
        gate: &mut Gate,
        observer: &dyn Observer,
    ) -> Result<Vec<Chosen>, JointError> {
        let reading = Reading { damping: self.damping, dimension: self.dimension, calibrate: self.calibrate };
        let LastLayer { candidates, labelled, target } = LastLayer::of(sets, reading)?;
        let chosen =
            design::choose(&candidates, &labelled, &target, (self.damping, self.backward), budget, gate, observer)?;
        Ok(chosen.into_iter().map(|(place, gain)| Chosen { place, gain }).collect())
    }
}
