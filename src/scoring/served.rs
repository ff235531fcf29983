//! A sweep that a server computes: an influence graph, or the plain model for what goes by predictions alone.
//!
//! The file stays here and says what is served: preprocessing, classes, where the influence comes from. Whether the server has the
//! same weights, and computes in enough bits, only numbers tell: where ONNX Runtime is at hand, a sample of the pool is scored with
//! the file too, and a server that gives others is refused.

use super::carried::Carried;
use super::engines::describe_form;
use super::host::{agreement, provenance_of, sample};
use super::prepared::Prepared;
use super::stages::{Scored, predictions_by, sweep_stage};
use super::{ScoreOptions, ScoringError};
use crate::inference_client::ServerOptions;
use crate::observe::Observer;
use crate::runtime::{ExecutionProvider, Library, RuntimeError, SessionOptions};
use crate::scores::BeliefKind;
use crate::select::Needs;
use crate::sweep::{InfluenceGraph, Predictor, Scorer, Served};
use crate::task::Task;
use indexmap::IndexMap;
use ndarray::Axis;
use std::collections::BTreeMap;
use std::path::Path;

/// Images of a request where none was asked for.
const BATCH: usize = 64;
/// Images of a run in which the file is compared with the server.
const AT_A_TIME: usize = 32;
/// Beliefs of another precision differ by less than this share of the largest; those of another model by more.
const CLOSE: f64 = 0.02;

/// Refuses what a server cannot do for a model.
pub(super) fn check_model(options: &ScoreOptions) -> Result<(), ScoringError> {
    let (first, _) = options.first_pass();
    let strategy = options.strategy.row().name;
    if options.strategy.rule().is_some() || options.filters.apart.is_some() {
        return Err(ScoringError::ServerWithoutFeatures { strategy });
    }
    match first.row().needs {
        Needs::Influence => Err(ScoringError::ServerWithoutInfluence { strategy }),
        _ => Ok(()),
    }
}

/// Sweeps the pool with the influence graph at `path`, run by the server.
pub(super) fn graph(
    server: &ServerOptions,
    path: &Path,
    carried: &Carried,
    options: &ScoreOptions,
    observer: &dyn Observer,
) -> Result<Scored, ScoringError> {
    let (prepared, metadata) = (&carried.prepared, &carried.metadata);
    let influence = options.strategy.row().needs == Needs::Influence;
    let properties: BTreeMap<String, String> = ["form", "model sha256", "s sha256"]
        .into_iter()
        .filter_map(|key| Some((format!("isal.influence.{key}"), metadata.get(key)?.to_owned())))
        .collect();
    let mut scorer = Served::graph(server, &prepared.network, influence, properties, observer)?;
    let options = &settled(options, &scorer, observer)?;
    let mut provenance = if influence { provenance_of(carried) } else { prepared.provenance.clone() };
    let form = if influence { metadata.get("form").unwrap_or_default() } else { "influence" };
    describe(&scorer, format!("{form} graph"), &mut provenance);
    if let Some((library, session)) = here(options, observer)? {
        let model = &prepared.network.model;
        if influence {
            let mut own = InfluenceGraph::open(&library, model, path, session)?;
            compare_influence(options, prepared, &mut scorer, &mut own)?;
        } else {
            let mut own = Predictor::of(&library, model.clone(), path, session)?;
            compare_beliefs(options, prepared, &mut scorer, &mut own)?;
        }
    }
    if !influence {
        return predictions_by(&mut scorer, prepared, options, provenance, observer);
    }
    describe_form(metadata, &mut provenance);
    sweep_stage(options, prepared, &mut scorer, provenance, observer)
}

/// Sweeps the pool for what the model believes, run by the server.
pub(super) fn model(
    server: &ServerOptions,
    (prepared, task): (&Prepared, &Task),
    options: &ScoreOptions,
    observer: &dyn Observer,
) -> Result<Scored, ScoringError> {
    let library = Library::load(options.onnxruntime.as_deref())?;
    let session = on_cpu(options);
    let mut scorer = Served::model(server, &prepared.network, task, (&library, session), observer)?;
    let options = &settled(options, &scorer, observer)?;
    let mut provenance = prepared.provenance.clone();
    describe(&scorer, "model".to_owned(), &mut provenance);
    let mut own = Predictor::open(&library, &prepared.network, task, session)?;
    compare_beliefs(options, prepared, &mut scorer, &mut own)?;
    drop(own);
    predictions_by(&mut scorer, prepared, options, provenance, observer)
}

