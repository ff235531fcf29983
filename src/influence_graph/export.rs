//! `export influence`: from a model and solved vectors to a file for any stack that runs ONNX.

use super::evaluate::{Evaluator, batches, influences};
use super::exact::{Where, by_plugin, by_tangent};
use super::proof::{Own, Proof, compare, float_outputs};
use super::step::{Agreement, Choice, Columns, Judge, Unproven, choose};
use super::{
    InfluenceGraphError, PairedDifference, direction, directions, images, influence_of_pair, inside, provenance,
    takes_a_step,
};
use crate::classifier::{OutputKind, class_names};
use crate::data::{Dataset, Preprocess, Recipe, Size};
use crate::influence::SolvedVector;
use crate::network::Network;
use crate::observe::Observer;
use crate::runtime::{ExecutionProvider, Library, RuntimeError, Session, SessionOptions};
use crate::task::{ClassScores, ModelOptions, SINGLE_LABEL, TaskModel};
use indexmap::IndexMap;
use isal_onnx::influence::{
    ClassOutputs, Difference, Direction, EMBEDDING_FEATURES, EMBEDDING_RESIDUAL, INFLUENCE, INFLUENCE_PER_CLASS,
    InfluenceMetadata, Paired, TangentOptions, TaskGraphs, paired, shadow, tangent,
};
use isal_onnx::{Model, WriteOptions};
use ndarray::Array4;
use std::path::{Path, PathBuf};

/// What kind of file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExportForm {
    /// The network at two weight settings side by side: one run gives predictions and influence; float32 weights.
    #[default]
    Paired,
    /// The network with its exact derivative beside it: more time, for weights of any float type, and to check the others.
    Tangent,
    /// The second weight setting alone, for a stack that serves the model already; influence follows from both answers.
    Shadow,
}

/// What to export, and how.
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// The model.
    pub model: PathBuf,
    /// Its task, and its inputs besides the images.
    pub task: ModelOptions,
    /// A file with the names of the classes in the order of the class scores, one a line.
    pub class_names: Option<PathBuf>,
    /// Solved vectors, one a direction.
    pub vectors: Vec<PathBuf>,
    /// What is written; where it is open, paired for float32 weights and tangent for others.
    pub form: Option<ExportForm>,
    /// How the tangent form is made.
    pub tangent: TangentOptions,
    /// Which difference the paired form takes.
    pub difference: PairedDifference,
    /// The relative step, where it is not to be chosen.
    pub step: Option<f64>,
    /// What becomes of a graph that does not rank the sample as the exact derivative does.
    pub unproven: Unproven,
    /// Images to choose the step on; they need no labels.
    pub sample: Option<Dataset>,
    /// Preprocessing of the sample.
    pub preprocess: Preprocess,
    /// Whether the influence under every class is an output too.
    pub per_class: bool,
    /// Whether the two factors of each sample's gradient embedding are outputs too.
    pub embedding: bool,
    /// Whether the graph takes 8-bit images and prepares them itself.
    pub with_preprocessing: bool,
    /// Where ONNX Runtime runs.
    pub provider: ExecutionProvider,
    /// Where the plugin runs.
    pub device: String,
    /// Threads; 0 takes every core.
    pub threads: usize,
    /// The file to write.
    pub out: PathBuf,
    /// ONNX Runtime's library, when named.
    pub onnxruntime: Option<PathBuf>,
    /// The plugin, when named.
    pub plugin: Option<PathBuf>,
}

/// What was written, and what is known of it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Exported {
    /// The file.
    pub file: PathBuf,
    /// Its form.
    pub form: ExportForm,
    /// Its operator set, the model's own.
    pub opset: i64,
    /// Which difference a paired graph takes.
    pub difference: Option<&'static str>,
    /// `||eps s|| / ||theta||`, of the forms that take a step.
    pub relative_step: Option<f64>,
    /// How the influences do on the sample; absent where there was none, or nothing to compare with.
    pub agreement: Option<Agreement>,
    /// With what it agrees.
    pub judged_by: Option<String>,
    /// Images of the sample.
    pub sample_images: usize,
    /// How to compute influence from two answers, for a shadow model.
    pub formula: Option<&'static str>,
    /// What `step` stands for in the formula.
    pub step: Option<f64>,
    /// What running the file showed; absent where there is no ONNX Runtime, or no image size to run it on.
    pub proof: Option<Proof>,
    /// The properties in the file.
    pub metadata: IndexMap<String, String>,
}

