//! What scores a pool by influence: `s` first, then the plugin or an influence graph along it.

use super::prepared::{Prepared, data_sha256};
use super::solving::{self, SAMPLE, Solving};
use super::stages::{Scored, runtime, sweep_stage};
use super::{Engine, ModelSource, ScoreOptions, ScoringError, SolveKey, carried, ihvp, labelled_accuracy};
use crate::classifier::ClassifierError;
use crate::data::{Labelled, Loader, LoaderOptions, Split};
use crate::influence::{GradientEngine as _, PseudoLabels, SolvedVector};
use crate::influence_graph::{self, SweepForm, Unproven};
use crate::observe::Observer;
use crate::plugin::{LoadOptions, Plugin, PluginEngine, PluginError};
use crate::runtime::{Library, Session};
use crate::sweep::{InfluenceGraph, Native, Scorer};
use crate::task::Task;
use indexmap::IndexMap;
use isal_onnx::influence::InfluenceMetadata;
use std::collections::BTreeMap;

/// Solves for `s`, or takes the saved one, and sweeps with the engine that was asked for.
pub(super) fn with_influence(
    from: &ModelSource,
    options: &ScoreOptions,
    prepared: &Prepared,
    observer: &dyn Observer,
) -> Result<Scored, ScoringError> {
    let strategy = options.strategy.row().name;
    let labelled = from.labelled.as_ref().ok_or(ScoringError::NoLabels { strategy })?;
    let labelled = Split::<Labelled>::new(labelled.dataset().with_classes(&prepared.classes)?)?;
    let (labelled, reference) = solving::split(&labelled, &from.reference)?;
    prepared.classifier.check_differentiable()?;
    let curvature = from.curvature.draw(&from.solver, labelled.dataset(), options.pool.dataset())?;
    let plugin = Plugin::find(from.plugin.as_deref())?;
    let described = plugin.describe()?;
    let description = format!("{} {} ({})", described.name, described.version, described.backend);
    let parameters = prepared
        .classifier
        .model
        .graph
        .parameters(&from.scope)
        .map_err(|source| ClassifierError::Model { path: from.model.clone(), source })?;
    let load = LoadOptions {
        parameters,
        task: Some(
            Task::single_label(&prepared.classifier.logits, prepared.classifier.classes).map_err(PluginError::from)?,
        ),
        device: from.device.clone(),
        threads: u32::try_from(options.threads).unwrap_or(0),
        ..LoadOptions::default()
    };
    let mut engine = PluginEngine::from_model(&plugin, &prepared.classifier.model, &load)?;
    let key = SolveKey {
        model_sha256: prepared.classifier.sha256.clone(),
        labelled_sha256: data_sha256(labelled.dataset(), &prepared.recipe),
        reference_sha256: data_sha256(reference.dataset(), &prepared.recipe),
        pool_sha256: data_sha256(
            &solving::of_pool(&curvature, &from.solver, options.pool.dataset())?,
            &prepared.recipe,
        ),
        labelled_samples: labelled.dataset().len(),
        curvature: [curvature.labelled.len(), curvature.pool.len()],
        scope: from.scope.to_string(),
        loss_output: prepared.classifier.logits.clone(),
        solver: from.solver.clone(),
        versions: BTreeMap::from([
            ("isal".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("plugin".to_owned(), description.clone()),
        ]),
    };
    let accuracy = labelled_accuracy::settle(options, prepared, labelled.dataset(), &mut engine, &key, observer)?;
    let path = options.out.join("s.safetensors");
    let vector = match ihvp::saved(&path, &key, &engine) {
        Some(vector) => {
            observer.say(&format!("`{}` holds s for this model and these data; not solved again", path.display()));
            vector
        }
        None => {
            let solving = Solving {
                options,
                prepared,
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
    provenance.insert("pseudo-labels".into(), pseudo_label_text(prepared.pseudo_labels, prepared.classifier.classes));
    let s = engine.upload(&vector.s)?;
    let mut native = Native { engine: &mut engine, s, contraction: prepared.contraction_of_logits() };
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
            let form = (form, from.unproven);
            let mut scorer = graph_scorer(options, prepared, &vector, form, &mut native, &mut provenance, observer)?;
            let mut scored = sweep_stage(options, prepared, &mut scorer, provenance, observer)?;
            scored.files.insert("influence graph", options.out.join("influence.onnx"));
            scored
        }
    };
    let files = IndexMap::from([("s and the reference gradient", path)]);
    Ok(Scored { files: files.into_iter().chain(scored.files).collect(), labelled: Some(accuracy), ..scored })
}

/// The paired graph where a small step survives in every weight.
fn fitting(prepared: &Prepared, vector: &SolvedVector) -> Engine {
    let names = vector.parameters.iter().map(|p| p.name.as_str());
    if influence_graph::takes_a_step(&prepared.classifier, names) { Engine::Paired } else { Engine::Tangent }
}

/// The influence graph on ONNX Runtime: the one on disk where it was made from the same vector, else a new one.
fn graph_scorer(
    options: &ScoreOptions,
    prepared: &Prepared,
    vector: &SolvedVector,
    (form, unproven): (SweepForm, Unproven),
    native: &mut dyn Scorer,
    provenance: &mut IndexMap<String, String>,
    observer: &dyn Observer,
) -> Result<InfluenceGraph, ScoringError> {
    let (library, session_options) = runtime(options, observer)?;
    let path = options.out.join("influence.onnx");
    let contraction = prepared.contraction();
    let carried = carried::properties(prepared, vector);
    let saved = influence_graph::saved(&path, &prepared.classifier, vector, prepared.pseudo_labels, form)
        .filter(|found| carried::holds(found, &carried))
        // One that was let pass is not taken where none is.
        .filter(|found| unproven == Unproven::Used || found.get("unproven").is_none());
    let (scorer, metadata) = match saved {
        Some(metadata) => {
            let session = Session::open(&library, &path, session_options)?;
            (InfluenceGraph { session, output: prepared.classifier.output.clone(), contraction }, metadata)
        }
        None => {
            let pool = options.pool.dataset();
            let loader = LoaderOptions { batch_size: SAMPLE, ..LoaderOptions::default() };
            let batch = Loader::over(pool.clone(), prepared.recipe.clone(), pool.spread(SAMPLE), &loader)?.next();
            let images = batch.ok_or(ScoringError::NoScores { images: 0 })??.images;
            let exact = native.score(images.view())?.influence.unwrap_or_default();
            let mut classifier = prepared.classifier.clone();
            carried.store(&mut classifier.model);
            let sample = influence_graph::Sample {
                classifier: &classifier,
                vector,
                pseudo_labels: prepared.pseudo_labels,
                form,
                images,
                exact,
                unproven,
            };
            sample.build(&path, &library, session_options, contraction, observer)?
        }
    };
    describe_graph(&metadata, &library, &scorer, provenance);
    Ok(scorer)
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
    provenance.insert("execution provider".into(), scorer.session.provider().to_string());
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

/// Which labels stand in for the unknown ones.
pub(super) fn pseudo_label_text(pseudo_labels: PseudoLabels, classes: usize) -> String {
    match pseudo_labels {
        PseudoLabels::ArgMax => "arg-max".to_owned(),
        expected => format!("expected gradient over the {} most likely classes", expected.effective(classes)),
    }
}
