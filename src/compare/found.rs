//! Finding the runs that folders hold, and whether they are of one task.

use super::CompareError;
use crate::rounds::{Identity, Recorded, RoundsError, RunConfig, recorded};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How deep in a folder runs are searched: a study has data set, budget, arm and seed.
const DEPTH: usize = 4;

/// A run in its folder.
#[derive(Debug, Clone)]
pub struct Found {
    /// Where it lies.
    pub folder: PathBuf,
    /// What it is, and how far it got.
    pub recorded: Recorded,
    /// What its arm is called, where somebody named it.
    pub arm: Option<String>,
}

/// Every run in `folders` or in folders of theirs, each once, in the order of the folders.
///
/// # Errors
/// [`CompareError::NoRun`] for a folder without any; files that are none of a run.
pub fn find(folders: &[PathBuf]) -> Result<Vec<Found>, CompareError> {
    let mut found: Vec<Found> = Vec::new();
    let mut seen: Vec<PathBuf> = Vec::new();
    for folder in folders {
        let mut inside = Vec::new();
        descend(folder, DEPTH, &mut inside)?;
        if inside.is_empty() {
            return Err(CompareError::NoRun { folder: folder.clone(), depth: DEPTH });
        }
        for folder in inside {
            let place = folder.canonicalize().unwrap_or_else(|_| folder.clone());
            if seen.contains(&place) {
                continue;
            }
            seen.push(place);
            if let Some(recorded) = recorded(&folder)? {
                found.push(Found { folder, recorded, arm: None });
            }
        }
    }
    Ok(found)
}

fn descend(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), CompareError> {
    if holds_run(folder)? {
        found.push(folder.to_path_buf());
        return Ok(());
    }
    if depth == 0 || !folder.is_dir() {
        return Ok(());
    }
    let failed = |source| CompareError::List { path: folder.to_path_buf(), source };
    let mut inside = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            inside.push(path);
        }
    }
    inside.sort();
    inside.iter().try_for_each(|path| descend(path, depth - 1, found))
}

/// Whether there is a `run.json` of rounds; other commands write files of that name too.
fn holds_run(folder: &Path) -> Result<bool, RoundsError> {
    let path = folder.join("run.json");
    if !path.is_file() {
        return Ok(false);
    }
    let bytes = std::fs::read(&path).map_err(|source| RoundsError::Read { path: path.clone(), source })?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|source| RoundsError::Json { path, source })?;
    Ok(value["schema"].as_str().is_some_and(|schema| schema.starts_with("isal-rounds/")))
}

/// The keys of an object of objects, with dots, and what stands there.
pub(super) fn flat(value: &Value) -> BTreeMap<String, Value> {
    fn into(prefix: &str, value: &Value, keys: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(inner) => {
                for (key, value) in inner {
                    let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                    into(&key, value, keys);
                }
            }
            Value::Null => {}
            other => {
                keys.insert(prefix.to_owned(), other.clone());
            }
        }
    }
    let mut keys = BTreeMap::new();
    into("", value, &mut keys);
    keys
}

/// Where selection takes features from, and what it serves in the place of the reference set: a matter of the arm.
pub(super) const OF_SELECTION: [&str; 2] = ["data.features", "data.target"];

/// Whether the reference images are trained on as well: a matter of the arm, said beside it.
pub(super) const WITH_REFERENCE: &str = "train.with-reference";

/// What of a configuration all compared runs share: everything but the seed, the strategy with what it goes by, whether the
/// reference set is trained on, and where files lie, for what is in them counts.
pub fn shared(config: &RunConfig) -> BTreeMap<String, Value> {
    const FREE: [&str; 6] = ["seed", "select", "solver", "influence", "filters", "output"];
    const PATHS: [&str; 4] = ["model", "data.pool", "data.reference", "data.test"];
    let mut keys = flat(&serde_json::to_value(config).unwrap_or_default());
    keys.retain(|key, _| {
        let table = key.split('.').next().unwrap_or_default();
        ![&FREE[..], &PATHS, &OF_SELECTION, &[WITH_REFERENCE]]
            .iter()
            .any(|known| known.contains(&table) || known.contains(&key.as_str()))
    });
    keys
}

/// The same of a whole run: the shared part of its configuration, and what its files hold.
fn shared_of_run(identity: &Identity) -> BTreeMap<String, Value> {
    let mut keys = shared(&identity.config);
    let files = [("the model", &identity.model), ("the pool", &identity.pool), ("the test set", &identity.test)];
    keys.extend(files.map(|(what, hash)| (what.to_owned(), Value::from(hash.chars().take(12).collect::<String>()))));
    keys
}

/// What differs between two sets of keys, with both values.
pub fn differences(first: &BTreeMap<String, Value>, second: &BTreeMap<String, Value>) -> Vec<String> {
    let mut keys: Vec<&String> = first.keys().chain(second.keys()).collect();
    keys.sort();
    keys.dedup();
    let shown = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
    let differing = keys.into_iter().filter(|key| first.get(*key) != second.get(*key));
    differing.map(|key| format!("{key} ({} and {})", shown(first.get(key)), shown(second.get(key)))).collect()
}

/// Checks that all runs are of one task, and that those of a seed began with the same images.
pub(super) fn check(runs: &[Found]) -> Result<(), CompareError> {
    let Some(first) = runs.first() else { return Ok(()) };
    let expected = shared_of_run(&first.recorded.identity);
    let mut began: BTreeMap<u64, (&Found, Vec<&String>)> = BTreeMap::new();
    for run in runs {
        let differences = differences(&expected, &shared_of_run(&run.recorded.identity));
        if !differences.is_empty() {
            let (first, second) = (first.folder.clone(), run.folder.clone());
            return Err(CompareError::Differ { first, second, differences });
        }
        let Some(ids) = &run.recorded.first else { continue };
        let mut ids: Vec<&String> = ids.iter().collect();
        ids.sort();
        let seed = run.recorded.run.seed;
        let (other, expected) = began.entry(seed).or_insert_with(|| (run, ids.clone()));
        if *expected != ids {
            return Err(CompareError::Begin { first: other.folder.clone(), second: run.folder.clone(), seed });
        }
    }
    Ok(())
}
