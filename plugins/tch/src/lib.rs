//! The libtorch plugin.

pub mod ops;
