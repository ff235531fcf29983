//! Arrays in host memory, in and out.

use super::guard::given;
use crate::{Batch, Failure};
use isal_plugin_abi::{Array, Bytes, ElementKind, NamedArray, Role, slice};
use tch::{Kind, Tensor};

/// Axes an array may have; libtorch's own limit is 64.
const MAX_RANK: usize = 64;

/// Kinds of a batch's arrays.
fn any_kind(element: ElementKind) -> Option<Kind> {
    match element {
        ElementKind::I64 => Some(Kind::Int64),
        ElementKind::BOOL => Some(Kind::Bool),
        other => kind(other),
    }
}

fn kind(kind: ElementKind) -> Option<Kind> {
    match kind {
        ElementKind::F32 => Some(Kind::Float),
        ElementKind::F64 => Some(Kind::Double),
        _ => None,
    }
}

/// The float kind a model is to be computed in.
pub(super) fn float_kind(element: ElementKind) -> Result<Kind, Failure> {
    kind(element).ok_or_else(|| Failure::Kind {
        what: "model".to_owned(),
        expected: "1 (float32) or 11 (float64)",
        found: element.0.to_string(),
    })
}

/// A tensor with the entries of an array, copied.
///
/// # Safety
/// `array` is null or valid, as is what it points to.
pub(super) unsafe fn tensor(array: *const Array, what: &'static str) -> Result<Tensor, Failure> {
    // SAFETY: null or valid, says the caller, as is what it points to.
    unsafe { read(given(array, what)?, what, kind, "1 (float32) or 11 (float64)") }
}

/// A tensor with the entries of an array of one of the kinds that `kind` takes, copied.
///
/// # Safety
/// What `array` points to is valid.
unsafe fn read(
    array: &Array,
    what: &'static str,
    kind: fn(ElementKind) -> Option<Kind>,
    expected: &'static str,
) -> Result<Tensor, Failure> {
    let wrong = |reason: String| Failure::Argument { what, reason };
    let element = kind(array.kind).ok_or_else(|| Failure::Kind {
        what: what.to_owned(),
        expected,
        found: array.kind.0.to_string(),
    })?;
    if array.rank > MAX_RANK {
        return Err(wrong(format!("{} axes, over the limit of {MAX_RANK}", array.rank)));
    }
    // SAFETY: the caller vouches for what the array points to.
    let dims = unsafe { array.dims() }.ok_or_else(|| wrong("its dims are a null pointer".to_owned()))?;
    // SAFETY: as above.
    let bytes = unsafe { array.bytes() }.ok_or_else(|| wrong("its data is a null pointer".to_owned()))?;
    let expected = dims
        .iter()
        .try_fold(element.elt_size_in_bytes(), |n, d| n.checked_mul(*d))
        .ok_or_else(|| wrong(format!("dims {dims:?} overflow")))?;
    if expected != bytes.len() {
        return Err(wrong(format!("dims {dims:?} take {expected} bytes, found {}", bytes.len())));
    }
    let dims = dims.iter().map(|d| i64::try_from(*d)).collect::<Result<Vec<_>, _>>();
    let dims = dims.map_err(|e| wrong(e.to_string()))?;
    Ok(Tensor::f_from_data_size(bytes, &dims, element)?)
}

/// A batch: arrays of floats, whole numbers or truths, each under its name.
///
/// # Safety
/// `arrays` is null or points to `count` valid arrays.
pub(super) unsafe fn batch(arrays: *const NamedArray, count: usize) -> Result<Batch, Failure> {
    let wrong = |reason: &str| Failure::Argument { what: "batch", reason: reason.to_owned() };
    // SAFETY: the caller vouches for what it points to.
    let arrays = unsafe { slice(arrays, count) }.ok_or_else(|| wrong("a null pointer"))?;
    let named = arrays.iter().map(|named| {
        // SAFETY: as above.
        let name = unsafe { named.name.as_str() }.ok_or_else(|| wrong("a name that is null or not UTF-8"))?;
        // SAFETY: as above.
        Ok((name.to_owned(), unsafe { read(&named.array, "batch", any_kind, "floats, int64 or bool") }?))
    });
    Ok(Batch(named.collect::<Result<_, Failure>>()?))
}

/// An array of the plugin's own.
pub(super) struct Held {
    name: String,
    role: Role,
    kind: ElementKind,
    dims: Vec<usize>,
    len: usize,
    /// Eight bytes at a time, so that every element kind is aligned.
    data: Vec<u64>,
}

impl Held {
    /// A copy of a tensor. Integers come out as int64, half-precision floats as float32.
    pub(super) fn new(name: &str, role: Role, tensor: &Tensor) -> Result<Held, Failure> {
        let (kind, element) = match tensor.f_kind()? {
            Kind::Double => (ElementKind::F64, Kind::Double),
            Kind::Float | Kind::Half | Kind::BFloat16 => (ElementKind::F32, Kind::Float),
            Kind::Bool => (ElementKind::BOOL, Kind::Bool),
            _ => (ElementKind::I64, Kind::Int64),
        };
        let tensor = tensor.f_to_kind(element)?;
        let dims: Vec<usize> = tensor.size().iter().filter_map(|d| usize::try_from(*d).ok()).collect();
        let elements: usize = dims.iter().product();
        let len = elements * element.elt_size_in_bytes();
        let mut data = vec![0u64; len.div_ceil(8)];
        copy(&tensor, &mut bytemuck::cast_slice_mut(&mut data)[..len], elements)?;
        Ok(Held { name: name.to_owned(), role, kind, dims, len, data })
    }

    /// A view, valid as long as this lives.
    pub(super) fn view(&self) -> NamedArray {
        let bytes = &bytemuck::cast_slice::<u64, u8>(&self.data)[..self.len];
        NamedArray {
            name: Bytes::new(self.name.as_bytes()),
            array: Array::new(self.kind, &self.dims, bytes),
            role: self.role,
            reserved: 0,
        }
    }
}

/// Copies a tensor's elements into `bytes`.
fn copy(tensor: &Tensor, bytes: &mut [u8], elements: usize) -> Result<(), Failure> {
    if elements > 0 {
        tensor.f_copy_data_u8(bytes, elements)?;
    }
    Ok(())
}

/// Writes a vector's entries as float32 or float64 into the caller's memory.
///
/// # Safety
/// `data` is null or valid to write `len` bytes to; it need not be aligned.
pub(super) unsafe fn download(
    entries: &Tensor,
    element: ElementKind,
    data: *mut u8,
    len: usize,
) -> Result<(), Failure> {
    let element = kind(element).ok_or_else(|| Failure::Kind {
        what: "vector".to_owned(),
        expected: "1 (float32) or 11 (float64)",
        found: element.0.to_string(),
    })?;
    let elements = entries.numel();
    let expected = elements * element.elt_size_in_bytes();
    if data.is_null() || len != expected {
        return Err(Failure::Argument {
            what: "buffer",
            reason: format!("{elements} entries take {expected} bytes, found {len}"),
        });
    }
    // SAFETY: not null, and the caller vouches for `len` bytes.
    let bytes = unsafe { std::slice::from_raw_parts_mut(data, len) };
    copy(&entries.f_to_kind(element)?, bytes, elements)
}
