//! Requests that are kept for labelling: which they are, that they are what was sent, and that they outlive the server.

use super::influence::{graph, influence};
use super::place::{Place, request, start};
use super::program::{address, isal, started};
use isal::data::harvest::{Form, HarvestError, Part, View};
use isal::data::{Dataset, Image, Limits, OpenOptions, Preprocess, Recipe, decode};
use isal::serve::{HarvestOptions, Server, Source};
use isal_onnx::Model;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

fn keeping(folder: &Path, images: usize, sample: usize) -> HarvestOptions {
    HarvestOptions { folder: folder.to_owned(), images, sample, bytes: 1 << 30 }
}

fn serving(model: &Model, folder: &Path, options: HarvestOptions) -> Server {
    let path = folder.join("i.onnx");
    model.write(&path).expect("written");
    start(Source::Files([("i".to_owned(), path)].into()), |given| given.harvest = Some(options))
}

fn ask(address: SocketAddr, images: &[[f32; 2]], outputs: Value) -> Value {
    let body = json!({"inputs": [{"name": "images", "shape": [images.len(), 1, 1, 2], "datatype": "FP32", "data": images}],
        "outputs": outputs});
    request(address, "POST", "/v2/models/i/infer", &[], body.to_string().as_bytes()).json()
}

/// The requests of a harvest: part, influence and bytes.
fn kept(folder: &Path) -> Vec<(Part, f32, Form, Vec<u8>)> {
    let view = View::open(folder).expect("a harvest");
    let mut all = Vec::new();
    view.each(|model, hash, row| {
        assert_eq!(model, "i");
        all.push((row.part, row.influence, row.form, view.bytes(model, hash)?));
        Ok::<(), HarvestError>(())
    })
    .expect("read");
    all
}

fn pair(bytes: &[u8]) -> [f32; 2] {
    super::place::floats(bytes).try_into().expect("two numbers")
}

#[test]
fn the_lowest_influences_are_kept_each_once_with_a_sample_of_the_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let harvest = folder.path().join("harvest");
    let server = serving(&graph(), folder.path(), keeping(&harvest, 5, 4));
    let images: Vec<[f32; 2]> = (0..60_u16).map(|at| [f32::from(at % 8) - 3.5, f32::from(at / 8) - 3.25]).collect();
    for batch in images.chunks(7).chain(images.chunks(20)) {
        // The client need not ask for the influence, and does not get it then.
        let answer = ask(server.http().expect("it listens"), batch, json!([{"name": "logits"}]));
        assert_eq!(answer["outputs"].as_array().map(Vec::len), Some(1), "{answer}");
    }
    assert_eq!(server.harvested(), [("i".to_owned(), true)]);
    server.stop();

    let mut order = images.clone();
    order.sort_by(|a, b| influence(*a).total_cmp(&influence(*b)));
    let kept = kept(&harvest);
    let of = |part: Part| -> Vec<[f32; 2]> {
        let mut found: Vec<[f32; 2]> = kept.iter().filter(|row| row.0 == part).map(|row| pair(&row.3)).collect();
        found.sort_by(|a, b| influence(*a).total_cmp(&influence(*b)));
        found
    };
    assert_eq!(of(Part::Lowest), order[..5], "by the closed form");
    let sample = of(Part::Sample);
    assert_eq!(sample.len(), 4);
    assert!(sample.iter().all(|image| order[5..].contains(image)), "of the others, each once: {sample:?}");
    for (_, found, form, bytes) in &kept {
        assert!((f64::from(*found) - influence(pair(bytes))).abs() < 1e-5);
        assert_eq!(*form, Form::Numbers { datatype: "FP32".to_owned(), shape: vec![1, 1, 2] });
    }

    // What is there after a restart is not kept again, and what is better takes its place.
    let server = serving(&graph(), folder.path(), keeping(&harvest, 5, 4));
    let at = server.http().expect("it listens");
    ask(at, &images[..20], json!([]));
    let finer = (0..10_000_u16).map(|at| [f32::from(at % 100) / 12.0 - 4.0, f32::from(at / 100) / 12.0 - 4.0]);
    let best = finer.min_by(|a, b| influence(*a).total_cmp(&influence(*b))).expect("some");
    assert!(influence(best) < influence(order[0]), "{best:?}");
    ask(at, &[best], json!([]));
    server.stop();
    let again: Vec<[f32; 2]> =
        super::harvest::kept(&harvest).iter().filter(|row| row.0 == Part::Lowest).map(|row| pair(&row.3)).collect();
    assert!(again.len() == 5 && again.contains(&best) && !again.contains(&order[4]), "{again:?}");
}

