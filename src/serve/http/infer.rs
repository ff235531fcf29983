//! POST `.../infer`.

use super::body::{self, heavy};
use super::{answer, packed, request};
use crate::serve::refusal::Refusal;
use crate::serve::tensor::Request;
use crate::serve::{Shared, infer};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use std::collections::HashMap;
use std::sync::Arc;

/// How long the JSON of a body with binary tensors is.
const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

pub(super) async fn infer(
    State(shared): State<Arc<Shared>>,
    Path(path): Path<HashMap<String, String>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let part = |name: &str| path.get(name).cloned().unwrap_or_default();
    let (model, version) = (part("model"), part("version"));
    // What nobody answers need not be read.
    let found = shared.registry.version(&model, &version)?;
    let json = json_length(&headers)?;
    let (body, _held) = body::read(&shared, &headers, body).await.inspect_err(|_| {
        found.stats.fail.add(std::time::Duration::ZERO);
    })?;
    let read = match json {
        Some(0) => {
            let inputs = vec![infer::raw(&found, body)?];
            request::Read { request: Request { inputs, ..Request::default() }, binary: true }
        }
        json => {
            let length = json.unwrap_or(body.len());
            let read = heavy(length, || request::read(&body, length, &shared.limits));
            read.inspect_err(|_| found.stats.fail.add(std::time::Duration::ZERO))?
        }
    };
    let answer = infer::infer(&shared, Request { model, version, ..read.request }).await?;
    let size = answer.outputs.iter().map(|output| output.data.len()).sum();
    let written = heavy(size, || answer::write(&answer, read.binary))?;
    let content_type = if written.json.is_some() { "application/octet-stream" } else { "application/json" };
    let packing = body::wanted(&headers, written.body.len());
    let mut response = packed((StatusCode::OK, content_type, written.body), packing);
    if let Some(length) = written.json {
        response.headers_mut().insert(JSON_LENGTH, HeaderValue::from(length));
    }
    Ok(response)
}

fn json_length(headers: &HeaderMap) -> Result<Option<usize>, Refusal> {
    let Some(value) = headers.get(JSON_LENGTH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    text.parse().map(Some).map_err(|_| Refusal::Header {
        name: "Inference-Header-Content-Length",
        reason: format!("is `{}`, expected a number of bytes", text.chars().take(64).collect::<String>()),
    })
}
