//! What a run says: a sentence on what to do, what the numbers mean, what to beware of, and how they were found.

use super::Shard;
use super::known::KNOWN;
use super::stages::Scored;
use super::tally::Tally;
use crate::report::{Summary, figure, grouped};
use crate::scores::belief;
use crate::select::{LeftOut, Needs, Selection};
use indexmap::IndexMap;

/// Fewer reference images a class than this make noisy scores.
const FEW_A_CLASS: usize = 10;

/// What a run that selects has to say; the model knows so many `classes`.
pub(super) fn of_selection(scored: &Scored, tally: &Tally, selection: &Selection, classes: usize) -> Summary {
    let Selection { selected, pool, .. } = selection;
    let of = grouped(*pool);
    let headline = match selected.len() {
        0 => format!("None of {of} images could be selected"),
        1 => format!("Label this one of {of} images next"),
        n => format!("Label these {} of {of} images next", grouped(n)),
    };
    let mut findings = vec![reason(scored, selection)];
    findings.extend(about_influence(tally, selection));
    findings.extend(about_the_model(tally, selection));
    findings.extend(scored.fit.as_ref().and_then(|fit| fit.finding.clone()));
    findings.extend(about_the_left_out(selection));
    findings.extend(without_boxes(tally, selection));
    let mut warnings: Vec<String> = about_the_model_or_s(scored).collect();
    warnings.extend(about_what_is_missing(scored, selection));
    warnings.extend(few_references(scored, classes));
    let next = "label the images that selection.json lists, add them to the labelled images, train the model again, and score \
                the rest of the pool."
        .to_owned();
    let next = if selected.is_empty() { String::new() } else { next };
    Summary { headline, findings, next, warnings, details: details(scored, tally) }
}

/// What a slice of a pool has to say, which selects nothing.
pub(super) fn of_shard(scored: &Scored, tally: &Tally, shard: Shard, classes: usize) -> Summary {
    Summary {
        headline: format!("Shard {shard} of the pool is scored: {} images", grouped(tally.images)),
        findings: share_of_negative(tally, "the shard").into_iter().collect(),
        next: format!(
            "join all {} shards with `isal score merge`, which selects the images to label from the whole.",
            shard.of()
        ),
        warnings: about_the_model_or_s(scored).chain(left_out(scored)).chain(few_references(scored, classes)).collect(),
        details: details(scored, tally),
    }
}

/// Why these images.
fn reason(scored: &Scored, selection: &Selection) -> String {
    let row = selection.strategy.row();
    if row.needs != Needs::Influence {
        return format!("They are chosen by `{}` ({}).", row.name, row.about);
    }
    let reference = match reference_images(scored) {
        Some(images) => format!("the {} reference images", grouped(images)),
        None => "the reference images".to_owned(),
    };
    format!(
        "Of the whole pool, these are expected to lower the model's loss on {reference} most once they are labelled and trained on, the first one most of all (chosen by `{}`).",
        row.name
    )
}

/// The numbers beside the selected images, where they have any.
fn about_influence(tally: &Tally, selection: &Selection) -> Vec<String> {
    let selected: Vec<f64> = selection.selected.iter().filter_map(|s| s.influence).collect();
    let lowest = selected.iter().copied().min_by(f64::total_cmp);
    let highest = selected.iter().copied().max_by(f64::total_cmp);
    let (Some(lowest), Some(highest), Some(mean)) = (lowest, highest, tally.influence.mean()) else {
        return Vec::new();
    };
    let mut said = vec![format!(
        "Their influence is {} to {}, that of the pool {} on average. The more negative it is, the more labelling the image is expected to lower the loss on the reference images; it is an estimate for each image by itself, with the model's own prediction in place of the label.",
        figure(lowest),
        figure(highest),
        figure(mean),
    )];
    said.extend(share_of_negative(tally, "the pool"));
    said
}

fn share_of_negative(tally: &Tally, of: &str) -> Option<String> {
    let influences = tally.influence.numbers();
    (influences > 0).then(|| {
        let share = 100.0 * tally.negative as f64 / influences as f64;
        format!("{share:.1} % of {of} has a negative influence: labelling those images is expected to lower the loss.")
    })
}

