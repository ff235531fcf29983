//! What a tangent graph is to run on.

/// What a tangent graph is to run on. Either graph is exact and has standard operators alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Target {
    /// Any runtime, in any float type: convolutions stay convolutions, masks are comparisons.
    #[default]
    Any,
    /// ONNX Runtime's CPU provider, in the float type the graph is written in. Multiplying matrices is as fast as convolving
    /// there, so that convolutions with fewer multiplications pay (`winograd`). Between convolutions it keeps images in a layout
    /// of blocks, which a comparison leaves; float32 masks are the hyperbolic tangent of a very large multiple, past float16's
    /// range, which does not.
    Cpu,
}

impl Target {
    /// As it is written in metadata and options.
    pub fn name(self) -> &'static str {
        match self {
            Target::Any => "any",
            Target::Cpu => "cpu",
        }
    }
}
