//! A score table to look through: what is held of each image, and which images are asked for, in which order.
//!
//! Held are, an image: its influence (8 bytes), the class that the model believes, how sure it is, its source and its position in the
//! pool (4 each), its number in an order (4), and some ten bytes of its name. The rest is read from the file, a row at a time.

use super::ViewError;
use super::query::{By, Query};
use crate::data::{Dataset, Names};
use crate::families::Family;
use crate::report::{Extent, Histogram};
use crate::scores::{Rows, ScoreError, ScoreRow, belief};
use crate::scoring::ScoredFolder;
use indexmap::IndexSet;
use std::collections::{HashMap, HashSet};
use std::hash::Hasher as _;
use std::sync::{Arc, Mutex, PoisonError};
use twox_hash::XxHash3_64;

/// Answers that are kept: of a person who goes back and forth.
const KEPT: usize = 4;
/// No position, no class.
const NONE: u32 = u32::MAX;

/// A score table with what is held of it.
pub(super) struct Table {
    pub(super) scored: ScoredFolder,
    pub(super) family: Arc<dyn Family>,
    /// How the influences lie, as SVG; empty without any.
    pub(super) histogram: String,
    ids: Names,
    /// NaN where there is none.
    influence: Vec<f64>,
    classes: Vec<u32>,
    /// NaN where it is not known.
    confidence: Vec<f32>,
    of_source: Vec<u32>,
    sources: IndexSet<String>,
    positions: Vec<u32>,
    /// Rows of the selection, the first to label first.
    pub(super) selected: Vec<u32>,
    ranks: HashMap<u32, usize>,
    answers: Mutex<Vec<(Query, Arc<Vec<u32>>)>>,
}

/// What is held of an image.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Held {
    pub(super) row: u32,
    pub(super) id: String,
    pub(super) influence: Option<f64>,
    pub(super) class: Option<u32>,
    pub(super) confidence: Option<f32>,
    /// Its position in the pool, where it is in it.
    pub(super) position: Option<u32>,
    /// Its place in the selection, from 0.
    pub(super) rank: Option<usize>,
}

impl Table {
    /// Reads a table once; `pool` is where its images are.
    pub(super) fn read(scored: ScoredFolder, pool: Option<&Dataset>) -> Result<Table, ViewError> {
        let rows = scored.rows.len();
        if u32::try_from(rows).is_err() || rows as u32 == NONE {
            return Err(ViewError::TooMany { rows });
        }
        let (mut ids, mut positions) = (Names::default(), Vec::with_capacity(rows));
        let (mut sources, mut of_source) = (IndexSet::new(), Vec::with_capacity(rows));
        let chosen = scored.selection.iter().flat_map(|selection| &selection.selected);
        let chosen: HashMap<&str, usize> =
            chosen.enumerate().map(|(place, image)| (image.id.as_str(), place)).collect();
        let (mut selected, mut ranks) = (vec![NONE; chosen.len()], HashMap::new());
        let mut places = pool.map(Places::of);
        Rows::Files(&scored.rows).ids(|id| {
            let row = ids.len() as u32;
            ids.push(id);
            positions.push(places.as_mut().and_then(|places| places.find(id)).unwrap_or(NONE));
            let source = id.split_once('/').map_or("", |(folder, _)| folder);
            let place = sources.get_index_of(source).unwrap_or_else(|| sources.insert_full(source.to_owned()).0);
            of_source.push(place as u32);
            if let Some(place) = chosen.get(id) {
                ranks.insert(row, *place);
                if let Some(entry) = selected.get_mut(*place) {
                    *entry = row;
                }
            }
        })?;
        ids.shrink();
        drop(places);
        // Images that the selection has and the table lacks cannot be shown.
        selected.retain(|row| *row != NONE);
        let numbers = |name: &str| scored.rows.numbers(name).map(Option::unwrap_or_default);
        let influence = numbers("influence")?;
        let whole = |number: f64| if number.is_finite() { number as u32 } else { NONE };
        let classes = numbers(belief::PSEUDO_LABEL)?.into_iter().map(whole).collect();
        let confidence = numbers(belief::CONFIDENCE)?.into_iter().map(|sure| sure as f32).collect();
        let family = scored.family(&scored.classes)?;
        let chosen = selected.iter().filter_map(|row| influence.get(*row as usize));
        let histogram = histogram(&influence, chosen).svg();
        let answers = Mutex::default();
        Ok(Table {
            scored,
            family,
            histogram,
            ids,
            influence,
            classes,
            confidence,
            of_source,
            sources,
            positions,
            selected,
            ranks,
            answers,
        })
    }

