//! A level of forward-mode differentiation.

use crate::Failure;
use tch::Tensor;

unsafe extern "C" {
    fn isal_torch_level_enter() -> i64;
    fn isal_torch_level_leave(level: i64) -> std::ffi::c_int;
}

/// An entered level: while it lives, dual tensors made at it carry tangents through every operator. Dropping it
/// drops those tangents; the values stay. Levels are a property of the process and libtorch knows one at a time,
/// so a lock is held meanwhile.
pub struct Level {
    index: i64,
    _alone: std::sync::MutexGuard<'static, ()>,
}

static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

impl Level {
    /// Waits until no other level is entered, and enters one.
    ///
    /// # Errors
    /// [`Failure::Backend`] when libtorch refuses.
    pub fn enter() -> Result<Level, Failure> {
        // A panic elsewhere left its level through `Drop`: there is no state to distrust.
        let alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // SAFETY: a function without arguments that catches what libtorch throws.
        let index = unsafe { isal_torch_level_enter() };
        if index < 0 {
            return Err(Failure::Backend { message: "no forward-mode level could be entered".to_owned() });
        }
        Ok(Level { index, _alone: alone })
    }

    /// `value` with the tangent `tangent`, of the same shape.
    ///
    /// # Errors
    /// [`Failure::Backend`] when libtorch refuses.
    pub fn dual(&self, value: &Tensor, tangent: &Tensor) -> Result<Tensor, Failure> {
        Ok(Tensor::f_internal_make_dual(value, tangent, self.index)?)
    }

    /// The value and the tangent of `dual`; no tangent stands for zero.
    ///
    /// # Errors
    /// [`Failure::Backend`] when libtorch refuses.
    pub fn unpack(&self, dual: &Tensor) -> Result<(Tensor, Option<Tensor>), Failure> {
        let (value, tangent) = Tensor::f_internal_unpack_dual(dual, self.index)?;
        Ok((value, tangent.defined().then_some(tangent)))
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        // SAFETY: the level was entered by `enter` and is left once. A refusal would mean that it is not the
        // innermost one, which the lock rules out.
        unsafe { isal_torch_level_leave(self.index) };
    }
}
