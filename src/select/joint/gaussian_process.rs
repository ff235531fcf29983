//! Influence on the reference set with a Gaussian process in the place of a linear head, weighed by the reference labels.
//!
//! Of features of unit length, `k(a, b) = exp(-|a - b|^2 / r^2)`, `r` twice the least distance between labelled images of
//! different classes. Given what is labelled and chosen, the next image is the one that lowers the targets' variance most,
//! weighted by what each has to gain: the largest `sum over targets of w cov(target, u)^2 / (var(u) + noise)`. `w` is a
//! target's loss under calibrated beliefs where it has a label, else one minus its margin. It is the second-moment influence
//! of Ash et al. (arXiv 2106.09675) again: with a linear kernel, equal weights and a noise of one it is the last layer's
//! design for squared loss.
//!
//! Cost: features and beliefs; a multiplication a candidate for every target, labelled and chosen image, for each image that is
//! chosen. When not to use: without labels of the targets on features of a network trained on few labels, where `influence-batch`
//! did as well or better (docs/results.md).

use super::distances::unit_rows;
use super::posterior::Process;
use super::radius::radius;
use super::{Chosen, Embedded, JointError, Rule, Sets, Shortlist, Target, beliefs};
use crate::observe::Observer;
use crate::select::filters::Gate;
use crate::select::strategy::{Needs, StrategyOptions, StrategyRow};
use ndarray::Array2;

pub(in crate::select) const ROW: StrategyRow = StrategyRow {
    name: "influence-kernel",
    about: "chosen jointly for the reference set by distances between features, weighed by its labels",
    needs: Needs::Embedding,
    options: || StrategyOptions::InfluenceKernel(InfluenceKernel::default()),
};

/// Options of `influence-kernel`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct InfluenceKernel {
    /// Seed of the shortlist.
    pub seed: u64,
    /// The images whose variance is to fall.
    pub target: Target,
    /// The radius, in least distances between labelled images of different classes.
    pub radius: f64,
    /// Variance of a label.
    pub noise: f64,
    /// Whether labels of target images are used, for their weights and the temperature.
    pub labels: bool,
    /// The candidates.
    pub shortlist: Shortlist,
}

impl Default for InfluenceKernel {
    fn default() -> Self {
        let shortlist = Shortlist::default();
        InfluenceKernel { seed: 0, target: Target::Reference, radius: 2.0, noise: 0.1, labels: true, shortlist }
    }
}

impl Rule for InfluenceKernel {
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
        for (option, value) in [("radius", self.radius), ("noise", self.noise)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(JointError::Option { option, found: value.to_string(), expected: "a number above 0" });
            }
        }
        let target = sets.the_target()?;
        sets.check(true)?;
        let [candidates, labelled, targets] =
            [sets.candidates, sets.labelled, target].map(|set| unit_rows(&set.features));
        let labelled = match sets.labelled.is_empty() {
            true => Array2::zeros((0, candidates.ncols())),
            false => labelled,
        };
        let width = self.radius * radius(&labelled, sets.labelled, &candidates);
        let gaussian = move |product: f64, a: f64, b: f64| (-(a + b - 2.0 * product).max(0.0) / (width * width)).exp();
        let process = Process { kernel: &gaussian, noise: self.noise };
        process.choose(&candidates, &labelled, &targets, &weights(target, self.labels), budget, (gate, observer))
    }
}

/// What each target image has to gain.
fn weights(target: &Embedded, labels: bool) -> Vec<f64> {
    let temperature = if labels { beliefs::temperature(target) } else { 1.0 };
    let unsure = beliefs::unsureness(&beliefs::probabilities(&target.logits, temperature));
    match labels {
        true => beliefs::losses(target, temperature)
            .into_iter()
            .zip(unsure)
            .map(|(loss, unsure)| loss.unwrap_or(unsure))
            .collect(),
        false => unsure,
    }
}
