//! Arms: the runs of one strategy with the same options, over seeds.

use super::CompareError;
use super::found::{Found, OF_SELECTION, WITH_REFERENCE, flat};
use crate::families::default_solver;
use crate::influence::SolverOptions;
use crate::rounds::RunConfig;
use crate::select::Needs;
use serde_json::Value;
use std::collections::BTreeMap;

/// The strategy that the others are held against.
const BASELINE: &str = "random";

/// What tells one arm from another.
#[derive(Debug, Clone, PartialEq)]
struct Key {
    /// The strategy with its options, and the solver and the reference set where it goes by them.
    options: BTreeMap<String, Value>,
    /// What somebody called it.
    name: Option<String>,
}

/// The runs of an arm.
#[derive(Debug)]
pub(super) struct Runs<'a> {
    pub(super) name: String,
    pub(super) strategy: String,
    pub(super) options: BTreeMap<String, Value>,
    /// In the order of seeds, each once.
    pub(super) runs: Vec<&'a Found>,
}

/// The options that tell an arm, without the fingerprint of its reference set.
///
/// The seed of a strategy is not among them, since a run sets it; a solver that is not named is the default of the `task`, a
/// built-in one.
pub fn options(config: &RunConfig, task: Option<&str>) -> BTreeMap<String, Value> {
    let mut options: BTreeMap<String, Value> = BTreeMap::new();
    let mut put = |prefix: &str, value: Value| {
        options.extend(flat(&value).into_iter().map(|(key, value)| (format!("{prefix}.{key}"), value)));
    };
    put("select", serde_json::to_value(config.select).unwrap_or_default());
    put("filters", serde_json::to_value(config.filters).unwrap_or_default());
    if goes_by_reference(config) {
        let solver = config.solver.clone().or_else(|| SolverOptions::named(default_solver(task)).ok());
        put("solver", serde_json::to_value(solver).unwrap_or_default());
        put("influence", serde_json::to_value(&config.influence).unwrap_or_default());
        let keys = flat(&serde_json::to_value(config).unwrap_or_default());
        options.extend(keys.into_iter().filter(|(key, _)| OF_SELECTION.contains(&key.as_str())));
    }
    if config.train.with_reference {
        options.insert(WITH_REFERENCE.to_owned(), Value::Bool(true));
    }
    options.remove("select.seed");
    options
}

/// Whether the arm with these options may be what the others are held against: the strategy `random`, and no labels but those
/// that are counted.
pub(super) fn is_plain_random(strategy: &str, options: &BTreeMap<String, Value>) -> bool {
    strategy == BASELINE && !options.contains_key(WITH_REFERENCE)
}

/// Whether the reference set and the solver have a say in what is selected.
fn goes_by_reference(config: &RunConfig) -> bool {
    !matches!(config.select.row().needs, Needs::Nothing | Needs::Belief { .. })
}

/// Groups runs by arm, in the order in which arms first occur, and names the arms.
pub(super) fn arms(found: &[Found]) -> Result<Vec<Runs<'_>>, CompareError> {
    let mut groups: Vec<(Key, Vec<&Found>)> = Vec::new();
    for run in found {
        let config = &run.recorded.identity.config;
        let identity = &run.recorded.identity;
        let task = identity.task.clone().or_else(|| config.task());
        let mut options = options(config, task.as_deref());
        let matters = goes_by_reference(config) || config.train.with_reference;
        if let Some(reference) = identity.reference.as_ref().filter(|_| matters) {
            options.insert("data.reference".to_owned(), Value::from(reference.chars().take(12).collect::<String>()));
        }
        let key = Key { options, name: run.arm.clone() };
        match groups.iter_mut().find(|(other, _)| *other == key) {
            Some((_, runs)) => runs.push(run),
            None => groups.push((key, vec![run])),
        }
    }
    let keys: Vec<&Key> = groups.iter().map(|(key, _)| key).collect();
    let names: Vec<String> = keys.iter().map(|key| name(key, &keys)).collect();
    let mut arms = Vec::new();
    for ((Key { options, .. }, mut runs), name) in groups.into_iter().zip(names) {
        runs.sort_by_key(|run| run.recorded.run.seed);
        for pair in runs.windows(2) {
            let [first, second] = pair else { continue };
            let seed = first.recorded.run.seed;
            if seed == second.recorded.run.seed {
                let (first, second) = (first.folder.clone(), second.folder.clone());
                return Err(CompareError::Twice { first, second, arm: name, seed });
            }
        }
        let strategy = strategy(&options);
        arms.push(Runs { name, strategy, options, runs });
    }
    Ok(arms)
}

fn strategy(options: &BTreeMap<String, Value>) -> String {
    options.get("select.strategy").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The given name, or the strategy with those options in which the arms of that strategy differ.
fn name(key: &Key, all: &[&Key]) -> String {
    if let Some(name) = &key.name {
        return name.clone();
    }
    let strategy = strategy(&key.options);
    let alike: Vec<&&Key> = all.iter().filter(|other| self::strategy(&other.options) == strategy).collect();
    let mut names: Vec<&String> = alike.iter().flat_map(|other| other.options.keys()).collect();
    names.sort();
    names.dedup();
    let differing =
        names.into_iter().filter(|name| alike.iter().any(|o| o.options.get(*name) != key.options.get(*name)));
    let shown = |name: &String| match key.options.get(name) {
        Some(Value::String(text)) => format!("{name}={text}"),
        Some(value) => format!("{name}={value}"),
        None => format!("no {name}"),
    };
    let differing: Vec<String> = differing.map(shown).collect();
    if differing.is_empty() { strategy } else { format!("{strategy} ({})", differing.join(", ")) }
}
