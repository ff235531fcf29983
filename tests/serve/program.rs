//! `isal serve` as a program: what it says, and how it ends.

use super::place::{Place, affine, ask, request};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

pub fn isal() -> Command {
    Command::new(assert_cmd::cargo::cargo_bin!("isal"))
}

/// A program that does not outlive its test.
pub struct Started(pub Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the program, and gives what it says once it answers.
pub fn started(place: &Place, arguments: &[&str]) -> (Started, serde_json::Value) {
    let mut command = isal();
    command
        .args(["serve", "--repository"])
        .arg(place.folder.path())
        .args(["--http-port", "0", "--grpc-port", "0", "--json", "--execution-provider", "cpu"])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    spawned(command)
}

/// Starts a command that serves with `--json`.
pub fn spawned(mut command: Command) -> (Started, serde_json::Value) {
    let mut started = Started(command.spawn().expect("started"));
    let child = &mut started.0;
    let mut text = String::new();
    for line in BufReader::new(child.stdout.as_mut().expect("a pipe")).lines() {
        text.push_str(&line.expect("text"));
        if let Ok(value) = serde_json::from_str(&text) {
            return (started, value);
        }
    }
    let mut said = String::new();
    let _ = child.stderr.take().expect("a pipe").read_to_string(&mut said);
    panic!("it ended: {text} {said}");
}

pub fn address(said: &serde_json::Value) -> SocketAddr {
    said["http"].as_str().expect("an address").parse().expect("an address")
}

#[cfg(unix)]
#[test]
fn it_answers_until_it_is_asked_to_end_and_ends_well() {
    use rustix::process::{Pid, Signal, kill_process};
    let place = Place::new();
    place.put("affine", 1, &affine(2.0));
    // Ctrl-C, and what Kubernetes sends.
    for signal in [Signal::INT, Signal::TERM] {
        let (mut started, said) = started(&place, &["--log", "debug", "--log-format", "json"]);
        assert_eq!((&said["schema"], &said["models"][0]["ready"]), (&"isal-serve/1".into(), &true.into()), "{said}");
        assert!(address(&said).ip().is_loopback(), "nobody else is let in unless that is asked for");
        let headers = [("x-request-id", "find-me")];
        let answer = request(address(&said), "POST", "/v2/models/affine/infer", &headers, ask("[1,2,3]").as_bytes());
        assert_eq!(answer.json()["outputs"][0]["data"], serde_json::json!([3.0, 5.0, 7.0]));
        assert_eq!(answer.headers["x-request-id"], "find-me");
        let child = &mut started.0;
        kill_process(Pid::from_raw(child.id() as i32).expect("a process"), signal).expect("asked");
        let mut log = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut log).expect("text");
        let status = child.wait().expect("ended");
        assert_eq!(status.code(), Some(0), "{log}");
        let lines: Vec<serde_json::Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let found = lines.iter().any(|line| line["fields"]["request"] == "find-me" && line["fields"]["status"] == 200);
        assert!(found, "{log}");
    }
}

#[test]
fn what_cannot_be_served_is_said_with_the_right_code() {
    let place = Place::new();
    place.put("affine", 1, &affine(2.0));
    std::fs::write(place.folder.path().join("affine/1/model.onnx"), "garbage").expect("written");
    let folder = place.folder.path().display().to_string();
    let file = format!("{folder}/affine/1/model.onnx");
    let free = ["--http-port", "0", "--grpc-port", "0"];
    let cases: [(&[&str], i32, &str); 6] = [
        (&["--repository", &folder], 2, "no model can be served: `affine`"),
        (&["--repository", "/nowhere/at/all"], 2, "/nowhere/at/all"),
        (&["--model", &file, "--model-name", "a/b"], 2, "cannot be called `a/b`"),
        (&["--model", &file, "--request-seconds", "1e9"], 2, "--request-seconds"),
        (&["--model", &file, "--token-file", "/nowhere"], 3, "/nowhere"),
        (&[], 2, "--repository"),
    ];
    for (arguments, code, says) in cases {
        let output = isal().arg("serve").args(free).args(arguments).output().expect("it ran");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
}
