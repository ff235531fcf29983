//! The protocol over gRPC.

mod convert;

use super::held::Held;
use super::proto::grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer};
use super::proto::{self as p, repository_index_response::ModelIndex};
use super::refusal::Refusal;
use super::{Shared, infer, metadata, telemetry};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request as HttpRequest, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response as HttpResponse};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tonic::codec::CompressionEncoding::{Deflate, Gzip};
use tonic::{Request, Response, Status, Streaming};
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};
use tracing::Instrument as _;

type Answer<T> = Result<Response<T>, Status>;

/// Requests of one stream that are answered beside each other; the answers keep the requests' order.
const AT_A_TIME: usize = 16;

/// Tells `grpc.health.v1` how the server is.
#[derive(Debug, Clone)]
pub(super) struct Health(HealthReporter);

impl Health {
    /// Says whether the server is ready.
    pub(super) async fn tell(&self, ready: bool) {
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in ["", "inference.GRPCInferenceService"] {
            self.0.set_service_status(service, status).await;
        }
    }
}

/// Everything that answers over gRPC.
pub(super) async fn routes(shared: Arc<Shared>) -> (Health, Router) {
    let (reporter, health_service) = health_reporter();
    let health = Health(reporter);
    health.tell(shared.is_ready()).await;
    let limit = shared.limits.body_bytes;
    let service = GrpcInferenceServiceServer::new(Service(Arc::clone(&shared)))
        .max_decoding_message_size(limit)
        .max_encoding_message_size(usize::MAX)
        .accept_compressed(Gzip)
        .accept_compressed(Deflate)
        .send_compressed(Gzip)
        .send_compressed(Deflate);
    let routes = tonic::service::Routes::new(service).add_service(health_service).prepare();
    (health, routes.into_axum_router().layer(middleware::from_fn_with_state(shared, guarded)))
}

/// What stands around every call: the token, bounds on the time and the memory of a message that comes in, and a line in the log.
async fn guarded(State(shared): State<Arc<Shared>>, request: HttpRequest, next: Next) -> HttpResponse {
    let began = Instant::now();
    let path = request.uri().path().to_owned();
    let is_open = path.starts_with("/grpc.health.v1.Health/")
        || path.ends_with("GRPCInferenceService/ServerLive")
        || path.ends_with("GRPCInferenceService/ServerReady");
    let id = shared.request_id(request.headers().get("x-request-id").and_then(|value| value.to_str().ok()));
    let token = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let refused = |refusal: Refusal| Status::from(refusal).into_http::<Body>().into_response();
    let limit = shared.limits.body_time + shared.limits.request_time;
    let is_stream = path.ends_with("/ModelStreamInfer") || path.ends_with("/Watch");
    let admitted = is_open || shared.admits(token);
    let span = telemetry::span(request.headers(), path.trim_start_matches('/'), &id);
    let response = if !admitted {
        refused(Refusal::Unauthorised)
    } else if is_stream {
        // As long as the client likes; each message is bounded.
        let incoming = Arc::new(Incoming::of(&shared));
        next.run(incoming.bounding(request, limit)).instrument(span.clone()).await
    } else {
        let answering = next.run(counted(request, &shared)).instrument(span.clone());
        let answered = tokio::time::timeout(limit, answering).await;
        answered.unwrap_or_else(|_| refused(Refusal::Late { limit }))
    };
    telemetry::ended(&span, response.status().as_u16());
    let microseconds = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    tracing::debug!(request = %id, path, microseconds, "grpc");
    response
}

/// What of a stream's messages has come in and is not decoded yet, counted among the bytes that are held.
#[derive(Debug)]
struct Incoming(Mutex<Held>);

