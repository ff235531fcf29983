//! How much an untrusted file may ask of the reader.

use std::ops::RangeInclusive;

/// Bounds on what a model file may make the reader do; passing one is [`Error::Limit`](crate::Error::Limit).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the `.onnx` file itself. Protocol buffers end at 2 GiB.
    pub file_bytes: u64,
    /// Memory the decoded messages may take, as counted before anything is decoded. A few bytes of
    /// file can stand for a message of hundreds of bytes, so this is apart from `file_bytes`.
    pub decoded_bytes: u64,
    /// Messages within messages (a graph in an attribute of a node of a graph counts three).
    pub depth: u64,
    /// Nodes, those of subgraphs included, after local functions have been inlined.
    pub nodes: u64,
    /// Bytes taken from external data files, over all tensors.
    pub external_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const GIB: u64 = 1 << 30;
        Limits { file_bytes: 2 * GIB, decoded_bytes: 4 * GIB, depth: 64, nodes: 1_000_000, external_bytes: 16 * GIB }
    }
}

/// What [`Model::read_with`](crate::Model::read_with) takes and does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOptions {
    /// Bounds on size and depth.
    pub limits: Limits,
    /// Versions of the standard operator set that are taken.
    pub opsets: RangeInclusive<i64>,
    /// Whether local functions are put in the place of their calls, as everything in this crate but
    /// reading and writing expects.
    pub inline_functions: bool,
}

impl ReadOptions {
    /// Operator sets taken by default: 7 to the newest that ONNX Runtime 1.32 loads.
    pub const OPSETS: RangeInclusive<i64> = 7..=28;
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions { limits: Limits::default(), opsets: Self::OPSETS, inline_functions: true }
    }
}
