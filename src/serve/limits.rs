//! What a client may ask of the server. Every limit is on by default.

use std::time::Duration;

/// Bounds on requests, connections and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's body, packed or unpacked, and of a gRPC message.
    pub body_bytes: usize,
    /// Bytes of all requests that are being read or answered at one time; beyond them 503.
    pub held_bytes: usize,
    /// Elements of an input, each row of a batch counted.
    pub elements: usize,
    /// Brackets within brackets in JSON.
    pub json_depth: usize,
    /// Requests that wait for a model, where its `config.pbtxt` says nothing; beyond them 503.
    pub queue: usize,
    /// From the last byte of a request to its answer; beyond it 504.
    pub request_time: Duration,
    /// For a request's head, and between the requests of a connection.
    pub head_time: Duration,
    /// For a request's body.
    pub body_time: Duration,
    /// For a client that stopped reading its answer.
    pub write_time: Duration,
    /// Connections to a port; more wait to be accepted.
    pub connections: usize,
    /// Requests of one connection that are answered beside each other (HTTP/2).
    pub streams: u32,
    /// Bytes of an encoded image.
    pub image_bytes: u64,
    /// Pixels of an image.
    pub image_pixels: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body_bytes: 64 << 20,
            held_bytes: 1 << 30,
            elements: 64 << 20,
            json_depth: 100,
            queue: 512,
            request_time: Duration::from_secs(60),
            head_time: Duration::from_secs(60),
            body_time: Duration::from_secs(60),
            write_time: Duration::from_secs(60),
            connections: 1024,
            streams: 256,
            image_bytes: 32 << 20,
            image_pixels: 64 << 20,
        }
    }
}
