//! Requests that are run together get what each would have got alone, and a queue has an end.

use super::place::{Place, affine, ask, floats, request};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

/// Waits for others far longer than a test runs: what is answered was put together, or hurried.
const WAITS: &str = "max_batch_size: 8 dynamic_batching { max_queue_delay_microseconds: 3600000000 ";

#[test]
fn rows_of_one_batch_go_back_to_whom_they_belong() {
    let place = Place::new();
    place.put("affine", 1, &affine(2.0));
    // Four requests of two rows make the batch full; none is run before.
    place.configure("affine", &format!("{WAITS} }}"));
    let place = place.started(|options| options.running.limits.request_time = Duration::from_secs(120));
    let address = place.http();
    let begin = Barrier::new(4);
    thread::scope(|scope| {
        for client in 0..4_i32 {
            let begin = &begin;
            scope.spawn(move || {
                let base = client * 1000;
                let data: Vec<i32> = (base..base + 6).collect();
                // Some ask for one output, some for the other.
                let wanted = if client % 2 == 0 { "y" } else { "large" };
                let body = format!(
                    r#"{{"id":"{client}","inputs":[{{"name":"x","shape":[2,3],"datatype":"FP32","data":{data:?}}}],"outputs":[{{"name":"{wanted}"}}]}}"#
                );
                begin.wait();
                let answer = request(address, "POST", "/v2/models/affine/infer", &[], body.as_bytes()).json();
                assert_eq!(answer["id"], client.to_string(), "{answer}");
                assert_eq!(answer["outputs"].as_array().map(Vec::len), Some(1));
                let output = &answer["outputs"][0];
                assert_eq!((&output["name"], &output["shape"]), (&wanted.into(), &serde_json::json!([2, 3])));
                if wanted == "y" {
                    let y: Vec<f32> = serde_json::from_value(output["data"].clone()).expect("numbers");
                    let expected: Vec<f32> = data.iter().map(|x| 2.0 * *x as f32 + 1.0).collect();
                    assert_eq!(y, expected, "client {client}");
                }
            });
        }
    });
    let stats = &place.get("/v2/models/affine/stats").json()["model_stats"][0];
    assert_eq!((&stats["inference_count"], &stats["execution_count"]), (&8.into(), &1.into()), "one run: {stats}");
    assert_eq!(stats["batch_stats"][0]["batch_size"], 8);
}

#[test]
fn a_full_queue_refuses_and_ending_answers_what_waits() {
    let mut place = Place::new();
    place.put("affine", 1, &affine(2.0));
    place.configure("affine", &format!("{WAITS} default_queue_policy {{ max_queue_size: 2 }} }}"));
    place = place.started(|options| options.running.limits.request_time = Duration::from_secs(120));
    let address = place.http();
    let ask_once = move || request(address, "POST", "/v2/models/affine/infer", &[], ask("[1,2,3]").as_bytes());
    let waiting: Vec<_> = (0..2).map(|_| thread::spawn(ask_once)).collect();
    // Until both are in the queue; the figure is the server's own.
    let pending = "nv_inference_pending_request_count{model=\"affine\",version=\"1\"} 2";
    while !String::from_utf8_lossy(&place.get("/metrics").body).contains(pending) {
        thread::sleep(Duration::from_millis(5));
    }
    let refused = ask_once();
    assert_eq!((refused.status, refused.error().contains("2 requests waiting")), (503, true), "{refused:?}");
    place.server.take().expect("it runs").stop();
    for client in waiting {
        let answer = client.join().expect("answered");
        assert_eq!(answer.json()["outputs"][0]["data"], serde_json::json!([3.0, 5.0, 7.0]), "{answer:?}");
    }
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
}

#[test]
fn a_request_that_is_not_answered_in_time_is_told_so() {
    let place = Place::new();
    place.put("affine", 1, &affine(2.0));
    place.configure("affine", &format!("{WAITS} }}"));
    let place = place.started(|options| options.running.limits.request_time = Duration::from_secs(120));
    let body = ask("[1,2,3]").replace("{\"id\"", "{\"parameters\":{\"timeout\":50000},\"id\"");
    let late = place.post("/v2/models/affine/infer", &body);
    assert_eq!((late.status, late.error().as_str()), (504, "no answer within 0.05 s"));
}

#[test]
fn several_sessions_give_the_same_to_many_clients() {
    let place = Place::new();
    place.put("affine", 1, &affine(3.0));
    let place = place.started(|options| options.running.instances = 3);
    let address = place.http();
    thread::scope(|scope| {
        for client in 0..16_u16 {
            scope.spawn(move || {
                for turn in 0..20_u16 {
                    let x = f32::from(client * 100 + turn);
                    let body = format!(
                        r#"{{"parameters":{{"binary_data_output":true}},"inputs":[{{"name":"x","shape":[1,3],"datatype":"FP32","data":[{x},{x},{x}]}}],"outputs":[{{"name":"y"}}]}}"#
                    );
                    let answer = request(address, "POST", "/v2/models/affine/infer", &[], body.as_bytes());
                    assert_eq!(floats(&answer.body[answer.body.len() - 12..]), [3.0 * x + 1.0; 3]);
                }
            });
        }
    });
    let stats = &place.get("/v2/models/affine/stats").json()["model_stats"][0];
    assert_eq!(stats["inference_count"], 320);
}
