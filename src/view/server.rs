//! The server: starts, and ends when it is asked to.

use super::ViewError;
use super::answer::{Shared, routes};
use super::folder::Folder;
use super::guard::Guard;
use super::site::Site;
use crate::hex::hex;
use crate::serve::Limits;
use crate::serve::connection::{self, Port, Spoken};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};

/// What is looked at, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of a run or of a sweep.
    pub folder: PathBuf,
    /// The pool, where it is not where the folder says.
    pub pool: Option<PathBuf>,
    /// Where pages are answered.
    pub address: SocketAddr,
    /// Requests that are worked on at a time.
    pub threads: usize,
    /// ONNX Runtime's library, when named; only beliefs that are drawn over images need it.
    pub onnxruntime: Option<PathBuf>,
}

/// A server of pages.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    url: String,
    images: usize,
    notices: Vec<String>,
    runtime: Runtime,
    ending: watch::Sender<bool>,
    port: tokio::task::JoinHandle<()>,
}

/// A text that nobody guesses.
fn secret() -> String {
    hex(rand::random::<[u8; 16]>())
}

/// Starts a server. It answers when this returns.
///
/// # Errors
/// [`ViewError`].
pub fn view(options: Options) -> Result<Server, ViewError> {
    let folder = Folder::open(&options.folder)?;
    let site = Site::open(folder, options.pool.as_deref(), options.onnxruntime, secret())?;
    let images = site.images()?;
    let no_images = site.no_images().map(|why| format!("there are no images to show: {why}"));
    let notices = no_images.into_iter().chain(site.no_labels()?).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("isal-view")
        .enable_all()
        .build()
        .map_err(ViewError::Threads)?;
    let refused = |source| ViewError::Listen { address: options.address, source };
    let listener = runtime.block_on(TcpListener::bind(options.address)).map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let token = secret();
    let work = Semaphore::new(options.threads.max(1));
    let shared = Arc::new(Shared { site, guard: Guard::new(address, &token), work });
    let (ending, ended) = watch::channel(false);
    let port = Port {
        spoken: Spoken::Http,
        routes: routes(shared),
        tls: None,
        limits: Limits { connections: 64, ..Limits::default() },
        open: Arc::default(),
        drain: Duration::from_secs(2),
    };
    let port = runtime.spawn(connection::answer(listener, port, ended));
    let url = format!("http://{address}/?token={token}");
    Ok(Server { address, url, images, notices, runtime, ending, port })
}

impl Server {
    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address to open, which holds the token.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Images of the newest score table.
    pub fn images(&self) -> usize {
        self.images
    }

    /// What cannot be shown or done, and why.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Answers what has been taken, and ends.
    pub fn stop(self) {
        // Nobody listens where the port failed already.
        let _ = self.ending.send(true);
        let _ = self.runtime.block_on(self.port);
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }
}
