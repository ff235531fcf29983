//! The direction of one parameter.

use crate::Value;

/// How an initializer moves.
#[derive(Debug, Clone, Copy)]
pub enum Seed {
    /// Along a tensor of its own dims.
    Dense(Value),
    /// Along the product of two factors: `left` `[rows, r]` and `right` `[r, the other dims]`. A convolution or a matrix
    /// product passes through `r` channels then, instead of the whole width.
    LowRank {
        /// `[rows, r]`.
        left: Value,
        /// `[r, the other dims of the parameter]`.
        right: Value,
    },
}
