//! A tensor as ONNX stores one: element type, dims, little-endian bytes.

use crate::{Error, Result};
use half::{bf16, f16};
use std::sync::Arc;

/// Element types of `TensorProto.DataType`, with their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
#[allow(missing_docs, reason = "the names are ONNX's own")]
pub enum DataType {
    Float = 1,
    Uint8 = 2,
    Int8 = 3,
    Uint16 = 4,
    Int16 = 5,
    Int32 = 6,
    Int64 = 7,
    String = 8,
    Bool = 9,
    Float16 = 10,
    Double = 11,
    Uint32 = 12,
    Uint64 = 13,
    Complex64 = 14,
    Complex128 = 15,
    Bfloat16 = 16,
    Float8E4m3fn = 17,
    Float8E4m3fnuz = 18,
    Float8E5m2 = 19,
    Float8E5m2fnuz = 20,
    Uint4 = 21,
    Int4 = 22,
    Float4E2m1 = 23,
    Float8E8m0 = 24,
}

impl DataType {
    /// Every type, in the order of their numbers.
    pub const ALL: [DataType; 24] = {
        use DataType::*;
        [
            Float,
            Uint8,
            Int8,
            Uint16,
            Int16,
            Int32,
            Int64,
            String,
            Bool,
            Float16,
            Double,
            Uint32,
            Uint64,
            Complex64,
            Complex128,
            Bfloat16,
            Float8E4m3fn,
            Float8E4m3fnuz,
            Float8E5m2,
            Float8E5m2fnuz,
            Uint4,
            Int4,
            Float4E2m1,
            Float8E8m0,
        ]
    };

    /// The type with this number in `TensorProto.DataType`.
    pub fn from_number(number: i32) -> Option<DataType> {
        usize::try_from(number).ok()?.checked_sub(1).and_then(|i| Self::ALL.get(i).copied())
    }

    /// Its number in `TensorProto.DataType`.
    pub fn number(self) -> i32 {
        self as i32
    }

    /// Bits an element takes; 0 for strings, which have no fixed size.
    pub fn bits(self) -> usize {
        use DataType::*;
        match self {
            String => 0,
            Uint4 | Int4 | Float4E2m1 => 4,
            Uint8 | Int8 | Bool | Float8E4m3fn | Float8E4m3fnuz | Float8E5m2 | Float8E5m2fnuz | Float8E8m0 => 8,
            Uint16 | Int16 | Float16 | Bfloat16 => 16,
            Float | Int32 | Uint32 => 32,
            Int64 | Double | Uint64 | Complex64 => 64,
            Complex128 => 128,
        }
    }

    /// Whether values of this type can carry a gradient.
    pub fn is_float(self) -> bool {
        matches!(self, DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16)
    }

    /// Bytes that `elements` of this type take (4-bit types pack two a byte); `None` on overflow.
    pub fn byte_len(self, elements: usize) -> Option<usize> {
        elements.checked_mul(self.bits()).map(|bits| bits.div_ceil(8))
    }
}

/// Rust types that stand for an ONNX element type of the same layout.
pub trait Element: bytemuck::Pod {
    /// The ONNX element type.
    const DATA_TYPE: DataType;
}

macro_rules! element {
    ($($rust:ty => $onnx:ident),*) => {
        $(impl Element for $rust { const DATA_TYPE: DataType = DataType::$onnx; })*
    };
}
element!(f32 => Float, u8 => Uint8, i8 => Int8, u16 => Uint16, i16 => Int16, i32 => Int32, i64 => Int64, f64 => Double,
    u32 => Uint32, u64 => Uint64, half::f16 => Float16, half::bf16 => Bfloat16);

/// A tensor: dims, element type and data. Cloning shares the data.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    dims: Vec<usize>,
    data_type: DataType,
    data: Data,
}

#[derive(Debug, Clone, PartialEq)]
enum Data {
    /// Little-endian elements, row-major; 4-bit types pack two a byte, low half first; bool is one byte.
    Bytes(Arc<[u8]>),
    Strings(Arc<[Vec<u8>]>),
}

impl Tensor {
    /// A tensor of `data`, row-major.
    ///
    /// # Panics
    /// When the number of elements is not the product of `dims`.
    pub fn new<T: Element>(dims: impl Into<Vec<usize>>, data: &[T]) -> Self {
        let dims = dims.into();
        assert_eq!(dims.iter().product::<usize>(), data.len(), "dims {dims:?} against {} elements", data.len());
        let bytes: Arc<[u8]> = bytemuck::cast_slice(data).into();
        Tensor { dims, data_type: T::DATA_TYPE, data: Data::Bytes(bytes) }
    }

    /// A tensor with no axes.
    pub fn scalar<T: Element>(value: T) -> Self {
        Self::new(Vec::new(), &[value])
    }

    /// A tensor of a floating type, float32 where `data_type` is none, of values that are rounded to it.
    ///
    /// # Panics
    /// As [`Tensor::new`].
    pub fn floats(data_type: DataType, dims: &[usize], values: &[f64]) -> Self {
        match data_type {
            DataType::Double => Self::new(dims, values),
            DataType::Float16 => Self::new(dims, &values.iter().map(|x| f16::from_f64(*x)).collect::<Vec<_>>()),
            DataType::Bfloat16 => Self::new(dims, &values.iter().map(|x| bf16::from_f64(*x)).collect::<Vec<_>>()),
            _ => Self::new(dims, &values.iter().map(|x| *x as f32).collect::<Vec<_>>()),
        }
    }

