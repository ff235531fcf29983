//! Runs whose models other programs train: shell scripts that call `isal train`, and PyTorch where there is one.

use super::place::{Place, digits, stderr};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

const CONFIG: &str = r#"
seed = 5
rounds = 2
model = "model.onnx"
data = { pool = "pool", reference = "reference", test = "test" }
labels = { initial = 20, balanced = true, budget = 0.05 }
select = { strategy = "margin" }
train = { kind = "command", command = ["sh", "train.sh", "{model}"] }
"#;

const TRAIN: &str = r#"
set -e
echo "round $ISAL_ROUND with seed $ISAL_SEED from $ISAL_PREVIOUS_MODEL"
"$ISAL" train --model "$ISAL_PREVIOUS_MODEL" --train "$ISAL_LABELED" --test "$ISAL_TEST" --epochs 2 --batch-size 10 \
  --seed "$ISAL_SEED" --threads 1 -o "$ISAL_OUT/isal"
cp "$ISAL_OUT/isal/model.onnx" "$1"
wc -l < "$ISAL_REFERENCE" > references.txt
cp "$ISAL_OUT/isal/metrics.json" "$ISAL_METRICS"
"#;

fn place(script: &str) -> Place {
    let place = Place::new();
    place.configure(CONFIG);
    fs::write(place.path("train.sh"), script).expect("written");
    place
}

#[test]
fn a_program_trains_and_its_models_select() {
    let place = place(TRAIN);
    place.run("out", &[]).assert().success();
    let sizes: Vec<usize> = place.json("out/curve.json")["ended"]
        .as_array()
        .expect("rounds")
        .iter()
        .map(|round| round["labeled"].as_u64().expect("a number") as usize)
        .collect();
    assert_eq!(sizes, [20, 35]);
    for (round, size) in sizes.iter().enumerate() {
        let folder = format!("out/round-{round:02}");
        let list = fs::read_to_string(place.path(&format!("{folder}/lists/labeled.jsonl"))).expect("a list");
        assert_eq!(list.lines().count(), *size);
        for line in list.lines() {
            let row: Value = serde_json::from_str(line).expect("JSON");
            let path = Path::new(row["path"].as_str().expect("a path"));
            assert!(path.is_absolute() && path.is_file(), "{}", path.display());
            let class = row["id"].as_str().expect("an id").split('/').next();
            assert_eq!(row["label"].as_str(), class);
            assert_eq!(row["class_index"].to_string(), class.expect("a class"));
        }
        let log = fs::read_to_string(place.path(&format!("{folder}/trained/log.txt"))).expect("a log");
        assert!(log.contains(&format!("round {} with seed", round + 1)) && log.contains("epoch 2/2"), "{log}");
        // ONNX Runtime finds what the plugin found on the same images.
        let metrics = place.json(&format!("{folder}/trained/metrics.json"));
        let (ours, theirs) = (&metrics["test"], &metrics["metrics"]["epochs"][1]["test"]);
        assert_eq!((&ours["accuracy"], &ours["images"]), (&theirs["accuracy"], &theirs["images"]));
        let (a, b) = (ours["loss"].as_f64().expect("a loss"), theirs["loss"].as_f64().expect("a loss"));
        // Two float32 forwards of one small network.
        assert!((a - b).abs() < 1e-3, "{a} {b}");
        assert_eq!(place.json("out/curve.json")["ended"][round]["test_accuracy"], ours["accuracy"]);
    }
    assert_eq!(fs::read_to_string(place.path("references.txt")).expect("a count").trim(), "40");
    // Nothing is trained twice.
    fs::write(place.path("train.sh"), "exit 1").expect("written");
    place.run("out", &[]).assert().success();
}

