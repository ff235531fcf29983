//! Scoring the rest of the pool after a training, and selecting what to label next.

use super::going::{Going, Labels};
use super::oracle::ToAsk;
use super::{RoundsError, boxes, source};
use crate::data::{Pool, Split};
use crate::scoring::{Features, ScoreOptions, ScoringError, Source, score_pool};
use crate::select::Duplicates;

/// The images to label after `round`, the most useful first.
pub(super) fn select(going: &Going, round: usize, labels: &Labels) -> Result<ToAsk, RoundsError> {
    let open = labels.open(going.pool.len());
    if open.is_empty() {
        return Ok(ToAsk::default());
    }
    let budget = boxes::images(going, &labels.positions, open.len())?;
    let failed = |source: ScoringError| RoundsError::Score { round, source: Box::new(source) };
    let source = source::source(going, round, labels)?;
    let options = ScoreOptions {
        source: Source::Model(Box::new(source)),
        pool: Split::<Pool>::new(going.subset(&open)?)?,
        pool_name: going.config.data.pool.display().to_string(),
        jpeg_least_side: None,
        shard: None,
        budget,
        strategy: going.config.select.seeded(going.seed(round)),
        exclude: Vec::new(),
        target: going.target.clone(),
        filters: going.config.filters,
        features: going.config.data.features.as_deref().map(Features::from).unwrap_or_default(),
        embeddings: Some(going.execution.out.join("embeddings")),
        duplicates: Duplicates::LeaveOut,
        server: None,
        provider: going.execution.provider,
        batch_size: None,
        threads: going.execution.threads,
        without_boxes: going.config.influence.without_boxes,
        guesses: going.shows_guesses(),
        strict: false,
        out: going.layout().scored(round),
        scores: None,
        onnxruntime: going.execution.onnxruntime.clone(),
    };
    let outcome = score_pool(&options, going.observer).map_err(failed)?;
    let selected = outcome.selection.map(|selection| selection.selected).unwrap_or_default();
    let ids = boxes::paid_for(going, selected.into_iter().map(|selected| selected.id).collect())?;
    Ok(ToAsk { ids, guesses: outcome.guesses })
}
