//! TLS by option: a certificate chain and its key, both PEM.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file that holds no PEM of its kind.
    #[error("`{}` holds no {kind} in PEM form: {reason}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        kind: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A key that is not the certificate's, or neither is taken.
    #[error("`{}` and `{}` do not go together: {reason}", certificate.display(), key.display())]
    Pair {
        /// The chain.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// What speaks TLS with this certificate, for the protocols named.
pub(super) fn acceptor(certificate: &Path, key: &Path, protocol: &[u8]) -> Result<TlsAcceptor, TlsError> {
    let pem = |path: &Path, kind: &'static str, reason: String| TlsError::Pem { path: path.into(), kind, reason };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| pem(certificate, "certificate", e.to_string()))?;
    if chain.is_empty() {
        return Err(pem(certificate, "certificate", "nothing found".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| pem(key, "private key", e.to_string()))?;
    let pair = |reason: String| TlsError::Pair { certificate: certificate.into(), key: key.into(), reason };
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| pair(e.to_string()))?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, private).map_err(|e| pair(e.to_string()))?;
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
