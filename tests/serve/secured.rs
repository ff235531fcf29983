//! TLS, with a certificate made here: HTTP and gRPC speak it, and nothing else is spoken.

use super::place::{Place, affine, ask, exchange};
use super::program::isal;
use hyper_util::rt::TokioIo;
use isal::serve::proto::ServerReadyRequest;
use isal::serve::proto::grpc_inference_service_client::GrpcInferenceServiceClient;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonic::transport::Endpoint;

/// A certificate that signs itself for `localhost`, and its key.
fn made(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("made");
    let (certificate, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    std::fs::write(&certificate, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    (certificate, key)
}

/// A connection of a client that trusts this certificate alone.
async fn connected(
    address: SocketAddr,
    certificate: PathBuf,
    protocol: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).expect("a certificate")).expect("sound");
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

#[test]
fn http_and_grpc_speak_tls_and_nothing_else() {
    let keys = tempfile::tempdir().expect("a folder");
    let (certificate, key) = made(keys.path(), "own");
    let (other, _) = made(keys.path(), "other");
    let place = Place::new();
    place.put("affine", 1, &affine(2.0));
    let place = place.started(|options| options.tls = Some((certificate.clone(), key.clone())));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut stream = connected(place.http(), certificate.clone(), b"http/1.1").await.expect("TLS");
        let body = ask("[1,2,3]");
        let head = "POST /v2/models/affine/infer HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length";
        stream.write_all(format!("{head}: {}\r\n\r\n{body}", body.len()).as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        // The server may close without a farewell.
        let _ = stream.read_to_end(&mut answer).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.1 200") && text.contains("[3.0,5.0,7.0]"), "{text}");

        let (address, trusted) = (place.grpc(), certificate.clone());
        let connector = tower::service_fn(move |_| {
            let trusted = trusted.clone();
            async move { connected(address, trusted, b"h2").await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://localhost").connect_with_connector(connector).await;
        let mut client = GrpcInferenceServiceClient::new(channel.expect("TLS"));
        assert!(client.server_ready(ServerReadyRequest {}).await.expect("answered").into_inner().ready);

        for address in [place.http(), place.grpc()] {
            let refused = connected(address, other.clone(), b"http/1.1").await;
            assert!(refused.is_err(), "it is not the other certificate's");
        }
    });
    let address = place.http();
    let plain = std::panic::catch_unwind(|| exchange(address, b"GET /v2 HTTP/1.1\r\nhost: a\r\n\r\n"));
    assert!(plain.is_err(), "no answer without TLS");
}

#[test]
fn a_key_that_is_not_the_certificates_is_refused() {
    let keys = tempfile::tempdir().expect("a folder");
    let ((certificate, key), (_, other)) = (made(keys.path(), "own"), made(keys.path(), "other"));
    let place = Place::new();
    place.put("affine", 1, &affine(2.0));
    let cases = [
        (&certificate, &other, "do not go together"),
        (&key, &key, "holds no certificate"),
        (&certificate, &certificate, "holds no private key"),
    ];
    for (certificate, key, says) in cases {
        let mut command = isal();
        command.args(["serve", "--http-port", "0", "--grpc-port", "0", "--repository"]).arg(place.folder.path());
        let output =
            command.arg("--tls-certificate").arg(certificate).arg("--tls-key").arg(key).output().expect("it ran");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(says), "{:?}: {said}", output.status);
    }
}