/// How sure the model is of them, and how right, where the pool has labels.
fn about_the_model(tally: &Tally, selection: &Selection) -> Vec<String> {
    // A strategy that draws has nothing scored but what it drew.
    let drawn = selection.strategy.draws();
    let mut said = Vec::new();
    let sure: Vec<f64> = selection.selected.iter().filter_map(|s| s.belief(belief::CONFIDENCE)).collect();
    if let Some(pool) = tally.confidence.mean().filter(|_| !sure.is_empty()) {
        let selected = 100.0 * sure.iter().sum::<f64>() / sure.len() as f64;
        let beside = if drawn { String::new() } else { format!(", and {:.1} % over the pool", 100.0 * pool) };
        said.push(format!(
            "How sure the model is of its own guess, on average: {selected:.1} % on these images{beside}."
        ));
    }
    // For the reader's eyes only.
    if let (Some(pool), Some(selected)) = (tally.pool.percent(), tally.selected.percent()) {
        let pool = if drawn { String::new() } else { format!("{pool:.1} % of the pool and ") };
        said.push(format!(
            "The pool carries labels (not used for scoring): the model is right on {pool}{selected:.1} % of the selection."
        ));
    }
    said
}

/// Which images were not considered because they show what another image shows.
fn about_the_left_out(selection: &Selection) -> Vec<String> {
    let mut said = Vec::new();
    let LeftOut { labelled, reference, excluded, copies, .. } = selection.left_out;
    let sets: Vec<String> = [(labelled, "labelled"), (reference, "reference"), (excluded, "excluded")]
        .into_iter()
        .filter(|(images, _)| *images > 0)
        .map(|(images, set)| format!("{} {set} images", grouped(images)))
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
            "Left out as well: {} more pool {verb} the same as a selected one, pixel for pixel; a label for one is a label for all (`--keep-duplicates` selects them too).",
            grouped(copies)
        ));
    }
    said
}

/// Images in which a detector finds nothing.
fn without_boxes(tally: &Tally, selection: &Selection) -> Option<String> {
    let images = tally.without_boxes.filter(|images| *images > 0)?;
    let of = grouped(tally.images);
    Some(match selection.left_out.without_boxes {
        0 => format!(
            "In {} of {of} images the model finds no box: they are scored as images that show nothing (`--without-boxes leave-out` leaves them out).",
            grouped(images)
        ),
        left_out => format!(
            "In {} of {of} images the model finds no box: {} are left out of the selection (`--without-boxes score` scores them as images that show nothing).",
            grouped(images),
            grouped(left_out)
        ),
    })
}

fn about_what_is_missing(scored: &Scored, selection: &Selection) -> Vec<String> {
    let mut said: Vec<String> = left_out(scored).into_iter().collect();
    if selection.selected.is_empty() && selection.left_out.known() > 0 {
        said.push(
            "nothing is selected: every pool image that could be is a labelled, reference or excluded one already."
                .to_owned(),
        );
    }
    if !scored.provenance.contains_key(KNOWN) {
        said.push(
            "no labelled images were given for comparison, so some of the selected may be labelled already; `--exclude` names images that are not to be selected."
                .to_owned(),
        );
    }
    if selection.shortfall > 0 {
        said.push(format!("the pool is {} images short of the budget.", grouped(selection.shortfall)));
    }
    if selection.not_finite > 0 {
        said.push(format!("{} images have no finite score and were not considered.", grouped(selection.not_finite)));
    }
    let useless = selection.selected.iter().filter(|s| s.influence.is_some_and(|influence| influence >= 0.0)).count();
    if useless > 0 && selection.strategy.row().needs == Needs::Influence {
        let remedy = match selection.selected.len() - useless {
            0 => String::new(),
            useful => format!("; `--budget {useful}` leaves them out"),
        };
        said.push(format!(
            "{} of the selected images have an influence of 0 or more: labelling them is not expected to lower the loss{remedy}.",
            grouped(useless)
        ));
    }
    said
}

/// What the labelled images say against the model or the order of its classes, and what is wrong with `s`.
fn about_the_model_or_s(scored: &Scored) -> impl Iterator<Item = String> {
    let classes = scored.fit.as_ref().and_then(|fit| fit.warning.clone());
    let unproven = scored.provenance.get("unproven").map(|reason| format!("used though unproven: {reason}."));
    classes.map(|warning| format!("{warning}.")).into_iter().chain(not_converged(&scored.provenance)).chain(unproven)
}

