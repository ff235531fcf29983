//! The posterior of a Gaussian process, and the points that lower its variance at the targets most.
//!
//! With prior covariances `k` and labels of variance `noise`, a label of the point `u` changes the covariance of `a` and `b`
//! by `-cov(a, u) cov(u, b) / (var(u) + noise)`. What is kept: covariances of candidates with targets, `[N, T]` in float32;
//! variances of the candidates; and for each known point a column of the Cholesky factor over the candidates, in float32, which
//! gives covariances among candidates. Labelled points are taken in by blocks. Bounded by `4 N (T + labelled + chosen)` bytes,
//! and `6 KB` a candidate for what is computed ahead.

use super::conditioned::Conditioned;
use super::factor::Factor;
use super::linear::{BLOCK, add_product, product};
use super::{Chosen, JointError, chosen_one, largest, small};
use crate::observe::Observer;
use crate::select::filters::Gate;
use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView2, Axis, concatenate, s};

/// Labelled points that are taken in at a time.
const AT_ONCE: usize = 128;

/// The prior covariance of two points by their product and their squared lengths.
pub(super) type Kernel = dyn Fn(f64, f64, f64) -> f64 + Sync;

pub(super) struct Process<'a> {
    pub(super) kernel: &'a Kernel,
    pub(super) noise: f64,
}

