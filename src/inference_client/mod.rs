//! A client of the Open Inference Protocol v2: batches are sent to a server of Triton, KServe or `isal`, over HTTP/REST or gRPC.
//!
//! Requests are made by threads of their own, several at a time; what has failed for a while (no connection, a time-out, an answer
//! that says "later") is sent again after a pause that doubles, with jitter, up to a time that is bounded. After every failure the
//! server's description of the model is compared with the one that was read first, so that a server that comes back with another
//! model is noticed. Answers are bounded in size and checked against what was asked.
//!
//! Not here: what the numbers mean, shared memory, streams, sequences.

mod address;
mod backoff;
mod client;
mod connect;
mod error;
mod fit;
mod grpc;
mod http;
mod tensor;
mod waiting;
mod wire;

pub use address::{Address, AddressError, ServedModel, Transport};
pub use client::{Client, Description};
pub use error::ClientError;
pub use fit::Wanted;
pub use tensor::{Input, Output};
pub use waiting::Waiting;
pub use wire::{Metadata, Port};

use std::path::PathBuf;
use std::time::Duration;

/// Which model of which server is asked, and how.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The server.
    pub address: Address,
    /// The model there.
    pub model: ServedModel,
    /// Sent as bearer token with every request.
    pub token: Option<Token>,
    /// Certificates that are trusted, PEM; those of the system when not given.
    pub authorities: Option<PathBuf>,
    /// Longest time from a request to the end of its answer.
    pub timeout: Duration,
    /// How long a request is tried again after its first failure.
    pub retry: Duration,
    /// Requests that are under way at a time.
    pub requests: usize,
}

/// A secret that is never printed.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// The token, without the white space around it; nothing for an empty one, or one that no header can hold.
    pub fn new(text: &str) -> Option<Token> {
        let text = text.trim();
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        plain.then(|| Token(text.to_owned()))
    }

    /// The value of the `authorization` header.
    fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}
