//! The libtorch plugin.
