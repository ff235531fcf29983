//! Last layers drawn from the posterior of a model's own.
//!
//! Laplace's approximation at the model's weights: a Gaussian about them whose precision is the labelled images' information
//! plus the damping, `A` (last_layer.rs). What is drawn is what a head adds to the weights, `N(0, A^-1)`, so that its class
//! scores are the model's own plus `h' w`. An image that is labelled adds its `V V'` to `A`; by Matheron's rule the same heads
//! become draws of that posterior, `w - U (I + V' U)^-1 (V' w + e)`, `U = A^-1 V`, `e` standard normal.

use super::last_layer::{Factors, Sizes};
use super::linear::{add_product, inverse_of_positive, product};
use super::{JointError, small};
use crate::data::Seeded;
use nalgebra::DMatrix;
use ndarray::linalg::general_mat_mul;
use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView2, Axis, concatenate};
use rayon::slice::ParallelSlice as _;

/// Images whose predictions are computed at a time.
const BLOCK: usize = 64;

/// Labelled images whose part in `A^-1` is taken from it at once.
const PUT_OFF: usize = 64;

/// Heads, and the posterior that they are drawn from.
pub(super) struct Heads {
    sizes: Sizes,
    count: usize,
    /// `A^-1`, but for what the images in `since` take from it.
    inverse: Array2<f64>,
    /// For each of these images `Y`, by which `A^-1` loses `Y Y'`: `[C d, C]`.
    since: Vec<Array2<f64>>,
    /// What is added to the weights, `[C d, K]`.
    w: Array2<f64>,
    random: Seeded,
}

impl Heads {
    /// So many heads given the labelled images.
    pub(super) fn draw(labelled: &Factors, damping: f64, count: usize, seed: u64) -> Result<Heads, JointError> {
        let sizes = labelled.sizes();
        let a = labelled.precision(damping);
        let singular = || labelled.singular(damping);
        let inverse = inverse_of_positive(&a).ok_or_else(singular)?;
        let a = DMatrix::from_row_slice(a.nrows(), a.ncols(), a.as_slice().unwrap_or_default());
        let factor = a.cholesky().ok_or_else(singular)?;
        let mut random = Seeded::new("heads", &[seed]);
        let normal = DMatrix::from_fn(sizes.classes * sizes.width, count, |_, _| random.normal());
        // L^-T e has the covariance (L L')^-1.
        let w = factor.l_dirty().tr_solve_lower_triangular(&normal).ok_or_else(singular)?;
        let w = Array2::from_shape_fn(w.shape(), |at| w[at]);
        Ok(Heads { sizes, count, inverse, since: Vec::new(), w, random })
    }

    /// Makes them draws of the posterior with this image labelled as well.
    pub(super) fn label(&mut self, factors: &Factors, image: usize) {
        let Sizes { classes, width } = self.sizes;
        let (h, p) = (factors.h.row(image), factors.p.row(image));
        let v = Array2::from_shape_fn((classes * width, classes), |(row, column)| {
            let own = if row / width == column { 1.0 } else { 0.0 };
            (own - p[row / width]) * p[column].sqrt() * h[row % width]
        });
        let mut u = product(self.inverse.view(), v.view());
        for y in &self.since {
            u -= &y.dot(&y.t().dot(&v));
        }
        let k = v.t().dot(&u) + Array2::<f64>::eye(classes);
        let mut l: Vec<f64> = k.iter().copied().collect();
        // Rounding alone can make it fail, of an image that tells nothing any more.
        if !small::cholesky(&mut l, classes) {
            return;
        }
        let back = Array2::from_shape_vec((classes, classes), small::inverse_of_lower(&l, classes)).unwrap_or_default();
        let noise = Array2::from_shape_fn((classes, self.count), |_| self.random.normal());
        let y = u.dot(&back.t());
        self.w -= &y.dot(&back.dot(&(v.t().dot(&self.w) + noise)));
        self.since.push(y);
        if self.since.len() == PUT_OFF {
            let since: Vec<ArrayView2<f64>> = self.since.iter().map(|y| y.view()).collect();
            let since = concatenate(Axis(1), &since).unwrap_or_default();
            add_product(-1.0, since.view(), since.t(), &mut self.inverse);
            self.since.clear();
        }
    }

