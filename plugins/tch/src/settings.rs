//! How libtorch computes: float32 in full, the same way every time.

use crate::Failure;
use std::ffi::{CStr, c_char, c_int};

unsafe extern "C" {
    fn isal_torch_exact() -> c_int;
    fn isal_torch_version() -> *const c_char;
}

/// Switches TF32 off (its ten bits of mantissa drown a curvature product) and picks deterministic algorithms.
/// The settings hold for the process.
///
/// # Errors
/// [`Failure::Backend`] when libtorch refuses.
pub fn exact() -> Result<(), Failure> {
    // SAFETY: a function without arguments that catches what libtorch throws.
    match unsafe { isal_torch_exact() } {
        0 => Ok(()),
        _ => Err(Failure::Backend { message: "the arithmetic's settings could not be changed".to_owned() }),
    }
}

/// The version of libtorch the plugin was built with.
pub fn version() -> &'static str {
    // SAFETY: the function returns a string literal of the C++ file.
    let text = unsafe { CStr::from_ptr(isal_torch_version()) };
    text.to_str().unwrap_or("of unknown version")
}

/// As many threads as were asked for; where none were, one a core, of those that affinity and the quota of a container leave
/// the process.
pub fn threads(given: u32) -> u32 {
    if given > 0 {
        return given;
    }
    // libtorch counts cores and not hyper-threads, but knows no quota.
    let cores = u32::try_from(tch::get_num_threads()).unwrap_or(1);
    let allowed = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX));
    cores.min(allowed).max(1)
}

/// Lets an operator use `threads` threads; 0 changes nothing. libtorch keeps the number per calling thread as well
/// as for the process, so this is said before every call and not once.
pub fn use_threads(threads: u32) {
    if let Ok(threads) = i32::try_from(threads)
        && threads > 0
        && tch::get_num_threads() != threads
    {
        tch::set_num_threads(threads);
    }
}

/// Lets freed memory stay with the process, up to `KEPT` bytes. A batch frees and asks for the same tensors over and over; glibc
/// gives blocks of their size back to the system each time and has every page zeroed anew, a third of the time of a curvature
/// product. The settings hold for the process.
pub fn keep_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the function takes two numbers, and changes settings of the allocator under its own lock.
    unsafe {
        // The largest threshold that glibc takes.
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
    }
}

/// Bytes of freed memory that the process keeps.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: libc::c_int = 512 << 20;
