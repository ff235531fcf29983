//! Products with the Hessian and with the Gauss-Newton matrix.

use crate::engine::Engine;
use crate::level::Level;
use crate::{Failure, Vector, loss, workers};
use tch::{Kind, Tensor};

impl Engine {
    /// Sum over the batch of the loss's Hessian times `v`, in evaluation mode: the tangent along `v` of the gradient
    /// (forward over reverse).
    ///
    /// # Errors
    /// As [`Engine::gradient`].
    pub fn hessian_product(&self, images: &Tensor, targets: &Tensor, v: &Vector) -> Result<Vector, Failure> {
        let images = self.images(images)?;
        let level = Level::enter()?;
        let duals = self.duals(&level, &self.leaves()?, v)?;
        let (outputs, _) = self.logits(&images, &duals, false)?;
        let targets = self.targets(targets, &outputs)?;
        let losses = loss::per_sample(&outputs, &targets)?.f_sum(self.numerics.kind)?;
        let gradients = Tensor::f_run_backward(&[losses], &duals, false, false)?;
        let tangent = |g: &Tensor| -> Result<Tensor, Failure> {
            // An undefined gradient belongs to a parameter the loss does not depend on.
            if !g.defined() {
                return Ok(Tensor::new());
            }
            Ok(level.unpack(g)?.1.unwrap_or_else(Tensor::new))
        };
        let products = gradients.iter().map(tangent).collect::<Result<Vec<_>, _>>()?;
        self.result(&products, "the Hessian product")
    }

    /// [`Engine::hessian_product`] by differentiating the gradient a second time (reverse over reverse).
    ///
    /// # Errors
    /// As [`Engine::gradient`].
    pub fn hessian_product_by_reverse(&self, images: &Tensor, targets: &Tensor, v: &Vector) -> Result<Vector, Failure> {
        let images = self.images(images)?;
        let leaves = self.leaves()?;
        let (outputs, _) = self.logits(&images, &leaves, false)?;
        let targets = self.targets(targets, &outputs)?;
        let losses = loss::per_sample(&outputs, &targets)?.f_sum(self.numerics.kind)?;
        let gradients = Tensor::f_run_backward(&[losses], &leaves, true, true)?;
        let mut along = Tensor::f_zeros([], (self.numerics.kind, self.numerics.device))?;
        for (g, v) in gradients.iter().zip(&self.direction(v)?) {
            if g.defined() {
                along = along.f_add(&g.f_mul(v)?.f_sum(self.numerics.kind)?)?;
            }
        }
        if !along.requires_grad() {
            return self.zeros();
        }
        let products = Tensor::f_run_backward(&[along], &leaves, false, false)?;
        self.result(&products, "the Hessian product")
    }

    /// Sum over the batch of the Gauss-Newton matrix `J^T H_out J` times `v`, in evaluation mode. One recorded forward
    /// pass carries the tangent `J v` along; its backward pass, run on what `H_out` makes of the tangent, ends it.
    ///
    /// # Errors
    /// As [`Engine::gradient`].
    pub fn gauss_newton_product(&self, images: &Tensor, targets: &Tensor, v: &Vector) -> Result<Vector, Failure> {
        let images = self.images(images)?;
        let parts = self.parts(&images, targets)?;
        let forward = {
            let level = Level::enter()?;
            let both = (self, v);
            workers::each(&both, parts, self.workers(), |(engine, v), (images, targets)| {
                let leaves = engine.leaves()?;
                let duals = engine.duals(&level, &leaves, v)?;
                let (outputs, _) = engine.logits(&images, &duals, false)?;
                let (outputs, tangents) = level.unpack(&outputs)?;
                Ok((leaves, targets, outputs, tangents))
            })?
            // Leaving the level drops the tangents: the backward pass would carry them along otherwise.
        };
        let products = workers::each(self, forward, self.workers(), |engine, (leaves, targets, outputs, tangents)| {
            let Some(tangents) = tangents else { return engine.zeros() };
            let curved = {
                let _no_grad = tch::no_grad_guard();
                let outputs = outputs.f_detach()?;
                loss::output_curvature(&outputs, &engine.targets(&targets, &outputs)?, &tangents.f_detach()?)?
            };
            let along = outputs.f_mul(&curved)?.f_sum(None::<Kind>)?;
            let products = Tensor::f_run_backward(&[along], &leaves, false, false)?;
            engine.result(&products, "the Gauss-Newton product")
        })?;
        self.sum(products)
    }
}
