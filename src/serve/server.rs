//! The server as a whole: starts, watches its models, and ends without dropping what it has taken.

use super::connection::{self, Port, Spoken};
use super::harvest::{Harvest, HarvestOptions};
use super::held::Ledger;
use super::label_studio::{LabelStudio, LabelStudioError, LabelStudioOptions};
use super::model::Running;
use super::registry::{Change, Registry};
use super::repository::Source;
use super::tls::{self, TlsError};
use super::{Shared, grpc, http};
use crate::data::harvest::HarvestError;
use crate::runtime::Library;
use sha2::{Digest as _, Sha256};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// What is served, where, and to whom.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where models come from.
    pub source: Source,
    /// How they are run, and the bounds on requests.
    pub running: Running,
    /// Where HTTP/REST is answered; nowhere if absent.
    pub http: Option<SocketAddr>,
    /// Where gRPC is answered; nowhere if absent.
    pub grpc: Option<SocketAddr>,
    /// Certificate chain and key, both PEM, for TLS on both.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The token that every request must carry, but for those about health.
    pub token: Option<String>,
    /// Whether models may be loaded and unloaded by request.
    pub allow_load: bool,
    /// Which requests are kept for labelling, and where; none if absent.
    pub harvest: Option<HarvestOptions>,
    /// What Label Studio is answered from, as its ML backend; it is not answered if absent.
    pub label_studio: Option<LabelStudioOptions>,
    /// How often the models' files are looked at for changes; never if absent.
    pub poll: Option<Duration>,
    /// How long what has been taken may need once the server ends.
    pub drain: Duration,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// An address that cannot be listened at.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Neither protocol is to be answered.
    #[error("neither HTTP nor gRPC is to be answered")]
    Nowhere,
    /// No model loads.
    #[error("no model can be served: {}", failed.iter().map(|(name, reason)| format!("`{name}`: {reason}")).collect::<Vec<_>>().join("; "))]
    NoModel {
        /// Each model that failed, and why.
        failed: Vec<(String, String)>,
    },
    /// The repository cannot be read.
    #[error("{reason}")]
    Repository {
        /// Why.
        reason: String,
    },
    /// No TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The harvest cannot be opened.
    #[error("no harvest: {0}")]
    Harvest(#[from] HarvestError),
    /// Label Studio cannot be answered.
    #[error(transparent)]
    LabelStudio(#[from] LabelStudioError),
    /// The system gives no threads.
    #[error("cannot start threads: {0}")]
    Threads(std::io::Error),
}

/// A server that answers.
#[derive(Debug)]
pub struct Server {
    http: Option<SocketAddr>,
    grpc: Option<SocketAddr>,
    shared: Arc<Shared>,
    changes: Vec<Change>,
    runtime: Runtime,
    ending: watch::Sender<bool>,
    ports: Vec<tokio::task::JoinHandle<()>>,
    watcher: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
    drain: Duration,
}

/// Starts a server. It answers when this returns.
///
/// # Errors
/// [`ServeError`]; where some models of a repository load, those that do not are no error but not ready.
pub fn serve(library: &Library, options: Options) -> Result<Server, ServeError> {
    if options.http.is_none() && options.grpc.is_none() {
        return Err(ServeError::Nowhere);
    }
    let limits = options.running.limits.clone();
    let harvest = options.harvest.map(Harvest::start).transpose()?;
    let registry = Arc::new(Registry::new(library.clone(), options.source, options.running, harvest.clone()));
    let changes = registry.look(true);
    changes.iter().for_each(say);
    check(&registry, &changes)?;
    let influential = || -> Vec<String> {
        let versions = registry.all().into_iter().filter(|version| version.influence_output().is_some());
        let mut names: Vec<String> = versions.map(|version| version.name.clone()).collect();
        names.dedup();
        names
    };
    let label_studio = options.label_studio.map(|options| LabelStudio::open(&options, &influential())).transpose()?;
    let shared = Arc::new(Shared {
        registry,
        ledger: Ledger::new(limits.held_bytes),
        limits: limits.clone(),
        allow_load: options.allow_load,
        harvest,
        label_studio,
        token: options.token.map(|token| Sha256::digest(token.as_bytes()).into()),
        ending: AtomicBool::new(false),
        connections: Arc::default(),
        reload_failures: AtomicUsize::new(0),
        requests: AtomicU64::new(0),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("isal-serve")
        .enable_all()
        .build()
        .map_err(ServeError::Threads)?;
    let (ending, ended) = watch::channel(false);
    let tls = |protocol: &[u8]| {
        let tls = options.tls.as_ref().map(|(certificate, key)| tls::acceptor(certificate, key, protocol));
        tls.transpose()
    };
    let (health, routes) = runtime.block_on(grpc::routes(Arc::clone(&shared)));
    let mut ports = Vec::new();
    let mut open = |address: Option<SocketAddr>, spoken, routes, tls| {
        let Some(address) = address else { return Ok::<_, ServeError>(None) };
        let refused = |source| ServeError::Listen { address, source };
        let listener = runtime.block_on(TcpListener::bind(address)).map_err(refused)?;
        let bound = listener.local_addr().map_err(refused)?;
        let (limits, open, drain) = (limits.clone(), Arc::clone(&shared.connections), options.drain);
        let port = Port { spoken, routes, tls, limits, open, drain };
        ports.push(runtime.spawn(connection::answer(listener, port, ended.clone())));
        Ok(Some(bound))
    };
    let http = open(options.http, Spoken::Http, http::routes(Arc::clone(&shared)), tls(b"http/1.1")?)?;
    let grpc = open(options.grpc, Spoken::Grpc, routes, tls(b"h2")?)?;
    let watcher = match options.poll {
        Some(every) => Some(watch(Arc::clone(&shared), every, runtime.handle().clone(), health)?),
        None => None,
    };
    Ok(Server { http, grpc, shared, changes, runtime, ending, ports, watcher, drain: options.drain })
}

/// Refuses to start where nothing can be served.
fn check(registry: &Registry, changes: &[Change]) -> Result<(), ServeError> {
    let mut failed = Vec::new();
    for change in changes {
        match change {
            Change::Failed { name, reason, .. } => failed.push((name.clone(), reason.clone())),
            Change::Unreadable { reason } => return Err(ServeError::Repository { reason: reason.clone() }),
            _ => {}
        }
    }
    // An empty repository may fill; one in which everything is broken is a mistake.
    if registry.all().is_empty() && !failed.is_empty() {
        return Err(ServeError::NoModel { failed });
    }
    Ok(())
}

/// A thread that looks at the models' files.
fn watch(
    shared: Arc<Shared>,
    every: Duration,
    runtime: tokio::runtime::Handle,
    health: grpc::Health,
) -> Result<(mpsc::Sender<()>, JoinHandle<()>), ServeError> {
    let (stop, stopped) = mpsc::channel();
    let work = move || {
        while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
            for change in shared.registry.look(false) {
                if matches!(change, Change::Failed { .. } | Change::Unreadable { .. }) {
                    shared.reload_failures.fetch_add(1, Ordering::Relaxed);
                }
                say(&change);
            }
            runtime.block_on(health.tell(shared.is_ready()));
        }
    };
    let thread = std::thread::Builder::new().name("isal-watch".to_owned()).spawn(work);
    thread.map(|thread| (stop, thread)).map_err(ServeError::Threads)
}

/// Puts a change in the log.
pub(super) fn say(change: &Change) {
    match change {
        Change::Loaded { name, versions, passed_over } if passed_over.is_empty() => {
            tracing::info!(model = name, ?versions, "loaded");
        }
        Change::Loaded { name, versions, passed_over } => {
            tracing::warn!(model = name, ?versions, ?passed_over, "loaded; fields of config.pbtxt were passed over");
        }
        Change::Failed { name, reason, kept: true } => {
            tracing::error!(model = name, reason, "does not load; its older versions go on");
        }
        Change::Failed { name, reason, kept: false } => tracing::error!(model = name, reason, "does not load"),
        Change::Removed { name } => tracing::info!(model = name, "removed"),
        Change::Unreadable { reason } => tracing::error!(reason, "the repository cannot be read"),
    }
}

impl Server {
    /// Where HTTP/REST is answered.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Where gRPC is answered.
    pub fn grpc(&self) -> Option<SocketAddr> {
        self.grpc
    }

    /// What was loaded at the start, and what was not.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Whether a model's newest version is an influence graph.
    pub fn gives_influence(&self, name: &str) -> bool {
        self.shared.registry.version(name, "").is_ok_and(|version| version.influence_output().is_some())
    }

    /// Which requests are kept for labelling, and where.
    pub fn harvest(&self) -> Option<&HarvestOptions> {
        self.shared.harvest.as_ref().map(Harvest::options)
    }

    /// Whether Label Studio is answered.
    pub fn answers_label_studio(&self) -> bool {
        self.shared.label_studio.is_some()
    }

    /// Models that give influences, and whether their requests are kept: those of one input of images or numbers are.
    pub fn harvested(&self) -> Vec<(String, bool)> {
        let versions = self.shared.registry.all().into_iter().filter(|version| version.influence_output().is_some());
        let mut models: Vec<(String, bool)> =
            versions.map(|version| (version.name.clone(), version.kept.is_some())).collect();
        models.dedup();
        models
    }

    /// The models that are served.
    pub fn registry(&self) -> &Registry {
        &self.shared.registry
    }

    /// Takes nothing new, answers what has been taken, and ends. It takes no longer than the time that the options give it
    /// for this.
    pub fn stop(self) {
        self.shared.ending.store(true, Ordering::Relaxed);
        for version in self.shared.registry.all() {
            version.queue.hurry();
        }
        if let Some((stop, thread)) = self.watcher {
            drop(stop);
            // It panics on nothing, and if it did the server ends all the same.
            let _ = thread.join();
        }
        // Nobody listens where both ports failed already.
        let _ = self.ending.send(true);
        self.runtime.block_on(async {
            for port in self.ports {
                let _ = port.await;
            }
        });
        if let Some(harvest) = &self.shared.harvest {
            harvest.end(self.drain);
        }
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }
}