/// What a graph is made from, whatever its form.
struct Source<'a> {
    of: &'a TaskModel,
    options: &'a ExportOptions,
    /// Of the classes, in the order of the class scores.
    names: Vec<String>,
    form: ExportForm,
    /// What a classifier's graph gives besides.
    classes: Option<ClassOutputs>,
    directions: Vec<Direction>,
}

/// A model in the making, and for a shadow the step and the formula.
struct Made {
    model: Model,
    shadow: Option<(f64, &'static str)>,
}

impl Source<'_> {
    /// Those of the model, for a form that is for classifiers alone.
    fn class_scores(&self) -> Result<&ClassScores, InfluenceGraphError> {
        let task = &self.of.task.name;
        self.of.class_scores.as_ref().ok_or_else(|| InfluenceGraphError::NoClassScores { task: task.clone() })
    }

    /// The differences a form takes by turns until one is close.
    fn differences(&self) -> &'static [Difference] {
        match self.form {
            ExportForm::Paired => self.options.difference.candidates(),
            ExportForm::Shadow | ExportForm::Tangent => &[Difference::OneSided],
        }
    }

    /// `difference` and `relative_step` are not looked at where the form takes none.
    fn make(&self, difference: Difference, relative_step: f64) -> Result<Made, InfluenceGraphError> {
        let Network { path, model, .. } = &self.of.network;
        let refused = |source| InfluenceGraphError::model(path, source);
        let task = TaskGraphs { classes: self.classes.as_ref(), ..self.of.task.parts() };
        match (self.form, self.directions.as_slice()) {
            (ExportForm::Shadow, [one]) => {
                let probabilities = self.class_scores()?.kind == OutputKind::Probabilities;
                let made = shadow(model, one, relative_step, probabilities).map_err(refused)?;
                Ok(Made { model: made.model, shadow: Some((made.eps, made.formula)) })
            }
            (ExportForm::Tangent, directions) => {
                let model = tangent(model, directions, &task, self.options.tangent).map_err(refused)?;
                Ok(Made { model, shadow: None })
            }
            (ExportForm::Shadow | ExportForm::Paired, directions) => {
                let how = Paired { relative_step, difference };
                let model = paired(model, directions, &task, how).map_err(refused)?;
                Ok(Made { model, shadow: None })
            }
        }
    }

    /// Influences of the sample at a step, had as whoever uses the file will have them.
    fn influences(
        &self,
        difference: Difference,
        step: f64,
        evaluator: &Evaluator<'_>,
        plain: &mut Session,
        sample: &Array4<f32>,
    ) -> Result<Columns, InfluenceGraphError> {
        let made = self.make(difference, step)?;
        let mut session = evaluator.open(&made.model)?;
        let Some((eps, _)) = made.shadow else {
            return influences(&mut session, sample.view(), self.directions.len());
        };
        let ClassScores { output, kind } = self.class_scores()?;
        let mut column = Vec::new();
        for batch in batches(sample.view()) {
            let (o, shifted) = (plain.class_scores(batch, output)?, session.class_scores(batch, output)?);
            column.extend(influence_of_pair(*kind, o.view(), shifted.view(), eps)?);
        }
        Ok(vec![column])
    }
}

