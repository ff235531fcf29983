//! A place to run in: a LeNet, real digits, and configurations of a few seconds.

#[path = "../score_pool/digits.rs"]
pub mod digits;

use assert_cmd::Command;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

/// A folder with a LeNet, 40 reference, 100 test and 300 pool digits, and a run over them of a few seconds.
pub struct Place(tempfile::TempDir);

pub const CONFIG: &str = r#"
seed = 5
rounds = 3
model = "model.onnx"
data = { pool = "pool", reference = "reference", test = "test" }
labels = { initial = 20, balanced = true, budget = 0.05 }
train = { epochs = 4, batch-size = 10 }
select = { strategy = "influence" }
"#;

impl Place {
    pub fn new() -> Place {
        let place = Place(tempfile::tempdir().expect("a temporary folder"));
        for (name, skip, each) in [("reference", 0, 4), ("test", 4, 10), ("pool", 14, 30)] {
            digits::write(&place.path(name), skip, each);
        }
        fs::write(place.path("run.toml"), CONFIG).expect("written");
        place.isal(&["model", "new", "lenet", "--seed", "3", "-o", "model.onnx"]).assert().success();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn isal(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("isal"));
        command.current_dir(self.0.path()).env("ISAL", assert_cmd::cargo::cargo_bin!("isal")).args(arguments);
        command
    }

    /// `isal run` on one thread, so that sums are in one order.
    pub fn run(&self, out: &str, more: &[&str]) -> Command {
        let mut command = self.isal(&["run", "run.toml", "--threads", "1", "-o", out]);
        command.args(more);
        command
    }

    pub fn start(&self, out: &str) -> Child {
        std::process::Command::new(assert_cmd::cargo::cargo_bin!("isal"))
            .current_dir(self.0.path())
            .env("ISAL", assert_cmd::cargo::cargo_bin!("isal"))
            .args(["run", "run.toml", "--threads", "1", "-o", out])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts")
    }

    pub fn json(&self, name: &str) -> Value {
        let bytes = fs::read(self.path(name)).unwrap_or_else(|e| panic!("`{name}`: {e}"));
        serde_json::from_slice(&bytes).expect("JSON")
    }

    pub fn configure(&self, text: &str) {
        fs::write(self.path("run.toml"), text).expect("written");
    }

    /// The pool as one flat folder without labels, `flat`; gives the class of each id.
    pub fn flat(&self) -> BTreeMap<String, String> {
        fs::create_dir(self.path("flat")).expect("made");
        let mut truth = BTreeMap::new();
        for class in list(&self.path("pool")) {
            for file in list(&self.path(&format!("pool/{class}"))) {
                fs::copy(self.path(&format!("pool/{class}/{file}")), self.path(&format!("flat/{file}")))
                    .expect("copied");
                truth.insert(file, class.clone());
            }
        }
        truth
    }

    /// `isal run` with a kill at every moment around a write that it comes to, one after the other, until it gets through.
    pub fn run_with_kills(&self, out: &str) -> usize {
        for at in 1.. {
            let mut command = self.run(out, &[]);
            let output = command.env("ISAL_TEST_KILL_AT_WRITE", at.to_string()).output().expect("it runs");
            match output.status.code() {
                Some(0) => return at - 1,
                // Killed by a signal.
                None => {}
                code => panic!("{code:?} after {at}: {}", String::from_utf8_lossy(&output.stderr)),
            }
        }
        unreachable!("it gets through in the end")
    }

    /// Ids labelled for each round.
    pub fn labeled(&self, out: &str) -> Vec<Vec<String>> {
        let ids = |round: usize| {
            let file = self.json(&format!("{out}/round-{round:02}/labeled.json"));
            serde_json::from_value(file["ids"].clone()).expect("a list of ids")
        };
        (0..3).map(ids).collect()
    }

    /// All that an unbroken and a broken run must have alike; times are not among it.
    pub fn made(&self, out: &str) -> Vec<(String, Vec<u8>)> {
        let mut made: Vec<(String, Vec<u8>)> = Vec::new();
        for round in 0..3 {
            for file in ["labeled.json", "to-label.csv", "trained/model.onnx", "scored/selection.json"] {
                let name = format!("round-{round:02}/{file}");
                let bytes = fs::read(self.path(out).join(&name));
                if let Ok(bytes) = bytes {
                    made.push((name, bytes));
                }
            }
        }
        let mut curve = self.json(&format!("{out}/curve.json"));
        for round in curve["ended"].as_array_mut().expect("rounds") {
            let round = round.as_object_mut().expect("a round");
            round.retain(|key, _| !key.ends_with("_s"));
        }
        made.push(("curve.json without times".to_owned(), curve.to_string().into_bytes()));
        made
    }
}

/// What a command says on its way to this exit code.
pub fn stderr(command: &mut Command, code: i32) -> String {
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

/// Names in a folder, sorted.
pub fn list(folder: &Path) -> Vec<String> {
    let name =
        |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name().to_string_lossy().into_owned();
    let mut names: Vec<String> = fs::read_dir(folder).expect("listed").map(name).collect();
    names.sort();
    names
}
