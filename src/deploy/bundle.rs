//! A bundle for those who call ONNX Runtime themselves: model, influence graph, recipes, labels, and a program in each of
//! Python, Rust and C++ that scores images with them.

use super::folder::Unfinished;
use super::given::{Files, Read};
use super::{DeployError, GivenFiles, Part, readme};
use crate::data::{Channels, Layout, Preprocess, Range, Recipe};
use crate::network::NetworkError;
use crate::observe::Observer;
use isal_exporters::serving::LABELS;
use std::fmt::Write as _;
use std::path::PathBuf;

const PYTHON: &str = include_str!("../../docs/examples/bundle/score.py");
const RUST: &str = include_str!("../../docs/examples/bundle/score.rs");
const MANIFEST: &str = include_str!("../../docs/examples/bundle/Cargo.toml.in");
const CPP: &str = include_str!("../../docs/examples/bundle/score.cpp");

/// What goes into a bundle.
#[derive(Debug, Clone)]
pub struct BundleOptions {
    /// The influence graph, and the model where it is to go with it.
    pub files: GivenFiles,
    /// The folder to write, where nothing is.
    pub out: PathBuf,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Bundle {
    /// Version of this object.
    pub schema: &'static str,
    /// Its folder.
    pub folder: PathBuf,
    /// Its files, in the order of the README.
    pub files: Vec<String>,
}

/// Writes a bundle.
///
/// # Errors
/// [`DeployError`]: files that do not go together, an influence graph without a recipe, a folder that is there already.
pub fn bundle(options: &BundleOptions, observer: &dyn Observer) -> Result<Bundle, DeployError> {
    let files = Files::read(&options.files, observer)?;
    let folder = Unfinished::begin(&options.out)?;
    let mut written = Vec::new();
    let mut text = |name: &str, text: &str| -> Result<(), DeployError> {
        written.push(name.to_owned());
        folder.write(name, text)
    };
    for read in &files.parts {
        let stem = match read.part {
            Part::Model => "model",
            Part::Influence | Part::Shadow => "influence",
        };
        let of_model = |source| NetworkError::model(&read.path, source);
        read.model.write(folder.path(&format!("{stem}.onnx"))?).map_err(of_model)?;
        text(&format!("{stem}.toml"), &recipe_file(&recipe(&files, read)?))?;
    }
    if let Some(scores) = files.scores.as_ref().filter(|scores| !scores.names.is_empty()) {
        text(LABELS, &(scores.names.join("\n") + "\n"))?;
    }
    if let Some(influence) = files.part(Part::Influence) {
        text("recipe.hpp", &header(&recipe(&files, influence)?, influence))?;
    }
    for (name, content) in [("score.py", PYTHON), ("score.rs", RUST), ("Cargo.toml", MANIFEST), ("score.cpp", CPP)] {
        text(name, content)?;
    }
    text("README.md", &readme::of_bundle(&files))?;
    written.extend(files.parts.iter().map(|read| match read.part {
        Part::Model => "model.onnx".to_owned(),
        Part::Influence | Part::Shadow => "influence.onnx".to_owned(),
    }));
    written.sort();
    let folder = folder.finish()?;
    Ok(Bundle { schema: "isal-export-bundle/1", folder, files: written })
}

/// How images become what a file takes; of the model, how its influence graph's do, or did before they were put inside.
fn recipe(files: &Files, read: &Read) -> Result<Recipe, DeployError> {
    let graph = files.part(Part::Influence).unwrap_or(read);
    let key = match read.part {
        Part::Model if graph.metadata.get(INSIDE).is_some() => INSIDE,
        _ => "preprocessing",
    };
    let found = graph.metadata.get(key).and_then(|text| serde_json::from_str(text).ok());
    found.ok_or_else(|| DeployError::Lacks { path: graph.path.clone(), key })
}

/// Property of an influence graph with the recipe that it follows itself.
const INSIDE: &str = crate::influence_graph::PREPROCESSING_INSIDE;

/// A recipe as the table that `isal` reads beside a model, and the size of what comes out of it.
fn recipe_file(recipe: &Recipe) -> String {
    #[derive(serde::Serialize)]
    struct File {
        size: [usize; 2],
        preprocess: Preprocess,
    }
    let file = File { size: [recipe.size.height, recipe.size.width], preprocess: recipe.spelt_out() };
    toml::to_string(&file).unwrap_or_default()
}

/// A recipe as constants of C++.
fn header(recipe: &Recipe, influence: &Read) -> String {
    let bytes = influence.model.graph.inputs.first().and_then(|input| input.value_type.as_ref());
    let bytes = bytes.is_some_and(|t| t.data_type == isal_onnx::DataType::Uint8);
    let floats = |values: &[f32]| values.iter().map(|x| format!("{x:?}f")).collect::<Vec<_>>().join(", ");
    let mut text = "// How images become what influence.onnx takes.\n#pragma once\n\n".to_owned();
    let numbers = [("HEIGHT", recipe.size.height), ("WIDTH", recipe.size.width), ("CHANNELS", recipe.channels.count())];
    for (name, number) in numbers {
        let _ = writeln!(text, "constexpr int {name} = {number};");
    }
    let flags = [
        ("NCHW", recipe.layout == Layout::Nchw),
        ("BGR", recipe.channels == Channels::Bgr),
        ("UNIT", recipe.range == Range::Unit),
        ("BYTES", bytes),
    ];
    for (name, flag) in flags {
        let _ = writeln!(text, "constexpr bool {name} = {flag};");
    }
    for (name, values) in [("MEAN", &recipe.mean), ("STD", &recipe.std)] {
        let _ = writeln!(text, "constexpr float {name}[] = {{{}}};", floats(values));
    }
    text
}
