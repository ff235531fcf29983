//! No inverse at all: `s = v / lambda`, the limit of every damped solver as lambda grows.
//!
//! Influence becomes gradient similarity, `I(u) = -v . grad l(u) / lambda` (the "inner product" baseline of
//! Pruthi et al., TracIn, NeurIPS 2020, with one checkpoint). It costs no curvature product but the one that
//! reports the residual, which is large by nature and accepted. When not to use: whenever a solver can be
//! afforded. It is the floor that others are compared with.

use super::InfluenceError;
use super::damping::Damping;
use super::engine::GradientEngine;
use super::operator::Operator;
use super::solver::{Attempt, SolverOptions, SolverRow};

pub(super) const ROW: SolverRow = SolverRow {
    name: "identity",
    about: "no inverse, s = v / lambda: gradient similarity, the floor to compare with",
    options: || SolverOptions::Identity(Identity::default()),
};

/// Options of `identity`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Identity {
    /// The damping; it scales all scores by one factor and changes no order.
    pub damping: Damping,
}

impl Default for Identity {
    fn default() -> Self {
        Identity { damping: Damping::Fixed(1.0) }
    }
}

impl Identity {
    pub(super) fn validate(&self) -> Result<(), InfluenceError> {
        self.damping.validate()?;
        match self.damping {
            Damping::Fixed(lambda) if lambda <= 0.0 => {
                Err(InfluenceError::Option { option: "damping.fixed", found: lambda, expected: "a number > 0" })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn solve<E: GradientEngine>(
        &self,
        operator: &mut Operator<E>,
        v: &E::Vector,
    ) -> Result<Attempt<E::Vector>, InfluenceError> {
        let chosen = self.damping.choose(operator, v)?;
        let mut s = operator.engine.copy(v)?;
        operator.engine.scale(1.0 / chosen.lambda, &mut s)?;
        Ok(Attempt {
            s,
            lambda: chosen.lambda,
            iterations: 0,
            converged: true,
            settled: None,
            residual: None,
            accepted_residual: None,
            largest_eigenvalue: chosen.largest_eigenvalue(),
            spectrum: None,
            lissa: None,
        })
    }
}
