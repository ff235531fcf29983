//! EPIG, the expected predictive information gain: images whose labels tell most about those of the targets (Bickford Smith et
//! al., Prediction-oriented Bayesian active learning, AISTATS 2023, arXiv 2304.08151).
//!
//! What an image is worth is the mutual information of its label with a target's, on average over the targets. The paper takes
//! it over an ensemble; here there is one model, and `heads` last layers are drawn from Laplace's posterior of it (heads.rs),
//! whose joint predictions of both labels are summed over all pairs of classes. The paper labels one image at a time. For a
//! batch, each next image is worth what it tells once those before it are labelled: their information joins the posterior and
//! the heads follow, about the model's own beliefs, since no label is known yet. A budget beyond `passes` is taken by several
//! images at a time, the best of one pass over the candidates; with `greedy = false` it is the top of the first pass. Those of
//! a pass do not know of each other, so near-duplicates may be taken together.
//!
//! Cost: features and beliefs; for each pass `C^2 heads` multiplications and `C^2` logarithms for every pair of a candidate and a
//! target. When not to use: with many classes or thousands of targets, and where few heads cannot tell images apart: the
//! estimate has a floor of its own noise.

use super::heads::{Heads, mutual_information};
use super::last_layer::{Factors, LastLayer, Reading};
use super::{Chosen, JointError, Rule, Sets, Shortlist, Target, chosen_one, largest};
use crate::observe::Observer;
use crate::select::filters::Gate;
use crate::select::strategy::{Needs, StrategyOptions, StrategyRow};

pub(in crate::select) const ROW: StrategyRow = StrategyRow {
    name: "epig",
    about: "whose labels tell most about those of the targets: expected predictive information gain",
    needs: Needs::Embedding,
    options: || StrategyOptions::Epig(Epig::default()),
};

/// Options of `epig`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Epig {
    /// Seed of the shortlist and of the heads.
    pub seed: u64,
    /// The images whose labels are to be told.
    pub target: Target,
    /// What is added to the labelled images' information in every direction: the precision of the last layer's prior.
    pub damping: f64,
    /// Most that classes times features may be.
    pub dimension: usize,
    /// Last layers that are drawn.
    pub heads: usize,
    /// Whether each next image is worth what it tells beside those chosen before it.
    pub greedy: bool,
    /// How often candidates are looked at, at most: a larger budget is taken by several at a time.
    pub passes: usize,
    /// The candidates.
    pub shortlist: Shortlist,
}

impl Default for Epig {
    fn default() -> Self {
        Epig {
            seed: 0,
            target: Target::Reference,
            damping: 1.0,
            dimension: 2048,
            heads: 100,
            greedy: true,
            passes: 32,
            shortlist: Shortlist::default(),
        }
    }
}

impl Rule for Epig {
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
        if self.heads < 2 {
            let found = self.heads.to_string();
            return Err(JointError::Option { option: "heads", found, expected: "at least 2" });
        }
        if self.passes == 0 {
            let found = self.passes.to_string();
            return Err(JointError::Option { option: "passes", found, expected: "at least 1" });
        }
        let passes = if self.greedy { self.passes } else { 1 };
        let reading = Reading { damping: self.damping, dimension: self.dimension, calibrate: false };
        let LastLayer { candidates, labelled, target } = LastLayer::of(sets, reading)?;
        let mut heads = Heads::draw(&labelled, self.damping, self.heads, self.seed)?;
        let classes = candidates.p.ncols();
        let worth =
            |heads: &Heads, open: &Factors| mutual_information(&heads.predict(open), &heads.predict(&target), classes);
        // The places of what is open, whose features and beliefs are `open`.
        let mut places: Vec<usize> = (0..candidates.len()).collect();
        let mut open = candidates.clone();
        let mut gains = worth(&heads, &open);
        let mut chosen: Vec<Chosen> = Vec::new();
        while chosen.len() < budget {
            let Some((row, gain)) = largest(gains.iter().copied()) else { break };
            let place = places[row];
            gains[row] = f64::NEG_INFINITY;
            if !gate.admits(place) {
                continue;
            }
            chosen.push(Chosen { place, gain });
            chosen_one(observer)?;
            if chosen.len() == budget || passes == 1 {
                continue;
            }
            heads.label(&candidates, place);
            if chosen.len().is_multiple_of(budget.div_ceil(passes)) {
                let still: Vec<usize> = (0..places.len()).filter(|row| gains[*row] > f64::NEG_INFINITY).collect();
                places = still.iter().map(|row| places[*row]).collect();
                open = open.of(&still);
                gains = worth(&heads, &open);
            }
        }
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Seeded;
    use crate::observe::Unobserved;
    use crate::select::Embedded;
    use ndarray::{Array2, Axis, concatenate};

