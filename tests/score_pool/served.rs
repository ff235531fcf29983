//! `isal score pool --server`: a running `isal serve` computes, and the scores are those of ONNX Runtime here, whatever happens to
//! the server and on the way to it.

use crate::alone::{alone, carried};
use crate::between::{Act, Between, relay};
use crate::place::{Place, stderr};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A server that does not outlive its test.
struct Serving {
    child: Child,
    http: SocketAddr,
    grpc: SocketAddr,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Serving {
    /// `isal serve` of a repository. Requests of eight rows are a batch each, so that every number is that of a batch of eight.
    fn of(repository: &Path, more: &[&str]) -> Serving {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("isal"));
        command.args(["serve", "--http-port", "0", "--grpc-port", "0", "--json", "--threads", "1", "--log", "error"]);
        command.args(["--execution-provider", "cpu", "--repository"]).arg(repository).args(more);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("started");
        let mut text = String::new();
        for line in BufReader::new(child.stdout.as_mut().expect("a pipe")).lines() {
            text.push_str(&line.expect("text"));
            if let Ok(said) = serde_json::from_str::<serde_json::Value>(&text) {
                let at = |port: &str| said[port].as_str().and_then(|a| a.parse().ok()).expect("an address");
                return Serving { http: at("http"), grpc: at("grpc"), child };
            }
        }
        panic!("it ended with {:?}: {text}", child.wait());
    }
}

/// Puts a model into the repository of this place.
fn put(place: &Place, name: &str, file: &str, config: &str) {
    let folder = place.path("models").join(name).join("1");
    fs::create_dir_all(&folder).expect("made");
    fs::copy(place.path(file), folder.join("model.onnx")).expect("copied");
    fs::write(place.path("models").join(name).join("config.pbtxt"), config).expect("written");
}

/// A place with an influence graph, its repository, and the scores that ONNX Runtime here gives.
fn place() -> Place {
    let place = carried();
    put(&place, "graph", "elsewhere/graph.onnx", "max_batch_size: 8");
    alone(&place, &["-o", "here", "--scores", "here.csv"]).assert().success();
    place
}

/// The same sweep by a server.
fn by(place: &Place, url: &str, out: &str, more: &[&str]) -> assert_cmd::Command {
    let scores = format!("{out}.csv");
    let mut command = alone(place, &["--server", url, "--server-model", "graph", "-o", out, "--scores", &scores]);
    command.args(more).timeout(Duration::from_secs(120));
    command
}

fn http(address: SocketAddr) -> String {
    format!("http://{address}")
}

fn same(place: &Place, out: &str) {
    assert!(place.read(&format!("{out}.csv")) == place.read("here.csv"), "{out}: the scores differ");
    assert!(
        place.read(&format!("{out}/selection.json")) == place.read("here/selection.json"),
        "{out}: the selection differs"
    );
}

#[test]
fn both_transports_give_the_scores_of_onnx_runtime_here() {
    let place = place();
    let server = Serving::of(&place.path("models"), &[]);
    for (url, out) in [(http(server.http), "http"), (format!("grpc://{}", server.grpc), "grpc")] {
        let said = by(&place, &url, out, &[]).assert().success();
        let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
        assert!(said.contains(&format!("graph:1 at {url} (isal ")), "{said}");
        same(&place, out);
        let provenance = place.json(&format!("{out}/run.json"))["provenance"].clone();
        assert_eq!(provenance["served model"], "graph:1");
        assert!(
            provenance["engine"].as_str().is_some_and(|engine| engine.contains("graph on a server: isal ")),
            "{provenance}"
        );
        assert_eq!(provenance["reference images"], "20", "what the file knows is said");
    }
    // Where there is no ONNX Runtime the server computes all the same, and what was not checked is said.
    let mut bare = by(&place, &http(server.http), "bare", &[]);
    let said = bare.env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so").assert().success();
    assert!(stderr(said.get_output().clone()).contains("was not checked by numbers"));
    same(&place, "bare");
}

