//! Influence graphs as files: from a model and solved vectors to an ONNX file that ONNX Runtime has run.
//!
//! The mathematics and the graphs are `isal_onnx::influence`'s. What is here: whether a vector belongs to the model, the
//! step of the paired form, chosen on images (`step`), what the file says of where it comes from (`provenance`), and the
//! proof that the file runs and leaves the model's own outputs as they are (`proof`), and preprocessing inside the graph
//! (`inside`). A sweep writes its graph by
//! [`Sample::build`], `isal export influence` by [`export()`].

mod difference;
mod directions;
mod error;
mod evaluate;
mod exact;
mod export;
mod images;
mod inside;
mod proof;
mod provenance;
mod served_pair;
mod step;
mod sweep;

pub use difference::PairedDifference;
pub use directions::{direction, takes_a_step};
pub use error::InfluenceGraphError;
pub use evaluate::target;
pub use export::{ExportForm, ExportOptions, Exported, export};
pub use inside::{PREPROCESSING_INSIDE, with_preprocessing};
pub use proof::Proof;
pub use served_pair::influence_of_pair;
pub use step::{AGREEMENT, Agreement, CLOSE, Choice, Judge, STEPS, Unproven, choose};
pub use sweep::{Sample, SweepForm, saved};
