//! BADGE: k-means++ seeds among the gradients of the last layer under the model's own guesses (Ash et al., Deep batch active
//! learning by diverse, uncertain gradient lower bounds, ICLR 2020).
//!
//! A gradient is `(p - e) (x) h`, `e` the one-hot of the likeliest class; products of two are those of their factors, so it is
//! never formed. The first is the longest, each next one is drawn with odds of its squared distance to the nearest before.
//! Cost: features and beliefs; `C + F` multiplications a candidate and chosen image. When not to use: on imbalanced pools,
//! where it takes what the pool is full of.

use super::distances::dot;
use super::linear::BLOCK;
use super::{BY_DISTANCES, Chosen, JointError, Rule, Sets, Shortlist, beliefs, chosen_one, largest};
use crate::data::Seeded;
use crate::observe::Observer;
use crate::select::filters::Gate;
use crate::select::strategy::{Needs, StrategyOptions, StrategyRow};
use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView1, Axis};
use rayon::slice::ParallelSliceMut as _;

pub(in crate::select) const ROW: StrategyRow = StrategyRow {
    name: "badge",
    about: "spread among the gradients of the last layer under the model's own guesses",
    needs: Needs::Embedding,
    options: || StrategyOptions::Badge(Badge::default()),
};

/// Options of `badge`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Badge {
    /// Seed of the shortlist and of the draws.
    pub seed: u64,
    /// The candidates.
    pub shortlist: Shortlist,
}

/// Gradients by their factors.
struct Gradients<'a> {
    residuals: Array2<f32>,
    features: &'a Array2<f32>,
    squares: Vec<f32>,
}

impl Gradients<'_> {
    fn squared_distance(&self, a: usize, b: usize) -> f32 {
        let of = |x: &Array2<f32>| {
            let (a, b) = (x.row(a), x.row(b));
            dot(a.as_slice().unwrap_or_default(), b.as_slice().unwrap_or_default())
        };
        (self.squares[a] + self.squares[b] - 2.0 * of(&self.residuals) * of(self.features)).max(0.0)
    }
}

fn gradients<'a>(sets: &Sets<'a>) -> Gradients<'a> {
    let mut residuals = beliefs::probabilities(&sets.candidates.logits, 1.0);
    for mut row in residuals.axis_iter_mut(Axis(0)) {
        if let Some((top, _)) = largest(row.iter().copied()) {
            row[top] -= 1.0;
        }
    }
    let residuals = residuals.mapv(|x| x as f32);
    let features = &sets.candidates.features;
    let square = |x: ArrayView1<f32>| x.dot(&x);
    let squares =
        residuals.axis_iter(Axis(0)).zip(features.axis_iter(Axis(0))).map(|(r, h)| square(r) * square(h)).collect();
    Gradients { residuals, features, squares }
}

impl Rule for Badge {
    fn shortlist(&self) -> (Shortlist, u64) {
        (self.shortlist, self.seed)
    }

    fn least_candidates(&self) -> usize {
        BY_DISTANCES
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
        sets.check(true)?;
        let gradients = gradients(sets);
        let images = gradients.squares.len();
        let mut random = Seeded::new("badge", &[self.seed]);
        let mut nearest = vec![f32::INFINITY; images];
        let mut taken = vec![false; images];
        let mut chosen: Vec<Chosen> = Vec::new();
        while chosen.len() < budget && taken.contains(&false) {
            let open = |place: usize| if taken[place] { 0.0 } else { f64::from(nearest[place]) };
            let (place, gain) = match chosen.is_empty() {
                true => {
                    let squares = gradients.squares.iter().zip(&taken);
                    let open = squares.map(|(square, taken)| if *taken { f64::NAN } else { f64::from(*square) });
                    largest(open).unwrap_or((0, 0.0))
                }
                false => {
                    let all: f64 = (0..images).map(open).sum();
                    let place = match all > 0.0 {
                        true => drawn(&mut random, all, images, open),
                        // All that is left is like something chosen.
                        false => taken.iter().position(|taken| !taken).unwrap_or(0),
                    };
                    (place, open(place))
                }
            };
            taken[place] = true;
            if !gate.admits(place) {
                continue;
            }
            chosen.push(Chosen { place, gain: gain.sqrt() });
            nearest.par_chunks_mut(BLOCK).enumerate().for_each(|(block, nearest)| {
                for (n, nearest) in nearest.iter_mut().enumerate() {
                    *nearest = nearest.min(gradients.squared_distance(block * BLOCK + n, place));
                }
            });
            chosen_one(observer)?;
        }
        Ok(chosen)
    }
}

