//! The reference gradient `v` and the damped curvature `H + lambda I`, as means over a set of samples.
//!
//! `v = (1/m) sum_{r in R} grad l(r)` and `H u = (1/n) sum_{z in L} curvature(z) u`. The engine sums over a
//! batch; the division by the number of samples is done here and nowhere else, so that no result depends on
//! the batch size. A weight-decay term of the training objective is not part of `H`: it belongs in `lambda`.

use super::engine::{Curvature, GradientEngine};
use super::progress::{Observer, Progress, Stage};
use super::{Batches, InfluenceError};

/// The mean gradient over the reference set.
#[derive(Debug, Clone)]
pub struct ReferenceGradient<V> {
    /// `v`, over the engine's parameters.
    pub vector: V,
    /// Mean loss over the reference set.
    pub loss: f64,
    /// `||v||`.
    pub norm: f64,
    /// Samples it is the mean of.
    pub samples: usize,
}

/// Computes the mean gradient over `reference`.
///
/// Errors: an empty set, a NaN or infinite loss or gradient, a gradient that is exactly zero.
pub fn reference_gradient<E: GradientEngine>(
    engine: &mut E,
    reference: &mut dyn Batches,
    observer: &mut Observer,
) -> Result<ReferenceGradient<E::Vector>, InfluenceError> {
    let samples = reference.samples();
    if samples == 0 {
        return Err(InfluenceError::Empty { set: "reference" });
    }
    let mut vector = engine.zeros()?;
    let mut loss = 0.0;
    let mut passed = 0;
    reference.visit(&mut |images, annotations| {
        let (batch_loss, gradient) = engine.gradient(images, annotations)?;
        engine.axpy(1.0, &gradient, &mut vector)?;
        loss += batch_loss;
        passed += annotations.images();
        let (step, steps) = (usize::from(passed == samples), 1);
        notify(
            observer,
            Progress {
                stage: Stage::ReferenceGradient,
                step,
                steps,
                samples: passed,
                samples_a_step: samples,
                residual: None,
            },
        )
    })?;
    let mean = 1.0 / samples as f64;
    engine.scale(mean, &mut vector)?;
    let norm = engine.dot(&vector, &vector)?.sqrt();
    if !(norm.is_finite() && loss.is_finite()) {
        return Err(InfluenceError::NonFinite { what: "the reference gradient", step: 0 });
    }
    if norm == 0.0 {
        return Err(InfluenceError::ZeroGradient);
    }
    Ok(ReferenceGradient { vector, loss: loss * mean, norm, samples })
}

/// `H + lambda I` over a set of samples, applied to a vector by one pass over the set.
pub(super) struct Operator<'a, E: GradientEngine> {
    pub engine: &'a mut E,
    pub samples: &'a mut dyn Batches,
    pub curvature: Curvature,
    pub lambda: f64,
    pub observer: &'a mut Observer<'a>,
    /// What the observer hears about the present pass.
    pub at: At,
    /// Curvature products of single samples so far: the cost of a solve, whatever the solver.
    pub sample_products: u64,
}

/// Where a solver is, for the observer.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    pub stage: Stage,
    pub step: usize,
    pub steps: usize,
    /// Samples that a step passes.
    pub samples_a_step: usize,
    pub residual: Option<f64>,
}

impl<E: GradientEngine> Operator<'_, E> {
    /// `(H + lambda I) u`.
    pub fn apply(&mut self, u: &E::Vector) -> Result<E::Vector, InfluenceError> {
        let mut sum = self.engine.zeros()?;
        let total = self.samples.samples();
        if total == 0 {
            return Err(InfluenceError::Empty { set: "curvature" });
        }
        let mut passed = 0;
        let (engine, observer, at) = (&mut *self.engine, &mut *self.observer, self.at);
        let curvature = self.curvature;
        self.samples.visit(&mut |images, annotations| {
            let product = engine.curvature_product(curvature, images, annotations, u)?;
            engine.axpy(1.0, &product, &mut sum)?;
            passed += annotations.images();
            at.notify(observer, passed)
        })?;
        self.sample_products += total as u64;
        self.engine.scale(1.0 / total as f64, &mut sum)?;
        self.engine.axpy(self.lambda, u, &mut sum)?;
        Ok(sum)
    }

    /// Mean curvature times `u` over the samples at these positions, without damping.
    pub fn apply_to(&mut self, positions: &[usize], u: &E::Vector) -> Result<E::Vector, InfluenceError> {
        let (images, annotations) = self.samples.gather(positions)?;
        let mut product = self.engine.curvature_product(self.curvature, images.view(), &annotations, u)?;
        self.sample_products += positions.len() as u64;
        self.engine.scale(1.0 / positions.len().max(1) as f64, &mut product)?;
        self.at.notify(self.observer, positions.len())?;
        Ok(product)
    }

    /// `v - (H + lambda I) s` and `||v - (H + lambda I) s|| / ||v||`.
    pub fn residual(&mut self, s: &E::Vector, v: &E::Vector) -> Result<(E::Vector, f64), InfluenceError> {
        let mut residual = self.apply(s)?;
        self.engine.scale(-1.0, &mut residual)?;
        self.engine.axpy(1.0, v, &mut residual)?;
        let relative = (self.engine.dot(&residual, &residual)? / self.engine.dot(v, v)?).sqrt();
        Ok((residual, relative))
    }

    /// Reports a step that ended.
    pub fn step_done(&mut self, step: usize, residual: Option<f64>) -> Result<(), InfluenceError> {
        self.at.step = step;
        self.at.residual = residual;
        self.at.notify(self.observer, 0)
    }
}

impl At {
    pub fn notify(&self, observer: &mut Observer, samples: usize) -> Result<(), InfluenceError> {
        let At { stage, step, steps, samples_a_step, residual } = *self;
        notify(observer, Progress { stage, step, steps, samples, samples_a_step, residual })
    }
}

fn notify(observer: &mut Observer, progress: Progress) -> Result<(), InfluenceError> {
    match observer(&progress) {
        std::ops::ControlFlow::Continue(()) => Ok(()),
        std::ops::ControlFlow::Break(()) => Err(InfluenceError::Cancelled),
    }
}
