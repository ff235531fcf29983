//! The choice of a joint strategy among a shortlist, and what filters let through of any.

use super::embedding::Embedding;
use super::prepared::Prepared;
use super::stages::Scored;
use super::{ModelSource, ReferenceSet, ScoreOptions, ScoringError, Source};
use crate::data::{Dataset, Seeded};
use crate::observe::{Observer, Stage};
use crate::select::{Chosen, Gate, Rule, Selected, Selection, Sets, Target};
use crate::task::Task;
use std::collections::HashMap;

/// Images of the pool that stand for all of it.
const OF_POOL: usize = 2000;

/// What the strategy chooses among `listed`, its candidates, of what the filters let through.
pub(super) fn choose(
    options: &ScoreOptions,
    (prepared, task): (&Prepared, Option<&Task>),
    listed: Selection,
    scored: &mut Scored,
    observer: &dyn Observer,
) -> Result<Selection, ScoringError> {
    let strategy = options.strategy.row().name;
    let rule = options.strategy.rule();
    let (chosen, passed_over) = if rule.is_some() || options.filters.apart.is_some() {
        let (Source::Model(from), Some(task)) = (&options.source, task) else {
            return Err(ScoringError::NeedsModel { strategy });
        };
        by_features(from, options, (prepared, task), &listed, scored, observer)?
    } else {
        let mut gate = Gate::new(options.filters, &listed.selected.iter().collect::<Vec<_>>(), None);
        (in_order(&listed, 0..listed.selected.len(), options.budget, &mut gate), gate.passed_over)
    };
    if options.filters.any() {
        scored.provenance.insert("filters".to_owned(), serde_json::to_string(&options.filters).unwrap_or_default());
        scored.provenance.insert("passed over by filters".to_owned(), passed_over.to_string());
    }
    Ok(listed.chosen_from(options.strategy, options.budget, &chosen))
}

/// The first in the strategy's order that the gate, which counts these `places`, lets through.
fn in_order(listed: &Selection, places: impl Iterator<Item = usize>, budget: usize, gate: &mut Gate) -> Vec<Chosen> {
    let admitted = places.enumerate().filter(|(at, _)| gate.admits(*at)).map(|(_, place)| place);
    let key = |place: usize| listed.selected.get(place).map_or(f64::NAN, |image| image.score);
    admitted.take(budget).map(|place| Chosen { place, gain: -key(place) }).collect()
}

fn by_features(
    from: &ModelSource,
    options: &ScoreOptions,
    (prepared, task): (&Prepared, &Task),
    listed: &Selection,
    scored: &mut Scored,
    observer: &dyn Observer,
) -> Result<(Vec<Chosen>, usize), ScoringError> {
    let strategy = options.strategy.row().name;
    let rule = options.strategy.rule();
    let beliefs = rule.is_some_and(|rule| rule.goes_by_beliefs());
    let embedding = Embedding::new(from, options, (prepared, task), beliefs, observer)?;
    let pool = options.pool.dataset();
    let places: HashMap<String, usize> = (0..pool.len()).map(|place| (pool.id(place), place)).collect();
    let positions: Vec<usize> = listed.selected.iter().filter_map(|image| places.get(&image.id).copied()).collect();
    let (labelled, target) = labelled_and_target(from, options, prepared, rule, observer)?;
    // Images that could be scored and not be embedded have no place among the candidates.
    let (candidates, usable) = embedding.of("candidate", &pool.subset(&positions)?, observer)?;
    let (labelled, _) = embedding.of("labelled", &labelled, observer)?;
    let mut facts = vec![("features", embedding.described.clone()), ("candidates", candidates.len().to_string())];
    let images: Vec<&Selected> = usable.iter().filter_map(|place| listed.selected.get(*place)).collect();
    let mut gate = Gate::new(options.filters, &images, Some((&candidates.features, &labelled.features)));
    let chosen = match rule {
        None => in_order(listed, usable.into_iter(), options.budget, &mut gate),
        Some(rule) => {
            let target = match target {
                Some((of, dataset)) => {
                    let (target, _) = embedding.of("target", &dataset, observer)?;
                    facts.push(("target", format!("{} images of the {of}", target.len())));
                    Some(target)
                }
                None => None,
            };
            let sets = Sets { candidates: &candidates, labelled: &labelled, target: target.as_ref() };
            let stage =
                Stage::begin(observer, "choosing images", options.budget.min(candidates.len()) as u64, "images");
            let chosen = rule.choose(&sets, options.budget, &mut gate, observer);
            drop(stage);
            let chosen = chosen.map_err(|source| ScoringError::Joint { strategy, source })?;
            let of = |chosen: Chosen| Some(Chosen { place: *usable.get(chosen.place)?, gain: chosen.gain });
            chosen.into_iter().filter_map(of).collect()
        }
    };
    scored.provenance.extend(facts.into_iter().map(|(key, value)| (key.to_owned(), value)));
    Ok((chosen, gate.passed_over))
}

/// Images that a choice is to serve, with what they are.
type Served = (&'static str, Dataset);

/// The labelled images, and those that the choice is to serve.
fn labelled_and_target(
    from: &ModelSource,
    options: &ScoreOptions,
    prepared: &Prepared,
    rule: Option<&dyn Rule>,
    observer: &dyn Observer,
) -> Result<(Dataset, Option<Served>), ScoringError> {
    let strategy = options.strategy.row().name;
    let given = from.labelled.as_ref().ok_or(ScoringError::NoLabels { strategy })?;
    let labelled = prepared.family.as_the_model_counts(given.dataset())?;
    let target = match (rule.and_then(Rule::target), &options.target, &from.reference) {
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
        (Some(Target::PoolAndReference), Some(target), _) => {
            Some(("pool and the target set", with_pool(options, &as_counted(prepared, target))?))
        }
        (Some(Target::PoolAndReference), None, ReferenceSet::Given(reference)) => {
            Some(("pool and the reference set", with_pool(options, &as_counted(prepared, reference))?))
        }
        (Some(Target::PoolAndReference), None, ReferenceSet::HeldOut { .. }) => {
            return Err(ScoringError::NoReference { strategy });
        }
    };
    Ok((labelled, target))
}

/// The images with their labels as the model counts them; where it does not know them, labels are not looked at.
fn as_counted(prepared: &Prepared, dataset: &Dataset) -> Dataset {
    prepared.family.as_the_model_counts(dataset).unwrap_or_else(|_| dataset.clone())
}

/// A random part of the pool with these images behind it.
fn with_pool(options: &ScoreOptions, images: &Dataset) -> Result<Dataset, ScoringError> {
    // Archives number their images from 0 on, each set of its own.
    Ok(Dataset::concat(&[of_pool(options)?, images.prefixed("target/")])?)
}

/// A random part of the pool, in its order, without labels: where there are any, they are not known yet.
fn of_pool(options: &ScoreOptions) -> Result<Dataset, ScoringError> {
    let pool = options.pool.dataset();
    let mut places: Vec<usize> = (0..pool.len()).collect();
    let seed = options.strategy.rule().map_or(0, |rule| rule.shortlist().1);
    Seeded::new("target of the pool", &[seed]).shuffle(&mut places);
    places.truncate(OF_POOL);
    places.sort_unstable();
    Ok(pool.subset(&places)?.with_labels(Vec::new(), &[]))
}
