//! Covariances of candidates given the points whose labels are known, and what a label of each would lower the weighted
//! variance at the targets by.
//!
//! A known `u` changes `cov(a, b)` by `-cov(a, u) cov(u, b) / (var(u) + noise)`, so that the moment of a candidate, `m(a) = sum
//! over targets of w cov(target, a)^2`, follows from two numbers alone: `cov(a, u)` and `m(a, u) = sum of w cov(target, a)
//! cov(target, u)`. Both are computed for many likely `u` ahead, as products of large matrices. Covariances with the targets are
//! left as they were at the last settling, and changed for many known points at once; until then a new point is put together
//! from the few known since. So every gain is exact after each choice, and a choice costs no pass over all targets and all
//! known points.

use super::factor::Factor;
use super::linear::{BLOCK, product};
use super::posterior::Process;
use ndarray::linalg::general_mat_mul;
use ndarray::parallel::prelude::*;
use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut2, Axis, s};
use rayon::slice::{ParallelSlice as _, ParallelSliceMut as _};

/// Known points between two settlings.
const RECENT: usize = 64;

/// Candidates whose columns are computed at a time.
const AHEAD: usize = 64;

/// Candidates at most whose columns are held.
const HELD: usize = 256;

/// What the points known since the last settling change; only the first `count` rows.
struct Recent {
    count: usize,
    /// Rows of the factor, `[RECENT, N]`.
    factor: Array2<f64>,
    /// `sum over targets of w c0(target, a) g(target)`, `c0` the covariance at the last settling; `[RECENT, N]`.
    moments: Array2<f64>,
    /// Rows of the factor at the targets, `g`, `[RECENT, T]`.
    targets: Array2<f64>,
}

/// What is held of likely candidates, as of the last settling.
struct Ahead {
    rows: Vec<usize>,
    /// Their covariances with every candidate, `[held, N]`.
    covariances: Array2<f64>,
    /// Their `m` with every candidate, `[held, N]`.
    moments: Array2<f64>,
}

/// Covariances given the points whose labels are known.
pub(super) struct Conditioned<'a> {
    process: &'a Process<'a>,
    candidates: &'a Array2<f64>,
    weights: &'a [f64],
    /// Which candidates the rows are.
    places: Vec<usize>,
    /// Their squared lengths.
    squares: Vec<f64>,
    /// With every target at the last settling, `[N, T]`.
    covariance: Array2<f32>,
    /// And the points that were known then.
    factor: Factor,
    variance: Vec<f64>,
    moments: Vec<f64>,
    /// What each lowers the weighted variance by; negative infinity of those that are closed.
    gains: Vec<f64>,
    closed: usize,
    recent: Recent,
    ahead: Ahead,
}

