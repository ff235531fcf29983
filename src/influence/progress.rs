//! What a long computation tells its caller as it goes. Nothing here prints.

use std::ops::ControlFlow;

/// What is being computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// The mean gradient over the reference set.
    ReferenceGradient,
    /// The largest eigenvalue, for the damping.
    Damping,
    /// The solver's own iterations.
    Solve,
    /// The residual of the answer on the samples of the curvature.
    Residual,
    /// The residual of the answer on the held-out set.
    HeldOutResidual,
}

/// One report; sent after every batch and after every step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// What is being computed.
    pub stage: Stage,
    /// Steps finished.
    pub step: usize,
    /// Most steps this stage may take.
    pub steps: usize,
    /// Samples passed in the present step.
    pub samples: usize,
    /// Samples a step passes.
    pub samples_a_step: usize,
    /// The newest residual the solver knows.
    pub residual: Option<f64>,
}

/// Receives [`Progress`]; breaking ends the computation with [`super::InfluenceError::Cancelled`].
pub type Observer<'a> = dyn FnMut(&Progress) -> ControlFlow<()> + 'a;

/// An observer that lets everything pass.
pub fn unobserved(_: &Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}
