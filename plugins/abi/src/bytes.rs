//! A run of bytes with its length.

/// Bytes (or UTF-8 text) that somebody else owns. `data` may be null when `len` is 0.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Bytes {
    /// The first byte.
    pub data: *const u8,
    /// How many there are.
    pub len: usize,
}

impl Bytes {
    /// No bytes.
    pub const EMPTY: Bytes = Bytes { data: std::ptr::null(), len: 0 };

    /// A view of `bytes`, which must outlive every use of the view.
    pub const fn new(bytes: &[u8]) -> Self {
        Bytes { data: bytes.as_ptr(), len: bytes.len() }
    }

    /// The bytes; `None` for a null pointer with a length, or a length no allocation can have.
    ///
    /// # Safety
    /// Unless null, `data` points to `len` bytes that live, unchanged, for `'a`.
    pub unsafe fn as_slice<'a>(self) -> Option<&'a [u8]> {
        // SAFETY: the caller's promise is the one `slice` asks for.
        unsafe { slice(self.data, self.len) }
    }

    /// The bytes as text; `None` where [`Bytes::as_slice`] has none, and for bytes that are not UTF-8.
    ///
    /// # Safety
    /// As for [`Bytes::as_slice`].
    pub unsafe fn as_str<'a>(self) -> Option<&'a str> {
        // SAFETY: the caller's promise is the one `as_slice` asks for.
        std::str::from_utf8(unsafe { self.as_slice() }?).ok()
    }
}

impl From<&'static str> for Bytes {
    fn from(text: &'static str) -> Self {
        Bytes::new(text.as_bytes())
    }
}

/// `len` items at `data`; `None` for a null or misaligned pointer with a length, or a length no allocation
/// can have.
///
/// # Safety
/// Unless null, `data` points to `len` items that live, unchanged, for `'a`.
pub unsafe fn slice<'a, T>(data: *const T, len: usize) -> Option<&'a [T]> {
    if len == 0 {
        return Some(&[]);
    }
    let fits = len.checked_mul(size_of::<T>()).is_some_and(|bytes| isize::try_from(bytes).is_ok());
    if data.is_null() || !data.is_aligned() || !fits {
        return None;
    }
    // SAFETY: not null, aligned, of a possible size, and the caller vouches for the rest.
    Some(unsafe { std::slice::from_raw_parts(data, len) })
}

/// `len` pieces of text at `data`; `None` where [`slice()`] or [`Bytes::as_str`] has none.
///
/// # Safety
/// Unless null, `data` points to `len` entries that, like the text they point to, live unchanged for `'a`.
pub unsafe fn texts<'a>(data: *const Bytes, len: usize) -> Option<Vec<&'a str>> {
    // SAFETY: the caller's promise covers the entries.
    let entries = unsafe { slice(data, len) }?;
    // SAFETY: and the text each of them points to.
    entries.iter().map(|b| unsafe { b.as_str() }).collect()
}
