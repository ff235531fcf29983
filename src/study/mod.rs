//! Many runs as one: every arm on every data set, with every budget and every seed, and the comparison of them all.
//!
//! A study has no state of its own: its runs lie in folders named after data set, budget, arm and seed, and each is a run as
//! `isal run` makes it. So a killed study goes on by the same call, and several processes share one folder: a run that another
//! process has is taken up later, when it has ended or that process has.

mod carry;
mod config;
mod error;
mod pruning;
mod report;

pub use carry::{Keep, carry};
pub use config::{Part, Planned, Seeds, StudyConfig, plan, read};
pub use error::StudyError;
pub use report::{Setting, StudyReport, write};