/// The graph with the preprocessing that it carries: raw bytes in [-1, 1].
fn with_recipe() -> (Model, Recipe) {
    let mut model = graph();
    let preprocess = Preprocess::parse("[preprocess]\nmean = [0.5]\nstd = [0.5]\n", "the test").expect("sound");
    let recipe = Recipe::resolve(&preprocess, &[None, Some(1), Some(1), Some(2)], None).expect("a recipe");
    let text = serde_json::to_string(&recipe).expect("JSON");
    model.metadata.insert("isal.influence.preprocessing".to_owned(), text);
    (model, recipe)
}

fn png(pixels: [u8; 2]) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    let image = image::GrayImage::from_raw(2, 1, pixels.to_vec()).expect("two pixels");
    image.write_to(&mut file, image::ImageFormat::Png).expect("encoded");
    file.into_inner()
}

#[test]
fn a_harvest_is_a_pool_of_the_images_that_were_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let harvest = folder.path().join("harvest");
    let (model, recipe) = with_recipe();
    let server = serving(&model, folder.path(), keeping(&harvest, 100, 100));
    let at = server.http().expect("it listens");
    // As files, and as the numbers that a client made of them.
    let files: Vec<Vec<u8>> = [[3, 250], [90, 14]].map(png).to_vec();
    let headers = [("Inference-Header-Content-Length", "0")];
    for file in &files {
        assert_eq!(request(at, "POST", "/v2/models/i/infer", &headers, file).status, 200);
    }
    let numbers = Image::new(1, 2, 1, vec![77, 201]).expect("two pixels");
    let mut floats = [0.0; 2];
    recipe.apply(&numbers, &mut floats).expect("it fits");
    ask(at, &[floats], json!([]));
    // No image gives these.
    ask(at, &[[7.0, -3.0]], json!([]));
    // Nothing that was refused is kept.
    assert_eq!(request(at, "POST", "/v2/models/i/infer", &headers, &files[0][..20]).status, 400);

    let expected: Vec<Image> = files.iter().map(|file| decode(file, &Limits::default()).expect("an image")).collect();
    let is_there = |pool: &Dataset| {
        let all: Vec<_> = (0..pool.len()).map(|index| pool.load(index)).collect();
        assert_eq!(all.len(), 4);
        let images: Vec<Image> = all.iter().flatten().cloned().collect();
        assert_eq!(images.len(), 3, "one is no image, and is said so");
        assert!(expected.iter().chain([&numbers]).all(|image| images.contains(image)));
        let refused: Vec<String> = all.iter().filter_map(|image| image.as_ref().err()).map(chain).collect();
        assert!(refused.len() == 1 && refused[0].contains("preprocessing"), "{refused:?}");
    };
    let open = |path: &Path| Dataset::open(path, &OpenOptions::default()).expect("a pool");
    // While the server goes on. It writes behind its answers.
    while View::open(&harvest).is_err() || kept(&harvest).len() < 4 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let pool = open(&harvest);
    is_there(&pool);
    server.stop();
    is_there(&open(&harvest));
    assert_eq!(pool.fingerprint(), open(&harvest).fingerprint());
    is_there(&open(Path::new(&format!("{}#i", harvest.display()))));
    let other = Dataset::open(Path::new(&format!("{}#other", harvest.display())), &OpenOptions::default());
    assert!(other.is_err_and(|e| e.to_string().contains("`i`")));

    // Written out, the files are the bytes that came.
    let out = folder.path().join("out");
    let told = run(&["harvest", "export", &harvest.display().to_string(), "-o", &out.display().to_string(), "--json"]);
    assert_eq!((&told["requests"], &told["images"], &told["arrays"]), (&json!(4), &json!(3), &json!(2)), "{told}");
    let text = std::fs::read_to_string(out.join("harvest.jsonl")).expect("a list");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let influences: Vec<f64> = lines.iter().filter_map(|line| line["influence"].as_f64()).collect();
    assert!(influences.len() == 4 && influences.is_sorted(), "the most useful first: {influences:?}");
    let written: Vec<Vec<u8>> = lines
        .iter()
        .filter(|line| line["form"] == "image")
        .map(|line| std::fs::read(out.join(line["path"].as_str().expect("a path"))).expect("a file"))
        .collect();
    assert!(written.len() == 2 && files.iter().all(|file| written.contains(file)));
    let exported = open(&out);
    let mut shown: Vec<Image> = (0..exported.len()).map(|index| exported.load(index).expect("an image")).collect();
    assert_eq!(shown.len(), 3);
    shown.retain(|image| !expected.contains(image));
    assert_eq!(shown, [numbers]);
}

