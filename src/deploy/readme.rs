//! The README beside a served model: what goes in, what comes out, and how influence is read.

use super::given::{Files, Part, Read, Scores};
use crate::influence_graph::PREPROCESSING_INSIDE;
use crate::scores::SIGN;
use isal_exporters::serving::TritonConfig;
use std::fmt::Write as _;

/// The text for a model of a Triton repository; `served` is the name of the model itself in it.
pub(super) fn of_triton(read: &Read, config: &TritonConfig, served: &str, files: &Files) -> String {
    let scores = files.scores.as_ref();
    let mut text = format!("# {}\n\n", config.name);
    text += &match read.part {
        Part::Model => "The model as it was trained.\n".to_owned(),
        Part::Influence => {
            format!("The model's own outputs, and the influence of each image: one request gives both.\n\n{}\n", sign())
        }
        Part::Shadow => of_shadow(read, served, scores),
    };
    text += "\n## Tensors\n\n| | name | type | shape |\n|---|---|---|---|\n";
    let batch = if config.max_batch_size > 0 { "N" } else { "" };
    for (what, tensors) in [("input", &config.inputs), ("output", &config.outputs)] {
        for tensor in tensors {
            let axes = tensor.dims.iter().map(|dim| if *dim < 0 { "?".to_owned() } else { dim.to_string() });
            let shape: Vec<String> = std::iter::once(batch.to_owned()).filter(|n| !n.is_empty()).chain(axes).collect();
            let data_type = tensor.data_type.trim_start_matches("TYPE_");
            let _ = writeln!(text, "| {what} | `{}` | {data_type} | [{}] |", tensor.name, shape.join(", "));
        }
    }
    if let Some(why) = &config.unbatched {
        let _ = writeln!(text, "\nRequests are not batched: {why}.");
    }
    text + &of_images(read, files)
}

/// What the images of a request have to be; what an influence graph carries is true of its model too.
fn of_images(read: &Read, files: &Files) -> String {
    let carrier = files.part(Part::Influence).or(files.part(Part::Shadow)).unwrap_or(read);
    let inside = carrier.metadata.get(PREPROCESSING_INSIDE);
    let recipe = match (read.part, inside) {
        (Part::Influence, Some(_)) => {
            return "\n## Images\n\nThe graph prepares images itself: send 8-bit samples as a decoder gives them, RGB or grey by \
                    the number of channels, in any size; all of a batch in one size.\n"
                .to_owned();
        }
        (_, inside) => inside.or(carrier.metadata.get("preprocessing")),
    };
    match recipe {
        Some(recipe) => format!("\n## Images\n\nThe images are prepared by this recipe:\n\n```json\n{recipe}\n```\n"),
        None => String::new(),
    }
}

fn sign() -> String {
    let mut sign = SIGN.to_owned();
    if let Some(first) = sign.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    format!("{sign}.")
}

fn of_shadow(read: &Read, served: &str, scores: Option<&Scores>) -> String {
    let property = |key: &str| read.metadata.get(key).unwrap_or("unknown");
    let (o, which) = match scores {
        Some(scores) if scores.probabilities => ("p", &scores.output),
        Some(scores) => ("o", &scores.output),
        None => ("o", &served.to_owned()),
    };
    let means = match o {
        "p" => "",
        _ => ", and softmax over the classes",
    };
    format!(
        "The model `{served}` at weights a small step along a solved vector. Send an image to both; with `{o}` the output \
         `{which}` of `{served}` and `{o}~` that of this model{means}:\n\n    step = {}\n    {}\n\nCompute in float64: the \
         difference is small. {}\n",
        property("step"),
        property("formula"),
        sign(),
    )
}

/// The README of a bundle.
pub(super) fn of_bundle(files: &Files) -> String {
    let rows = [
        ("influence.onnx", "the model's outputs and `influence` `[N]` (`[N, D]` for D vectors), in one run"),
        ("influence.toml", "how images become its input"),
        ("model.onnx, model.toml", "the model alone, and how images become its input"),
        ("labels.txt", "names of the classes, in the order of the class scores"),
        ("score.py", "`python score.py IMAGE...`: prepares images whatever their size"),
        ("score.rs, Cargo.toml", "`cargo run --release -- . IMAGE...`: images of the size in influence.toml"),
        ("score.cpp, recipe.hpp", "PPM files of that size; its first lines say how to compile it"),
    ];
    let named = files.scores.as_ref().is_some_and(|scores| !scores.names.is_empty());
    let there = |name: &str| match name {
        "labels.txt" => named,
        name if name.starts_with("model") => files.part(Part::Model).is_some(),
        _ => true,
    };
    let mut text = "# Predictions and influence by plain ONNX Runtime\n\n| file | what it is |\n|---|---|\n".to_owned();
    for (name, what) in rows.iter().filter(|(name, _)| there(name)) {
        let _ = writeln!(text, "| {name} | {what} |");
    }
    let _ = writeln!(text, "\n{} `isal score pool --influence influence.onnx` gives the same numbers.", sign());
    text
}
