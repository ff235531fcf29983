//! First derivatives: the gradient of the loss, and the outputs' derivative along a direction.

use crate::engine::{Engine, finite};
use crate::level::Level;
use crate::{Failure, Vector, loss, workers};
use tch::Tensor;

impl Engine {
    /// Leaves to differentiate by: the parameters' values, recorded from here on.
    pub(crate) fn leaves(&self) -> Result<Vec<Tensor>, Failure> {
        self.parameters()?.iter().map(|p| Ok(p.f_detach()?.f_set_requires_grad(true)?)).collect()
    }

    /// Sum over the batch of the loss, and of its gradient, in evaluation mode.
    ///
    /// # Errors
    /// [`Failure::Shape`], [`Failure::Node`], [`Failure::NotFinite`] when the loss or the gradient is not finite.
    pub fn gradient(&self, images: &Tensor, targets: &Tensor) -> Result<(f64, Vector), Failure> {
        let images = self.images(images)?;
        let parts = workers::each(self, self.parts(&images, targets)?, self.workers(), |engine, (images, targets)| {
            let leaves = engine.leaves()?;
            let (outputs, _) = engine.logits(&images, &leaves, false)?;
            let targets = engine.targets(&targets, &outputs)?;
            let losses = loss::per_sample(&outputs, &targets)?;
            let sum = loss::sum(&losses)?;
            let gradients = Tensor::f_run_backward(&[losses.f_sum(engine.numerics.kind)?], &leaves, false, false)?;
            Ok((sum, engine.result(&gradients, "the gradient")?))
        })?;
        let (sums, gradients): (Vec<f64>, Vec<Vector>) = parts.into_iter().unzip();
        Ok((sums.iter().sum(), self.sum(gradients)?))
    }

    /// The loss output `o` and its derivative along `v`, sample by sample, both `[N, C]`; evaluation mode.
    ///
    /// # Errors
    /// [`Failure::Shape`], [`Failure::Node`], [`Failure::NotFinite`].
    pub fn jvp(&self, images: &Tensor, v: &Vector) -> Result<(Tensor, Tensor), Failure> {
        let images = self.images(images)?;
        let parts = workers::cut(&images, self.cuts(&images))?;
        let parts = {
            let level = Level::enter()?;
            let both = (self, v);
            workers::each(&both, parts, self.workers(), |(engine, v), images| {
                let _no_grad = tch::no_grad_guard();
                let duals = engine.duals(&level, &engine.parameters()?, v)?;
                let (outputs, _) = engine.logits(&images, &duals, false)?;
                let (outputs, tangents) = level.unpack(&outputs)?;
                let tangents = match tangents {
                    Some(tangents) => tangents,
                    None => outputs.f_zeros_like()?,
                };
                Ok((outputs, tangents))
            })?
        };
        let _no_grad = tch::no_grad_guard();
        let (outputs, tangents): (Vec<Tensor>, Vec<Tensor>) = parts.into_iter().unzip();
        let (outputs, tangents) = (Tensor::f_cat(&outputs, 0)?, Tensor::f_cat(&tangents, 0)?);
        finite(&outputs, "the output")?;
        finite(&tangents, "the output's derivative")?;
        Ok((outputs, tangents))
    }

    /// The parameters with the direction `v` as their tangents.
    pub(crate) fn duals(&self, level: &Level, parameters: &[Tensor], v: &Vector) -> Result<Vec<Tensor>, Failure> {
        parameters.iter().zip(&self.direction(v)?).map(|(value, tangent)| level.dual(value, tangent)).collect()
    }

    /// A checked vector of a tensor for each parameter.
    pub(crate) fn result(&self, parts: &[Tensor], what: &str) -> Result<Vector, Failure> {
        let _no_grad = tch::no_grad_guard();
        let entries = self.layout.join(parts, self.numerics)?;
        finite(&entries, what)?;
        Ok(Vector::new(entries))
    }
}
