//! What the last layer of a classifier sees of images: features with a one behind them, and beliefs.
//!
//! With features `h` and beliefs `p`, the Fisher matrix of an image is `(diag(p) - p p') (x) h h' = V V'`, `V = M (x) h`,
//! `M = diag(sqrt p) - p sqrt(p)'`, `[C d, C]`: classes first, in each of them the features.

use super::{Embedded, JointError, Sets, beliefs, projection};
use ndarray::parallel::prelude::*;
use ndarray::{Array1, Array2, ArrayView2, Axis, s};

/// Features and beliefs of a set.
#[derive(Debug, Clone)]
pub(super) struct Factors {
    /// Features with a one behind them, `[N, d]`.
    pub(super) h: Array2<f64>,
    /// Beliefs, `[N, C]`, each row summing to one.
    pub(super) p: Array2<f64>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) classes: usize,
    pub(super) width: usize,
}

impl Factors {
    /// Of features `[N, F]` and beliefs `[N, C]`.
    pub(super) fn new(features: Array2<f64>, p: Array2<f64>) -> Factors {
        let mut h = Array2::ones((features.nrows(), features.ncols() + 1));
        h.slice_mut(s![.., ..-1]).assign(&features);
        Factors { h, p }
    }

    /// Number of images.
    pub(super) fn len(&self) -> usize {
        self.h.nrows()
    }

    /// The images at these places.
    pub(super) fn of(&self, places: &[usize]) -> Factors {
        Factors { h: self.h.select(Axis(0), places), p: self.p.select(Axis(0), places) }
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes { classes: self.p.ncols(), width: self.h.ncols() }
    }

    /// The sum of the Fisher matrices, `[C d, C d]`.
    pub(super) fn information(&self) -> Array2<f64> {
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

    /// The same with `damping` on the diagonal: the precision of the last layer's weights.
    pub(super) fn precision(&self, damping: f64) -> Array2<f64> {
        let mut sum = self.information();
        sum.diag_mut().mapv_inplace(|x| x + damping);
        sum
    }

    /// What is to be said where the precision is not positive definite.
    pub(super) fn singular(&self, damping: f64) -> JointError {
        let scale = self.h.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
        JointError::Singular { scale: format!("{scale:.1e}"), damping: damping.to_string() }
    }
}

/// The sets of a choice as the last layer sees them, all alike in width and classes.
pub(super) struct LastLayer {
    pub(super) candidates: Factors,
    pub(super) labelled: Factors,
    pub(super) target: Factors,
}

/// How features and beliefs become those of the last layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// What is added to the labelled images' information in every direction.
    pub(super) damping: f64,
    /// Most that classes times features may be: beyond it features are cut to their leading principal directions, and classes
    /// are dealt into groups.
    pub(super) dimension: usize,
    /// Whether beliefs are divided by the temperature of least loss on the target images.
    pub(super) calibrate: bool,
}

impl LastLayer {
    /// Of these sets.
    ///
    /// # Errors
    /// Sets that do not go together, and options that make no sense.
    pub(super) fn of(sets: &Sets, reading: Reading) -> Result<LastLayer, JointError> {
        let Reading { damping, dimension, calibrate } = reading;
        if !(damping > 0.0 && damping.is_finite()) {
            let found = damping.to_string();
            return Err(JointError::Option { option: "damping", found, expected: "a number above 0" });
        }
        let target = sets.the_target()?;
        sets.check(true)?;
        let groups = projection::groups(sets.candidates.logits.ncols());
        let width = (dimension / groups).saturating_sub(1);
        if width == 0 {
            let found = dimension.to_string();
            return Err(JointError::Option { option: "dimension", found, expected: "at least two for each class" });
        }
        let features: Vec<ArrayView2<f32>> = [sets.candidates, target, sets.labelled]
            .into_iter()
            .filter(|set| !set.is_empty())
            .map(|set| set.features.view())
            .collect();
        let directions = projection::principal(&features, width);
        let temperature = if calibrate { beliefs::temperature(target) } else { 1.0 };
        let kept = directions.as_ref().map_or(sets.candidates.features.ncols(), |directions| directions.ncols());
        let factors = |set: &Embedded| match set.is_empty() {
            // Without images there is no telling how wide they are.
            true => Factors::new(Array2::zeros((0, kept)), Array2::zeros((0, groups))),
            false => Factors::new(
                projection::along(&set.features, directions.as_ref()),
                projection::grouped(beliefs::probabilities(&set.logits, temperature)),
            ),
        };
        let [candidates, labelled, target] = [sets.candidates, sets.labelled, target].map(factors);
        Ok(LastLayer { candidates, labelled, target })
    }
}
