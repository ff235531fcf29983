//! A detector as its training program exported it: decoded boxes and squashed scores as the one output, the values that a loss wants
//! inside.
//!
//! Found by structure: the output `[N, 4 + C, L]` of the YOLOs from version 8 on joins, along axis 1, the boxes and the Sigmoid of the
//! class scores; each distance of a box is the mean of a Softmax. The scores are what goes into the Sigmoid, the distributions what
//! is reshaped for the Softmax. Names of values differ from version to version and are not looked at.

use super::Bindings;
use isal_onnx::{Graph, Model, Node};
use std::collections::HashSet;

/// Property of an exported network that says what it is for, and its value for detection.
const TASK: (&str, &str) = ("task", "detect");
/// Property with the height and width of the images that it is for: `[640, 640]`.
const IMAGE_SIZE: &str = "imgsz";
/// How far back from an output its raw values are looked for; a network has some thousand nodes.
const NEAR: usize = 100;

/// The built-in task that such a model is for, and the values that its loss reads.
pub fn exported(model: &Model) -> Option<(&'static str, Bindings)> {
    if model.metadata.get(TASK.0).map(String::as_str) != Some(TASK.1) {
        return None;
    }
    let graph = &model.graph;
    let joined = made_by(graph, &graph.outputs.first()?.name, "Concat")?;
    let [boxes, scores] = &joined.inputs[..] else { return None };
    let cls = made_by(graph, scores, "Sigmoid")?.input(0)?;
    let softmax = softmax_before(graph, boxes)?;
    let distributions = before_reshape(graph, softmax.input(0)?)?;
    Some(("yolo", vec![("cls".to_owned(), cls.to_owned()), ("box".to_owned(), distributions.to_owned())]))
}

/// Height and width of the images that an exported network is for, by its properties.
pub fn image_size(model: &Model) -> Option<[usize; 2]> {
    let sizes: [usize; 2] = serde_json::from_str(model.metadata.get(IMAGE_SIZE)?).ok()?;
    sizes.iter().all(|size| (1..=1 << 14).contains(size)).then_some(sizes)
}

fn made_by<'a>(graph: &'a Graph, value: &str, op: &str) -> Option<&'a Node> {
    let node = graph.nodes.get(graph.producer(value)?)?;
    (node.domain.is_empty() && node.op_type == op).then_some(node)
}

/// The only Softmax that is so near before this value.
fn softmax_before<'a>(graph: &'a Graph, value: &str) -> Option<&'a Node> {
    let (mut wanted, mut seen, mut found) = (vec![value], HashSet::new(), Vec::new());
    while let Some(value) = wanted.pop() {
        let Some(node) = graph.producer(value).and_then(|at| graph.nodes.get(at)) else { continue };
        if !seen.insert(value) || seen.len() > NEAR {
            continue;
        }
        match node.op_type.as_str() {
            "Softmax" => found.push(node),
            // Convolutions before the distributions belong to the network; the one behind them is fed by the Softmax.
            "Shape" => {}
            _ => wanted.extend(node.inputs.iter().map(String::as_str).filter(|input| !input.is_empty())),
        }
    }
    match found[..] {
        [only] => Some(only),
        _ => None,
    }
}

/// The value that reshaping and turning made of this one.
fn before_reshape<'a>(graph: &'a Graph, mut value: &'a str) -> Option<&'a str> {
    let mut reshaped = false;
    loop {
        let node = graph.nodes.get(graph.producer(value)?)?;
        match node.op_type.as_str() {
            "Reshape" => reshaped = true,
            "Transpose" => {}
            _ => return reshaped.then_some(value),
        }
        value = node.input(0)?;
    }
}