#[test]
fn reference_images_are_trained_on_where_the_run_says_so_and_counted_apart() {
    let place = place(TRAIN);
    let settings = ["--set", "train.with-reference=true", "--set", "select.strategy=random"];
    place.run("by-program", &settings).assert().success();
    let ours = CONFIG.replace(r#"train = { kind = "command", command = ["sh", "train.sh", "{model}"] }"#, "");
    place.configure(&(ours + "train = { epochs = 2, batch-size = 10 }"));
    place.run("by-isal", &settings).assert().success();
    // Archives number their images from 0 on: ids repeat from set to set.
    for (name, skip, each) in [("pool.csv", 14, 30), ("reference.csv", 0, 4)] {
        digits::write_table(&place.path(name), skip, each);
    }
    let tables = ["--set", "data.pool=pool.csv", "--set", "data.reference=reference.csv", "--set", "rounds=1"];
    place.run("tables", &[&settings[..], &tables].concat()).assert().success();
    assert_eq!(place.json("tables/curve.json")["ended"][0]["reference_labeled"], 40);
    let rows = |list: &Path| -> Vec<(String, String)> {
        let list = fs::read_to_string(list).expect("a list");
        let rows = list.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        rows.map(|row| (row["path"].to_string(), row["label"].to_string())).collect()
    };
    for round in 0..2 {
        let folder = format!("by-program/round-{round:02}");
        let counted = &place.json("by-program/curve.json")["ended"][round];
        let spent = 20 + 15 * round;
        assert_eq!((&counted["labeled"], &counted["reference_labeled"]), (&spent.into(), &40.into()));
        let lists = place.path(&format!("{folder}/lists"));
        let (labelled, reference) = (rows(&lists.join("labeled.jsonl")), rows(&lists.join("reference.jsonl")));
        assert_eq!((labelled.len(), reference.len()), (spent + 40, 40));
        assert_eq!(labelled[spent..], reference, "the same files with the same labels");
        // A program that is given that list trains what `isal` does by itself.
        let model =
            |out: &str| fs::read(place.path(&format!("{out}/round-{round:02}/trained/model.onnx"))).expect("a model");
        assert!(model("by-program") == model("by-isal"), "round {round}");
    }
    let status = place.isal(&["run", "--status", "by-isal"]).output().expect("it runs");
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("35 labels and 40 of the reference set"), "{status}");
    for (settings, said) in [
        (["select.strategy=influence", "rounds=2"], "strategy `influence` goes by the reference set"),
        (["select.strategy=influence-batch", "rounds=2"], "serve the pool with select.target"),
        (["select.strategy=bait", "select.target=pool+reference"], "strategy `bait` goes by the reference set"),
    ] {
        let settings = ["train.with-reference=true", settings[0], settings[1]];
        let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        let refused = stderr(&mut place.run("refused", &settings), 2);
        assert!(refused.contains(said), "{refused}");
    }
}

#[test]
fn a_program_needs_no_model_to_start_from_and_reads_images_of_archives_as_files() {
    let place = place(
        "set -e; test -z \"$ISAL_PREVIOUS_MODEL\"; test -z \"$ISAL_REFERENCE\"; test $(wc -l < $ISAL_CLASSES) = 10
        \"$ISAL\" train --model model.onnx --train $ISAL_LABELED --epochs 1 --threads 1 -o $ISAL_OUT/isal
        cp $ISAL_OUT/isal/model.onnx $ISAL_MODEL",
    );
    // Ten digits of each class, which the other sets do not have.
    digits::write_table(&place.path("table.csv"), 100, 10);
    let config = CONFIG
        .replace("\nmodel = \"model.onnx\"", "")
        .replace("pool = \"pool\", reference = \"reference\"", "pool = \"table.csv\"");
    place.configure(&config);
    place.run("out", &[]).assert().success();
    let list = fs::read_to_string(place.path("out/round-01/lists/labeled.jsonl")).expect("a list");
    assert_eq!(list.lines().count(), 25);
    let files = super::place::list(&place.path("out/images/pool"));
    assert_eq!(files.len(), 25, "those that are labelled alone");
    for line in list.lines() {
        let row: Value = serde_json::from_str(line).expect("JSON");
        let shown = image::open(row["path"].as_str().expect("a path")).expect("an image");
        assert_eq!((shown.width(), shown.height()), (28, 28));
    }
}

#[test]
fn a_run_with_a_program_that_is_killed_ends_with_the_same_bytes() {
    let place = place(TRAIN);
    place.run("whole", &["--set", "train.warm-start=true"]).assert().success();
    for at in 1.. {
        let mut command = place.run("broken", &["--set", "train.warm-start=true"]);
        let output = command.env("ISAL_TEST_KILL_AT_WRITE", at.to_string()).output().expect("it runs");
        // The program inherits the variable, and may end by it itself.
        if output.status.success() {
            break;
        }
    }
    let (whole, broken) = (place.made("whole"), place.made("broken"));
    assert_eq!(whole, broken);
}

