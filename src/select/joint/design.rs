//! The greedy design of the last layer of a classifier: images whose labels lower a target's expected loss most.
//!
//! With features `h` (a one appended) and beliefs `p`, the Fisher matrix of an image is `(diag(p) - p p') (x) h h' = V V'`,
//! `V = M (x) h`, `M = diag(sqrt p) - p sqrt(p)'`. `A` is the sum of it over what is labelled, plus the damping; `F` its mean
//! over the target. The image that lowers `tr(A^-1 F)` most, the second-moment form of the influence on the target's loss,
//! has the largest
//!
//! `tr[(I + V' A^-1 V)^-1 V' A^-1 F A^-1 V]`
//!
//! (Ash et al., Gone fishing, arXiv 2106.09675, where the target is the pool). Its `V V'` then joins `A`. For every candidate
//! the two small matrices `K = V' A^-1 V` and `T = V' A^-1 F A^-1 V` are kept, `[C, C]`, and each step changes them by
//! `V' U` and `V' W`, `U = A^-1 V_chosen`, `W = A^-1 F A^-1 V_chosen`: an image costs `4 C^2 (F + 1)` multiplications a step.

use super::linear::{BLOCK, add_product, product};
use super::{JointError, chosen_one, largest, small};
use crate::observe::Observer;
use crate::select::filters::Gate;
use nalgebra::DMatrix;
use ndarray::parallel::prelude::*;
use ndarray::{Array1, Array2, Array3, ArrayView1, ArrayView2, Axis, concatenate, s};
use rayon::slice::{ParallelSlice as _, ParallelSliceMut as _};

/// Features and beliefs of a set.
#[derive(Debug, Clone)]
pub(super) struct Factors {
    /// Features with a one behind them, `[N, d]`.
    pub(super) h: Array2<f64>,
    /// Beliefs, `[N, C]`, each row summing to one.
    pub(super) p: Array2<f64>,
}

impl Factors {
    /// Of features `[N, F]` and beliefs `[N, C]`.
    pub(super) fn new(features: Array2<f64>, p: Array2<f64>) -> Factors {
        let mut h = Array2::ones((features.nrows(), features.ncols() + 1));
        h.slice_mut(s![.., ..-1]).assign(&features);
        Factors { h, p }
    }

    fn sizes(&self) -> Sizes {
        Sizes { classes: self.p.ncols(), width: self.h.ncols() }
    }

    /// The sum of the Fisher matrices, `[C d, C d]`.
    fn information(&self) -> Array2<f64> {
        let Sizes { classes, width } = self.sizes();
        let pairs: Vec<(usize, usize)> = (0..classes).flat_map(|a| (0..=a).map(move |b| (a, b))).collect();
        let block = |&(a, b): &(usize, usize)| {
            let own = if a == b { 1.0 } else { 0.0 };
            let weights: Array1<f64> = self.p.axis_iter(Axis(0)).map(|p| p[a] * (own - p[b])).collect();
            let weighted = &self.h * &weights.insert_axis(Axis(1));
            ((a, b), weighted.t().dot(&self.h))
        };
        let blocks: Vec<((usize, usize), Array2<f64>)> = pairs.par_iter().map(block).collect();
        let mut sum = Array2::zeros((classes * width, classes * width));
        for ((a, b), block) in blocks {
            sum.slice_mut(s![a * width..(a + 1) * width, b * width..(b + 1) * width]).assign(&block);
            if a != b {
                sum.slice_mut(s![b * width..(b + 1) * width, a * width..(a + 1) * width]).assign(&block.t());
            }
        }
        sum
    }
}

#[derive(Debug, Clone, Copy)]
struct Sizes {
    classes: usize,
    width: usize,
}

/// Whether an image joins what is labelled, or leaves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Join,
    Leave,
}

