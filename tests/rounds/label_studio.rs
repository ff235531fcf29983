//! A real Label Studio on loopback: it takes our tasks, orders them, shows their images, and its export comes back
//! (`make test-label-studio`).

use super::place::Place;
use super::tools::{CONFIG, stdout, tasks};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const TOKEN: &str = "0123456789abcdef0123456789abcdef01234567";

fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".toolchain/label-studio/bin").join(name)
}

/// The server, ended with the value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it with its data in `folder`, and waits until it answers.
fn start(folder: &Path) -> (Server, String) {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let mut command = Command::new(program("label-studio"));
    command
        .args(["start", "--no-browser", "--internal-host", "127.0.0.1", "--port", &port.to_string()])
        .args(["--username", "isal@example.com", "--password", "isal-on-loopback", "--user-token", TOKEN])
        .arg("--data-dir")
        .arg(folder)
        .env("LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED", "true")
        .env("LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT", "/")
        .env("LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN", "true")
        .envs([("COLLECT_ANALYTICS", "False"), ("LATEST_VERSION_CHECK", "False"), ("SENTRY_DSN", "")])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let server = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}: run `make test-label-studio`"));
    let server = Server(server);
    let address = format!("127.0.0.1:{port}");
    // Its first start lays its database out.
    let until = Instant::now() + Duration::from_secs(300);
    while std::net::TcpStream::connect(&address).is_err() {
        assert!(Instant::now() < until, "Label Studio did not answer at {address}");
        std::thread::sleep(Duration::from_millis(200));
    }
    (server, format!("http://{address}"))
}

#[test]
#[ignore = "needs Label Studio: make test-label-studio"]
fn a_real_label_studio_takes_our_tasks_and_its_export_comes_back() {
    let place = Place::new();
    let truth: BTreeMap<String, String> = place.flat();
    place.configure(CONFIG);
    stdout(&mut place.run("out", &[]));
    let first = tasks(&place, 0);
    let rows = first.iter().map(|task| {
        let id = task["data"]["id"].as_str().expect("an id").to_owned();
        format!("flat/{id},{},{id}\n", truth[&id])
    });
    fs::write(place.path("all.csv"), format!("path,label,id\n{}", rows.collect::<String>())).expect("written");
    stdout(&mut place.isal(&["label", "import", "out", "all.csv"]));
    stdout(&mut place.run("out", &[]));
    let sent = tasks(&place, 1);

    let data = tempfile::tempdir().expect("a temporary folder");
    let (_server, url) = start(data.path());
    let round = place.path("out/round-01");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rounds/label_studio.py");
    let output = Command::new(program("python"))
        .arg(script)
        .args([url.as_str(), TOKEN])
        .args([
            round.join("to-label.label-studio.json"),
            round.join("to-label.label-studio.xml"),
            round.join("to-label"),
        ])
        .arg(place.path("export.json"))
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let saw: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&saw["tasks"], &saw["predictions"]), (&sent.len().into(), &sent.len().into()));
    let order: Vec<Value> = sent.iter().map(|task| task["data"]["id"].clone()).collect();
    assert_eq!(saw["order"], Value::Array(order), "by the score of predictions, the most useful first");
    assert_eq!(saw["first_image"], serde_json::json!(b"\x89PNG\r\n\x1a\n"), "it shows the image");

    let said = stdout(&mut place.isal(&["label", "import", "out", "export.json"]));
    let all = sent.len();
    assert!(said.contains(&format!("{} of {all} images labelled, 1 skipped", all - 2)), "{said}");
    let status = stdout(&mut place.isal(&["label", "status", "out", "--json"]));
    let status: Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(status["missing"], serde_json::json!([sent[2]["data"]["id"]]), "the one that nobody annotated");
}
