//! Influence on the reference set with a Gaussian process in the place of a linear head: for features that are good already.
//!
//! Of features of unit length, `k(a, b) = exp(-|a - b|^2 / r^2)`, `r` twice the least distance between labelled images of
//! different classes. Given what is labelled and chosen, the next image is the one that lowers the targets' variance most,
//! weighted by what each has to gain: the largest `sum over targets of w cov(target, u)^2 / (var(u) + noise)`. `w` is a
//! target's loss under calibrated beliefs where it has a label, else one minus its margin. It is the second-moment influence
//! of Ash et al. (arXiv 2106.09675) again: with a linear kernel, equal weights and a noise of one it is the last layer's
//! design for squared loss.
//!
//! Cost: features and beliefs; a multiplication a candidate for every target, labelled and chosen image, for each image that is
//! chosen. When not to use: with features of a network that was trained on few labels from scratch.

use super::distances::{between, unit_rows};
use super::linear::BLOCK;
use super::radius::radius;
use super::{Chosen, Embedded, JointError, Rule, Sets, Shortlist, Target, beliefs, chosen_one, largest};
use crate::observe::Observer;
use crate::select::filters::Gate;
use crate::select::strategy::{Needs, StrategyOptions, StrategyRow};
use ndarray::parallel::prelude::*;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, concatenate};
use rayon::slice::ParallelSliceMut as _;

pub(in crate::select) const ROW: StrategyRow = StrategyRow {
    name: "influence-kernel",
    about: "chosen jointly for the reference set by distances between good features, as of a frozen encoder",
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
        let gaussian =
            move |a: ArrayView2<f64>, b: ArrayView2<f64>| between(a, b).mapv(|d| (-d / (width * width)).exp());
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

type Kernel = dyn Fn(ArrayView2<f64>, ArrayView2<f64>) -> Array2<f64> + Sync;

struct Process<'a> {
    kernel: &'a Kernel,
    noise: f64,
}

impl Process<'_> {
    fn choose(
        &self,
        candidates: &Array2<f64>,
        labelled: &Array2<f64>,
        targets: &Array2<f64>,
        weights: &[f64],
        budget: usize,
        (gate, observer): (&mut Gate, &dyn Observer),
    ) -> Result<Vec<Chosen>, JointError> {
        let first = labelled.nrows();
        let points = concatenate(Axis(0), &[labelled.view(), candidates.view()]).unwrap_or_default();
        let mut given = Given {
            covariance: (self.kernel)(points.view(), targets.view()),
            variance: points.axis_iter(Axis(0)).map(|x| one_with(self.kernel, x, x)).collect(),
            factors: Vec::new(),
        };
        let weights = Array1::from(weights.to_vec());
        for place in 0..first {
            given.condition(place, &self.row(&points, place), self.noise);
            if observer.interrupted() {
                return Err(JointError::Interrupted);
            }
        }
        let mut taken = vec![false; points.nrows()];
        taken[..first].fill(true);
        let mut chosen = Vec::new();
        while chosen.len() < budget {
            let gains = given.gains(&weights, self.noise);
            let open = gains.iter().zip(&taken).map(|(gain, taken)| if *taken { f64::NAN } else { *gain });
            let Some((place, gain)) = largest(open) else { break };
            taken[place] = true;
            if !gate.admits(place - first) {
                continue;
            }
            chosen.push(Chosen { place: place - first, gain });
            given.condition(place, &self.row(&points, place), self.noise);
            chosen_one(observer)?;
        }
        Ok(chosen)
    }

    /// Covariances of one point with all, before anything is known.
    fn row(&self, points: &Array2<f64>, place: usize) -> Vec<f64> {
        (self.kernel)(points.slice(ndarray::s![place..=place, ..]), points.view()).into_iter().collect()
    }
}

fn one_with(kernel: &Kernel, a: ArrayView1<f64>, b: ArrayView1<f64>) -> f64 {
    kernel(a.insert_axis(Axis(0)), b.insert_axis(Axis(0)))[[0, 0]]
}

/// Covariances given the points whose labels are known.
struct Given {
    /// Of every point with every target, `[P, T]`.
    covariance: Array2<f64>,
    /// Of every point.
    variance: Vec<f64>,
    /// For each known point its row of the Cholesky factor, over all points: what a further covariance loses by it.
    factors: Vec<Vec<f32>>,
}

impl Given {
    /// Makes the label of the point at `place` known, whose prior covariances with all points are `row`.
    fn condition(&mut self, place: usize, row: &[f64], noise: f64) {
        let mut with: Vec<f64> = row.to_vec();
        let factors = &self.factors;
        with.par_chunks_mut(BLOCK).enumerate().for_each(|(block, with)| {
            let start = block * BLOCK;
            for factor in factors {
                let own = f64::from(factor[place]);
                for (with, other) in with.iter_mut().zip(&factor[start..]) {
                    *with -= own * f64::from(*other);
                }
            }
        });
        let total = self.variance[place].max(0.0) + noise;
        let to_targets = self.covariance.row(place).to_owned();
        let rows = self.covariance.axis_iter_mut(Axis(0)).into_par_iter().zip(&with).zip(&mut self.variance);
        rows.for_each(|((mut covariance, with), variance)| {
            let share = with / total;
            covariance.scaled_add(-share, &to_targets);
            *variance -= share * with;
        });
        let scale = total.sqrt();
        self.factors.push(with.into_iter().map(|with| (with / scale) as f32).collect());
    }

