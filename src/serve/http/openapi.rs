//! The paths of the server as an OpenAPI 3.1 description, at `/openapi.json`: those that are there, and no others.

use crate::serve::{Shared, metadata};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(super) async fn openapi(State(shared): State<Arc<Shared>>) -> Response {
    super::json(StatusCode::OK, &description(&shared))
}

fn description(shared: &Shared) -> Value {
    let mut paths = Map::new();
    let mut add = |path: &str, method: &str, operation: Value| {
        let entry = paths.entry(path.to_owned()).or_insert_with(|| json!({}));
        entry[method] = operation;
    };
    let server = json!({"type": "object", "required": ["name", "version", "extensions"]});
    for path in ["/v2", "/v2/"] {
        add(path, "get", asked("The server's name, version and extensions", &[], &[(200, server.clone())]));
    }
    let live = json!({"type": "object", "required": ["live"], "properties": {"live": {"const": true}}});
    add("/v2/health/live", "get", asked("Whether the server lives", &[], &[(200, live)]));
    let ready = json!({"type": "object", "required": ["ready"], "properties": {"ready": {"type": "boolean"}}});
    let either = [(200, ready.clone()), (503, ready.clone())];
    add("/v2/health/ready", "get", asked("Whether every model answers", &[], &either));
    for (base, names) in
        [("/v2/models/{model}", &["model"][..]), ("/v2/models/{model}/versions/{version}", &["model", "version"])]
    {
        add(base, "get", of_model("A model's inputs and outputs", names, reference("Metadata")));
        add(&format!("{base}/ready"), "get", of_model("Whether a model answers", names, ready.clone()));
        add(&format!("{base}/config"), "get", of_model("A model's configuration", names, object()));
        add(&format!("{base}/stats"), "get", of_model("What a model has done", names, reference("Statistics")));
        let mut infer = of_model("Inference, in JSON; binary tensors may lie behind it", names, reference("Answer"));
        let responses = &mut infer["responses"];
        for status in [400, 408, 413, 415, 500, 504] {
            responses[status.to_string()] = error();
        }
        infer["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": reference("Request")}}});
        add(&format!("{base}/infer"), "post", infer);
    }
    add("/v2/models/stats", "get", asked("What all models have done", &[], &[(200, reference("Statistics"))]));
    let index =
        json!({"type": "array", "items": {"type": "object", "required": ["name", "version", "state", "reason"]}});
    let mut listing = asked("All models", &[], &[(200, index)]);
    let wanted = json!({"type": "object", "properties": {"ready": {"type": "boolean"}}});
    add("/v2/repository/index", "post", with_body(&mut listing, wanted));
    if shared.allow_load {
        for (what, path) in [("Loads a model", "load"), ("Unloads a model", "unload")] {
            let mut change = of_model(what, &["model"], object());
            let body = with_body(&mut change, json!({"type": "object"}));
            add(&format!("/v2/repository/models/{{model}}/{path}"), "post", body);
        }
    }
    let text =
        json!({"200": {"description": "Prometheus text", "content": {"text/plain": {"schema": {"type": "string"}}}}});
    add("/metrics", "get", json!({"summary": "Metrics", "responses": text}));
    add("/openapi.json", "get", asked("This description", &[], &[(200, object())]));
    if shared.label_studio.is_some() {
        let up = json!({"type": "object", "required": ["status"], "properties": {"status": {"const": "UP"}}});
        for path in ["/", "/health"] {
            add(
                path,
                "get",
                asked(
                    "Label Studio: whether the backend lives",
                    &[],
                    &[(200, up.clone()), (503, failed()), (404, failed())],
                ),
            );
        }
        let version = json!({"type": "object", "required": ["model_version"]});
        let mut setup = of_model("Label Studio: the model's version", &[], version);
        add("/setup", "post", with_body(&mut setup, json!({"type": "object"})));
        add("/versions", "get", of_model("Label Studio: the model's versions", &[], object()));
        let results = json!({"type": "object", "required": ["results"], "properties": {"results": {"type": "array"}}});
        let tasks = json!({"type": "array", "items": {"type": "object", "required": ["data"], "properties": {"data": {"type": "object"}}}});
        let wanted = json!({"type": "object", "required": ["tasks"], "properties": {"tasks": tasks, "label_config": {"type": "string"}}});
        let mut predict = of_model("Label Studio: a prediction for each task, its score the influence", &[], results);
        add("/predict", "post", with_body(&mut predict, wanted));
        let mut webhook = of_model("Label Studio: what happened to annotations", &[], object());
        webhook["responses"]["201"] = answer(&object());
        add("/webhook", "post", with_body(&mut webhook, json!({"type": "object"})));
    }
    name_models(&mut paths, shared);
    let mut whole = json!({
        "openapi": "3.1.0",
        "info": {"title": "isal serve", "version": metadata::VERSION, "description": "Open Inference Protocol v2"},
        "paths": paths,
        "components": {"schemas": schemas()},
    });
    if shared.token.is_some() {
        whole["components"]["securitySchemes"] = json!({"token": {"type": "http", "scheme": "bearer"}});
        whole["security"] = json!([{"token": []}]);
    }
    whole
}