impl Step {
    fn sign(self) -> f64 {
        match self {
            Step::Join => 1.0,
            Step::Leave => -1.0,
        }
    }
}

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
    let wanted = if backward { budget.saturating_mul(2) } else { budget }.min(candidates.h.nrows());
    let mut open = Open::new(&design, candidates, (0..candidates.h.nrows()).collect(), Step::Join);
    let mut chosen = Vec::with_capacity(wanted);
    while chosen.len() < wanted {
        let Some((row, gain)) = largest(open.gains.iter().copied()) else { break };
        if !gate.admits(open.places[row]) {
            open.gains[row] = f64::NEG_INFINITY;
            continue;
        }
        chosen.push((open.places[row], gain));
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
    if let Some(row) = open.places.iter().position(|place| *place == chosen[last].0) {
        design.change(&mut open, row);
    }
    let mut kept = Open::new(&design, candidates, chosen.iter().map(|(place, _)| *place).collect(), Step::Leave);
    for _ in budget..chosen.len() {
        let missed = kept.gains.iter().map(|gain| -gain);
        let Some((row, _)) = largest(missed) else { break };
        design.change(&mut kept, row);
        if observer.interrupted() {
            return Err(JointError::Interrupted);
        }
    }
    let stays: Vec<bool> = kept.gains.iter().map(|gain| *gain < f64::INFINITY).collect();
    Ok(chosen.into_iter().zip(stays).filter(|(_, stays)| *stays).map(|(chosen, _)| chosen).collect())
}

/// `A^-1` and `A^-1 F A^-1`, `[C d, C d]`.
struct Design {
    sizes: Sizes,
    inverse: Array2<f64>,
    through: Array2<f64>,
}

impl Design {
    fn new(labelled: &Factors, target: &Factors, damping: f64) -> Result<Design, JointError> {
        let mut a = labelled.information();
        a.diag_mut().mapv_inplace(|x| x + damping);
        let size = a.nrows();
        let singular = || JointError::Singular {
            scale: format!("{:.1e}", labelled.h.iter().fold(0.0_f64, |most, x| most.max(x.abs()))),
            damping: damping.to_string(),
        };
        let a = DMatrix::from_row_slice(size, size, a.as_slice().unwrap_or_default());
        let inverse = a.cholesky().ok_or_else(singular)?.inverse();
        let inverse = Array2::from_shape_vec((size, size), inverse.as_slice().to_vec()).map_err(|_| singular())?;
        let f = target.information() / target.h.nrows().max(1) as f64;
        let through = product(product(inverse.view(), f.view()).view(), inverse.view());
        Ok(Design { sizes: target.sizes(), inverse, through })
    }

    /// `R V` for the image with features `h` and beliefs `p`, `[C d, C]`.
    fn times(&self, r: &Array2<f64>, h: ArrayView1<f64>, p: ArrayView1<f64>) -> Array2<f64> {
        let Sizes { classes, width } = self.sizes;
        let mut z = Array2::zeros((classes * width, classes));
        z.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter().zip(r.axis_chunks_iter(Axis(0), BLOCK)).for_each(
            |(mut z, r)| {
                for class in 0..classes {
                    let block = r.slice(s![.., class * width..(class + 1) * width]);
                    z.column_mut(class).assign(&block.dot(&h));
                }
            },
        );
        // Times M: column j is sqrt(p_j) (z_j - z p).
        let mean = z.dot(&p);
        for (mut column, p) in z.axis_iter_mut(Axis(1)).zip(p) {
            column.zip_mut_with(&mean, |z, mean| *z = p.sqrt() * (*z - mean));
        }
        z
    }

    /// Lets the image at `row` of `open` join or leave, and changes what is kept of the others.
    fn change(&mut self, open: &mut Open, row: usize) {
        let classes = self.sizes.classes;
        let sign = open.step.sign();
        let place = open.places[row];
        let (h, p) = (open.factors.h.row(place), open.factors.p.row(place));
        let u = self.times(&self.inverse, h, p);
        let w = self.times(&self.through, h, p);
        // G = (I +- K)^-1; A^-1 -= +-U G U'; A^-1 F A^-1 -= U X' + X U' with X = +-W G - U G T G / 2.
        let mut k = open.k.index_axis(Axis(0), row).iter().map(|k| sign * k).collect::<Vec<_>>();
        (0..classes).for_each(|c| k[c * classes + c] += 1.0);
        open.gains[row] = if open.step == Step::Join { f64::NEG_INFINITY } else { f64::INFINITY };
        if !small::cholesky(&mut k, classes) {
            return;
        }
        let g = Array2::from_shape_vec((classes, classes), small::inverse(&k, classes)).unwrap_or_default();
        let gtg = g.dot(&open.t.index_axis(Axis(0), row)).dot(&g);
        let ug = u.dot(&g);
        let x = w.dot(&g) * sign - u.dot(&gtg) * 0.5;
        add_product(-sign, ug.view(), u.t(), &mut self.inverse);
        let (left, right) = (joined(&u, &x), joined(&x, &u));
        add_product(-1.0, left.view(), right.t(), &mut self.through);
        open.follow(&u, &w, &g, &gtg);
    }
}

