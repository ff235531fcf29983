//! Everything but inference: health, metadata, configuration, statistics, and the repository.

use super::{body, json};
use crate::scores::SIGN;
use crate::serve::model::Version;
use crate::serve::refusal::Refusal;
use crate::serve::{Shared, config, metadata, proto};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json as value};
use std::collections::HashMap;
use std::sync::Arc;

type Server = State<Arc<Shared>>;
type Named = Path<HashMap<String, String>>;

fn found(shared: &Shared, path: &HashMap<String, String>) -> Result<Arc<Version>, Refusal> {
    let part = |name: &str| path.get(name).map_or("", String::as_str);
    shared.registry.version(part("model"), part("version"))
}

pub(super) async fn server(State(shared): Server) -> Response {
    let extensions = metadata::extensions(shared.allow_load);
    let said = value!({"name": metadata::NAME, "version": metadata::VERSION, "extensions": extensions});
    json(StatusCode::OK, &said)
}

pub(super) async fn live() -> Response {
    json(StatusCode::OK, &value!({"live": true}))
}

pub(super) async fn all_ready(State(shared): Server) -> Response {
    let ready = shared.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &value!({"live": true, "ready": ready}))
}

pub(super) async fn ready(State(shared): Server, Path(path): Named) -> Result<Response, Refusal> {
    let version = found(&shared, &path)?;
    if shared.is_ending() {
        return Err(Refusal::ShuttingDown);
    }
    Ok(json(StatusCode::OK, &value!({"name": version.name, "ready": true})))
}

pub(super) async fn metadata(State(shared): Server, Path(path): Named) -> Result<Response, Refusal> {
    let version = found(&shared, &path)?;
    let said = metadata::of_model(&version, &shared.registry.versions_of(&version.name));
    let tensors = |tensors: &[proto::model_metadata_response::TensorMetadata]| -> Value {
        tensors.iter().map(|t| value!({"name": t.name, "datatype": t.datatype, "shape": t.shape})).collect()
    };
    let mut all = value!({
        "name": said.name,
        "versions": said.versions,
        "platform": said.platform,
        "inputs": tensors(&said.inputs),
        "outputs": tensors(&said.outputs),
    });
    if let Some(influence) = &version.influence {
        let mut parameters = serde_json::Map::new();
        parameters.insert("sign".to_owned(), SIGN.into());
        for key in ["form", "scope", "lambda", "agreement", "model sha256", "s sha256"] {
            let property = influence.get(key).map(|text| (format!("isal.influence.{key}"), text.into()));
            parameters.extend(property);
        }
        all["parameters"] = parameters.into();
    }
    Ok(json(StatusCode::OK, &all))
}

pub(super) async fn config(State(shared): Server, Path(path): Named) -> Result<Response, Refusal> {
    let version = found(&shared, &path)?;
    Ok(json(StatusCode::OK, &config::json(&version.signature.config)))
}

pub(super) async fn stats(State(shared): Server, Path(path): Named) -> Result<Response, Refusal> {
    let version = found(&shared, &path)?;
    let versions = match path.contains_key("version") {
        true => vec![version],
        false => shared.registry.all().into_iter().filter(|other| other.name == version.name).collect(),
    };
    Ok(statistics(&versions))
}

pub(super) async fn all_stats(State(shared): Server) -> Response {
    statistics(&shared.registry.all())
}

fn statistics(versions: &[Arc<Version>]) -> Response {
    let spent = |spent: &Option<proto::StatisticDuration>| {
        let spent = spent.unwrap_or_default();
        value!({"count": spent.count, "ns": spent.ns})
    };
    let one = |version: &Arc<Version>| {
        let said = metadata::statistics(version);
        let stats = said.inference_stats.unwrap_or_default();
        let batches: Value = said
            .batch_stats
            .iter()
            .map(|batch| {
                value!({
                    "batch_size": batch.batch_size,
                    "compute_input": spent(&batch.compute_input),
                    "compute_infer": spent(&batch.compute_infer),
                    "compute_output": spent(&batch.compute_output),
                })
            })
            .collect();
        value!({
            "name": said.name,
            "version": said.version,
            "last_inference": said.last_inference,
            "inference_count": said.inference_count,
            "execution_count": said.execution_count,
            "inference_stats": {
                "success": spent(&stats.success),
                "fail": spent(&stats.fail),
                "queue": spent(&stats.queue),
                "compute_input": spent(&stats.compute_input),
                "compute_infer": spent(&stats.compute_infer),
                "compute_output": spent(&stats.compute_output),
                "cache_hit": spent(&stats.cache_hit),
                "cache_miss": spent(&stats.cache_miss),
            },
            "batch_stats": batches,
        })
    };
    json(StatusCode::OK, &value!({"model_stats": versions.iter().map(one).collect::<Value>()}))
}

pub(super) async fn index(State(shared): Server, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let (body, _held) = body::read(&shared, &headers, body).await?;
    super::json::check_depth(&body, shared.limits.json_depth)?;
    #[derive(Default, serde::Deserialize)]
    struct Said {
        #[serde(default)]
        ready: bool,
    }
    let said: Said = match body.iter().all(u8::is_ascii_whitespace) {
        true => Said::default(),
        false => serde_json::from_slice(&body).map_err(|e| Refusal::Json { reason: e.to_string() })?,
    };
    let listed = shared.registry.index().into_iter().filter(|listed| listed.ready || !said.ready);
    let all: Value = listed
        .map(|listed| {
            let state = if listed.ready { "READY" } else { "UNAVAILABLE" };
            value!({"name": listed.name, "version": listed.version, "state": state, "reason": listed.reason})
        })
        .collect();
    Ok(json(StatusCode::OK, &all))
}

pub(super) async fn load(
    State(shared): Server,
    Path(path): Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let model = named(&shared, &path, &headers, body).await?;
    shared.load(model).await?;
    Ok(json(StatusCode::OK, &value!({})))
}

pub(super) async fn unload(
    State(shared): Server,
    Path(path): Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let model = named(&shared, &path, &headers, body).await?;
    shared.unload(model).await?;
    Ok(json(StatusCode::OK, &value!({})))
}

/// The model of a request to load or to unload. What else it says (a configuration, files) is not taken.
async fn named(
    shared: &Shared,
    path: &HashMap<String, String>,
    headers: &HeaderMap,
    body: Body,
) -> Result<String, Refusal> {
    shared.check_load()?;
    let (body, _held) = body::read(shared, headers, body).await?;
    super::json::check_depth(&body, shared.limits.json_depth)?;
    if !body.iter().all(u8::is_ascii_whitespace) {
        let said: serde_json::Map<String, Value> =
            serde_json::from_slice(&body).map_err(|e| Refusal::Json { reason: e.to_string() })?;
        let parameters = said.get("parameters").and_then(Value::as_object);
        let taken = |name: &String| name == "unload_dependents";
        if let Some(name) = parameters.and_then(|parameters| parameters.keys().find(|name| !taken(name))) {
            let reason = "models are loaded as they lie in the repository".to_owned();
            return Err(Refusal::Parameter { name: name.chars().take(64).collect(), reason });
        }
    }
    Ok(path.get("model").cloned().unwrap_or_default())
}