    /// How many images it has.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Folders that ids begin with, where there are any.
    pub(super) fn sources(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(String::as_str).filter(|source| !source.is_empty())
    }

    /// Whether any image has an influence.
    pub(super) fn has_influence(&self) -> bool {
        self.influence.iter().any(|influence| influence.is_finite())
    }

    /// Whether images have classes.
    pub(super) fn has_classes(&self) -> bool {
        !self.classes.is_empty()
    }

    /// Whether it is said how sure the model is.
    pub(super) fn has_confidence(&self) -> bool {
        !self.confidence.is_empty()
    }

    /// What images can be ordered by.
    pub(super) fn orders(&self) -> Vec<By> {
        let beliefs = self.scored.rows.columns().iter().filter(|column| column.name != belief::PSEUDO_LABEL);
        let influence = self.has_influence().then_some(By::Influence);
        influence.into_iter().chain(beliefs.map(|column| By::Belief(column.name.clone()))).chain([By::Pool]).collect()
    }

    /// What is held of an image.
    pub(super) fn held(&self, row: u32) -> Option<Held> {
        let at = row as usize;
        let known = |values: &[u32]| values.get(at).copied().filter(|value| *value != NONE);
        Some(Held {
            row,
            id: self.ids.get(at)?,
            influence: self.influence.get(at).copied().filter(|influence| !influence.is_nan()),
            class: known(&self.classes),
            confidence: self.confidence.get(at).copied().filter(|sure| !sure.is_nan()),
            position: known(&self.positions),
            rank: self.ranks.get(&row).copied(),
        })
    }

    /// A whole row, from the file.
    pub(super) fn row(&self, row: u32) -> Result<Option<ScoreRow>, ScoreError> {
        self.scored.rows.row(row as usize)
    }

    /// How many images have a lower influence than this one.
    pub(super) fn lower(&self, influence: f64) -> usize {
        self.influence.iter().filter(|other| **other < influence).count()
    }

    /// The rows of images with these ids.
    pub(super) fn rows_of(&self, wanted: &HashSet<String>) -> HashMap<String, u32> {
        let (mut found, mut row) = (HashMap::new(), 0);
        if !wanted.is_empty() {
            self.ids.each(|id| {
                if wanted.contains(id) {
                    found.insert(id.to_owned(), row);
                }
                row += 1;
            });
        }
        found
    }

    /// The images that a query asks for, in its order. `labelled` are those with a label given here.
    pub(super) fn matching(&self, query: &Query, labelled: &HashSet<u32>) -> Result<Arc<Vec<u32>>, ViewError> {
        // What is labelled changes between two pages.
        let keep = query.labelled.is_none();
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = answers.iter().position(|(asked, _)| keep && asked == query) {
            let found = answers.remove(at);
            let rows = Arc::clone(&found.1);
            answers.push(found);
            return Ok(rows);
        }
        drop(answers);
        let rows = Arc::new(self.find(query, labelled)?);
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if keep {
            answers.push((query.clone(), Arc::clone(&rows)));
            let beyond = answers.len().saturating_sub(KEPT);
            answers.drain(..beyond);
        }
        Ok(rows)
    }