fn on_cpu(options: &ScoreOptions) -> SessionOptions {
    SessionOptions { provider: ExecutionProvider::Cpu, threads: options.threads }
}

/// What computes the scores. Not where it is: a server may come back at another address.
fn describe(scorer: &Served, what: String, provenance: &mut IndexMap<String, String>) {
    let described = scorer.client().description();
    provenance.insert("engine".into(), format!("{what} on a server: {}", described.server));
    provenance.insert("served model".into(), described.model.to_string());
}

/// The options with a batch size that the server takes.
fn settled(options: &ScoreOptions, scorer: &Served, observer: &dyn Observer) -> Result<ScoreOptions, ScoringError> {
    let described = scorer.client().description();
    let refused = |reason: String| ScoringError::from(crate::sweep::SweepError::from(scorer.client().misfit(reason)));
    let batch_size = match (options.batch_size, described.rows, described.most) {
        (Some(given), Some(rows), _) if given != rows => {
            return Err(refused(format!(
                "it takes {rows} images a request and no other number, `--batch-size` is {given}"
            )));
        }
        (Some(given), _, Some(most)) if given > most => {
            return Err(refused(format!("it takes {most} images a request at most, `--batch-size` is {given}")));
        }
        (Some(given), ..) => given,
        (None, Some(rows), _) => rows,
        (None, None, most) => most.map_or(BATCH, |most| most.min(BATCH)),
    };
    observer.say(&format!(
        "{} ({}) scores, {batch_size} images a request{}",
        scorer.client().place(),
        described.server,
        if described.says_ports {
            ""
        } else {
            "; it does not say what its model takes and gives, so only its answers are checked"
        },
    ));
    Ok(ScoreOptions { batch_size: Some(batch_size), ..options.clone() })
}

/// ONNX Runtime, where it is here.
fn here(options: &ScoreOptions, observer: &dyn Observer) -> Result<Option<(Library, SessionOptions)>, ScoringError> {
    match Library::load(options.onnxruntime.as_deref()) {
        Ok(library) => Ok(Some((library, on_cpu(options)))),
        Err(RuntimeError::Missing { .. }) if options.onnxruntime.is_none() => {
            observer.say(
                "warning: there is no ONNX Runtime here, so whether the server computes what the file says was not checked by numbers",
            );
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn compare_influence(
    options: &ScoreOptions,
    prepared: &Prepared,
    scorer: &mut Served,
    own: &mut dyn Scorer,
) -> Result<(), ScoringError> {
    let at_a_time = options.batch_size.unwrap_or(BATCH).min(AT_A_TIME);
    match agreement(options.pool.dataset(), prepared, (scorer, own), at_a_time)? {
        Some(agreement) if !agreement.is_enough() => Err(ScoringError::ServerDisagrees {
            place: scorer.client().place(),
            reason: format!("influences of a sample of the pool rank with Spearman {:.4}", agreement.0),
        }),
        _ => Ok(()),
    }
}

/// A different model shows in its beliefs, if in nothing else.
fn compare_beliefs(
    options: &ScoreOptions,
    prepared: &Prepared,
    scorer: &mut Served,
    own: &mut dyn Scorer,
) -> Result<(), ScoringError> {
    let Some(images) = sample(options.pool.dataset(), prepared)? else { return Ok(()) };
    let at_a_time = options.batch_size.unwrap_or(BATCH).min(AT_A_TIME);
    let (mut found, mut expected) = (Vec::new(), Vec::new());
    for few in images.axis_chunks_iter(Axis(0), at_a_time) {
        found.extend(scorer.score(few)?.beliefs);
        expected.extend(own.score(few)?.beliefs);
    }
    for (at, column) in own.columns().iter().enumerate().filter(|(_, column)| column.kind == BeliefKind::Number) {
        let values = |rows: &[Vec<f64>]| -> Vec<f64> { rows.iter().filter_map(|row| row.get(at).copied()).collect() };
        let (found, expected) = (values(&found), values(&expected));
        let largest = expected.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
        let apart = found.iter().zip(&expected).fold(0.0_f64, |most, (a, b)| most.max((a - b).abs()));
        if apart > CLOSE * largest {
            return Err(ScoringError::ServerDisagrees {
                place: scorer.client().place(),
                reason: format!("`{}` of a sample of the pool differs by up to {apart:.3}", column.name),
            });
        }
    }
    Ok(())
}
