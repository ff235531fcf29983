//! Greedy cover of targets by candidates.

use super::{Chosen, JointError, chosen_one};
use crate::lowest::Total;
use crate::observe::Observer;
use crate::select::filters::Gate;
use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView1};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// How alike candidates and targets are, and what a candidate is worth by it.
pub(super) struct Cover<'a> {
    /// Candidates by targets, `[N, T]`.
    pub(super) alike: &'a Array2<f32>,
    /// What covering each target is worth.
    pub(super) weights: &'a [f64],
    /// What each candidate adds besides, whatever else is chosen; empty where it is nothing.
    pub(super) own: &'a [f64],
}

/// A target counts as covered by the most alike.
pub(super) fn cover(covered: &mut [f32], by: ArrayView1<f32>) {
    covered.iter_mut().zip(by).for_each(|(covered, by)| *covered = covered.max(*by));
}

impl Cover<'_> {
    fn gain(&self, place: usize, covered: &[f32]) -> f64 {
        let by = self.alike.row(place);
        let targets = by.iter().zip(covered).zip(self.weights);
        let cover: f64 = targets.map(|((by, covered), w)| w * f64::from((by - covered).max(0.0))).sum();
        cover + self.own.get(place).copied().unwrap_or(0.0)
    }

    /// The greedy choice, from what is `covered` already. A gain only falls as more is chosen, so that one which is still the
    /// largest after it was computed anew is the largest of all (Minoux 1978).
    pub(super) fn greedy(
        &self,
        mut covered: Vec<f32>,
        budget: usize,
        (gate, observer): (&mut Gate, &dyn Observer),
    ) -> Result<Vec<Chosen>, JointError> {
        let first: Vec<f64> = (0..self.alike.nrows()).into_par_iter().map(|place| self.gain(place, &covered)).collect();
        // Of equal gains the first candidate; the last number says for how many chosen a gain was computed.
        let mut heap: BinaryHeap<(Total, Reverse<usize>, usize)> =
            first.into_iter().enumerate().map(|(place, gain)| (Total::of(gain), Reverse(place), 0)).collect();
        let mut chosen: Vec<Chosen> = Vec::new();
        while chosen.len() < budget {
            let Some((best, Reverse(place), after)) = heap.pop() else { break };
            if after < chosen.len() {
                heap.push((Total::of(self.gain(place, &covered)), Reverse(place), chosen.len()));
                continue;
            }
            if !gate.admits(place) {
                continue;
            }
            cover(&mut covered, self.alike.row(place));
            chosen.push(Chosen { place, gain: best.value() });
            chosen_one(observer)?;
        }
        Ok(chosen)
    }
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
            let own: Vec<f64> = (0..30).map(|_| if seed < 5 { 0.0 } else { random.unit() }).collect();
            let cover = Cover { alike: &alike, weights: &weights, own: &own };
            let found = cover.greedy(vec![0.3; 20], 8, (&mut Gate::open(), &Unobserved)).expect("chosen");
            assert_eq!(found.len(), 8);
            let mut chosen: Vec<usize> = Vec::new();
            let of = |chosen: &[usize]| -> f64 {
                let covered = |t: usize| chosen.iter().fold(0.3, |most: f32, n| most.max(alike[[*n, t]]));
                let targets: f64 = (0..20).map(|t| weights[t] * f64::from(covered(t))).sum();
                targets + chosen.iter().map(|n| own[*n]).sum::<f64>()
            };
            for found in found {
                let with = |n: usize| of(&[chosen.clone(), vec![n]].concat()) - of(&chosen);
                let open = (0..30).filter(|n| !chosen.contains(n));
                let best = open.map(with).fold(f64::NEG_INFINITY, f64::max);
                assert!((found.gain - best).abs() < 1e-6 && (with(found.place) - best).abs() < 1e-6);
                chosen.push(found.place);
            }
        }
    }
}
