//! Bodies of requests and answers: bounded in size and time, packed or not.

use crate::serve::Shared;
use crate::serve::held::Held;
use crate::serve::refusal::Refusal;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH};
use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use http_body_util::BodyExt as _;
use std::io::{Read, Write as _};

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    /// RFC 1952.
    Gzip,
    /// The zlib format, RFC 1950, which HTTP calls deflate.
    Deflate,
}

impl Packing {
    pub(super) fn name(self) -> &'static str {
        match self {
            Packing::Gzip => "gzip",
            Packing::Deflate => "deflate",
        }
    }
}

/// The whole body of a request, unpacked.
///
/// # Errors
/// [`Refusal`] where it is too large, too slow, or does not unpack.
pub(super) async fn read(shared: &Shared, headers: &HeaderMap, body: Body) -> Result<(Bytes, Held), Refusal> {
    let limits = &shared.limits;
    let limit = limits.body_bytes;
    let stated = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if stated.is_some_and(|stated| stated > limit as u64) {
        return Err(Refusal::TooLarge { limit });
    }
    let mut held = shared.ledger.begin();
    let reading = tokio::time::timeout(limits.body_time, collect(body, limit, &mut held));
    let body = reading.await.map_err(|_| Refusal::SlowBody { limit: limits.body_time })??;
    let Some(packing) = packing(headers)? else { return Ok((body, held)) };
    let most = limits.body_bytes;
    let unpacked = tokio::task::spawn_blocking(move || unpack(&body, packing, most));
    let unpacked = unpacked.await.map_err(|e| Refusal::Failed { reason: e.to_string() })??;
    held.take(unpacked.len())?;
    Ok((unpacked, held))
}

async fn collect(mut body: Body, limit: usize, held: &mut Held) -> Result<Bytes, Refusal> {
    let mut first: Option<Bytes> = None;
    let mut whole = BytesMut::new();
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Refusal::Body { reason: crate::error_chain::in_one_line(&e) })?;
        let Ok(data) = frame.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length > limit {
            return Err(Refusal::TooLarge { limit });
        }
        held.take(data.len())?;
        // A body that came in one piece is not copied.
        match (first.take(), whole.is_empty()) {
            (None, true) => first = Some(data),
            (Some(begin), _) => {
                whole.extend_from_slice(&begin);
                whole.extend_from_slice(&data);
            }
            (None, false) => whole.extend_from_slice(&data),
        }
    }
    Ok(first.unwrap_or_else(|| whole.freeze()))
}

fn packing(headers: &HeaderMap) -> Result<Option<Packing>, Refusal> {
    let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(None) };
    match value.to_str().unwrap_or("?").trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(None),
        "gzip" | "x-gzip" => Ok(Some(Packing::Gzip)),
        "deflate" => Ok(Some(Packing::Deflate)),
        other => Err(Refusal::Encoding { encoding: other.chars().take(64).collect() }),
    }
}

fn unpack(body: &[u8], packing: Packing, limit: usize) -> Result<Bytes, Refusal> {
    let mut unpacked = Vec::new();
    // One byte more than allowed tells a body that is too large from one that just fits.
    let most = limit as u64 + 1;
    let read = match packing {
        Packing::Gzip => MultiGzDecoder::new(body).take(most).read_to_end(&mut unpacked),
        Packing::Deflate => ZlibDecoder::new(body).take(most).read_to_end(&mut unpacked),
    };
    let encoding = packing.name();
    read.map_err(|e| Refusal::Packed { encoding, reason: e.to_string() })?;
    if unpacked.len() > limit {
        return Err(Refusal::TooLarge { limit });
    }
    Ok(unpacked.into())
}

/// Answers shorter than this are sent as they are.
const WORTH_PACKING: usize = 512;

/// How the client wants its answer packed, where packing is worth it.
pub(super) fn wanted(headers: &HeaderMap, length: usize) -> Option<Packing> {
    if length < WORTH_PACKING {
        return None;
    }
    let accepted = headers.get(ACCEPT_ENCODING)?.to_str().ok()?.to_ascii_lowercase();
    accepted.split(',').find_map(|one| {
        let mut parts = one.split(';').map(str::trim);
        let packing = match parts.next()? {
            "gzip" => Packing::Gzip,
            "deflate" => Packing::Deflate,
            _ => return None,
        };
        let refused = parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0)));
        (!refused).then_some(packing)
    })
}

/// Packs an answer; nothing where that fails, and then it is sent as it is.
pub(super) fn pack(body: &[u8], packing: Packing) -> Option<Vec<u8>> {
    let level = Compression::fast();
    match packing {
        Packing::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(body).ok()?;
            encoder.finish().ok()
        }
        Packing::Deflate => {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(body).ok()?;
            encoder.finish().ok()
        }
    }
}

/// Runs what takes long for a long body beside the other requests rather than in front of them.
pub(super) fn heavy<T>(length: usize, work: impl FnOnce() -> T) -> T {
    const LONG: usize = 256 << 10;
    if length < LONG { work() } else { tokio::task::block_in_place(work) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn packed_bodies_come_back_and_bombs_do_not() {
        let body = vec![7_u8; 100_000];
        for packing in [Packing::Gzip, Packing::Deflate] {
            let packed = pack(&body, packing).expect("packed");
            assert!(packed.len() < 1000);
            assert_eq!(unpack(&packed, packing, 100_000).expect("just fits"), body);
            assert!(matches!(unpack(&packed, packing, 99_999), Err(Refusal::TooLarge { limit: 99_999 })));
            assert!(matches!(unpack(&packed[..50], packing, 100_000), Err(Refusal::Packed { .. })));
            assert!(matches!(unpack(b"not packed", packing, 100_000), Err(Refusal::Packed { .. })));
        }
    }

    #[test]
    fn an_answer_is_packed_as_the_client_says() {
        let asked = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(text));
            wanted(&headers, 10_000)
        };
        assert_eq!(asked("gzip"), Some(Packing::Gzip));
        assert_eq!(asked("br, deflate;q=0.5, gzip"), Some(Packing::Deflate));
        assert_eq!(asked("gzip;q=0, identity"), None);
        assert_eq!(wanted(&HeaderMap::new(), 10_000), None);
    }
}