    /// What each head believes of every image, `[N C, K]`: image by image, in it class by class.
    pub(super) fn predict(&self, factors: &Factors) -> Array2<f32> {
        let Sizes { classes, width } = self.sizes;
        let columns = classes * self.count;
        let w = Array2::from_shape_fn((width, columns), |(feature, column)| {
            self.w[[(column / self.count) * width + feature, column % self.count]] as f32
        });
        let h = factors.h.mapv(|x| x as f32);
        let mut out = Array2::zeros((factors.len(), columns));
        let blocks = out.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter();
        let blocks = blocks.zip(h.axis_chunks_iter(Axis(0), BLOCK)).zip(factors.p.axis_chunks_iter(Axis(0), BLOCK));
        blocks.for_each(|((mut out, h), p)| {
            general_mat_mul(1.0, &h, &w, 0.0, &mut out);
            for (mut scores, p) in out.axis_iter_mut(Axis(0)).zip(p.axis_iter(Axis(0))) {
                if let Some(scores) = scores.as_slice_mut() {
                    softmax(scores, &p.to_vec(), self.count);
                }
            }
        });
        out.into_shape_with_order((factors.len() * classes, self.count)).unwrap_or_default()
    }
}

/// Beliefs in the place of what `count` heads add to class scores of beliefs `p`; `[C, K]` by rows.
fn softmax(scores: &mut [f32], p: &[f64], count: usize) {
    for head in 0..count {
        let mut most = f32::NEG_INFINITY;
        for (class, p) in p.iter().enumerate() {
            let score = &mut scores[class * count + head];
            *score += p.max(f64::from(f32::MIN_POSITIVE)).ln() as f32;
            most = most.max(*score);
        }
        let mut sum = 0.0;
        for score in scores[head..].iter_mut().step_by(count) {
            *score = (*score - most).exp();
            sum += *score;
        }
        scores[head..].iter_mut().step_by(count).for_each(|score| *score /= sum);
    }
}

/// Mean mutual information of each candidate's label with the targets' labels, in nats, from what the heads believe of both
/// (`[N C, K]` and `[T C, K]`): `H(y) + mean over targets of H(y*) - H(y, y*)`, all pairs of classes summed.
pub(super) fn mutual_information(candidates: &Array2<f32>, targets: &Array2<f32>, classes: usize) -> Vec<f64> {
    /// Candidates whose joint predictions are held at a time.
    const AT_ONCE: usize = 8;
    let heads = candidates.ncols().max(1) as f32;
    let images = targets.nrows().checked_div(classes).unwrap_or(0).max(1) as f64;
    let marginal = |of: &Array2<f32>| -> Vec<f32> { of.axis_iter(Axis(0)).map(|row| row.sum() / heads).collect() };
    let of_targets = entropy(&marginal(targets)) / images;
    let mut out = vec![0.0; candidates.nrows().checked_div(classes).unwrap_or(0)];
    let means = marginal(candidates);
    let rows = candidates.axis_chunks_iter(Axis(0), AT_ONCE * classes).into_par_iter();
    let blocks = rayon::slice::ParallelSliceMut::par_chunks_mut(&mut out[..], AT_ONCE);
    let blocks = rows.zip(blocks).zip(means.par_chunks(AT_ONCE * classes));
    blocks.for_each_init(
        || Array2::zeros((AT_ONCE * classes, targets.nrows())),
        |joint, ((rows, out), means)| {
            let mut joint = joint.slice_mut(ndarray::s![..rows.nrows(), ..]);
            general_mat_mul(1.0 / heads, &rows, &targets.t(), 0.0, &mut joint);
            let images_of_block = out.iter_mut().zip(joint.axis_chunks_iter(Axis(0), classes));
            for ((out, joint), means) in images_of_block.zip(means.chunks(classes)) {
                let of_both = joint.as_slice().map_or(f64::NAN, entropy) / images;
                *out = entropy(means) + of_targets - of_both;
            }
        },
    );
    out
}

