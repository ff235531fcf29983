//! What a model is computed in, and where.

use tch::{Device, Kind};

/// Float kind and device of a loaded model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numerics {
    /// `Kind::Float` or `Kind::Double`; float values of the graph are cast to it.
    pub kind: Kind,
    /// Where weights and values live.
    pub device: Device,
}
