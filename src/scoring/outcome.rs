//! The files that a scoring run leaves for people and for programs: `run.json`, `selection.json`, `report.html`.

use super::labelled_accuracy::LabelledAccuracy;
use super::stages::Scored;
use super::tally::Tally;
use super::{ScoringError, Shard, wording};
use crate::data::{Dataset, Image};
use crate::durable;
use crate::report::{Page, Picture, Summary, THUMBNAILS};
use crate::scores::SIGN;
use crate::select::{LeftOut, Selected, Selection};
use crate::sweep::SweepTimes;
use image::{ExtendedColorType, ImageEncoder as _};
use indexmap::IndexMap;
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

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
    pub labelled: Option<LabelledAccuracy>,
    /// Pool images that could not be scored, with the reason.
    pub skipped: Vec<(String, String)>,
    /// Pool images left out of the selection because they show what another image shows; absent of a shard.
    pub left_out: Option<LeftOut>,
    /// Where the time of the sweep went; absent when every score was there already.
    pub times: Option<SweepTimes>,
    /// The images chosen; a shard chooses none.
    #[serde(skip)]
    pub selection: Option<Selection>,
}

/// What is written about, and where to.
pub(super) struct Written<'a> {
    pub(super) out: &'a Path,
    /// The images, for thumbnails.
    pub(super) pool: Option<&'a Dataset>,
    pub(super) classes: &'a [String],
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
    let page = page(written, &scored, tally, &selection, summary.clone());
    durable::write_bytes(&written.out.join("report.html"), page.html().as_bytes())?;
    finish(written, scored, files, summary, Some(selection))
}

/// Describes a slice: its score file is all that it leaves.
pub(super) fn write_shard(written: &Written, shard: Shard, scored: Scored) -> Result<Outcome, ScoringError> {
    let tally = Tally::of(scored.rows.view(), None)?;
    let summary = wording::of_shard(&scored, &tally, shard, written.classes.len());
    let files = scored.files.clone();
    finish(written, scored, files, summary, None)
}

fn finish(
    written: &Written,
    scored: Scored,
    mut files: IndexMap<&'static str, PathBuf>,
    summary: Summary,
    selection: Option<Selection>,
) -> Result<Outcome, ScoringError> {
    let path = written.out.join("run.json");
    files.insert("run", path.clone());
    let Scored { provenance, skipped, times, labelled, .. } = scored;
    let left_out = selection.as_ref().map(|selection| selection.left_out);
    let schema = "isal-run/1";
    let outcome =
        Outcome { schema, sign: SIGN, summary, files, provenance, labelled, skipped, left_out, times, selection };
    durable::write_bytes(&path, &serde_json::to_vec_pretty(&outcome).unwrap_or_default())?;
    Ok(outcome)
}

fn page(written: &Written, scored: &Scored, tally: Tally, selection: &Selection, summary: Summary) -> Page {
    let class = |label: u32| written.classes.get(label as usize).cloned().unwrap_or_else(|| label.to_string());
    let mut classes: IndexMap<String, (usize, usize)> = written.classes.iter().map(|c| (c.clone(), (0, 0))).collect();
    for (label, images) in &tally.pseudo_labels {
        classes.entry(class(*label)).or_default().0 += images;
    }
    for chosen in &selection.selected {
        classes.entry(class(chosen.pseudo_label)).or_default().1 += 1;
    }
    let shown: Vec<&Selected> = selection.selected.iter().take(THUMBNAILS).collect();
    let wanted: HashSet<&str> = shown.iter().map(|s| s.id.as_str()).collect();
    let places: HashMap<String, usize> = (0..written.pool.map_or(0, Dataset::len))
        .filter_map(|i| Some((written.pool?.id(i), i)))
        .filter(|(id, _)| wanted.contains(id.as_str()))
        .collect();
    let pictures = shown
        .par_iter()
        .map(|chosen| Picture {
            id: chosen.id.clone(),
            rank: chosen.rank,
            pseudo_label: class(chosen.pseudo_label),
            confidence: chosen.confidence,
            influence: chosen.influence,
            png: places.get(&chosen.id).and_then(|i| thumbnail(&written.pool?.load(*i).ok()?)),
        })
        .collect();
    Page { summary, pictures, histogram: tally.histogram, classes, provenance: scored.provenance.clone() }
}

/// The image as PNG, no side longer than [`THUMBNAIL_SIDE`].
fn thumbnail(image: &Image) -> Option<Vec<u8>> {
    let (width, height) = (u32::try_from(image.width()).ok()?, u32::try_from(image.height()).ok()?);
    let colour = match image.channels() {
        1 => image::DynamicImage::ImageLuma8(image::GrayImage::from_raw(width, height, image.pixels().to_vec())?),
        3 => image::DynamicImage::ImageRgb8(image::RgbImage::from_raw(width, height, image.pixels().to_vec())?),
        4 => image::DynamicImage::ImageRgba8(image::RgbaImage::from_raw(width, height, image.pixels().to_vec())?),
        _ => return None,
    };
    let small =
        if width.max(height) > THUMBNAIL_SIDE { colour.thumbnail(THUMBNAIL_SIDE, THUMBNAIL_SIDE) } else { colour };
    let small = small.to_rgb8();
    let mut png = Vec::new();
    image::codecs::png::PngEncoder::new(&mut png)
        .write_image(small.as_raw(), small.width(), small.height(), ExtendedColorType::Rgb8)
        .ok()?;
    Some(png)
}
