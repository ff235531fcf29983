//! What Label Studio asks of an ML backend: `/health`, `/setup`, `/predict`, `/webhook`, `/versions`.

use super::{body, json};
use crate::serve::Shared;
use crate::serve::label_studio::{Interface, LabelStudio};
use crate::serve::refusal::Refusal;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json as value};
use std::sync::Arc;

type Server = State<Arc<Shared>>;

/// Adds the paths to those of the server.
pub(super) fn with_routes(router: Router<Arc<Shared>>) -> Router<Arc<Shared>> {
    router
        .route("/", get(health))
        .route("/health", get(health))
        .route("/setup", post(setup))
        .route("/predict", post(predict))
        .route("/webhook", post(webhook))
        .route("/versions", get(versions))
}

fn backend(shared: &Shared) -> Result<&LabelStudio, Refusal> {
    shared.label_studio.as_ref().ok_or(Refusal::ShuttingDown)
}

async fn health(State(shared): Server) -> Result<Response, Refusal> {
    backend(&shared)?.version(&shared)?;
    Ok(json(StatusCode::OK, &value!({"status": "UP", "model_class": "isal"})))
}

/// The whole body as JSON.
async fn read(shared: &Shared, headers: &HeaderMap, body: Body) -> Result<(Value, super::Held), Refusal> {
    let (body, held) = body::read(shared, headers, body).await?;
    super::json::check_depth(&body, shared.limits.json_depth)?;
    let read = body::heavy(body.len(), || serde_json::from_slice(&body));
    Ok((read.map_err(|e| Refusal::Json { reason: e.to_string() })?, held))
}

async fn setup(State(shared): Server, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    // What it says of the project (an address of Label Studio, a token for it) is not needed, and not kept.
    let (_, _held) = read(&shared, &headers, body).await?;
    let version = backend(&shared)?.version(&shared)?;
    Ok(json(StatusCode::OK, &value!({"model_version": version})))
}

async fn versions(State(shared): Server) -> Result<Response, Refusal> {
    let version = backend(&shared)?.version(&shared)?;
    Ok(json(StatusCode::OK, &value!({"versions": [version]})))
}

async fn predict(State(shared): Server, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let (said, _held) = read(&shared, &headers, body).await?;
    let Some(tasks) = said["tasks"].as_array() else {
        return Err(Refusal::Json { reason: "expected a list of `tasks`".to_owned() });
    };
    let interface = Interface::read(said["label_config"].as_str().unwrap_or_default());
    let results = backend(&shared)?.predict(&shared, tasks, &interface).await?;
    Ok(json(StatusCode::OK, &value!({"results": results})))
}

/// Annotations come back by `isal label import`; nothing is trained here.
async fn webhook(State(shared): Server, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let (said, _held) = read(&shared, &headers, body).await?;
    let action: String = said["action"].as_str().unwrap_or_default().chars().take(64).collect();
    tracing::debug!(action, "Label Studio says");
    Ok(json(StatusCode::CREATED, &value!({"status": "nothing is trained here"})))
}
