//! The greedy design of the last layer of a classifier: images whose labels lower a target's expected loss most.
//!
//! `A` is the sum of the Fisher matrices `V V'` over what is labelled, plus the damping (last_layer.rs); `F` is their mean over
//! the target. The image that lowers `tr(A^-1 F)` most, the second-moment form of the influence on the target's loss, has the
//! largest
//!
//! `tr[(I + V' A^-1 V)^-1 V' A^-1 F A^-1 V]`
//!
//! (Ash et al., Gone fishing, arXiv 2106.09675, where the target is the pool). Its `V V'` then joins `A`. For every candidate
//! the two small matrices `K = V' A^-1 V` and `T = V' A^-1 F A^-1 V` are kept (open.rs), `[C, C]`, and each step changes
//! them. With `U = A^-1 V` and `W = A^-1 F A^-1 V` of the chosen image, `G = (I + K)^-1 = L^-T L^-1` and
//! `X = W G - U G T G / 2`, the step takes `U G U'` from `A^-1` and `U X' + X U'` from `A^-1 F A^-1`; that is `Y Y'` and
//! `Y Z' + Z Y'` with `Y = U L^-T` and `Z = X L`. These are put off for some steps, since one product of large matrices takes
//! less time than many small ones.
//!
//! A gain may grow as others are chosen (a test has a case), so that no bound spares looking at every candidate in every step:
//! `4 C^2 d` multiplications for a candidate and a step.

use super::last_layer::{Factors, Sizes};
use super::linear::{BLOCK, add_product, dot, inverse_of_positive, product};
use super::open::{Open, Step};
use super::{JointError, chosen_one, largest, small};
use crate::observe::Observer;
use crate::select::filters::Gate;
use ndarray::linalg::general_mat_mul;
use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView1, Axis, concatenate, s};

/// Steps whose changes of the large matrices are put off.
const PUT_OFF: usize = 16;

/// Up to `budget` of the candidates, each with what it lowers `tr(A^-1 F)` by. With `backward`, twice as many are chosen first
/// and then those given back that are missed least.
pub(super) fn choose(
    candidates: &Factors,
    labelled: &Factors,
    target: &Factors,
    (damping, backward): (f64, bool),
    budget: usize,
    gate: &mut Gate,
    observer: &dyn Observer,
) -> Result<Vec<(usize, f64)>, JointError> {
    let mut design = Design::new(labelled, target, damping)?;
    let wanted = if backward { budget.saturating_mul(2) } else { budget }.min(candidates.len());
    let mut open =
        Open::new((&design.inverse, &design.through), candidates, (0..candidates.len()).collect(), Step::Join);
    let mut chosen = Vec::with_capacity(wanted);
    while chosen.len() < wanted {
        let Some((row, gain)) = largest(open.gains()) else { break };
        let place = open.place(row);
        if !gate.admits(place) {
            open.close(row);
            continue;
        }
        chosen.push((place, gain));
        if chosen.len() < wanted {
            design.change(&mut open, row);
        }
        if chosen.len() <= budget {
            chosen_one(observer)?;
        } else if observer.interrupted() {
            return Err(JointError::Interrupted);
        }
    }
    if chosen.len() <= budget {
        return Ok(chosen);
    }
    // The last one has not joined `A` yet.
    let last = chosen.len() - 1;
    if let Some(row) = open.row_of(chosen[last].0) {
        design.change(&mut open, row);
    }
    drop(open);
    design.catch_up();
    let places = chosen.iter().map(|(place, _)| *place).collect();
    let mut kept = Open::new((&design.inverse, &design.through), candidates, places, Step::Leave);
    for _ in budget..chosen.len() {
        let Some((row, _)) = largest(kept.gains().map(|gain| -gain)) else { break };
        design.change(&mut kept, row);
        if observer.interrupted() {
            return Err(JointError::Interrupted);
        }
    }
    Ok(chosen.into_iter().filter(|(place, _)| kept.row_of(*place).is_some()).collect())
}

/// `A^-1` and `A^-1 F A^-1`, `[C d, C d]`.
struct Design {
    sizes: Sizes,
    inverse: Array2<f64>,
    through: Array2<f64>,
    /// What is put off: `Y` and `Z` of the last steps, `[C d, C PUT_OFF]`, and whether their images joined or left.
    y: Array2<f64>,
    z: Array2<f64>,
    steps: usize,
    step: Step,
}

