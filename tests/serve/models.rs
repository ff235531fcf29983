//! Models that come, change and go while requests are answered.

use super::place::{Place, affine, ask, request, write};
use isal_onnx::{Builder, DataType, Model, ValueType};
use serde_json::json;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

fn until(what: &str, is: impl Fn() -> bool) {
    for _ in 0..2000 {
        if is() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("it never came to this: {what}");
}

fn polled(place: Place) -> Place {
    place.started(|options| options.poll = Some(Duration::from_millis(30)))
}

fn y(place: &Place, model: &str) -> serde_json::Value {
    place.post(&format!("/v2/models/{model}/infer"), &ask("[1,2,3]")).json()["outputs"][0]["data"].clone()
}

#[test]
fn a_new_version_takes_over_without_a_failed_request() {
    let place = Place::new();
    place.put("affine", 1, &affine(2.0));
    let place = polled(place);
    let (address, done) = (place.http(), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let answer = request(address, "POST", "/v2/models/affine/infer", &[], ask("[1,2,3]").as_bytes());
                    let data = answer.json()["outputs"][0]["data"].clone();
                    assert!(data == json!([3.0, 5.0, 7.0]) || data == json!([11.0, 21.0, 31.0]), "{answer:?}");
                }
            });
        }
        place.put("affine", 2, &affine(10.0));
        until("version 2 answers", || y(&place, "affine") == json!([11.0, 21.0, 31.0]));
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(place.get("/v2/models/affine").json()["versions"], json!(["2"]));
    place.put("other", 1, &affine(3.0));
    until("another model answers", || place.get("/v2/models/other/ready").status == 200);
    fs::remove_dir_all(place.folder.path().join("other")).expect("removed");
    until("it is gone", || place.get("/v2/models/other").status == 404);
}

#[test]
fn garbage_in_place_of_a_model_leaves_the_old_one() {
    let place = Place::new();
    let folder = place.put("affine", 1, &affine(2.0));
    let place = polled(place);
    fs::write(folder.join("model.onnx"), b"not a model at all").expect("written");
    let index = || place.post("/v2/repository/index", "{}").json();
    until("the index says what is wrong", || index()[0]["reason"] != "");
    place.check_alive();
    assert_eq!(index()[0]["state"], "READY");
    assert_eq!(place.get("/v2/health/ready").status, 200);
    affine(4.0).write(folder.join("model.onnx")).expect("written");
    until("a sound model takes over", || y(&place, "affine") == json!([5.0, 9.0, 13.0]));
    assert_eq!(index()[0]["reason"], "");
}

