//! The ML backend of Label Studio: what it is asked, as Label Studio 1.23 asks, and what it answers.

use super::influence::{graph, influence};
use super::place::{Response, request, start};
use base64::Engine as _;
use isal::data::{Image, Preprocess, Recipe};
use isal::scores::{BeliefColumn, ScoreRow, ScoreTable, belief};
use isal::serve::{LabelStudioOptions, Server, Source};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

#[path = "../fixtures/label_studio.rs"]
mod label_studio_server;

const INTERFACE: &str = r#"<View><Image name="image" value="$image"/><Choices name="label" toName="image" choice="single">
    <Choice value="ant"/><Choice value="bee"/><Choice value="wasp" alias="w"/></Choices></View>"#;

/// A graph of three classes with its preprocessing, behind a server that answers Label Studio.
fn serving(folder: &Path, options: LabelStudioOptions, token: Option<&str>) -> (Server, Recipe) {
    let mut model = graph();
    let preprocess = Preprocess::parse("[preprocess]\nmean = [0.5]\nstd = [0.25]\n", "the test").expect("sound");
    let recipe = Recipe::resolve(&preprocess, &[None, Some(1), Some(1), Some(2)], None).expect("a recipe");
    let text = serde_json::to_string(&recipe).expect("JSON");
    model.metadata.insert("isal.influence.preprocessing".to_owned(), text);
    model.metadata.insert("isal.influence.classes".to_owned(), json!(["ant", "bee", "wasp"]).to_string());
    let path = folder.join("i.onnx");
    model.write(&path).expect("written");
    let server = start(Source::Files([("i".to_owned(), path)].into()), |given| {
        given.label_studio = Some(options);
        given.token = token.map(str::to_owned);
    });
    (server, recipe)
}

fn post(server: &Server, path: &str, body: &Value) -> Response {
    request(server.http().expect("it listens"), "POST", path, &[], body.to_string().as_bytes())
}

fn task(number: u32, data: Value) -> Value {
    json!({"id": number, "data": data, "meta": {}, "project": 1, "annotations": [], "predictions": []})
}

/// As `make_predictions` of Label Studio sends it.
fn asked(tasks: &[Value]) -> Value {
    json!({"tasks": tasks, "project": "1.1790000000", "label_config": INTERFACE,
        "params": {"login": null, "password": null, "context": null}})
}

