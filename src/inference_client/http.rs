//! HTTP/1.1: JSON, and binary tensors behind it where the server has that extension.

use super::connect::Connector;
use super::error::Failure;
use super::tensor::{Output, elements};
use super::wire::{About, Encoded, LARGEST, Metadata, Port};
use super::{Address, Input, ServedModel, Token};
use crate::error_chain::in_one_line;
use crate::serve::{Datatype, json_elements};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::time::Duration;

/// Where the JSON ends.
const JSON_LENGTH: &str = "inference-header-content-length";
/// Of an answer that is no JSON, so many letters are shown.
const SHOWN: usize = 200;

/// Connections to a server, kept open from one request to the next.
#[derive(Debug)]
pub(super) struct Http {
    client: Client<Connector, Full<Bytes>>,
    base: String,
    authorization: Option<HeaderValue>,
}

/// An answer that came whole.
struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Http {
    pub(super) fn new(address: &Address, connector: Connector, token: Option<&Token>) -> Http {
        let authorization = token.and_then(|token| HeaderValue::from_str(&token.header()).ok()).map(|mut value| {
            value.set_sensitive(true);
            value
        });
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Http { client, base: address.base(), authorization }
    }

    async fn send(&self, method: Method, path: &str, body: Bytes, json: Option<usize>) -> Result<Answered, Failure> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if !body.is_empty() {
            let kind = if json.is_some() { "application/octet-stream" } else { "application/json" };
            request = request.header(header::CONTENT_TYPE, kind);
        }
        if let Some(json) = json {
            request = request.header(JSON_LENGTH, json);
        }
        let request = request.body(Full::new(body)).map_err(|e| Failure::Answer(format!("no address: {e}")))?;
        let answer = self.client.request(request).await.map_err(|e| Failure::passing(in_one_line(&e)))?;
        let (head, body) = answer.into_parts();
        let body = match Limited::new(body, LARGEST).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                return Err(Failure::Answer(format!("an answer of more than {LARGEST} bytes")));
            }
            Err(error) => return Err(Failure::passing(in_one_line(error.as_ref()))),
        };
        Ok(Answered { status: head.status, headers: head.headers, body })
    }

    /// An answer that says yes.
    async fn ask(&self, method: Method, path: &str, body: Bytes, json: Option<usize>) -> Result<Answered, Failure> {
        let answered = self.send(method, path, body, json).await?;
        if answered.status.is_success() { Ok(answered) } else { Err(answered.failure()) }
    }

    async fn get(&self, path: &str) -> Result<Value, Failure> {
        let answered = self.ask(Method::GET, path, Bytes::new(), None).await?;
        answered.json()
    }

    pub(super) async fn about(&self) -> Result<About, Failure> {
        let said = self.get("/v2").await?;
        let text = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
        Ok(About { name: text("name"), version: text("version"), extensions: texts(&said["extensions"]) })
    }

    pub(super) async fn is_ready(&self, model: &ServedModel) -> Result<bool, Failure> {
        let answered = self.send(Method::GET, &format!("{}/ready", path(model)), Bytes::new(), None).await?;
        Ok(answered.status.is_success())
    }

    pub(super) async fn metadata(&self, model: &ServedModel) -> Result<Metadata, Failure> {
        let mut said = self.get(&path(model)).await?;
        let mut ports = |key: &str| -> Result<Vec<Port>, Failure> {
            // Some servers say `null` where they know nothing.
            let ports: Option<Vec<Port>> =
                serde_json::from_value(said[key].take()).map_err(|e| Failure::Answer(format!("`{key}`: {e}")))?;
            Ok(ports.unwrap_or_default())
        };
        let (inputs, outputs) = (ports("inputs")?, ports("outputs")?);
        let properties = said["parameters"].as_object().into_iter().flatten();
        let properties =
            properties.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
        Ok(Metadata { versions: texts(&said["versions"]), inputs, outputs, properties })
    }

    pub(super) async fn largest_batch(&self, model: &ServedModel) -> Result<Option<usize>, Failure> {
        let said = self.get(&format!("{}/config", path(model))).await?;
        Ok(said["max_batch_size"].as_u64().and_then(|rows| usize::try_from(rows).ok()))
    }

    pub(super) async fn models(&self) -> Result<Vec<String>, Failure> {
        let index = self.ask(Method::POST, "/v2/repository/index", Bytes::from_static(b"{}"), None).await;
        let said = match index {
            Ok(answered) => answered.json()?,
            // As KServe has it.
            Err(Failure::Refused { .. }) => return Ok(texts(&self.get("/v2/models").await?["models"])),
            Err(failure) => return Err(failure),
        };
        Ok(said.as_array().into_iter().flatten().filter_map(|model| Some(model["name"].as_str()?.to_owned())).collect())
    }

    pub(super) async fn infer(
        &self,
        model: &ServedModel,
        body: &Bytes,
        json: Option<usize>,
    ) -> Result<Vec<Output>, Failure> {
        let answered = self.ask(Method::POST, &format!("{}/infer", path(model)), body.clone(), json).await?;
        outputs(&answered.headers, &answered.body).map_err(Failure::Answer)
    }
}

