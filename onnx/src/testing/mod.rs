//! Cases for whoever implements operators: one node each, with numbers to differentiate it at.
//!
//! They are made to be checked twice: the plugin's derivatives and the tangent transform's against central differences,
//! and against each other. Numbers keep off kinks; every case draws the same numbers at every run.

mod case;
mod elementwise;
mod indexing;
mod layout;
mod products;
mod statistics;

pub use case::{Case, case, uniform};

/// Every case.
pub fn cases() -> Vec<Case> {
    [elementwise::rows(), indexing::rows(), layout::rows(), products::rows(), statistics::rows()].concat()
}
