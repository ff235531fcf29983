//! The files that a scoring run leaves for people and for programs: `run.json`, `selection.json`, `report.html`.

use super::prepared::Prepared;
use super::stages::Scored;
use super::tally::Tally;
use super::{ScoreOptions, ScoringError, Shard, wording};
use crate::data::{Dataset, Loader, LoaderOptions, as_png, rgb, within};
use crate::durable;
use crate::families::{Family, Fit, Guess, LabelKind};
use crate::influence::Annotations;
use crate::report::{Page, Picture, Summary, THUMBNAILS};
use crate::runtime::{ExecutionProvider, Library, SessionOptions};
use crate::scores::{SIGN, belief};
use crate::select::{LeftOut, Selected, Selection};
use crate::sweep::{Predictor, SweepTimes};
use crate::task::Task;
use indexmap::IndexMap;
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Images whose guesses are made at a time.
const GUESSES_AT_ONCE: usize = 512;
/// Longest side of a thumbnail, in pixels.
const THUMBNAIL_SIDE: u32 = 96;

/// A finished run.
#[derive(Debug, serde::Serialize)]
pub struct Outcome {
    /// Version of this object.
    pub schema: &'static str,
    /// How an influence is to be read.
    pub sign: &'static str,
    /// What to do and what was found, in sentences.
    pub summary: Summary,
    /// What was written, by what it is.
    pub files: IndexMap<&'static str, PathBuf>,
    /// Where the numbers come from.
    pub provenance: IndexMap<String, String>,
    /// How right the model is on the labelled images, where they were looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labelled: Option<Fit>,
    /// Pool images that could not be scored, with the reason.
    pub skipped: Vec<(String, String)>,
    /// Pool images left out of the selection because they show what another image shows; absent of a shard.
    pub left_out: Option<LeftOut>,
    /// Pool images in which a detector finds no box; absent of other tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without_boxes: Option<usize>,
    /// Where the time of the sweep went; absent when every score was there already.
    pub times: Option<SweepTimes>,
    /// The pool, where it was read from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<PathBuf>,
    /// Names of the classes, in the order of the model's; empty where the task has none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// The images chosen; a shard chooses none.
    #[serde(skip)]
    pub selection: Option<Selection>,
    /// What people say of an image of the task; `None` where there is no form for it.
    #[serde(skip)]
    pub label_kind: Option<LabelKind>,
    /// What the model believes of selected images, by id, where that was asked for and is more than a number.
    #[serde(skip)]
    pub guesses: HashMap<String, Guess>,
}

/// What is written about, and where to.
pub(super) struct Written<'a> {
    pub(super) out: &'a Path,
    /// The images, for thumbnails.
    pub(super) pool: Option<&'a Dataset>,
    /// Where they are, as it was named.
    pub(super) pool_name: &'a str,
    pub(super) classes: &'a [String],
    /// How beliefs are shown.
    pub(super) family: &'a dyn Family,
    /// What people say of an image of the task.
    pub(super) label_kind: Option<LabelKind>,
    /// What draws them over images; `None` where there is no model at hand.
    pub(super) drawing: Option<&'a Drawing<'a>>,
}

/// What it takes to see a belief anew.
pub(super) struct Drawing<'a> {
    pub(super) prepared: &'a Prepared,
    /// `None` of an influence graph, which holds its own decode graph.
    pub(super) task: Option<&'a Task>,
    pub(super) options: &'a ScoreOptions,
}

impl Drawing<'_> {
    /// What the model believes of these images of the pool, where that is drawn; nothing where it cannot be had: a report
    /// does without.
    fn believed(&self, positions: &[usize]) -> HashMap<usize, Annotations> {
        self.try_believed(positions).unwrap_or_default()
    }

    /// What the model believes of the selected images, by id.
    fn guesses(&self, selection: &Selection) -> Result<HashMap<String, Guess>, ScoringError> {
        let pool = self.options.pool.dataset();
        let places = places(pool, &selection.selected.iter().map(|selected| selected.id.as_str()).collect());
        let positions: Vec<usize> = places.values().copied().collect();
        let mut guesses = HashMap::new();
        // The decoded annotations of all images of a large budget would be many.
        for some in positions.chunks(GUESSES_AT_ONCE) {
            for (position, believed) in self.try_believed(some)? {
                let guess = self.prepared.family.guess(pool.size(position)?, &believed);
                guesses.insert(pool.id(position), guess);
            }
        }
        Ok(guesses)
    }

    fn try_believed(&self, positions: &[usize]) -> Result<HashMap<usize, Annotations>, ScoringError> {
        let Drawing { prepared, task, options } = self;
        let library = Library::load(options.onnxruntime.as_deref())?;
        let on_cpu = SessionOptions { provider: ExecutionProvider::Cpu, threads: options.threads };
        let network = &prepared.network;
        let mut predictor = match task {
            Some(task) => Predictor::open(&library, network, task, on_cpu)?,
            None => Predictor::of(&library, network.model.clone(), &network.path, on_cpu)?,
        };
        let loader = LoaderOptions { batch_size: 16, ..LoaderOptions::default() };
        let pool = options.pool.dataset().clone();
        let mut believed = HashMap::new();
        for batch in Loader::over(pool, prepared.recipe.clone(), positions.to_vec(), &loader)? {
            let batch = batch?;
            let annotations = predictor.believed(batch.images.view())?;
            let each = batch.indices.iter().enumerate().map(|(n, index)| (*index, annotations.slice(n, n + 1)));
            believed.extend(each);
        }
        Ok(believed)
    }
}

