//! Element types by the names that the protocol, a `config.pbtxt` and ONNX Runtime have for them.

use super::proto;
use crate::runtime::ElementType;
use std::fmt;

/// What a tensor of the protocol consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Datatype {
    /// A truth value, one byte.
    Bool,
    /// 8 bits without a sign.
    Uint8,
    /// 16 bits without a sign.
    Uint16,
    /// 32 bits without a sign.
    Uint32,
    /// 64 bits without a sign.
    Uint64,
    /// 8 bits with a sign.
    Int8,
    /// 16 bits with a sign.
    Int16,
    /// 32 bits with a sign.
    Int32,
    /// 64 bits with a sign.
    Int64,
    /// IEEE half precision.
    Fp16,
    /// The upper half of single precision.
    Bf16,
    /// Single precision.
    Fp32,
    /// Double precision.
    Fp64,
    /// Any number of bytes, with their number before them.
    Bytes,
}

/// Each with its name in the protocol, in ONNX Runtime and in a `config.pbtxt`, and its size in bytes.
const ALL: [(Datatype, &str, ElementType, proto::DataType, usize); 14] = {
    use ElementType as E;
    use proto::DataType as P;
    [
        (Datatype::Bool, "BOOL", E::Bool, P::TypeBool, 1),
        (Datatype::Uint8, "UINT8", E::Uint8, P::TypeUint8, 1),
        (Datatype::Uint16, "UINT16", E::Uint16, P::TypeUint16, 2),
        (Datatype::Uint32, "UINT32", E::Uint32, P::TypeUint32, 4),
        (Datatype::Uint64, "UINT64", E::Uint64, P::TypeUint64, 8),
        (Datatype::Int8, "INT8", E::Int8, P::TypeInt8, 1),
        (Datatype::Int16, "INT16", E::Int16, P::TypeInt16, 2),
        (Datatype::Int32, "INT32", E::Int32, P::TypeInt32, 4),
        (Datatype::Int64, "INT64", E::Int64, P::TypeInt64, 8),
        (Datatype::Fp16, "FP16", E::Float16, P::TypeFp16, 2),
        (Datatype::Bf16, "BF16", E::Bfloat16, P::TypeBf16, 2),
        (Datatype::Fp32, "FP32", E::Float32, P::TypeFp32, 4),
        (Datatype::Fp64, "FP64", E::Float64, P::TypeFp64, 8),
        (Datatype::Bytes, "BYTES", E::String, P::TypeString, 0),
    ]
};

impl Datatype {
    fn row(self) -> &'static (Datatype, &'static str, ElementType, proto::DataType, usize) {
        // `ALL` lists them in the order of the enum, which a test holds.
        &ALL[self as usize]
    }

    /// The protocol's name, such as `FP32`.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// By the protocol's name.
    pub fn named(name: &str) -> Option<Datatype> {
        ALL.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// Of what ONNX Runtime computes with; nothing for types that the protocol has no word for.
    pub fn of_element(element: ElementType) -> Option<Datatype> {
        ALL.iter().find(|row| row.2 == element).map(|row| row.0)
    }

    /// Of a `config.pbtxt`.
    pub fn of_config(number: i32) -> Option<Datatype> {
        ALL.iter().find(|row| row.3 as i32 == number).map(|row| row.0)
    }

    /// As a `config.pbtxt` has it.
    pub fn config(self) -> i32 {
        self.row().3 as i32
    }

    /// Bytes of an element; nothing for [`Datatype::Bytes`], whose elements differ.
    pub fn size(self) -> Option<usize> {
        Some(self.row().4).filter(|size| *size > 0)
    }

    /// Whether its elements have a form in JSON.
    pub fn has_json(self) -> bool {
        !matches!(self, Datatype::Fp16 | Datatype::Bf16)
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_its_own_names() {
        for (at, (datatype, name, element, config, _)) in ALL.iter().enumerate() {
            assert_eq!(*datatype as usize, at, "{name}: the table is in the order of the enum");
            assert_eq!(Datatype::named(name), Some(*datatype));
            assert_eq!(Datatype::of_element(*element), Some(*datatype));
            assert_eq!(Datatype::of_config(*config as i32), Some(*datatype));
        }
        assert_eq!(Datatype::named("fp32"), None);
        assert_eq!(Datatype::of_config(0), None);
    }
}
