//! The protocol over HTTP/REST.

mod answer;
mod body;
mod infer;
mod json;
mod label_studio;
mod models;
mod openapi;
mod request;

pub(crate) use json::elements as json_elements;

use super::Shared;
use super::held::Held;
use super::metrics;
use super::refusal::Refusal;
use super::telemetry;
use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::FutureExt as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;
use tracing::Instrument as _;

/// The header by which a request is found again in the log. A client's own is taken where it is short and plain.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = json(status, &serde_json::json!({"error": self.to_string()}));
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// An answer in JSON.
fn json(status: StatusCode, value: &serde_json::Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// Everything that answers over HTTP.
pub(super) fn routes(shared: Arc<Shared>) -> Router {
    let of_model = |router: Router<Arc<Shared>>, path: &str| {
        router
            .route(path, get(models::metadata))
            .route(&format!("{path}/ready"), get(models::ready))
            .route(&format!("{path}/config"), get(models::config))
            .route(&format!("{path}/stats"), get(models::stats))
            .route(&format!("{path}/infer"), post(infer::infer))
    };
    let router = Router::new()
        .route("/v2", get(models::server))
        .route("/v2/", get(models::server))
        .route("/v2/health/live", get(models::live))
        .route("/v2/health/ready", get(models::all_ready))
        .route("/v2/models/stats", get(models::all_stats))
        .route("/v2/repository/index", post(models::index))
        .route("/v2/repository/models/{model}/load", post(models::load))
        .route("/v2/repository/models/{model}/unload", post(models::unload))
        .route("/metrics", get(all_metrics))
        .route("/openapi.json", get(openapi::openapi));
    let router = of_model(router, "/v2/models/{model}");
    let router = of_model(router, "/v2/models/{model}/versions/{version}");
    let router = match shared.label_studio {
        Some(_) => label_studio::with_routes(router),
        None => router,
    };
    router
        .fallback(no_path)
        .method_not_allowed_fallback(no_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), guarded))
        .with_state(shared)
}

async fn no_path(request: Request) -> Refusal {
    Refusal::NoPath { path: request.uri().path().chars().take(256).collect() }
}

async fn no_method(request: Request) -> Response {
    let error = format!("{} is not answered at `{}`", request.method(), request.uri().path());
    json(StatusCode::METHOD_NOT_ALLOWED, &serde_json::json!({"error": error}))
}

async fn all_metrics(State(shared): State<Arc<Shared>>) -> Result<Response, Refusal> {
    let text = metrics::text(&shared).map_err(|e| Refusal::Failed { reason: e.to_string() })?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

/// What stands around every request: the token, a request id, a line in the log, and a stop for panics.
async fn guarded(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = shared.request_id(request.headers().get(&REQUEST_ID).and_then(|value| value.to_str().ok()));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // Whoever watches whether the server lives has no token.
    let is_open = path.starts_with("/v2/health/");
    let token = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let admitted = is_open || shared.admits(token);
    let matched = request.extensions().get::<MatchedPath>().map_or("no path", MatchedPath::as_str);
    let span = telemetry::span(request.headers(), &format!("{method} {matched}"), &id);
    let mut response = if admitted {
        let answered = AssertUnwindSafe(next.run(request).instrument(span.clone())).catch_unwind().await;
        answered.unwrap_or_else(|_| Refusal::Failed { reason: "the server failed on it".to_owned() }.into_response())
    } else {
        Refusal::Unauthorised.into_response()
    };
    let (status, took) = (response.status().as_u16(), began.elapsed());
    let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    telemetry::ended(&span, status);
    if status >= 500 {
        tracing::warn!(request = %id, %method, path, status, microseconds, "http");
    } else {
        tracing::debug!(request = %id, %method, path, status, microseconds, "http");
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// An answer whose body is packed as the client asked.
fn packed(response: (StatusCode, &'static str, Vec<u8>), packing: Option<body::Packing>) -> Response {
    let (status, content_type, bytes) = response;
    let body = packing.and_then(|packing| Some((body::heavy(bytes.len(), || body::pack(&bytes, packing))?, packing)));
    match body {
        Some((body, packing)) => {
            let headers = [(CONTENT_TYPE, content_type), (axum::http::header::CONTENT_ENCODING, packing.name())];
            (status, headers, Body::from(body)).into_response()
        }
        None => (status, [(CONTENT_TYPE, content_type)], Body::from(bytes)).into_response(),
    }
}
