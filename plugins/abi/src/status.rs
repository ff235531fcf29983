//! How a call went.

/// What a call answers; 0 is success. An open set: a host treats a number it does not know as a failure.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(pub i32);

impl Status {
    /// Done.
    pub const OK: Status = Status(0);
    /// A null pointer, a number out of range, text that is not UTF-8.
    pub const ARGUMENT: Status = Status(1);
    /// A handle that was never given out, or was freed.
    pub const HANDLE: Status = Status(2);
    /// Bytes that are not a valid ONNX model, or a model this ABI cannot express.
    pub const MODEL: Status = Status(3);
    /// A valid model with operators the plugin does not have.
    pub const UNSUPPORTED: Status = Status(4);
    /// A device that is not there.
    pub const DEVICE: Status = Status(5);
    /// A batch, target or vector of the wrong shape or element kind.
    pub const SHAPE: Status = Status(6);
    /// NaN or infinity in a weight, an input or a result.
    pub const NOT_FINITE: Status = Status(7);
    /// The library under the plugin refused (out of memory, an operator's own error).
    pub const BACKEND: Status = Status(8);
    /// A panic or exception that was caught: a defect of the plugin.
    pub const INTERNAL: Status = Status(9);

    /// Every status of this version, with its name in the header.
    pub const ALL: [(&'static str, Status); 10] = [
        ("ISAL_OK", Status::OK),
        ("ISAL_ARGUMENT", Status::ARGUMENT),
        ("ISAL_HANDLE", Status::HANDLE),
        ("ISAL_MODEL", Status::MODEL),
        ("ISAL_UNSUPPORTED", Status::UNSUPPORTED),
        ("ISAL_DEVICE", Status::DEVICE),
        ("ISAL_SHAPE", Status::SHAPE),
        ("ISAL_NOT_FINITE", Status::NOT_FINITE),
        ("ISAL_BACKEND", Status::BACKEND),
        ("ISAL_INTERNAL", Status::INTERNAL),
    ];
}

/// Where a call writes why it failed: a buffer of the caller's.
#[repr(C)]
#[derive(Debug)]
pub struct Message {
    /// The buffer; may be null when `capacity` is 0.
    pub data: *mut u8,
    /// Bytes it holds.
    pub capacity: usize,
    /// Set by every call: bytes of the whole message, 0 after success. More than `capacity` when it was cut
    /// short (at a character boundary).
    pub len: usize,
}
