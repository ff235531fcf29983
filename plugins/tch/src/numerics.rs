//! What a model is computed in, and where.

use crate::Failure;
use tch::{Device, Kind, Tensor};

/// Float kind and device of a loaded model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numerics {
    /// `Kind::Float` or `Kind::Double`; float values of the graph are cast to it.
    pub kind: Kind,
    /// Where weights and values live.
    pub device: Device,
}

/// Refuses NaN and infinity.
pub(crate) fn finite(tensor: &Tensor, what: &str) -> Result<(), Failure> {
    let _no_grad = tch::no_grad_guard();
    if tensor.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
        return Err(Failure::NotFinite { what: what.to_owned() });
    }
    Ok(())
}
