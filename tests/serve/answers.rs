//! What HTTP answers: the core of the protocol and its extensions.

use super::place::{Place, Response, affine, ask, bytes, floats, identity, request, start, write};
use isal::runtime::{ExecutionProvider, Library, Session, SessionOptions};
use isal::serve::Source;
use isal_exporters::{build, zoo};
use isal_onnx::DataType;
use ndarray::Array4;
use serde_json::json;
use std::io::{Read as _, Write as _};

#[test]
fn the_core_answers_as_the_protocol_says() {
    let place = Place::affine();
    for path in ["/v2", "/v2/"] {
        let server = place.get(path).json();
        assert_eq!(server["name"], "isal");
        let extensions = server["extensions"].as_array().expect("a list");
        assert!(extensions.contains(&"binary_tensor_data".into()), "{extensions:?}");
        assert!(!extensions.contains(&"model_repository".into()), "loading is off: {extensions:?}");
    }
    assert_eq!(place.get("/v2/health/live").json()["live"], true);
    assert_eq!(place.get("/v2/health/ready").json(), json!({"live": true, "ready": true}));
    for path in ["/v2/models/affine", "/v2/models/affine/versions/1"] {
        let metadata = place.get(path).json();
        assert_eq!(metadata["name"], "affine");
        assert_eq!(metadata["versions"], json!(["1"]));
        assert_eq!(metadata["platform"], "onnx_onnxv1");
        assert_eq!(metadata["inputs"], json!([{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]));
        let outputs = json!([{"name": "y", "datatype": "FP32", "shape": [-1, 3]},
                             {"name": "large", "datatype": "BOOL", "shape": [-1, 3]}]);
        assert_eq!(metadata["outputs"], outputs);
        assert_eq!(place.get(&format!("{path}/ready")).status, 200);
        let answer = place.post(&format!("{path}/infer"), &ask("[1,-2,0.5]")).json();
        let expected = json!({"model_name": "affine", "model_version": "1", "id": "7", "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [3.0, -3.0, 2.0]},
            {"name": "large", "datatype": "BOOL", "shape": [1, 3], "data": [true, false, true]}]});
        assert_eq!(answer, expected);
    }
    let config = place.get("/v2/models/affine/config").json();
    assert_eq!((&config["max_batch_size"], &config["input"][0]["dims"]), (&json!(32), &json!([3])));
    let index = place.post("/v2/repository/index", "").json();
    assert_eq!(index, json!([{"name": "affine", "version": "1", "state": "READY", "reason": ""}]));
}

#[test]
fn a_network_gives_what_onnx_runtime_gives() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lenet.onnx");
    let lenet = zoo().iter().find(|entry| entry.name == "lenet").expect("it is there");
    build("lenet", &lenet.defaults).expect("a network").write(&path).expect("written");
    let pixels: Vec<f32> = (0..2 * 784).map(|at| ((at * 37) % 256) as f32 / 255.0).collect();
    let library = Library::load(None).expect("ONNX Runtime: run `make setup`");
    let session_options = SessionOptions { provider: ExecutionProvider::Cpu, threads: 1 };
    let mut session = Session::open(&library, &path, session_options).expect("a session");
    let output = session.outputs()[0].clone();
    let images = Array4::from_shape_vec((2, 1, 28, 28), pixels.clone()).expect("two images");
    let direct = session.run(images.view(), &[&output]).expect("a run").remove(0);
    let server = start(Source::Files([("lenet".to_owned(), path)].into()), |_| {});
    let input = server_input(&server);
    let body = json!({"inputs": [{"name": input, "shape": [2, 1, 28, 28], "datatype": "FP32", "data": pixels}]});
    let address = server.http().expect("it listens");
    let answer = request(address, "POST", "/v2/models/lenet/infer", &[], body.to_string().as_bytes()).json();
    let served: Vec<f32> = serde_json::from_value(answer["outputs"][0]["data"].clone()).expect("numbers");
    assert_eq!(served, direct.iter().copied().collect::<Vec<_>>(), "the same session options, the same numbers");
    server.stop();
}

fn server_input(server: &isal::serve::Server) -> String {
    let metadata = request(server.http().expect("it listens"), "GET", "/v2/models/lenet", &[], b"").json();
    metadata["inputs"][0]["name"].as_str().expect("a name").to_owned()
}