#[test]
fn tasks_get_the_class_and_the_influence_of_their_image() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = folder.path().join("files");
    std::fs::create_dir(&files).expect("made");
    std::fs::write(folder.path().join("outside.png"), "x").expect("written");
    let (server, recipe) =
        serving(folder.path(), LabelStudioOptions { files: Some(files.clone()), ..Default::default() }, None);
    let pixels: Vec<[u8; 2]> = (0..40_u8).map(|at| [at * 6, 255 - at * 5]).collect();
    let mut expected = Vec::new();
    let mut tasks = Vec::new();
    for (number, pixels) in (0_u32..).zip(&pixels) {
        let name = format!("{number} a.png");
        image::GrayImage::from_raw(2, 1, pixels.to_vec()).expect("pixels").save(files.join(&name)).expect("saved");
        let mut floats = [0.0; 2];
        recipe.apply(&Image::new(1, 2, 1, pixels.to_vec()).expect("pixels"), &mut floats).expect("it fits");
        expected.push(influence(floats));
        let address =
            format!("/data/local-files/?d={}/{number}%20a.png", files.display().to_string().trim_start_matches('/'));
        tasks.push(task(number, json!({"image": address})));
    }
    tasks.push(task(40, json!({"image": "/data/local-files/?d=../outside.png"})));
    tasks.push(task(41, json!({"image": "http://127.0.0.1:9/a.png"})));
    tasks.push(task(42, json!({"text": "no image"})));

    let at = server.http().expect("it listens");
    for path in ["/health", "/"] {
        assert_eq!(request(at, "GET", path, &[], b"").json()["status"], "UP");
    }
    let said = json!({"project": "1.17", "schema": INTERFACE, "hostname": "http://localhost:8080", "access_token": "x",
        "extra_params": null});
    let version = post(&server, "/setup", &said).json()["model_version"].clone();
    assert!(version.as_str().is_some_and(|version| version.starts_with("i/1 ")), "{version}");
    assert_eq!(request(at, "GET", "/versions", &[], b"").json()["versions"], json!([version]));
    assert_eq!(post(&server, "/webhook", &json!({"action": "ANNOTATION_CREATED", "annotation": {}})).status, 201);

    let answer = post(&server, "/predict", &asked(&tasks)).json();
    let results = answer["results"].as_array().expect("a list");
    assert_eq!(results.len(), tasks.len(), "one a task, in order");
    for (result, expected) in results.iter().zip(&expected) {
        let score = result["score"].as_f64().expect("a score");
        // A handful of float32 operations on numbers of the size of 10.
        assert!((score - expected).abs() < 1e-4, "{score} {expected}");
        assert_eq!(result["model_version"], version);
        let choice = &result["result"][0];
        assert_eq!(
            (&choice["from_name"], &choice["to_name"], &choice["type"]),
            (&json!("label"), &json!("image"), &json!("choices"))
        );
        let choices = &choice["value"]["choices"];
        assert!([json!(["ant"]), json!(["bee"]), json!(["w"])].contains(choices), "{choices}");
    }
    for empty in &results[40..] {
        assert_eq!((&empty["score"], &empty["result"]), (&Value::Null, &json!([])), "{empty}");
    }
    // Without choices of these names the score is all there is.
    let mut other = asked(&tasks[..1]);
    other["label_config"] = json!(INTERFACE.replace("ant", "x").replace("bee", "y").replace("wasp", "z"));
    let result = &post(&server, "/predict", &other).json()["results"][0];
    assert!(result["score"].is_number() && result["result"] == json!([]), "{result}");
    for wrong in ["{}", "[]", "{\"tasks\": 3}", "no"] {
        assert_eq!(request(at, "POST", "/predict", &[], wrong.as_bytes()).status, 400, "{wrong}");
    }
    server.stop();
}

#[test]
fn what_stands_in_the_score_table_is_not_computed_and_needs_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let row = |number: u32| ScoreRow {
        id: format!("pool/{number}.png"),
        influence: Some(-f64::from(number) / 8.0),
        beliefs: vec![f64::from(number % 3)],
        ..ScoreRow::default()
    };
    let columns = vec![BeliefColumn::whole(belief::PSEUDO_LABEL)];
    let table = ScoreTable { columns, rows: (0..100).map(row).collect(), ..ScoreTable::default() };
    table.write(&folder.path().join("scores.parquet")).expect("written");
    let options = LabelStudioOptions { scores: Some(folder.path().to_owned()), ..Default::default() };
    let (server, _) = serving(folder.path(), options, None);
    let by_id =
        |number: u32| task(number, json!({"image": "https://elsewhere/x.png", "id": format!("pool/{number}.png")}));
    let by_path = |number: u32| task(number, json!({"image": format!("/data/local-files/?d=mnt/pool/{number}.png")}));
    let mut tasks: Vec<Value> = (0..50).map(by_id).chain((50..100).map(by_path)).collect();
    tasks.push(task(100, json!({"image": "/data/local-files/?d=mnt/pool/100.png"})));
    let answer = post(&server, "/predict", &asked(&tasks)).json();
    let results = answer["results"].as_array().expect("a list");
    for (number, result) in (0_u32..100).zip(results) {
        assert_eq!(result["score"].as_f64(), Some(-f64::from(number) / 8.0));
        assert_eq!(result["result"][0]["value"]["choices"][0], ["ant", "bee", "w"][number as usize % 3]);
    }
    assert_eq!((results.len(), &results[100]["score"]), (101, &Value::Null));
    let stats = request(server.http().expect("it listens"), "GET", "/v2/models/i/stats", &[], b"").json();
    assert_eq!(stats["model_stats"][0]["inference_count"], 0);
    server.stop();
}