    fn gains(&self, weights: &Array1<f64>, noise: f64) -> Vec<f64> {
        let rows = self.covariance.axis_iter(Axis(0)).into_par_iter().zip(&self.variance);
        let gain = |(covariance, variance): (ArrayView1<f64>, &f64)| {
            let sum: f64 = covariance.iter().zip(weights).map(|(c, w)| w * c * c).sum();
            sum / (variance.max(0.0) + noise)
        };
        rows.map(gain).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Seeded;
    use crate::observe::Unobserved;
    use nalgebra::DMatrix;

    fn rows(seed: u64, images: usize, width: usize) -> Array2<f64> {
        let mut random = Seeded::new("process test", &[seed]);
        Array2::from_shape_fn((images, width), |_| random.unit() * 2.0 - 1.0)
    }

    /// Sum over targets of weight times posterior variance given these known points.
    fn objective(kernel: &Kernel, noise: f64, known: &Array2<f64>, targets: &Array2<f64>, weights: &[f64]) -> f64 {
        let as_matrix = |x: Array2<f64>| DMatrix::from_fn(x.nrows(), x.ncols(), |i, j| x[[i, j]]);
        let prior = as_matrix(kernel(targets.view(), targets.view()));
        let cross = as_matrix(kernel(targets.view(), known.view()));
        let own =
            as_matrix(kernel(known.view(), known.view())) + DMatrix::identity(known.nrows(), known.nrows()) * noise;
        let posterior = &prior - &cross * own.try_inverse().expect("positive definite") * cross.transpose();
        weights.iter().enumerate().map(|(n, w)| w * posterior[(n, n)]).sum()
    }

    #[test]
    fn gains_are_what_the_variance_at_the_targets_falls_by_and_the_largest_is_taken() {
        let (candidates, labelled, targets) = (rows(1, 15, 3), rows(2, 4, 3), rows(3, 6, 3));
        let weights = [0.5, 1.0, 2.0, 0.1, 0.7, 1.5];
        let gaussian = |a: ArrayView2<f64>, b: ArrayView2<f64>| between(a, b).mapv(|d| (-d / 1.7).exp());
        let process = Process { kernel: &gaussian, noise: 0.1 };
        let chosen = process
            .choose(&candidates, &labelled, &targets, &weights, 6, (&mut Gate::open(), &Unobserved))
            .expect("chosen");
        let mut known = labelled.clone();
        for Chosen { place, gain } in chosen {
            let with = |n: usize| {
                let one = candidates.select(Axis(0), &[n]);
                let more = concatenate(Axis(0), &[known.view(), one.view()]).expect("rows of a width");
                objective(&gaussian, 0.1, &more, &targets, &weights)
            };
            let before = objective(&gaussian, 0.1, &known, &targets, &weights);
            // Rows of the factor are kept in float32: some 1e-7 of each covariance.
            assert!((before - with(place) - gain).abs() < 1e-5, "{gain}");
            let best = (0..15).map(with).fold(f64::INFINITY, f64::min);
            assert!(with(place) < best + 1e-5);
            known = concatenate(Axis(0), &[known.view(), candidates.select(Axis(0), &[place]).view()]).expect("rows");
        }
    }

    /// With a linear kernel and a noise of one, the variance at a target is h' (H'H + I)^-1 h: the design of a ridge.
    #[test]
    fn a_linear_kernel_gives_the_design_of_the_last_layer_for_squared_loss() {
        let (candidates, labelled, targets) = (rows(4, 12, 3), rows(5, 5, 3), rows(6, 7, 3));
        let linear = |a: ArrayView2<f64>, b: ArrayView2<f64>| a.dot(&b.t());
        let process = Process { kernel: &linear, noise: 1.0 };
        let chosen = process
            .choose(&candidates, &labelled, &targets, &[1.0; 7], 5, (&mut Gate::open(), &Unobserved))
            .expect("chosen");
        let design = |rows: &Array2<f64>| {
            let a = rows.t().dot(rows) + Array2::<f64>::eye(3);
            let inverse = DMatrix::from_fn(3, 3, |i, j| a[[i, j]]).try_inverse().expect("positive definite");
            let moment = targets.t().dot(&targets);
            (inverse * DMatrix::from_fn(3, 3, |i, j| moment[[i, j]])).trace()
        };
        let mut known = labelled;
        for Chosen { place, gain } in chosen {
            let with = |n: usize| {
                let one = candidates.select(Axis(0), &[n]);
                concatenate(Axis(0), &[known.view(), one.view()]).expect("rows of a width")
            };
            assert!((design(&known) - design(&with(place)) - gain).abs() < 1e-5);
            known = with(place);
        }
    }
}