#[test]
fn a_program_that_fails_is_shown_and_the_run_goes_on_when_it_is_fixed() {
    let place = place("echo first; echo 'no such layer' >&2; exit 3");
    let said = stderr(&mut place.run("out", &[]), 3);
    for part in ["training of round 1", "`sh`", "exit code 3", "log.txt", "first", "no such layer"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let words = "train.command=['sh', '-c', 'echo {previous-model}']";
    let said = stderr(place.isal(&["run", "run.toml", "-o", "bare"]).args(["--set", words]), 3);
    assert!(said.contains("left no model") && said.contains("model.onnx"), "{said}");
    let kept = place.json("out/round-00/trained/command.json");
    assert_eq!((&kept["exit_code"], &kept["log_tail"]), (&3.into(), &"first\nno such layer".into()));
    fs::write(place.path("train.sh"), "echo done").expect("written");
    let said = stderr(&mut place.run("out", &[]), 3);
    assert!(said.contains("left no model") && said.contains("ISAL_MODEL"), "{said}");
    fs::write(place.path("train.sh"), TRAIN).expect("written");
    place.run("out", &[]).assert().success();
    assert_eq!(place.json("out/round-00/trained/metrics.json")["exit_code"], 0);
}

#[test]
fn a_model_that_does_not_fit_is_refused_by_what_does_not_fit() {
    let place = place("cp five.onnx $ISAL_MODEL");
    place.isal(&["model", "new", "lenet", "--classes", "5", "-o", "five.onnx"]).assert().success();
    let said = stderr(&mut place.run("out", &[]), 3);
    assert!(said.contains("has 5 class scores, and the run has 10 classes"), "{said}");
    // A model of images with two channels.
    fs::write(place.path("train.sh"), "cp wide.onnx $ISAL_MODEL").expect("written");
    place
        .isal(&["model", "new", "resnet8", "--input", "2x28x28", "--classes", "10", "-o", "wide.onnx"])
        .assert()
        .success();
    let said = stderr(&mut place.run("out", &[]), 2);
    assert!(said.contains("model.onnx` does not fit the run"), "{said}");
    fs::write(place.path("train.sh"), "echo no model > $ISAL_MODEL").expect("written");
    let said = stderr(&mut place.run("out", &[]), 2);
    assert!(said.contains("model.onnx` does not fit the run"), "{said}");
}

/// The process ids in files that a script wrote, once they are there.
#[cfg(target_os = "linux")]
fn processes(place: &Place, files: &[&str]) -> Vec<String> {
    let began = Instant::now();
    let read = |file: &&str| fs::read_to_string(place.path(file)).unwrap_or_default().trim().to_owned();
    loop {
        let found: Vec<String> = files.iter().map(read).collect();
        if found.iter().all(|id| !id.is_empty()) {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "the program does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(target_os = "linux")]
fn assert_gone(processes: &[String]) {
    let gone = |id: &String| {
        let state = fs::read_to_string(format!("/proc/{id}/stat"));
        state.map_or(true, |stat| stat.contains(") Z"))
    };
    let began = Instant::now();
    while !processes.iter().all(gone) {
        assert!(began.elapsed() < Duration::from_secs(20), "a trainer outlives its run");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_killed_run_leaves_no_program_behind_and_an_interrupted_one_ends_it() {
    let script = "echo $$ > trainer; sh -c 'echo $$ > worker; exec sleep 600' & wait";
    for signal in ["KILL", "INT"] {
        let place = place(script);
        let mut child: Child = place.start("out");
        let processes = processes(&place, &["trainer", "worker"]);
        let status = place.isal(&["run", "--status", "out", "--json"]).output().expect("it runs").stdout;
        let status: Value = serde_json::from_slice(&status).expect("JSON");
        assert_eq!((&status["state"], &status["next"]["stage"]), (&"running".into(), &"training".into()));
        let id = child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-s", signal, &id]).status().expect("it runs").success());
        let status = child.wait().expect("it ends");
        assert_eq!(status.code(), if signal == "INT" { Some(130) } else { None });
        assert_gone(&processes);
    }
}

/// `docs/examples/train_pytorch.py`, with a Python that has torch: `FIXTURE_PYTHON`, under `ISAL_TEST_ALL`.
#[test]
fn the_example_in_pytorch_trains() {
    let python = std::env::var("FIXTURE_PYTHON").ok();
    let Some(python) = python.filter(|_| std::env::var_os("ISAL_TEST_ALL").is_some()) else { return };
    let place = Place::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/train_pytorch.py");
    let command = format!("command = ['{python}', '{}', '--epochs', '40']", script.display());
    place.configure(
        &CONFIG
            .replace("command = [\"sh\", \"train.sh\", \"{model}\"]", &command)
            .replace("model = \"model.onnx\"", ""),
    );
    place.run("out", &["--set", "select.strategy=influence"]).assert().success();
    let curve = place.json("out/curve.json");
    let last = curve["ended"][1]["test_accuracy"].as_f64().expect("an accuracy");
    // 35 digits teach a small network far more than chance, which is 0.1.
    assert!(last > 0.3, "{last}");
}
