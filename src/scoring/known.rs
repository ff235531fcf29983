//! Which images need no label whatever their score: the labelled and the reference images, and those named besides.
//!
//! They are read once; `known-images.json` keeps what they show beside the hash of the data, so that a run that goes on need
//! not decode them again.

use super::prepared::{Prepared, data_sha256};
use super::{ReferenceSet, ScoreOptions, ScoringError, Source};
use crate::data::{Content, Dataset, Loader, LoaderOptions, Split};
use crate::durable;
use crate::hex::hex;
use crate::observe::{Observer, Stage};
use crate::scores::{KnownImages, SameAs};
use crate::sweep::SweepError;
use sha2::{Digest as _, Sha256};

/// Provenance: how many images are known.
pub(super) const KNOWN: &str = "known images";
const SCHEMA: &str = "isal-known-images/1";

/// `known-images.json`.
#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Saved {
    schema: String,
    sets: Vec<Set>,
}

/// What the images of a data set show.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Set {
    of: SameAs,
    sha256: String,
    contents: Vec<Content>,
    /// Images that could not be read.
    unread: usize,
}

/// The known images of a run.
pub(super) fn known_images(
    options: &ScoreOptions,
    prepared: &Prepared,
    observer: &dyn Observer,
) -> Result<KnownImages, ScoringError> {
    let path = options.out.join("known-images.json");
    let saved = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Saved>(&bytes).ok());
    let saved = saved.filter(|saved| saved.schema == SCHEMA).unwrap_or_default();
    let mut sets = Vec::new();
    for (of, dataset) in given(options) {
        let sha256 = data_sha256(dataset, &prepared.recipe);
        let set = match saved.sets.iter().find(|set| set.of == of && set.sha256 == sha256) {
            Some(set) => set.clone(),
            None => {
                let (contents, unread) = contents(dataset, of, prepared, options, observer)?;
                Set { of, sha256, contents, unread }
            }
        };
        if set.unread > 0 {
            let name = of.name();
            observer.say(&format!(
                "warning: {} {name} images cannot be read, so a pool image that is one of them is not found",
                set.unread
            ));
        }
        sets.push(set);
    }
    let mut known = KnownImages::default();
    for set in &sets {
        set.contents.iter().for_each(|content| known.add(*content, set.of));
    }
    if !sets.is_empty() {
        let saved = Saved { schema: SCHEMA.to_owned(), sets };
        durable::write_bytes(&path, &serde_json::to_vec(&saved).unwrap_or_default())?;
    }
    Ok(known)
}

/// The data sets in question. Reference images that are held out of the labelled ones are among these.
fn given(options: &ScoreOptions) -> Vec<(SameAs, &Dataset)> {
    let mut given = Vec::new();
    if let Source::Model(from) = &options.source {
        given.extend(from.labelled.as_ref().map(|labelled| (SameAs::Labelled, Split::dataset(labelled))));
        if let ReferenceSet::Given(reference) = &from.reference {
            given.push((SameAs::Reference, reference));
        }
    }
    given.extend(options.exclude.iter().map(|dataset| (SameAs::Excluded, dataset)));
    given
}

/// What the images show, and how many could not be read. They are decoded as those of the pool are.
fn contents(
    dataset: &Dataset,
    of: SameAs,
    prepared: &Prepared,
    options: &ScoreOptions,
    observer: &dyn Observer,
) -> Result<(Vec<Content>, usize), ScoringError> {
    let loader = LoaderOptions {
        threads: (options.threads > 0).then_some(options.threads),
        contents: true,
        ..LoaderOptions::default()
    };
    let mut loader = Loader::new(dataset.clone(), prepared.recipe.clone(), &loader)?;
    let name = format!("looking at the {} images", of.name());
    let stage = Stage::begin(observer, &name, dataset.len() as u64, "images");
    let mut contents = Vec::with_capacity(dataset.len());
    for batch in &mut loader {
        let batch = batch?;
        observer.advance(batch.indices.len() as u64);
        contents.extend(batch.contents);
        if observer.interrupted() {
            return Err(SweepError::Interrupted { done: 0, total: options.pool.len() }.into());
        }
    }
    drop(stage);
    Ok((contents, loader.skipped().len()))
}

/// How many images are known and a hash of what they show; `None` where none is.
pub(super) fn describe(known: &KnownImages) -> Option<String> {
    let mut hash = Sha256::new();
    let mut counts = Vec::new();
    for set in SameAs::ALL {
        let contents = known.contents(set);
        if contents.is_empty() {
            continue;
        }
        counts.push(format!("{} {}", contents.len(), set.name()));
        hash.update(set.name());
        contents.iter().for_each(|content| hash.update(content.bits().to_le_bytes()));
    }
    let digest = hex(&hash.finalize()[..8]);
    (!counts.is_empty()).then(|| format!("{} different ones, hash {digest}", counts.join(", ")))
}
