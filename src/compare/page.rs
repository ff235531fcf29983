//! A comparison as a drawing and as a page of HTML that loads nothing.

use super::CompareError;
use super::comparison::{Arm, Axis, Comparison, Metric, Pair, Point};
use super::wording::{chance, seconds, share};
use crate::durable;
use crate::report::{Curve, Line, escape, opening, prose, sentences};
use std::path::Path;

/// Writes `compare.json`, `compare.svg`, `compare-boxes.svg` where boxes are known, and `compare.html` into `folder`, which is made where it is missing.
///
/// # Errors
/// When a file cannot be written.
pub fn write(comparison: &Comparison, folder: &Path) -> Result<(), CompareError> {
    std::fs::create_dir_all(folder).map_err(|source| CompareError::Folder { path: folder.to_path_buf(), source })?;
    // A comparison has no key that is no text and no number that JSON lacks; what is not finite becomes null.
    let json = serde_json::to_vec_pretty(comparison).unwrap_or_default();
    durable::write_bytes(&folder.join("compare.json"), &json)?;
    for (axis, name) in [(Axis::Labels, "compare.svg"), (Axis::Boxes, "compare-boxes.svg")] {
        if let Some(svg) = svg(comparison, axis) {
            durable::write_bytes(&folder.join(name), svg.as_bytes())?;
        }
    }
    Ok(durable::write_bytes(&folder.join("compare.html"), html(comparison).as_bytes())?)
}

/// The whole page.
pub fn html(comparison: &Comparison) -> String {
    let mut page = opening(&comparison.summary.headline);
    page += &sentences(&comparison.summary);
    page += &section(comparison, "h2");
    page += "<h2>How these numbers were found</h2>";
    page += &details(comparison);
    page + "</html>\n"
}

/// How the numbers came about, in paragraphs.
pub fn details(comparison: &Comparison) -> String {
    comparison.summary.details.iter().map(|sentence| format!("<p>{}</p>", prose(sentence))).collect()
}

/// Drawing and tables under headings of this level (`h2`), without the sentences around them.
pub fn section(comparison: &Comparison, heading: &str) -> String {
    let plots = [Axis::Labels, Axis::Boxes].into_iter().filter_map(|axis| svg(comparison, axis));
    let mut html: String = plots.map(|svg| format!("<div class=\"plot\">{svg}</div>")).collect();
    html += &against_random(comparison, heading);
    if comparison.arms.len() > 2 {
        html += &all_pairs(comparison, heading);
    }
    html += &by_labels(comparison, heading);
    html + &runs(comparison, heading)
}

/// Worth against labels or boxes, with intervals as bands; `None` where boxes are not known.
pub fn svg(comparison: &Comparison, axis: Axis) -> Option<String> {
    let at = |point: &Point| match axis {
        Axis::Labels => Some(point.labels),
        Axis::Boxes => point.boxes,
    };
    if comparison.arms.iter().flat_map(|arm| &arm.curve).any(|point| at(point).is_none()) {
        return None;
    }
    let words = comparison.metric.words();
    let (scale, up) = match comparison.metric {
        Metric::TestAccuracy | Metric::TestShare(_) => (100.0, format!("{words}, %")),
        Metric::TestLoss => (1.0, words.to_owned()),
    };
    let line = |arm: &Arm| {
        let band = arm.curve.iter().filter_map(|point| {
            let [low, high] = point.worth.interval?;
            Some((at(point)?, scale * low, scale * high))
        });
        Line {
            name: arm.name.clone(),
            points: arm.curve.iter().filter_map(|point| Some((at(point)?, scale * point.worth.mean))).collect(),
            band: band.collect(),
            ..Line::default()
        }
    };
    let with =
        if comparison.arms.iter().any(|arm| arm.seeds.len() > 1) { ", mean and 95 % interval over seeds" } else { "" };
    let title = format!("{}{with}", comparison.metric.words());
    let across = match axis {
        Axis::Labels => "labels",
        Axis::Boxes => "boxes",
    };
    Some(Curve { title, across, up, lines: comparison.arms.iter().map(line).collect() }.svg())
}

/// A table; the first column is text, the others are numbers.
fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let cell = |tag: &str, column: usize, text: &String| {
        let class = if column == 0 { "" } else { " class=\"n\"" };
        format!("<{tag}{class}>{}", escape(text))
    };
    let row = |tag: &str, cells: &[String]| {
        let cells: String = cells.iter().enumerate().map(|(column, text)| cell(tag, column, text)).collect();
        format!("<tr>{cells}</tr>")
    };
    let body: String = rows.iter().map(|cells| row("td", cells)).collect();
    format!("<table>{}{body}</table>", row("th", head))
}