impl Answered {
    fn json(&self) -> Result<Value, Failure> {
        serde_json::from_slice(&self.body)
            .map_err(|e| Failure::Answer(format!("no JSON: {e}: `{}`", shown(&self.body))))
    }

    /// What a status other than success means.
    fn failure(&self) -> Failure {
        let said: Option<Value> = serde_json::from_slice(&self.body).ok();
        let said = said.as_ref().and_then(|said| said["error"].as_str().or_else(|| said["detail"].as_str()));
        let said = said.map_or_else(|| shown(&self.body), str::to_owned);
        let later = matches!(
            self.status,
            StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        if later {
            let after =
                self.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
            let reason = format!("{}{}", self.status, if said.is_empty() { said } else { format!(": {said}") });
            return Failure::Passing { reason, after: after.map(Duration::from_secs) };
        }
        Failure::Refused { absent: self.status == StatusCode::NOT_FOUND, status: self.status.to_string(), said }
    }
}

fn path(model: &ServedModel) -> String {
    match &model.version {
        Some(version) => format!("/v2/models/{}/versions/{version}", model.name),
        None => format!("/v2/models/{}", model.name),
    }
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

/// The beginning of a body, as text in one line.
fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * SHOWN)]);
    text.chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(SHOWN)
        .collect::<String>()
        .trim()
        .to_owned()
}

/// A request for these outputs.
pub(super) fn encode(id: &str, input: &Input, outputs: &[String], binary: bool) -> Result<Encoded, String> {
    let Input { name, datatype, shape, data } = input;
    let outputs: Vec<Value> = outputs
        .iter()
        .map(|name| match binary {
            true => json!({"name": name, "parameters": {"binary_data": true}}),
            false => json!({"name": name}),
        })
        .collect();
    let mut given = json!({"name": name, "shape": shape, "datatype": datatype.name()});
    if binary {
        given["parameters"] = json!({"binary_data_size": data.len()});
        let head = json!({"id": id, "inputs": [given], "outputs": outputs}).to_string();
        let (json, mut body) = (head.len(), head.into_bytes());
        body.extend_from_slice(data);
        return Ok(Encoded::Http { body: body.into(), json: Some(json) });
    }
    let numbers = match datatype {
        // The shortest text that gives the same float32 again.
        Datatype::Fp32 => {
            let numbers: Vec<f32> = data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            serde_json::value::to_raw_value(&numbers)
        }
        Datatype::Fp64 => {
            let numbers: Vec<f64> = data.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
            serde_json::value::to_raw_value(&numbers)
        }
        Datatype::Uint8 => serde_json::value::to_raw_value(data.as_ref()),
        other => {
            return Err(format!(
                "its input is {other}, which has no form in JSON, and the server takes no binary tensors"
            ));
        }
    };
    let numbers = numbers.map_err(|e| e.to_string())?;
    let head = given.to_string();
    let outputs = Value::from(outputs).to_string();
    // Into the braces of the input.
    let body = format!(
        "{{\"id\":\"{id}\",\"inputs\":[{},\"data\":{}}}],\"outputs\":{outputs}}}",
        &head[..head.len() - 1],
        numbers.get()
    );
    Ok(Encoded::Http { body: body.into(), json: None })
}

/// The body of an answer.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    outputs: Vec<Written<'a>>,
}

#[derive(Deserialize)]
struct Written<'a> {
    name: String,
    datatype: String,
    shape: Vec<usize>,
    #[serde(default)]
    parameters: Option<Value>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

