//! Uncertainty herding: images that cover what the model is unsure of (Bae et al., arXiv 2412.20644).
//!
//! A target counts as covered by the most alike of the labelled and chosen images, `k(a, b) = exp(-|a - b|^2 / r^2)` of
//! features of unit length, `r` the least distance between labelled images of different classes; the next image is the one
//! that adds most to the sum over targets of `(1 - margin)` times cover. The pool is the target as published; the reference
//! set is where what the model will meet is known. Cost: features and beliefs; a multiplication for each candidate and target,
//! and few more for each chosen image, since gains only fall. When not to use: with features that are not good yet.

use super::distances::{between, unit_rows};
use super::linear::BLOCK;
use super::radius::radius;
use super::{Chosen, JointError, Rule, Sets, Shortlist, Target, beliefs, chosen_one};
use crate::lowest::Total;
use crate::observe::Observer;
use crate::select::filters::Gate;
use crate::select::strategy::{Needs, StrategyOptions, StrategyRow};
use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView1, Axis};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

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
        greedy(&alike(&candidates), covered, &weights, budget, (gate, observer))
    }
}

fn cover(covered: &mut [f32], by: ArrayView1<f32>) {
    covered.iter_mut().zip(by).for_each(|(covered, by)| *covered = covered.max(*by));
}

/// Greedy cover of the targets by candidates, `[N, T]` alike, from what is covered already. A gain only falls as more is
/// chosen, so that one which is still the largest after it was computed anew is the largest of all (Minoux 1978).
fn greedy(
    alike: &Array2<f32>,
    mut covered: Vec<f32>,
    weights: &[f64],
    budget: usize,
    (gate, observer): (&mut Gate, &dyn Observer),
) -> Result<Vec<Chosen>, JointError> {
    let gain = |place: usize, covered: &[f32]| -> f64 {
        let by = alike.row(place);
        by.iter().zip(covered).zip(weights).map(|((by, covered), w)| w * f64::from((by - covered).max(0.0))).sum()
    };
    let first: Vec<f64> = (0..alike.nrows()).into_par_iter().map(|place| gain(place, &covered)).collect();
    // Of equal gains the first candidate; the last number says for how many chosen a gain was computed.
    let mut heap: BinaryHeap<(Total, Reverse<usize>, usize)> =
        first.into_iter().enumerate().map(|(place, gain)| (Total::of(gain), Reverse(place), 0)).collect();
    let mut chosen: Vec<Chosen> = Vec::new();
    while chosen.len() < budget {
        let Some((best, Reverse(place), after)) = heap.pop() else { break };
        if after < chosen.len() {
            heap.push((Total::of(gain(place, &covered)), Reverse(place), chosen.len()));
            continue;
        }
        if !gate.admits(place) {
            continue;
        }
        cover(&mut covered, alike.row(place));
        chosen.push(Chosen { place, gain: best.value() });
        chosen_one(observer)?;
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Seeded;
    use crate::observe::Unobserved;

    #[test]
    fn the_lazy_choice_is_the_greedy_one() {
        for seed in 0..10 {
            let mut random = Seeded::new("herding", &[seed]);
            let alike = Array2::from_shape_fn((30, 20), |_| random.unit() as f32);
            let weights: Vec<f64> = (0..20).map(|_| random.unit()).collect();
            let found = greedy(&alike, vec![0.3; 20], &weights, 8, (&mut Gate::open(), &Unobserved)).expect("chosen");
            let mut chosen: Vec<usize> = Vec::new();
            let of = |chosen: &[usize]| -> f64 {
                (0..20)
                    .map(|t| weights[t] * f64::from(chosen.iter().fold(0.3, |most: f32, n| most.max(alike[[*n, t]]))))
                    .sum()
            };
            for found in found {
                let with = |n: usize| of(&[chosen.clone(), vec![n]].concat()) - of(&chosen);
                let best = (0..30).map(with).fold(f64::NEG_INFINITY, f64::max);
                assert!((found.gain - best).abs() < 1e-6 && (with(found.place) - best).abs() < 1e-6);
                chosen.push(found.place);
            }
        }
    }
}