fn chain(error: &isal::data::DataError) -> String {
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    format!("{error}: {source}")
}

/// What the program says as JSON.
fn run(arguments: &[&str]) -> Value {
    let output = isal().args(arguments).output().expect("it ran");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn what_is_stored_is_said_and_shown_and_cleared_beside_the_server() {
    let place = Place::new();
    place.put("i", 1, &graph());
    let harvest = place.folder.path().join(".harvest");
    let folder = harvest.display().to_string();
    let (started, said) = started(&place, &["--harvest", &folder, "--harvest-images", "3", "--harvest-mb", "5"]);
    assert_eq!(said["harvest"]["models"], json!(["i"]), "{said}");
    assert_eq!((&said["harvest"]["images"], &said["harvest"]["bytes"]), (&json!(3), &json!(5 << 20)));
    let images: Vec<[f32; 2]> = (0..9_u16).map(|at| [f32::from(at), 1.5]).collect();
    let asked = || {
        ask(address(&said), &images, json!([]));
        loop {
            let metrics = String::from_utf8(request(address(&said), "GET", "/metrics", &[], b"").body).expect("text");
            if metrics.contains("isal_harvest_images{model=\"i\",part=\"lowest\"} 3") {
                return metrics;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let metrics = asked();
    for line in [
        "isal_harvest_images{model=\"i\",part=\"sample\"} 6",
        "isal_harvest_bytes{model=\"i\",part=\"lowest\"} 24",
        "isal_harvest_dropped_total 0",
        "isal_harvest_failed_total 0",
    ] {
        assert!(metrics.contains(line), "no line `{line}` in\n{metrics}");
    }
    let listed = run(&["harvest", "list", &folder, "--json"]);
    assert!(listed["sign"].as_str().is_some_and(|sign| sign.contains("more negative")), "{listed}");
    let mut expected: Vec<f64> = images.iter().map(|image| influence(*image)).collect();
    expected.sort_by(f64::total_cmp);
    let found: Vec<f64> =
        listed["lowest"].as_array().expect("a list").iter().filter_map(|l| l["influence"].as_f64()).collect();
    assert!(found.len() == 3 && found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?}");
    assert_eq!(listed["models"][1]["requests"], 6);

    let wrong = isal().args(["harvest", "clear", &folder, "--model", "other"]).output().expect("it ran");
    let text = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert_eq!((wrong.status.code(), text.contains("but of `i`")), (Some(2), true), "{text}");
    assert_eq!(run(&["harvest", "clear", &folder, "--json"])["removed"], 9);
    assert_eq!(run(&["harvest", "list", &folder, "--json"])["models"], json!([]));
    // The server learns of it, and keeps on keeping.
    ask(address(&said), &[[-50.0, 1.0]], json!([]));
    loop {
        let listed = run(&["harvest", "list", &folder, "--json"]);
        if listed["models"][0]["requests"] == 1 {
            break;
        }
    }
    drop(started);
    let nothing = isal().args(["harvest", "list", "/nowhere/at/all"]).output().expect("it ran");
    assert_eq!(nothing.status.code(), Some(2), "{}", String::from_utf8_lossy(&nothing.stderr));
}

/// The number that a metric has.
fn metric(address: SocketAddr, name: &str) -> usize {
    let text = String::from_utf8(request(address, "GET", "/metrics", &[], b"").body).expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line.unwrap_or_else(|| panic!("no `{name}` in {text}"))
}

/// A server is killed at any moment while requests come; what it had counted as stored is there, and nothing that was not sent.
#[test]
fn what_was_counted_as_stored_survives_a_kill() {
    let place = Place::new();
    place.put("i", 1, &graph());
    let harvest = place.folder.path().join(".harvest");
    let folder = harvest.display().to_string();
    let mut before = 0;
    for turn in 0..6_u16 {
        let (mut started, said) = started(&place, &["--harvest", &folder, "--harvest-images", "1000000"]);
        let at = address(&said);
        let mut counted = 0;
        for request in 0..20 + 13 * turn {
            let images: Vec<[f32; 2]> = (0..4).map(|row| [f32::from(turn), f32::from(request * 4 + row)]).collect();
            ask(at, &images, json!([]));
            counted = metric(at, "isal_harvest_stored_total");
        }
        started.0.kill().expect("killed");
        started.0.wait().expect("ended");
        let kept = kept(&harvest);
        assert!(kept.len() >= before + counted, "turn {turn}: {} after {before} and {counted}", kept.len());
        before = kept.len();
        let mut seen = BTreeMap::new();
        for (_, found, _, bytes) in &kept {
            let [of_turn, number] = pair(bytes);
            assert!(of_turn <= f32::from(turn) && number.fract() == 0.0, "it was never sent: {of_turn} {number}");
            assert!((f64::from(*found) - influence([of_turn, number])).abs() < 1e-3 * found.abs().max(1.0) as f64);
            assert!(seen.insert((of_turn as u32, number as u32), ()).is_none(), "twice");
        }
    }
    assert!(before > 100);
}

/// A disk that takes no more: the answers stay right, and the metrics say it.
#[cfg(unix)]
#[test]
fn a_harvest_that_cannot_be_written_fails_no_request() {
    let place = Place::new();
    place.put("i", 1, &graph());
    let harvest = place.folder.path().join(".harvest");
    // Files of at most 1 MiB in all: the database begins with more than half of it.
    let script = "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", script, env!("CARGO_BIN_EXE_isal"), "serve", "--repository"])
        .arg(place.folder.path())
        .args(["--http-port", "0", "--grpc-port", "0", "--json", "--execution-provider", "cpu", "--harvest"])
        .arg(&harvest)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let (started, said) = super::program::spawned(command);
    let at = address(&said);
    let mut number = 0_u16;
    while metric(at, "isal_harvest_failed_total") == 0 {
        let images: Vec<[f32; 2]> = (0..32).map(|row| [f32::from(number), f32::from(row as u8)]).collect();
        let answer = ask(at, &images, json!([{"name": "influence"}]));
        let found: Vec<f64> = serde_json::from_value(answer["outputs"][0]["data"].clone()).expect("answered");
        let right = |(found, image): (&f64, &[f32; 2])| (found - influence(*image)).abs() < 1e-3 * found.abs().max(1.0);
        assert!(found.len() == 32 && found.iter().zip(&images).all(right));
        number += 1;
        assert!(number < 2000, "it never was full");
    }
    let stored = metric(at, "isal_harvest_stored_total");
    assert!(stored > 0);
    drop(started);
    assert!(kept(&harvest).len() >= stored);
}
