//! isal.
fn main() {}
