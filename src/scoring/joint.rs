//! The choice of a joint strategy among a shortlist.

use super::embedding::Embedding;
use super::prepared::Prepared;
use super::stages::Scored;
use super::{ModelSource, ReferenceSet, ScoreOptions, ScoringError};
use crate::data::{Dataset, Seeded};
use crate::observe::{Observer, Stage};
use crate::select::{Chosen, Rule, Selection, Sets, Target};
use crate::task::Task;
use std::collections::HashMap;

/// Images of the pool that stand for all of it.
const OF_POOL: usize = 2000;

/// What a rule chooses from a shortlist: `listed` is the selection of its candidates.
pub(super) fn choose(
    from: &ModelSource,
    options: &ScoreOptions,
    (prepared, task): (&Prepared, &Task),
    listed: Selection,
    scored: &mut Scored,
    observer: &dyn Observer,
) -> Result<Selection, ScoringError> {
    let Some(rule) = options.strategy.rule() else { return Ok(listed) };
    let strategy = options.strategy.row().name;
    let embedding = Embedding::new(from, options, (prepared, task), rule.goes_by_beliefs(), observer)?;
    let pool = options.pool.dataset();
    let places: HashMap<String, usize> = (0..pool.len()).map(|place| (pool.id(place), place)).collect();
    let positions: Vec<usize> = listed.selected.iter().filter_map(|image| places.get(&image.id).copied()).collect();
    let (labelled, target) = labelled_and_target(from, options, prepared, rule, observer)?;
    let (candidates, usable) = embedding.of("candidate", &pool.subset(&positions)?, observer)?;
    let (labelled, _) = embedding.of("labelled", &labelled, observer)?;
    let mut facts = vec![("features", embedding.described.clone()), ("candidates", candidates.len().to_string())];
    let target = match target {
        Some((of, dataset)) => {
            let (target, _) = embedding.of("target", &dataset, observer)?;
            facts.push(("target", format!("{} images of the {of}", target.len())));
            Some(target)
        }
        None => None,
    };
    let sets = Sets { candidates: &candidates, labelled: &labelled, target: target.as_ref() };
    let stage = Stage::begin(observer, "choosing images", options.budget.min(candidates.len()) as u64, "images");
    let chosen = rule.choose(&sets, options.budget, observer);
    drop(stage);
    let chosen = chosen.map_err(|source| ScoringError::Joint { strategy, source })?;
    // Images that could be scored and not be embedded have no place among the candidates.
    let chosen: Vec<Chosen> =
        chosen.into_iter().filter_map(|c| Some(Chosen { place: *usable.get(c.place)?, gain: c.gain })).collect();
    scored.provenance.extend(facts.into_iter().map(|(key, value)| (key.to_owned(), value)));
    Ok(listed.chosen_from(options.strategy, options.budget, &chosen))
}

/// Images that a choice is to serve, with what they are.
type Served = (&'static str, Dataset);

/// The labelled images, and those that the choice is to serve.
fn labelled_and_target(
    from: &ModelSource,
    options: &ScoreOptions,
    prepared: &Prepared,
    rule: &dyn Rule,
    observer: &dyn Observer,
) -> Result<(Dataset, Option<Served>), ScoringError> {
    let strategy = options.strategy.row().name;
    let given = from.labelled.as_ref().ok_or(ScoringError::NoLabels { strategy })?;
    let labelled = prepared.family.as_the_model_counts(given.dataset())?;
    let target = match (rule.target(), &options.target, &from.reference) {
        (None, ..) => None,
        (Some(Target::Reference), Some(target), _) => Some(("target set", as_counted(prepared, target))),
        (Some(Target::Reference), None, ReferenceSet::Given(reference)) => {
            Some(("reference set", as_counted(prepared, reference)))
        }
        (Some(Target::Reference), None, ReferenceSet::HeldOut { .. }) => {
            observer.say(&format!(
                "strategy `{strategy}` serves the pool itself, since no `--reference` and no `--target` says what the model will meet"
            ));
            Some(("pool", of_pool(options)?))
        }
        (Some(Target::Pool), ..) => Some(("pool", of_pool(options)?)),
    };
    Ok((labelled, target))
}

/// The images with their labels as the model counts them; where it does not know them, labels are not looked at.
fn as_counted(prepared: &Prepared, dataset: &Dataset) -> Dataset {
    prepared.family.as_the_model_counts(dataset).unwrap_or_else(|_| dataset.clone())
}

/// A random part of the pool, in its order.
fn of_pool(options: &ScoreOptions) -> Result<Dataset, ScoringError> {
    let pool = options.pool.dataset();
    let mut places: Vec<usize> = (0..pool.len()).collect();
    let seed = options.strategy.rule().map_or(0, |rule| rule.shortlist().1);
    Seeded::new("target of the pool", &[seed]).shuffle(&mut places);
    places.truncate(OF_POOL);
    places.sort_unstable();
    Ok(pool.subset(&places)?)
}