#[test]
fn predictions_of_a_graph_and_of_a_plain_model_are_those_here() {
    let place = place();
    put(&place, "plain", "model.onnx", "max_batch_size: 8");
    let server = Serving::of(&place.path("models"), &[]);
    let rows = |out: &str| {
        let path = place.path(out).join("scores.parquet");
        isal::scores::ScoreTable::read_parquet(&path).expect("scores").rows
    };
    for strategy in ["entropy", "random"] {
        let model = |out: &str| {
            let mut command =
                place.isal(&["score", "pool", "--model", "model.onnx", "--pool", "pool", "--budget", "20"]);
            command.args(["--batch-size", "8", "--threads", "1", "--strategy", strategy, "-o", out]);
            command
        };
        let here = format!("here-{strategy}");
        model(&here).assert().success();
        for (scheme, address) in [("http", server.http), ("grpc", server.grpc)] {
            let (url, out) = (format!("{scheme}://{address}"), format!("{scheme}-{strategy}"));
            model(&out).args(["--server", &url, "--server-model", "plain"]).assert().success();
            assert_eq!(rows(&here), rows(&out), "{out}");
            let graph = format!("graph-{out}");
            alone(&place, &["--strategy", strategy, "-o", &graph, "--server", &url, "--server-model", "graph"])
                .assert()
                .success();
            assert_eq!(rows(&here), rows(&graph), "{graph}");
        }
    }
    let refused = |more: &[&str], says: &str| {
        let mut command = place.score(&["-o", "refused", "--server", &http(server.http), "--server-model", "plain"]);
        let said = stderr(command.args(more).assert().code(2).get_output().clone());
        assert!(said.contains(says), "{said}");
    };
    refused(&[], "have it served, and give `--influence FILE.onnx`");
    refused(&["--strategy", "badge"], "goes by features, which a server does not give");
}

#[test]
fn a_server_that_is_killed_and_comes_back_is_waited_for() {
    let place = place();
    let models = place.path("models");
    for scheme in ["http", "grpc"] {
        let server = Serving::of(&models, &[]);
        let first = if scheme == "http" { server.http } else { server.grpc };
        let (held, models) = (Arc::new(Mutex::new(Some(server))), models.clone());
        let next = Arc::clone(&held);
        // 600 images of 28x28 floats are 1.9 MB.
        let address = relay(first, 900_000, move || {
            let mut held = next.lock().expect("sound");
            drop(held.take());
            std::thread::sleep(Duration::from_millis(700));
            let server = Serving::of(&models, &[]);
            let address = if scheme == "http" { server.http } else { server.grpc };
            *held = Some(server);
            address
        });
        let out = format!("killed-{scheme}");
        let said = by(&place, &format!("{scheme}://{address}"), &out, &["--server-retry", "60"]).assert().success();
        let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
        assert!(said.contains("does not answer") && said.contains("answers again"), "{scheme}: {said}");
        same(&place, &out);
    }
}

#[test]
fn a_sweep_that_a_server_left_alone_goes_on_with_another() {
    let place = place();
    let server = Serving::of(&place.path("models"), &[]);
    // Two parts of 256 images are safe by then.
    let between = Between::new(server.http, |_, asked| if asked > 72 { Act::Cut } else { Act::Pass });
    let failed = by(&place, &http(between.address), "left", &["--server-retry", "0.5"]).assert().code(3);
    let said = stderr(failed.get_output().clone());
    assert!(said.contains("no answer for") && said.contains(&between.address.to_string()), "{said}");
    assert!(!place.path("left/selection.json").exists());
    let between = Between::new(server.http, |_, _| Act::Pass);
    let said = by(&place, &http(between.address), "left", &[]).assert().success();
    let said = stderr(said.get_output().clone());
    assert!(said.contains("of 600 images were scored before"), "{said}");
    same(&place, "left");
    // 75 batches in all, and 16 of the sample that is held against ONNX Runtime here.
    let asked = between.asked.load(std::sync::atomic::Ordering::SeqCst);
    assert!(asked < 75, "what is on disk is not asked again: {asked} requests");
}

