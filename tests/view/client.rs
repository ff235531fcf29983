//! What a browser does, in few lines: it asks, keeps the cookie, and sends forms.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// An answer of the server.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text")
    }

    /// What stands between two marks, wherever it does.
    pub fn between(&self, from: &str, to: &str) -> Vec<String> {
        let text = self.text();
        text.split(from).skip(1).filter_map(|rest| Some(rest.split_once(to)?.0.to_owned())).collect()
    }
}

/// A browser with its cookie.
pub struct Client {
    pub address: SocketAddr,
    pub cookie: String,
}

/// One request, as it stands; the server closes the connection.
pub fn ask(address: SocketAddr, head: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).expect("connected");
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let text = format!("{head}\r\nConnection: close\r\n{length}\r\n{body}");
    stream.write_all(text.as_bytes()).expect("sent");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("answered");
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status").parse().expect("a number");
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(k, v)| (k.to_ascii_lowercase(), v.to_owned()));
    Answer { status, headers: headers.collect(), body: bytes[end + 4..].to_vec() }
}

/// A text as forms and addresses have it.
pub fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |all, byte| match byte.is_ascii_alphanumeric() {
        true => all + &char::from(byte).to_string(),
        false => all + &format!("%{byte:02X}"),
    })
}

impl Client {
    /// Opens the address that the server printed.
    pub fn open(url: &str) -> Client {
        let (address, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("an address");
        let address: SocketAddr = address.parse().expect("an address");
        let answer = ask(address, &format!("GET /{path} HTTP/1.1\r\nHost: {address}"), "");
        assert_eq!(answer.status, 200, "{answer:?}");
        let cookie = answer.headers["set-cookie"].split(';').next().expect("a cookie").to_owned();
        Client { address, cookie }
    }

    pub fn get(&self, path: &str) -> Answer {
        let Client { address, cookie } = self;
        ask(*address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nCookie: {cookie}"), "")
    }

    /// Sends a form as a page of the server does.
    pub fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let Client { address, cookie } = self;
        let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nCookie: {cookie}\r\nOrigin: http://{address}\r\nSec-Fetch-Site: \
             same-origin\r\nContent-Type: application/x-www-form-urlencoded"
        );
        ask(*address, &head, &pairs.join("&"))
    }
}