#[test]
fn a_broken_model_beside_a_sound_one_is_not_ready_and_said_so() {
    let place = Place::new();
    place.put("affine", 1, &affine(2.0));
    place.put("broken", 1, &affine(2.0));
    write(&place.folder.path().join("broken/1/model.onnx"), "garbage");
    let place = place.started(|_| {});
    place.check_alive();
    let ready = place.get("/v2/health/ready");
    assert_eq!((ready.status, ready.json()["ready"].clone()), (503, json!(false)));
    assert_eq!(place.get("/v2/models/broken/ready").status, 503);
    let all = place.post("/v2/repository/index", "").json();
    assert_eq!((&all[1]["name"], &all[1]["state"]), (&json!("broken"), &json!("UNAVAILABLE")), "{all}");
    let only_ready = place.post("/v2/repository/index", r#"{"ready":true}"#).json();
    assert_eq!(only_ready.as_array().map(Vec::len), Some(1));
}

#[test]
fn models_are_loaded_and_unloaded_where_that_is_asked_for() {
    let place = Place::new();
    place.put("affine", 1, &affine(2.0));
    let place = place.started(|options| options.allow_load = true);
    let extensions = place.get("/v2").json()["extensions"].clone();
    assert!(extensions.as_array().expect("a list").contains(&json!("model_repository")));
    assert_eq!(place.post("/v2/repository/models/affine/unload", "").status, 200);
    assert_eq!(place.post("/v2/models/affine/infer", &ask("[1,2,3]")).status, 404);
    assert_eq!(place.get("/v2/health/ready").status, 200, "what nobody wants need not be ready");
    assert_eq!(place.post("/v2/repository/models/affine/load", "{}").status, 200);
    place.check_alive();
    for name in ["absent", "..", "%2e%2e%2fetc", "a%2fb"] {
        let answer = place.post(&format!("/v2/repository/models/{name}/load"), "");
        assert_eq!(answer.status, 404, "{name}: {answer:?}");
    }
    let own = r#"{"parameters":{"config":"{}","file:1/model.onnx":"AAAA"}}"#;
    let refused = place.post("/v2/repository/models/affine/load", own);
    assert_eq!((refused.status, refused.error().contains("as they lie")), (400, true));
    place.check_alive();
}

#[test]
fn versions_are_served_beside_each_other_where_the_policy_says_so() {
    let place = Place::new();
    place.put("affine", 1, &affine(2.0));
    place.put("affine", 3, &affine(3.0));
    place.configure("affine", "max_batch_size: 4 version_policy { all { } } some_new_field { a: 1 }");
    let place = place.started(|_| {});
    assert_eq!(place.get("/v2/models/affine").json()["versions"], json!(["1", "3"]));
    let of = |path: &str| place.post(path, &ask("[1,2,3]")).json()["outputs"][0]["data"].clone();
    assert_eq!(of("/v2/models/affine/versions/1/infer"), json!([3.0, 5.0, 7.0]));
    assert_eq!(of("/v2/models/affine/versions/3/infer"), json!([4.0, 7.0, 10.0]));
    assert_eq!(of("/v2/models/affine/infer"), json!([4.0, 7.0, 10.0]), "the newest");
}

#[test]
fn a_model_warms_up_as_its_configuration_says_or_is_refused() {
    let place = Place::new();
    place.put("affine", 1, &affine(2.0));
    let inputs = "inputs { key: \"x\" value { data_type: TYPE_FP32 dims: [ 3 ] random_data: true } }";
    let warmup = |rest: &str| format!("max_batch_size: 4 model_warmup [ {{ name: \"first\" count: 3 {rest} }} ]");
    place.configure("affine", &warmup(&format!("batch_size: 4 {inputs}")));
    let place = place.started(|_| {});
    place.check_alive();
    let config = place.get("/v2/models/affine/config").json();
    assert_eq!(config["model_warmup"][0]["name"], "first");
    let stats = &place.get("/v2/models/affine/stats").json()["model_stats"][0];
    assert_eq!((&stats["inference_count"], &stats["execution_count"]), (&json!(1), &json!(1)), "of clients alone");
    for (rest, says) in [
        (format!("batch_size: 5 {inputs}"), "[5, 3]"),
        (inputs.replace("[ 3 ]", "[ 4 ]"), "[1, 4]"),
        (inputs.replace("FP32", "INT32"), "INT32"),
        (inputs.replace("\"x\"", "\"z\""), "`z`"),
        (String::new(), "has the inputs , the model has `x`"),
    ] {
        let other = Place::new();
        other.put("affine", 1, &affine(2.0));
        other.put("sound", 1, &affine(2.0));
        other.configure("affine", &warmup(&rest));
        let other = other.started(|_| {});
        let reason = other.post("/v2/repository/index", "").json()[0]["reason"].clone();
        assert!(reason.as_str().is_some_and(|reason| reason.contains("`first`") && reason.contains(says)), "{reason}");
    }
}

#[test]
fn a_model_that_does_not_split_by_rows_is_not_batched_wrongly() {
    // It keeps the rows that are above 0 throughout: of two requests put together, nobody could tell whose row is left.
    let mut b = Builder::new("kept");
    let shape = |rows: &str| Some(vec![rows.into(), 3.into()]);
    let x = b.input("x", ValueType { data_type: DataType::Float, shape: shape("N") });
    let zero = b.initializer("zero", isal_onnx::Tensor::new([1], &[0.0_f32]));
    let least = b.node("ReduceMin", [x]).attr("axes", vec![1_i64]).attr("keepdims", 0).value();
    let above = b.node("Greater", [least, zero]).value();
    let y = b.node("Compress", [x, above]).attr("axis", 0).outputs(["y"]).value();
    b.output("y", y, Some(ValueType { data_type: DataType::Float, shape: shape("M") }));
    let mut model = Model::new(17, b.finish().expect("a graph"));
    model.ir_version = 8;
    let place = Place::new();
    place.put("kept", 1, &model);
    place.configure("kept", "max_batch_size: 2 dynamic_batching { max_queue_delay_microseconds: 3600000000 }");
    let place = place.started(|_| {});
    let address = place.http();
    let clients: Vec<_> = [1.0, -5.0]
        .map(|x: f32| {
            thread::spawn(move || {
                let body = ask(&format!("[{x},{x},{x}]"));
                let answer = request(address, "POST", "/v2/models/kept/infer", &[], body.as_bytes()).json();
                let own = if x > 0.0 { json!([x, x, x]) } else { json!([]) };
                assert_eq!(answer["outputs"][0]["data"], own, "{answer}");
            })
        })
        .into_iter()
        .collect();
    for client in clients {
        client.join().expect("its own answer");
    }
}
