//! Repositories and manifests.

use crate::place::Place;
use crate::text_format::Message;
use isal_onnx::influence::InfluenceMetadata;
use std::fs;
use std::path::Path;
use std::process::Output;

/// A linear model with named classes, its influence graph and its shadow.
pub fn served() -> Place {
    let place = Place::linear();
    let mut model = place.model("model.onnx");
    model.metadata.insert("isal.classes".to_owned(), r#"["ant", "bee", "cat", "dog", "elk \"big\""]"#.to_owned());
    model.write(place.path("model.onnx")).expect("written");
    place.vector("s", "all", 3);
    place.export(&["--vector", "s", "--form", "tangent", "-o", "influence.onnx"]);
    place.export(&["--vector", "s", "--form", "shadow", "--step", "1e-2", "-o", "shadow.onnx"]);
    place
}

pub fn run(place: &Place, arguments: &[&str]) -> Output {
    place.isal(arguments).output().expect("it runs")
}

fn done(place: &Place, arguments: &[&str]) -> serde_json::Value {
    let output = run(place, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn refused(place: &Place, arguments: &[&str]) -> String {
    let output = run(place, arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const ALL: [&str; 11] = [
    "export",
    "triton",
    "--json",
    "--model",
    "model.onnx",
    "--influence",
    "influence.onnx",
    "--shadow",
    "shadow.onnx",
    "--name",
    "bugs",
];

fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(&at).expect("listed") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => open.push(path),
                false => found.push(path.strip_prefix(folder).expect("within").display().to_string()),
            }
        }
    }
    found.sort();
    found
}

fn config(place: &Place, model: &str) -> Message {
    let text = fs::read_to_string(place.path(&format!("repository/{model}/config.pbtxt"))).expect("a configuration");
    Message::read(&text)
}

#[test]
fn a_repository_has_the_model_its_influence_graph_and_its_shadow() {
    let place = served();
    let told =
        done(&place, &[&ALL[..], &["--preferred-batch-size", "8,16", "--instances", "2", "-o", "repository"]].concat());
    assert_eq!(told["models"].as_array().map(Vec::len), Some(3));
    let own = ["1/model.onnx", "README.md", "config.pbtxt", "labels.txt"];
    let expected =
        ["bugs", "bugs-influence", "bugs-shadow"].map(|name| own.map(|file| format!("{name}/{file}"))).concat();
    let mut expected = expected;
    expected.sort();
    assert_eq!(files(&place.path("repository")), expected, "nothing besides");

    let graph = config(&place, "bugs-influence");
    assert_eq!((graph.scalar("name"), graph.scalar("backend")), ("bugs-influence", "onnxruntime"));
    assert_eq!(graph.scalar("max_batch_size"), "64");
    let batching = graph.messages("dynamic_batching")[0];
    assert_eq!(batching.scalars("preferred_batch_size"), ["8", "16"]);
    assert_eq!(batching.scalar("max_queue_delay_microseconds"), "1000");
    let group = graph.messages("instance_group")[0];
    assert_eq!((group.scalar("count"), group.scalar("kind")), ("2", "KIND_AUTO"));
    let latest = graph.messages("version_policy")[0].messages("latest")[0];
    assert_eq!(latest.scalar("num_versions"), "1");
    let images = graph.messages("input")[0];
    assert_eq!((images.scalar("name"), images.scalar("data_type")), ("images", "TYPE_FP32"));
    assert_eq!(images.scalars("dims"), ["3", "2", "2"]);

    // Every output of the file is there once, with its own axes.
    let file = place.model("repository/bugs-influence/1/model.onnx");
    let outputs = graph.messages("output");
    let named: Vec<&str> = outputs.iter().map(|output| output.scalar("name")).collect();
    let own: Vec<&str> = file.graph.outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(named, own);
    let output = |name: &str| *outputs.iter().find(|output| output.scalar("name") == name).expect("an output");
    assert_eq!(output("logits").scalars("dims"), ["5"]);
    assert_eq!(output("logits").scalar("label_filename"), "labels.txt");
    // Triton takes no empty dims: clients see [N, 1].
    assert_eq!((output("influence").scalar("dims"), output("influence").messages("reshape").len()), ("1", 1));
    assert!(output("influence").messages("reshape")[0].scalars("shape").is_empty());
    assert!(output("influence").scalars("label_filename").is_empty(), "an influence is of no class");

    let labels = fs::read_to_string(place.path("repository/bugs/labels.txt")).expect("labels");
    assert_eq!(labels, "ant\nbee\ncat\ndog\nelk \"big\"\n");
    assert_eq!(place.model("repository/bugs/1/model.onnx").sha256(), place.model("model.onnx").sha256());
    assert_eq!(file, place.model("influence.onnx"));
}

#[test]
fn the_readme_and_the_configuration_of_a_shadow_have_the_formula_and_its_step() {
    let place = served();
    let told = done(&place, &[&ALL[..], &["-o", "repository"]].concat());
    let metadata = InfluenceMetadata::of(&place.model("shadow.onnx")).expect("properties");
    let (formula, step) = (metadata.get("formula").expect("a formula"), metadata.get("step").expect("a step"));
    assert_eq!((told["formula"].as_str(), told["step"].as_str()), (Some(formula), Some(step)));
    let readme = fs::read_to_string(place.path("repository/bugs-shadow/README.md")).expect("a README");
    for part in [formula, &format!("step = {step}"), "`logits` of `bugs`", "More negative influence = "] {
        assert!(readme.contains(part), "{part}: {readme}");
    }
    let parameters = config(&place, "bugs-shadow");
    let value = |key: &str| {
        let found = parameters.messages("parameters");
        let found = found.iter().find(|parameter| parameter.scalar("key") == key).expect("a parameter");
        found.messages("value")[0].scalar("string_value").to_owned()
    };
    assert_eq!((value("isal.influence.formula").as_str(), value("isal.influence.step").as_str()), (formula, step));
}

#[test]
fn what_is_there_is_replaced_by_nothing_and_a_new_version_stands_beside_it() {
    let place = served();
    let again = [&ALL[..], &["-o", "repository"]].concat();
    done(&place, &again);
    let before = fs::read(place.path("repository/bugs/1/model.onnx")).expect("a file");
    let said = refused(&place, &again);
    assert!(said.contains("`repository/bugs` exists already") && said.contains("--new-version"), "{said}");

    let told = done(&place, &[&again[..], &["--new-version"]].concat());
    assert!(told["models"].as_array().expect("models").iter().all(|model| model["version"] == 2), "{told}");
    assert_eq!(fs::read(place.path("repository/bugs/1/model.onnx")).expect("a file"), before);
    assert_eq!(fs::read(place.path("repository/bugs/2/model.onnx")).expect("a file"), before);

    // Clients of version 1 would break: another batch size, other classes.
    let said = refused(&place, &[&again[..], &["--new-version", "--max-batch-size", "8"]].concat());
    assert!(
        said.contains("config.pbtxt") && said.contains("`max_batch_size: 64`, needed `max_batch_size: 8`"),
        "{said}"
    );
    fs::write(place.path("others.txt"), "ant\nbee\ncat\ndog\nfox\n").expect("written");
    let said = refused(&place, &[&again[..], &["--new-version", "--classes", "others.txt"]].concat());
    assert!(said.contains("labels.txt") && said.contains("needed `fox`"), "{said}");
    assert_eq!(files(&place.path("repository")).iter().filter(|file| file.ends_with("model.onnx")).count(), 6);
}

#[test]
fn files_that_do_not_belong_together_are_refused_by_name() {
    let place = served();
    let mut other = place.model("model.onnx");
    other.graph.initializers["b"] = isal_onnx::Tensor::new([5], &[1.0f32; 5]);
    other.write(place.path("other.onnx")).expect("written");
    let of = |arguments: &[&str]| refused(&place, &[&["export", "triton", "-o", "repository"], arguments].concat());
    let said = of(&["--model", "other.onnx", "--influence", "influence.onnx"]);
    assert!(said.contains("`influence.onnx` was made from another model than `other.onnx`"), "{said}");
    assert!(of(&["--influence", "shadow.onnx"]).contains("is a shadow model"));
    assert!(of(&["--shadow", "influence.onnx"]).contains("is no shadow model"));
    assert!(of(&["--influence", "model.onnx"]).contains("is no influence graph"));
    assert!(of(&["--model", "influence.onnx"]).contains("in the tangent form"));
    assert!(of(&["--model", "model.onnx", "--name", "../up"]).contains("`../up` cannot be the name"));
    assert!(of(&[]).contains("--model"));
    assert!(!place.path("repository").exists(), "nothing was begun");
}

#[test]
fn a_manifest_lies_beside_its_repository() {
    let place = served();
    done(&place, &["export", "triton", "--json", "--model", "model.onnx", "--name", "bugs", "-o", "repository"]);
    let manifest = ["export", "kserve", "--json", "--repository", "repository", "--storage-uri", "s3://bucket/bugs"];
    let told = done(&place, &[&manifest[..], &["--name", "bugs", "--memory", "4Gi"]].concat());
    assert_eq!((told["file"].as_str(), &told["models"]), (Some("bugs.yaml"), &serde_json::json!(["bugs"])));
    let text = fs::read_to_string(place.path("bugs.yaml")).expect("a manifest");
    for line in [
        "kind: InferenceService",
        "runtime: kserve-tritonserver",
        "storageUri: \"s3://bucket/bugs\"",
        "memory: \"4Gi\"",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(refused(&place, &[&manifest[..], &["--name", "bugs"]].concat()).contains("`bugs.yaml` exists already"));
    assert!(refused(&place, &[&manifest[..], &["--name", "Bugs"]].concat()).contains("`Bugs` cannot be the name"));
    fs::create_dir(place.path("empty")).expect("a folder");
    let said =
        refused(&place, &["export", "kserve", "--repository", "empty", "--storage-uri", "s3://b", "--name", "b"]);
    assert!(said.contains("`empty` has no model") && said.contains("isal export triton"), "{said}");
}
