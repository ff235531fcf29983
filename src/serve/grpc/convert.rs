//! Requests and answers between their form in protobuf and the server's own.

use crate::runtime::joined;
use crate::serve::datatype::Datatype;
use crate::serve::limits::Limits;
use crate::serve::proto::infer_parameter::ParameterChoice;
use crate::serve::proto::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use crate::serve::proto::model_infer_response::InferOutputTensor;
use crate::serve::proto::{InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse};
use crate::serve::refusal::{PortKind, Refusal};
use crate::serve::tensor::{Answer, Request, Tensor, Wanted, check_data, checked_shape};
use bytes::Bytes;
use std::collections::HashMap;
use std::time::Duration;

type Parameters = HashMap<String, InferParameter>;

/// A request out of its message.
///
/// # Errors
/// [`Refusal`] with what is wrong.
pub(super) fn request(message: ModelInferRequest, limits: &Limits) -> Result<Request, Refusal> {
    let ModelInferRequest { model_name, model_version, id, parameters, inputs, outputs, raw_input_contents } = message;
    let raw = !raw_input_contents.is_empty();
    if raw && raw_input_contents.len() != inputs.len() {
        let reason = format!(
            "has {} entries for {} inputs; raw and typed contents do not mix",
            raw_input_contents.len(),
            inputs.len()
        );
        return Err(Refusal::Parameter { name: "raw_input_contents".to_owned(), reason });
    }
    let mut contents = raw_input_contents.into_iter();
    let mut tensors = Vec::with_capacity(inputs.len());
    for input in inputs {
        tensors.push(tensor(input, contents.next(), limits)?);
    }
    refuse(&parameters)?;
    if number(&parameters, "sequence_id")?.is_some_and(|id| id != 0) {
        let reason = "sequences are not done by this server".to_owned();
        return Err(Refusal::Parameter { name: "sequence_id".to_owned(), reason });
    }
    let outputs = outputs.into_iter().map(wanted).collect::<Result<_, _>>()?;
    Ok(Request {
        id,
        model: model_name,
        version: model_version,
        inputs: tensors,
        outputs,
        timeout: number(&parameters, "timeout")?.filter(|us| *us > 0).map(Duration::from_micros),
        not_kept: false,
    })
}

fn tensor(input: InferInputTensor, raw: Option<Bytes>, limits: &Limits) -> Result<Tensor, Refusal> {
    let InferInputTensor { name, datatype, shape, parameters, contents } = input;
    refuse(&parameters)?;
    let known = Datatype::named(&datatype);
    let datatype = known.ok_or_else(|| Refusal::UnknownDatatype { name: name.clone(), datatype })?;
    let (shape, elements) = checked_shape(&name, &shape, limits.elements)?;
    let data = match (raw, contents) {
        (Some(_), Some(contents)) if contents != InferTensorContents::default() => {
            let reason = "has raw and typed contents".to_owned();
            return Err(Refusal::Data { name, reason });
        }
        (Some(raw), _) => {
            check_data(&name, datatype, elements, &raw)?;
            raw
        }
        (None, contents) => typed(&name, datatype, elements, contents.unwrap_or_default())?,
    };
    Ok(Tensor { name, datatype, shape, data })
}

/// Typed contents in the protocol's binary form.
fn typed(name: &str, datatype: Datatype, expected: usize, contents: InferTensorContents) -> Result<Bytes, Refusal> {
    fn plain<T: bytemuck::NoUninit>(elements: &[T]) -> Option<(usize, Bytes)> {
        Some((elements.len(), Bytes::copy_from_slice(bytemuck::cast_slice(elements))))
    }
    fn narrow<W: Copy, T: TryFrom<W> + bytemuck::NoUninit>(elements: &[W]) -> Option<(usize, Bytes)> {
        let narrowed = elements.iter().map(|element| T::try_from(*element).ok()).collect::<Option<Vec<T>>>()?;
        plain(&narrowed)
    }
    let c = contents;
    let taken = match datatype {
        Datatype::Bool => plain(&c.bool_contents),
        Datatype::Int8 => narrow::<_, i8>(&c.int_contents),
        Datatype::Int16 => narrow::<_, i16>(&c.int_contents),
        Datatype::Int32 => plain(&c.int_contents),
        Datatype::Int64 => plain(&c.int64_contents),
        Datatype::Uint8 => narrow::<_, u8>(&c.uint_contents),
        Datatype::Uint16 => narrow::<_, u16>(&c.uint_contents),
        Datatype::Uint32 => plain(&c.uint_contents),
        Datatype::Uint64 => plain(&c.uint64_contents),
        Datatype::Fp32 => plain(&c.fp32_contents),
        Datatype::Fp64 => plain(&c.fp64_contents),
        Datatype::Bytes => Some((c.bytes_contents.len(), joined(c.bytes_contents.iter().map(Bytes::as_ref)))),
        Datatype::Fp16 | Datatype::Bf16 => {
            return Err(Refusal::BinaryOnly { port: PortKind::Input, name: name.to_owned(), datatype });
        }
    };
    let out_of_range =
        || Refusal::Data { name: name.to_owned(), reason: format!("holds numbers that {datatype} does not") };
    let (found, data) = taken.ok_or_else(out_of_range)?;
    if found != expected {
        return Err(Refusal::Size { name: name.to_owned(), found, expected, unit: "elements" });
    }
    Ok(data)
}

fn wanted(output: InferRequestedOutputTensor) -> Result<Wanted, Refusal> {
    refuse(&output.parameters)?;
    let classes = number(&output.parameters, "classification")?.unwrap_or(0);
    let classes = usize::try_from(classes).unwrap_or(usize::MAX);
    Ok(Wanted { name: output.name, classes, binary: None })
}

fn number(parameters: &Parameters, name: &str) -> Result<Option<u64>, Refusal> {
    let Some(parameter) = parameters.get(name) else { return Ok(None) };
    let number = match &parameter.parameter_choice {
        Some(ParameterChoice::Int64Param(number)) => u64::try_from(*number).ok(),
        Some(ParameterChoice::Uint64Param(number)) => Some(*number),
        Some(ParameterChoice::StringParam(text)) if text.is_empty() => Some(0),
        _ => None,
    };
    let reason = || "expected a whole number of 0 or more".to_owned();
    number.map(Some).ok_or_else(|| Refusal::Parameter { name: name.to_owned(), reason: reason() })
}

fn refuse(parameters: &Parameters) -> Result<(), Refusal> {
    match parameters.contains_key("shared_memory_region") {
        false => Ok(()),
        true => {
            let reason = "is not done by this server".to_owned();
            Err(Refusal::Parameter { name: "shared_memory_region".to_owned(), reason })
        }
    }
}

/// An answer as its message, with raw contents.
pub(super) fn answer(answer: Answer) -> ModelInferResponse {
    let mut raw_output_contents = Vec::with_capacity(answer.outputs.len());
    let mut outputs = Vec::with_capacity(answer.outputs.len());
    for tensor in answer.outputs {
        outputs.push(InferOutputTensor {
            name: tensor.name,
            datatype: tensor.datatype.name().to_owned(),
            shape: tensor.shape.iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect(),
            ..InferOutputTensor::default()
        });
        raw_output_contents.push(tensor.data);
    }
    ModelInferResponse {
        model_name: answer.model,
        model_version: answer.version.to_string(),
        id: answer.id,
        outputs,
        raw_output_contents,
        ..ModelInferResponse::default()
    }
}