/// A body of JSON and what lies behind it, with the header that tells them apart.
fn binary(place: &Place, path: &str, json: &str, behind: &[u8], headers: &[(&str, &str)]) -> Response {
    let length = json.len().to_string();
    let headers = [&[("Inference-Header-Content-Length", length.as_str())], headers].concat();
    request(place.http(), "POST", path, &headers, &[json.as_bytes(), behind].concat())
}

#[test]
fn binary_tensors_go_in_and_come_out() {
    let place = Place::affine();
    let json = r#"{"inputs":[{"name":"x","shape":[2,3],"datatype":"FP32","parameters":{"binary_data_size":24}}],
        "outputs":[{"name":"large","parameters":{"binary_data":false}},{"name":"y","parameters":{"binary_data":true}}]}"#;
    let rows = bytes(&[1.0, 2.0, 3.0, -4.0, -5.0, -6.0]);
    let answer = binary(&place, "/v2/models/affine/infer", json, &rows, &[]);
    assert_eq!(answer.status, 200, "{answer:?}");
    let json_length: usize = answer.headers["inference-header-content-length"].parse().expect("a number");
    assert_eq!(floats(&answer.body[json_length..]), [3.0, 5.0, 7.0, -7.0, -9.0, -11.0]);
    let said: serde_json::Value = serde_json::from_slice(&answer.body[..json_length]).expect("JSON");
    assert_eq!(said["outputs"][0]["data"], json!([true, true, true, false, false, false]));
    assert_eq!(said["outputs"][1]["parameters"]["binary_data_size"], 24);
    // All outputs binary by one word, and a body that is nothing but the tensor.
    let all = r#"{"parameters":{"binary_data_output":true},
        "inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[0,0,0]}]}"#;
    let answer = place.post("/v2/models/affine/infer", all);
    assert!(answer.body.ends_with(&[bytes(&[1.0, 1.0, 1.0]), vec![1, 1, 1]].concat()), "{answer:?}");
    let headers = [("Inference-Header-Content-Length", "0")];
    let raw = request(place.http(), "POST", "/v2/models/affine/infer", &headers, &bytes(&[1.0, 1.0, 4.0]));
    assert!(raw.body.ends_with(&[bytes(&[3.0, 3.0, 9.0]), vec![1, 1, 1]].concat()), "{raw:?}");
}

#[test]
fn packed_and_chunked_bodies_are_read_and_answers_packed() {
    let place = Place::affine();
    let rows: Vec<String> = (0..32 * 3).map(|at| at.to_string()).collect();
    let body = format!(
        r#"{{"inputs":[{{"name":"x","shape":[32,3],"datatype":"FP32","data":[{}]}}],"outputs":[{{"name":"y"}}]}}"#,
        rows.join(",")
    );
    let expected: Vec<f32> = (0..32 * 3).map(|at| 2.0 * at as f32 + 1.0).collect();
    let check = |body: &[u8]| {
        let answer: serde_json::Value = serde_json::from_slice(body).expect("JSON");
        let found: Vec<f32> = serde_json::from_value(answer["outputs"][0]["data"].clone()).expect("numbers");
        assert_eq!(found, expected);
    };
    let path = "/v2/models/affine/infer";
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(body.as_bytes()).expect("packed");
    let headers = [("content-encoding", "gzip"), ("accept-encoding", "gzip")];
    let answer = request(place.http(), "POST", path, &headers, &packed.finish().expect("packed"));
    assert_eq!(answer.headers["content-encoding"], "gzip");
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(answer.body.as_slice()).read_to_end(&mut unpacked).expect("gzip");
    check(&unpacked);
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(body.as_bytes()).expect("packed");
    let headers = [("content-encoding", "deflate"), ("accept-encoding", "deflate")];
    let answer = request(place.http(), "POST", path, &headers, &packed.finish().expect("packed"));
    let mut unpacked = Vec::new();
    flate2::read::ZlibDecoder::new(answer.body.as_slice()).read_to_end(&mut unpacked).expect("zlib");
    check(&unpacked);
    let (first, second) = body.split_at(100);
    let chunked = format!("{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n", first.len(), second.len());
    let headers = [("transfer-encoding", "chunked")];
    check(&request(place.http(), "POST", path, &headers, chunked.as_bytes()).body);
}

