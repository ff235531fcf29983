//! What a scoring run leaves for people and for programs: words, `run.json`, `selection.json`, `report.html`.

use super::known::KNOWN;
use super::stages::Scored;
use super::tally::Tally;
use super::{ScoringError, Shard};
use crate::data::{Dataset, Image};
use crate::durable;
use crate::report::{Page, Picture, THUMBNAILS};
use crate::scores::SIGN;
use crate::select::{LeftOut, Selected, Selection};
use crate::sweep::SweepTimes;
use image::{ExtendedColorType, ImageEncoder as _};
use indexmap::IndexMap;
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Fewer reference images a class than this make noisy scores.
const FEW_A_CLASS: usize = 10;
/// Longest side of a thumbnail, in pixels.
const THUMBNAIL_SIDE: u32 = 96;

/// A finished run.
#[derive(Debug, serde::Serialize)]
pub struct Outcome {
    /// Version of this object.
    pub schema: &'static str,
    /// How an influence is to be read.
    pub sign: &'static str,
    /// What was found, in sentences.
    pub summary: Vec<String>,
    /// What was written, by what it is.
    pub files: IndexMap<&'static str, PathBuf>,
    /// Where the numbers come from.
    pub provenance: IndexMap<String, String>,
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
    let mut summary = about_the_scores(written, &scored, &tally);
    summary.extend(about_the_selection(&tally, &selection));
    summary.extend(about_what_was_left_out(&scored, &selection));
    let page = page(written, &scored, tally, &selection, summary.clone());
    durable::write_bytes(&written.out.join("report.html"), page.html().as_bytes())?;
    finish(written, scored, files, summary, Some(selection))
}

/// Describes a slice: its score file is all that it leaves.
pub(super) fn write_shard(written: &Written, shard: Shard, scored: Scored) -> Result<Outcome, ScoringError> {
    let tally = Tally::of(scored.rows.view(), None)?;
    let mut summary = about_the_scores(written, &scored, &tally);
    summary.push(format!("Shard {shard}: a selection is made from all {} shards, by `isal score merge`.", shard.of()));
    let files = scored.files.clone();
    finish(written, scored, files, summary, None)
}

fn finish(
    written: &Written,
    scored: Scored,
    mut files: IndexMap<&'static str, PathBuf>,
    summary: Vec<String>,
    selection: Option<Selection>,
) -> Result<Outcome, ScoringError> {
    let path = written.out.join("run.json");
    files.insert("run", path.clone());
    let Scored { provenance, skipped, times, .. } = scored;
    let left_out = selection.as_ref().map(|selection| selection.left_out);
    let outcome =
        Outcome { schema: "isal-run/1", sign: SIGN, summary, files, provenance, skipped, left_out, times, selection };
    durable::write_bytes(&path, &serde_json::to_vec_pretty(&outcome).unwrap_or_default())?;
    Ok(outcome)
}

fn about_the_scores(written: &Written, scored: &Scored, tally: &Tally) -> Vec<String> {
    let mut said = solved(&scored.provenance, written.classes.len());
    let left_out = match scored.skipped.len() {
        0 => String::new(),
        n => format!(" ({n} left out, listed in run.json)"),
    };
    let speed = scored.times.map_or_else(String::new, |times| format!(": {}", times.sentence()));
    said.push(format!("{} pool images scored{left_out}{speed}.", tally.images));
    if tally.influences > 0 {
        said.push(format!(
            "{:.1} % of the pool has a negative influence: labelling those images is expected to lower the reference loss.",
            100.0 * tally.negative as f64 / tally.influences as f64
        ));
    }
    said
}

fn about_the_selection(tally: &Tally, selection: &Selection) -> Vec<String> {
    let mut said = Vec::new();
    let mut chosen = format!("Selected {} of them by `{}`", selection.selected.len(), selection.strategy.row().name);
    let selected: Vec<f64> = selection.selected.iter().filter_map(|s| s.influence).collect();
    if let (Some(first), Some(last)) = (selected.first(), selected.last()) {
        let mean = tally.mean();
        chosen += &format!(", influence {first:.3e} to {last:.3e} (pool mean {mean:.3e}; more negative = more useful)");
    }
    said.push(chosen + ".");
    if selection.shortfall > 0 {
        said.push(format!("Warning: the pool is {} images short of the budget.", selection.shortfall));
    }
    if selection.not_finite > 0 {
        said.push(format!("Warning: {} images have no finite score and were not considered.", selection.not_finite));
    }
    // For the reader's eyes only.
    if let (Some(pool), Some(selected)) = (tally.pool.percent(), tally.selected.percent()) {
        said.push(format!(
            "The pool carries labels (not used for scoring): the model is right on {pool:.1} % of the pool and {selected:.1} % of the selection."
        ));
    }
    said
}