impl Process<'_> {
    /// Up to `budget` of the candidates, each with what it lowers the weighted variance at the targets by.
    pub(super) fn choose(
        &self,
        candidates: &Array2<f64>,
        labelled: &Array2<f64>,
        targets: &Array2<f64>,
        weights: &[f64],
        budget: usize,
        (gate, observer): (&mut Gate, &dyn Observer),
    ) -> Result<Vec<Chosen>, JointError> {
        let mut given = self.given((candidates, labelled, targets), weights, observer)?;
        let mut chosen = Vec::new();
        while chosen.len() < budget {
            let Some((row, gain)) = largest(given.gains()) else { break };
            let place = given.place(row);
            if !gate.admits(place) {
                given.close(row);
                continue;
            }
            chosen.push(Chosen { place, gain });
            if chosen.len() < budget {
                given.condition(row);
            }
            chosen_one(observer)?;
        }
        Ok(chosen)
    }

    /// Covariances of every row of `a` with every row of `b`.
    fn between(&self, a: ArrayView2<f64>, b: ArrayView2<f64>) -> Array2<f64> {
        let squares = |of: ArrayView2<f64>| of.axis_iter(Axis(0)).map(|row| row.dot(&row)).collect::<Vec<f64>>();
        let (of_a, of_b) = (squares(a), squares(b));
        let mut covariance = product(a, b.t());
        covariance.axis_iter_mut(Axis(0)).into_par_iter().zip(of_a).for_each(|(mut row, a)| {
            row.iter_mut().zip(&of_b).for_each(|(x, b)| *x = (self.kernel)(*x, a, *b));
        });
        covariance
    }

    /// The posterior given the labelled points.
    fn given<'a>(
        &'a self,
        (candidates, labelled, targets): (&'a Array2<f64>, &Array2<f64>, &Array2<f64>),
        weights: &'a [f64],
        observer: &dyn Observer,
    ) -> Result<Conditioned<'a>, JointError> {
        let first = candidates.nrows();
        let last = first + labelled.nrows();
        let points = concatenate(Axis(0), &[candidates.view(), labelled.view(), targets.view()]).unwrap_or_default();
        // Columns of the factor, `[points, block]`.
        let mut factors: Vec<Array2<f32>> = Vec::new();
        for start in (first..last).step_by(AT_ONCE) {
            let block = s![start..(start + AT_ONCE).min(last), ..];
            let mut with = self.between(points.view(), points.slice(block));
            for factor in &factors {
                let factor = factor.mapv(f64::from);
                add_product(-1.0, factor.view(), factor.slice(block).t(), &mut with);
            }
            let mut own = with.slice(block).to_owned();
            own.diag_mut().mapv_inplace(|x| x + self.noise);
            let size = own.nrows();
            let mut l: Vec<f64> = own.iter().copied().collect();
            if !small::cholesky(&mut l, size) {
                return Err(JointError::Covariance { noise: self.noise.to_string() });
            }
            let back = Array2::from_shape_vec((size, size), small::inverse_of_lower(&l, size)).unwrap_or_default();
            factors.push(product(with.view(), back.t()).mapv(|x| x as f32));
            if observer.interrupted() {
                return Err(JointError::Interrupted);
            }
        }
        let mut variance: Vec<f64> = candidates
            .axis_iter(Axis(0))
            .map(|x| x.dot(&x))
            .map(|square| (self.kernel)(square, square, square))
            .collect();
        for factor in &factors {
            for (variance, row) in variance.iter_mut().zip(factor.axis_iter(Axis(0))) {
                *variance -= row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>();
            }
        }
        let mut covariance = Array2::zeros((first, targets.nrows()));
        for (block, mut rows) in covariance.axis_chunks_iter_mut(Axis(0), 16 * BLOCK).enumerate() {
            let range = s![block * 16 * BLOCK..block * 16 * BLOCK + rows.nrows(), ..];
            let mut with = self.between(candidates.slice(range), targets.view());
            for factor in &factors {
                let [own, of_targets] =
                    [factor.slice(range), factor.slice(s![last.., ..])].map(|part| part.mapv(f64::from));
                add_product(-1.0, own.view(), of_targets.t(), &mut with);
            }
            rows.zip_mut_with(&with, |to, from| *to = *from as f32);
        }
        let of_candidates = |factor: &Array2<f32>| factor.slice(s![..first, ..]).to_owned();
        let factor = Factor::new(factors.iter().map(of_candidates).collect());
        Ok(Conditioned::new((self, candidates, weights), covariance, variance, factor))
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
        let of = |a: &Array2<f64>, b: &Array2<f64>| {
            DMatrix::from_fn(a.nrows(), b.nrows(), |i, j| {
                let (a, b) = (a.row(i), b.row(j));
                kernel(a.dot(&b), a.dot(&a), b.dot(&b))
            })
        };
        let (prior, cross) = (of(targets, targets), of(targets, known));
        let own = of(known, known) + DMatrix::identity(known.nrows(), known.nrows()) * noise;
        let posterior = &prior - &cross * own.try_inverse().expect("positive definite") * cross.transpose();
        weights.iter().enumerate().map(|(n, w)| w * posterior[(n, n)]).sum()
    }

    /// The greedy choice with the whole posterior covariance of candidates and targets written out in float64, changed after
    /// every step.
    fn step_by_step(process: &Process, sets: [&Array2<f64>; 3], weights: &[f64], budget: usize) -> Vec<Chosen> {
        let [candidates, labelled, targets] = sets;
        let images = candidates.nrows();
        let points = concatenate(Axis(0), &[candidates.view(), targets.view(), labelled.view()]).expect("rows");
        let mut covariance = Array2::from_shape_fn((points.nrows(), points.nrows()), |(i, j)| {
            let (a, b) = (points.row(i), points.row(j));
            (process.kernel)(a.dot(&b), a.dot(&a), b.dot(&b))
        });
        let know = |covariance: &mut Array2<f64>, point: usize| {
            let own = covariance.row(point).to_owned();
            let total = own[point] + process.noise;
            for (mut row, share) in covariance.axis_iter_mut(Axis(0)).zip(&own) {
                row.scaled_add(-share / total, &own);
            }
        };
        (images + targets.nrows()..points.nrows()).for_each(|point| know(&mut covariance, point));
        let mut chosen: Vec<Chosen> = Vec::new();
        for _ in 0..budget {
            let gain = |place: usize| {
                let of_targets = covariance.row(place).slice_move(s![images..images + targets.nrows()]);
                let moment: f64 = of_targets.iter().zip(weights).map(|(c, w)| w * c * c).sum();
                moment / (covariance[[place, place]] + process.noise)
            };
            let open = |place: usize| !chosen.iter().any(|chosen| chosen.place == place);
            let gains = (0..images).map(|place| if open(place) { gain(place) } else { f64::NEG_INFINITY });
            let (place, gain) = largest(gains).expect("a candidate");
            chosen.push(Chosen { place, gain });
            know(&mut covariance, place);
        }
        chosen
    }

    /// Through several settlings, givings up and columns that are computed ahead and given up again; with every third candidate
    /// twice, of which the first comes first.
    #[test]
    fn the_choice_is_that_of_a_posterior_written_out_and_of_copies_the_first() {
        for (seed, width, images, budget) in [(11, 2, 700, 420), (12, 6, 500, 300), (13, 24, 400, 399)] {
            let mut candidates = rows(seed, images, width);
            for copy in (3..images).step_by(3) {
                let of = candidates.row(copy - 2).to_owned();
                candidates.row_mut(copy).assign(&of);
            }
            let (labelled, targets) = (rows(seed + 10, 150, width), rows(seed + 20, 300, width));
            let weights: Vec<f64> = rows(seed + 30, 300, 1).iter().map(|x| x.abs()).collect();
            let radius = width as f64 / 3.0;
            let gaussian = move |product: f64, a: f64, b: f64| (-(a + b - 2.0 * product).max(0.0) / radius).exp();
            let process = Process { kernel: &gaussian, noise: 0.1 };
            let found = process
                .choose(&candidates, &labelled, &targets, &weights, budget, (&mut Gate::open(), &Unobserved))
                .expect("chosen");
            let expected = step_by_step(&process, [&candidates, &labelled, &targets], &weights, budget);
            for (step, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert_eq!(found.place, expected.place, "seed {seed}, step {step}: {found:?} {expected:?}");
                // Covariances and rows of the factor are kept in float32.
                assert!((found.gain - expected.gain).abs() < 1e-6 + 1e-4 * expected.gain, "{found:?} {expected:?}");
            }
        }
    }

    /// Many labelled points and many choices: blocks of the ones, and others given up on the way.
    #[test]
    fn long_choices_are_greedy_to_the_end() {
        let (candidates, labelled, targets) = (rows(7, 330, 2), rows(8, 140, 2), rows(9, 3, 2));
        let gaussian = |product: f64, a: f64, b: f64| (-(a + b - 2.0 * product) / 0.3).exp();
        let process = Process { kernel: &gaussian, noise: 0.1 };
        let weights = [0.5, 1.0, 2.0];
        let chosen = process
            .choose(&candidates, &labelled, &targets, &weights, 300, (&mut Gate::open(), &Unobserved))
            .expect("chosen");
        let mut places: Vec<usize> = chosen.iter().map(|chosen| chosen.place).collect();
        let mut known = labelled.clone();
        // One in thirty is looked at, since each takes the inverse of a matrix over all that is known.
        for (step, Chosen { place, gain }) in chosen.into_iter().enumerate() {
            let with = |n: usize| {
                let one = candidates.select(Axis(0), &[n]);
                concatenate(Axis(0), &[known.view(), one.view()]).expect("rows of a width")
            };
            if step % 30 == 29 {
                let of = |known: &Array2<f64>| objective(&gaussian, 0.1, known, &targets, &weights);
                let own = of(&known) - of(&with(place));
                // Rows of the factor are kept in float32: some 1e-7 of each covariance, of which there are hundreds.
                assert!((gain - own).abs() < 1e-7 + 1e-3 * own, "{step}: {gain} {own}");
            }
            known = with(place);
        }
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 300);
    }

    #[test]
    fn gains_are_what_the_variance_at_the_targets_falls_by_and_the_largest_is_taken() {
        let (candidates, labelled, targets) = (rows(1, 15, 3), rows(2, 4, 3), rows(3, 6, 3));
        let weights = [0.5, 1.0, 2.0, 0.1, 0.7, 1.5];
        let gaussian = |product: f64, a: f64, b: f64| (-(a + b - 2.0 * product) / 1.7).exp();
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
        let linear = |product: f64, _: f64, _: f64| product;
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
