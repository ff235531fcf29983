//! One step of training.

/// Which parameters weight decay pulls at.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decay(pub i32);

impl Decay {
    /// Those with two axes or more (weights; not biases, scales and shifts).
    pub const MATRICES: Decay = Decay(0);
    /// All in scope.
    pub const ALL: Decay = Decay(1);
}

/// A step of stochastic gradient descent on the mean loss over a batch, as PyTorch's `SGD` takes it after `clip_grad_norm_`:
/// `grad <- grad * min(1, clip_norm / (||grad|| + 1e-6))` where `clip_norm` is above 0;
/// `g <- grad + weight_decay * theta; b <- momentum * b + g` (`b <- g` the first time);
/// `theta <- theta - learning_rate * (g + momentum * b if nesterov else b)`, times `bias_rate` for parameters with fewer than two axes.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct TrainStep {
    /// Step length.
    pub learning_rate: f64,
    /// Momentum, in `[0, 1)`; 0 keeps no buffers.
    pub momentum: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// The largest norm of the gradient over all parameters in scope; 0 for any.
    pub clip_norm: f64,
    /// What the step length of parameters with fewer than two axes (biases, scales, shifts) is multiplied by.
    pub bias_rate: f64,
    /// Seed of what is random in the step (Dropout).
    pub seed: u64,
    /// What decays.
    pub decay: Decay,
    /// 0 or 1.
    pub nesterov: u32,
}