fn joined(a: &Array2<f64>, b: &Array2<f64>) -> Array2<f64> {
    concatenate(Axis(1), &[a.view(), b.view()]).unwrap_or_default()
}

/// The images that may join or leave, with their `K` and `T`.
struct Open<'a> {
    factors: &'a Factors,
    /// Their places among the factors.
    places: Vec<usize>,
    step: Step,
    /// Their features, `[n, d]`.
    h: Array2<f64>,
    k: Array3<f64>,
    t: Array3<f64>,
    /// What joining gains, or leaving costs; infinite of those that did.
    gains: Vec<f64>,
}

impl<'a> Open<'a> {
    fn new(design: &Design, factors: &'a Factors, places: Vec<usize>, step: Step) -> Open<'a> {
        let Sizes { classes, .. } = design.sizes;
        let n = places.len();
        let h = factors.h.select(Axis(0), &places);
        let (mut k, mut t) = (Array3::zeros((n, classes, classes)), Array3::zeros((n, classes, classes)));
        for (r, out) in [(&design.inverse, &mut k), (&design.through, &mut t)] {
            let rows = h.axis_chunks_iter(Axis(0), BLOCK).into_par_iter().zip(places.par_chunks(BLOCK));
            let blocks = out.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter();
            blocks.zip(rows).for_each(|(mut out, (h, places))| {
                quadratic(design.sizes, r, h, &mut out);
                for (mut q, place) in out.axis_iter_mut(Axis(0)).zip(places) {
                    let p = factors.p.row(*place);
                    if let (Some(q), Some(p)) = (q.as_slice_mut(), p.as_slice()) {
                        between(q, p);
                    }
                }
            });
        }
        let mut open = Open { factors, places, step, h, k, t, gains: vec![0.0; n] };
        let zeros = vec![0.0; classes * classes];
        let mut scratch = Scratch::new(classes);
        let rows = open.k.axis_iter(Axis(0)).zip(open.t.axis_iter(Axis(0))).zip(&mut open.gains);
        for ((k, t), gain) in rows {
            *gain = scratch.gain(k.as_slice().unwrap_or(&zeros), t.as_slice().unwrap_or(&zeros), step);
        }
        open
    }

    /// What a step changes of `K`, `T` and the gains.
    fn follow(&mut self, u: &Array2<f64>, w: &Array2<f64>, g: &Array2<f64>, gtg: &Array2<f64>) {
        let classes = g.nrows();
        let width = self.h.ncols();
        // [d, 2 C^2]: h' of it is E_u and E_w, `[C, C]` each, which M' makes V' U and V' W of.
        let mut by_feature = Array2::zeros((width, 2 * classes * classes));
        for (side, of) in [u, w].into_iter().enumerate() {
            for class in 0..classes {
                let start = (side * classes + class) * classes;
                let block = of.slice(s![class * width..(class + 1) * width, ..]);
                by_feature.slice_mut(s![.., start..start + classes]).assign(&block);
            }
        }
        let (g, gtg) = (g.iter().copied().collect::<Vec<f64>>(), gtg.iter().copied().collect::<Vec<f64>>());
        let (step, factors) = (self.step, self.factors);
        let blocks = self.k.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter();
        let blocks = blocks.zip(self.t.axis_chunks_iter_mut(Axis(0), BLOCK));
        let blocks = blocks.zip(self.h.axis_chunks_iter(Axis(0), BLOCK));
        let blocks = blocks.zip(self.gains.par_chunks_mut(BLOCK).zip(self.places.par_chunks(BLOCK)));
        blocks.for_each(|(((mut k, mut t), h), (gains, places))| {
            let mut both = h.dot(&by_feature);
            let mut scratch = Scratch::new(classes);
            let rows = both.axis_iter_mut(Axis(0)).zip(k.axis_iter_mut(Axis(0))).zip(t.axis_iter_mut(Axis(0)));
            for (((mut both, mut k), mut t), (gain, place)) in rows.zip(gains.iter_mut().zip(places)) {
                if gain.is_infinite() {
                    continue;
                }
                let p = factors.p.row(*place);
                let slices = (both.as_slice_mut(), k.as_slice_mut(), t.as_slice_mut(), p.as_slice());
                let (Some(both), Some(k), Some(t), Some(p)) = slices else { continue };
                scratch.follow((k, t), both, p, (&g, &gtg), step);
                *gain = scratch.gain(k, t, step);
            }
        });
    }
}

/// `h' R_ab h` for every pair of classes and every image, `[n, C, C]`.
fn quadratic(sizes: Sizes, r: &Array2<f64>, h: ArrayView2<f64>, out: &mut ndarray::ArrayViewMut3<f64>) {
    let Sizes { classes, width } = sizes;
    for a in 0..classes {
        let rows = h.dot(&r.slice(s![a * width..(a + 1) * width, ..]));
        for (image, (row, h)) in rows.axis_iter(Axis(0)).zip(h.axis_iter(Axis(0))).enumerate() {
            for b in 0..classes {
                out[[image, a, b]] = row.slice(s![b * width..(b + 1) * width]).dot(&h);
            }
        }
    }
}

/// `M' E` in the place of `E`, `[C, C]` by rows: row j becomes `sqrt(p_j) (E_j - p' E)`.
fn from_the_left(e: &mut [f64], p: &[f64]) {
    let classes = p.len();
    for column in 0..classes {
        let mean: f64 = (0..classes).map(|row| p[row] * e[row * classes + column]).sum();
        for row in 0..classes {
            e[row * classes + column] = p[row].sqrt() * (e[row * classes + column] - mean);
        }
    }
}

/// `M' Q M` in the place of `Q`.
fn between(q: &mut [f64], p: &[f64]) {
    let classes = p.len();
    from_the_left(q, p);
    for row in q.chunks_exact_mut(classes) {
        let mean: f64 = row.iter().zip(p).map(|(q, p)| q * p).sum();
        row.iter_mut().zip(p).for_each(|(q, p)| *q = p.sqrt() * (*q - mean));
    }
}

/// Room for the small matrices of one image.
struct Scratch {
    classes: usize,
    factor: Vec<f64>,
    pg: Vec<f64>,
    r: Vec<f64>,
}

impl Scratch {
    fn new(classes: usize) -> Scratch {
        let room = vec![0.0; classes * classes];
        Scratch { classes, factor: room.clone(), pg: room.clone(), r: room }
    }

