//! A request for inference out of an HTTP body: JSON alone, or JSON with binary tensors behind it.

use super::json;
use crate::serve::datatype::Datatype;
use crate::serve::limits::Limits;
use crate::serve::refusal::{PortKind, Refusal};
use crate::serve::tensor::{Request, Tensor, Wanted, check_data, check_names, checked_shape};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::time::Duration;

/// A request, and whether its answer is to be binary where an output does not say otherwise.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) request: Request,
    pub(super) binary: bool,
}

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Option<Map<String, Value>>,
    #[serde(borrow)]
    inputs: Vec<SaidInput<'a>>,
    #[serde(default)]
    outputs: Option<Vec<SaidOutput>>,
}

#[derive(Deserialize)]
struct SaidInput<'a> {
    name: String,
    shape: Vec<i64>,
    datatype: String,
    #[serde(default)]
    parameters: Option<Map<String, Value>>,
    #[serde(default, borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct SaidOutput {
    name: String,
    #[serde(default)]
    parameters: Option<Map<String, Value>>,
}

/// Reads a body whose JSON is `json` bytes long, the rest being binary tensors.
///
/// # Errors
/// [`Refusal`] with what is wrong.
pub(super) fn read(body: &Bytes, json: usize, limits: &Limits) -> Result<Read, Refusal> {
    let Some((text, _)) = body.split_at_checked(json) else {
        let reason = format!("says that {json} bytes are JSON, the body has {}", body.len());
        return Err(Refusal::Header { name: "Inference-Header-Content-Length", reason });
    };
    json::check_depth(text, limits.json_depth)?;
    let said: Said = serde_json::from_slice(text).map_err(|e| Refusal::Json { reason: e.to_string() })?;
    check_names(PortKind::Input, said.inputs.iter().map(|input| input.name.as_str()))?;
    let mut rest = body.slice(json..);
    let mut inputs = Vec::with_capacity(said.inputs.len());
    for input in said.inputs {
        inputs.push(tensor(input, &mut rest, limits)?);
    }
    if !rest.is_empty() {
        let reason = format!("{} bytes lie behind the last tensor", rest.len());
        return Err(Refusal::Json { reason });
    }
    let outputs: Result<Vec<Wanted>, Refusal> = said.outputs.unwrap_or_default().into_iter().map(wanted).collect();
    let parameters = Parameters(said.parameters.unwrap_or_default());
    parameters.refuse(&["shared_memory_region"])?;
    if parameters.0.get("sequence_id").is_some_and(|id| *id != 0 && *id != "") {
        let reason = "sequences are not done by this server".to_owned();
        return Err(Refusal::Parameter { name: "sequence_id".to_owned(), reason });
    }
    let request = Request {
        id: said.id.unwrap_or_default(),
        inputs,
        outputs: outputs?,
        timeout: parameters.number("timeout")?.filter(|us| *us > 0).map(Duration::from_micros),
        ..Request::default()
    };
    Ok(Read { request, binary: parameters.flag("binary_data_output")?.unwrap_or(false) })
}

fn tensor(said: SaidInput<'_>, rest: &mut Bytes, limits: &Limits) -> Result<Tensor, Refusal> {
    let SaidInput { name, shape, datatype, parameters, data } = said;
    let datatype = Datatype::named(&datatype)
        .ok_or_else(|| Refusal::UnknownDatatype { name: name.clone(), datatype: datatype.clone() })?;
    let (shape, elements) = checked_shape(&name, &shape, limits.elements)?;
    let parameters = Parameters(parameters.unwrap_or_default());
    parameters.refuse(&["shared_memory_region"])?;
    let data = match (parameters.number("binary_data_size")?, data) {
        (Some(_), Some(_)) => {
            let reason = "has both `data` and `binary_data_size`".to_owned();
            return Err(Refusal::Data { name, reason });
        }
        (None, None) => {
            let reason = "has neither `data` nor `binary_data_size`".to_owned();
            return Err(Refusal::Data { name, reason });
        }
        (Some(size), None) => {
            let left = rest.len();
            let size = usize::try_from(size).ok().filter(|size| *size <= left).ok_or_else(|| {
                let reason = format!("`binary_data_size` is {size}, {left} bytes are left behind the JSON");
                Refusal::Data { name: name.clone(), reason }
            })?;
            let data = rest.split_to(size);
            check_data(&name, datatype, elements, &data)?;
            data
        }
        (None, Some(text)) => json::elements(&name, datatype, text.get(), elements)?,
    };
    Ok(Tensor { name, datatype, shape, data })
}

fn wanted(said: SaidOutput) -> Result<Wanted, Refusal> {
    let parameters = Parameters(said.parameters.unwrap_or_default());
    parameters.refuse(&["shared_memory_region"])?;
    let classes = parameters.number("classification")?.unwrap_or(0);
    Ok(Wanted {
        name: said.name,
        classes: usize::try_from(classes).unwrap_or(usize::MAX),
        binary: parameters.flag("binary_data")?,
    })
}

struct Parameters(Map<String, Value>);

impl Parameters {
    fn wrong(name: &str, value: &Value, expected: &str) -> Refusal {
        let found: String = value.to_string().chars().take(64).collect();
        Refusal::Parameter { name: name.to_owned(), reason: format!("found {found}, expected {expected}") }
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        value.as_u64().map(Some).ok_or_else(|| Self::wrong(name, value, "a whole number of 0 or more"))
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| Self::wrong(name, value, "true or false"))
    }

    fn refuse(&self, names: &[&str]) -> Result<(), Refusal> {
        match names.iter().find(|name| self.0.contains_key(**name)) {
            None => Ok(()),
            Some(name) => {
                let reason = "is not done by this server".to_owned();
                Err(Refusal::Parameter { name: (*name).to_owned(), reason })
            }
        }
    }
}
