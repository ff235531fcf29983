//! Training by `isal` itself: the folder of `isal train`, in the folder of the round.

use super::Training;
use crate::data::{Labelled, Split};
use crate::rounds::RoundsError;
use crate::rounds::going::Going;
use crate::rounds::state;
use crate::train::{Evaluate, TrainOptions, Trained, train};
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
        seconds: trained.epochs.iter().map(|epoch| epoch.seconds).sum(),
    })
}

fn options(going: &Going, round: usize, labelled: Split<Labelled>, out: PathBuf) -> TrainOptions {
    let recipe = &going.config.train;
    TrainOptions {
        model: going.start_model(round).unwrap_or_default(),
        task: going.task.clone(),
        class_names: None,
        train: labelled,
        test: Some(going.test.clone()),
        evaluate: Evaluate::Last,
        preprocess: going.preprocess.clone(),
        augment: recipe.augment(going.seed(round)),
        schedule: recipe.schedule(),
        momentum: recipe.momentum,
        nesterov: recipe.nesterov && recipe.momentum > 0.0,
        weight_decay: recipe.weight_decay,
        decay_all: recipe.decay_all,
        label_smoothing: recipe.label_smoothing,
        freeze: recipe.freeze.clone(),
        batch_size: recipe.batch_size,
        seed: going.seed(round),
        threads: going.execution.threads,
        device: going.execution.device.clone(),
        out,
        plugin: going.execution.plugin.clone(),
    }
}
