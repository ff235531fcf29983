//! The engine and its C ABI against truths that do not come from automatic differentiation.

mod boundary;
mod dense;
mod fixtures;
mod losses;
#[path = "../../../../tests/fixtures/networks.rs"]
mod networks;
mod small;
mod train;
mod var_store;
