//! Core-set: the candidate that is farthest from all that is labelled or chosen, again and again (Sener and Savarese, Active
//! learning for convolutional neural networks, ICLR 2018: the greedy k-centre form).
//!
//! Cost: features; `F` multiplications a candidate for each labelled and each chosen image. When not to use: on a pool with
//! images that belong to no class, which are far from everything and taken first.

use super::distances::nearer;
use super::{BY_DISTANCES, Chosen, JointError, Rule, Sets, Shortlist, chosen_one, largest};
use crate::observe::Observer;
use crate::select::filters::Gate;
use crate::select::strategy::{Needs, StrategyOptions, StrategyRow};
use ndarray::Axis;

pub(in crate::select) const ROW: StrategyRow = StrategyRow {
    name: "core-set",
    about: "farthest from everything labelled or chosen, in the features of the model",
    needs: Needs::Embedding,
    options: || StrategyOptions::CoreSet(CoreSet::default()),
};

/// Options of `core-set`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct CoreSet {
    /// Seed of the shortlist.
    pub seed: u64,
    /// The candidates.
    pub shortlist: Shortlist,
}

impl Rule for CoreSet {
    fn shortlist(&self) -> (Shortlist, u64) {
        (self.shortlist, self.seed)
    }

    fn least_candidates(&self) -> usize {
        BY_DISTANCES
    }

    fn goes_by_beliefs(&self) -> bool {
        false
    }

    fn choose(
        &self,
        sets: &Sets,
        budget: usize,
        gate: &mut Gate,
        observer: &dyn Observer,
    ) -> Result<Vec<Chosen>, JointError> {
        sets.check(false)?;
        let features = &sets.candidates.features;
        let mut nearest = vec![f32::INFINITY; features.nrows()];
        for row in sets.labelled.features.axis_iter(Axis(0)) {
            nearer(features, row, &mut nearest);
        }
        let mut taken = vec![false; features.nrows()];
        let mut chosen = Vec::new();
        while chosen.len() < budget {
            let open = nearest.iter().zip(&taken).map(|(d, taken)| if *taken { f64::NAN } else { f64::from(*d) });
            let Some((place, apart)) = largest(open) else { break };
            taken[place] = true;
            if !gate.admits(place) {
                continue;
            }
            // Where nothing is labelled the first one is infinitely far from it.
            chosen.push(Chosen { place, gain: if apart.is_finite() { apart.sqrt() } else { f64::from(f32::MAX) } });
            nearer(features, features.row(place), &mut nearest);
            chosen_one(observer)?;
        }
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Unobserved;
    use crate::select::Embedded;
    use ndarray::array;

    #[test]
    fn the_farthest_comes_first_and_its_neighbours_wait() {
        let of = |features: ndarray::Array2<f32>| Embedded {
            logits: ndarray::Array2::zeros((features.nrows(), 0)),
            labels: vec![None; features.nrows()],
            features,
        };
        let candidates = of(array![[1.0], [9.0], [10.0], [4.0], [4.0]]);
        let labelled = of(array![[0.0]]);
        let sets = Sets { candidates: &candidates, labelled: &labelled, target: None };
        let chosen = CoreSet::default().choose(&sets, 9, &mut Gate::open(), &Unobserved).expect("chosen");
        let found: Vec<(usize, f64)> = chosen.into_iter().map(|c| (c.place, c.gain)).collect();
        // 10 is 10 from 0; 4 is 4 from it; of what is left 1 and 9 are 1 from the nearest, the copy of 4 none at all.
        assert_eq!(found, [(2, 10.0), (3, 4.0), (0, 1.0), (1, 1.0), (4, 0.0)]);
    }
}
