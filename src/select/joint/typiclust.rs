//! TypiClust: from clusters without a label, the image most like its neighbours (Hacohen, Dekel and Weinshall, Active learning
//! on a budget, ICML 2022).
//!
//! Candidates and labelled images are clustered together, into as many clusters as there are labels and budget (500 at most);
//! clusters with the fewest labels come first, then the largest, and of each the image whose 20 nearest in the cluster are
//! nearest. Clusters of five images and fewer are left out. Cost: features, and the clustering. When not to use: past the
//! first rounds, since it never asks where the model is unsure; and on features of a model of few labels, which show no
//! clusters (features of a general encoder, `--features`, do).

use super::distances::{between, unit_rows};
use super::k_means::clusters;
use super::{BY_DISTANCES, Chosen, JointError, Rule, Sets, Shortlist, chosen_one, largest};
use crate::observe::Observer;
use crate::select::filters::Gate;
use crate::select::strategy::{Needs, StrategyOptions, StrategyRow};
use ndarray::{Axis, concatenate};

pub(in crate::select) const ROW: StrategyRow = StrategyRow {
    name: "typiclust",
    about: "the most typical image of clusters without a label: for the first rounds",
    needs: Needs::Embedding,
    options: || StrategyOptions::TypiClust(TypiClust::default()),
};

/// Clusters at most.
const CLUSTERS: usize = 500;
/// Clusters of so many images and fewer are left out.
const SMALL: usize = 5;
/// Neighbours that show how typical an image is.
const NEIGHBOURS: usize = 20;

/// Options of `typiclust`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TypiClust {
    /// Seed of the shortlist and of the clusters.
    pub seed: u64,
    /// The candidates.
    pub shortlist: Shortlist,
}

struct Cluster {
    /// Candidates that are not chosen yet.
    open: Vec<usize>,
    images: usize,
    labels: usize,
}

impl Rule for TypiClust {
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
        let candidates = unit_rows(&sets.candidates.features);
        let of_labelled = unit_rows(&sets.labelled.features);
        let all = match of_labelled.nrows() {
            0 => candidates.clone(),
            _ => concatenate(Axis(0), &[candidates.view(), of_labelled.view()]).unwrap_or_default(),
        };
        let wanted = (sets.labelled.len() + budget).min(CLUSTERS);
        let assigned = clusters(all.view(), wanted, self.seed, observer)?;
        let mut found: Vec<Cluster> = (0..wanted).map(|_| Cluster { open: Vec::new(), images: 0, labels: 0 }).collect();
        for (place, cluster) in assigned.into_iter().enumerate() {
            let cluster = &mut found[cluster];
            cluster.images += 1;
            match place < candidates.nrows() {
                true => cluster.open.push(place),
                false => cluster.labels += 1,
            }
        }
        if found.iter().any(|cluster| cluster.images > SMALL && !cluster.open.is_empty()) {
            found.retain(|cluster| cluster.images > SMALL);
        }
        // Stable: of equals the first.
        found.sort_by_key(|cluster| (cluster.labels, std::cmp::Reverse(cluster.images)));
        let mut chosen = Vec::new();
        while chosen.len() < budget && found.iter().any(|cluster| !cluster.open.is_empty()) {
            for cluster in &mut found {
                if cluster.open.is_empty() || chosen.len() == budget {
                    continue;
                }
                let rows = candidates.select(Axis(0), &cluster.open);
                let Some((at, gain)) = largest(typicality(&rows).into_iter()) else { break };
                let place = cluster.open.remove(at);
                if gate.admits(place) {
                    chosen.push(Chosen { place, gain });
                    chosen_one(observer)?;
                }
            }
        }
        Ok(chosen)
    }
}

/// One over the mean distance of each row to its nearest others.
fn typicality(rows: &ndarray::Array2<f64>) -> Vec<f64> {
    /// Keeps copies finite, as published.
    const LEAST: f64 = 1e-5;
    let images = rows.nrows();
    let neighbours = NEIGHBOURS.min(images / 2).max(1).min(images.saturating_sub(1));
    if neighbours == 0 {
        return vec![1.0 / LEAST; images];
    }
    let apart = between(rows.view(), rows.view());
    let of = |(own, row): (usize, ndarray::ArrayView1<f64>)| {
        let mut others: Vec<f64> = row.iter().enumerate().filter(|(other, _)| *other != own).map(|(_, d)| *d).collect();
        let (nearest, last, _) = others.select_nth_unstable_by(neighbours - 1, f64::total_cmp);
        let sum: f64 = nearest.iter().map(|d| d.sqrt()).sum::<f64>() + last.sqrt();
        1.0 / (sum / neighbours as f64 + LEAST)
    };
    apart.axis_iter(Axis(0)).enumerate().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Seeded;
    use crate::observe::Unobserved;
    use crate::select::Embedded;
    use ndarray::Array2;

    /// Around angle `a` on the circle: nine images whose middle one is the most typical.
    fn around(angles: &[f64]) -> Embedded {
        let at = |a: f64, k: usize| a + 0.004 * ((k as f64) - 4.0).powi(3) / 64.0;
        let places: Vec<f64> = angles.iter().flat_map(|a| (0..9).map(move |k| at(*a, k))).collect();
        let features = Array2::from_shape_fn(
            (places.len(), 2),
            |(i, j)| if j == 0 { places[i].cos() } else { places[i].sin() } as f32,
        );
        Embedded { logits: Array2::zeros((places.len(), 0)), labels: vec![None; places.len()], features }
    }

    #[test]
    fn each_cluster_without_a_label_gives_its_most_typical_image() {
        let candidates = around(&[0.0, 1.5, 3.0]);
        let labelled = Embedded {
            features: candidates.features.slice(ndarray::s![9..10, ..]).to_owned(),
            logits: Array2::zeros((1, 0)),
            labels: vec![Some(0)],
        };
        let sets = Sets { candidates: &candidates, labelled: &labelled, target: None };
        for seed in 0..10 {
            let chosen = TypiClust { seed, ..TypiClust::default() }
                .choose(&sets, 2, &mut Gate::open(), &Unobserved)
                .expect("chosen");
            let mut places: Vec<usize> = chosen.iter().map(|c| c.place).collect();
            places.sort_unstable();
            assert_eq!(places, [4, 22], "the middle ones of the first and the third");
        }
        let all = TypiClust::default().choose(&sets, 99, &mut Gate::open(), &Unobserved).expect("chosen");
        assert_eq!(all.iter().map(|c| c.place).collect::<std::collections::BTreeSet<_>>().len(), 27);
    }

    #[test]
    fn typicality_is_one_over_the_mean_distance_to_the_nearest() {
        let mut random = Seeded::new("typicality", &[]);
        let rows = Array2::from_shape_fn((6, 2), |_| random.unit());
        for (own, found) in typicality(&rows).into_iter().enumerate() {
            let apart = |n: usize| (&rows.row(own) - &rows.row(n)).mapv(|x| x * x).sum().sqrt();
            let mut others: Vec<f64> = (0..6).filter(|n| *n != own).map(apart).collect();
            others.sort_by(f64::total_cmp);
            let expected = 1.0 / (others[..3].iter().sum::<f64>() / 3.0 + 1e-5);
            assert!((found / expected - 1.0).abs() < 1e-9);
        }
    }
}