fn texts<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// Arms, the best first, and how each stands to `random`.
fn against_random(comparison: &Comparison, heading: &str) -> String {
    let metric = comparison.metric;
    let mean = format!("mean {}", metric.words());
    let head = texts([
        "arm",
        "verdict",
        "seeds",
        &mean,
        "with round 1",
        "over random",
        "p",
        "p, sign flips",
        "p, corrected",
        "labels saved",
        "never reached",
        "training",
        "selection",
    ]);
    let row = |arm: &Arm| {
        let against = arm.against_random.as_ref();
        let or_dash = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
        vec![
            arm.name.clone(),
            or_dash(against.map(|against| against.verdict.words().to_owned())),
            arm.seeds.len().to_string(),
            metric.estimate(&arm.area),
            metric.estimate(&arm.area_with_first_round),
            or_dash(against.map(|against| metric.gain(&against.gain))),
            chance(against.and_then(|against| against.p)),
            chance(against.and_then(|against| against.p_sign_flips)),
            chance(against.and_then(|against| against.p_corrected)),
            or_dash(against.map(|against| share(&against.labels_saved))),
            or_dash(against.map(|against| format!("{} of {}", against.never_reached, against.labels_saved.seeds))),
            seconds(Some(arm.train_s)),
            seconds(arm.score_s),
        ]
    };
    let rows: Vec<Vec<String>> = comparison.arms.iter().map(row).collect();
    let note = "Training and selection are seconds of a round, on average.";
    format!("<{heading}>Against random</{heading}>{}<p class=\"note\">{note}</p>", scrolling(&table(&head, &rows)))
}

/// Every arm against every other: the row's worth less the column's.
fn all_pairs(comparison: &Comparison, heading: &str) -> String {
    let metric = comparison.metric;
    let names: Vec<&String> = comparison.arms.iter().map(|arm| &arm.name).collect();
    let cell = |row: &String, column: &String| {
        let found =
            |pair: &&Pair| (&pair.row, &pair.column) == (row, column) || (&pair.row, &pair.column) == (column, row);
        let Some(pair) = comparison.pairs.iter().find(found) else { return String::new() };
        let mut gain = pair.gain;
        if pair.row != *row {
            gain.mean = -gain.mean;
            gain.interval = gain.interval.map(|[low, high]| [-high, -low]);
        }
        format!("{} (p {})", metric.gain(&gain), chance(pair.p_corrected))
    };
    let head: Vec<String> = std::iter::once(String::new()).chain(names.iter().map(|name| (*name).clone())).collect();
    let row = |name: &&String| {
        std::iter::once((*name).clone()).chain(names.iter().map(|column| cell(name, column))).collect::<Vec<String>>()
    };
    let rows: Vec<Vec<String>> = names.iter().map(row).collect();
    let note = "How much more the arm of the row is worth than that of the column, and p corrected for all pairs.";
    format!(
        "<{heading}>Every arm against every other</{heading}><p class=\"note\">{note}</p>{}",
        scrolling(&table(&head, &rows))
    )
}

/// The curve in numbers, and how many labels and boxes it stands on.
fn by_labels(comparison: &Comparison, heading: &str) -> String {
    let curve = comparison.arms.first().map(|arm| arm.curve.as_slice()).unwrap_or_default();
    let same = comparison.arms.iter().all(|arm| arm.curve.iter().map(|p| p.labels).eq(curve.iter().map(|p| p.labels)));
    let labels = curve.iter().map(|point| match same {
        true => format!("{:.0} labels", point.labels),
        false => format!("round {}", point.round),
    });
    let head: Vec<String> = std::iter::once("arm".to_owned()).chain(labels).collect();
    let row = |arm: &Arm| {
        let points = arm.curve.iter().map(|point| comparison.metric.estimate(&point.worth));
        std::iter::once(arm.name.clone()).chain(points).collect::<Vec<String>>()
    };
    let rows: Vec<Vec<String>> = comparison.arms.iter().map(row).collect();
    let html = format!("<{heading}>By labels spent</{heading}>{}", scrolling(&table(&head, &rows)));
    if curve.iter().any(|point| point.boxes.is_none()) {
        return html;
    }
    let boxes = |point: &Point| {
        let boxes = point.boxes.map_or_else(|| "-".to_owned(), |boxes| format!("{boxes:.0}"));
        if same { boxes } else { format!("{boxes} on {:.0} images", point.labels) }
    };
    let row = |arm: &Arm| std::iter::once(arm.name.clone()).chain(arm.curve.iter().map(boxes)).collect::<Vec<String>>();
    let rows: Vec<Vec<String>> = comparison.arms.iter().map(row).collect();
    html + &format!("<{heading}>Boxes that were labelled</{heading}>{}", scrolling(&table(&head, &rows)))
}

/// What each arm is, and where its runs lie.
fn runs(comparison: &Comparison, heading: &str) -> String {
    let mut html = format!("<{heading}>Runs</{heading}><details><summary>options and folders</summary><table>");
    for arm in &comparison.arms {
        let options: Vec<String> = arm.options.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        let folders: Vec<String> = arm.folders.iter().map(|folder| escape(&folder.display().to_string())).collect();
        let (name, options) = (escape(&arm.name), escape(&options.join(", ")));
        html += &format!("<tr><td>{name}<td><code>{options}</code><td><code>{}</code></tr>", folders.join("<br>"));
    }
    html + "</table></details>"
}

/// A table that is wider than the page moves in its own frame.
fn scrolling(table: &str) -> String {
    format!("<div style=\"overflow-x:auto\">{table}</div>")
}
