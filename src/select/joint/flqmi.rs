//! Submodular mutual information with the target images, in its form FLQMI: facility location, variant 2 (Kothawade et al.,
//! SIMILAR, arXiv 2107.00717; Kaushal et al., PRISM, arXiv 2103.00128).
//!
//! With similarities `s` between 0 and 1 the choice is to have the largest `sum over targets of max over chosen of s + eta
//! (sum over chosen of max over targets of s)`: every target has something like it, and everything is like some target. `s`
//! is one plus the cosine, halved, of last-layer gradients under the likeliest class, `(p - e) (x) (h, 1)`, a target's under
//! its label where it has one; or of features. What is labelled already has no part in it, as published. Greedy, and exactly
//! so: gains only fall. Cost: features and beliefs; a multiplication for each candidate and target. When not to use: where
//! the batch is much smaller than the classes times their kinds, or the labelled images cover the target: it takes more of
//! the same.

use super::cover::Cover;
use super::distances::unit_rows;
use super::linear::product;
use super::{Chosen, Embedded, JointError, Rule, Sets, Shortlist, Target, beliefs, largest};
use crate::observe::Observer;
use crate::select::filters::Gate;
use crate::select::strategy::{Needs, StrategyOptions, StrategyRow};
use ndarray::{Array2, Axis, s};

pub(in crate::select) const ROW: StrategyRow = StrategyRow {
    name: "flqmi",
    about: "chosen jointly to have something like each target, by submodular mutual information",
    needs: Needs::Embedding,
    options: || StrategyOptions::Flqmi(Flqmi::default()),
};

/// What two images are alike in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlikeIn {
    /// The gradients of the last layer.
    #[default]
    Gradients,
    /// The features.
    Features,
}

/// Options of `flqmi`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Flqmi {
    /// Seed of the shortlist.
    pub seed: u64,
    /// The images to have something like.
    pub target: Target,
    /// What it is worth that a chosen image is like some target, beside that every target has something like it.
    pub eta: f64,
    /// What images are alike in.
    pub alike_in: AlikeIn,
    /// Whether gradients of target images are under their labels, where they have any.
    pub labels: bool,
    /// The candidates.
    pub shortlist: Shortlist,
}

impl Default for Flqmi {
    fn default() -> Self {
        Flqmi {
            seed: 0,
            target: Target::Reference,
            eta: 1.0,
            alike_in: AlikeIn::Gradients,
            labels: true,
            shortlist: Shortlist::default(),
        }
    }
}

impl Flqmi {
    /// `s` of every candidate with every target, `[N, T]`.
    fn alike(&self, candidates: &Embedded, target: &Embedded) -> Array2<f32> {
        let halved = |cosine: f64| f64::midpoint(1.0, cosine) as f32;
        let cosines = |a: &Array2<f32>, b: &Array2<f32>| product(unit_rows(a).view(), unit_rows(b).t());
        match self.alike_in {
            AlikeIn::Features => cosines(&candidates.features, &target.features).mapv(halved),
            // The cosine of two outer products is the product of their factors' cosines.
            AlikeIn::Gradients => {
                let mut cosine = cosines(&residuals(candidates, false), &residuals(target, self.labels));
                cosine *= &cosines(&with_one(&candidates.features), &with_one(&target.features));
                cosine.mapv(halved)
            }
        }
    }
}

/// Beliefs less the one-hot label, or likeliest class where there is none to be used.
fn residuals(embedded: &Embedded, labels: bool) -> Array2<f32> {
    let mut residuals = beliefs::probabilities(&embedded.logits, 1.0);
    for (image, mut row) in residuals.axis_iter_mut(Axis(0)).enumerate() {
        let label = embedded.labels.get(image).copied().flatten().filter(|_| labels).map(|label| label as usize);
        let class = label.filter(|class| *class < row.len());
        if let Some(class) = class.or_else(|| largest(row.iter().copied()).map(|(top, _)| top)) {
            row[class] -= 1.0;
        }
    }
    residuals.mapv(|x| x as f32)
}

fn with_one(features: &Array2<f32>) -> Array2<f32> {
    let mut with = Array2::ones((features.nrows(), features.ncols() + 1));
    with.slice_mut(s![.., ..-1]).assign(features);
    with
}

impl Rule for Flqmi {
    fn shortlist(&self) -> (Shortlist, u64) {
        (self.shortlist, self.seed)
    }

    fn target(&self) -> Option<Target> {
        Some(self.target)
    }

    fn goes_by_beliefs(&self) -> bool {
        self.alike_in == AlikeIn::Gradients
    }

