//! Slices of a pool that were scored apart, joined into the table that an unbroken sweep would have written.

use super::folder::recorded_family;
use super::outcome::{self, Outcome, Written};
use super::prepared::JPEG_LEAST_SIDE;
use super::shard::{Shard, ShardFacts};
use super::stages::{Scored, ScoredRows, scores_path};
use super::tally::Tally;
use super::{ScoringError, refuse_no_scores};
use crate::data::{Dataset, OpenOptions};
use crate::durable::FolderLock;
use crate::observe::Observer;
use crate::scores::{Rows, Stored};
use crate::select::{Duplicates, StrategyOptions, select};
use indexmap::IndexMap;
use std::path::{Path, PathBuf};

/// Provenance that names a file where the slice was scored; machines may call the same file by other names.
const NAMES: [&str; 2] = ["model", "influence graph"];

/// What to join, into what.
#[derive(Debug, Clone)]
pub struct MergeOptions {
    /// Folders that `score pool --shard` wrote, or the score files in them, in any order.
    pub shards: Vec<PathBuf>,
    /// The pool, for the thumbnails of the report; where it was when it was scored when not given.
    pub pool: Option<PathBuf>,
    /// Images to select.
    pub budget: usize,
    /// How to select.
    pub strategy: StrategyOptions,
    /// What becomes of images that show the same.
    pub duplicates: Duplicates,
    /// Folder for everything that is written.
    pub out: PathBuf,
    /// Score file; `scores.parquet` in the folder when not given.
    pub scores: Option<PathBuf>,
}

/// Why slices are not one pool.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// No slices at all.
    #[error("there are no shards to join")]
    Nothing,
    /// A file that is no slice, or contradicts itself.
    #[error("`{}` is not the score file of a shard: {reason}", path.display())]
    NotAShard {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A slice of something else.
    #[error(
        "`{}` and `{}` are not shards of one sweep: `{key}` is `{found}` in the first and `{expected}` in the second",
        path.display(), first.display()
    )]
    Foreign {
        /// The slice that differs.
        path: PathBuf,
        /// The slice it was compared with.
        first: PathBuf,
        /// What differs.
        key: String,
        /// The value of the one that differs.
        found: String,
        /// The value of the other.
        expected: String,
    },
    /// The same slice twice.
    #[error("shard {shard} is there twice: `{}` and `{}`", first.display(), second.display())]
    Doubled {
        /// Which.
        shard: Shard,
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// Slices that nobody gave.
    #[error("of {of} shards, {} missing: {}", if numbers.len() == 1 { "one is" } else { "some are" },
        numbers.iter().map(|n| format!("{n}/{of}")).collect::<Vec<_>>().join(", "))]
    Missing {
        /// Their numbers.
        numbers: Vec<usize>,
        /// How many there are in all.
        of: usize,
    },
    /// The result would replace a slice.
    #[error("`{}` is the folder of a shard; the joined scores need another", out.display())]
    IntoAShard {
        /// The folder.
        out: PathBuf,
    },
    /// The pool that was named is another.
    #[error("the pool given is not the one that was scored: its hash is {found}, the shards say {expected}")]
    AnotherPool {
        /// Hash of the pool given.
        found: String,
        /// Hash in the shards.
        expected: String,
    },
}

/// One slice; its rows stay in its file.
struct Slice {
    path: PathBuf,
    facts: ShardFacts,
    provenance: IndexMap<String, String>,
    rows: Stored,
}

/// Joins slices and selects from the whole.
///
/// # Errors
/// [`MergeError`] names the slice at fault; [`ScoringError`] from files and the selection.
pub fn merge(options: &MergeOptions, observer: &dyn Observer) -> Result<Outcome, ScoringError> {
    let mut slices = Vec::with_capacity(options.shards.len());
    for given in &options.shards {
        if same_folder(given, &options.out) {
            return Err(MergeError::IntoAShard { out: options.out.clone() }.into());
        }
        let path = if given.is_dir() { given.join("scores.parquet") } else { given.clone() };
        let (rows, mut provenance) = Stored::open(&path)?;
        let facts = ShardFacts::take(&mut provenance, rows.len(), &path)?;
        slices.push(Slice { path, facts, provenance, rows });
    }
    check(&mut slices)?;
    let _lock = FolderLock::take(&options.out)?;
    let Joined { provenance, rows, skipped, classes, named } = joined(slices);
    let view = Rows::Files(&rows);
    refuse_no_scores(view, &options.strategy)?;
    let selection = select(view, options.budget, &options.strategy, options.duplicates)?;
    // Before anything is written: the score file may be named as one that is read here.
    let tally = Tally::of(view, Some(&selection))?;
    let pool = pool(options, &provenance, &named, observer)?;
    let path = scores_path(options.scores.as_deref(), &options.out)?;
    let scored = Scored::new(provenance, ScoredRows::Files(rows), path, skipped, None);
    scored.keep()?;
    let family = recorded_family(&scored.provenance, &classes, &options.out)?;
    let pool_name = options.pool.as_ref().map_or(named, |path| path.display().to_string());
    let (pool, pool_name, classes, family) = (pool.as_ref(), pool_name.as_str(), classes.as_slice(), family.as_ref());
    let written = Written { out: &options.out, pool, pool_name, classes, family, label_kind: None, drawing: None };
    outcome::write(&written, scored, tally, selection)
}