    fn embedded(seed: u64, images: usize) -> Embedded {
        let mut random = Seeded::new("epig test", &[seed]);
        let mut number = |_| (4.0 * random.unit() - 2.0) as f32;
        let features = Array2::from_shape_fn((images, 4), &mut number);
        let logits = Array2::from_shape_fn((images, 3), &mut number);
        Embedded { features, logits, labels: vec![None; images] }
    }

    fn choose(rule: Epig, candidates: &Embedded, budget: usize) -> Vec<Chosen> {
        let (labelled, target) = (embedded(2, 8), embedded(3, 10));
        let sets = Sets { candidates, labelled: &labelled, target: Some(&target) };
        rule.choose(&sets, budget, &mut Gate::open(), &Unobserved).expect("chosen")
    }

    /// Each choice by the definition: heads are drawn, and those before it are labelled.
    #[test]
    fn the_largest_is_taken_and_then_those_that_tell_most_beside_it() {
        let candidates = embedded(1, 20);
        let rule = Epig { heads: 50, ..Epig::default() };
        let (labelled, target) = (embedded(2, 8), embedded(3, 10));
        let sets = Sets { candidates: &candidates, labelled: &labelled, target: Some(&target) };
        let reading = Reading { damping: 1.0, dimension: 2048, calibrate: false };
        let read = LastLayer::of(&sets, reading).expect("read");
        let of_heads = |before: &[usize]| {
            let mut heads = Heads::draw(&read.labelled, 1.0, 50, 0).expect("drawn");
            before.iter().for_each(|place| heads.label(&read.candidates, *place));
            mutual_information(&heads.predict(&read.candidates), &heads.predict(&read.target), 3)
        };
        let mut before = Vec::new();
        for Chosen { place, gain } in choose(rule, &candidates, 6) {
            let scores = of_heads(&before);
            let open = (0..20).filter(|n| !before.contains(n));
            let best = open.max_by(|a, b| scores[*a].total_cmp(&scores[*b])).expect("candidates");
            assert_eq!(place, best);
            // The same sums, over other blocks.
            assert!((gain - scores[best]).abs() < 1e-6, "{gain} {}", scores[best]);
            before.push(place);
        }
        let scores = of_heads(&[]);
        let mut order: Vec<usize> = (0..20).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        let top: Vec<usize> = choose(Epig { greedy: false, ..rule }, &candidates, 6).iter().map(|c| c.place).collect();
        assert_eq!(top, order[..6]);
        assert_ne!(top, before);
        // Two at a time: the best two of each pass, once those of the passes before are labelled.
        let in_passes: Vec<usize> =
            choose(Epig { passes: 3, ..rule }, &candidates, 6).iter().map(|c| c.place).collect();
        for pass in 0..3 {
            let before = &in_passes[..2 * pass];
            let mut open: Vec<usize> = (0..20).filter(|n| !before.contains(n)).collect();
            let scores = of_heads(before);
            open.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
            assert_eq!(in_passes[2 * pass..2 * pass + 2], open[..2]);
        }
    }

    #[test]
    fn a_copy_of_a_chosen_image_is_worth_less_than_the_top_of_the_scores_says() {
        let one = embedded(1, 20);
        let twice = |x: &Array2<f32>| concatenate(Axis(0), &[x.view(), x.view()]).expect("rows");
        let candidates =
            Embedded { features: twice(&one.features), logits: twice(&one.logits), labels: vec![None; 40] };
        let rule = Epig { heads: 200, ..Epig::default() };
        let top = choose(Epig { greedy: false, ..rule }, &candidates, 2);
        assert_eq!(top[0].place % 20, top[1].place % 20, "both copies");
        let greedy = choose(rule, &candidates, 12);
        assert_ne!(greedy[1].place % 20, greedy[0].place % 20, "another image");
        let copy =
            greedy.iter().skip(1).find(|chosen| chosen.place % 20 == greedy[0].place % 20).expect("it comes later");
        assert!(copy.gain < 0.5 * greedy[0].gain && top[1].gain > 0.99 * top[0].gain, "{greedy:?}");
    }

    #[test]
    fn a_candidate_whose_label_is_known_tells_nothing() {
        let mut candidates = embedded(1, 6);
        candidates.logits.row_mut(2).assign(&ndarray::array![60.0, 0.0, 0.0]);
        let found = choose(Epig { greedy: false, ..Epig::default() }, &candidates, 6);
        assert_eq!(found.last().map(|c| c.place), Some(2));
        assert!(found[5].gain.abs() < 1e-6 && found[4].gain > 1e-4, "{found:?}");
    }
}
