//! A folder to run `isal score pool` in.

use crate::digits;
use assert_cmd::Command;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder with a LeNet, 100 labelled digits and a pool of 600.
pub struct Place {
    pub folder: tempfile::TempDir,
}

impl Place {
    /// A fresh place.
    pub fn new() -> Place {
        let folder = tempfile::tempdir().expect("a temporary folder");
        digits::write(&folder.path().join("labeled"), 0, 10);
        digits::write(&folder.path().join("pool"), 10, 60);
        let place = Place { folder };
        place.isal(&["model", "new", "lenet", "--seed", "3", "-o", "model.onnx"]).assert().success();
        place
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `isal` run in it.
    pub fn isal(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("isal"));
        command.current_dir(self.folder.path()).args(arguments);
        command
    }

    /// `isal score pool` on this place, with more arguments.
    pub fn score(&self, more: &[&str]) -> Command {
        let mut command =
            self.isal(&["score", "pool", "--model", "model.onnx", "--labeled", "labeled", "--pool", "pool"]);
        command.args(["--budget", "20", "--batch-size", "8", "--threads", "1"]).args(more);
        command
    }

    /// The bytes of a file.
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("`{name}`: {e}"))
    }

    /// A file as JSON.
    pub fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_slice(&self.read(name)).expect("JSON")
    }
}

/// What a command that ended says on stderr.
pub fn stderr(output: std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Image files of a folder of class folders, by `CLASS/NAME`.
pub fn files(folder: &Path) -> Vec<(String, PathBuf)> {
    let list = |folder: &Path| -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> =
            fs::read_dir(folder).expect("listed").map(|entry| entry.expect("an entry").path()).collect();
        found.sort();
        found
    };
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    let of_class = |class: &PathBuf| -> Vec<(String, PathBuf)> {
        list(class).into_iter().map(|path| (format!("{}/{}", name(class), name(&path)), path)).collect()
    };
    list(folder).iter().flat_map(of_class).collect()
}
