//! ProbCover: candidates whose balls cover most of what is not covered yet (Yehuda et al., Active learning through a covering
//! lens, NeurIPS 2022).
//!
//! Balls are of one radius in features of unit length. Where it is not given it is the largest of 0.2, 0.4, ..., 2 at which the
//! balls of 95 % of the images stay within one cluster, of as many clusters as there are classes among the labelled images.
//! Cost: features; the distance of every two candidates, and a bit of memory for it. When not to use: as `typiclust`, past the
//! first rounds and on features that show no clusters.

use super::distances::{between, unit_rows};
use super::k_means::clusters;
use super::linear::BLOCK;
use super::{Chosen, JointError, Rule, Sets, Shortlist, chosen_one, largest};
use crate::observe::Observer;
use crate::select::filters::Gate;
use crate::select::strategy::{Needs, StrategyOptions, StrategyRow};
use ndarray::{Array2, Axis, concatenate, s};
use std::collections::BTreeSet;

pub(in crate::select) const ROW: StrategyRow = StrategyRow {
    name: "prob-cover",
    about: "whose neighbourhoods cover most of the pool: for the first rounds",
    needs: Needs::Embedding,
    options: || StrategyOptions::ProbCover(ProbCover::default()),
};

/// Share of the balls that must stay within one cluster.
const PURE: f64 = 0.95;
/// Radii that are tried.
const STEP: f64 = 0.2;
const STEPS: usize = 10;

/// Options of `prob-cover`.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ProbCover {
    /// Seed of the shortlist and of the clusters.
    pub seed: u64,
    /// The radius of a ball, in (0, 2]; found by the purity of balls where it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub radius: Option<f64>,
    /// The candidates.
    pub shortlist: Shortlist,
}

impl Rule for ProbCover {
    fn shortlist(&self) -> (Shortlist, u64) {
        (self.shortlist, self.seed)
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
        let candidates = unit_rows(&sets.candidates.features);
        let labelled = match sets.labelled.is_empty() {
            true => Array2::zeros((0, candidates.ncols())),
            false => unit_rows(&sets.labelled.features),
        };
        let radius = match self.radius {
            Some(radius) if radius > 0.0 && radius.is_finite() => radius,
            Some(radius) => {
                let found = radius.to_string();
                return Err(JointError::Option { option: "radius", found, expected: "a number above 0" });
            }
            None => self.pure_radius(sets, &candidates, &labelled, observer)?,
        };
        let mut covered = vec![false; candidates.nrows()];
        for block in labelled.axis_chunks_iter(Axis(0), BLOCK) {
            for apart in between(block, candidates.view()).axis_iter(Axis(0)) {
                covered.iter_mut().zip(apart).for_each(|(covered, d)| *covered |= *d <= radius * radius);
            }
        }
        let balls = Balls::of(&candidates, radius, observer)?;
        // How many images that are not covered each ball holds.
        let mut counts: Vec<usize> =
            (0..candidates.nrows()).map(|place| balls.within(place).filter(|other| !covered[*other]).count()).collect();
        let mut taken = vec![false; candidates.nrows()];
        let mut chosen = Vec::new();
        while chosen.len() < budget {
            let open = counts.iter().zip(&taken).map(|(count, taken)| if *taken { f64::NAN } else { *count as f64 });
            let Some((place, gain)) = largest(open) else { break };
            taken[place] = true;
            if !gate.admits(place) {
                continue;
            }
            chosen.push(Chosen { place, gain });
            for newly in balls.within(place) {
                if !std::mem::replace(&mut covered[newly], true) {
                    balls.within(newly).for_each(|ball| counts[ball] -= 1);
                }
            }
            chosen_one(observer)?;
        }
        Ok(chosen)
    }
}

/// Which images lie within the radius of each, a bit for every two.
struct Balls {
    /// Words a row.
    words: usize,
    bits: Vec<u64>,
}

impl Balls {
    fn of(candidates: &Array2<f64>, radius: f64, observer: &dyn Observer) -> Result<Balls, JointError> {
        let words = candidates.nrows().div_ceil(64);
        let mut bits = vec![0; words * candidates.nrows()];
        // Both ways, so that rounding leaves no image in the ball of another that is not in its own.
        for (number, block) in candidates.axis_chunks_iter(Axis(0), BLOCK).enumerate() {
            if observer.interrupted() {
                return Err(JointError::Interrupted);
            }
            let first = number * BLOCK;
            let apart = between(block, candidates.slice(s![first.., ..]));
            for ((row, column), d) in apart.indexed_iter() {
                let (a, b) = (first + row, first + column);
                if *d <= radius * radius {
                    bits[a * words + b / 64] |= 1 << (b % 64);
                    bits[b * words + a / 64] |= 1 << (a % 64);
                }
            }
        }
        Ok(Balls { words, bits })
    }

