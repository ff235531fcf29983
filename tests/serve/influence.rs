//! An influence graph behind the server: its influences are those of the closed form, and the server says what they mean.

use super::place::{Place, request, start};
use isal::serve::Source;
use isal_exporters::serving::{TritonConfig, TritonOptions};
use isal_onnx::influence::{Direction, TangentOptions};
use isal_onnx::{Builder, DataType, Model, Tensor, ValueType};
use serde_json::json;

#[path = "../fixtures/classes.rs"]
mod classes;

const WEIGHTS: [[f32; 3]; 2] = [[0.5, -1.0, 0.25], [1.0, 0.5, -0.75]];
const ALONG: [[f32; 3]; 2] = [[0.125, 0.5, -0.25], [-1.0, 0.25, 0.75]];

/// Two pixels -> three class scores, without a bias.
fn logistic() -> Model {
    let mut b = Builder::new("logistic");
    let shape = Some(vec!["N".into(), 1.into(), 1.into(), 2.into()]);
    let images = b.input("images", ValueType { data_type: DataType::Float, shape });
    let w = b.initializer("w", Tensor::new([2, 3], WEIGHTS.as_flattened()));
    let flat = b.node("Flatten", [images]).attr("axis", 1).value();
    let logits = b.node("MatMul", [flat, w]).outputs(["logits"]).value();
    b.output("logits", logits, Some(ValueType { data_type: DataType::Float, shape: Some(vec!["N".into(), 3.into()]) }));
    let mut model = Model::new(17, b.finish().expect("a graph"));
    model.ir_version = 8;
    model
}

/// `-(softmax(o) - onehot(argmax o)) . o'`, in float64.
pub fn influence(x: [f32; 2]) -> f64 {
    let times = |w: &[[f32; 3]; 2]| -> Vec<f64> {
        (0..3).map(|c| (0..2).map(|f| f64::from(x[f]) * f64::from(w[f][c])).sum()).collect()
    };
    let (o, along) = (times(&WEIGHTS), times(&ALONG));
    let sum: f64 = o.iter().map(|o| o.exp()).sum();
    let label = (0..3).max_by(|a, b| o[*a].total_cmp(&o[*b])).expect("three classes");
    let one = |c: usize| (o[c].exp() / sum - f64::from(u8::from(c == label))) * along[c];
    -(0..3).map(one).sum::<f64>()
}

pub fn graph() -> Model {
    let task =
        classes::Classes { logits: "logits".to_owned(), classes: 3, top_k: 1, per_class: false, embedding: false };
    let direction = Direction::from([("w".to_owned(), Tensor::new([2, 3], ALONG.as_flattened()))]);
    task.tangent(&logistic(), &[direction], TangentOptions::default()).expect("built")
}

/// What `isal export triton` writes is a repository of ours too: the influence of each image is a row of one number.
#[test]
fn a_repository_written_for_triton_is_served() {
    let (place, graph) = (Place::new(), graph());
    place.put("i", 1, &graph);
    let config = TritonConfig::of("i", &graph, None, &TritonOptions::default()).expect("a configuration");
    place.configure("i", &config.to_string());
    let place = place.started(|_| {});
    let address = place.http();
    let body = json!({"inputs": [{"name": "images", "shape": [2, 1, 1, 2], "datatype": "FP32",
        "data": [1.0, 2.0, -3.0, 0.5]}], "outputs": [{"name": "influence"}]});
    let answer = request(address, "POST", "/v2/models/i/infer", &[], body.to_string().as_bytes()).json();
    assert_eq!(answer["outputs"][0]["shape"], json!([2, 1]), "{answer}");
    let found: Vec<f64> = serde_json::from_value(answer["outputs"][0]["data"].clone()).expect("numbers");
    assert!(found.iter().zip([[1.0, 2.0], [-3.0, 0.5]]).all(|(a, x)| (a - influence(x)).abs() < 1e-5), "{found:?}");
}

#[test]
fn influences_are_served_as_the_graph_gives_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("influence.onnx");
    graph().write(&path).expect("written");
    let server = start(Source::Files([("i".to_owned(), path)].into()), |_| {});
    assert!(server.gives_influence("i"));
    let address = server.http().expect("it listens");
    let metadata = request(address, "GET", "/v2/models/i", &[], b"").json();
    assert_eq!(metadata["parameters"]["isal.influence.form"], "tangent", "{metadata}");
    let sign = metadata["parameters"]["sign"].as_str().expect("the sign is said");
    assert!(sign.contains("more negative"), "{sign}");
    let body = json!({"inputs": [{"name": "images", "shape": [3, 1, 1, 2], "datatype": "FP32",
        "data": [[1.0, 2.0], [-3.0, 0.5], [0.0, -1.0]]}], "outputs": [{"name": "influence"}, {"name": "logits"}]});
    let answer = request(address, "POST", "/v2/models/i/infer", &[], body.to_string().as_bytes()).json();
    let found: Vec<f64> = serde_json::from_value(answer["outputs"][0]["data"].clone()).expect("numbers");
    let expected = [[1.0, 2.0], [-3.0, 0.5], [0.0, -1.0]].map(influence);
    // A handful of float32 operations on numbers of the size of 1.
    assert!(
        found.len() == 3 && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5),
        "{found:?} {expected:?}"
    );
    assert_eq!(answer["outputs"][1]["shape"], json!([3, 3]));
    let metrics = String::from_utf8(request(address, "GET", "/metrics", &[], b"").body).expect("text");
    assert!(metrics.contains("isal_influence_count{model=\"i\",version=\"1\"} 3"), "{metrics}");
    let negative = expected.iter().filter(|influence| **influence <= 0.0).count();
    let line = format!("isal_influence_bucket{{model=\"i\",version=\"1\",le=\"0\"}} {negative}");
    assert!(metrics.contains(&line), "no line `{line}` in\n{metrics}");
    server.stop();
}
