//! `isal audit` as a user runs it, on real digits, with the real plugin and ONNX Runtime.
//!
//! The network is a LeNet of which only the last layer is trained: a convex problem with one solution, for which influence is known
//! to foretell what training on a subset does, so a score near zero would be a defect of ours.

#[path = "score_pool/digits.rs"]
mod digits;

use assert_cmd::Command;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

/// Only the last layer learns, and all of it decays: the damping that influence takes is this decay.
const TRAINING: &str = r#"
epochs = 12
batch-size = 50
learning-rate = 0.3
weight-decay = 0.02
decay-all = true
freeze = ["conv1.*", "conv2.*", "fc1.*", "fc2.*"]
"#;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().expect("a temporary folder"));
        for (name, skip, each) in [("labeled", 0, 40), ("reference", 40, 20), ("pool", 60, 15)] {
            digits::write(&place.path(name), skip, each);
        }
        fs::write(place.path("training.toml"), TRAINING).expect("written");
        place.isal(&["model", "new", "lenet", "--seed", "3", "-o", "untrained.onnx"]).assert().success();
        let mut train = place.isal(&["train", "--model", "untrained.onnx", "--train", "labeled", "-o", "trained"]);
        train.args(["--epochs", "12", "--batch-size", "50", "--learning-rate", "0.3", "--weight-decay", "0.02"]);
        train.arg("--decay-all");
        train.args(["--freeze", "conv1.*,conv2.*,fc1.*,fc2.*"]).assert().success();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn isal(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("isal"));
        command.current_dir(self.0.path()).args(arguments);
        command
    }

    fn audit(&self, out: &str, more: &[&str]) -> Command {
        let mut command = self.isal(&["audit", "--model", "trained/model.onnx", "--labeled", "labeled"]);
        command.args(["--reference", "reference", "--pool", "pool", "--initial", "untrained.onnx", "--json"]);
        command.args(["--training", "training.toml", "--scope", "fc3.*", "--damping", "0.02", "-o", out]).args(more);
        command
    }

    fn audited(&self, out: &str, more: &[&str]) -> Value {
        let output = self.audit(out, more).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn written(&self, name: &str) -> SystemTime {
        fs::metadata(self.path(name)).and_then(|file| file.modified()).expect("a file")
    }
}

#[test]
fn influences_of_a_convex_problem_are_borne_out_and_an_audit_goes_on_where_it_was() {
    let place = Place::new();
    let found = place.audited("out", &["--halves", "8", "--time", "0.001s"]);
    let halves = found["datamodel"]["halves"].as_array().expect("halves").len();
    assert_eq!(halves, 6, "what it takes to tell anything is measured however little time there is");

    let before = place.written("out/retrained/half-006.json");
    let found = place.audited("out", &["--halves", "24", "--time", "1h"]);
    assert_eq!(place.written("out/retrained/half-006.json"), before, "no half is trained on twice");
    let model = &found["datamodel"];
    assert_eq!(model["halves"].as_array().expect("halves").len(), 24);
    assert_eq!((&model["images"], &model["trainings"]), (&200.into(), &2.into()));
    let score = model["score"].as_f64().expect("a score");
    // Regressions solved to the end in NumPy, with exact influences, score 0.78 over 40 halves of 400 digits; 24 halves give it a
    // standard error of about 0.1.
    assert!(score > 0.4, "the score is {score}");
    let low = model["interval"][0].as_f64().expect("an interval");
    assert!(low > 0.0 && low <= score, "{low}");
    // One solution, whatever the seed: trainings on a half agree.
    assert!(model["bound"].as_f64().expect("a bound") > 0.9, "{}", model["bound"]);
    assert_eq!(found["summary"][0], "Trainings bear these influences out.");
    for file in ["out/audit.json", "out/audit.html", "out/audit.svg"] {
        assert!(place.path(file).exists(), "{file}");
    }
    assert!(!place.path("out/training").exists(), "models of halves are not kept");

    let output = place.audit("out", &["--halves", "24", "--seed", "1"]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("another audit"), "{said}");
}

#[test]
fn the_order_is_compared_with_that_of_other_choices() {
    let place = Place::new();
    let found = place.audited("out", &["--time", "0"]);
    assert!(found["datamodel"].is_null());
    assert_eq!((&found["images"], &found["labelled"], &found["reference"]), (&150.into(), &400.into(), &200.into()));
    let spearman = |name: &str| {
        let variants = found["variants"].as_array().expect("variants");
        let variant = variants.iter().find(|variant| variant["name"] == name).expect("a variant");
        variant["agreement"]["spearman"].as_f64()
    };
    // The Hessian of a linear layer's cross-entropy is its Gauss-Newton matrix.
    assert!(spearman("curvature").expect("an answer") > 0.9999);
    // More damping is nearer to no curvature at all.
    let (tenfold, none) = (spearman("lambda-tenfold").expect("one"), spearman("no-curvature").expect("one"));
    assert!(none < tenfold && tenfold < 1.0, "{none} {tenfold}");
    assert!(spearman("lambda-tenth").expect("one") < 1.0);
    let halves = &found["halves"];
    assert_eq!(halves["images"], serde_json::json!([100, 100]));
    let (half, whole) =
        (halves["agreement"]["spearman"].as_f64().expect("one"), halves["whole"].as_f64().expect("one"));
    assert!((whole - 2.0 * half / (1.0 + half)).abs() < 1e-12, "Spearman and Brown: {half} {whole}");
}

