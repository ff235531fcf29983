//! Requests that no honest client sends. Each is refused with the right code and a word on why, and the server goes on.

use super::place::{Place, affine, ask, exchange, request};
use isal::serve::Limits;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

struct Case {
    why: &'static str,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: String,
    status: u16,
    says: &'static str,
}

fn case(why: &'static str, body: impl Into<String>, status: u16, says: &'static str) -> Case {
    Case { why, path: "/v2/models/affine/infer", headers: &[], body: body.into(), status, says }
}

fn input(fields: &str) -> String {
    format!(r#"{{"inputs":[{{"name":"x",{fields}}}]}}"#)
}

fn cases() -> Vec<Case> {
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let deep = input(&format!(r#""shape":[1,3],"datatype":"FP32","data":{}"#, nested(98)));
    let good = ask("[1,2,3]");
    let with = |before: &str, after: &str| good.replace(before, after);
    let outputs = |outputs: &str| with("]}]}", &format!("]}}],\"outputs\":[{outputs}]}}"));
    let mut cases = vec![
        case("an empty body", "", 400, "EOF"),
        case("no JSON", "hello", 400, "expected"),
        case("half of it", &good[..40], 400, "EOF"),
        case("two bodies", format!("{good}{good}"), 400, "trailing"),
        case("an array", "[]", 400, "expected"),
        case("no inputs", "{}", 400, "inputs"),
        case("an empty list of inputs", r#"{"inputs":[]}"#, 400, "`x` is missing"),
        case("not UTF-8 escaped", r#"{"id":"\ud800","inputs":[]}"#, 400, "hex escape"),
        case("JSON 101 deep", deep.clone(), 400, "100 deep"),
        case("JSON a million deep", nested(1_000_000), 400, "100 deep"),
        case("unclosed brackets", "[".repeat(1_000_000), 400, "100 deep"),
        case(
            "data nested 90 deep of one number",
            input(&format!(r#""shape":[1,3],"datatype":"FP32","data":{}"#, nested(90))),
            400,
            "elements",
        ),
        case(
            "a shape that overflows",
            input(r#""shape":[9223372036854775807,9223372036854775807],"datatype":"FP32","data":[]"#),
            400,
            "limit",
        ),
        case(
            "an overflow behind a 0",
            input(r#""shape":[0,9223372036854775807,9223372036854775807],"datatype":"FP32","data":[]"#),
            400,
            "limit",
        ),
        case(
            "a size beyond 64 bits",
            input(r#""shape":[99999999999999999999,3],"datatype":"FP32","data":[]"#),
            400,
            "invalid",
        ),
        case("a negative size", input(r#""shape":[-1,3],"datatype":"FP32","data":[1,2,3]"#), 400, "[-1, 3]"),
        case("a fraction of a size", input(r#""shape":[1.5,3],"datatype":"FP32","data":[1,2,3]"#), 400, "invalid type"),
        case("no row", input(r#""shape":[0,3],"datatype":"FP32","data":[]"#), 400, "1 to 32"),
        case(
            "too many rows",
            input(&format!(r#""shape":[33,3],"datatype":"FP32","data":{:?}"#, vec![0; 99])),
            400,
            "1 to 32",
        ),
        case("another shape", input(r#""shape":[1,4],"datatype":"FP32","data":[1,2,3,4]"#), 400, "[-1, 3]"),
        case("no axis", input(r#""shape":[],"datatype":"FP32","data":[1]"#), 400, "[-1, 3]"),
        case("too few numbers", with("[1,2,3]", "[1,2]"), 400, "2 elements"),
        case("a text for a number", with("[1,2,3]", "[1,2,\"3\"]"), 400, "float32"),
        case("a number beyond float32", with("[1,2,3]", "[1,2,1e39]"), 400, "float32"),
        case("another datatype", with("FP32", "INT32"), 400, "expected FP32"),
        case("no datatype of the protocol", with("FP32", "FLOAT"), 400, "`FLOAT`"),
        case("half precision as JSON", with("FP32", "FP16"), 400, "no form in JSON"),
        case("texts for numbers", input(r#""shape":[1],"datatype":"BYTES","data":["x"]"#), 400, "expected FP32"),
        case(
            "an input twice",
            with("]}]}", r#"]},{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}"#),
            400,
            "given twice",
        ),
        case("an input that is none", with("\"x\"", "\"z\""), 400, "unknown input `z`"),
        case("an output twice", outputs(r#"{"name":"y"},{"name":"y"}"#), 400, "given twice"),
        case("an output that is none", outputs(r#"{"name":"z"}"#), 400, "unknown output `z`"),
        case(
            "a classification of words",
            outputs(r#"{"name":"y","parameters":{"classification":"all"}}"#),
            400,
            "whole number",
        ),
        case("shared memory", outputs(r#"{"name":"y","parameters":{"shared_memory_region":"a"}}"#), 400, "not done"),
        case("a sequence", with("{\"id\"", "{\"parameters\":{\"sequence_id\":5},\"id\""), 400, "not done"),
        case("neither data nor bytes", input(r#""shape":[1,3],"datatype":"FP32""#), 400, "neither"),
        case(
            "bytes that are not there",
            input(r#""shape":[1,3],"datatype":"FP32","parameters":{"binary_data_size":12}"#),
            400,
            "0 bytes are left",
        ),
        case(
            "a negative number of bytes",
            input(r#""shape":[1,3],"datatype":"FP32","parameters":{"binary_data_size":-12}"#),
            400,
            "whole number",
        ),
    ];
    let headed = |why, headers: &'static [(&'static str, &'static str)], body: &str, status, says| Case {
        why,
        path: "/v2/models/affine/infer",
        headers,
        body: body.to_owned(),
        status,
        says,
    };
    cases.push(headed(
        "a JSON length past the body",
        &[("inference-header-content-length", "100000")],
        &good,
        400,
        "Content-Length",
    ));
    cases.push(headed(
        "a JSON length of words",
        &[("inference-header-content-length", "-1")],
        &good,
        400,
        "Content-Length",
    ));
    cases.push(headed(
        "a JSON length of 2^64",
        &[("inference-header-content-length", "18446744073709551616")],
        &good,
        400,
        "Content-Length",
    ));
    cases.push(headed(
        "a JSON length within the JSON",
        &[("inference-header-content-length", "10")],
        &good,
        400,
        "EOF",
    ));
    cases.push(headed("raw bytes of no shape", &[("inference-header-content-length", "0")], "12345", 400, "5 bytes"));
    cases.push(headed("a packing that is not read", &[("content-encoding", "br")], &good, 415, "`br`"));
    cases.push(headed("no gzip in gzip", &[("content-encoding", "gzip")], &good, 400, "unpack"));
    let at =
        |why, path: &'static str, status, says| Case { why, path, headers: &[], body: ask("[1,2,3]"), status, says };
    cases.push(at("a model that is none", "/v2/models/other/infer", 404, "`other`"));
    cases.push(at("a version that is none", "/v2/models/affine/versions/2/infer", 404, "it has 1"));
    cases.push(at("a version of words", "/v2/models/affine/versions/latest/infer", 404, "`latest`"));
    cases.push(at("a version in another spelling", "/v2/models/affine/versions/01/infer", 404, "`01`"));
    cases.push(at("a name that climbs", "/v2/models/..%2f..%2fetc/infer", 404, "unknown model"));
    cases.push(at("a path that climbs", "/v2/models/../../etc/passwd", 404, "nothing answers"));
    cases.push(at("a path that is none", "/v1/models/affine", 404, "nothing answers"));
    cases.push(at("the wrong method", "/v2/health/live", 405, "POST"));
    cases.push(at("loading where it is off", "/v2/repository/models/affine/load", 403, "--allow-load"));
    cases.push(at("unloading where it is off", "/v2/repository/models/affine/unload", 403, "--allow-load"));
    cases
}

#[test]
fn what_is_malformed_is_refused_and_the_server_goes_on() {
    let place = Place::affine();
    let mut wrong = Vec::new();
    for Case { why, path, headers, body, status, says } in cases() {
        let answer = request(place.http(), "POST", path, headers, body.as_bytes());
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let is_error = serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|v| v["error"].is_string());
        if answer.status != status || !is_error || !text.contains(says) {
            wrong.push(format!("{why}: {} {text}, expected {status} with {says}", answer.status));
        }
        place.check_alive();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn bytes_that_are_no_http_end_their_connection_alone() {
    let place = Place::affine();
    for sent in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(place.http()).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out");
        stream.write_all(sent).expect("sent");
        stream.shutdown(Shutdown::Write).expect("half closed");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.0 4"),
            "{sent:?}: {text}"
        );
        place.check_alive();
    }
    let long = format!("GET /v2/{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(200_000));
    let answer = exchange(place.http(), long.as_bytes());
    assert!([414, 431].contains(&answer.status), "{answer:?}");
    place.check_alive();
}

#[test]
fn bodies_over_the_limits_are_not_read() {
    let place = Place::new();
    place.put("affine", 1, &affine(2.0));
    let place = place.started(|options| {
        options.running.limits = Limits { body_bytes: 1000, held_bytes: 5000, ..Limits::default() };
    });
    let said = "POST /v2/models/affine/infer HTTP/1.1\r\nhost: a\r\ncontent-length: 1001\r\n\r\n";
    let answer = exchange(place.http(), said.as_bytes());
    assert_eq!((answer.status, answer.error().as_str()), (413, "the request is larger than 1000 bytes"));
    let chunk = format!("3e9\r\n{}\r\n0\r\n\r\n", "a".repeat(1001));
    let headers = [("transfer-encoding", "chunked")];
    assert_eq!(request(place.http(), "POST", "/v2/models/affine/infer", &headers, chunk.as_bytes()).status, 413);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![b' '; 100_000]).expect("packed");
    let bomb = packed.finish().expect("packed");
    assert!(bomb.len() < 1000);
    let headers = [("content-encoding", "gzip")];
    assert_eq!(request(place.http(), "POST", "/v2/models/affine/infer", &headers, &bomb).status, 413);
    place.check_alive();
}

#[test]
fn slow_and_silent_clients_are_let_go() {
    let place = Place::new();
    place.put("affine", 1, &affine(2.0));
    let place = place.started(|options| {
        let short = Duration::from_millis(300);
        let limits = &mut options.running.limits;
        (limits.body_time, limits.head_time) = (short, short);
    });
    let mut body = TcpStream::connect(place.http()).expect("connected");
    body.write_all(b"POST /v2/models/affine/infer HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{").expect("sent");
    let answer = super::place::read(&mut body);
    assert_eq!(answer.status, 408, "{answer:?}");
    let mut head = TcpStream::connect(place.http()).expect("connected");
    head.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out");
    head.write_all(b"GET /v2 HTT").expect("sent");
    let mut rest = Vec::new();
    head.read_to_end(&mut rest).expect("the server closes");
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&rest));
    place.check_alive();
}
