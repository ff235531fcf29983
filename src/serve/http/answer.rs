//! Answers as JSON, with binary tensors behind it where they are asked for.

use crate::runtime::Texts;
use crate::serve::datatype::Datatype;
use crate::serve::refusal::{PortKind, Refusal};
use crate::serve::tensor::{Answer, Tensor};
use serde::Serialize;
use std::io::Write as _;

/// An answer as it goes over the wire.
#[derive(Debug)]
pub(super) struct Written {
    /// JSON, and then binary tensors.
    pub(super) body: Vec<u8>,
    /// How long the JSON is, where something lies behind it.
    pub(super) json: Option<usize>,
}

/// Writes an answer; `binary`: what an output is that does not say.
///
/// # Errors
/// [`Refusal`] for what JSON has no form for.
pub(super) fn write(answer: &Answer, binary: bool) -> Result<Written, Refusal> {
    let mut body = Vec::new();
    let mut behind: Vec<&[u8]> = Vec::new();
    text(&mut body, "{\"model_name\":", &answer.model);
    text(&mut body, ",\"model_version\":", &answer.version.to_string());
    if !answer.id.is_empty() {
        text(&mut body, ",\"id\":", &answer.id);
    }
    body.extend_from_slice(b",\"outputs\":[");
    for (at, (tensor, own)) in answer.outputs.iter().zip(&answer.binary).enumerate() {
        text(&mut body, if at == 0 { "{\"name\":" } else { ",{\"name\":" }, &tensor.name);
        text(&mut body, ",\"datatype\":", tensor.datatype.name());
        body.extend_from_slice(b",\"shape\":");
        put(&mut body, &tensor.shape);
        if own.unwrap_or(binary) {
            // Writing to memory does not fail.
            let _ = write!(body, ",\"parameters\":{{\"binary_data_size\":{}}}}}", tensor.data.len());
            behind.push(&tensor.data);
        } else {
            body.extend_from_slice(b",\"data\":");
            data(&mut body, tensor)?;
            body.push(b'}');
        }
    }
    body.extend_from_slice(b"]}");
    let json = (!behind.is_empty()).then_some(body.len());
    for piece in behind {
        body.extend_from_slice(piece);
    }
    Ok(Written { body, json })
}

fn text(body: &mut Vec<u8>, before: &str, text: &str) {
    body.extend_from_slice(before.as_bytes());
    put(body, text);
}

fn put(body: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    // Numbers and texts always have a form, and memory takes everything.
    let _ = serde_json::to_writer(body, value);
}

fn data(body: &mut Vec<u8>, tensor: &Tensor) -> Result<(), Refusal> {
    let bytes = tensor.data.as_ref();
    let not_finite = || Refusal::NotFinite { name: tensor.name.clone() };
    match tensor.datatype {
        Datatype::Fp32 => {
            let numbers = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
            return list(body, numbers.map(|n| Some(n).filter(|n| n.is_finite()).ok_or_else(not_finite)));
        }
        Datatype::Fp64 => {
            let numbers = bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b));
            return list(body, numbers.map(|n| Some(n).filter(|n| n.is_finite()).ok_or_else(not_finite)));
        }
        Datatype::Fp16 | Datatype::Bf16 => {
            let (name, datatype) = (tensor.name.clone(), tensor.datatype);
            return Err(Refusal::BinaryOnly { port: PortKind::Output, name, datatype });
        }
        Datatype::Bytes => {
            let not_text = || Refusal::NotText { name: tensor.name.clone() };
            let texts = Texts(bytes).map(|text| std::str::from_utf8(text.unwrap_or_default()).map_err(|_| not_text()));
            return list(body, texts);
        }
        _ => {}
    }
    fn each<const N: usize, T: Serialize>(body: &mut Vec<u8>, bytes: &[u8], number: impl Fn([u8; N]) -> T) {
        let numbers = bytes.as_chunks::<N>().0.iter().map(|bytes| Ok(number(*bytes)));
        // None of them is refused.
        let _ = list(body, numbers);
    }
    match tensor.datatype {
        Datatype::Bool => each(body, bytes, |[byte]| byte != 0),
        Datatype::Int8 => each(body, bytes, i8::from_le_bytes),
        Datatype::Int16 => each(body, bytes, i16::from_le_bytes),
        Datatype::Int32 => each(body, bytes, i32::from_le_bytes),
        Datatype::Int64 => each(body, bytes, i64::from_le_bytes),
        Datatype::Uint16 => each(body, bytes, u16::from_le_bytes),
        Datatype::Uint32 => each(body, bytes, u32::from_le_bytes),
        Datatype::Uint64 => each(body, bytes, u64::from_le_bytes),
        _ => each(body, bytes, u8::from_le_bytes),
    }
    Ok(())
}

