//! A running server with models of known answers, and a client that sends just the bytes it is told to.

use isal::runtime::{ExecutionProvider, Library};
use isal::serve::{Limits, Options, Running, Server, Source, serve};
use isal_onnx::{Builder, DataType, Dim, Model, Tensor, ValueType};
use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Columns of the model below.
pub const COLUMNS: usize = 3;

fn free(data_type: DataType, rest: &[usize]) -> ValueType {
    let shape = std::iter::once(Dim::from("N")).chain(rest.iter().map(|size| Dim::from(*size))).collect();
    ValueType { data_type, shape: Some(shape) }
}

/// `x` [N, 3] -> `y` = factor x + 1 [N, 3], which is exact for small whole numbers, and `large` = (y > 0) [N, 3].
pub fn affine(factor: f32) -> Model {
    let mut b = Builder::new("affine");
    let x = b.input("x", free(DataType::Float, &[COLUMNS]));
    let w = b.initializer("w", Tensor::new([1], &[factor]));
    let one = b.initializer("one", Tensor::new([1], &[1.0_f32]));
    let zero = b.initializer("zero", Tensor::new([1], &[0.0_f32]));
    let scaled = b.node("Mul", [x, w]).value();
    let y = b.node("Add", [scaled, one]).outputs(["y"]).value();
    let large = b.node("Greater", [y, zero]).outputs(["large"]).value();
    b.output("y", y, Some(free(DataType::Float, &[COLUMNS])));
    b.output("large", large, Some(free(DataType::Bool, &[COLUMNS])));
    let mut model = Model::new(17, b.finish().expect("a graph"));
    model.ir_version = 8;
    model
}

/// `t` -> `same`, of any type and shape [N, 2].
pub fn identity(data_type: DataType) -> Model {
    let mut b = Builder::new("identity");
    let t = b.input("t", free(data_type, &[2]));
    let same = b.node("Identity", [t]).outputs(["same"]).value();
    b.output("same", same, Some(free(data_type, &[2])));
    let mut model = Model::new(17, b.finish().expect("a graph"));
    model.ir_version = 8;
    model
}

/// A repository in a temporary folder, and the server on it.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub server: Option<Server>,
}

impl Place {
    /// An empty repository, nothing served yet.
    pub fn new() -> Place {
        Place { folder: tempfile::tempdir().expect("a folder"), server: None }
    }

    /// Puts a version of a model into the repository.
    pub fn put(&self, name: &str, version: u64, model: &Model) -> PathBuf {
        let folder = self.folder.path().join(name).join(version.to_string());
        fs::create_dir_all(&folder).expect("made");
        model.write(folder.join("model.onnx")).expect("written");
        folder
    }

    pub fn configure(&self, name: &str, text: &str) {
        fs::create_dir_all(self.folder.path().join(name)).expect("made");
        fs::write(self.folder.path().join(name).join("config.pbtxt"), text).expect("written");
    }

    /// The affine model alone, as `affine`.
    pub fn affine() -> Place {
        let place = Place::new();
        place.put("affine", 1, &affine(2.0));
        place.started(|_| {})
    }

    /// Starts the server on what the repository holds.
    pub fn started(mut self, change: impl FnOnce(&mut Options)) -> Place {
        let source = Source::repository(self.folder.path()).expect("a folder");
        self.server = Some(start(source, change));
        self
    }

    pub fn http(&self) -> SocketAddr {
        self.server.as_ref().and_then(Server::http).expect("it listens")
    }

    pub fn grpc(&self) -> SocketAddr {
        self.server.as_ref().and_then(Server::grpc).expect("it listens")
    }

    pub fn get(&self, path: &str) -> Response {
        request(self.http(), "GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &str) -> Response {
        request(self.http(), "POST", path, &[], body.as_bytes())
    }

    /// Fails where the server no longer answers as it should.
    pub fn check_alive(&self) {
        let answer = self.post("/v2/models/affine/infer", &ask("[1,2,3]"));
        assert_eq!(answer.json()["outputs"][0]["data"], serde_json::json!([3.0, 5.0, 7.0]), "{answer:?}");
    }
}

pub fn start(source: Source, change: impl FnOnce(&mut Options)) -> Server {
    let library = Library::load(None).expect("ONNX Runtime: run `make setup`");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let running = Running { provider: ExecutionProvider::Cpu, threads: 1, instances: 1, limits: Limits::default() };
    let mut options = Options {
        source,
        running,
        http: Some(any),
        grpc: Some(any),
        tls: None,
        token: None,
        allow_load: false,
        harvest: None,
        label_studio: None,
        poll: None,
        drain: Duration::from_secs(30),
    };
    change(&mut options);
    serve(&library, options).expect("it starts")
}

/// A request with one row for the affine model.
pub fn ask(row: &str) -> String {
    format!(r#"{{"id":"7","inputs":[{{"name":"x","shape":[1,3],"datatype":"FP32","data":{row}}}]}}"#)
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn json(&self) -> serde_json::Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{} {text}: {e}", self.status))
    }

    pub fn error(&self) -> String {
        self.json()["error"].as_str().expect("an error").to_owned()
    }
}

pub fn request(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    let mut sent = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
    for (name, value) in headers {
        sent.push_str(&format!("{name}: {value}\r\n"));
    }
    if !headers.iter().any(|(name, _)| *name == "transfer-encoding") {
        sent.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    sent.push_str("\r\n");
    exchange(address, &[sent.as_bytes(), body].concat())
}

/// Sends bytes as they are, and reads the one answer.
pub fn exchange(address: SocketAddr, sent: &[u8]) -> Response {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(120))).expect("a time-out");
    // A server that refuses early may close before it has read everything.
    let _ = stream.write_all(sent);
    read(&mut stream)
}

pub fn read(stream: &mut TcpStream) -> Response {
    let mut answer = Vec::new();
    let mut piece = [0_u8; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&piece[..length]),
            Err(_) if !answer.is_empty() => break,
            Err(error) => panic!("no answer: {error}"),
        }
        if complete(&answer).is_some() {
            break;
        }
    }
    complete(&answer).unwrap_or_else(|| panic!("half an answer: {}", String::from_utf8_lossy(&answer)))
}

fn complete(answer: &[u8]) -> Option<Response> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers.get("content-length")?.parse().ok()?;
    let body = answer.get(end + 4..end + 4 + length)?.to_vec();
    Some(Response { status, headers, body })
}

pub fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

pub fn bytes(floats: &[f32]) -> Vec<u8> {
    floats.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
}