    fn choose(
        &self,
        sets: &Sets,
        budget: usize,
        gate: &mut Gate,
        observer: &dyn Observer,
    ) -> Result<Vec<Chosen>, JointError> {
        if !(self.eta >= 0.0 && self.eta.is_finite()) {
            let found = self.eta.to_string();
            return Err(JointError::Option { option: "eta", found, expected: "a number of at least 0" });
        }
        let target = sets.the_target()?;
        sets.check(self.goes_by_beliefs())?;
        let alike = self.alike(sets.candidates, target);
        let nearest = |row: ndarray::ArrayView1<f32>| row.iter().copied().fold(0.0_f32, f32::max);
        let own: Vec<f64> = alike.axis_iter(Axis(0)).map(|row| self.eta * f64::from(nearest(row))).collect();
        let cover = Cover { alike: &alike, weights: &vec![1.0; target.len()], own: &own };
        cover.greedy(vec![0.0; target.len()], budget, (gate, observer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Seeded;
    use crate::observe::Unobserved;

    fn embedded(seed: u64, images: usize, labelled: bool) -> Embedded {
        let mut random = Seeded::new("flqmi test", &[seed]);
        let mut number = |_| (4.0 * random.unit() - 2.0) as f32;
        let features = Array2::from_shape_fn((images, 5), &mut number);
        let logits = Array2::from_shape_fn((images, 3), &mut number);
        Embedded { features, logits, labels: (0..images).map(|n| labelled.then_some((n % 3) as u32)).collect() }
    }

    /// The gradient of the cross-entropy in weights and biases of the last layer, written out.
    fn gradient(embedded: &Embedded, image: usize) -> Vec<f64> {
        let p = beliefs::probabilities(&embedded.logits, 1.0);
        let believed = (0..3).max_by(|a, b| p[[image, *a]].total_cmp(&p[[image, *b]]));
        let class = embedded.labels[image].map(|label| label as usize).or(believed).expect("classes");
        let of_class = |c: usize| {
            let residual = p[[image, c]] - if c == class { 1.0 } else { 0.0 };
            let weights = embedded.features.row(image).to_vec().into_iter();
            weights.map(move |h| residual * f64::from(h)).chain([residual])
        };
        (0..3).flat_map(of_class).collect()
    }

    fn similarity(a: &[f64], b: &[f64]) -> f64 {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        (1.0 + dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()) / 2.0
    }

    #[test]
    fn each_choice_adds_most_to_the_objective_written_out() {
        let (candidates, target) = (embedded(1, 14, false), embedded(2, 6, true));
        let sets = Sets { candidates: &candidates, labelled: &Embedded::default(), target: Some(&target) };
        for eta in [0.0, 1.0, 3.0] {
            let rule = Flqmi { eta, ..Flqmi::default() };
            let s = |n: usize, t: usize| similarity(&gradient(&candidates, n), &gradient(&target, t));
            let objective = |chosen: &[usize]| -> f64 {
                let to_target = |t: usize| chosen.iter().map(|n| s(*n, t)).fold(0.0, f64::max);
                let of_chosen = |n: &usize| (0..6).map(|t| s(*n, t)).fold(0.0, f64::max);
                (0..6).map(to_target).sum::<f64>() + eta * chosen.iter().map(of_chosen).sum::<f64>()
            };
            let found = rule.choose(&sets, 5, &mut Gate::open(), &Unobserved).expect("chosen");
            assert_eq!(found.len(), 5);
            let mut chosen: Vec<usize> = Vec::new();
            for Chosen { place, gain } in found {
                let with = |n: usize| objective(&[chosen.clone(), vec![n]].concat()) - objective(&chosen);
                let open: Vec<usize> = (0..14).filter(|n| !chosen.contains(n)).collect();
                let best = open.iter().map(|n| with(*n)).fold(f64::NEG_INFINITY, f64::max);
                // Similarities are kept in float32.
                assert!((gain - with(place)).abs() < 1e-5 && with(place) > best - 1e-5, "eta {eta}: {gain} {best}");
                chosen.push(place);
            }
        }
    }

    #[test]
    fn labels_of_the_target_count_only_where_they_are_asked_for() {
        let (candidates, target) = (embedded(1, 14, false), embedded(2, 6, true));
        let without = Embedded { labels: vec![None; 6], ..target.clone() };
        let alike = |labels, target| Flqmi { labels, ..Flqmi::default() }.alike(&candidates, target);
        assert_eq!(alike(false, &target), alike(true, &without));
        assert_ne!(alike(true, &target), alike(true, &without));
        let features = Flqmi { alike_in: AlikeIn::Features, ..Flqmi::default() }.alike(&candidates, &target);
        let row = |set: &Embedded, n: usize| set.features.row(n).iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
        let expected = similarity(&row(&candidates, 3), &row(&target, 4));
        assert!((f64::from(features[[3, 4]]) - expected).abs() < 1e-6);
    }
}
