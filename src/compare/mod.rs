//! What runs are worth beside each other: accuracy against labels spent, over seeds, and whether a strategy is better than
//! `random`.
//!
//! Runs of a strategy with the same options are an *arm*; its runs differ in the seed alone. Arms are compared seed by seed,
//! because two runs of a seed begin with the same images and the same training. All runs must share pool, test set, model,
//! labels, training and rounds; what differs is named and nothing is compared. How one number of a run comes about is no
//! matter of this module: it reads what `isal run` leaves.

mod arms;
mod comparison;
mod error;
mod found;
mod page;
mod saving;
mod statistics;
mod wording;

pub use arms::options;
pub use comparison::{Against, Arm, Axis, Comparison, LeftOut, Metric, Pair, Point, Verdict};
pub use error::CompareError;
pub use found::{Found, differences, find, shared};
pub use page::{details, html, section, svg, write};
pub use statistics::{Estimate, LEVEL, holm, paired_t, sign_flips};
pub use wording::text;