impl<'a> Conditioned<'a> {
    /// Of every candidate, with covariances with the targets `[N, T]`, variances, and the factor of what is known.
    pub(super) fn new(
        (process, candidates, weights): (&'a Process<'a>, &'a Array2<f64>, &'a [f64]),
        covariance: Array2<f32>,
        variance: Vec<f64>,
        factor: Factor,
    ) -> Conditioned<'a> {
        let (images, targets) = covariance.dim();
        let recent = Recent {
            count: 0,
            factor: Array2::zeros((RECENT, images)),
            moments: Array2::zeros((RECENT, images)),
            targets: Array2::zeros((RECENT, targets)),
        };
        let none = || Array2::zeros((0, images));
        let mut given = Conditioned {
            process,
            candidates,
            weights,
            places: (0..images).collect(),
            squares: candidates.axis_iter(Axis(0)).map(|x| x.dot(&x)).collect(),
            covariance,
            factor,
            variance,
            moments: vec![0.0; images],
            gains: vec![0.0; images],
            closed: 0,
            recent,
            ahead: Ahead { rows: Vec::new(), covariances: none(), moments: none() },
        };
        given.settle_targets();
        given.gains.iter_mut().zip(&given.moments).zip(&given.variance).for_each(|((gain, moment), variance)| {
            *gain = moment / (variance.max(0.0) + process.noise);
        });
        given
    }

    /// What each row lowers the weighted variance by; negative infinity of those that are closed.
    pub(super) fn gains(&self) -> impl Iterator<Item = f64> {
        self.gains.iter().copied()
    }

    /// Which candidate a row is.
    pub(super) fn place(&self, row: usize) -> usize {
        self.places[row]
    }

    /// The candidate at a row is never the next again.
    pub(super) fn close(&mut self, row: usize) {
        self.gains[row] = f64::NEG_INFINITY;
        self.closed += 1;
    }

    /// Makes the label of the candidate at a row known, and computes the gains after it.
    pub(super) fn condition(&mut self, row: usize) {
        let held = match self.ahead.rows.iter().position(|held| *held == row) {
            Some(held) => held,
            None => self.look_ahead(row),
        };
        let noise = self.process.noise;
        let total = self.variance[row].max(0.0) + noise;
        let Recent { count, factor, moments, targets } = &mut self.recent;
        let count = *count;
        let own: Vec<f64> = factor.slice(s![..count, row]).to_vec();
        let known = targets.slice(s![..count, ..]);
        let mut to_targets = self.covariance.row(row).mapv(f64::from);
        own.iter().zip(known.rows()).for_each(|(own, g)| to_targets.scaled_add(-own, &g));
        let weighted: Array1<f64> = to_targets.iter().zip(self.weights).map(|(c, w)| c * w).collect();
        let own_moment = weighted.dot(&to_targets);
        let of_recent: Vec<f64> = known.rows().into_iter().map(|g| g.dot(&weighted)).collect();
        targets.row_mut(count).assign(&(to_targets / total.sqrt()));
        self.gains[row] = f64::NEG_INFINITY;
        self.closed += 1;

        let (known, mut factor) = factor.view_mut().split_at(Axis(0), count);
        let (known_moments, mut moments) = moments.view_mut().split_at(Axis(0), count);
        let (covariances, with_all) = (self.ahead.covariances.row(held), self.ahead.moments.row(held));
        let out = factor.slice_mut(s![..1, ..]).into_slice().unwrap_or_default().par_chunks_mut(BLOCK);
        let out = out.zip(moments.slice_mut(s![..1, ..]).into_slice().unwrap_or_default().par_chunks_mut(BLOCK));
        let changed = self.variance.par_chunks_mut(BLOCK).zip(self.moments.par_chunks_mut(BLOCK));
        let changed = changed.zip(self.gains.par_chunks_mut(BLOCK));
        changed.zip(out).enumerate().for_each(|(block, (((variance, moments), gains), (factor, of_targets)))| {
            let range = block * BLOCK..block * BLOCK + gains.len();
            let part = s![range.clone()];
            let (mut with, mut moment) = (covariances.slice(part).to_vec(), with_all.slice(part).to_vec());
            let mut lost = vec![0.0; gains.len()];
            let rows = known.rows().into_iter().zip(known_moments.rows());
            for ((known, of_moments), (own, recent)) in rows.zip(own.iter().zip(&of_recent)) {
                let (known, of_moments) = (known.slice(part), of_moments.slice(part));
                if let (Some(known), Some(of_moments)) = (known.as_slice(), of_moments.as_slice()) {
                    take(&mut with, *own, known);
                    take(&mut moment, *own, of_moments);
                    take(&mut lost, *recent, known);
                }
            }
            for (n, gain) in gains.iter_mut().enumerate() {
                let share = with[n] / total;
                moments[n] -= share * (2.0 * (moment[n] + lost[n]) - share * own_moment);
                variance[n] -= share * with[n];
                factor[n] = with[n] / total.sqrt();
                of_targets[n] = moment[n] / total.sqrt();
                if *gain > f64::NEG_INFINITY {
                    *gain = moments[n] / (variance[n].max(0.0) + noise);
                }
            }
        });
        self.recent.count += 1;
        if self.recent.count == RECENT {
            self.settle();
        }
    }

    /// Computes the columns of the likeliest candidates that have none, `row` among them, and says which is that row's.
    fn look_ahead(&mut self, row: usize) -> usize {
        let likelier = |a: &usize, b: &usize| self.gains[*b].total_cmp(&self.gains[*a]).then(a.cmp(b));
        let open = |row: &usize| self.gains[*row] > f64::NEG_INFINITY;
        let mut held: Vec<usize> = (0..self.ahead.rows.len()).filter(|held| open(&self.ahead.rows[*held])).collect();
        held.sort_by(|a, b| likelier(&self.ahead.rows[*a], &self.ahead.rows[*b]));
        held.truncate(HELD - AHEAD);
        let mut known = vec![false; self.places.len()];
        held.iter().for_each(|held| known[self.ahead.rows[*held]] = true);
        let mut next: Vec<usize> = (0..self.places.len()).filter(|row| open(row) && !known[*row]).collect();
        if next.len() > AHEAD {
            next.select_nth_unstable_by(AHEAD - 1, likelier);
            next.truncate(AHEAD);
        }
        if !next.contains(&row) {
            next.pop();
            next.push(row);
        }
        let (covariances, moments) = (self.covariances(&next), self.cross_moments(&next));
        let joined = |old: &Array2<f64>, new: Array2<f64>| {
            ndarray::concatenate(Axis(0), &[old.select(Axis(0), &held).view(), new.view()]).unwrap_or_default()
        };
        self.ahead = Ahead {
            covariances: joined(&self.ahead.covariances, covariances),
            moments: joined(&self.ahead.moments, moments),
            rows: held.iter().map(|held| self.ahead.rows[*held]).chain(next).collect(),
        };
        self.ahead.rows.iter().position(|held| *held == row).unwrap_or_default()
    }

    /// Covariances of the candidates at some rows with all, as of the last settling, `[rows, N]`.
    fn covariances(&self, rows: &[usize]) -> Array2<f64> {
        let places: Vec<usize> = rows.iter().map(|row| self.places[*row]).collect();
        let points = self.candidates.select(Axis(0), &places);
        let mut covariances = Array2::zeros((rows.len(), self.places.len()));
        let parts = covariances.axis_chunks_iter_mut(Axis(1), BLOCK).into_par_iter();
        parts.zip(self.places.par_chunks(BLOCK)).zip(self.squares.par_chunks(BLOCK)).for_each(
            |((mut part, places), squares)| {
                let others = self.candidates.select(Axis(0), places);
                general_mat_mul(1.0, &points, &others.t(), 0.0, &mut part);
                for (mut out, row) in part.axis_iter_mut(Axis(0)).zip(rows) {
                    let own = self.squares[*row];
                    out.iter_mut().zip(squares).for_each(|(x, other)| *x = (self.process.kernel)(*x, own, *other));
                }
            },
        );
        self.factor.take_from(rows, &mut covariances);
        covariances
    }

    /// `m` of the candidates at some rows with all, as of the last settling, `[rows, N]`.
    fn cross_moments(&self, rows: &[usize]) -> Array2<f64> {
        let mut weighted = self.covariance.select(Axis(0), rows).mapv(f64::from);
        weighted.axis_iter_mut(Axis(0)).for_each(|mut row| row.iter_mut().zip(self.weights).for_each(|(c, w)| *c *= w));
        let mut moments = Array2::zeros((rows.len(), self.places.len()));
        let parts = moments.axis_chunks_iter_mut(Axis(1), BLOCK).into_par_iter();
        parts.zip(self.covariance.axis_chunks_iter(Axis(0), BLOCK)).for_each(|(mut part, others)| {
            let targets = weighted.axis_chunks_iter(Axis(1), BLOCK).zip(others.axis_chunks_iter(Axis(1), BLOCK));
            for (own, others) in targets {
                general_mat_mul(1.0, &own, &others.mapv(f64::from).t(), 1.0, &mut part);
            }
        });
        moments
    }

    /// Does to the covariances what was left of the recent points.
    fn settle(&mut self) {
        self.settle_targets();
        self.settle_ahead();
        self.factor.add(self.recent.factor.slice(s![..self.recent.count, ..]));
        self.recent.count = 0;
        if self.closed > BLOCK.max(self.places.len() / 8) {
            self.forget();
        }
    }

    /// Covariances with the targets, and the moments as they are then.
    fn settle_targets(&mut self) {
        let known = s![..self.recent.count, ..];
        let (factor, targets) = (self.recent.factor.slice(known), self.recent.targets.slice(known));
        let weights = self.weights;
        let rows = self.covariance.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter();
        rows.zip(self.moments.par_chunks_mut(BLOCK)).enumerate().for_each(|(block, (mut rows, moments))| {
            let own = factor.slice(s![.., block * BLOCK..block * BLOCK + moments.len()]);
            moments.fill(0.0);
            for (part, mut rows) in rows.axis_chunks_iter_mut(Axis(1), BLOCK).enumerate() {
                let range = part * BLOCK..part * BLOCK + rows.ncols();
                let mut with = rows.mapv(f64::from);
                general_mat_mul(-1.0, &own.t(), &targets.slice(s![.., range.clone()]), 1.0, &mut with);
                rows.zip_mut_with(&with, |to, from| *to = *from as f32);
                for (row, moment) in rows.axis_iter(Axis(0)).zip(moments.iter_mut()) {
                    *moment += weighted_square(row.to_slice().unwrap_or_default(), &weights[range.clone()]);
                }
            }
        });
    }

    /// The columns that are held.
    fn settle_ahead(&mut self) {
        let open: Vec<usize> =
            (0..self.ahead.rows.len()).filter(|held| self.gains[self.ahead.rows[*held]] > f64::NEG_INFINITY).collect();
        let rows: Vec<usize> = open.iter().map(|held| self.ahead.rows[*held]).collect();
        let known = s![..self.recent.count, ..];
        let (factor, of_targets) = (self.recent.factor.slice(known), self.recent.moments.slice(known));
        let mut weighted = self.covariance.select(Axis(0), &rows).mapv(f64::from);
        weighted.axis_iter_mut(Axis(0)).for_each(|mut row| row.iter_mut().zip(self.weights).for_each(|(c, w)| *c *= w));
        let with_known = product(weighted.view(), self.recent.targets.slice(known).t());
        let own = factor.select(Axis(1), &rows).reversed_axes();
        let mut covariances = self.ahead.covariances.select(Axis(0), &open);
        let mut moments = self.ahead.moments.select(Axis(0), &open);
        let less = |mut part: ArrayViewMut2<f64>, of: &Array2<f64>, by: ArrayView2<f64>| {
            general_mat_mul(-1.0, of, &by, 1.0, &mut part);
        };
        let parts = covariances.axis_chunks_iter_mut(Axis(1), BLOCK).into_par_iter();
        let parts = parts.zip(moments.axis_chunks_iter_mut(Axis(1), BLOCK));
        parts.enumerate().for_each(|(block, (covariances, mut moments))| {
            let range = s![.., block * BLOCK..block * BLOCK + moments.ncols()];
            less(covariances, &own, factor.slice(range));
            less(moments.view_mut(), &own, of_targets.slice(range));
            less(moments, &with_known, factor.slice(range));
        });
        self.ahead = Ahead { rows, covariances, moments };
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
        of(&mut self.moments, &still);
        of(&mut self.gains, &still);
        self.factor.keep(&still);
        // In its own place, since it is large.
        for (to, from) in still.iter().enumerate() {
            if to < *from {
                let (mut above, below) = self.covariance.view_mut().split_at(Axis(0), *from);
                above.row_mut(to).assign(&below.row(0));
            }
        }
        self.covariance.slice_collapse(s![..still.len(), ..]);
        for held in &mut self.ahead.rows {
            *held = still.binary_search(held).unwrap_or_default();
        }
        self.ahead.covariances = self.ahead.covariances.select(Axis(1), &still);
        self.ahead.moments = self.ahead.moments.select(Axis(1), &still);
        self.recent.factor = Array2::zeros((RECENT, still.len()));
        self.recent.moments = Array2::zeros((RECENT, still.len()));
        self.closed = 0;
    }
}

/// `with -= own * factor`.
#[multiversion::multiversion(targets = "simd")]
fn take(with: &mut [f64], own: f64, factor: &[f64]) {
    for (with, factor) in with.iter_mut().zip(factor) {
        *with -= own * factor;
    }
}

/// The sum of weights times squares.
#[multiversion::multiversion(targets = "simd")]
fn weighted_square(covariance: &[f32], weights: &[f64]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let (wide, wide_weights) = (covariance.chunks_exact(LANES), weights.chunks_exact(LANES));
    let rest = wide.remainder().iter().zip(wide_weights.remainder());
    let rest: f64 = rest.map(|(c, w)| w * f64::from(*c) * f64::from(*c)).sum();
    for (covariance, weights) in wide.zip(wide_weights) {
        for lane in 0..LANES {
            sums[lane] += weights[lane] * f64::from(covariance[lane]) * f64::from(covariance[lane]);
        }
    }
    sums.iter().sum::<f64>() + rest
}
