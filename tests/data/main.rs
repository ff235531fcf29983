//! The data layer against values that Python libraries gave, and against itself under other threads and batches.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod archives;
mod boxes;
mod changing;
mod decoding;
mod digits;
mod exporting;
mod fields;
mod lists;
mod loading;
mod masks;
mod padded;
mod preparing;
mod spellings;
mod splitting;
mod truth;
