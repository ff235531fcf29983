//! Uncertainty herding: images that cover what the model is unsure of (Bae et al., arXiv 2412.20644).
//!
//! A target counts as covered by the most alike of the labelled and chosen images, `k(a, b) = exp(-|a - b|^2 / r^2)` of
//! features of unit length, `r` the least distance between labelled images of different classes; the next image is the one
//! that adds most to the sum over targets of `(1 - margin)` times cover. The pool is the target as published; the reference
//! set is where what the model will meet is known. Cost: features and beliefs; a multiplication for each candidate and target,
//! and few more for each chosen image, since gains only fall. When not to use: with features that are not good yet.

use super::cover::{Cover, cover};
use super::distances::{between, unit_rows};
use super::linear::BLOCK;
use super::radius::radius;
use super::{Chosen, JointError, Rule, Sets, Shortlist, Target, beliefs};
use crate::observe::Observer;
use crate::select::filters::Gate;
use crate::select::strategy::{Needs, StrategyOptions, StrategyRow};
use ndarray::{Array2, Axis};

pub(in crate::select) const ROW: StrategyRow = StrategyRow {
    name: "uncertainty-herding",
    about: "chosen jointly to cover what the model is unsure of",
    needs: Needs::Embedding,
    options: || StrategyOptions::UncertaintyHerding(UncertaintyHerding::default()),
};

/// Options of `uncertainty-herding`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct UncertaintyHerding {
    /// Seed of the shortlist and of the part of the pool that is covered.
    pub seed: u64,
    /// The images to cover.
    pub target: Target,
    /// The radius, in least distances between labelled images of different classes.
    pub radius: f64,
    /// Whether each target counts by how unsure the model is of it; else all count alike (max herding).
    pub uncertainty: bool,
    /// The candidates.
    pub shortlist: Shortlist,
}

impl Default for UncertaintyHerding {
    fn default() -> Self {
        let shortlist = Shortlist::default();
        UncertaintyHerding { seed: 0, target: Target::Pool, radius: 1.0, uncertainty: true, shortlist }
    }
}

impl Rule for UncertaintyHerding {
    fn shortlist(&self) -> (Shortlist, u64) {
        (self.shortlist, self.seed)
    }

    fn target(&self) -> Option<Target> {
        Some(self.target)
    }

    fn goes_by_beliefs(&self) -> bool {
        self.uncertainty
    }

    fn choose(
        &self,
        sets: &Sets,
        budget: usize,
        gate: &mut Gate,
        observer: &dyn Observer,
    ) -> Result<Vec<Chosen>, JointError> {
        if !(self.radius > 0.0 && self.radius.is_finite()) {
            let found = self.radius.to_string();
            return Err(JointError::Option { option: "radius", found, expected: "a number above 0" });
        }
        let target = sets.the_target()?;
        sets.check(self.uncertainty)?;
        let [candidates, targets] = [sets.candidates, target].map(|set| unit_rows(&set.features));
        let labelled = match sets.labelled.is_empty() {
            true => Array2::zeros((0, candidates.ncols())),
            false => unit_rows(&sets.labelled.features),
        };
        let width = self.radius * radius(&labelled, sets.labelled, &candidates);
        let alike = |a: &Array2<f64>| between(a.view(), targets.view()).mapv(|d| (-d / (width * width)).exp() as f32);
        let weights = match self.uncertainty {
            true => beliefs::unsureness(&beliefs::probabilities(&target.logits, 1.0)),
            false => vec![1.0; target.len()],
        };
        let mut covered = vec![0.0_f32; targets.nrows()];
        for rows in labelled.axis_chunks_iter(Axis(0), BLOCK) {
            alike(&rows.to_owned()).axis_iter(Axis(0)).for_each(|row| cover(&mut covered, row));
        }
        let alike = alike(&candidates);
        Cover { alike: &alike, weights: &weights, own: &[] }.greedy(covered, budget, (gate, observer))
    }
}