#[test]
fn a_killed_audit_is_finished_by_the_same_command() {
    let place = Place::new();
    let quick = ["--halves", "6", "--trainings", "1", "--time", "0.001s", "--threads", "1"];
    let whole = place.audited("whole", &quick);
    // Moments around writes: in the first solve, among the others, and in the trainings.
    for at in ["3", "40", "75"] {
        let mut command = place.audit("killed", &quick);
        let output = command.env("ISAL_TEST_KILL_AT_WRITE", at).output().expect("it runs");
        assert!(output.status.code().is_none_or(|code| code == 0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let killed = place.audited("killed", &quick);
    let told = |audit: &Value| (audit["datamodel"]["halves"].clone(), audit["halves"].clone(), audit["images"].clone());
    assert_eq!(told(&killed), told(&whole));
}

/// A run of two rounds of which the first labels 60 images of the pool.
fn run(place: &Place) {
    digits::write(&place.path("test"), 75, 4);
    let config = format!(
        r#"
rounds = 2
model = "untrained.onnx"
data = {{ pool = "pool", reference = "reference", test = "test" }}
labels = {{ initial = 60, balanced = true, budget = 20 }}
select = {{ strategy = "random" }}
influence = {{ scope = "fc3.*" }}
solver = {{ solver = "cg-gauss-newton", damping = {{ fixed = 0.02 }} }}
[train]
{TRAINING}"#
    );
    fs::write(place.path("run.toml"), config).expect("written");
    place.isal(&["run", "run.toml", "-o", "run"]).assert().success();
}

#[test]
fn a_round_of_a_run_is_audited_as_if_all_of_it_were_spelt_out() {
    let place = Place::new();
    run(&place);
    let bytes = fs::read(place.path("run/round-00/labeled.json")).expect("a file");
    let labeled: Value = serde_json::from_slice(&bytes).expect("JSON");
    let labeled: Vec<&str> = labeled["ids"].as_array().expect("ids").iter().filter_map(Value::as_str).collect();
    for class in fs::read_dir(place.path("pool")).expect("classes") {
        let class = class.expect("a class").file_name().into_string().expect("a name");
        for image in fs::read_dir(place.path("pool").join(&class)).expect("images") {
            let name = image.expect("an image").file_name().into_string().expect("a name");
            let id = format!("{class}/{name}");
            let part = if labeled.contains(&id.as_str()) { "first" } else { "rest" };
            fs::create_dir_all(place.path(part).join(&class)).expect("made");
            fs::copy(place.path("pool").join(&id), place.path(part).join(&id)).expect("copied");
        }
    }
    let audited = |out: &str, what: &[&str]| -> Value {
        let mut command = place.isal(&["audit", "--json", "--threads", "1", "-o", out, "--seed", "4"]);
        command.args(["--halves", "6", "--trainings", "1", "--time", "0.001s"]).args(what);
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let of_run = audited("of-run", &["--run", "run", "--round", "1"]);
    let mut spelt = vec!["--model", "run/round-00/trained/model.onnx", "--labeled", "first", "--pool", "rest"];
    spelt.extend(["--reference", "reference", "--scope", "fc3.*", "--damping", "0.02"]);
    spelt.extend(["--initial", "untrained.onnx", "--training", "training.toml"]);
    let spelt_out = audited("spelt-out", &spelt);
    assert_eq!((&of_run["images"], &of_run["labelled"]), (&90.into(), &60.into()));
    // All but how long it took.
    let said = |audit: &Value| {
        let variants = audit["variants"].as_array().expect("variants").iter();
        let agreements: Vec<Value> = variants.map(|variant| variant["agreement"].clone()).collect();
        (agreements, audit["reference"].clone(), audit["halves"]["agreement"].clone())
    };
    assert_eq!(said(&of_run), said(&spelt_out));
    assert_eq!(of_run["datamodel"]["halves"], spelt_out["datamodel"]["halves"]);

    // The last round, unless another is asked for: 80 images are labelled there.
    let last = audited("last", &["--run", "run"]);
    assert_eq!((&last["images"], &last["labelled"]), (&70.into(), &80.into()));
    let refused = |more: &[&str], expected: &str| {
        let output = place.isal(&["audit", "-o", "none", "--run"]).args(more).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(expected), "{more:?}: {said}");
    };
    refused(&["run", "--pool", "pool"], "--pool");
    refused(&["pool"], "holds no run");
    fs::remove_file(place.path("run/round-00/trained/model.onnx")).expect("removed");
    refused(&["run", "--round", "1"], "no model of round 1; those of these rounds are there: 2");
    fs::write(place.path("pool/3/one-more.png"), fs::read(place.path("pool").join(labeled[0])).expect("an image"))
        .expect("written");
    refused(&["run"], "its pool is not the one given");
}

#[test]
fn what_cannot_be_audited_is_refused_by_name() {
    let place = Place::new();
    fs::write(place.path("command.toml"), "[train]\nkind = \"command\"\ncommand = [\"true\"]\n").expect("written");
    fs::write(place.path("odd.toml"), "momentum = 2.0\n").expect("written");
    for (more, expected) in [
        (&["--training", "command.toml"][..], "train.kind"),
        (&["--training", "odd.toml"], "train.momentum is 2"),
        (&["--training", "nowhere.toml"], "nowhere.toml"),
        (&["--time", "soon"], "expected a time such as 90s, 10m or 2h"),
        (&["--pool", "nowhere"], "--pool nowhere"),
        (&["--damping", "small"], "--damping"),
    ] {
        let mut command = place.isal(&["audit", "--model", "trained/model.onnx", "--labeled", "labeled", "-o", "out"]);
        let given = if more[0] == "--pool" { &[][..] } else { &["--pool", "pool"] };
        let output = command.args(given).args(more).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(expected), "{more:?}: {said}");
        assert!(!place.path("out/solves").exists());
    }
}
