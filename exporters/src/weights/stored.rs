//! A tensor as a file of weights holds it: a view of the file, read when it is asked for.

use half::{bf16, f16};
use isal_onnx::{DataType, Tensor};
use safetensors::Dtype;
use std::borrow::Cow;

/// A tensor in a file.
#[derive(Debug, Clone)]
pub struct Stored<'a> {
    dtype: Dtype,
    dims: Vec<usize>,
    place: Place<'a>,
}

#[derive(Debug, Clone)]
enum Place<'a> {
    /// Row by row.
    Rows(&'a [u8]),
    /// An element for each index at `offset + sum(index * stride)`, counted in elements.
    Strided { storage: &'a [u8], offset: usize, strides: Vec<usize> },
}

impl<'a> Stored<'a> {
    pub(super) fn rows(dtype: Dtype, dims: Vec<usize>, bytes: &'a [u8]) -> Self {
        Stored { dtype, dims, place: Place::Rows(bytes) }
    }

    /// A view of a storage. `None` where it has elements outside of it, or more of them than the storage (one that repeats
    /// its elements could be of any size, whatever the file's).
    pub(super) fn strided(
        dtype: Dtype,
        dims: Vec<usize>,
        strides: Vec<usize>,
        offset: usize,
        storage: &'a [u8],
    ) -> Option<Self> {
        let size = bytes_of(dtype)?;
        let count = dims.iter().try_fold(1usize, |count, dim| count.checked_mul(*dim))?;
        let there = storage.len() / size;
        if dims.len() != strides.len() || count > there {
            return None;
        }
        if count == 0 {
            return Some(Stored::rows(dtype, dims, &[]));
        }
        let last = dims
            .iter()
            .zip(&strides)
            .try_fold(offset, |last, (dim, stride)| last.checked_add((dim - 1).checked_mul(*stride)?))?;
        if last >= there {
            return None;
        }
        let mut inner = 1;
        let in_rows = dims.iter().zip(&strides).rev().all(|(dim, stride)| {
            let fits = *dim == 1 || *stride == inner;
            inner *= dim;
            fits
        });
        if in_rows {
            return Some(Stored::rows(dtype, dims, storage.get(offset * size..(offset + count) * size)?));
        }
        Some(Stored { dtype, dims, place: Place::Strided { storage, offset, strides } })
    }

    /// The element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The dims.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The elements row by row, little-endian.
    pub fn bytes(&self) -> Cow<'a, [u8]> {
        match &self.place {
            Place::Rows(bytes) => Cow::Borrowed(bytes),
            Place::Strided { storage, offset, strides } => {
                let size = bytes_of(self.dtype).unwrap_or(1);
                let count: usize = self.dims.iter().product();
                let mut bytes = Vec::with_capacity(count * size);
                let mut index = vec![0; self.dims.len()];
                for _ in 0..count {
                    let at = offset + index.iter().zip(strides).map(|(i, stride)| i * stride).sum::<usize>();
                    bytes.extend_from_slice(storage.get(at * size..(at + 1) * size).unwrap_or_default());
                    for (i, dim) in index.iter_mut().zip(&self.dims).rev() {
                        *i += 1;
                        if *i < *dim {
                            break;
                        }
                        *i = 0;
                    }
                }
                Cow::Owned(bytes)
            }
        }
    }

    /// The tensor in the type of `weight`, unless its dims differ or its type does not widen to that.
    pub(super) fn widened(&self, weight: &Tensor) -> Option<Tensor> {
        if self.dims != weight.dims() {
            return None;
        }
        let (dims, bytes) = (weight.dims(), self.bytes());
        // Elements are at no particular alignment in the file, hence the copies by chunks.
        let halves = || bytes.chunks_exact(2).filter_map(|c| c.try_into().ok());
        let singles = || bytes.chunks_exact(4).filter_map(|c| c.try_into().ok()).map(f32::from_le_bytes);
        let to_f32 = |values: Vec<f32>| Some(Tensor::new(dims, &values));
        let to_f64 = |values: Vec<f64>| Some(Tensor::new(dims, &values));
        match (self.dtype, weight.data_type()) {
            (Dtype::F32, DataType::Float)
            | (Dtype::F64, DataType::Double)
            | (Dtype::F16, DataType::Float16)
            | (Dtype::BF16, DataType::Bfloat16) => {
                Tensor::from_bytes("", dims.to_vec(), weight.data_type(), bytes.as_ref()).ok()
            }
            (Dtype::F16, DataType::Float) => to_f32(halves().map(|b| f16::from_le_bytes(b).to_f32()).collect()),
            (Dtype::BF16, DataType::Float) => to_f32(halves().map(|b| bf16::from_le_bytes(b).to_f32()).collect()),
            (Dtype::F16, DataType::Double) => to_f64(halves().map(|b| f16::from_le_bytes(b).to_f64()).collect()),
            (Dtype::BF16, DataType::Double) => to_f64(halves().map(|b| bf16::from_le_bytes(b).to_f64()).collect()),
            (Dtype::F32, DataType::Double) => to_f64(singles().map(f64::from).collect()),
            _ => None,
        }
    }
}

/// Bytes of an element; `None` for types that do not fill whole bytes.
pub(super) fn bytes_of(dtype: Dtype) -> Option<usize> {
    let bits = dtype.bitsize();
    (bits >= 8 && bits.is_multiple_of(8)).then_some(bits / 8)
}
