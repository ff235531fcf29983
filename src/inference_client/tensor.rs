//! What is sent, and what comes back, as the protocol's binary form.

use crate::serve::Datatype;
use bytes::Bytes;
use half::{bf16, f16};
use ndarray::{ArrayD, ArrayViewD};

/// The one input of a request.
#[derive(Debug, Clone)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// Its type.
    pub datatype: Datatype,
    /// Sizes of its axes.
    pub shape: Vec<usize>,
    /// Its elements, low byte first.
    pub data: Bytes,
}

impl Input {
    /// Numbers in the type that a model takes.
    ///
    /// # Errors
    /// What cannot be said in that type.
    pub fn of(name: &str, datatype: Datatype, numbers: ArrayViewD<f32>) -> Result<Input, String> {
        let in_order = numbers.as_standard_layout();
        let values = in_order.iter().copied();
        let data: Vec<u8> = match datatype {
            Datatype::Fp32 => values.flat_map(f32::to_le_bytes).collect(),
            Datatype::Fp64 => values.flat_map(|value| f64::from(value).to_le_bytes()).collect(),
            Datatype::Fp16 => values.flat_map(|value| f16::from_f32(value).to_le_bytes()).collect(),
            Datatype::Int64 => values.flat_map(|value| (value as i64).to_le_bytes()).collect(),
            Datatype::Uint8 => {
                match numbers.iter().find(|value| value.fract() != 0.0 || !(0.0..=255.0).contains(*value)) {
                    None => values.map(|value| value as u8).collect(),
                    Some(value) => return Err(format!("input `{name}` takes raw bytes, and the images hold {value}")),
                }
            }
            other => return Err(format!("input `{name}` is {other}, expected FP32, FP16, FP64, INT64 or UINT8")),
        };
        let shape = numbers.shape().to_vec();
        Ok(Input { name: name.to_owned(), datatype, shape, data: data.into() })
    }
}

/// An output of an answer.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Its type.
    pub datatype: Datatype,
    /// Sizes of its axes.
    pub shape: Vec<usize>,
    /// Its elements, low byte first.
    pub data: Bytes,
}

/// Elements of a shape, where they can be counted.
pub(super) fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size))
}

impl Output {
    /// It as float32: whole numbers up to 2^24 keep their value.
    ///
    /// # Errors
    /// Another length than the shape says; a type that is no number.
    pub fn floats(&self) -> Result<ArrayD<f32>, String> {
        let Output { name, datatype, shape, data } = self;
        let expected = elements(shape).zip(datatype.size()).and_then(|(count, size)| count.checked_mul(size));
        if expected != Some(data.len()) {
            return Err(format!("output `{name}` has {} bytes for {shape:?} of {datatype}", data.len()));
        }
        fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
            bytes.as_chunks::<N>().0.iter().map(|bytes| number(*bytes)).collect()
        }
        let values = match datatype {
            Datatype::Bool => each(data, |[byte]| f32::from(u8::from(byte != 0))),
            Datatype::Uint8 => each(data, |[byte]| f32::from(byte)),
            Datatype::Int8 => each(data, |bytes| f32::from(i8::from_le_bytes(bytes))),
            Datatype::Uint16 => each(data, |bytes| f32::from(u16::from_le_bytes(bytes))),
            Datatype::Int16 => each(data, |bytes| f32::from(i16::from_le_bytes(bytes))),
            Datatype::Uint32 => each(data, |bytes| u32::from_le_bytes(bytes) as f32),
            Datatype::Int32 => each(data, |bytes| i32::from_le_bytes(bytes) as f32),
            Datatype::Uint64 => each(data, |bytes| u64::from_le_bytes(bytes) as f32),
            Datatype::Int64 => each(data, |bytes| i64::from_le_bytes(bytes) as f32),
            Datatype::Fp16 => each(data, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Datatype::Bf16 => each(data, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            Datatype::Fp32 => each(data, f32::from_le_bytes),
            Datatype::Fp64 => each(data, |bytes| f64::from_le_bytes(bytes) as f32),
            Datatype::Bytes => return Err(format!("output `{name}` is BYTES, expected numbers")),
        };
        ArrayD::from_shape_vec(shape.as_slice(), values).map_err(|e| format!("output `{name}`: {e}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array4, array};

    #[test]
    fn images_go_out_in_the_type_that_the_model_takes() {
        let images = Array4::from_shape_vec((1, 1, 1, 3), vec![0.0, 1.0, 255.0]).expect("three");
        let sent = |datatype| Input::of("x", datatype, images.view().into_dyn()).expect("numbers").data;
        assert_eq!(sent(Datatype::Uint8).as_ref(), [0, 1, 255]);
        assert_eq!(sent(Datatype::Fp16).as_ref(), [0, 0, 0, 0x3c, 0xf8, 0x5b]);
        assert_eq!(&sent(Datatype::Fp32)[4..8], 1.0_f32.to_le_bytes());
        assert_eq!(&sent(Datatype::Fp64)[16..], 255.0_f64.to_le_bytes());
        let half = Array4::from_elem((1, 1, 1, 1), 0.5);
        assert!(Input::of("x", Datatype::Uint8, half.view().into_dyn()).is_err(), "no byte is a half");
        assert!(Input::of("x", Datatype::Bytes, images.view().into_dyn()).is_err(), "numbers are no texts");
    }

    #[test]
    fn outputs_are_checked_against_their_shape() {
        let output = |datatype, shape: &[usize], data: &[u8]| {
            Output { name: "y".into(), datatype, shape: shape.to_vec(), data: Bytes::copy_from_slice(data) }.floats()
        };
        let whole = output(Datatype::Int64, &[2], &[7_i64.to_le_bytes(), (-1_i64).to_le_bytes()].concat());
        assert_eq!(whole.expect("two numbers"), array![7.0, -1.0].into_dyn());
        assert_eq!(output(Datatype::Bool, &[2], &[0, 1]).expect("flags"), array![0.0, 1.0].into_dyn());
        assert!(output(Datatype::Fp32, &[2], &[0; 7]).is_err());
        assert!(output(Datatype::Fp32, &[usize::MAX, usize::MAX], &[]).is_err());
        assert!(output(Datatype::Bytes, &[1], &[0; 4]).is_err());
    }
}