    /// A tensor from its little-endian bytes (the layout of `TensorProto.raw_data`).
    ///
    /// # Errors
    /// [`Error::TensorSize`] when the byte count does not follow from dims and type; [`Error::Tensor`]
    /// for strings (see [`Tensor::strings`]) and dims whose product overflows.
    pub fn from_bytes(name: &str, dims: Vec<usize>, data_type: DataType, bytes: impl Into<Arc<[u8]>>) -> Result<Self> {
        let bytes = bytes.into();
        if data_type == DataType::String {
            return Err(Error::Tensor { name: name.to_owned(), reason: "strings have no raw form".to_owned() });
        }
        let expected = dims
            .iter()
            .try_fold(1usize, |n, d| n.checked_mul(*d))
            .and_then(|n| data_type.byte_len(n))
            .ok_or_else(|| Error::Tensor { name: name.to_owned(), reason: format!("dims {dims:?} overflow") })?;
        if expected != bytes.len() {
            return Err(Error::TensorSize { name: name.to_owned(), data_type, dims, expected, found: bytes.len() });
        }
        Ok(Tensor { dims, data_type, data: Data::Bytes(bytes) })
    }

    /// A tensor of strings.
    ///
    /// # Errors
    /// [`Error::TensorSize`] when there are more or fewer than dims say.
    pub fn strings(name: &str, dims: Vec<usize>, strings: Vec<Vec<u8>>) -> Result<Self> {
        let expected = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        if expected != Some(strings.len()) {
            return Err(Error::TensorSize {
                name: name.to_owned(),
                data_type: DataType::String,
                dims,
                expected: expected.unwrap_or(usize::MAX),
                found: strings.len(),
            });
        }
        Ok(Tensor { dims, data_type: DataType::String, data: Data::Strings(strings.into()) })
    }

    /// A tensor from the bytes of a `TensorProto`, the form in which test inputs and outputs are kept,
    /// with its name. External data is refused.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Tensor`], [`Error::TensorSize`] or [`Error::ExternalData`].
    pub fn from_message(bytes: &[u8]) -> Result<(String, Self)> {
        use onnx_protobuf::Message;
        crate::proto::wire::check_tensor(bytes, &crate::Limits::default())?;
        let mut message = onnx_protobuf::TensorProto::parse_from_bytes(bytes)
            .map_err(|e| Error::Malformed { reason: e.to_string() })?;
        let name = std::mem::take(&mut message.name);
        if message.data_location.value() != 0 {
            return Err(Error::ExternalData { tensor: name, reason: "a lone tensor has no folder".to_owned() });
        }
        let tensor = crate::proto::tensor::decode(&mut message, &name)?;
        Ok((name, tensor))
    }

    /// Size of each axis.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Element type.
    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Little-endian bytes; empty for strings.
    pub fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::Bytes(bytes) => bytes,
            Data::Strings(_) => &[],
        }
    }

    /// The strings of a string tensor; empty for every other type.
    pub fn as_strings(&self) -> &[Vec<u8>] {
        match &self.data {
            Data::Bytes(_) => &[],
            Data::Strings(strings) => strings,
        }
    }

    /// The elements, when they are of type `T`.
    pub fn to_vec<T: Element>(&self) -> Option<Vec<T>> {
        (self.data_type == T::DATA_TYPE).then(|| bytemuck::pod_collect_to_vec(self.bytes()))
    }

    /// The elements of an int64 or int32 tensor (shapes, axes, indices).
    pub fn to_ints(&self) -> Option<Vec<i64>> {
        self.to_vec::<i64>().or_else(|| Some(self.to_vec::<i32>()?.into_iter().map(i64::from).collect()))
    }

    /// The elements of a tensor of numbers or booleans; `None` for strings and types that Rust has no number for. Past 2^53
    /// neighbouring integers fall together.
    pub fn to_float64(&self) -> Option<Vec<f64>> {
        fn wide<T: Element>(tensor: &Tensor, f: impl Fn(T) -> f64) -> Option<Vec<f64>> {
            Some(tensor.to_vec::<T>()?.into_iter().map(f).collect())
        }
        match self.data_type {
            DataType::Float => wide::<f32>(self, f64::from),
            DataType::Double => self.to_vec::<f64>(),
            DataType::Float16 => wide::<f16>(self, f64::from),
            DataType::Bfloat16 => wide::<bf16>(self, f64::from),
            DataType::Int8 => wide::<i8>(self, f64::from),
            DataType::Int16 => wide::<i16>(self, f64::from),
            DataType::Int32 => wide::<i32>(self, f64::from),
            DataType::Int64 => wide::<i64>(self, |x| x as f64),
            DataType::Uint8 => wide::<u8>(self, f64::from),
            DataType::Uint16 => wide::<u16>(self, f64::from),
            DataType::Uint32 => wide::<u32>(self, f64::from),
            DataType::Uint64 => wide::<u64>(self, |x| x as f64),
            DataType::Bool => Some(self.bytes().iter().map(|b| f64::from(u8::from(*b != 0))).collect()),
            _ => None,
        }
    }

    /// The same data under other dims.
    ///
    /// # Panics
    /// When the number of elements differs.
    pub fn reshaped(mut self, dims: impl Into<Vec<usize>>) -> Self {
        let dims = dims.into();
        assert_eq!(dims.iter().product::<usize>(), self.len(), "reshape of {:?} to {dims:?}", self.dims);
        self.dims = dims;
        self
    }
}
