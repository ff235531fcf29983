//! What stands between a sweep and the server it asks: it passes requests on, or does what a network and a bad server do.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Act {
    /// It is passed on, and its answer back.
    Pass,
    /// It gets this answer: status line and headers after it, and a body.
    Answer(&'static str, Vec<u8>),
    /// It is passed on after a while.
    Late(Duration),
    /// The connection ends without an answer.
    Cut,
}

/// Passes on HTTP, request by request.
pub struct Between {
    pub address: SocketAddr,
    /// Requests for inference so far.
    pub asked: Arc<AtomicUsize>,
}

impl Between {
    /// In front of `server`; `act` says what becomes of each request, by its first line and the number of requests for inference
    /// before it.
    pub fn new(server: SocketAddr, act: impl Fn(&str, usize) -> Act + Send + Sync + 'static) -> Between {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (asked, act) = (Arc::new(AtomicUsize::new(0)), Arc::new(act));
        let counted = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (act, asked) = (Arc::clone(&act), Arc::clone(&counted));
                std::thread::spawn(move || while converse(&stream, server, act.as_ref(), &asked).is_some() {});
            }
        });
        Between { address, asked }
    }
}

/// One request; `None` where the connection is to end.
fn converse(
    client: &TcpStream,
    server: SocketAddr,
    act: &dyn Fn(&str, usize) -> Act,
    asked: &AtomicUsize,
) -> Option<()> {
    let request = message(client)?;
    let first = String::from_utf8_lossy(&request).lines().next().unwrap_or_default().to_owned();
    let before = match first.contains("/infer") {
        true => asked.fetch_add(1, Ordering::SeqCst),
        false => asked.load(Ordering::SeqCst),
    };
    let answer = match act(&first, before) {
        Act::Cut => return None,
        Act::Answer(head, body) => {
            let head = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n", body.len());
            [head.into_bytes(), body].concat()
        }
        act => {
            if let Act::Late(time) = act {
                std::thread::sleep(time);
            }
            let mut upstream = TcpStream::connect(server).ok()?;
            upstream.write_all(&request).ok()?;
            message(&upstream)?
        }
    };
    let mut client = client;
    client.write_all(&answer).ok()
}

/// A request or an answer, head and body.
fn message(mut stream: &TcpStream) -> Option<Vec<u8>> {
    let mut read = Vec::new();
    let mut piece = [0_u8; 65536];
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
            if read.len() >= end + 4 + length {
                return Some(read);
            }
        }
        match stream.read(&mut piece).ok()? {
            0 => return None,
            count => read.extend_from_slice(&piece[..count]),
        }
    }
}

/// Passes on bytes, whatever they are, until so many went to the server; then calls `full`, once, which gives the server from
/// there on. What is connected at that time is cut.
pub fn relay(server: SocketAddr, bytes: usize, full: impl FnOnce() -> SocketAddr + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let sent = Arc::new(AtomicUsize::new(0));
    let now = Arc::new(Mutex::new(server));
    let full = Arc::new(Mutex::new(Some(full)));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let upstream = now.lock().map(|address| TcpStream::connect(*address));
            let Ok(Ok(upstream)) = upstream else { continue };
            let (Ok(from), Ok(to)) = (upstream.try_clone(), client.try_clone()) else { continue };
            std::thread::spawn(move || pump(&from, &to, |_| true));
            let (sent, now, full) = (Arc::clone(&sent), Arc::clone(&now), Arc::clone(&full));
            std::thread::spawn(move || {
                pump(&client, &upstream, |count| {
                    if sent.fetch_add(count, Ordering::SeqCst) + count < bytes {
                        return true;
                    }
                    let Some(full) = full.lock().expect("sound").take() else { return true };
                    // Nobody else is connected meanwhile.
                    let mut now = now.lock().expect("sound");
                    *now = full();
                    false
                });
            });
        }
    });
    address
}

/// Copies until one end is closed, or `more` says so.
fn pump(mut from: &TcpStream, mut to: &TcpStream, mut more: impl FnMut(usize) -> bool) {
    let mut piece = [0_u8; 16384];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        if !more(count) || to.write_all(&piece[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(std::net::Shutdown::Both);
    let _ = to.shutdown(std::net::Shutdown::Both);
}