/// Writes an influence graph, or a shadow model, and runs it once.
///
/// A form that takes a step needs a sample or a step given by hand.
///
/// # Errors
/// [`InfluenceGraphError`]. Where a file does not stand the proof, whatever was in its place stays.
pub fn export(options: &ExportOptions, observer: &dyn Observer) -> Result<Exported, InfluenceGraphError> {
    let of = TaskModel::read(&options.model, &options.task)?;
    of.check_differentiable()?;
    let names = match of.classes {
        0 => Vec::new(),
        classes => {
            let names = class_names(&of.network, classes, options.class_names.as_deref(), &[], None)?;
            names.say(observer);
            names.names
        }
    };
    let vectors = directions::read(&options.vectors, &of.network)?;
    let directions = vectors.iter().map(direction).collect::<Result<Vec<_>, _>>()?;
    let form = options.form.unwrap_or_else(|| default_form(&of.network, &directions));
    let classes = class_outputs(options, &of)?;
    let source = Source { of: &of, options, names, form, classes, directions };
    if form == ExportForm::Shadow {
        source.class_scores()?;
    }
    if form != ExportForm::Tangent && options.sample.is_none() && options.step.is_none() {
        return Err(InfluenceGraphError::NoStep);
    }
    let library = match Library::load(options.onnxruntime.as_deref()) {
        Ok(library) => Some(library),
        // A step by hand needs no runtime.
        Err(RuntimeError::Missing { .. }) if options.onnxruntime.is_none() && options.sample.is_none() => {
            observer.say("ONNX Runtime is not there, so the file is written without being run");
            None
        }
        Err(other) => return Err(other.into()),
    };
    let recipe = recipe(options, &of.network)?;
    let measured = match (&options.sample, &recipe, &library) {
        (Some(data), Some(recipe), Some(library)) => {
            let sample = images::sample(data, recipe, options.threads, observer)?;
            Some(measure(&source, &vectors, sample, library, observer)?)
        }
        _ => None,
    };
    let chosen = measured.as_ref().and_then(|m| m.chosen);
    let step = chosen.map(|c| c.step).or(options.step).filter(|_| form != ExportForm::Tangent);
    let first = source.differences().first().copied().unwrap_or(Difference::OneSided);
    let difference = chosen.map_or(first, |c| c.difference);
    let Made { mut model, shadow } = source.make(difference, step.unwrap_or(f64::NAN))?;
    describe(&mut model, &source, &vectors, recipe.as_ref(), measured.as_ref());
    let inside = recipe.as_ref().filter(|_| options.with_preprocessing);
    if options.with_preprocessing {
        let no_size = || InfluenceGraphError::Inside {
            what: "the size of images, which neither the model nor a `--sample` says".to_owned(),
        };
        model = put_inside(&model, inside.ok_or_else(no_size)?)?;
    }
    let sample = measured.as_ref().map(|m| &m.sample);
    // Nobody shall deploy what has not stood the proof.
    let written = model.write_proven(&options.out, &WriteOptions::default(), |written| match &library {
        Some(library) => prove(&source, difference, written, library, (sample, inside), observer),
        None => Ok(None),
    });
    let proof = written.map_err(|e| InfluenceGraphError::model(&options.out, e))??;
    Ok(Exported {
        file: options.out.clone(),
        form,
        opset: model.opset(),
        difference: (form == ExportForm::Paired).then(|| difference.name()),
        relative_step: step,
        agreement: measured.as_ref().and_then(|m| m.against.as_ref().map(|(_, agreement)| *agreement)),
        judged_by: measured.as_ref().and_then(|m| m.against.as_ref().map(|(judge, _)| judge.name().to_owned())),
        sample_images: measured.as_ref().map_or(0, |m| m.sample.len_of(ndarray::Axis(0))),
        formula: shadow.map(|(_, formula)| formula),
        step: shadow.map(|(eps, _)| eps),
        proof,
        metadata: InfluenceMetadata::of(&model).unwrap_or_default().0,
    })
}

/// The outputs that only a classifier's graph has.
fn class_outputs(options: &ExportOptions, of: &TaskModel) -> Result<Option<ClassOutputs>, InfluenceGraphError> {
    let ExportOptions { per_class, embedding, .. } = *options;
    if !per_class && !embedding {
        return Ok(None);
    }
    match (of.task.name.as_str(), of.task.bindings.first()) {
        (SINGLE_LABEL, Some((_, logits))) => {
            Ok(Some(ClassOutputs { logits: logits.clone(), classes: of.classes, per_class, embedding }))
        }
        (task, _) => Err(InfluenceGraphError::NoClassScores { task: task.to_owned() }),
    }
}