impl Design {
    fn new(labelled: &Factors, target: &Factors, damping: f64) -> Result<Design, JointError> {
        let inverse = inverse_of_positive(&labelled.precision(damping)).ok_or_else(|| labelled.singular(damping))?;
        let f = target.information() / target.len().max(1) as f64;
        let through = product(product(inverse.view(), f.view()).view(), inverse.view());
        let sizes = target.sizes();
        let none = Array2::zeros((inverse.nrows(), sizes.classes * PUT_OFF));
        Ok(Design { sizes, inverse, through, y: none.clone(), z: none, steps: 0, step: Step::Join })
    }

    /// `A^-1 V` and `A^-1 F A^-1 V` for the image with features `h` and beliefs `p`, `[C d, C]`.
    fn times(&self, h: ArrayView1<f64>, p: ArrayView1<f64>) -> (Array2<f64>, Array2<f64>) {
        let Sizes { classes, width } = self.sizes;
        let used = self.steps * classes;
        let (y, z) = (self.y.slice(s![.., ..used]), self.z.slice(s![.., ..used]));
        // V is M (x) h: first times h, class by class.
        let mut of_y = Array2::zeros((used, classes));
        let mut of_z = Array2::zeros((used, classes));
        for class in 0..classes {
            let rows = s![class * width..(class + 1) * width, ..];
            of_y.column_mut(class).assign(&y.slice(rows).t().dot(&h));
            of_z.column_mut(class).assign(&z.slice(rows).t().dot(&h));
        }
        let h = h.to_vec();
        let (mut u, mut w) = (Array2::zeros((classes * width, classes)), Array2::zeros((classes * width, classes)));
        let out = u.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter().zip(w.axis_chunks_iter_mut(Axis(0), BLOCK));
        out.enumerate().for_each(|(block, (mut u, mut w))| {
            let start = block * BLOCK;
            for (matrix, out) in [(&self.inverse, &mut u), (&self.through, &mut w)] {
                for (row, mut out) in matrix.slice(s![start.., ..]).axis_iter(Axis(0)).zip(out.axis_iter_mut(Axis(0))) {
                    if let Some(row) = row.as_slice() {
                        out.iter_mut().zip(row.chunks_exact(width)).for_each(|(out, row)| *out = dot(row, &h));
                    }
                }
            }
            let rows = s![start..start + u.nrows(), ..];
            general_mat_mul(-self.step.sign(), &y.slice(rows), &of_y, 1.0, &mut u);
            general_mat_mul(-1.0, &y.slice(rows), &of_z, 1.0, &mut w);
            general_mat_mul(-1.0, &z.slice(rows), &of_y, 1.0, &mut w);
        });
        // Then times M: column j is sqrt(p_j) (z_j - z p).
        for of in [&mut u, &mut w] {
            let mean = of.dot(&p);
            for (mut column, p) in of.axis_iter_mut(Axis(1)).zip(p) {
                column.zip_mut_with(&mean, |z, mean| *z = p.sqrt() * (*z - mean));
            }
        }
        (u, w)
    }

    /// Lets the image at `row` of `open` join or leave, and changes what is kept of the others.
    fn change(&mut self, open: &mut Open, row: usize) {
        let classes = self.sizes.classes;
        let sign = open.step().sign();
        if self.step != open.step() {
            self.catch_up();
            self.step = open.step();
        }
        let (k, t) = open.matrices(row);
        let (u, w) = {
            let (h, p) = open.image(row);
            self.times(h, p)
        };
        open.close(row);
        let mut l: Vec<f64> = k.iter().map(|k| sign * k).collect();
        (0..classes).for_each(|c| l[c * classes + c] += 1.0);
        if !small::cholesky(&mut l, classes) {
            return;
        }
        let square = |entries: Vec<f64>| Array2::from_shape_vec((classes, classes), entries).unwrap_or_default();
        let back = square(small::inverse_of_lower(&l, classes));
        let g = back.t().dot(&back);
        let y = u.dot(&back.t());
        let z = (w.dot(&g) * sign - u.dot(&g.dot(&t).dot(&g)) * 0.5).dot(&square(l));
        open.follow(&y, &z);
        let columns = s![.., self.steps * classes..(self.steps + 1) * classes];
        self.y.slice_mut(columns).assign(&y);
        self.z.slice_mut(columns).assign(&z);
        self.steps += 1;
        if self.steps == PUT_OFF {
            self.catch_up();
        }
    }

