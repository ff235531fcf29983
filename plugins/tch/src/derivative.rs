//! First derivatives: the gradient of the loss, and the outputs' derivative along a direction.

use crate::engine::Engine;
use crate::level::Level;
use crate::numerics::finite;
use crate::{Batch, Failure, Vector, loss, workers};
use tch::Tensor;

/// Values and their derivatives along a direction.
#[derive(Debug)]
pub struct Jvp {
    /// What the loss is taken of, in the order of the bindings.
    pub values: Vec<(Tensor, Tensor)>,
    /// The loss of each sample, `[N]`, annotations fixed.
    pub losses: Option<(Tensor, Tensor)>,
}

/// A value and its tangent, zeros where it has none.
pub(crate) fn unpacked(level: &Level, dual: &Tensor) -> Result<(Tensor, Tensor), Failure> {
    let (value, tangent) = level.unpack(dual)?;
    let tangent = match tangent {
        Some(tangent) => tangent,
        None => value.f_zeros_like()?,
    };
    Ok((value, tangent))
}

impl Engine {
    /// Leaves to differentiate by: the parameters' values, recorded from here on.
    pub(crate) fn leaves(&self) -> Result<Vec<Tensor>, Failure> {
        self.parameters()?.iter().map(|p| Ok(p.f_detach()?.f_set_requires_grad(true)?)).collect()
    }

    /// Sum over the batch of the loss, and of its gradient, in evaluation mode.
    ///
    /// # Errors
    /// [`Failure::Shape`], [`Failure::Node`], [`Failure::NotFinite`] when the loss or the gradient is not finite.
    pub fn gradient(&self, batch: &Batch) -> Result<(f64, Vector), Failure> {
        let ready = self.annotated(batch)?;
        let parts = workers::each(self, self.parts(&ready)?, self.workers(), |engine, part| {
            let leaves = engine.leaves()?;
            let values = engine.values(&part.images, &leaves, false)?.outputs;
            let losses = engine.loss()?.per_sample(&values, &part.annotations)?;
            let sum = loss::sum(&losses)?;
            let gradients = Tensor::f_run_backward(&[losses.f_sum(engine.numerics.kind)?], &leaves, false, false)?;
            Ok((sum, engine.result(&gradients, "the gradient")?))
        })?;
        let (sums, gradients): (Vec<f64>, Vec<Vector>) = parts.into_iter().unzip();
        Ok((sums.iter().sum(), self.sum(gradients)?))
    }

    /// The values that the loss is taken of and their derivatives along `v`, sample by sample; where the batch has
    /// all that the loss takes, the loss of each sample and its derivative as well. Evaluation mode.
    ///
    /// # Errors
    /// [`Failure::Shape`], [`Failure::Node`], [`Failure::NotFinite`].
    pub fn jvp(&self, batch: &Batch, v: &Vector) -> Result<Jvp, Failure> {
        let ready = self.perhaps_annotated(batch)?;
        let parts = {
            let level = Level::enter()?;
            let both = (self, v);
            workers::each(&both, self.parts(&ready)?, self.workers(), |(engine, v), part| {
                let _no_grad = tch::no_grad_guard();
                let duals = engine.duals(&level, &engine.parameters()?, v)?;
                let mut values = engine.values(&part.images, &duals, false)?.outputs;
                if part.complete {
                    let losses = engine.loss()?.per_sample(&values, &part.annotations)?;
                    values.push(losses);
                }
                values.iter().map(|value| unpacked(&level, value)).collect::<Result<Vec<_>, _>>()
            })?
        };
        let _no_grad = tch::no_grad_guard();
        let joined = |place: usize| -> Result<(Tensor, Tensor), Failure> {
            let (values, tangents): (Vec<&Tensor>, Vec<&Tensor>) =
                parts.iter().filter_map(|part| part.get(place)).map(|(value, tangent)| (value, tangent)).unzip();
            let (value, tangent) = (Tensor::f_cat(&values, 0)?, Tensor::f_cat(&tangents, 0)?);
            finite(&value, "the output")?;
            finite(&tangent, "the output's derivative")?;
            Ok((value, tangent))
        };
        let bound = self.bound_outputs().len();
        let values = (0..bound).map(joined).collect::<Result<_, _>>()?;
        let losses = ready.complete.then(|| joined(bound)).transpose()?;
        Ok(Jvp { values, losses })
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
