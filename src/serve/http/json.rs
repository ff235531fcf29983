//! JSON of the protocol: how deep it may go, and arrays of numbers or texts, flat or nested, straight to bytes.

use crate::runtime::joined;
use crate::serve::datatype::Datatype;
use crate::serve::refusal::{PortKind, Refusal};
use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use std::fmt;

/// Refuses JSON with more brackets within brackets than `limit`, before anything is built from it.
///
/// # Errors
/// [`Refusal::Depth`].
pub(super) fn check_depth(text: &[u8], limit: usize) -> Result<(), Refusal> {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > limit {
                    return Err(Refusal::Depth { limit });
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// What an element of an array can be made from.
trait Element: Sized {
    const EXPECTED: &'static str;
    fn of_bool(_: bool) -> Option<Self> {
        None
    }
    fn of_u64(_: u64) -> Option<Self> {
        None
    }
    fn of_i64(_: i64) -> Option<Self> {
        None
    }
    fn of_f64(_: f64) -> Option<Self> {
        None
    }
    fn of_text(_: &str) -> Option<Self> {
        None
    }
}

macro_rules! whole_numbers {
    ($($type:ty),*) => {
        $(impl Element for $type {
            const EXPECTED: &'static str = concat!("whole numbers that ", stringify!($type), " holds");
            fn of_u64(number: u64) -> Option<Self> {
                number.try_into().ok()
            }
            fn of_i64(number: i64) -> Option<Self> {
                number.try_into().ok()
            }
        })*
    };
}
whole_numbers!(u8, u16, u32, u64, i8, i16, i32, i64);

impl Element for f32 {
    const EXPECTED: &'static str = "numbers that float32 holds";
    fn of_u64(number: u64) -> Option<f32> {
        Some(number as f32)
    }
    fn of_i64(number: i64) -> Option<f32> {
        Some(number as f32)
    }
    fn of_f64(number: f64) -> Option<f32> {
        Some(number as f32).filter(|number| number.is_finite())
    }
}

impl Element for f64 {
    const EXPECTED: &'static str = "numbers";
    fn of_u64(number: u64) -> Option<f64> {
        Some(number as f64)
    }
    fn of_i64(number: i64) -> Option<f64> {
        Some(number as f64)
    }
    fn of_f64(number: f64) -> Option<f64> {
        Some(number)
    }
}

/// A truth value, as a byte.
struct Flag(u8);

impl Element for Flag {
    const EXPECTED: &'static str = "true and false";
    fn of_bool(flag: bool) -> Option<Flag> {
        Some(Flag(u8::from(flag)))
    }
}

impl Element for String {
    const EXPECTED: &'static str = "texts";
    fn of_text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }
}

/// Elements of an array, however it is nested.
struct Flat<'v, T>(&'v mut Vec<T>);

impl<'de, T: Element> DeserializeSeed<'de> for Flat<'_, T> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<T: Element> Flat<'_, T> {
    fn push<E: Error>(self, element: Option<T>) -> Result<(), E> {
        self.0.push(element.ok_or_else(|| E::custom(format!("expected {}", T::EXPECTED)))?);
        Ok(())
    }
}

impl<'de, T: Element> Visitor<'de> for Flat<'_, T> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        while array.next_element_seed(Flat(self.0))?.is_some() {}
        Ok(())
    }
    fn visit_bool<E: Error>(self, flag: bool) -> Result<(), E> {
        self.push(T::of_bool(flag))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.push(T::of_u64(number))
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.push(T::of_i64(number))
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.push(T::of_f64(number))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.push(T::of_text(text))
    }
}