/// Paired, where every weight takes a small step.
fn default_form(network: &Network, directions: &[Direction]) -> ExportForm {
    let weights = directions.iter().flat_map(|d| d.keys()).map(String::as_str);
    if takes_a_step(network, weights) { ExportForm::Paired } else { ExportForm::Tangent }
}

/// What the sample has shown.
struct Measured {
    sample: Array4<f32>,
    /// The difference and the step that were chosen on it.
    chosen: Option<Choice>,
    /// What judged, and how well the influences agree with it.
    against: Option<(Judge, Agreement)>,
    /// What was found wrong with it and let pass.
    unproven: Option<String>,
}

/// Chooses the step of a form that takes one, and measures how well the influences agree with the exact ones.
fn measure(
    source: &Source<'_>,
    vectors: &[SolvedVector],
    sample: Array4<f32>,
    library: &Library,
    observer: &dyn Observer,
) -> Result<Measured, InfluenceGraphError> {
    let options = source.options;
    let of = (&source.of.network, &source.of.task);
    let at = Where { library, plugin: options.plugin.as_deref(), device: &options.device, threads: options.threads };
    let evaluator = Evaluator::new(library, session_options(options))?;
    let by_plugin = by_plugin(of, vectors, sample.view(), &at, observer)?;
    let itself = source.form == ExportForm::Tangent && options.tangent.rank.is_none();
    let exact = match by_plugin {
        // The exact tangent graph says nothing about itself.
        None if !itself => by_tangent(of, &source.directions, sample.view(), &evaluator, observer)?,
        found => found,
    };
    let mut plain = evaluator.open_file(source.of.network.file())?;
    let mut influences = |difference, step| source.influences(difference, step, &evaluator, &mut plain, &sample);
    if source.form == ExportForm::Tangent {
        let Some(judge) = exact else { return Ok(Measured { sample, chosen: None, against: None, unproven: None }) };
        let found = influences(Difference::OneSided, f64::NAN)?;
        let Judge::Exact { influences: truth, .. } = &judge else {
            return Ok(Measured { sample, chosen: None, against: None, unproven: None });
        };
        let agreement = Agreement::between(&found, truth);
        // A cut rank is an approximation that was asked for; how good it is gets printed.
        let found = if itself { agreement.of_exact(&judge) } else { Ok(()) };
        let unproven = options.unproven.judge(found, observer)?;
        return Ok(Measured { sample, chosen: None, against: Some((judge, agreement)), unproven });
    }
    let judge = exact.unwrap_or_else(|| {
        observer.say("neighbouring steps are held against each other");
        Judge::Neighbours
    });
    let steps = judge.candidates(options.step);
    let choice = choose(source.differences(), &steps, &judge, influences, observer)?;
    let unproven = options.unproven.judge(choice.accepted(&judge), observer)?;
    Ok(Measured { sample, chosen: Some(choice), against: Some((judge, choice.agreement)), unproven })
}

fn session_options(options: &ExportOptions) -> SessionOptions {
    SessionOptions { provider: options.provider, threads: options.threads }
}