/// Sorts slices by number and refuses any that is missing, doubled or of another sweep.
fn check(slices: &mut [Slice]) -> Result<(), MergeError> {
    slices.sort_by_key(|slice| slice.facts.shard.number());
    let Some((first, rest)) = slices.split_first() else { return Err(MergeError::Nothing) };
    for slice in rest {
        if let Some((key, found, expected)) = difference(slice, first) {
            let (path, first) = (slice.path.clone(), first.path.clone());
            return Err(MergeError::Foreign { path, first, key, found, expected });
        }
    }
    for pair in slices.windows(2) {
        let [a, b] = pair else { continue };
        if a.facts.shard == b.facts.shard {
            let (first, second) = (a.path.clone(), b.path.clone());
            return Err(MergeError::Doubled { shard: a.facts.shard, first, second });
        }
    }
    let of = first.facts.shard.of();
    let there = |number: &usize| slices.iter().any(|slice| slice.facts.shard.number() == *number);
    let numbers: Vec<usize> = (1..=of).filter(|number| !there(number)).collect();
    if !numbers.is_empty() {
        return Err(MergeError::Missing { numbers, of });
    }
    let mut next = 0;
    for Slice { path, facts, .. } in slices.iter() {
        let last = facts.shard.number() == of;
        if facts.positions.start != next || last && facts.positions.end != facts.total {
            let reason = format!("its images {:?} of {} do not follow on {next}", facts.positions, facts.total);
            return Err(MergeError::NotAShard { path: path.clone(), reason });
        }
        next = facts.positions.end;
    }
    Ok(())
}

/// The first thing in which two slices of one sweep would not differ and these do: its name and both values.
fn difference(slice: &Slice, first: &Slice) -> Option<(String, String, String)> {
    let facts = |of: &Slice| {
        IndexMap::from([
            ("number of shards".to_owned(), of.facts.shard.of().to_string()),
            ("images in the pool".to_owned(), of.facts.total.to_string()),
            ("classes".to_owned(), of.facts.classes.join(", ")),
        ])
    };
    let all = |of: &Slice| {
        let mut all = of.provenance.clone();
        all.retain(|key, _| !NAMES.contains(&key.as_str()));
        all.extend(facts(of));
        all
    };
    let (ours, theirs) = (all(slice), all(first));
    let value = |of: &IndexMap<String, String>, key: &str| of.get(key).map_or("absent", String::as_str).to_owned();
    let key = ours.keys().chain(theirs.keys()).find(|key| ours.get(*key) != theirs.get(*key))?;
    Some((key.clone(), value(&ours, key), value(&theirs, key)))
}

/// The whole of which the slices were cut.
#[derive(Default)]
struct Joined {
    provenance: IndexMap<String, String>,
    /// In pool order, as are the skipped images.
    rows: Stored,
    skipped: Vec<(String, String)>,
    classes: Vec<String>,
    /// The pool as the first slice's run named it.
    named: String,
}

fn joined(slices: Vec<Slice>) -> Joined {
    let mut whole = Joined::default();
    for (place, Slice { facts, provenance, rows, .. }) in slices.into_iter().enumerate() {
        if place == 0 {
            whole = Joined { provenance, classes: facts.classes, named: facts.pool, ..Joined::default() };
        }
        whole.rows.append(rows);
        whole.skipped.extend(facts.skipped);
    }
    whole
}

/// The pool for the thumbnails: the one given, or where it was, if it is still the same. It is decoded as it was scored.
fn pool(
    options: &MergeOptions,
    provenance: &IndexMap<String, String>,
    named: &str,
    observer: &dyn Observer,
) -> Result<Option<Dataset>, ScoringError> {
    let jpeg_least_side = provenance.get(JPEG_LEAST_SIDE).and_then(|side| side.parse().ok());
    let open = |path: &Path| Dataset::open(path, &OpenOptions { jpeg_least_side, ..OpenOptions::default() });
    let expected = provenance.get("pool sha256").cloned().unwrap_or_default();
    if let Some(path) = &options.pool {
        let pool = open(path)?;
        let found = pool.fingerprint();
        return if found == expected {
            Ok(Some(pool))
        } else {
            Err(MergeError::AnotherPool { found, expected }.into())
        };
    }
    let found = open(Path::new(named)).ok().filter(|p| p.fingerprint() == expected);
    if found.is_none() {
        observer.say(&format!(
            "the pool `{named}` is not here as it was scored: report.html shows no images; `--pool` names it"
        ));
    }
    Ok(found)
}

fn same_folder(given: &Path, out: &Path) -> bool {
    let folder = if given.is_dir() { Some(given) } else { given.parent() };
    match (folder.and_then(|f| f.canonicalize().ok()), out.canonicalize()) {
        (Some(folder), Ok(out)) => folder == out,
        _ => false,
    }
}