    fn find(&self, query: &Query, labelled: &HashSet<u32>) -> Result<Vec<u32>, ViewError> {
        let source = match &query.source {
            None => None,
            Some(name) => match self.sources.get_index_of(name) {
                Some(place) => Some(place as u32),
                None => return Ok(Vec::new()),
            },
        };
        let sure = |percent: Option<u32>, otherwise: f32| percent.map_or(otherwise, |percent| percent as f32 / 100.0);
        let (least, most) = (sure(query.least, f32::NEG_INFINITY), sure(query.most, f32::INFINITY));
        let bounded = query.least.is_some() || query.most.is_some();
        let admits = |row: u32| {
            let at = row as usize;
            query.class.is_none_or(|class| self.classes.get(at) == Some(&class))
                && (!bounded || self.confidence.get(at).is_some_and(|sure| (least..=most).contains(sure)))
                && query.selected.is_none_or(|wanted| wanted == self.ranks.contains_key(&row))
                && query.labelled.is_none_or(|wanted| wanted == labelled.contains(&row))
                && source.is_none_or(|source| self.of_source.get(at) == Some(&source))
        };
        let mut rows: Vec<u32> = (0..self.len() as u32).filter(|row| admits(*row)).collect();
        if !query.text.is_empty() {
            let mut named = Vec::with_capacity(self.len());
            self.ids.each(|id| named.push(id.contains(&query.text)));
            rows.retain(|row| named.get(*row as usize) == Some(&true));
        }
        let other;
        let keys: &[f64] = match &query.by {
            By::Pool => &[],
            By::Influence => &self.influence,
            By::Belief(name) => {
                other = self.scored.rows.numbers(name)?.unwrap_or_default();
                &other
            }
        };
        let sign = if query.falling { -1.0 } else { 1.0 };
        // What is not a number comes last whichever way it goes.
        let key = |row: &u32| {
            keys.get(*row as usize).map_or(f64::NAN, |key| if key.is_nan() { f64::NAN } else { sign * key })
        };
        match keys.is_empty() {
            true if query.falling => rows.reverse(),
            true => {}
            false => rows.sort_unstable_by(|a, b| key(a).total_cmp(&key(b)).then(a.cmp(b))),
        }
        Ok(rows)
    }
}

fn histogram<'a>(all: &[f64], chosen: impl Iterator<Item = &'a f64>) -> Histogram {
    let mut extent = Extent::expecting(all.len());
    all.iter().for_each(|influence| extent.add(*influence));
    let mut bars = extent.bars();
    all.iter().for_each(|influence| bars.add(*influence));
    chosen.for_each(|influence| bars.select(*influence));
    bars
}

/// Where images are in a pool, by their ids. Rows are in the order of the pool, so that mostly the next image is the one.
struct Places<'a> {
    pool: &'a Dataset,
    next: usize,
    /// Hashes of all ids with their positions, sorted; made where the next image is not the one.
    hashes: Option<Vec<(u64, u32)>>,
}

fn hash(id: &str) -> u64 {
    let mut hash = XxHash3_64::default();
    hash.write(id.as_bytes());
    hash.finish()
}

impl<'a> Places<'a> {
    fn of(pool: &'a Dataset) -> Places<'a> {
        Places { pool, next: 0, hashes: None }
    }

    fn find(&mut self, id: &str) -> Option<u32> {
        let pool = self.pool;
        if self.next < pool.len() && pool.id(self.next) == id {
            self.next += 1;
            return u32::try_from(self.next - 1).ok();
        }
        let hashes = self.hashes.get_or_insert_with(|| {
            let positions = 0..u32::try_from(pool.len()).unwrap_or(NONE);
            let mut hashes: Vec<(u64, u32)> = positions.map(|at| (hash(&pool.id(at as usize)), at)).collect();
            hashes.sort_unstable();
            hashes
        });
        let wanted = hash(id);
        let from = hashes.partition_point(|(hash, _)| *hash < wanted);
        let same = hashes.iter().skip(from).take_while(|(hash, _)| *hash == wanted);
        let (_, position) = same.into_iter().find(|(_, position)| pool.id(*position as usize) == id)?;
        self.next = *position as usize + 1;
        Some(*position)
    }
}

/// The positions in a pool of images with these ids.
pub(super) fn positions(pool: &Dataset, ids: &HashSet<&str>) -> HashMap<String, u32> {
    let mut found = HashMap::new();
    for position in 0..u32::try_from(pool.len()).unwrap_or(NONE) {
        let id = pool.id(position as usize);
        if ids.contains(id.as_str()) {
            found.insert(id, position);
        }
        if found.len() == ids.len() {
            break;
        }
    }
    found
}