/// Puts the first model that answers, and its version, as examples into the paths.
fn name_models(paths: &mut Map<String, Value>, shared: &Shared) {
    let Some(version) = shared.registry.all().into_iter().next() else { return };
    for operation in paths.values_mut().filter_map(Value::as_object_mut).flat_map(|path| path.values_mut()) {
        let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
        for parameter in parameters.into_iter().flatten() {
            let example = match parameter["name"].as_str() {
                Some("version") => version.number.to_string(),
                _ => version.name.clone(),
            };
            parameter["example"] = example.into();
        }
    }
}

fn object() -> Value {
    json!({"type": "object"})
}

fn failed() -> Value {
    reference("Error")
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn answer(schema: &Value) -> Value {
    json!({"description": "", "content": {"application/json": {"schema": schema}}})
}

fn error() -> Value {
    answer(&failed())
}

fn asked(summary: &str, names: &[&str], answers: &[(u16, Value)]) -> Value {
    // `[A-Za-z0-9._-]+`; a version is a whole number.
    let parameters = names.iter().map(|name| {
        let pattern = if *name == "version" { "^[1-9][0-9]{0,17}$" } else { "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,200}$" };
        json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "pattern": pattern}})
    });
    let mut responses: Map<String, Value> =
        answers.iter().map(|(status, schema)| (status.to_string(), answer(schema))).collect();
    responses.insert("401".to_owned(), error());
    json!({"summary": summary, "parameters": parameters.collect::<Vec<_>>(), "responses": responses})
}

fn of_model(summary: &str, names: &[&str], schema: Value) -> Value {
    asked(summary, names, &[(200, schema), (404, failed()), (503, failed())])
}

fn with_body(operation: &mut Value, schema: Value) -> Value {
    operation["requestBody"] = json!({"content": {"application/json": {"schema": schema}}});
    for status in [400, 408, 413, 415] {
        operation["responses"][status.to_string()] = error();
    }
    operation.clone()
}

fn schemas() -> Value {
    let tensor = json!({
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": {"type": "string"},
            "datatype": {"enum": ["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
                "FP16", "FP32", "FP64", "BF16", "BYTES"]},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "parameters": {"type": "object"},
            "data": {"type": "array"},
        },
    });
    let wanted = json!({"type": "object", "required": ["name"],
        "properties": {"name": {"type": "string"}, "parameters": {"type": "object"}}});
    json!({
        "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
        "Tensor": tensor,
        "Metadata": {"type": "object", "required": ["name", "versions", "platform", "inputs", "outputs"]},
        "Statistics": {"type": "object", "required": ["model_stats"], "properties": {"model_stats": {"type": "array"}}},
        "Request": {"type": "object", "required": ["inputs"], "properties": {
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "inputs": {"type": "array", "items": reference("Tensor")},
            "outputs": {"type": "array", "items": wanted},
        }},
        "Answer": {"type": "object", "required": ["model_name", "model_version", "outputs"], "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": reference("Tensor")},
        }},
    })
}
