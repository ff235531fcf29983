//! Spans of requests, to an OpenTelemetry collector by OTLP over gRPC.
//!
//! A span a request, under the trace that the client names in `traceparent` (W3C Trace Context). Nothing is made where no collector is
//! named.

use axum::http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use std::time::Duration;
use tokio::runtime::Runtime;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt as _};
use tracing_subscriber::registry::LookupSpan;

/// The target of the spans of requests, by which they are told from what goes into the log.
pub const SPANS: &str = "isal::requests";

/// How long a collector may take to accept spans.
const EXPORT_TIME: Duration = Duration::from_secs(5);

/// Why no spans can be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// An address that is none.
    #[error("spans cannot be sent to `{endpoint}`: {source}")]
    Endpoint {
        /// The address.
        endpoint: String,
        /// Why.
        source: ExporterBuildError,
    },
    /// The system gives no threads.
    #[error("cannot start threads: {0}")]
    Threads(std::io::Error),
}

/// What sends spans.
#[derive(Debug)]
pub struct Telemetry {
    provider: SdkTracerProvider,
    /// The exporter's connection lives on it.
    _runtime: Runtime,
}

impl Telemetry {
    /// Sends spans to the collector at `endpoint`, such as `http://localhost:4317`; a collector that is not there is no error.
    ///
    /// # Errors
    /// [`TelemetryError`].
    pub fn start(endpoint: &str) -> Result<Telemetry, TelemetryError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("isal-telemetry")
            .enable_all()
            .build()
            .map_err(TelemetryError::Threads)?;
        let entered = runtime.enter();
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_TIME).build();
        let exporter = exporter.map_err(|source| TelemetryError::Endpoint { endpoint: endpoint.to_owned(), source })?;
        let resource = Resource::builder().with_service_name("isal").build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        drop(entered);
        Ok(Telemetry { provider, _runtime: runtime })
    }

    /// The layer of a subscriber that takes spans.
    pub fn layer<S: tracing::Subscriber + for<'span> LookupSpan<'span>>(&self) -> OpenTelemetryLayer<S, SdkTracer> {
        tracing_opentelemetry::layer().with_tracer(self.provider.tracer("isal"))
    }

    /// Sends what is left.
    pub fn end(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(EXPORT_TIME) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

struct Headers<'h>(&'h HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(axum::http::HeaderName::as_str).collect()
    }
}

/// The span of a request, called `name`.
pub(super) fn span(headers: &HeaderMap, name: &str, id: &str) -> Span {
    let span = tracing::info_span!(
        target: SPANS,
        "request",
        otel.name = name,
        otel.kind = "server",
        otel.status_code = Empty,
        request = id,
        model = Empty,
        http.response.status_code = Empty
    );
    if !span.is_disabled() {
        let parent = TraceContextPropagator::new().extract(&Headers(headers));
        // Refused only where the span has begun already, and this one has not.
        let _ = span.set_parent(parent);
    }
    span
}

/// Says how a request ended.
pub(super) fn ended(span: &Span, status: u16) {
    if !span.is_disabled() {
        span.record("http.response.status_code", status);
        if status >= 500 {
            span.record("otel.status_code", "ERROR");
        }
    }
}
