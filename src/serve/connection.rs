//! Connections: accepted up to a limit, with a time limit on everything that a client may be slow at, and ended in order.

use super::limits::Limits;
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// HTTP/1.1.
    Http,
    /// HTTP/2 from its first byte.
    Grpc,
}

/// How often an HTTP/2 client is asked whether it is there, and how long it has to say so.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_ANSWER: Duration = Duration::from_secs(20);
/// Longest head of a request, in bytes.
const HEAD_BYTES: usize = 64 << 10;
/// A pause after the system refused a connection, for lack of file descriptors say.
const AFTER_REFUSAL: Duration = Duration::from_millis(50);

/// What answers at a port, and how.
pub(crate) struct Port {
    /// What is spoken there.
    pub(crate) spoken: Spoken,
    /// What answers.
    pub(crate) routes: Router,
    /// TLS, where it is spoken.
    pub(crate) tls: Option<TlsAcceptor>,
    /// What a client may ask.
    pub(crate) limits: Limits,
    /// Connections that are open now.
    pub(crate) open: Arc<AtomicUsize>,
    /// How long what has been taken may need once the server ends.
    pub(crate) drain: Duration,
}

/// Answers at a port until `ending` says so, and then for as long as [`Port::drain`] what has been taken.
pub(crate) async fn answer(listener: TcpListener, port: Port, mut ending: watch::Receiver<bool>) {
    let Port { spoken, routes, tls, limits, open, drain } = port;
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(limits.connections.max(1)));
    let builder = builder(spoken, &limits);
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (stream, place) = tokio::select! {
            // The value's lock is dropped before anything else is waited for.
            () = async { drop(ending.wait_for(|ending| *ending).await) } => break,
            (accepted, place) = accepted => match accepted {
                Ok((stream, _)) => (stream, place),
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(AFTER_REFUSAL).await;
                    continue;
                }
            },
        };
        let (builder, routes, tls) = (builder.clone(), routes.clone(), tls.clone());
        let (limits, open) = (limits.clone(), Arc::clone(&open));
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            let _place = place;
            open.fetch_add(1, Ordering::Relaxed);
            converse(stream, spoken, &builder, routes, tls, &limits, watcher).await;
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
    drop(listener);
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(seconds = drain.as_secs_f64(), "connections were open past the time to finish");
    }
}

fn builder(spoken: Spoken, limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = match spoken {
        Spoken::Http => Builder::new(TokioExecutor::new()).http1_only(),
        Spoken::Grpc => Builder::new(TokioExecutor::new()).http2_only(),
    };
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.head_time).max_buf_size(HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(HEAD_BYTES as u32)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER)
        .adaptive_window(true);
    builder
}

async fn converse(
    stream: TcpStream,
    spoken: Spoken,
    builder: &Builder<TokioExecutor>,
    routes: Router,
    tls: Option<TlsAcceptor>,
    limits: &Limits,
    watcher: hyper_util::server::graceful::Watcher,
) {
    // Small answers are sent at once.
    let _ = stream.set_nodelay(true);
    match tls {
        None => speak(stream, spoken, builder, routes, limits, watcher).await,
        Some(tls) => match tokio::time::timeout(limits.head_time, tls.accept(stream)).await {
            Ok(Ok(stream)) => speak(stream, spoken, builder, routes, limits, watcher).await,
            Ok(Err(error)) => tracing::debug!(%error, "no TLS"),
            Err(_) => tracing::debug!("no TLS in time"),
        },
    }
}

async fn speak<S: AsyncRead + AsyncWrite + Send + 'static>(
    stream: S,
    spoken: Spoken,
    builder: &Builder<TokioExecutor>,
    routes: Router,
    limits: &Limits,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.write_time));
    if spoken == Spoken::Grpc {
        // A client that lives answers a ping; one that never said anything is not pinged, and ends here.
        stream.set_read_timeout(Some((PING_EVERY + PING_ANSWER) * 2));
    }
    let service = TowerToHyperService::new(routes);
    let connection = builder.serve_connection(TokioIo::new(Box::pin(stream)), service);
    if let Err(error) = watcher.watch(connection.into_owned()).await {
        tracing::debug!(error = %crate::error_chain::in_one_line(error.as_ref()), "a connection broke");
    }
}
