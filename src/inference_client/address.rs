//! Where a server is and which of its models is meant, as the command line names them.

use crate::serve::is_model_name;
use axum::http::Uri;
use std::fmt;
use std::str::FromStr;

/// An address or a name that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(String);

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// HTTP/1.1 with JSON, and binary tensors where the server takes them.
    Http,
    /// gRPC.
    Grpc,
}

/// `http://HOST:PORT`, `https://HOST:PORT`, `grpc://HOST:PORT` or `grpcs://HOST:PORT`; over HTTP a path may follow, behind which
/// the protocol's own paths are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// What is spoken.
    pub transport: Transport,
    /// Whether through TLS.
    pub tls: bool,
    /// Name or number of the host; of IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// `HOST:PORT` as it was given.
    authority: String,
    /// The path, without a slash at its end.
    path: String,
}

impl Address {
    /// What every path of the protocol stands behind, over HTTP.
    pub(super) fn base(&self) -> String {
        format!("{}://{}{}", if self.tls { "https" } else { "http" }, self.authority, self.path)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let refused =
            |reason: &str| Err(AddressError(format!("{reason}: expected http://HOST:PORT or grpc://HOST:PORT")));
        let Ok(uri) = text.parse::<Uri>() else { return refused("no address") };
        let (transport, tls) = match uri.scheme_str() {
            Some("http") => (Transport::Http, false),
            Some("https") => (Transport::Http, true),
            Some("grpc") => (Transport::Grpc, false),
            Some("grpcs") => (Transport::Grpc, true),
            Some(_) => return refused("neither http, https, grpc nor grpcs"),
            None => return refused("says neither http nor grpc"),
        };
        let Some(authority) = uri.authority() else { return refused("names no host") };
        if authority.as_str().contains('@') {
            return Err(AddressError(
                "holds a name or password, which others on this machine could read: give a token with --server-token-file".to_owned(),
            ));
        }
        let Some(port) = authority.port_u16() else { return refused("names no port") };
        if uri.query().is_some() {
            return refused("has a query");
        }
        let path = uri.path().trim_end_matches('/').to_owned();
        if transport == Transport::Grpc && !path.is_empty() {
            return refused("has a path, which gRPC has no use for");
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Address { transport, tls, host, port, authority: authority.as_str().to_owned(), path })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.transport, self.tls) {
            (Transport::Http, false) => "http",
            (Transport::Http, true) => "https",
            (Transport::Grpc, false) => "grpc",
            (Transport::Grpc, true) => "grpcs",
        };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

/// `NAME` or `NAME:VERSION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedModel {
    /// Its name.
    pub name: String,
    /// The version; the server's choice when not given.
    pub version: Option<String>,
}

impl FromStr for ServedModel {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<ServedModel, AddressError> {
        let (name, version) = match text.split_once(':') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        if ![Some(name), version].into_iter().flatten().all(is_model_name) {
            return Err(AddressError("expected NAME or NAME:VERSION, of letters, digits, `.`, `_` and `-`".to_owned()));
        }
        Ok(ServedModel { name: name.to_owned(), version: version.map(str::to_owned) })
    }
}

impl fmt::Display for ServedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{}:{version}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_say_what_is_spoken_and_where() {
        for (text, transport, tls, host, port) in [
            ("http://localhost:8000", Transport::Http, false, "localhost", 8000),
            ("https://models.example:443/v/one", Transport::Http, true, "models.example", 443),
            ("grpc://127.0.0.1:8001", Transport::Grpc, false, "127.0.0.1", 8001),
            ("grpcs://[::1]:8001", Transport::Grpc, true, "::1", 8001),
        ] {
            let address: Address = text.parse().expect(text);
            assert_eq!((address.transport, address.tls), (transport, tls), "{text}");
            assert_eq!((address.host.as_str(), address.port), (host, port), "{text}");
            assert_eq!(address.to_string(), text);
        }
        let behind: Address = "http://ingress:80/serving/".parse().expect("a path");
        assert_eq!(behind.base(), "http://ingress:80/serving");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "localhost:8000",
            "localhost",
            "http://localhost",
            "ftp://localhost:21",
            "http://user:secret@localhost:8000",
            "grpc://localhost:8001/path",
            "http://localhost:8000/?a=b",
            "http://localhost:port",
            "",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_model_may_have_a_version() {
        let model: ServedModel = "digits-influence:3".parse().expect("a name and a version");
        assert_eq!((model.name.as_str(), model.version.as_deref()), ("digits-influence", Some("3")));
        assert_eq!("digits".parse::<ServedModel>().expect("a name").version, None);
        for text in ["", ":1", "digits:", "a/b", "a:1:2", "..%2f"] {
            assert!(text.parse::<ServedModel>().is_err(), "{text}");
        }
    }
}