#[test]
fn every_type_goes_through_unchanged() {
    let place = Place::new();
    let types: [(&str, DataType, &str, usize); 14] = [
        ("BOOL", DataType::Bool, "[true,false]", 1),
        ("UINT8", DataType::Uint8, "[255,0]", 1),
        ("UINT16", DataType::Uint16, "[65535,1]", 2),
        ("UINT32", DataType::Uint32, "[4294967295,1]", 4),
        ("UINT64", DataType::Uint64, "[18446744073709551615,1]", 8),
        ("INT8", DataType::Int8, "[-128,127]", 1),
        ("INT16", DataType::Int16, "[-32768,1]", 2),
        ("INT32", DataType::Int32, "[-2147483648,1]", 4),
        ("INT64", DataType::Int64, "[-9223372036854775808,1]", 8),
        ("FP32", DataType::Float, "[0.1,-1e-30]", 4),
        ("FP64", DataType::Double, "[0.1,-1e-300]", 8),
        ("BYTES", DataType::String, "[\"\u{e9}\",\"\"]", 0),
        ("FP16", DataType::Float16, "", 2),
        ("BF16", DataType::Bfloat16, "", 2),
    ];
    for (name, data_type, ..) in types {
        place.put(name, 1, &identity(data_type));
    }
    let place = place.started(|_| {});
    for (name, _, data, size) in types {
        let path = format!("/v2/models/{name}/infer");
        let said = |value: &str| {
            format!(
                r#"{{"inputs":[{{"name":"t","shape":[1,2],"datatype":"{name}",{value}}}],"outputs":[{{"name":"same","parameters":{{"binary_data":BINARY}}}}]}}"#
            )
        };
        if !data.is_empty() {
            let answer = place.post(&path, &said(&format!(r#""data":{data}"#)).replace("BINARY", "false")).json();
            let expected: serde_json::Value = serde_json::from_str(data).expect("JSON");
            let found = answer["outputs"][0]["data"].clone();
            match name {
                // 0.1 in float32 is not 0.1: compared as float32.
                "FP32" => {
                    let as_floats = |v| serde_json::from_value::<Vec<f32>>(v).expect("numbers");
                    assert_eq!(as_floats(found), as_floats(expected));
                }
                _ => assert_eq!(found, expected, "{name}: {answer}"),
            }
        }
        let behind = match size {
            0 => b"\x03\0\0\0abc\x01\0\0\0z".to_vec(),
            1 => vec![1, 0],
            size => (1..=2 * size as u8).collect(),
        };
        let json = said(&format!(r#""parameters":{{"binary_data_size":{}}}"#, behind.len())).replace("BINARY", "true");
        let answer = binary(&place, &path, &json, &behind, &[]);
        assert!(answer.status == 200 && answer.body.ends_with(&behind), "{name}: {answer:?}");
        if matches!(name, "FP16" | "BF16") {
            let refused =
                binary(&place, &path, &json.replace("\"binary_data\":true", "\"binary_data\":false"), &behind, &[]);
            assert_eq!(refused.status, 400);
            assert!(refused.error().contains("no form in JSON"), "{}", refused.error());
        }
    }
    let not_utf8 = r#"{"inputs":[{"name":"t","shape":[1,2],"datatype":"BYTES","parameters":{"binary_data_size":10}}]}"#;
    let answer = binary(&place, "/v2/models/BYTES/infer", not_utf8, b"\x01\0\0\0\xff\x01\0\0\0z", &[]);
    assert!(answer.status >= 400 && answer.error().contains("UTF-8"), "{answer:?}");
}

#[test]
fn classes_come_with_their_labels() {
    let place = Place::new();
    place.put("affine", 1, &affine(2.0));
    let config = "max_batch_size: 4 output { name: \"y\" data_type: TYPE_FP32 dims: 3 label_filename: \"labels.txt\" }";
    place.configure("affine", config);
    write(&place.folder.path().join("affine/labels.txt"), "cat\ndog\nbird\n");
    let place = place.started(|_| {});
    let body = r#"{"inputs":[{"name":"x","shape":[2,3],"datatype":"FP32","data":[[5,1,2],[0,0,9]]}],
        "outputs":[{"name":"y","parameters":{"classification":2}}]}"#;
    let answer = place.post("/v2/models/affine/infer", body).json();
    let output = &answer["outputs"][0];
    assert_eq!((&output["datatype"], &output["shape"]), (&json!("BYTES"), &json!([2, 2])), "{answer}");
    assert_eq!(output["data"], json!(["11:0:cat", "5:2:bird", "19:2:bird", "1:0:cat"]));
}

#[test]
fn what_was_done_is_counted() {
    let place = Place::affine();
    for _ in 0..3 {
        place.check_alive();
    }
    place.post("/v2/models/affine/infer", "{}");
    for path in ["/v2/models/affine/stats", "/v2/models/stats", "/v2/models/affine/versions/1/stats"] {
        let stats = &place.get(path).json()["model_stats"][0];
        assert_eq!((&stats["name"], &stats["version"]), (&json!("affine"), &json!("1")), "{stats}");
        assert_eq!((&stats["inference_count"], &stats["execution_count"]), (&json!(3), &json!(3)));
        assert_eq!(stats["inference_stats"]["success"]["count"], 3);
        assert_eq!(stats["inference_stats"]["fail"]["count"], 1);
        assert_eq!(stats["inference_stats"]["cache_hit"], json!({"count": 0, "ns": 0}));
        assert_eq!(stats["batch_stats"][0]["batch_size"], 1);
        assert!(stats["inference_stats"]["compute_infer"]["ns"].as_u64() > Some(0));
    }
    let metrics = place.get("/metrics");
    assert!(metrics.headers["content-type"].starts_with("text/plain"));
    let text = String::from_utf8(metrics.body).expect("text");
    for line in [
        "nv_inference_request_success{model=\"affine\",version=\"1\"} 3",
        "nv_inference_request_failure{model=\"affine\",version=\"1\"} 1",
        "nv_inference_count{model=\"affine\",version=\"1\"} 3",
        "nv_inference_exec_count{model=\"affine\",version=\"1\"} 3",
        "nv_inference_pending_request_count{model=\"affine\",version=\"1\"} 0",
        "isal_batch_rows_bucket{model=\"affine\",version=\"1\",le=\"1\"} 3",
        "isal_held_bytes 0",
    ] {
        assert!(text.contains(line), "no line `{line}` in\n{text}");
    }
}

#[test]
fn the_description_names_what_answers_and_nothing_else() {
    for allow_load in [false, true] {
        let place = Place::new();
        place.put("affine", 1, &affine(2.0));
        let place = place.started(|options| options.allow_load = allow_load);
        let described = place.get("/openapi.json").json();
        assert_eq!(described["openapi"], "3.1.0");
        let paths = described["paths"].as_object().expect("paths");
        assert!(paths.contains_key("/v2/models/{model}/versions/{version}/infer"));
        assert_eq!(paths.contains_key("/v2/repository/models/{model}/load"), allow_load);
        assert!(!paths.contains_key("/predict"), "Label Studio is not answered");
        for (path, operations) in paths {
            for (method, operation) in operations.as_object().expect("operations") {
                assert!(operation.get("parameters").is_none_or(serde_json::Value::is_array), "{path}: {operation}");
                let real = path.replace("{model}", "affine").replace("{version}", "1");
                // Unloading last would leave nothing to ask.
                let real = real.replace("affine/unload", "absent/unload");
                let answer = request(place.http(), &method.to_uppercase(), &real, &[], b"{}");
                let known = operation["responses"].as_object().expect("responses");
                assert!(known.contains_key(&answer.status.to_string()), "{method} {real}: {answer:?}");
                assert!(![404, 405].contains(&answer.status) || real.contains("absent"), "{method} {real}");
            }
        }
    }
}

#[test]
fn a_token_is_asked_for_but_for_health() {
    let place = Place::new();
    place.put("affine", 1, &affine(2.0));
    let place = place.started(|options| options.token = Some("open sesame".to_owned()));
    assert_eq!(place.get("/v2/health/ready").status, 200);
    for headers in [&[][..], &[("authorization", "Bearer wrong")], &[("authorization", "Basic open sesame")]] {
        let refused = request(place.http(), "GET", "/v2/models/affine", headers, b"");
        assert_eq!((refused.status, refused.headers["www-authenticate"].as_str()), (401, "Bearer"));
    }
    let headers = [("authorization", "Bearer open sesame")];
    assert_eq!(request(place.http(), "GET", "/v2/models/affine", &headers, b"").status, 200);
    assert_eq!(place.get("/metrics").status, 401);
}
