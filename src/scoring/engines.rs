//! What scores a pool by influence: `s` first, then the plugin or an influence graph along it.

use super::prepared::{Prepared, data_sha256};
use super::solving::{self, SAMPLE, Solving};
use super::stages::{Scored, runtime, sweep_stage};
use super::{Engine, ModelSource, ScoreOptions, ScoringError, SolveKey, carried, fit, ihvp};
use crate::data::{Labelled, Loader, LoaderOptions, Split};
use crate::influence::{Annotations, GradientEngine as _, SolvedVector};
use crate::influence_graph::{self, SweepForm, Unproven};
use crate::observe::Observer;
use crate::plugin::{LoadOptions, Plugin, PluginEngine};
use crate::runtime::{Library, SessionOptions};
use crate::sweep::{InfluenceGraph, Native, Predictor, Scorer};
use crate::task::{OWN, Task};
use indexmap::IndexMap;
use isal_onnx::influence::InfluenceMetadata;
use std::collections::BTreeMap;

/// Images of the pool that show whether its losses have gradients.
const LOOKED_AT: usize = 8;
/// A gradient of this share of another is rounding: of float32 outputs, a few times over.
const ROUNDING: f64 = 1e-5;

/// Solves for `s`, or takes the saved one, and sweeps with the engine that was asked for.
pub(super) fn with_influence(
    from: &ModelSource,
    options: &ScoreOptions,
    (prepared, task): (&Prepared, &Task),
    observer: &dyn Observer,
) -> Result<Scored, ScoringError> {
    let strategy = options.strategy.row().name;
    let labelled = from.labelled.as_ref().ok_or(ScoringError::NoLabels { strategy })?;
    let labelled = Split::<Labelled>::new(prepared.family.as_the_model_counts(labelled.dataset())?)?;
    let (labelled, reference) = solving::split(&labelled, &from.reference)?;
    let network = &prepared.network;
    network.check_differentiable(task.values())?;
    let curvature = from.curvature.draw(&from.solver, labelled.dataset(), options.pool.dataset())?;
    let plugin = Plugin::find(from.plugin.as_deref())?;
    let described = plugin.describe()?;
    let description = format!("{} {} ({})", described.name, described.version, described.backend);
    let load = LoadOptions::for_task(task, network.parameters(&from.scope)?, &from.device, options.threads);
    let mut engine = PluginEngine::from_model(&plugin, &network.model, &load)?;
    let key = SolveKey {
        model_sha256: network.sha256.clone(),
        labelled_sha256: data_sha256(labelled.dataset(), &prepared.recipe),
        reference_sha256: data_sha256(reference.dataset(), &prepared.recipe),
        pool_sha256: data_sha256(
            &solving::of_pool(&curvature, &from.solver, options.pool.dataset())?,
            &prepared.recipe,
        ),
        labelled_samples: labelled.dataset().len(),
        curvature: [curvature.labelled.len(), curvature.pool.len()],
        scope: from.scope.to_string(),
        loss: task.loss_text(),
        solver: from.solver.clone(),
        versions: BTreeMap::from([
            ("isal".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("plugin".to_owned(), description.clone()),
        ]),
    };
    let (library, session_options) = runtime(options, observer)?;
    let mut predictor = Predictor::open(&library, network, task, session_options)?;
    let fit = fit::settle(options, prepared, labelled.dataset(), &mut predictor, &key, observer)?;
    let path = options.out.join("s.safetensors");
    let vector = match ihvp::saved(&path, &key, &engine) {
        Some(vector) => {
            observer.say(&format!("`{}` holds s for this model and these data; not solved again", path.display()));
            vector
        }
        None => {
            check_gradient(options, prepared, task, &mut engine, &mut predictor)?;
            let solving = Solving {
                options,
                prepared,
                task,
                library: &library,
                curvature: &curvature,
                reference: reference.dataset(),
                key: &key,
                path: &path,
            };
            solving::solve_stage(&solving, &mut engine, observer)?
        }
    };
    let mut provenance = prepared.provenance.clone();
    provenance.extend(describe_vector(&vector));
    provenance.insert("pseudo-labels".into(), task.pseudo_labels.clone());
    let s = engine.upload(&vector.s)?;
    let mut native = Native { engine: &engine, s, predictor: &mut predictor };
    let scored = match from.engine.unwrap_or_else(|| fitting(prepared, &vector)) {
        Engine::Native => {
            provenance.insert("engine".into(), format!("native ({description}) on {}", from.device));
            sweep_stage(options, prepared, &mut native, provenance, observer)?
        }
        graph => {
            let form = match graph {
                Engine::Tangent => SweepForm::Tangent { rank: from.tangent_rank },
                _ => SweepForm::Paired { difference: from.difference },
            };
            let wanted = Graph { prepared, task, vector: &vector, form, unproven: from.unproven };
            let running = (&library, session_options);
            let mut scorer = wanted.scorer(options, running, &mut native, &mut provenance, observer)?;
            let mut scored = sweep_stage(options, prepared, &mut scorer, provenance, observer)?;
            scored.files.insert("influence graph", options.out.join("influence.onnx"));
            scored
        }
    };
    let files = IndexMap::from([("s and the reference gradient", path)]);
    Ok(Scored { files: files.into_iter().chain(scored.files).collect(), fit, ..scored })
}

/// Refuses a loss that is at its least wherever the model's own belief is taken for the label, as squares are. Of graphs that a
/// user brings a few images of the pool show it, before anything is solved: under the belief of another image the gradient is of
/// the usual size, under their own it is rounding.
fn check_gradient(
    options: &ScoreOptions,
    prepared: &Prepared,
    task: &Task,
    engine: &mut PluginEngine,
    predictor: &mut Predictor,
) -> Result<(), ScoringError> {
    let refused = || ScoringError::NoGradient { task: task.name.clone() };
    if !prepared.family.learns_from_belief() {
        return Err(refused());
    }
    let pool = options.pool.dataset();
    let loader = LoaderOptions { batch_size: LOOKED_AT, ..LoaderOptions::default() };
    let batch = Loader::over(pool.clone(), prepared.recipe.clone(), pool.spread(LOOKED_AT), &loader)?.next();
    let Some(batch) = batch.filter(|_| task.name == OWN) else { return Ok(()) };
    let images = batch?.images;
    let believed = predictor.decode(images.view())?;
    let others: Vec<usize> = (1..believed.images()).chain([0]).collect();
    let mut norm = |annotations: &Annotations| -> Result<f64, ScoringError> {
        let (_, gradient) = engine.gradient(images.view(), annotations)?;
        Ok(engine.dot(&gradient, &gradient)?.sqrt())
    };
    let (own, usual) = (norm(&believed)?, norm(&believed.select(&others))?);
    if own <= ROUNDING * usual { Err(refused()) } else { Ok(()) }
}

/// The paired graph where a small step survives in every weight.
fn fitting(prepared: &Prepared, vector: &SolvedVector) -> Engine {
    let names = vector.parameters.iter().map(|p| p.name.as_str());
    if influence_graph::takes_a_step(&prepared.network, names) { Engine::Paired } else { Engine::Tangent }
}

/// The influence graph of a sweep.
struct Graph<'a> {
    prepared: &'a Prepared,
    task: &'a Task,
    vector: &'a SolvedVector,
    form: SweepForm,
    unproven: Unproven,
}