    /// Does what was put off.
    fn catch_up(&mut self) {
        let used = s![.., ..self.steps * self.sizes.classes];
        let (y, z) = (self.y.slice(used), self.z.slice(used));
        add_product(-self.step.sign(), y, y.t(), &mut self.inverse);
        let joined = |a, b| concatenate(Axis(1), &[a, b]).unwrap_or_default();
        let (left, right) = (joined(y, z), joined(z, y));
        add_product(-1.0, left.view(), right.t(), &mut self.through);
        self.steps = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Seeded;
    use crate::observe::Unobserved;
    use nalgebra::DMatrix;

    fn factors(seed: u64, images: usize, width: usize, classes: usize) -> Factors {
        let mut random = Seeded::new("design test", &[seed]);
        let mut number = || random.unit() * 2.0 - 1.0;
        let features = Array2::from_shape_fn((images, width), |_| 2.0 * number());
        let mut p = Array2::from_shape_fn((images, classes), |_| (3.0 * number()).exp());
        p.axis_iter_mut(Axis(0)).for_each(|mut row| row /= row.sum());
        Factors::new(features, p)
    }

    /// The Fisher matrix of one image, written out.
    fn fisher(factors: &Factors, image: usize) -> DMatrix<f64> {
        let (h, p) = (factors.h.row(image), factors.p.row(image));
        let (classes, width) = (p.len(), h.len());
        DMatrix::from_fn(classes * width, classes * width, |i, j| {
            let (a, b) = (i / width, j / width);
            let own = if a == b { p[a] } else { 0.0 };
            (own - p[a] * p[b]) * h[i % width] * h[j % width]
        })
    }

    struct WrittenOut {
        a: DMatrix<f64>,
        f: DMatrix<f64>,
    }

    impl WrittenOut {
        fn new(labelled: &Factors, target: &Factors, damping: f64) -> WrittenOut {
            let size = labelled.h.ncols() * labelled.p.ncols();
            let sum = |of: &Factors| (0..of.h.nrows()).fold(DMatrix::zeros(size, size), |sum, n| sum + fisher(of, n));
            let a = sum(labelled) + DMatrix::identity(size, size) * damping;
            WrittenOut { a, f: sum(target) / target.h.nrows() as f64 }
        }

        /// `tr(A^-1 F)` with these candidates labelled as well.
        fn objective(&self, candidates: &Factors, chosen: &[usize]) -> f64 {
            let a = chosen.iter().fold(self.a.clone(), |a, n| a + fisher(candidates, *n));
            (a.try_inverse().expect("positive definite") * &self.f).trace()
        }

        /// The greedy choice by the objective itself.
        fn greedy(&self, candidates: &Factors, budget: usize) -> Vec<(usize, f64)> {
            let mut chosen: Vec<usize> = Vec::new();
            let mut gains = Vec::new();
            for _ in 0..budget {
                let before = self.objective(candidates, &chosen);
                let open = (0..candidates.h.nrows()).filter(|n| !chosen.contains(n));
                let with = |n: usize| self.objective(candidates, &[chosen.clone(), vec![n]].concat());
                let (best, objective) =
                    open.map(|n| (n, with(n))).min_by(|a, b| a.1.total_cmp(&b.1)).expect("candidates");
                gains.push((best, before - objective));
                chosen.push(best);
            }
            gains
        }
    }

    fn agree(found: &[(usize, f64)], expected: &[(usize, f64)]) {
        assert_eq!(found.iter().map(|c| c.0).collect::<Vec<_>>(), expected.iter().map(|c| c.0).collect::<Vec<_>>());
        for (found, expected) in found.iter().zip(expected) {
            // Sums of a hundred numbers in float64 through some ten updates: far below this.
            assert!((found.1 / expected.1 - 1.0).abs() < 1e-8, "{found:?} {expected:?}");
        }
    }

    #[test]
    fn the_choice_is_the_greedy_one_of_the_objective_and_gains_are_its_differences() {
        for (seed, classes, damping) in [(1, 2, 1.0), (2, 3, 0.1), (3, 4, 10.0)] {
            let [candidates, labelled, target] =
                [(0, 30), (1, 6), (2, 9)].map(|(n, images)| factors(10 * seed + n, images, 3, classes));
            let found = choose(&candidates, &labelled, &target, (damping, false), 8, &mut Gate::open(), &Unobserved)
                .expect("chosen");
            agree(&found, &WrittenOut::new(&labelled, &target, damping).greedy(&candidates, 8));
        }
    }

    /// Here greedy finds the best pair there is; it need not, but what it finds is known.
    #[test]
    fn the_first_two_of_twelve_are_the_best_pair() {
        let [candidates, labelled, target] = [(4, 12), (5, 4), (6, 20)].map(|(n, images)| factors(n, images, 2, 3));
        let found =
            choose(&candidates, &labelled, &target, (1.0, false), 2, &mut Gate::open(), &Unobserved).expect("chosen");
        let written_out = WrittenOut::new(&labelled, &target, 1.0);
        let pairs = (0..12).flat_map(|a| (0..a).map(move |b| [a, b]));
        let best = pairs
            .map(|pair| (pair, written_out.objective(&candidates, &pair)))
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .expect("pairs");
        let mut pair = [found[0].0, found[1].0];
        pair.sort_by(|a, b| b.cmp(a));
        assert_eq!(pair, best.0);
    }

    #[test]
    fn those_given_back_are_missed_least_one_after_the_other() {
        let [candidates, labelled, target] = [(7, 25), (8, 4), (9, 12)].map(|(n, images)| factors(n, images, 3, 3));
        let found =
            choose(&candidates, &labelled, &target, (1.0, true), 5, &mut Gate::open(), &Unobserved).expect("chosen");
        let written_out = WrittenOut::new(&labelled, &target, 1.0);
        let mut kept: Vec<usize> = written_out.greedy(&candidates, 10).into_iter().map(|(place, _)| place).collect();
        while kept.len() > 5 {
            let without = |n: usize| kept.iter().copied().filter(|k| *k != n).collect::<Vec<_>>();
            let least = kept.iter().copied().min_by(|a, b| {
                let objective = |n: usize| written_out.objective(&candidates, &without(n));
                objective(*a).total_cmp(&objective(*b))
            });
            kept = without(least.expect("kept"));
        }
        assert_eq!(found.iter().map(|c| c.0).collect::<Vec<_>>(), kept);
    }

    /// Many steps: what is put off is done in between, and those that are closed are given up.
    #[test]
    fn long_choices_are_greedy_to_the_end() {
        let [candidates, labelled, target] = [(10, 420), (11, 4), (12, 9)].map(|(n, images)| factors(n, images, 1, 2));
        let found =
            choose(&candidates, &labelled, &target, (1.0, false), 400, &mut Gate::open(), &Unobserved).expect("chosen");
        let mut written_out = WrittenOut::new(&labelled, &target, 1.0);
        let mut open: Vec<usize> = (0..420).collect();
        assert_eq!(found.len(), 400);
        for (place, gain) in found {
            let before = written_out.objective(&candidates, &[]);
            let gains = open.iter().map(|n| before - written_out.objective(&candidates, &[*n]));
            let best = gains.fold(f64::NEG_INFINITY, f64::max);
            let own = before - written_out.objective(&candidates, &[place]);
            assert!((own / best - 1.0).abs() < 1e-6 && (gain / own - 1.0).abs() < 1e-6, "{place}: {gain} {own} {best}");
            written_out.a += fisher(&candidates, place);
            open.retain(|n| *n != place);
        }
    }

    /// So a gain that was computed before some were chosen is no bound of what it is after.
    #[test]
    fn a_gain_may_grow_as_others_are_chosen() {
        let [candidates, labelled, target] = [(13, 12), (14, 2), (15, 3)].map(|(n, images)| factors(n, images, 2, 2));
        let written_out = WrittenOut::new(&labelled, &target, 1.0);
        let objective = |chosen: &[usize]| written_out.objective(&candidates, chosen);
        let pairs = (0..12).flat_map(|a| (0..12).map(move |b| (a, b))).filter(|(a, b)| a != b);
        let growth = pairs.map(|(a, b)| (objective(&[b]) - objective(&[b, a])) / (objective(&[]) - objective(&[a])));
        let most = growth.fold(0.0, f64::max);
        assert!(most > 1.01, "{most}");
    }

    #[test]
    fn a_small_pool_is_chosen_whole_and_each_image_once() {
        let [candidates, labelled, target] = [(7, 5), (8, 4), (9, 12)].map(|(n, images)| factors(n, images, 3, 3));
        let found =
            choose(&candidates, &labelled, &target, (1.0, false), 9, &mut Gate::open(), &Unobserved).expect("chosen");
        let mut places: Vec<usize> = found.into_iter().map(|c| c.0).collect();
        places.sort_unstable();
        assert_eq!(places, [0, 1, 2, 3, 4]);
    }
}
