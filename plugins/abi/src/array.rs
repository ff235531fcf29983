//! Arrays in host memory.

use crate::Bytes;
use crate::bytes::slice;
use std::ffi::c_void;

/// Element kind of an array; the numbers are those of ONNX's `TensorProto.DataType`.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ElementKind(pub i32);

impl ElementKind {
    /// IEEE 754 single precision.
    pub const F32: ElementKind = ElementKind(1);
    /// 64-bit integer.
    pub const I64: ElementKind = ElementKind(7);
    /// One byte, 0 or 1.
    pub const BOOL: ElementKind = ElementKind(9);
    /// IEEE 754 double precision.
    pub const F64: ElementKind = ElementKind(11);

    /// Bytes an element takes; `None` for a kind that arrays do not have.
    pub const fn size(self) -> Option<usize> {
        match self {
            ElementKind::F32 => Some(4),
            ElementKind::I64 | ElementKind::F64 => Some(8),
            ElementKind::BOOL => Some(1),
            _ => None,
        }
    }
}

/// A dense array, row-major, in the machine's byte order.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Array {
    /// The first element; may be null when there are none.
    pub data: *const c_void,
    /// Bytes at `data`; has to follow from dims and kind.
    pub len: usize,
    /// Size of each axis.
    pub dims: *const usize,
    /// Number of axes.
    pub rank: usize,
    /// Element kind.
    pub kind: ElementKind,
    /// 0.
    pub reserved: i32,
}

impl Array {
    /// A view of elements, which must outlive every use of the view.
    pub fn new(kind: ElementKind, dims: &[usize], data: &[u8]) -> Self {
        Array { data: data.as_ptr().cast(), len: data.len(), dims: dims.as_ptr(), rank: dims.len(), kind, reserved: 0 }
    }

    /// The dims; `None` for a null pointer with a rank.
    ///
    /// # Safety
    /// Unless null, `dims` points to `rank` numbers that live, unchanged, for `'a`.
    pub unsafe fn dims<'a>(&self) -> Option<&'a [usize]> {
        // SAFETY: the caller's promise is the one `slice` asks for.
        unsafe { slice(self.dims, self.rank) }
    }

    /// The elements as bytes; `None` for a null pointer with a length.
    ///
    /// # Safety
    /// Unless null, `data` points to `len` bytes that live, unchanged, for `'a`.
    pub unsafe fn bytes<'a>(&self) -> Option<&'a [u8]> {
        // SAFETY: the caller's promise is the one `slice` asks for.
        unsafe { slice(self.data.cast(), self.len) }
    }
}

/// What a named array is to the model.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Role(pub i32);

impl Role {
    /// A value the graph computes.
    pub const OUTPUT: Role = Role(0);
    /// A parameter in scope.
    pub const PARAMETER: Role = Role(1);
    /// A running statistic of a BatchNormalization node.
    pub const STATISTIC: Role = Role(2);
    /// The momentum buffer of a parameter.
    pub const MOMENTUM: Role = Role(3);
    /// The derivative of the value of that name.
    pub const TANGENT: Role = Role(4);
    /// The loss of each sample, `[N]`.
    pub const LOSS: Role = Role(5);
    /// Its derivative, `[N]`.
    pub const LOSS_TANGENT: Role = Role(6);
    /// An input of a batch: the model's, or an annotation.
    pub const INPUT: Role = Role(7);
}

/// An array under a name.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct NamedArray {
    /// A value of a graph, or an initializer.
    pub name: Bytes,
    /// Its elements.
    pub array: Array,
    /// What it is.
    pub role: Role,
    /// 0.
    pub reserved: i32,
}
