//! A server of ONNX models, influence graphs among them, over the Open Inference Protocol v2: HTTP/REST and gRPC.
//!
//! Models come from a repository laid out as Triton's are, or from single files ([`Source`]). Requests wait in a queue for each
//! model, are put together along the batch axis, and run by threads with an ONNX Runtime session each. Everything that a client
//! sends is bounded in size and time ([`Limits`]).
//!
//! The outputs of an influence graph are served as they are. The more negative an `influence`, the more labelling the image
//! is expected to lower the loss on the reference set.
//!
//! Not here: sequences, ensembles, shared memory, backends other than ONNX Runtime. They are refused, not advertised.

mod batch;
mod classification;
mod config;
pub(crate) mod connection;
mod datatype;
mod grpc;
mod harvest;
mod held;
mod http;
mod images;
mod infer;
mod label_studio;
mod limits;
mod metadata;
mod metrics;
mod model;
mod name;
pub mod proto;
mod queue;
mod refusal;
mod registry;
mod repository;
mod server;
mod signature;
mod stats;
mod telemetry;
mod tensor;
mod tls;
mod warmup;

pub use config::ConfigError;
pub use datatype::Datatype;
pub use harvest::{Harvest, HarvestOptions};
pub use label_studio::{LabelStudioError, LabelStudioOptions};
pub use limits::Limits;
pub use model::{LoadError, Running};
pub use name::is_model_name;
pub use refusal::{Kind, PortKind, Refusal};
pub use registry::{Change, Listed, Registry};
pub use repository::{RepositoryError, Source};
pub use server::{Options, ServeError, Server, serve};
pub use signature::{DEFAULT_MAX_BATCH, SignatureError};
pub use telemetry::{SPANS, Telemetry, TelemetryError};
pub use warmup::WarmupError;

pub(crate) use http::json_elements;

use base64::Engine as _;
use held::Ledger;
use label_studio::LabelStudio;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// What all connections share.
#[derive(Debug)]
struct Shared {
    registry: Arc<Registry>,
    limits: Limits,
    ledger: Ledger,
    allow_load: bool,
    harvest: Option<Harvest>,
    label_studio: Option<LabelStudio>,
    /// SHA-256 of the token that every request must carry, where one is asked for.
    token: Option<[u8; 32]>,
    ending: AtomicBool,
    connections: Arc<AtomicUsize>,
    reload_failures: AtomicUsize,
    requests: AtomicU64,
}

impl Shared {
    /// Whether the server finishes what it has and takes nothing new.
    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    fn is_ready(&self) -> bool {
        !self.is_ending() && self.registry.is_ready()
    }

    /// Whether `authorization`, the value of that header, carries the token; without a token everybody is let in.
    fn admits(&self, authorization: Option<&str>) -> bool {
        let Some(expected) = &self.token else { return true };
        let given = authorization.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            let token = token.trim();
            if scheme.eq_ignore_ascii_case("basic") {
                // Clients that know names and passwords alone, as Label Studio, give it as the password.
                let pair = base64::engine::general_purpose::STANDARD.decode(token).ok()?;
                return String::from_utf8(pair).ok()?.split_once(':').map(|(_, password)| password.to_owned());
            }
            scheme.eq_ignore_ascii_case("bearer").then(|| token.to_owned())
        });
        // Hashes take the same time to compare however much of the token is right.
        given.is_some_and(|given| Sha256::digest(given.as_bytes()).as_slice() == expected)
    }

    /// The client's own id of a request, where it is short and plain, else a number.
    fn request_id(&self, own: Option<&str>) -> String {
        let plain = |id: &&str| !id.is_empty() && id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_graphic());
        match own.filter(plain) {
            Some(id) => id.to_owned(),
            None => format!("{:x}-{:x}", std::process::id(), self.requests.fetch_add(1, Ordering::Relaxed)),
        }
    }

    fn check_load(&self) -> Result<(), Refusal> {
        match self.allow_load {
            true => Ok(()),
            false => Err(Refusal::Off { what: "loading and unloading models", option: "--allow-load" }),
        }
    }

    async fn load(&self, model: String) -> Result<(), Refusal> {
        self.check_load()?;
        self.change(move |registry| registry.load(&model)).await
    }

    async fn unload(&self, model: String) -> Result<(), Refusal> {
        self.check_load()?;
        self.change(move |registry| registry.unload(&model)).await
    }

    async fn change(
        &self,
        work: impl FnOnce(&Registry) -> Result<Change, Refusal> + Send + 'static,
    ) -> Result<(), Refusal> {
        let registry = Arc::clone(&self.registry);
        let changed = tokio::task::spawn_blocking(move || work(&registry)).await;
        let change = changed.map_err(|e| Refusal::Failed { reason: e.to_string() })??;
        server::say(&change);
        Ok(())
    }
}