/// A place drawn with these odds, which sum to `all`.
fn drawn(random: &mut Seeded, all: f64, images: usize, odds: impl Fn(usize) -> f64) -> usize {
    let mut left = random.unit() * all;
    let mut last = 0;
    for place in 0..images {
        let own = odds(place);
        if own > 0.0 {
            last = place;
            if left < own {
                return place;
            }
            left -= own;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Unobserved;
    use crate::select::Embedded;
    use ndarray::array;

    fn candidates() -> Embedded {
        Embedded {
            features: array![[1.0, 0.0], [0.0, 2.0], [1.0, 1.0], [1.0, 1.0]],
            logits: array![[0.1, 0.0, -1.0], [0.0, 0.3, 0.2], [2.0, 0.0, 1.0], [2.0, 0.0, 1.0]],
            labels: vec![None; 4],
        }
    }

    #[test]
    fn distances_are_those_of_the_gradients_written_out() {
        let candidates = candidates();
        let sets = Sets { candidates: &candidates, labelled: &Embedded::default(), target: None };
        let found = gradients(&sets);
        let whole = |n: usize| -> Vec<f64> {
            let p = beliefs::probabilities(&candidates.logits, 1.0);
            let top = [0, 1, 0, 0][n];
            let residual = |c: usize| p[[n, c]] - if c == top { 1.0 } else { 0.0 };
            (0..3)
                .flat_map(|c| candidates.features.row(n).to_vec().into_iter().map(move |h| residual(c) * f64::from(h)))
                .collect()
        };
        for a in 0..4 {
            for b in 0..4 {
                let expected: f64 = whole(a).iter().zip(whole(b)).map(|(a, b)| (a - b) * (a - b)).sum();
                assert!((f64::from(found.squared_distance(a, b)) - expected).abs() < 1e-5, "{a} {b}");
            }
        }
    }

    #[test]
    fn the_longest_is_first_and_the_others_are_drawn_by_their_squared_distances() {
        const DRAWS: u64 = 20_000;
        let candidates = candidates();
        let sets = Sets { candidates: &candidates, labelled: &Embedded::default(), target: None };
        let of = gradients(&sets);
        let mut second = [0.0_f64; 4];
        for seed in 0..DRAWS {
            let chosen =
                Badge { seed, ..Badge::default() }.choose(&sets, 2, &mut Gate::open(), &Unobserved).expect("chosen");
            assert_eq!(chosen[0].place, 1, "the longest gradient");
            second[chosen[1].place] += 1.0 / DRAWS as f64;
        }
        let odds: Vec<f64> = (0..4).map(|n| f64::from(of.squared_distance(n, 1))).collect();
        for (found, odds_of_one) in second.iter().zip(&odds) {
            // A share of 20,000 draws has a standard deviation below 0.0036.
            assert!((found - odds_of_one / odds.iter().sum::<f64>()).abs() < 0.018, "{second:?} {odds:?}");
        }
    }

    #[test]
    fn copies_of_a_chosen_image_come_last() {
        let candidates = candidates();
        let sets = Sets { candidates: &candidates, labelled: &Embedded::default(), target: None };
        for seed in 0..50 {
            let chosen =
                Badge { seed, ..Badge::default() }.choose(&sets, 4, &mut Gate::open(), &Unobserved).expect("chosen");
            assert!([2, 3].contains(&chosen[3].place) && chosen[3].gain < 1e-3, "{chosen:?}");
        }
    }
}
