//! Training through the plugin: a step, and the state that steps change.

use super::arrays::{Given, GivenBatch, List};
use super::library::call;
use super::{PluginEngine, PluginError};
use crate::influence::Annotations;
use isal_plugin_abi::{self as abi, Arrays, Bytes, Decay};
use ndarray::{ArrayD, ArrayView4};

/// A step of stochastic gradient descent on the mean loss over a batch:
/// `g <- grad + weight_decay * theta`, `b <- momentum * b + g` (`b <- g` the first time),
/// `theta <- theta - learning_rate * (g + momentum * b if nesterov else b)`, times `bias_rate` for parameters with fewer than two axes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainStep {
    /// Step length.
    pub learning_rate: f64,
    /// Momentum, in `[0, 1)`; 0 keeps no buffers.
    pub momentum: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Whether parameters with fewer than two axes (biases, scales, shifts) decay too.
    pub decay_all: bool,
    /// The largest norm of the gradient over all parameters that are trained, as PyTorch's `clip_grad_norm_`.
    pub clip_norm: Option<f64>,
    /// What the step length of parameters with fewer than two axes (biases, scales, shifts) is multiplied by.
    pub bias_rate: f64,
    /// Nesterov's form of momentum.
    pub nesterov: bool,
    /// Seed of what is random in the step (Dropout).
    pub seed: u64,
}

/// What a state array is to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A parameter in scope.
    Parameter,
    /// A running statistic of a BatchNormalization.
    Statistic,
    /// The momentum buffer of a parameter.
    Momentum,
}

/// A state array under the name of its initializer (a momentum buffer: of its parameter).
#[derive(Debug, Clone, PartialEq)]
pub struct StateArray {
    /// The initializer.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Its values; those of a float64 model are rounded.
    pub values: ArrayD<f32>,
}

impl PluginEngine {
    /// Takes a step in training mode: BatchNormalization by the batch's statistics, its running ones moved, Dropout
    /// active. Gives the **sum** over the batch of the loss, and the first value that it is taken of, `[N, C]`, from
    /// before the step.
    /// A failure leaves the model as it was.
    ///
    /// # Errors
    /// [`PluginError::Call`]; a loss or gradient that is NaN or infinite among others.
    pub fn train_step(
        &mut self,
        step: &TrainStep,
        images: ArrayView4<f32>,
        annotations: &Annotations,
    ) -> Result<(f64, ArrayD<f32>), PluginError> {
        let step = abi::TrainStep {
            learning_rate: step.learning_rate,
            momentum: step.momentum,
            weight_decay: step.weight_decay,
            clip_norm: step.clip_norm.unwrap_or(0.0),
            bias_rate: step.bias_rate,
            seed: step.seed,
            decay: if step.decay_all { Decay::ALL } else { Decay::MATRICES },
            nesterov: u32::from(step.nesterov),
        };
        let batch = GivenBatch::annotated(&self.input().name, images, annotations);
        let arrays = batch.arrays();
        let (mut loss, mut out) = (0.0, Arrays(0));
        // SAFETY: `arrays` view a batch that outlives the call; the rest is valid for it.
        call("train_step", |m| unsafe {
            let train = self.plugin.table.train_step;
            let (batch, count) = (arrays.as_ptr(), arrays.len());
            train(self.model, &raw const step, batch, count, &raw mut loss, &raw mut out, m)
        })?;
        Ok((loss, List::new(&self.plugin, out).get(0)?.2))
    }

    /// Everything training changes: parameters, running statistics, and the momentum buffers once there are any.
    ///
    /// # Errors
    /// [`PluginError::Call`].
    pub fn state(&self) -> Result<Vec<StateArray>, PluginError> {
        let mut out = Arrays(0);
        // SAFETY: `out` and the message are valid for the call.
        call("state_get", |m| unsafe { (self.plugin.table.state_get)(self.model, &raw mut out, m) })?;
        let list = List::new(&self.plugin, out);
        let role = |role| match role {
            abi::Role::PARAMETER => Some(Role::Parameter),
            abi::Role::STATISTIC => Some(Role::Statistic),
            abi::Role::MOMENTUM => Some(Role::Momentum),
            _ => None,
        };
        list.all()?
            .into_iter()
            .map(|array| {
                let role = role(array.role).ok_or_else(|| PluginError::Answer {
                    call: "state_get",
                    reason: format!("array `{}` has role {}", array.name, array.role.0),
                })?;
                Ok(StateArray { name: array.name, role, values: array.values })
            })
            .collect()
    }

    /// Overwrites state arrays; those that are not given keep their values. All are checked before one is changed.
    ///
    /// # Errors
    /// [`PluginError::Call`] for a name the model does not have in that role, another shape, NaN.
    pub fn set_state(&mut self, state: &[StateArray]) -> Result<(), PluginError> {
        let given: Vec<_> = state.iter().map(|s| Given::new(s.values.view())).collect();
        let arrays: Vec<_> = state
            .iter()
            .zip(&given)
            .map(|(s, given)| abi::NamedArray {
                name: Bytes::new(s.name.as_bytes()),
                array: given.array(),
                role: match s.role {
                    Role::Parameter => abi::Role::PARAMETER,
                    Role::Statistic => abi::Role::STATISTIC,
                    Role::Momentum => abi::Role::MOMENTUM,
                },
                reserved: 0,
            })
            .collect();
        // SAFETY: the arrays view elements that outlive the call; the message is valid for it.
        call("state_set", |m| unsafe { (self.plugin.table.state_set)(self.model, arrays.as_ptr(), arrays.len(), m) })
    }
}