impl Graph<'_> {
    /// It on ONNX Runtime: the one on disk where it was made from the same vector, else a new one.
    fn scorer(
        &self,
        options: &ScoreOptions,
        (library, session_options): (&Library, SessionOptions),
        native: &mut dyn Scorer,
        provenance: &mut IndexMap<String, String>,
        observer: &dyn Observer,
    ) -> Result<InfluenceGraph, ScoringError> {
        let Graph { prepared, task, vector, form, unproven } = *self;
        let path = options.out.join("influence.onnx");
        let carried = carried::properties(prepared, task, vector);
        let saved = influence_graph::saved(&path, &prepared.network, vector, form)
            .filter(|(_, found)| carried::holds(found, &carried))
            // One that was let pass is not taken where none is.
            .filter(|(_, found)| unproven == Unproven::Used || found.get("unproven").is_none());
        let (scorer, metadata) = match saved {
            Some((graph, metadata)) => (InfluenceGraph::open(library, &graph, &path, session_options)?, metadata),
            None => {
                let pool = options.pool.dataset();
                let loader = LoaderOptions { batch_size: SAMPLE, ..LoaderOptions::default() };
                let batch = Loader::over(pool.clone(), prepared.recipe.clone(), pool.spread(SAMPLE), &loader)?.next();
                let images = batch.ok_or(ScoringError::NoScores { images: 0 })??.images;
                let exact = native.score(images.view())?.influence.unwrap_or_default();
                let mut network = prepared.network.clone();
                carried.store(&mut network.model);
                let sample = influence_graph::Sample { network: &network, task, vector, form, images, exact, unproven };
                sample.build(&path, library, session_options, observer)?
            }
        };
        describe_graph(&metadata, library, &scorer, provenance);
        Ok(scorer)
    }
}

