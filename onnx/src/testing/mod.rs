//! Cases for whoever implements operators: one node each, with numbers to differentiate it at.
//!
//! They are made to be checked twice: the plugin's derivatives and the tangent transform's against central differences,
//! and against each other. Numbers keep off kinks; every case draws the same numbers at every run. [`rounding`] says how far
//! float32 may be off where such things are compared.

mod case;
mod elementwise;
mod indexing;
mod layout;
mod products;
pub mod rounding;
mod statistics;

pub use case::{Case, case, uniform};

/// Every case.
pub fn cases() -> Vec<Case> {
    [elementwise::rows(), indexing::rows(), layout::rows(), products::rows(), statistics::rows()].concat()
}

/// Whether a test goes through everything it knows (`make test-all`), or through the part that stands for it (`make test`).
pub fn whole_suite() -> bool {
    std::env::var_os("ISAL_TEST_ALL").is_some_and(|value| value == "1")
}
