//! `isal view` as a browser meets it, over real sweeps and runs: what it shows, what it refuses, and that no label is lost.

#[path = "../rounds/place.rs"]
#[allow(dead_code, reason = "it is of the tests of rounds too")]
mod place;

mod client;
mod guarded;
mod label;
mod million;
mod pool;
mod run;