/// Which images were not considered because they show what another image shows.
fn about_what_was_left_out(scored: &Scored, selection: &Selection) -> Vec<String> {
    let mut said = Vec::new();
    let LeftOut { labelled, reference, excluded, copies } = selection.left_out;
    let sets: Vec<String> = [(labelled, "labelled"), (reference, "reference"), (excluded, "excluded")]
        .iter()
        .filter(|(images, _)| *images > 0)
        .map(|(images, set)| format!("{images} {set} images"))
        .collect();
    if !sets.is_empty() {
        said.push(format!(
            "Left out of the selection: {} that the pool holds too, pixel for pixel (`--keep-duplicates` considers them).",
            sets.join(", ")
        ));
    }
    if copies > 0 {
        let verb = if copies == 1 { "image shows" } else { "images show" };
        said.push(format!(
            "Left out as well: {copies} more pool {verb} the same as a selected one, pixel for pixel; a label for one is a label for all (`--keep-duplicates` selects them too)."
        ));
    }
    if selection.selected.is_empty() && selection.left_out.known() > 0 {
        said.push(
            "Warning: nothing is selected: every pool image that could be is a labelled, reference or excluded one already."
                .to_owned(),
        );
    }
    if !scored.provenance.contains_key(KNOWN) {
        said.push(
            "No labelled images were given for comparison, so some of the selected may be labelled already; `--exclude` names images that are not to be selected."
                .to_owned(),
        );
    }
    said
}

/// How `s` was had and how well the graph follows it, where the scores are influences.
fn solved(provenance: &IndexMap<String, String>, classes: usize) -> Vec<String> {
    let fact = |key: &str| provenance.get(key).map_or("unknown", String::as_str);
    let number = |key: &str| fact(key).parse::<f64>().unwrap_or(f64::NAN);
    if !provenance.contains_key("solver") {
        return Vec::new();
    }
    let iterations = provenance.get("iterations").map_or_else(String::new, |n| format!(" {n} iterations,"));
    let mut said = vec![format!(
        "s = (curvature + lambda I)^-1 v over scope `{}` by {}: lambda {:.3e},{iterations} residual {:.1e}; {} labelled and {} reference images (reference loss {:.4}).",
        fact("scope"),
        fact("solver"),
        number("lambda"),
        number("residual"),
        fact("labelled images"),
        fact("reference images"),
        number("reference loss"),
    )];
    if let Some(agreement) = provenance.get("agreement with the exact influences") {
        let form = fact("engine").split(' ').next().unwrap_or_default();
        let held = if fact("difference") == "held" { ", held at the kinks," } else { "" };
        let sample = if agreement.starts_with("not measured") { "" } else { " on a sample of the pool" };
        said.push(format!("The {form} graph{held} against the exact derivative{sample}: {agreement}."));
    }
    if let Some(few) = fact("reference images").parse().ok().filter(|n: &usize| *n < FEW_A_CLASS * classes) {
        said.push(format!(
            "Warning: {few} reference images for {classes} classes are few, so the scores are noisy; give a larger reference set with `--reference`."
        ));
    }
    said
}

fn page(written: &Written, scored: &Scored, tally: Tally, selection: &Selection, summary: Vec<String>) -> Page {
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
            confidence: chosen.confidence.unwrap_or(f64::NAN),
            influence: chosen.influence,
            png: places.get(&chosen.id).and_then(|i| thumbnail(&written.pool?.load(*i).ok()?)),
        })
        .collect();
    Page {
        title: format!("{} images to label next", selection.selected.len()),
        summary,
        pictures,
        histogram: tally.histogram,
        classes,
        provenance: scored.provenance.clone(),
    }
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