fn left_out(scored: &Scored) -> Option<String> {
    let images = scored.skipped.len();
    (images > 0)
        .then(|| format!("{} pool images could not be used and are left out; run.json lists them.", grouped(images)))
}

fn few_references(scored: &Scored, classes: usize) -> Option<String> {
    let few = reference_images(scored).filter(|images| *images < FEW_A_CLASS * classes.max(1))?;
    let of = if classes > 0 { format!(" for {classes} classes") } else { String::new() };
    Some(format!(
        "{few} reference images{of} are few, so the scores are noisy; give a larger reference set with `--reference`."
    ))
}

fn reference_images(scored: &Scored) -> Option<usize> {
    scored.provenance.get("reference images")?.parse().ok()
}

fn details(scored: &Scored, tally: &Tally) -> Vec<String> {
    let mut said = about_the_solution(&scored.provenance);
    let speed = scored.times.map_or_else(String::new, |times| format!(": {}", times.sentence()));
    said.push(format!("{} pool images scored{speed}.", tally.images));
    said.extend(about_the_choice(&scored.provenance));
    said
}

/// What a joint strategy, or filters, went by.
fn about_the_choice(provenance: &IndexMap<String, String>) -> Option<String> {
    let (features, candidates) = (provenance.get("features")?, provenance.get("candidates")?);
    let target = provenance.get("target").map_or_else(String::new, |target| format!(", for {target}"));
    let passed = provenance.get("passed over by filters");
    let passed = passed.map_or_else(String::new, |images| format!("; filters passed over {images}"));
    Some(format!("Chosen among {candidates} candidates{target}, by features: {features}{passed}."))
}

/// How `s` was found and how well the graph follows it, where the scores are influences.
fn about_the_solution(provenance: &IndexMap<String, String>) -> Vec<String> {
    let fact = |key: &str| provenance.get(key).map_or("unknown", String::as_str);
    let number = |key: &str| fact(key).parse::<f64>().unwrap_or(f64::NAN);
    if !provenance.contains_key("solver") {
        return Vec::new();
    }
    let iterations = provenance.get("iterations").map_or_else(String::new, |n| format!(" {n} iterations,"));
    let mut said = vec![format!(
        "s = (curvature + lambda I)^-1 v over scope `{}` by {}: lambda {:.3e},{iterations} residual {:.1e}; curvature of {}, v of {} reference images (reference loss {:.4}).",
        fact("scope"),
        fact("solver"),
        number("lambda"),
        number("residual"),
        fact("curvature images"),
        fact("reference images"),
        number("reference loss"),
    )];
    if let Some(settled) = provenance.get("settled") {
        said.push(format!("How far the scores had settled when the solve ended: {settled}."));
    }
    if let Some(residual) = provenance.get("held-out residual").and_then(|text| text.parse::<f64>().ok()) {
        said.push(held_out(residual));
    }
    if let Some(agreement) = provenance.get("agreement with the exact influences") {
        let form = fact("engine").split(' ').next().unwrap_or_default();
        let held = if fact("difference") == "held" { ", held at the kinks," } else { "" };
        let sample = if agreement.starts_with("not measured") { "" } else { " on a sample of the pool" };
        said.push(format!("The {form} graph{held} against the exact derivative{sample}: {agreement}."));
    }
    said
}

/// What the residual on the reference images means.
fn held_out(residual: f64) -> String {
    let means = match residual {
        r if r <= 0.5 => "the curvature found holds for other images too",
        r if r <= 2.0 => "other images have another curvature than those it was taken of",
        _ => {
            "other images have much more curvature than those it was taken of, as after training to a loss near zero \
             (docs/decisions/0004-how-s-is-solved.md has what that does to the order; `--curvature both` takes images of the \
             pool too)"
        }
    };
    format!(
        "With the curvature of the reference images instead, s misses the equation by {:.0} % of v: {means}.",
        100.0 * residual
    )
}

