//! One step of stochastic gradient descent.

use crate::engine::{Engine, Outputs};
use crate::numerics::finite;
use crate::{Batch, Failure, loss};
use tch::{Kind, Tensor};

/// What PyTorch adds to a norm before it divides by it.
const ROUNDING: f64 = 1e-6;

/// A step on the mean loss over a batch:
/// `grad <- grad * min(1, clip_norm / (||grad|| + 1e-6))`, as PyTorch's `clip_grad_norm_`,
/// `g <- grad + weight_decay * theta`, `b <- momentum * b + g` (`b <- g` the first time),
/// `theta <- theta - learning_rate * (g + momentum * b if nesterov else b)`, times `bias_rate` for parameters with fewer than two axes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Step length.
    pub learning_rate: f64,
    /// Momentum, in `[0, 1)`; 0 keeps no buffer.
    pub momentum: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Whether parameters with fewer than two axes (biases, scales, shifts) decay too.
    pub decay_all: bool,
    /// The largest norm of the gradient over all parameters.
    pub clip_norm: Option<f64>,
    /// What the step length of parameters with fewer than two axes is multiplied by.
    pub bias_rate: f64,
    /// Nesterov's form of momentum.
    pub nesterov: bool,
    /// Seed of what is random in the step.
    pub seed: u64,
}

impl Step {
    fn check(&self) -> Result<(), Failure> {
        let refuse = |what, found: f64, expected| {
            Err(Failure::Argument { what, reason: format!("expected {expected}, found {found}") })
        };
        if !(self.learning_rate.is_finite() && self.learning_rate >= 0.0) {
            return refuse("learning rate", self.learning_rate, "a number, 0 or more");
        }
        if !(0.0..1.0).contains(&self.momentum) {
            return refuse("momentum", self.momentum, "a number from 0 to below 1");
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return refuse("weight decay", self.weight_decay, "a number, 0 or more");
        }
        if let Some(norm) = self.clip_norm.filter(|norm| !(norm.is_finite() && *norm > 0.0)) {
            return refuse("clip norm", norm, "a number above 0");
        }
        if !(self.bias_rate.is_finite() && self.bias_rate >= 0.0) {
            return refuse("bias rate", self.bias_rate, "a number, 0 or more");
        }
        Ok(())
    }
}

impl Engine {
    /// Takes a step in training mode: BatchNormalization by the batch's statistics, its running ones moved, Dropout
    /// active. Gives the sum over the batch of the loss and the values that it is taken of, from before the step. A
    /// failure leaves weights and statistics as they were.
    ///
    /// # Errors
    /// As [`Engine::gradient`]; [`Failure::Argument`] for a step with values out of range.
    pub fn train_step(&mut self, batch: &Batch, step: &Step) -> Result<(f64, Outputs), Failure> {
        step.check()?;
        let ready = self.annotated(batch)?;
        tch::manual_seed(i64::from_ne_bytes(step.seed.to_ne_bytes()));
        let leaves = self.leaves()?;
        let run = self.values(&ready.images, &leaves, true)?;
        let losses = self.loss()?.per_sample(&run.outputs, &ready.annotations)?;
        let sum = loss::sum(&losses)?;
        let mean = losses.f_mean(self.numerics.kind)?;
        let parts = Tensor::f_run_backward(&[mean], &leaves, false, false)?;

        let _no_grad = tch::no_grad_guard();
        let mut gradient = self.layout.join(&parts, self.numerics)?;
        finite(&gradient, "the gradient")?;
        for (_, value) in &run.statistics {
            finite(value, "a running statistic")?;
        }
        if let Some(most) = step.clip_norm {
            let norm = gradient.f_to_kind(Kind::Double)?.f_norm()?.f_double_value(&[])?;
            let _ = gradient.f_mul_scalar_((most / (norm + ROUNDING)).min(1.0))?;
        }
        if step.weight_decay > 0.0 {
            for place in self.layout.places.iter().filter(|p| step.decay_all || p.dims.len() >= 2) {
                let theta = self.theta.f_narrow(0, place.offset, place.len)?;
                let _ =
                    gradient.f_narrow(0, place.offset, place.len)?.f_add_(&theta.f_mul_scalar(step.weight_decay)?)?;
            }
        }
        if step.momentum > 0.0 {
            let buffer = match &mut self.momentum {
                Some(buffer) => buffer.f_mul_scalar_(step.momentum)?.f_add_(&gradient)?,
                none => none.insert(gradient.f_mul_scalar(1.0)?).shallow_clone(),
            };
            gradient = match step.nesterov {
                true => gradient.f_add(&buffer.f_mul_scalar(step.momentum)?)?,
                false => buffer,
            };
        }
        let moved = gradient.f_mul_scalar(step.learning_rate)?;
        for place in self.layout.places.iter().filter(|p| step.bias_rate != 1.0 && p.dims.len() < 2) {
            let _ = moved.f_narrow(0, place.offset, place.len)?.f_mul_scalar_(step.bias_rate)?;
        }
        let _ = self.theta.f_sub_(&moved)?;
        for (index, value) in &run.statistics {
            if let Some(statistic) = self.statistics.get_mut(*index) {
                *statistic = value.f_detach()?;
            }
        }
        let names = self.bound_outputs().iter().filter_map(|place| self.outputs().get(*place));
        let values = names.zip(&run.outputs).map(|(output, value)| Ok((output.name.clone(), value.f_detach()?)));
        Ok((sum, values.collect::<Result<_, Failure>>()?))
    }
}
