//! Who is let in: whoever has the token, from pages of this server alone.
//!
//! The address that is printed holds a token; it becomes a cookie that the browser sends to this server and, being `SameSite=Strict`,
//! never along with what another site asks. Besides, a server of this machine answers to no other name, so that a name which is made to
//! point here gets nothing, and a request that changes something must come from a page of the same origin.

use axum::http::header::{COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, Method};
use sha2::{Digest as _, Sha256};
use std::net::SocketAddr;

/// Lets requests in.
#[derive(Debug)]
pub(super) struct Guard {
    address: SocketAddr,
    token: [u8; 32],
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    /// A name that is not this server's.
    #[error("This server answers to its own address alone.")]
    Host,
    /// No token.
    #[error("Open the address that `isal view` printed: it holds the token of this server.")]
    Token,
    /// A page of another site.
    #[error("Labels are taken from pages of this server alone.")]
    Origin,
}

/// SHA-256: hashes take the same time to compare however much of the token is right.
fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

impl Guard {
    /// At this address, for whoever has the token.
    pub(super) fn new(address: SocketAddr, token: &str) -> Guard {
        Guard { address, token: hash(token) }
    }

    /// The name of the cookie; cookies are not told apart by port.
    fn cookie_name(&self) -> String {
        format!("isal-view-{}", self.address.port())
    }

    /// What makes a browser send the token from then on.
    pub(super) fn cookie(&self, token: &str) -> String {
        format!("{}={token}; Path=/; HttpOnly; SameSite=Strict", self.cookie_name())
    }

    /// Whether a text is the token.
    pub(super) fn is_token(&self, text: &str) -> bool {
        hash(text) == self.token
    }

    /// Whether the request is to this server by its own name.
    pub(super) fn check_host(&self, headers: &HeaderMap) -> Result<(), Denied> {
        // Of an address that others reach, the names are not known here; the token is asked for whatever the name.
        if !self.address.ip().is_loopback() {
            return Ok(());
        }
        let port = self.address.port();
        let own = [
            format!("127.0.0.1:{port}"),
            format!("localhost:{port}"),
            format!("[::1]:{port}"),
            self.address.to_string(),
        ];
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        if host.is_some_and(|host| own.iter().any(|own| own.eq_ignore_ascii_case(host))) {
            Ok(())
        } else {
            Err(Denied::Host)
        }
    }

    /// Whether the request has the token, and where it changes something, comes from a page of this server.
    pub(super) fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), Denied> {
        let name = self.cookie_name();
        let cookies = headers.get_all(COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
        let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
        if !pairs.any(|(key, value)| key == name && self.is_token(value)) {
            return Err(Denied::Token);
        }
        if method == Method::GET {
            return Ok(());
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(HOST.as_str()).unwrap_or_default();
        let same_origin = match headers.get(ORIGIN) {
            // No browser leaves it out.
            None => true,
            Some(origin) => origin.to_str().is_ok_and(|origin| origin == format!("http://{host}")),
        };
        match same_origin && text("sec-fetch-site").is_none_or(|site| site == "same-origin") {
            true => Ok(()),
            false => Err(Denied::Origin),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "an unwrap that fails is the test failing")]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn another_name_another_token_and_another_site_are_denied() {
        let guard = Guard::new("127.0.0.1:8090".parse().unwrap(), "secret");
        for (host, expected) in [
            ("127.0.0.1:8090", Ok(())),
            ("LocalHost:8090", Ok(())),
            ("127.0.0.1:8091", Err(Denied::Host)),
            ("evil.example:8090", Err(Denied::Host)),
            ("127.0.0.1", Err(Denied::Host)),
        ] {
            assert_eq!(guard.check_host(&headers(&[("host", host)])), expected, "{host}");
        }
        assert_eq!(guard.check_host(&HeaderMap::new()), Err(Denied::Host));
        let open = Guard::new("0.0.0.0:8090".parse().unwrap(), "secret");
        assert_eq!(open.check_host(&headers(&[("host", "studio.example")])), Ok(()));

        let cookie = "theme=dark; isal-view-8090=secret";
        let base = [("host", "localhost:8090"), ("cookie", cookie)];
        let with = |more: &[(&'static str, &str)], method| guard.check(&method, &headers(&[&base[..], more].concat()));
        assert_eq!(with(&[], Method::GET), Ok(()));
        assert_eq!(with(&[("origin", "http://evil.example")], Method::GET), Ok(()), "nothing is changed by looking");
        assert_eq!(
            with(&[("origin", "http://localhost:8090"), ("sec-fetch-site", "same-origin")], Method::POST),
            Ok(())
        );
        for origin in ["http://evil.example", "null", "https://localhost:8090", "http://localhost:8091"] {
            assert_eq!(with(&[("origin", origin)], Method::POST), Err(Denied::Origin), "{origin}");
        }
        assert_eq!(with(&[("sec-fetch-site", "same-site")], Method::POST), Err(Denied::Origin));
        for cookie in ["isal-view-8090=secre", "isal-view-8091=secret", "isal-view-8090=", "secret", ""] {
            assert_eq!(guard.check(&Method::GET, &headers(&[("cookie", cookie)])), Err(Denied::Token), "{cookie}");
        }
    }
}