impl Incoming {
    fn of(shared: &Shared) -> Incoming {
        Incoming(Mutex::new(shared.ledger.begin()))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The request with its body counted; a message that began to come has `limit` to be there.
    fn bounding(self: Arc<Incoming>, mut request: HttpRequest, limit: Duration) -> HttpRequest {
        request.extensions_mut().insert(Arc::clone(&self));
        request.map(|body| {
            let pieces = stream::unfold((self, body.into_data_stream()), move |(incoming, mut pieces)| async move {
                let began = incoming.held().bytes() > 0;
                let next = match began {
                    true => tokio::time::timeout(limit, pieces.next()).await,
                    false => Ok(pieces.next().await),
                };
                let piece = match next {
                    Ok(piece) => piece?,
                    Err(_) => Err(axum::Error::new(Refusal::SlowBody { limit })),
                };
                let counted = piece.and_then(|piece| {
                    incoming.held().take(piece.len()).map_err(axum::Error::new)?;
                    Ok(piece)
                });
                Some((counted, (incoming, pieces)))
            });
            Body::from_stream(pieces)
        })
    }

    /// A message is decoded, and counted by itself from now on.
    fn decoded(&self) {
        self.held().give_back();
    }
}

/// The request with what of its body has come in counted among the bytes that are held.
fn counted(request: HttpRequest, shared: &Shared) -> HttpRequest {
    let mut held = shared.ledger.begin();
    request.map(|body| {
        Body::from_stream(body.into_data_stream().map(move |piece| {
            let piece = piece?;
            held.take(piece.len()).map_err(axum::Error::new)?;
            Ok::<_, axum::Error>(piece)
        }))
    })
}

struct Service(Arc<Shared>);

impl Service {
    async fn infer(shared: &Shared, request: p::ModelInferRequest) -> Result<p::ModelInferResponse, Refusal> {
        let mut held = shared.ledger.begin();
        held.take(prost::Message::encoded_len(&request))?;
        let request = convert::request(request, &shared.limits)?;
        infer::infer(shared, request).await.map(convert::answer)
    }
}

#[tonic::async_trait]
impl GrpcInferenceService for Service {
    type ModelStreamInferStream = BoxStream<'static, Result<p::ModelStreamInferResponse, Status>>;

    async fn server_live(&self, _: Request<p::ServerLiveRequest>) -> Answer<p::ServerLiveResponse> {
        Ok(Response::new(p::ServerLiveResponse { live: true }))
    }

    async fn server_ready(&self, _: Request<p::ServerReadyRequest>) -> Answer<p::ServerReadyResponse> {
        Ok(Response::new(p::ServerReadyResponse { ready: self.0.is_ready() }))
    }

    async fn model_ready(&self, request: Request<p::ModelReadyRequest>) -> Answer<p::ModelReadyResponse> {
        let p::ModelReadyRequest { name, version } = request.into_inner();
        let ready = match self.0.registry.version(&name, &version) {
            Ok(_) => !self.0.is_ending(),
            Err(Refusal::NotReady { .. }) => false,
            Err(refusal) => return Err(refusal.into()),
        };
        Ok(Response::new(p::ModelReadyResponse { ready }))
    }

    async fn server_metadata(&self, _: Request<p::ServerMetadataRequest>) -> Answer<p::ServerMetadataResponse> {
        let extensions = metadata::extensions(self.0.allow_load).into_iter().map(str::to_owned).collect();
        let (name, version) = (metadata::NAME.to_owned(), metadata::VERSION.to_owned());
        Ok(Response::new(p::ServerMetadataResponse { name, version, extensions }))
    }

    async fn model_metadata(&self, request: Request<p::ModelMetadataRequest>) -> Answer<p::ModelMetadataResponse> {
        let p::ModelMetadataRequest { name, version } = request.into_inner();
        let version = self.0.registry.version(&name, &version)?;
        Ok(Response::new(metadata::of_model(&version, &self.0.registry.versions_of(&version.name))))
    }

