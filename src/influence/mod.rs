//! Influence functions: the engine that differentiates, the solvers for `s`, the scores.

mod engine;

pub use engine::{Curvature, EngineError, GradientEngine, Jvp, Parameter};