/// Which graph computes the influence, and on what.
pub(super) fn describe_graph(
    metadata: &InfluenceMetadata,
    library: &Library,
    scorer: &InfluenceGraph,
    provenance: &mut IndexMap<String, String>,
) {
    let form = metadata.get("form").unwrap_or_default();
    provenance.insert("engine".into(), format!("{form} graph on ONNX Runtime {}", library.version()));
    provenance.insert("execution provider".into(), scorer.provider().to_string());
    describe_form(metadata, provenance);
}

/// How the graph computes the influence, and how well.
pub(super) fn describe_form(metadata: &InfluenceMetadata, provenance: &mut IndexMap<String, String>) {
    for (property, line) in [
        ("difference", "difference"),
        ("relative step", "relative step"),
        ("rank", "rank of the direction"),
        ("agreement", "agreement with the exact influences"),
        ("unproven", "unproven"),
    ] {
        if let Some(value) = metadata.get(property) {
            provenance.insert(line.into(), value.to_owned());
        }
    }
}

/// Where `s` comes from, a line a fact.
pub(super) fn describe_vector(vector: &SolvedVector) -> IndexMap<String, String> {
    let mut provenance = IndexMap::new();
    let made = &vector.provenance;
    let mut put = |key: &str, value: String| {
        provenance.insert(key.to_owned(), value);
    };
    put("s sha256", vector.sha256());
    put("scope", made.scope.clone());
    let numbers: usize = vector.parameters.iter().map(|p| p.shape.iter().product::<usize>()).sum();
    put("parameters", format!("{numbers} numbers in {} tensors", vector.parameters.len()));
    put("solver", made.solve.options.solver().to_owned());
    put("lambda", format!("{:.6e}", made.solve.lambda));
    put("iterations", made.solve.iterations.to_string());
    put("residual", format!("{:.3e}", made.solve.residual));
    put("converged", if made.solve.converged { "yes" } else { "no" }.to_owned());
    if let Some(settled) = &made.solve.settled {
        put("settled", settled.to_string());
    }
    if let Some(residual) = made.solve.held_out_residual {
        put("held-out residual", format!("{residual:.3e}"));
    }
    put("labelled sha256", made.labelled_sha256.clone());
    put("labelled images", made.labelled_samples.to_string());
    put("curvature images", made.curvature_images());
    put("reference sha256", made.reference_sha256.clone());
    put("reference images", made.reference_samples.to_string());
    put("reference loss", format!("{:.6}", made.reference_loss));
    provenance
}