#[test]
fn what_passes_is_waited_for() {
    let place = place();
    let server = Serving::of(&place.path("models"), &[]);
    let busy = || Act::Answer("503 Service Unavailable\r\nretry-after: 0", br#"{"error":"full"}"#.to_vec());
    fn infer(first: &str) -> bool {
        first.contains("/infer")
    }
    // Everything is refused for a second.
    let began = std::sync::OnceLock::new();
    let second = move |_: &str, asked: usize| {
        let began = (asked > 30).then(|| *began.get_or_init(Instant::now));
        if began.is_some_and(|began| began.elapsed() < Duration::from_secs(1)) { busy() } else { Act::Pass }
    };
    let nth = |every: usize, act: fn() -> Act| {
        move |first: &str, asked: usize| if infer(first) && asked % every == every - 1 { act() } else { Act::Pass }
    };
    let late = |first: &str, asked: usize| match infer(first) && asked == 40 {
        true => Act::Late(Duration::from_secs(3)),
        false => Act::Pass,
    };
    type Acts = Box<dyn Fn(&str, usize) -> Act + Send + Sync>;
    let cases: [(&str, Acts); 4] = [
        ("busy", Box::new(second)),
        ("many", Box::new(nth(25, || Act::Answer("429 Too Many Requests", Vec::new())))),
        ("late", Box::new(late)),
        ("cut", Box::new(nth(20, || Act::Cut))),
    ];
    for (out, act) in cases {
        let between = Between::new(server.http, act);
        by(&place, &http(between.address), out, &["--server-timeout", "1.5"]).assert().success();
        same(&place, out);
    }
}

#[test]
fn answers_that_are_not_what_was_asked_end_the_sweep() {
    let place = place();
    let server = Serving::of(&place.path("models"), &[]);
    let json = |text: String| Act::Answer("200 OK\r\ncontent-type: application/json", text.into_bytes());
    let output = |name: &str, shape: &str, data: &str| {
        format!(r#"{{"name":"{name}","datatype":"FP32","shape":{shape},"data":{data}}}"#)
    };
    let influence = |shape: &str, data: &str| format!(r#"{{"outputs":[{}]}}"#, output("influence", shape, data));
    let cases: [(&str, Act, &str); 6] = [
        ("html", json("<html>hello</html>".to_owned()), "no answer in JSON"),
        ("lacking", json(influence("[8]", "[1,2,3,4,5,6,7,8]")), "is not there once"),
        ("binary", Act::Answer("200 OK\r\nInference-Header-Content-Length: 9999", b"{}".to_vec()), "9999"),
        (
            "failed",
            Act::Answer("500 Internal Server Error", br#"{"error":"the model fell over"}"#.to_vec()),
            "the model fell over",
        ),
        ("none", json("{}".to_owned()), "no answer in JSON"),
        ("short", json(influence("[8]", "[1,2]")), "influence"),
    ];
    for (out, act, says) in cases {
        let between = Between::new(server.http, move |first, asked| match first.contains("/infer") && asked == 30 {
            true => act.clone(),
            false => Act::Pass,
        });
        let failed = by(&place, &http(between.address), out, &[]).assert().failure();
        let said = stderr(failed.get_output().clone());
        assert!(said.contains(says) && said.contains(&between.address.to_string()), "{out}: {said}");
        assert!(!place.path(&format!("{out}/selection.json")).exists(), "{out}");
    }
}

#[test]
fn a_model_that_is_not_the_file_is_refused_by_name() {
    let place = place();
    put(&place, "plain", "model.onnx", "max_batch_size: 8");
    put(&place, "small", "elsewhere/graph.onnx", "max_batch_size: 4");
    // The same network with other weights, and its graph along the same vector's form.
    let other = carried_with_other_weights(&place);
    put(&place, "other", &other, "max_batch_size: 8");
    let server = Serving::of(&place.path("models"), &[]);
    let (web, grpc) = (http(server.http), format!("grpc://{}", server.grpc));
    let cases: [(&str, &str, &[&str], &str); 6] = [
        (&web, "absent", &[], "has no model `absent`; it has `graph`, `other`, `plain`, `small`"),
        (&grpc, "absent", &[], "has no model `absent`; it has `graph`, `other`, `plain`, `small`"),
        (&web, "plain", &[], "has no output `"),
        (&web, "small", &[], "it takes 4 images a request at most, `--batch-size` is 8"),
        (&web, "other", &[], "sha256` is"),
        (&grpc, "other", &[], "does not compute what the file says"),
    ];
    for (url, model, more, says) in cases {
        let mut command = alone(&place, &["-o", "refused", "--server", url, "--server-model", model]);
        let failed = command.args(more).timeout(Duration::from_secs(60)).assert().code(2);
        let said = stderr(failed.get_output().clone());
        assert!(said.contains(says) && said.contains(model), "{model}: {said}");
    }
    let gone = alone(
        &place,
        &["-o", "gone", "--server", "http://127.0.0.1:9", "--server-model", "graph", "--server-retry", "0"],
    )
    .assert()
    .code(3);
    assert!(stderr(gone.get_output().clone()).contains("http://127.0.0.1:9: no answer"));
}

/// The influence graph with every weight of the network a little larger, and the same metadata but for the model's hash.
fn carried_with_other_weights(place: &Place) -> String {
    let mut graph = isal_onnx::Model::from_bytes(&place.read("elsewhere/graph.onnx"), None).expect("a graph");
    for (place, weight) in graph.graph.initializers.values_mut().enumerate() {
        if let Some(values) = weight.to_vec::<f32>() {
            let values: Vec<f32> =
                values.iter().enumerate().map(|(n, v)| v * (1.0 + 0.1 * ((n + place) % 3) as f32)).collect();
            *weight = isal_onnx::Tensor::new(weight.dims(), &values);
        }
    }
    graph.metadata.insert("isal.influence.model sha256".to_owned(), "another".to_owned());
    graph.write(place.path("other.onnx")).expect("written");
    "other.onnx".to_owned()
}

#[test]
fn a_token_and_tls_are_spoken_over_both_transports() {
    let place = place();
    fs::write(place.path("token"), "open-sesame\n").expect("written");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("made");
    fs::write(place.path("own.pem"), made.cert.pem()).expect("written");
    fs::write(place.path("own.key"), made.signing_key.serialize_pem()).expect("written");
    let file = |name: &str| place.path(name).to_string_lossy().into_owned();
    let (token, own, key) = (file("token"), file("own.pem"), file("own.key"));
    let server =
        Serving::of(&place.path("models"), &["--token-file", &token, "--tls-certificate", &own, "--tls-key", &key]);
    for (scheme, address) in [("https", server.http), ("grpcs", server.grpc)] {
        let url = format!("{scheme}://localhost:{}", address.port());
        by(&place, &url, scheme, &["--server-ca", &own, "--server-token-file", &token]).assert().success();
        same(&place, scheme);
        let out = format!("{scheme}-variable");
        by(&place, &url, &out, &["--server-ca", &own]).env("ISAL_SERVER_TOKEN", "open-sesame").assert().success();
        same(&place, &out);
        let refused = by(&place, &url, "refused", &["--server-ca", &own]).assert().code(2);
        let said = stderr(refused.get_output().clone()).to_lowercase();
        assert!(said.contains("401") || said.contains("unauthenticated"), "{said}");
        let strange = by(&place, &url, "strange", &["--server-retry", "0"]).assert().code(3);
        assert!(stderr(strange.get_output().clone()).contains("certificate"), "a certificate that nobody vouches for");
    }
}