/// The elements of an array in JSON, in the protocol's binary form.
///
/// # Errors
/// [`Refusal::Data`] for an element of another kind, [`Refusal::Size`] for another number of them, and
/// [`Refusal::BinaryOnly`].
pub(crate) fn elements(name: &str, datatype: Datatype, text: &str, expected: usize) -> Result<Bytes, Refusal> {
    let (found, data) = match datatype {
        Datatype::Bool => {
            let flags = flat::<Flag>(name, text)?;
            (flags.len(), flags.iter().map(|flag| flag.0).collect())
        }
        Datatype::Uint8 => numbers::<u8>(name, text)?,
        Datatype::Uint16 => numbers::<u16>(name, text)?,
        Datatype::Uint32 => numbers::<u32>(name, text)?,
        Datatype::Uint64 => numbers::<u64>(name, text)?,
        Datatype::Int8 => numbers::<i8>(name, text)?,
        Datatype::Int16 => numbers::<i16>(name, text)?,
        Datatype::Int32 => numbers::<i32>(name, text)?,
        Datatype::Int64 => numbers::<i64>(name, text)?,
        Datatype::Fp32 => numbers::<f32>(name, text)?,
        Datatype::Fp64 => numbers::<f64>(name, text)?,
        Datatype::Bytes => {
            let texts = flat::<String>(name, text)?;
            (texts.len(), joined(texts.iter().map(String::as_bytes)))
        }
        Datatype::Fp16 | Datatype::Bf16 => {
            return Err(Refusal::BinaryOnly { port: PortKind::Input, name: name.to_owned(), datatype });
        }
    };
    if found != expected {
        return Err(Refusal::Size { name: name.to_owned(), found, expected, unit: "elements" });
    }
    Ok(data)
}

fn flat<T: Element>(name: &str, text: &str) -> Result<Vec<T>, Refusal> {
    let mut elements = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = Flat(&mut elements).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    match read {
        Ok(()) => Ok(elements),
        Err(error) => Err(Refusal::Data { name: name.to_owned(), reason: error.to_string() }),
    }
}

fn numbers<T: Element + bytemuck::NoUninit>(name: &str, text: &str) -> Result<(usize, Bytes), Refusal> {
    let numbers = flat::<T>(name, text)?;
    Ok((numbers.len(), Bytes::copy_from_slice(bytemuck::cast_slice(&numbers))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_texts() {
        assert!(check_depth(br#"{"a":[[1]]}"#, 3).is_ok());
        assert!(matches!(check_depth(br#"{"a":[[1]]}"#, 2), Err(Refusal::Depth { limit: 2 })));
        assert!(check_depth(br#"["[[[[\"[[[["]"#, 1).is_ok());
        assert!(check_depth(&vec![b'['; 1 << 20], 100).is_err());
    }

    #[test]
    fn flat_and_nested_arrays_are_the_same() {
        let bytes = |numbers: &[f32]| -> Vec<u8> { numbers.iter().flat_map(|n| n.to_le_bytes()).collect() };
        for text in ["[1, 2.5, -3e2, 0]", "[[1, 2.5], [-300, 0]]", "[[[1],[2.5]],[[-300.0],[0.0]]]"] {
            let data = elements("x", Datatype::Fp32, text, 4).expect(text);
            assert_eq!(data, bytes(&[1.0, 2.5, -300.0, 0.0]), "{text}");
        }
        assert_eq!(elements("x", Datatype::Bool, "[true,[false]]", 2).expect("flags").as_ref(), [1, 0]);
        assert_eq!(
            elements("x", Datatype::Bytes, r#"["a\u00e9"]"#, 1).expect("texts").as_ref(),
            b"\x03\0\0\0a\xc3\xa9"
        );
        let largest = elements("x", Datatype::Uint64, "[18446744073709551615]", 1).expect("fits");
        assert_eq!(largest, u64::MAX.to_le_bytes().as_slice());
    }

    #[test]
    fn elements_of_another_kind_or_number_are_refused() {
        let cases = [
            (Datatype::Uint8, "[256]"),
            (Datatype::Uint8, "[-1]"),
            (Datatype::Int8, "[1.5]"),
            (Datatype::Int64, "[9223372036854775808]"),
            (Datatype::Fp32, "[1e39]"),
            (Datatype::Fp32, "[null]"),
            (Datatype::Fp32, "[\"1\"]"),
            (Datatype::Fp32, "[true]"),
            (Datatype::Fp32, "[{}]"),
            (Datatype::Fp32, "[1, 2]"),
            (Datatype::Fp32, "[]"),
            (Datatype::Fp32, "[1"),
            (Datatype::Fp64, "[1e999]"),
            (Datatype::Fp32, "[1] [2]"),
            (Datatype::Bool, "[1]"),
            (Datatype::Bytes, "[1]"),
            (Datatype::Fp16, "[1]"),
            (Datatype::Bf16, "[1]"),
        ];
        for (datatype, text) in cases {
            assert!(elements("x", datatype, text, 1).is_err(), "{datatype} {text}");
        }
    }
}
