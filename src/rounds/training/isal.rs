//! Training by `isal` itself: the folder of `isal train`, in the folder of the round.

use super::{Start, Training};
use crate::data::{Labelled, Split};
use crate::rounds::RoundsError;
use crate::rounds::going::Going;
use crate::rounds::state;
use crate::train::{TrainOptions, Trained, train};
use std::path::PathBuf;

/// Trains on the labelled images, or takes what a training before an interruption came to.
pub(in crate::rounds) fn train_ourselves(
    going: &Going,
    round: usize,
    labelled: Split<Labelled>,
) -> Result<Training, RoundsError> {
    let out = going.layout().trained(round);
    // The file that a training writes last.
    let trained = match state::read::<Trained>(&out.join("metrics.json"))? {
        Some(trained) => trained,
        None => {
            let options = options(going, round, labelled, out);
            let trained = train(&options, going.observer);
            trained.map_err(|source| RoundsError::Train { round, source: Box::new(source) })?
        }
    };
    Ok(Training {
        test: trained.epochs.last().and_then(|epoch| epoch.test),
        figure: None,
        seconds: trained.epochs.iter().map(|epoch| epoch.seconds).sum(),
    })
}

fn options(going: &Going, round: usize, labelled: Split<Labelled>, out: PathBuf) -> TrainOptions {
    let start = Start {
        model: going.start_model(round).unwrap_or_default(),
        task: going.task.clone(),
        preprocess: going.preprocess.clone(),
        seed: going.seed(round),
        threads: going.execution.threads,
        device: going.execution.device.clone(),
        plugin: going.execution.plugin.clone(),
        out,
    };
    going.config.train.options(start, labelled, Some(going.test.clone()))
}