/// That `s` is not solved to the end, how far the scores may be off, and what to do.
fn not_converged(provenance: &IndexMap<String, String>) -> Option<String> {
    if provenance.get("converged").is_none_or(|converged| converged != "no") {
        return None;
    }
    let fact = |key: &str| provenance.get(key).map_or("unknown", String::as_str);
    let off = provenance.get("settled").map_or_else(
        || "how far the scores are off is not known".to_owned(),
        |settled| format!("the scores may be off by about as much as they last changed ({settled})"),
    );
    Some(format!(
        "s is not solved to the end: after {} iterations its residual is {}; {off}. Give more damping with `--damping`, or more `max-iterations` in a solver file (`--solver FILE.toml`, see configs/solver).",
        fact("iterations"),
        fact("residual"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Content;
    use crate::scores::{BeliefColumn, Rows, ScoreRow};
    use crate::scoring::stages::ScoredRows;
    use crate::select::{Duplicates, StrategyOptions, select};

    /// Four images, the last two harmful, of which `budget` are selected by `strategy`; the facts are `provenance`.
    fn said(strategy: &str, budget: usize, provenance: &[(&str, &str)], skipped: usize) -> Summary {
        let row = |id: &str, influence: f64, confidence: f64| ScoreRow {
            id: id.to_owned(),
            influence: Some(influence),
            beliefs: vec![0.0, confidence],
            label: None,
            content: Content::from_bits(u64::from(id.as_bytes()[0])),
            same_as: None,
        };
        let rows = vec![row("a", -3.0, 0.5), row("b", -1.0, 0.7), row("c", 2.0, 0.9), row("d", 4.0, 0.9)];
        let columns = vec![BeliefColumn::whole("pseudo_label"), BeliefColumn::number("confidence")];
        let options = StrategyOptions::named(strategy).expect("a strategy");
        let view = Rows::Memory(&columns, &rows);
        let selection = select(view, budget, &options, Duplicates::default()).expect("a selection");
        let tally = Tally::of(view, Some(&selection)).expect("a tally");
        let provenance = [(KNOWN, "400 labelled")].iter().chain(provenance);
        let provenance = provenance.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let skipped = (0..skipped).map(|n| (n.to_string(), "bad".to_owned())).collect();
        let scored = Scored::new(provenance, ScoredRows::Memory(columns, rows), "scores.csv".into(), skipped, None);
        of_selection(&scored, &tally, &selection, 10)
    }

    #[test]
    fn the_first_thing_said_is_what_to_do_and_why() {
        let said = said("influence", 2, &[("reference images", "1200")], 0);
        assert_eq!(said.headline, "Label these 2 of 4 images next");
        assert_eq!(
            said.findings[0],
            "Of the whole pool, these are expected to lower the model's loss on the 1,200 reference images most once they are labelled and trained on, the first one most of all (chosen by `influence`)."
        );
        assert!(
            said.findings[1].starts_with("Their influence is -3.000 to -1.000, that of the pool 0.5000 on average.")
        );
        assert!(said.findings[2].starts_with("50.0 % of the pool has a negative influence"));
        assert!(said.findings[3].ends_with(": 60.0 % on these images, and 75.0 % over the pool."));
        assert!(said.next.contains("selection.json") && said.warnings.is_empty(), "{said:?}");
        assert!(!said.main_lines().any(|line| line.contains("lambda")), "a formula stands among the main lines");
    }

    #[test]
    fn a_selection_that_cannot_help_as_hoped_is_warned_of() {
        let said = said("influence", 6, &[("reference images", "99")], 3);
        assert_eq!(
            said.warnings,
            [
                "3 pool images could not be used and are left out; run.json lists them.",
                "the pool is 2 images short of the budget.",
                "2 of the selected images have an influence of 0 or more: labelling them is not expected to lower the loss; `--budget 2` leaves them out.",
                "99 reference images for 10 classes are few, so the scores are noisy; give a larger reference set with `--reference`.",
            ]
        );
    }

    #[test]
    fn other_strategies_claim_nothing_about_the_loss_of_their_selection() {
        let said = said("least-confidence", 1, &[], 0);
        assert_eq!(said.headline, "Label this one of 4 images next");
        assert_eq!(
            said.findings[0],
            "They are chosen by `least-confidence` (lowest probability of the most likely label first)."
        );
        assert!(said.findings[1].contains("The more negative"), "the influences there are go unexplained: {said:?}");
    }
}
