//! Products with the Hessian and with the Gauss-Newton matrix.

use crate::derivative::unpacked;
use crate::engine::Engine;
use crate::level::Level;
use crate::{Batch, Failure, Vector, workers};
use tch::{Kind, Tensor};

impl Engine {
    /// Sum over the batch of the loss's Hessian times `v`, in evaluation mode: the tangent along `v` of the gradient
    /// (forward over reverse).
    ///
    /// # Errors
    /// As [`Engine::gradient`].
    pub fn hessian_product(&self, batch: &Batch, v: &Vector) -> Result<Vector, Failure> {
        let ready = self.annotated(batch)?;
        let level = Level::enter()?;
        let duals = self.duals(&level, &self.leaves()?, v)?;
        let values = self.values(&ready.images, &duals, false)?.outputs;
        let losses = self.loss()?.per_sample(&values, &ready.annotations)?.f_sum(self.numerics.kind)?;
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
    pub fn hessian_product_by_reverse(&self, batch: &Batch, v: &Vector) -> Result<Vector, Failure> {
        let ready = self.annotated(batch)?;
        let leaves = self.leaves()?;
        let values = self.values(&ready.images, &leaves, false)?.outputs;
        let losses = self.loss()?.per_sample(&values, &ready.annotations)?.f_sum(self.numerics.kind)?;
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

    /// Sum over the batch of the Gauss-Newton matrix `J^T H_out J` times `v`, in evaluation mode, `H_out` the Hessian of the
    /// loss in the model's values. It is positive where the loss is convex in them.
    ///
    /// # Errors
    /// As [`Engine::gradient`].
    pub fn gauss_newton_product(&self, batch: &Batch, v: &Vector) -> Result<Vector, Failure> {
        self.through_the_values(batch, v, |engine, level, values, annotations, tangents| {
            engine.loss()?.hessian(level, values, annotations, tangents)
        })
    }

    /// Sum over the batch of `J_n^T g_n g_n^T J_n` times `v`, in evaluation mode, `g_n` the gradient of sample n's loss in the
    /// model's values: positive whatever the loss.
    ///
    /// # Errors
    /// As [`Engine::gradient`].
    pub fn empirical_fisher_product(&self, batch: &Batch, v: &Vector) -> Result<Vector, Failure> {
        self.through_the_values(batch, v, |engine, _, values, annotations, tangents| {
            engine.loss()?.fisher(values, annotations, tangents)
        })
    }

    /// `J^T M J v`, `M` sample by sample what `middle` makes of `J v`. One recorded forward pass carries the tangent `J v`
    /// along; its backward pass, run on what `middle` made of the tangent, ends it.
    fn through_the_values(&self, batch: &Batch, v: &Vector, middle: Middle) -> Result<Vector, Failure> {
        let ready = self.annotated(batch)?;
        let forward = {
            let level = Level::enter()?;
            let both = (self, v);
            workers::each(&both, self.parts(&ready)?, self.workers(), |(engine, v), part| {
                let leaves = engine.leaves()?;
                let duals = engine.duals(&level, &leaves, v)?;
                let values = engine.values(&part.images, &duals, false)?.outputs;
                let (values, tangents) = detached(&level, &values)?;
                let plain = values.iter().map(|value| Ok(value.f_detach()?)).collect::<Result<Vec<_>, Failure>>()?;
                let curved = middle(engine, &level, &plain, &part.annotations, &tangents)?;
                Ok((leaves, values, curved))
            })?
            // Leaving the level drops the tangents: the backward pass would carry them along otherwise.
        };
        let products = workers::each(self, forward, self.workers(), |engine, (leaves, values, curved)| {
            let mut along = Tensor::f_zeros([], (engine.numerics.kind, engine.numerics.device))?;
            for (value, curved) in values.iter().zip(&curved).filter(|(value, _)| value.requires_grad()) {
                along = along.f_add(&value.f_mul(curved)?.f_sum(None::<Kind>)?)?;
            }
            if !along.requires_grad() {
                return engine.zeros();
            }
            let products = Tensor::f_run_backward(&[along], &leaves, false, false)?;
            engine.result(&products, "the curvature product")
        })?;
        self.sum(products)
    }
}

/// From the values that the loss is taken of, its annotations and the values' tangents to what curvature makes of these.
type Middle = fn(&Engine, &Level, &[Tensor], &[Tensor], &[Tensor]) -> Result<Vec<Tensor>, Failure>;

/// The values, still recorded, and their tangents, which are not.
fn detached(level: &Level, duals: &[Tensor]) -> Result<(Vec<Tensor>, Vec<Tensor>), Failure> {
    let (mut values, mut tangents) = (Vec::with_capacity(duals.len()), Vec::with_capacity(duals.len()));
    for dual in duals {
        let (value, tangent) = unpacked(level, dual)?;
        tangents.push(tangent.f_detach()?);
        values.push(value);
    }
    Ok((values, tangents))
}
