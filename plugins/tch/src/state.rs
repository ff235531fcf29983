//! What training changes, by name: to be written to a checkpoint and read back.

use crate::engine::Engine;
use crate::numerics::finite;
use crate::{Failure, program::Program};
use tch::Tensor;

/// What a state tensor is to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A parameter in scope.
    Parameter,
    /// A running statistic of a BatchNormalization.
    Statistic,
    /// The momentum buffer of a parameter.
    Momentum,
}

/// A state tensor under the name of its initializer.
pub struct State {
    /// The initializer; a momentum buffer has its parameter's.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Its values.
    pub value: Tensor,
}

fn position(program: &Program, name: &str) -> Option<usize> {
    program.statistic_names().iter().position(|s| s == name)
}

impl Engine {
    /// Copies of the parameters in scope, the running statistics, and the momentum buffers once there are any.
    ///
    /// # Errors
    /// [`Failure::Backend`] when libtorch refuses.
    pub fn state(&self) -> Result<Vec<State>, Failure> {
        let _no_grad = tch::no_grad_guard();
        let mut all = Vec::new();
        let vectors = [(Role::Parameter, Some(&self.theta)), (Role::Momentum, self.momentum.as_ref())];
        for (role, vector) in vectors {
            let Some(vector) = vector else { continue };
            for (place, value) in self.layout.places.iter().zip(self.layout.split(vector)?) {
                all.push(State { name: place.name.clone(), role, value: value.f_mul_scalar(1.0)? });
            }
        }
        for (name, value) in self.program.statistic_names().iter().zip(&self.statistics) {
            all.push(State { name: name.clone(), role: Role::Statistic, value: value.f_mul_scalar(1.0)? });
        }
        Ok(all)
    }

    /// Overwrites state tensors; those that are not given keep their values. All are checked before one is changed.
    ///
    /// # Errors
    /// [`Failure::Argument`] for a name the model does not have in that role, [`Failure::Shape`],
    /// [`Failure::NotFinite`].
    pub fn set_state(&mut self, state: &[State]) -> Result<(), Failure> {
        let _no_grad = tch::no_grad_guard();
        let mut ready = Vec::with_capacity(state.len());
        for State { name, role, value } in state {
            let value = value.f_to_kind(self.numerics.kind)?.f_to_device(self.numerics.device)?;
            let unknown = || Failure::Argument { what: "state", reason: format!("the model has no {role:?} `{name}`") };
            let place = self.layout.places.iter().find(|p| p.name == *name);
            let (statistic, expected) = match role {
                Role::Parameter | Role::Momentum => (None, place.ok_or_else(unknown)?.dims.clone()),
                Role::Statistic => {
                    let index = position(&self.program, name).ok_or_else(unknown)?;
                    (Some(index), self.statistics.get(index).ok_or_else(unknown)?.size())
                }
            };
            if value.size() != expected {
                let what = format!("{role:?} `{name}`");
                return Err(Failure::Shape { what, expected: format!("{expected:?}"), found: value.size() });
            }
            finite(&value, &format!("{role:?} `{name}`"))?;
            ready.push((*role, place.map(|p| (p.offset, p.len)), statistic, value));
        }
        for (role, place, statistic, value) in ready {
            let vector = match role {
                Role::Parameter => &self.theta,
                Role::Momentum => {
                    if self.momentum.is_none() {
                        self.momentum = Some(self.theta.f_zeros_like()?);
                    }
                    self.momentum.as_ref().unwrap_or(&self.theta)
                }
                Role::Statistic => {
                    if let Some(held) = statistic.and_then(|i| self.statistics.get_mut(i)) {
                        *held = value.f_mul_scalar(1.0)?;
                    }
                    continue;
                }
            };
            if let Some((offset, len)) = place {
                vector.f_narrow(0, offset, len)?.f_copy_(&value.f_reshape([len])?)?;
            }
        }
        Ok(())
    }
}
