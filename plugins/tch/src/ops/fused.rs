//! When libtorch's fused kernels may be used.
//!
//! They are several times faster than the same formula in elementary operations, and they have gradients, second
//! gradients and tangents. What they lack is the tangent of a gradient: their backward passes have no forward-mode
//! derivative. That is what a Hessian product takes (forward over reverse), so there the formula is written out.

use super::OpError;
use tch::Tensor;

/// Whether a fused kernel of these inputs has every derivative that will be asked of it: not when a gradient is recorded
/// of values that carry tangents.
pub(super) fn allowed(inputs: &[&Tensor]) -> Result<bool, OpError> {
    if !inputs.iter().any(|t| t.requires_grad()) {
        return Ok(true);
    }
    for input in inputs {
        // libtorch has one level of tangents, number 0, entered or not.
        if Tensor::f_internal_unpack_dual(input, 0)?.1.defined() {
            return Ok(false);
        }
    }
    Ok(true)
}
