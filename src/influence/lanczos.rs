//! The Lanczos process on the undamped curvature (Lanczos, 1950; Golub and Van Loan, Matrix Computations, 10.1), begun at
//! `v`.
//!
//! It gives an orthonormal basis `q_0 = v / ||v||, q_1, ...` of the Krylov space and the tridiagonal matrix `T` that the
//! curvature is in it. The space does not change when a multiple of the identity is added, so one process serves twice: the
//! largest eigenvalue of `T` decides the damping, and conjugate gradient on the damped matrix then has its first iterations
//! already, for any damping, at no further product (`conjugate_gradient.rs`).
//!
//! The estimate of the largest eigenvalue approaches from below, and is never worse than that of power iteration with as many
//! products. Vectors are orthogonalised against all before them: the process is short, and a dot product costs nothing beside
//! a pass over images.

use super::InfluenceError;
use super::engine::GradientEngine;
use super::operator::{At, Operator};
use super::progress::Stage;
use super::tridiagonal::extreme_eigenvalues;

/// The estimate stands once a step raises it by less than this share of it.
const STANDS: f64 = 0.01;
/// A step whose new direction is shorter than this share of the largest eigenvalue has left the space: what float32 leaves
/// of a vector that is there already.
const NOTHING_NEW: f64 = 1e-6;

/// What the process leaves after k products.
pub(super) struct Krylov<V> {
    /// `||v||`.
    pub norm: f64,
    /// `q_0 .. q_k`; `q_k` is absent where the space is invariant.
    pub basis: Vec<V>,
    /// `T`'s diagonal, k entries.
    pub diagonal: Vec<f64>,
    /// `T`'s off-diagonal, k entries; the last couples `q_{k-1}` with `q_k`, and is 0 where the space is invariant.
    pub off_diagonal: Vec<f64>,
    /// Largest absolute eigenvalue of `T`.
    pub largest: f64,
}

impl<V> Krylov<V> {
    /// `(T + lambda I) p` for coordinates `p` over the basis, those of `q_0 .. q_{k-1}` set.
    pub fn apply(&self, lambda: f64, p: &[f64]) -> Vec<f64> {
        let mut product: Vec<f64> = p.iter().map(|x| lambda * x).collect();
        let columns = self.diagonal.iter().zip(&self.off_diagonal).zip(p).enumerate();
        for (column, ((diagonal, off_diagonal), x)) in columns {
            let above = column.checked_sub(1).and_then(|row| Some((row, *self.off_diagonal.get(row)?)));
            let entries = [above, Some((column, *diagonal)), Some((column + 1, *off_diagonal))];
            for (row, entry) in entries.into_iter().flatten() {
                if let Some(sum) = product.get_mut(row) {
                    *sum += entry * x;
                }
            }
        }
        product
    }

    /// The vector of these coordinates.
    pub fn combine<E: GradientEngine<Vector = V>>(&self, engine: &mut E, x: &[f64]) -> Result<V, InfluenceError> {
        let mut sum = engine.zeros()?;
        for (x, q) in x.iter().zip(&self.basis).filter(|(x, _)| **x != 0.0) {
            engine.axpy(*x, q, &mut sum)?;
        }
        Ok(sum)
    }
}

/// Runs at most `steps` products from `v`, and fewer once the largest eigenvalue stands.
///
/// Errors: [`InfluenceError::NonFinite`], and [`InfluenceError::ZeroCurvature`] where nothing of `v` is curved.
pub(super) fn krylov<E: GradientEngine>(
    operator: &mut Operator<E>,
    v: &E::Vector,
    steps: usize,
) -> Result<Krylov<E::Vector>, InfluenceError> {
    let lambda = std::mem::replace(&mut operator.lambda, 0.0);
    operator.at =
        At { stage: Stage::Damping, step: 0, steps, samples_a_step: operator.samples.samples(), residual: None };
    let norm = operator.engine.dot(v, v)?.sqrt();
    let mut first = operator.engine.copy(v)?;
    operator.engine.scale(1.0 / norm, &mut first)?;
    let mut krylov =
        Krylov { norm, basis: vec![first], diagonal: Vec::new(), off_diagonal: Vec::new(), largest: 0.0f64 };
    for step in 1..=steps {
        let Some(newest) = krylov.basis.last() else { break };
        let mut w = operator.apply(newest)?;
        let length = operator.engine.dot(&w, &w)?.sqrt();
        if !length.is_finite() {
            return Err(InfluenceError::NonFinite { what: "a curvature product", step });
        }
        if step == 1 && length == 0.0 {
            let samples = operator.samples.samples();
            return Err(InfluenceError::ZeroCurvature { curvature: operator.curvature, samples });
        }
        krylov.diagonal.push(operator.engine.dot(newest, &w)?);
        // Twice, as once leaves what rounding made of large parts.
        for _ in 0..2 {
            for q in &krylov.basis {
                let along = operator.engine.dot(q, &w)?;
                operator.engine.axpy(-along, q, &mut w)?;
            }
        }
        let beyond = operator.engine.dot(&w, &w)?.sqrt();
        let (low, high) = extreme_eigenvalues(&krylov.diagonal, &krylov.off_diagonal)
            .ok_or(InfluenceError::NonFinite { what: "a curvature product", step })?;
        let before = std::mem::replace(&mut krylov.largest, low.abs().max(high.abs()));
        operator.step_done(step, None)?;
        if beyond <= NOTHING_NEW * krylov.largest {
            krylov.off_diagonal.push(0.0);
            break;
        }
        krylov.off_diagonal.push(beyond);
        operator.engine.scale(1.0 / beyond, &mut w)?;
        krylov.basis.push(w);
        if step > 2 && krylov.largest <= (1.0 + STANDS) * before {
            break;
        }
    }
    operator.lambda = lambda;
    Ok(krylov)
}
