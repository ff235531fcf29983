//! A connection to a server, with TLS where its address says so.

use super::{Address, ClientError, Transport};
use axum::http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tower::util::BoxCloneSyncService;

/// What both transports speak over.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub(super) type Stream = TokioIo<Box<dyn Io>>;
pub(super) type Connector = BoxCloneSyncService<Uri, Stream, io::Error>;

impl Connection for Box<dyn Io> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

/// What connects to `address`, whatever it is asked for.
pub(super) fn connector(address: &Address, authorities: Option<&Path>) -> Result<Connector, ClientError> {
    let tls = match address.tls {
        true => Some(tls(address, authorities)?),
        false => None,
    };
    let (host, port) = (address.host.clone(), address.port);
    let connect = tower::service_fn(move |_: Uri| {
        let (host, tls) = (host.clone(), tls.clone());
        async move {
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            // Small requests are sent at once.
            stream.set_nodelay(true)?;
            let stream: Box<dyn Io> = match tls {
                None => Box::new(stream),
                Some((connector, name)) => Box::new(connector.connect(name, stream).await?),
            };
            Ok(TokioIo::new(stream))
        }
    });
    Ok(BoxCloneSyncService::new(connect))
}

fn tls(address: &Address, authorities: Option<&Path>) -> Result<(TlsConnector, ServerName<'static>), ClientError> {
    let refused = |reason: String| ClientError::Authorities { authorities: authorities.map(Path::to_path_buf), reason };
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(path) => {
            let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            for certificate in certificates.map_err(|e| refused(e.to_string()))? {
                roots.add(certificate).map_err(|e| refused(e.to_string()))?;
            }
        }
        // Of the system's some may be of forms that are no longer taken.
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(refused("no certificate found; name some with --server-ca".to_owned()));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| refused(e.to_string()))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = match address.transport {
        Transport::Http => vec![b"http/1.1".to_vec()],
        Transport::Grpc => vec![b"h2".to_vec()],
    };
    let name = ServerName::try_from(address.host.clone()).map_err(|e| refused(format!("`{}`: {e}", address.host)))?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}