/// Minus the sum of `p ln p`.
fn entropy(p: &[f32]) -> f64 {
    // A row at a time, so that few small numbers are added in float32.
    const ROW: usize = 64;
    let of = |row: &[f32]| -> f32 { row.iter().map(|p| if *p > 0.0 { p * p.ln() } else { 0.0 }).sum() };
    -p.chunks(ROW).map(|row| f64::from(of(row))).sum::<f64>()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::select::joint) fn factors(seed: u64, images: usize, width: usize, classes: usize) -> Factors {
        let mut random = Seeded::new("heads test", &[seed]);
        let mut number = || random.unit() * 2.0 - 1.0;
        let features = Array2::from_shape_fn((images, width), |_| 2.0 * number());
        let mut p = Array2::from_shape_fn((images, classes), |_| (2.0 * number()).exp());
        p.axis_iter_mut(Axis(0)).for_each(|mut row| row /= row.sum());
        Factors::new(features, p)
    }

    /// The largest difference between the covariance of the heads and the inverse of a precision, in standard errors of it.
    fn off(heads: &Heads, precision: &Array2<f64>) -> f64 {
        let size = precision.nrows();
        let inverse = DMatrix::from_fn(size, size, |i, j| precision[[i, j]]).try_inverse().expect("positive definite");
        let count = heads.count as f64;
        let found = heads.w.dot(&heads.w.t()) / count;
        let error = |i, j| {
            // Of the products of two normal numbers.
            let spread: f64 = inverse[(i, i)] * inverse[(j, j)] + inverse[(i, j)] * inverse[(i, j)];
            ((found[[i, j]] - inverse[(i, j)]) / (spread / count).sqrt()).abs()
        };
        (0..size).flat_map(|i| (0..=i).map(move |j| (i, j))).map(|(i, j)| error(i, j)).fold(0.0, f64::max)
    }

    #[test]
    fn heads_are_drawn_from_the_posterior_and_follow_it_when_images_are_labelled() {
        const HEADS: usize = 40_000;
        let (labelled, more) = (factors(1, 6, 2, 3), factors(2, 3, 2, 3));
        let mut heads = Heads::draw(&labelled, 1.0, HEADS, 7).expect("drawn");
        let mut precision = labelled.precision(1.0);
        // 45 covariances: the largest of as many standard normal numbers is above 4.5 once in 3,000 times, and the seed is fixed.
        assert!(off(&heads, &precision) < 4.5, "{}", off(&heads, &precision));
        let before = precision.clone();
        for image in 0..3 {
            heads.label(&more, image);
            precision += &more.of(&[image]).information();
            assert!(off(&heads, &precision) < 4.5, "{image}: {}", off(&heads, &precision));
        }
        assert!(off(&heads, &before) > 20.0, "the images are told from nothing");
    }

    #[test]
    fn the_mutual_information_is_that_of_the_joint_table_written_out() {
        let (labelled, candidates, targets) = (factors(1, 6, 3, 4), factors(2, 21, 3, 4), factors(3, 5, 3, 4));
        let heads = Heads::draw(&labelled, 1.0, 30, 3).expect("drawn");
        let (of_candidates, of_targets) = (heads.predict(&candidates), heads.predict(&targets));
        // Beliefs of one head from its own class scores.
        let believed = |set: &Factors, image: usize, head: usize| -> Vec<f64> {
            let score = |c: usize| {
                let own: f64 = (0..4).map(|f| set.h[[image, f]] * heads.w[[c * 4 + f, head]]).sum();
                set.p[[image, c]] * own.exp()
            };
            let sum: f64 = (0..4).map(score).sum();
            (0..4).map(|c| score(c) / sum).collect()
        };
        for (found, set) in [(&of_candidates, &candidates), (&of_targets, &targets)] {
            for ((row, head), found) in found.indexed_iter() {
                assert!((f64::from(*found) - believed(set, row / 4, head)[row % 4]).abs() < 1e-5);
            }
        }
        let information = mutual_information(&of_candidates, &of_targets, 4);
        assert_eq!(information.len(), 21);
        for (image, found) in information.iter().enumerate() {
            let of_target = |target: usize| -> f64 {
                let joint = |a: usize, b: usize| -> f64 {
                    let both = |k| believed(&candidates, image, k)[a] * believed(&targets, target, k)[b];
                    (0..30).map(both).sum::<f64>() / 30.0
                };
                let of_a = |a: usize| (0..4).map(|b| joint(a, b)).sum::<f64>();
                let of_b = |b: usize| (0..4).map(|a| joint(a, b)).sum::<f64>();
                let pairs = (0..4).flat_map(|a| (0..4).map(move |b| (a, b)));
                pairs.map(|(a, b)| joint(a, b) * (joint(a, b) / (of_a(a) * of_b(b))).ln()).sum()
            };
            let expected = (0..5).map(of_target).sum::<f64>() / 5.0;
            // Entropies of up to 2.8 nats, of sums of 30 products in float32.
            assert!((found - expected).abs() < 1e-5 && expected > 1e-3, "{image}: {found} {expected}");
        }
    }
}