fn list<T: Serialize>(body: &mut Vec<u8>, elements: impl Iterator<Item = Result<T, Refusal>>) -> Result<(), Refusal> {
    body.push(b'[');
    for (at, element) in elements.enumerate() {
        if at > 0 {
            body.push(b',');
        }
        put(body, &element?);
    }
    body.push(b']');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::joined;

    fn tensor(name: &str, datatype: Datatype, shape: &[usize], data: &[u8]) -> Tensor {
        Tensor { name: name.into(), datatype, shape: shape.to_vec(), data: data.to_vec().into() }
    }

    fn answer(outputs: Vec<Tensor>) -> Answer {
        let binary = vec![None; outputs.len()];
        Answer { id: "a \"b\"".into(), model: "m".into(), version: 3, outputs, binary }
    }

    #[test]
    fn numbers_come_back_from_json_as_they_were() {
        let values = [0.1_f32, -1.0e-38, 16_777_217.0, f32::MAX];
        let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let texts: [&[u8]; 2] = ["\u{e9}\"".as_bytes(), b""];
        let outputs = vec![
            tensor("y", Datatype::Fp32, &[2, 2], &data),
            tensor("t", Datatype::Bytes, &[2], &joined(texts.into_iter())),
            tensor("f", Datatype::Bool, &[2], &[1, 0]),
            tensor("i", Datatype::Int64, &[1], &(-5_i64).to_le_bytes()),
        ];
        let written = write(&answer(outputs), false).expect("all have a form");
        assert_eq!(written.json, None);
        let json: serde_json::Value = serde_json::from_slice(&written.body).expect("JSON");
        assert_eq!((&json["id"], &json["model_version"]), (&"a \"b\"".into(), &"3".into()));
        let back: Vec<f32> = serde_json::from_value(json["outputs"][0]["data"].clone()).expect("numbers");
        assert_eq!(back, values);
        assert_eq!(json["outputs"][0]["shape"], serde_json::json!([2, 2]));
        assert_eq!(json["outputs"][1]["data"], serde_json::json!(["\u{e9}\"", ""]));
        assert_eq!(json["outputs"][2]["data"], serde_json::json!([true, false]));
        assert_eq!(json["outputs"][3]["data"], serde_json::json!([-5]));
    }

    #[test]
    fn binary_tensors_lie_behind_the_json_in_order() {
        let mut answer = answer(vec![
            tensor("a", Datatype::Fp16, &[1], b"xy"),
            tensor("b", Datatype::Uint8, &[1], b"z"),
            tensor("c", Datatype::Uint8, &[1], b"w"),
        ]);
        answer.binary[1] = Some(false);
        let written = write(&answer, true).expect("binary");
        let json = written.json.expect("binary");
        assert_eq!(&written.body[json..], b"xyw");
        let json: serde_json::Value = serde_json::from_slice(&written.body[..json]).expect("JSON");
        assert_eq!(json["outputs"][0]["parameters"]["binary_data_size"], 2);
        assert_eq!(json["outputs"][1]["data"], serde_json::json!([122]));
    }

    #[test]
    fn what_json_has_no_form_for_is_refused() {
        let nan = tensor("y", Datatype::Fp32, &[1], &f32::NAN.to_le_bytes());
        assert!(matches!(write(&answer(vec![nan]), false), Err(Refusal::NotFinite { .. })));
        let half = tensor("y", Datatype::Bf16, &[1], &[0, 0]);
        assert!(matches!(write(&answer(vec![half]), false), Err(Refusal::BinaryOnly { .. })));
        let bytes = tensor("y", Datatype::Bytes, &[1], &joined([&b"\xff"[..]].into_iter()));
        assert!(matches!(write(&answer(vec![bytes]), false), Err(Refusal::NotText { .. })));
    }
}
