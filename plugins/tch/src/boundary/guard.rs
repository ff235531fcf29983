//! Every call goes through here: what goes wrong becomes a status and a message, panics included.

use crate::Failure;
use isal_plugin_abi::{Message, Status};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `body` and reports how it went.
///
/// # Safety
/// `message` is null or points to a message whose buffer is as long as it says.
pub(super) unsafe fn guard(message: *mut Message, body: impl FnOnce() -> Result<(), Failure>) -> Status {
    // Nothing is used after a panic but what locks protect, and those are read past poisoning on purpose.
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("without a message");
        Err(Failure::Panic { message: text.lines().next().unwrap_or_default().to_owned() })
    });
    let (status, text) = match result {
        Ok(()) => (Status::OK, String::new()),
        Err(failure) => (failure.status(), failure.to_string()),
    };
    // SAFETY: the caller's promise is the one `write` asks for.
    unsafe { write(message, &text) };
    status
}

/// # Safety
/// As for [`guard`].
unsafe fn write(message: *mut Message, text: &str) {
    // SAFETY: null or valid, says the caller.
    let Some(message) = (unsafe { message.as_mut() }) else { return };
    message.len = text.len();
    if message.data.is_null() {
        return;
    }
    let cut = text.floor_char_boundary(message.capacity.min(text.len()));
    // SAFETY: the buffer holds `capacity` bytes, of which `cut` are written.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), message.data, cut) };
}

/// The caller's place for a result.
///
/// # Safety
/// `out` is null or valid to write to.
pub(super) unsafe fn place<'a, T>(out: *mut T, what: &'static str) -> Result<&'a mut T, Failure> {
    // SAFETY: null or valid, says the caller.
    unsafe { out.as_mut() }.ok_or_else(|| null(what))
}

/// A structure the caller passes in.
///
/// # Safety
/// `from` is null or valid to read.
pub(super) unsafe fn given<'a, T>(from: *const T, what: &'static str) -> Result<&'a T, Failure> {
    // SAFETY: null or valid, says the caller.
    unsafe { from.as_ref() }.ok_or_else(|| null(what))
}

fn null(what: &'static str) -> Failure {
    Failure::Argument { what, reason: "a null pointer".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_status_and_a_message() {
        let mut buffer = [0u8; 64];
        let mut message = Message { data: buffer.as_mut_ptr(), capacity: buffer.len(), len: 0 };
        let index = buffer.len();
        // SAFETY: the message is valid.
        let status = unsafe { guard(&raw mut message, || panic!("index {index} out of range\nand a second line")) };
        assert_eq!(status, Status::INTERNAL);
        assert_eq!(&buffer[..message.len], b"the plugin panicked: index 64 out of range");
    }

    #[test]
    fn an_exception_of_libtorch_becomes_a_status_and_a_message() {
        let mut buffer = [0u8; 256];
        let mut message = Message { data: buffer.as_mut_ptr(), capacity: buffer.len(), len: 0 };
        let add = || {
            let (a, b) = (tch::Tensor::f_from_slice(&[1.0, 2.0])?, tch::Tensor::f_from_slice(&[1.0, 2.0, 3.0])?);
            let _ = a.f_add(&b)?;
            Ok(())
        };
        // SAFETY: the message is valid.
        let status = unsafe { guard(&raw mut message, add) };
        let text = std::str::from_utf8(&buffer[..message.len]).expect("UTF-8");
        assert_eq!(status, Status::BACKEND);
        assert!(text.starts_with("libtorch: ") && text.contains('2') && !text.contains('\n'), "{text}");
        // The forms of `tch` that panic instead are caught too.
        // SAFETY: as above.
        let status = unsafe {
            guard(&raw mut message, || {
                let _ = tch::Tensor::from_slice(&[1.0, 2.0]).matmul(&tch::Tensor::from_slice(&[1.0]));
                Ok(())
            })
        };
        assert_eq!(status, Status::INTERNAL);
    }
}