    async fn model_infer(&self, request: Request<p::ModelInferRequest>) -> Answer<p::ModelInferResponse> {
        Ok(Response::new(Self::infer(&self.0, request.into_inner()).await?))
    }

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<p::ModelInferRequest>>,
    ) -> Answer<Self::ModelStreamInferStream> {
        let shared = Arc::clone(&self.0);
        let incoming = request.extensions().get::<Arc<Incoming>>().cloned();
        let answers = request.into_inner().map(move |request| {
            if let Some(incoming) = &incoming {
                incoming.decoded();
            }
            let shared = Arc::clone(&shared);
            async move {
                let request = request?;
                let (id, model_name) = (request.id.clone(), request.model_name.clone());
                let final_word = request.parameters.contains_key("triton_enable_empty_final_response");
                let answered = Self::infer(&shared, request).await;
                let (error_message, mut answer) = match answered {
                    Ok(answer) => (String::new(), answer),
                    Err(refusal) => {
                        let answer = p::ModelInferResponse { id, model_name, ..Default::default() };
                        (refusal.to_string(), answer)
                    }
                };
                if final_word {
                    let last = p::infer_parameter::ParameterChoice::BoolParam(true);
                    let last = p::InferParameter { parameter_choice: Some(last) };
                    answer.parameters.insert("triton_final_response".to_owned(), last);
                }
                Ok(p::ModelStreamInferResponse { error_message, infer_response: Some(answer) })
            }
        });
        Ok(Response::new(answers.buffered(AT_A_TIME).boxed()))
    }

    async fn model_config(&self, request: Request<p::ModelConfigRequest>) -> Answer<p::ModelConfigResponse> {
        let p::ModelConfigRequest { name, version } = request.into_inner();
        let version = self.0.registry.version(&name, &version)?;
        Ok(Response::new(p::ModelConfigResponse { config: Some(version.signature.config.clone()) }))
    }

    async fn model_statistics(
        &self,
        request: Request<p::ModelStatisticsRequest>,
    ) -> Answer<p::ModelStatisticsResponse> {
        let p::ModelStatisticsRequest { name, version } = request.into_inner();
        let registry = &self.0.registry;
        let versions = match (name.as_str(), version.as_str()) {
            ("", _) => registry.all(),
            (name, "") => {
                let newest = registry.version(name, "")?;
                registry.all().into_iter().filter(|other| other.name == newest.name).collect()
            }
            (name, version) => vec![registry.version(name, version)?],
        };
        let model_stats = versions.iter().map(|version| metadata::statistics(version)).collect();
        Ok(Response::new(p::ModelStatisticsResponse { model_stats }))
    }

    async fn repository_index(
        &self,
        request: Request<p::RepositoryIndexRequest>,
    ) -> Answer<p::RepositoryIndexResponse> {
        let only_ready = request.into_inner().ready;
        let listed = self.0.registry.index().into_iter().filter(|listed| listed.ready || !only_ready);
        let models = listed.map(|listed| ModelIndex {
            name: listed.name,
            version: listed.version,
            state: if listed.ready { "READY" } else { "UNAVAILABLE" }.to_owned(),
            reason: listed.reason,
        });
        Ok(Response::new(p::RepositoryIndexResponse { models: models.collect() }))
    }

    async fn repository_model_load(
        &self,
        request: Request<p::RepositoryModelLoadRequest>,
    ) -> Answer<p::RepositoryModelLoadResponse> {
        let p::RepositoryModelLoadRequest { model_name, parameters, .. } = request.into_inner();
        self.0.check_load()?;
        plain(&parameters)?;
        self.0.load(model_name).await?;
        Ok(Response::new(p::RepositoryModelLoadResponse {}))
    }

    async fn repository_model_unload(
        &self,
        request: Request<p::RepositoryModelUnloadRequest>,
    ) -> Answer<p::RepositoryModelUnloadResponse> {
        let p::RepositoryModelUnloadRequest { model_name, parameters, .. } = request.into_inner();
        self.0.check_load()?;
        plain(&parameters)?;
        self.0.unload(model_name).await?;
        Ok(Response::new(p::RepositoryModelUnloadResponse {}))
    }
}

/// Models are loaded as they lie in the repository: neither a configuration nor files come with the request.
fn plain(parameters: &HashMap<String, p::ModelRepositoryParameter>) -> Result<(), Refusal> {
    match parameters.keys().find(|name| *name != "unload_dependents") {
        None => Ok(()),
        Some(name) => {
            let reason = "models are loaded as they lie in the repository".to_owned();
            Err(Refusal::Parameter { name: name.chars().take(64).collect(), reason })
        }
    }
}