/// Writes everything and describes it.
pub(super) fn write(
    written: &Written,
    scored: Scored,
    tally: Tally,
    selection: Selection,
) -> Result<Outcome, ScoringError> {
    let selection_path = written.out.join("selection.json");
    selection.write(&selection_path)?;
    let mut files = IndexMap::from([("selection", selection_path)]);
    files.extend(scored.files.iter().map(|(what, path)| (*what, path.clone())));
    files.insert("report", written.out.join("report.html"));
    let summary = wording::of_selection(&scored, &tally, &selection, written.classes.len());
    let without_boxes = tally.without_boxes;
    let page = page(written, &scored, tally, &selection, summary.clone());
    durable::write_bytes(&written.out.join("report.html"), page.html().as_bytes())?;
    let shown = matches!(written.label_kind, Some(LabelKind::Boxes | LabelKind::Classes));
    let guesses = match written.drawing.filter(|drawing| shown && drawing.options.guesses) {
        Some(drawing) => drawing.guesses(&selection)?,
        None => HashMap::new(),
    };
    finish(written, scored, files, summary, (Some(selection), guesses, without_boxes))
}

/// Describes a slice: its score file is all that it leaves.
pub(super) fn write_shard(written: &Written, shard: Shard, scored: Scored) -> Result<Outcome, ScoringError> {
    let tally = Tally::of(scored.rows.view(), None)?;
    let summary = wording::of_shard(&scored, &tally, shard, written.classes.len());
    let files = scored.files.clone();
    finish(written, scored, files, summary, (None, HashMap::new(), tally.without_boxes))
}

fn finish(
    written: &Written,
    scored: Scored,
    mut files: IndexMap<&'static str, PathBuf>,
    summary: Summary,
    (selection, guesses, without_boxes): (Option<Selection>, HashMap<String, Guess>, Option<usize>),
) -> Result<Outcome, ScoringError> {
    let path = written.out.join("run.json");
    files.insert("run", path.clone());
    let Scored { provenance, skipped, times, fit: labelled, .. } = scored;
    let left_out = selection.as_ref().map(|selection| selection.left_out);
    let schema = "isal-run/1";
    let classes = written.classes.to_vec();
    // Whoever reads the folder later may stand elsewhere.
    let pool = std::path::absolute(written.pool_name).ok();
    let outcome = Outcome {
        schema,
        sign: SIGN,
        summary,
        files,
        provenance,
        labelled,
        skipped,
        left_out,
        without_boxes,
        times,
        pool,
        classes,
        selection,
        label_kind: written.label_kind,
        guesses,
    };
    durable::write_bytes(&path, &serde_json::to_vec_pretty(&outcome).unwrap_or_default())?;
    Ok(outcome)
}

/// Positions of these images in the pool, by id.
fn places(pool: &Dataset, wanted: &HashSet<&str>) -> HashMap<String, usize> {
    (0..pool.len()).map(|place| (pool.id(place), place)).filter(|(id, _)| wanted.contains(id.as_str())).collect()
}

fn page(written: &Written, scored: &Scored, tally: Tally, selection: &Selection, summary: Summary) -> Page {
    let class = |label: usize| written.classes.get(label).cloned().unwrap_or_else(|| label.to_string());
    let mut classes: IndexMap<String, (usize, usize)> = IndexMap::new();
    if !tally.pseudo_labels.is_empty() {
        classes.extend(written.classes.iter().map(|class| (class.clone(), (0, 0))));
    }
    for (label, images) in &tally.pseudo_labels {
        classes.entry(class(*label)).or_default().0 += images;
    }
    for label in selection.selected.iter().filter_map(|chosen| chosen.belief(belief::PSEUDO_LABEL)) {
        classes.entry(class(label as usize)).or_default().1 += 1;
    }
    let shown: Vec<&Selected> = selection.selected.iter().take(THUMBNAILS).collect();
    let wanted: HashSet<&str> = shown.iter().map(|s| s.id.as_str()).collect();
    let places = written.pool.map(|pool| places(pool, &wanted)).unwrap_or_default();
    let believed = match written.drawing.filter(|_| written.family.draws()) {
        Some(drawing) => drawing.believed(&places.values().copied().collect::<Vec<_>>()),
        None => HashMap::new(),
    };
    // Whatever the pool says of them itself, for the reader's eyes only.
    let counted = written.pool.filter(|_| !believed.is_empty()).map(|pool| written.family.as_the_model_counts(pool));
    let counted = counted.and_then(Result::ok);
    let known = |position: usize| {
        let pool = counted.as_ref().filter(|pool| pool.fields(position).is_some())?;
        written.family.known(pool, position).ok()
    };
    let pictures = shown
        .par_iter()
        .map(|chosen| Picture {
            id: chosen.id.clone(),
            rank: chosen.rank,
            caption: written.family.caption(&|name| chosen.belief(name)),
            influence: chosen.influence,
            png: places.get(&chosen.id).and_then(|i| {
                let image = rgb(&written.pool?.load(*i).ok()?)?;
                let drawn = believed.get(i).and_then(|believed| match known(*i) {
                    Some(known) => written.family.overlay_with(&image, believed, &known),
                    None => written.family.overlay(&image, believed),
                });
                as_png(&within(drawn.unwrap_or(image), THUMBNAIL_SIDE))
            }),
        })
        .collect();
    Page { summary, pictures, histogram: tally.histogram, classes, provenance: scored.provenance.clone() }
}
