//! Spans of requests, to a collector.

use super::place::{Place, affine, ask, request};
use super::program::{address, started};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tonic::{Request, Response, Status};

/// Keeps what it is sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().expect("no panic").push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn attributes(span: &Span) -> HashMap<&str, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let one =
        |pair: &opentelemetry_proto::tonic::common::v1::KeyValue| Some(text(pair.value.as_ref()?.value.as_ref()?));
    span.attributes.iter().filter_map(|pair| Some((pair.key.as_str(), one(pair)?))).collect()
}

#[cfg(unix)]
#[test]
fn every_request_is_a_span_of_the_clients_trace() {
    use rustix::process::{Pid, Signal, kill_process};
    let collector = Collector::default();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let routes = tonic::service::Routes::new(TraceServiceServer::new(collector.clone())).prepare().into_axum_router();
    runtime.spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { return };
            let service = hyper_util::service::TowerToHyperService::new(routes.clone());
            let io = hyper_util::rt::TokioIo::new(stream);
            let builder = hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
            tokio::spawn(async move { drop(builder.http2_only().serve_connection(io, service).await) });
        }
    });

    let place = Place::new();
    place.put("affine", 1, &affine(2.0));
    let (mut started, said) = started(&place, &["--otlp-endpoint", &endpoint]);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let headers = [("traceparent", &*format!("00-{trace}-00f067aa0ba902b7-01")), ("x-request-id", "find-me")];
    let path = "/v2/models/affine/infer";
    assert_eq!(request(address(&said), "POST", path, &headers, ask("[1,2,3]").as_bytes()).status, 200);
    assert_eq!(request(address(&said), "GET", "/v2/models/other", &[], b"").status, 404);
    // What is not sent yet is sent before it ends.
    kill_process(Pid::from_raw(started.0.id() as i32).expect("a process"), Signal::TERM).expect("asked");
    assert_eq!(started.0.wait().expect("ended").code(), Some(0));

    let received = collector.0.lock().expect("no panic").clone();
    let service = received[0].resource_spans[0].resource.as_ref().expect("a resource");
    assert!(service.attributes.iter().any(|pair| pair.key == "service.name" && format!("{pair:?}").contains("isal")));
    let spans: Vec<Span> = received
        .into_iter()
        .flat_map(|request| request.resource_spans)
        .flat_map(|resource| resource.scope_spans)
        .flat_map(|scope| scope.spans)
        .collect();
    let named =
        |name: &str| spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no `{name}`: {spans:?}"));
    let infer = named("POST /v2/models/{model}/infer");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!((hex(&infer.trace_id).as_str(), hex(&infer.parent_span_id).as_str()), (trace, "00f067aa0ba902b7"));
    let found = attributes(infer);
    assert_eq!((found["request"].as_str(), found["model"].as_str()), ("find-me", "affine"));
    assert_eq!(found["http.response.status_code"], "200");
    assert!(infer.end_time_unix_nano > infer.start_time_unix_nano);
    assert_eq!(attributes(named("GET /v2/models/{model}"))["http.response.status_code"], "404");
}