#[test]
fn it_asks_for_the_token_as_a_password_and_is_off_by_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = LabelStudioOptions { files: Some(folder.path().to_owned()), ..Default::default() };
    let (server, _) = serving(folder.path(), options, Some("open sesame"));
    let at = server.http().expect("it listens");
    let with = |pair: &str| {
        let header = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
        request(at, "GET", "/health", &[("authorization", &header)], b"").status
    };
    assert_eq!(request(at, "GET", "/health", &[], b"").status, 401);
    assert_eq!((with("anybody:open sesame"), with("anybody:wrong"), with("open sesame:")), (200, 401, 401));
    server.stop();
    let place = super::place::Place::affine();
    for path in ["/health", "/", "/versions"] {
        assert_eq!(place.get(path).status, 404, "{path}");
    }
}

/// By its own API it connects, fetches predictions, orders by them, and tells of an annotation.
#[test]
#[ignore = "needs Label Studio: make test-label-studio"]
fn a_real_label_studio_shows_our_predictions_the_most_useful_first() {
    // More to see how long it takes.
    let count: usize = std::env::var("ISAL_LABEL_STUDIO_TASKS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let folder = tempfile::tempdir().expect("a folder");
    let files = folder.path().join("files");
    std::fs::create_dir(&files).expect("made");
    let options = LabelStudioOptions { files: Some(files.clone()), ..Default::default() };
    let (server, recipe) = serving(folder.path(), options, Some("open sesame"));
    let (mut tasks, mut expected) = (Vec::new(), Vec::new());
    for number in 0..count {
        // Two equal pixels would be a tie of two classes.
        let pixels = [(number % 251) as u8, ((number + 1 + number / 251) % 256) as u8];
        let path = files.join(format!("{number}.png"));
        image::GrayImage::from_raw(2, 1, pixels.to_vec()).expect("pixels").save(&path).expect("saved");
        let mut floats = [0.0; 2];
        recipe.apply(&Image::new(1, 2, 1, pixels.to_vec()).expect("pixels"), &mut floats).expect("it fits");
        expected.push(influence(floats));
        let address = format!("/data/local-files/?d={}", path.display().to_string().trim_start_matches('/'));
        tasks.push(json!({"data": {"image": address, "number": number}}));
    }
    std::fs::write(folder.path().join("tasks.json"), Value::from(tasks).to_string()).expect("written");
    std::fs::write(folder.path().join("interface.xml"), INTERFACE).expect("written");
    let data = tempfile::tempdir().expect("a folder");
    let (_label_studio, url) = label_studio_server::start(data.path());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/serve/label_studio.py");
    let output = Command::new(label_studio_server::program("python"))
        .arg(script)
        .args([url.as_str(), label_studio_server::TOKEN])
        .args([folder.path().join("tasks.json"), folder.path().join("interface.xml")])
        .args([format!("http://{}", server.http().expect("it listens")), "open sesame".to_owned()])
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let saw: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(saw["state"], "Connected", "{saw}");
    let shown = saw["tasks"].as_array().expect("a list");
    assert_eq!(shown.len(), count);
    let scores: Vec<f64> = shown.iter().map(|task| task["score"].as_f64().expect("a score")).collect();
    assert!(scores.is_sorted(), "ordered by Label Studio");
    for (task, score) in shown.iter().zip(&scores) {
        let number = task["number"].as_u64().expect("a number") as usize;
        assert!((score - expected[number]).abs() < 1e-4, "{number}: {score} {}", expected[number]);
        assert!(["ant", "bee", "w"].contains(&task["choice"].as_str().expect("a choice")), "{task}");
    }
    // Only where somebody asks for the figures.
    println!("{count} tasks: predictions retrieved in {} s", saw["seconds"]);
    server.stop();
}
