//! Influence functions: the engine that differentiates, the solvers for `s`, the scores.
//!
//! The path is [`reference_gradient`] `v` over the reference set, [`solve`] for `s = (H + lambda I)^-1 v` over the
//! labelled set, and [`SolvedVector`] to keep it. The influence of a pool image is minus the derivative of its loss along `s`: the
//! more negative, the more labelling that image is expected to lower the loss on the reference set.
//!
//! Absent on purpose: decoding, ONNX Runtime, libtorch. All of it stands on [`GradientEngine`] and plain arrays.

mod annotations;
mod artefact;
mod batches;
mod cg_fisher;
mod cg_gauss_newton;
mod cg_hessian;
mod conjugate_gradient;
mod damping;
mod difference;
mod engine;
mod error;
mod identity;
mod lanczos;
mod lissa;
mod operator;
mod progress;
mod rank_agreement;
mod settling;
mod solver;
mod tridiagonal;

pub use annotations::{Annotation, Annotations};
pub use artefact::{ArtefactError, FORMAT, Provenance, SolvedVector, VERSION};
pub use batches::{Batches, InMemory, Joined, Subset, Visitor, one_hot};
pub use conjugate_gradient::ConjugateGradient;
pub use damping::{Damping, Relative};
pub use difference::Difference;
pub use engine::{Curvature, EngineError, GradientEngine, Jvp, Parameter};
pub use error::InfluenceError;
pub use identity::Identity;
pub use lissa::{Lissa, LissaReport, Step};
pub use operator::{ReferenceGradient, reference_gradient};
pub use progress::{Observer, Progress, Stage, unobserved};
pub use rank_agreement::{lowest_tenth, spearman};
pub use settling::{SampleInfluences, Settled};
pub use solver::{DEFAULT_SOLVER, Problem, SOLVERS, Solution, SolveReport, SolverOptions, SolverRow, Spectrum, solve};