/// The resolved recipe; `None` where the model's image size is free and no sample says which.
fn recipe(options: &ExportOptions, network: &Network) -> Result<Option<Recipe>, InfluenceGraphError> {
    let first = options.sample.as_ref().and_then(|data| data.load(0).ok());
    let size = first.map(|image| Size { height: image.height(), width: image.width() });
    match network.recipe(&options.preprocess, size) {
        Ok(recipe) => Ok(Some(recipe)),
        // The size is all that is missing; a recipe that contradicts itself is an error.
        Err(_) if options.sample.is_none() && network.input.iter().skip(1).any(Option::is_none) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Puts into the file where it comes from.
fn describe(
    model: &mut Model,
    source: &Source<'_>,
    vectors: &[SolvedVector],
    recipe: Option<&Recipe>,
    measured: Option<&Measured>,
) {
    let mut metadata = provenance::of_vectors(&source.of.network, &source.of.task, vectors);
    metadata.0.insert("classes".to_owned(), serde_json::json!(source.names).to_string());
    if let Some(recipe) = recipe.and_then(|recipe| serde_json::to_string(recipe).ok()) {
        metadata.0.insert("preprocessing".to_owned(), recipe);
    }
    match measured.and_then(|m| Some((m, m.against.as_ref()?))) {
        Some((m, (judge, agreement))) => {
            let images = m.sample.len_of(ndarray::Axis(0));
            metadata.0.extend(provenance::of_agreement(agreement, judge, images, m.unproven.clone()).0);
        }
        None => {
            let why = match (source.form, source.options.tangent.rank) {
                (ExportForm::Tangent, None) => "not measured: the tangent form is exact by construction",
                (ExportForm::Tangent, Some(_)) => "not measured: no sample was given",
                _ => "not measured: the step was given by hand",
            };
            metadata.0.insert("agreement".to_owned(), why.to_owned());
        }
    }
    metadata.store(model);
}

/// The graph with its preprocessing inside, which says so, and what is left for a host to do.
fn put_inside(model: &Model, recipe: &Recipe) -> Result<Model, InfluenceGraphError> {
    let mut model = inside::with_preprocessing(model, recipe)?;
    let mut metadata = InfluenceMetadata::of(&model).unwrap_or_default();
    for key in metadata.0.keys() {
        model.metadata.shift_remove(&format!("isal.influence.{key}"));
    }
    let text = |recipe: &Recipe| serde_json::to_string(recipe).ok();
    metadata.0.shift_remove("preprocessing");
    metadata.0.extend(text(recipe).map(|text| (inside::PREPROCESSING_INSIDE.to_owned(), text)));
    let left = inside::left_to_the_host(recipe).and_then(|left| text(&left));
    metadata.0.extend(left.map(|text| ("preprocessing".to_owned(), text)));
    metadata.store(&mut model);
    Ok(model)
}

/// Runs the file at `written` on a batch of the sample, or of noise, beside the model.
fn prove(
    source: &Source<'_>,
    difference: Difference,
    written: &Path,
    library: &Library,
    (sample, inside): (Option<&Array4<f32>>, Option<&Recipe>),
    observer: &dyn Observer,
) -> Result<Option<Proof>, InfluenceGraphError> {
    let options = source.options;
    // A graph that prepares images itself is shown bytes, and the model what they become.
    let raw = inside.map(|recipe| images::raw_noise(&source.of.network, recipe)).transpose()?;
    let sample = sample.filter(|_| raw.is_none());
    let noise = match (&raw, sample) {
        (Some((_, prepared)), _) => Some(prepared.clone()),
        (None, Some(_)) => None,
        (None, None) => images::noise(&source.of.network),
    };
    let Some(batch) = sample.or(noise.as_ref()).and_then(|images| batches(images.view()).next()) else {
        observer.say("the model's image size is free, so the file is written without being run: `--sample` tells it");
        return Ok(None);
    };
    let count = batch.len_of(ndarray::Axis(0));
    let shown = raw.as_ref().map_or(batch, |(bytes, _)| bytes.slice(ndarray::s![..count, .., .., ..]));
    let open = |path: &Path| Session::open(library, path, session_options(options));
    let (mut plain, mut written) = (open(source.of.network.file())?, open(written)?);
    let own = match (source.form, difference) {
        (ExportForm::Shadow, _) => Own::Shifted,
        (ExportForm::Tangent, _) | (ExportForm::Paired, Difference::OneSided | Difference::Held) => Own::Kept,
        (ExportForm::Paired, Difference::Central) => Own::Mean,
    };
    let wanted = [
        (true, INFLUENCE),
        (options.per_class, INFLUENCE_PER_CLASS),
        (options.embedding, EMBEDDING_RESIDUAL),
        (options.embedding, EMBEDDING_FEATURES),
    ];
    let alone = source.form == ExportForm::Shadow;
    let added: Vec<&str> = wanted.iter().filter(|(is, _)| *is && !alone).map(|(_, name)| *name).collect();
    let outputs = float_outputs(&source.of.network.model.graph);
    let (bit_for_bit, difference) =
        compare(&options.out, &mut plain, &mut written, [batch, shown], (&outputs, &added), own)?;
    Ok(Some(Proof {
        onnxruntime: library.version().to_string(),
        images: batch.shape().first().copied().unwrap_or(0),
        of_sample: sample.is_some(),
        bit_for_bit,
        difference,
    }))
}