    /// `tr[(I +- K)^-1 T]`.
    fn gain(&mut self, k: &[f64], t: &[f64], step: Step) -> f64 {
        let classes = self.classes;
        for (factor, k) in self.factor.iter_mut().zip(k) {
            *factor = step.sign() * k;
        }
        (0..classes).for_each(|c| self.factor[c * classes + c] += 1.0);
        if !small::cholesky(&mut self.factor, classes) {
            return f64::NAN;
        }
        self.r.copy_from_slice(t);
        small::trace_of_solved(&self.factor, &mut self.r, classes)
    }

    /// `K -= +-P G P'` and `T -= P R' + R P'`, `P = V' U`, `R = +-(V' W) G - P G T G / 2`.
    fn follow(
        &mut self,
        (k, t): (&mut [f64], &mut [f64]),
        both: &mut [f64],
        p: &[f64],
        (g, gtg): (&[f64], &[f64]),
        step: Step,
    ) {
        let classes = self.classes;
        let (of_u, of_w) = both.split_at_mut(classes * classes);
        from_the_left(of_u, p);
        from_the_left(of_w, p);
        small::product(of_u, g, classes, &mut self.pg);
        small::add_product_of_transposed(&self.pg, of_u, classes, -step.sign(), k);
        small::product(of_w, g, classes, &mut self.r);
        self.r.iter_mut().for_each(|r| *r *= step.sign());
        // gtg is symmetric, so that its own transpose will do.
        small::add_product_of_transposed(of_u, gtg, classes, -0.5, &mut self.r);
        small::add_product_of_transposed(of_u, &self.r, classes, -1.0, t);
        small::add_product_of_transposed(&self.r, of_u, classes, -1.0, t);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Seeded;
    use crate::observe::Unobserved;

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