    /// Places of the images within the radius of one.
    fn within(&self, place: usize) -> impl Iterator<Item = usize> {
        let row = &self.bits[place * self.words..(place + 1) * self.words];
        row.iter().enumerate().flat_map(|(word, bits)| {
            let mut left = *bits;
            std::iter::from_fn(move || {
                let bit = left.checked_ilog2()?;
                left ^= 1 << bit;
                Some(word * 64 + bit as usize)
            })
        })
    }
}

impl ProbCover {
    /// The largest radius whose balls are pure enough; the least there is where none is.
    fn pure_radius(
        &self,
        sets: &Sets,
        candidates: &Array2<f64>,
        labelled: &Array2<f64>,
        observer: &dyn Observer,
    ) -> Result<f64, JointError> {
        let classes: BTreeSet<u32> = sets.labelled.labels.iter().flatten().copied().collect();
        let all = concatenate(Axis(0), &[candidates.view(), labelled.view()]).unwrap_or_default();
        let cluster = clusters(all.view(), classes.len().max(2), self.seed, observer)?;
        // The least distance of each image to one of another cluster: its ball is pure below it.
        let mut least = vec![f64::INFINITY; all.nrows()];
        for start in (0..all.nrows()).step_by(BLOCK) {
            let block = all.slice(s![start..(start + BLOCK).min(all.nrows()), ..]);
            for (row, apart) in between(block, all.view()).axis_iter(Axis(0)).enumerate() {
                let own = cluster[start + row];
                let others = apart.iter().zip(&cluster).filter(|(_, of)| **of != own).map(|(d, _)| *d);
                least[start + row] = others.fold(f64::INFINITY, f64::min).sqrt();
            }
        }
        let pure = |radius: f64| least.iter().filter(|least| **least > radius).count() as f64 / least.len() as f64;
        let tried = (1..=STEPS).map(|step| step as f64 * STEP);
        Ok(tried.take_while(|radius| pure(*radius) >= PURE).last().unwrap_or(STEP))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Unobserved;
    use crate::select::Embedded;

    /// On the circle at these angles.
    fn at(angles: &[f64]) -> Embedded {
        let of = |(i, j): (usize, usize)| if j == 0 { angles[i].cos() } else { angles[i].sin() } as f32;
        Embedded {
            features: Array2::from_shape_fn((angles.len(), 2), of),
            logits: Array2::zeros((angles.len(), 0)),
            labels: vec![Some(0); angles.len()],
        }
    }

    #[test]
    fn the_fullest_ball_comes_first_and_what_it_covers_counts_no_more() {
        // Five around 0, three around 1, two around 2, one of which is covered by a label; one alone at 3.
        let candidates = at(&[-0.1, -0.05, 0.0, 0.05, 0.1, 0.95, 1.0, 1.05, 2.0, 2.02, 3.0]);
        let labelled = at(&[2.2]);
        let sets = Sets { candidates: &candidates, labelled: &labelled, target: None };
        let rule = ProbCover { radius: Some(0.19), ..ProbCover::default() };
        let chosen = rule.choose(&sets, 4, &mut Gate::open(), &Unobserved).expect("chosen");
        let found: Vec<(usize, f64)> = chosen.into_iter().map(|c| (c.place, c.gain)).collect();
        // 2.02 lies within 0.19 of the label and 2.0 does not: its ball has one image that is not covered.
        assert_eq!(found, [(1, 5.0), (5, 3.0), (8, 1.0), (10, 1.0)]);
    }

    #[test]
    fn the_radius_is_the_largest_whose_balls_keep_to_their_clusters() {
        // Two clusters, 1.0 apart at the nearest (a chord of 2 sin(1/2) = 0.96) and 0.2 wide.
        let angles: Vec<f64> = (0..20).map(|n| f64::from(n % 10) * 0.02 + if n < 10 { 0.0 } else { 1.18 }).collect();
        let (candidates, labelled) = (at(&angles), at(&[]));
        let sets = Sets { candidates: &candidates, labelled: &labelled, target: None };
        let rows = unit_rows(&candidates.features);
        let none = Array2::zeros((0, 2));
        let found = ProbCover::default().pure_radius(&sets, &rows, &none, &Unobserved).expect("a radius");
        assert!((found - 0.8).abs() < 1e-12, "{found}");
    }
}
