//! The posterior of a Gaussian process, and the points that lower its variance at the targets most.
//!
//! With prior covariances `k` and labels of variance `noise`, a label of the point `u` changes the covariance of `a` and `b`
//! by `-cov(a, u) cov(u, b) / (var(u) + noise)`. What is kept: covariances of candidates with targets, `[N, T]` in float32;
//! variances of the candidates; and for each known point a row of the Cholesky factor over the candidates, in float32, by
//! which covariances among candidates are had one row at a time. Labelled points are taken in by blocks. Bounded by `4 N (T +
//! labelled + chosen)` bytes.

use super::linear::{BLOCK, add_product, dot, product};
use super::{Chosen, JointError, chosen_one, largest, small};
use crate::observe::Observer;
use crate::select::filters::Gate;
use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView2, Axis, concatenate, s};
use rayon::slice::ParallelSliceMut as _;

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
        let mut given = self.given(candidates, labelled, targets, observer)?;
        given.weigh(weights, self.noise);
        let mut chosen = Vec::new();
        while chosen.len() < budget {
            let Some((row, gain)) = largest(given.gains.iter().copied()) else { break };
            let place = given.places[row];
            if !gate.admits(place) {
                given.close(row);
                continue;
            }
            chosen.push(Chosen { place, gain });
            if chosen.len() < budget {
                given.condition(self, candidates, row, weights);
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
    fn given(
        &self,
        candidates: &Array2<f64>,
        labelled: &Array2<f64>,
        targets: &Array2<f64>,
        observer: &dyn Observer,
    ) -> Result<Given, JointError> {
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
        let rows_of = |factor: &Array2<f32>| {
            factor.axis_iter(Axis(1)).map(|column| column.slice(s![..first]).to_vec()).collect::<Vec<Vec<f32>>>()
        };
        Ok(Given {
            places: (0..first).collect(),
            squares: candidates.axis_iter(Axis(0)).map(|x| x.dot(&x)).collect(),
            covariance,
            variance,
            factors: factors.iter().flat_map(rows_of).collect(),
            gains: vec![0.0; first],
            closed: 0,
        })
    }
}

/// Covariances given the points whose labels are known.
struct Given {
    /// Which candidates the rows are.
    places: Vec<usize>,
    /// Their squared lengths.
    squares: Vec<f64>,
    /// With every target, `[N, T]`.
    covariance: Array2<f32>,
    variance: Vec<f64>,
    /// For each known point its row of the Cholesky factor: what a further covariance loses by it.
    factors: Vec<Vec<f32>>,
    /// What each lowers the weighted variance by; negative infinity of those that are closed.
    gains: Vec<f64>,
    /// How many these are.
    closed: usize,
}

impl Given {
    /// The gains as they are.
    fn weigh(&mut self, weights: &[f64], noise: f64) {
        let rows = self.covariance.axis_iter_mut(Axis(0)).into_par_iter().zip(&self.variance).zip(&mut self.gains);
        let none = vec![0.0; weights.len()];
        rows.for_each(|((mut covariance, variance), gain)| {
            if let Some(covariance) = covariance.as_slice_mut() {
                *gain = less(covariance, 0.0, &none, weights) / (variance.max(0.0) + noise);
            }
        });
    }

    /// The candidate at a row is never the next again.
    fn close(&mut self, row: usize) {
        self.gains[row] = f64::NEG_INFINITY;
        self.closed += 1;
    }

    /// Makes the label of the candidate at a row known, and computes the gains after it.
    fn condition(&mut self, process: &Process, candidates: &Array2<f64>, row: usize, weights: &[f64]) {
        let Process { kernel, noise } = *process;
        let (point, square) = (candidates.row(self.places[row]).to_vec(), self.squares[row]);
        let total = self.variance[row].max(0.0) + noise;
        let to_targets: Vec<f64> = self.covariance.row(row).iter().map(|x| f64::from(*x)).collect();
        let own: Vec<f64> = self.factors.iter().map(|factor| f64::from(factor[row])).collect();
        self.close(row);
        let (places, squares, factors) = (&self.places, &self.squares, &self.factors);
        let mut factor = vec![0.0_f32; places.len()];
        let blocks = self.covariance.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter();
        let blocks = blocks.zip(self.variance.par_chunks_mut(BLOCK)).zip(self.gains.par_chunks_mut(BLOCK));
        blocks.zip(factor.par_chunks_mut(BLOCK)).enumerate().for_each(
            |(block, (((mut rows, variance), gains), factor))| {
                let start = block * BLOCK;
                let of_block = places[start..start + gains.len()].iter().zip(&squares[start..]);
                let prior = of_block.map(|(place, other)| match candidates.row(*place).as_slice() {
                    Some(other_point) => kernel(dot(&point, other_point), square, *other),
                    None => f64::NAN,
                });
                let mut with: Vec<f64> = prior.collect();
                for (factor, own) in factors.iter().zip(&own) {
                    take(&mut with, *own, &factor[start..start + gains.len()]);
                }
                let of_block = rows.axis_iter_mut(Axis(0)).zip(&with).zip(variance).zip(gains.iter_mut().zip(factor));
                for (((mut covariance, with), variance), (gain, factor)) in of_block {
                    let share = with / total;
                    *variance -= share * with;
                    *factor = (with / total.sqrt()) as f32;
                    if let (Some(covariance), true) = (covariance.as_slice_mut(), *gain > f64::NEG_INFINITY) {
                        *gain = less(covariance, share, &to_targets, weights) / (variance.max(0.0) + noise);
                    }
                }
            },
        );
        self.factors.push(factor);
        if self.closed > BLOCK.max(self.places.len() / 8) {
            self.forget();
        }
    }

    /// Gives up those that are closed.
    fn forget(&mut self) {
        let still: Vec<usize> = (0..self.places.len()).filter(|row| self.gains[*row] > f64::NEG_INFINITY).collect();
        fn of<T: Copy>(all: &mut Vec<T>, still: &[usize]) {
            *all = still.iter().map(|row| all[*row]).collect();
        }
        of(&mut self.places, &still);
        of(&mut self.squares, &still);
        of(&mut self.variance, &still);
        of(&mut self.gains, &still);
        self.factors.par_iter_mut().for_each(|factor| of(factor, &still));
        // In its own place, since it is large.
        for (to, from) in still.iter().enumerate() {
            if to < *from {
                let (mut above, below) = self.covariance.view_mut().split_at(Axis(0), *from);
                above.row_mut(to).assign(&below.row(0));
            }
        }
        self.covariance.slice_collapse(s![..still.len(), ..]);
        self.closed = 0;
    }
}

/// `with -= own * factor`.
#[multiversion::multiversion(targets = "simd")]
fn take(with: &mut [f64], own: f64, factor: &[f32]) {
    for (with, factor) in with.iter_mut().zip(factor) {
        *with -= own * f64::from(*factor);
    }
}

/// `covariance -= share * to`, and the weighted sum of the squares of what it is then.
#[multiversion::multiversion(targets = "simd")]
fn less(covariance: &mut [f32], share: f64, to: &[f64], weights: &[f64]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let mut rest = 0.0;
    let wide = covariance.len() / LANES * LANES;
    let (with, last) = covariance.split_at_mut(wide);
    let lanes = with.chunks_exact_mut(LANES).zip(to.chunks_exact(LANES)).zip(weights.chunks_exact(LANES));
    for ((covariance, to), weights) in lanes {
        for lane in 0..LANES {
            let now = (f64::from(covariance[lane]) - share * to[lane]) as f32;
            covariance[lane] = now;
            sums[lane] += weights[lane] * f64::from(now) * f64::from(now);
        }
    }
    for ((covariance, to), weight) in last.iter_mut().zip(&to[wide..]).zip(&weights[wide..]) {
        *covariance = (f64::from(*covariance) - share * to) as f32;
        rest += weight * f64::from(*covariance) * f64::from(*covariance);
    }
    sums.iter().sum::<f64>() + rest
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