fn outputs(headers: &HeaderMap, body: &Bytes) -> Result<Vec<Output>, String> {
    let json = match headers.get(JSON_LENGTH) {
        None => body.len(),
        Some(value) => {
            let length = value.to_str().ok().and_then(|text| text.trim().parse().ok());
            length
                .filter(|length| *length <= body.len())
                .ok_or_else(|| format!("the header `{JSON_LENGTH}` is {value:?} for a body of {} bytes", body.len()))?
        }
    };
    let (head, mut behind) = (&body[..json], body.slice(json..));
    let read: Body = serde_json::from_slice(head).map_err(|e| format!("no answer in JSON: {e}: `{}`", shown(head)))?;
    let mut outputs = Vec::with_capacity(read.outputs.len());
    for Written { name, datatype, shape, parameters, data } in read.outputs {
        let datatype =
            Datatype::named(&datatype).ok_or_else(|| format!("output `{name}` is of the unknown type `{datatype}`"))?;
        let size = parameters.as_ref().and_then(|parameters| parameters["binary_data_size"].as_u64());
        let data = match (size, data) {
            (Some(size), _) => {
                let size = usize::try_from(size).ok().filter(|size| *size <= behind.len());
                let size = size.ok_or_else(|| format!("output `{name}` is longer than the answer"))?;
                behind.split_to(size)
            }
            (None, Some(data)) => {
                // More elements than letters there are none.
                let count = elements(&shape).filter(|count| *count <= data.get().len());
                let count = count.ok_or_else(|| format!("output `{name}` has too few elements for {shape:?}"))?;
                json_elements(&name, datatype, data.get(), count).map_err(|e| e.to_string())?
            }
            (None, None) => return Err(format!("output `{name}` has no data")),
        };
        outputs.push(Output { name, datatype, shape, data });
    }
    Ok(outputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(json: &str, behind: &[u8], length: Option<&str>) -> Result<Vec<Output>, String> {
        let mut headers = HeaderMap::new();
        if let Some(length) = length {
            headers.insert(JSON_LENGTH, HeaderValue::from_str(length).expect("a header"));
        }
        outputs(&headers, &[json.as_bytes(), behind].concat().into())
    }

    #[test]
    fn binary_and_json_outputs_are_read_from_one_answer() {
        let json = r#"{"outputs":[{"name":"a","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}},
            {"name":"b","datatype":"INT64","shape":[2],"data":[3,-4]}]}"#;
        let read = answer(json, &1.5_f32.to_le_bytes(), Some(&json.len().to_string())).expect("both");
        let floats: Vec<Vec<f32>> =
            read.iter().map(|o| o.floats().expect("numbers").iter().copied().collect()).collect();
        assert_eq!(floats, [vec![1.5], vec![3.0, -4.0]]);
    }

    #[test]
    fn answers_that_are_not_the_protocols_are_refused() {
        let output = |rest: &str| format!(r#"{{"outputs":[{{"name":"a",{rest}}}]}}"#);
        for (json, length) in [
            ("<html>busy</html>".to_owned(), None),
            ("{}".to_owned(), None),
            (output(r#""datatype":"FP32","shape":[1]"#), None),
            (output(r#""datatype":"FP33","shape":[1],"data":[1]"#), None),
            (output(r#""datatype":"FP32","shape":[2],"data":[1]"#), None),
            (output(r#""datatype":"FP32","shape":[-1],"data":[1]"#), None),
            (output(r#""datatype":"FP32","shape":[1],"data":["x"]"#), None),
            (output(r#""datatype":"FP32","shape":[18446744073709551615,2],"data":[1]"#), None),
            (output(r#""datatype":"FP32","shape":[1],"parameters":{"binary_data_size":8}"#), None),
            ("{}".to_owned(), Some("3")),
            ("{}".to_owned(), Some("-1")),
        ] {
            assert!(answer(&json, &[], length).is_err(), "{json}");
        }
    }

    #[test]
    fn numbers_in_json_are_those_of_the_batch() {
        let numbers = [0.1_f32, -1.0e-38, 16_777_217.0, f32::MAX];
        let data: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        let input =
            Input { name: "x\"y".into(), datatype: Datatype::Fp32, shape: vec![2, 2], data: data.clone().into() };
        let Ok(Encoded::Http { body, json: None }) = encode("7", &input, &["o".to_owned()], false) else {
            panic!("JSON")
        };
        let said: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!((&said["id"], &said["inputs"][0]["name"]), (&json!("7"), &json!("x\"y")));
        assert_eq!(said["outputs"][0]["name"], "o");
        let back: Vec<f32> = serde_json::from_value(said["inputs"][0]["data"].clone()).expect("numbers");
        assert_eq!(back, numbers);
        let Ok(Encoded::Http { body, json: Some(length) }) = encode("7", &input, &[], true) else { panic!("binary") };
        assert_eq!(&body[length..], data);
        let half = Input { datatype: Datatype::Fp16, ..input };
        assert!(encode("7", &half, &[], false).is_err(), "JSON has no half precision");
    }

    #[test]
    fn a_status_says_whether_to_come_back() {
        let answered = |status, after: Option<&str>, body: &'static str| {
            let mut headers = HeaderMap::new();
            headers.extend(after.map(|after| (header::RETRY_AFTER, HeaderValue::from_str(after).expect("a header"))));
            Answered { status, headers, body: body.into() }.failure()
        };
        let busy = answered(StatusCode::SERVICE_UNAVAILABLE, Some("7"), r#"{"error":"full"}"#);
        let Failure::Passing { reason, after } = busy else { panic!("{busy:?}") };
        assert!(reason.ends_with(": full") && after == Some(Duration::from_secs(7)), "{reason} {after:?}");
        let absent = answered(StatusCode::NOT_FOUND, None, r#"{"error":"unknown model"}"#);
        assert!(matches!(absent, Failure::Refused { absent: true, ref said, .. } if said == "unknown model"));
        let failed = answered(StatusCode::INTERNAL_SERVER_ERROR, None, "<b>no</b>\r\n");
        assert!(matches!(failed, Failure::Refused { absent: false, ref said, .. } if said == "<b>no</b>"));
    }
}
