//! The files that go into a serving layout, and that they belong together.

use super::DeployError;
use crate::classifier::{Classifier, OutputKind, class_names};
use crate::network::{Network, NetworkError};
use crate::observe::Observer;
use isal_onnx::Model;
use isal_onnx::influence::InfluenceMetadata;
use std::path::{Path, PathBuf};

/// What a served file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The model itself.
    Model,
    /// A graph that gives predictions and influence.
    Influence,
    /// The model at other weights, from whose answers and the model's own influence follows.
    Shadow,
}

impl Part {
    fn option(self) -> &'static str {
        match self {
            Part::Model => "model",
            Part::Influence => "influence",
            Part::Shadow => "shadow",
        }
    }

    /// What is put behind the model's name.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Part::Model => "",
            Part::Influence => "-influence",
            Part::Shadow => "-shadow",
        }
    }
}

/// The files that are to be served.
#[derive(Debug, Clone, Default)]
pub struct GivenFiles {
    /// A model.
    pub model: Option<PathBuf>,
    /// An influence graph: paired or tangent.
    pub influence: Option<PathBuf>,
    /// A shadow model.
    pub shadow: Option<PathBuf>,
    /// A file with the names of the classes, one a line.
    pub class_names: Option<PathBuf>,
}

/// A file that has been read.
pub(super) struct Read {
    pub(super) part: Part,
    pub(super) path: PathBuf,
    pub(super) model: Model,
    pub(super) metadata: InfluenceMetadata,
}

/// The class scores of a classifier.
pub(super) struct Scores {
    /// The output.
    pub(super) output: String,
    /// Whether it holds probabilities.
    pub(super) probabilities: bool,
    /// Names of the classes in its order; empty where nobody named them.
    pub(super) names: Vec<String>,
}

/// All files, checked to be of one model.
pub(super) struct Files {
    pub(super) parts: Vec<Read>,
    /// Of a classifier.
    pub(super) scores: Option<Scores>,
}

impl Files {
    /// Reads and checks them.
    ///
    /// # Errors
    /// A file that is no sound model, one given in the place of another kind, an influence graph or a shadow of another model.
    pub(super) fn read(given: &GivenFiles, observer: &dyn Observer) -> Result<Files, DeployError> {
        let named = [(Part::Model, &given.model), (Part::Influence, &given.influence), (Part::Shadow, &given.shadow)];
        let mut parts = Vec::new();
        for (part, path) in named {
            if let Some(path) = path {
                parts.push(read(part, path)?);
            }
        }
        check_one_model(&parts)?;
        let scores = scores(&parts, given.class_names.as_deref(), observer)?;
        Ok(Files { parts, scores })
    }

    /// A part, where it was given.
    pub(super) fn part(&self, part: Part) -> Option<&Read> {
        self.parts.iter().find(|read| read.part == part)
    }
}

fn read(part: Part, path: &Path) -> Result<Read, DeployError> {
    let model = Model::read(path).map_err(|source| NetworkError::model(path, source))?;
    let metadata = InfluenceMetadata::of(&model).unwrap_or_default();
    let form = metadata.get("form");
    let refused = |found: String, expected| {
        Err(DeployError::Kind { path: path.to_path_buf(), option: part.option(), found, expected })
    };
    match (part, form) {
        (Part::Model, Some(form)) => refused(format!("is an influence graph in the {form} form"), "the model itself"),
        (Part::Influence, None) => refused("is no influence graph".to_owned(), "a file of `isal export influence`"),
        (Part::Influence, Some("shadow")) => refused("is a shadow model".to_owned(), "the paired or the tangent form"),
        (Part::Shadow, form) if form != Some("shadow") => {
            refused("is no shadow model".to_owned(), "a file of `isal export influence --form shadow`")
        }
        _ => Ok(Read { part, path: path.to_path_buf(), model, metadata }),
    }
}

/// What the first part says its model is, the others have to say too.
fn check_one_model(parts: &[Read]) -> Result<(), DeployError> {
    let hash = |read: &Read| match read.part {
        Part::Model => Some(read.model.sha256()),
        _ => read.metadata.get("model sha256").map(str::to_owned),
    };
    let mut known = parts.iter().filter_map(|read| Some((&read.path, hash(read)?)));
    let Some((model, expected)) = known.next() else { return Ok(()) };
    match known.find(|(_, found)| *found != expected) {
        Some((path, found)) => {
            Err(DeployError::OtherModel { path: path.clone(), model: model.clone(), found, expected })
        }
        None => Ok(()),
    }
}

/// The class scores by the model, or by what an influence graph carries of it.
fn scores(parts: &[Read], given: Option<&Path>, observer: &dyn Observer) -> Result<Option<Scores>, DeployError> {
    let Some(first) = parts.first() else { return Ok(None) };
    let carried = parts.iter().find_map(|read| serde_json::from_str::<Vec<String>>(read.metadata.get("classes")?).ok());
    // An influence graph has outputs besides; those of the model come first in it.
    let output = match first.part {
        Part::Influence => first.model.graph.outputs.first().map(|output| output.name.as_str()),
        Part::Model | Part::Shadow => None,
    };
    let network = Network::of(first.model.clone(), &first.path)?;
    let classifier = match (Classifier::of(network.clone(), output), given) {
        (Ok(classifier), _) => classifier,
        // A model of another task has no class scores, and is served all the same.
        (Err(_), None) => return Ok(None),
        (Err(error), Some(_)) => return Err(error.into()),
    };
    let names = match (given, carried) {
        (None, Some(carried)) if carried.len() == classifier.classes => carried,
        _ => {
            let names = class_names(&network, classifier.classes, given, &[], None)?;
            names.say(observer);
            names.names
        }
    };
    // Numbers in their order are no names.
    let numbers = names.iter().enumerate().all(|(place, name)| *name == place.to_string());
    let probabilities = classifier.kind == OutputKind::Probabilities;
    let names = if numbers { Vec::new() } else { names };
    Ok(Some(Scores { output: classifier.output, probabilities, names }))
}
