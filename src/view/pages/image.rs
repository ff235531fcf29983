//! One image: what the model believes of it, and why it was chosen.

use super::super::labels::Labels;
use super::super::query::Query;
use super::super::table::{Held, Table};
use super::{Around, form, notice, sign};
use crate::report::{escape, figure, grouped};
use crate::scores::{ScoreRow, belief};
use std::fmt::Write as _;

/// What the page of an image shows.
pub(in crate::view) struct ImageView<'a> {
    pub(in crate::view) table: &'a Table,
    pub(in crate::view) query: &'a Query,
    /// All rows of the query.
    pub(in crate::view) rows: &'a [u32],
    pub(in crate::view) held: &'a Held,
    /// The row as it stands in the file.
    pub(in crate::view) full: &'a ScoreRow,
    pub(in crate::view) labels: &'a Labels,
    /// What is wrong with the image, where something is.
    pub(in crate::view) changed: Option<String>,
}

/// The page.
pub(in crate::view) fn image(around: &Around, view: &ImageView) -> String {
    let ImageView { table, query, rows, held, labels, changed, .. } = view;
    let mut body = String::new();
    let at = rows.iter().position(|row| *row == held.row);
    let beside = |by: isize| at.and_then(|at| rows.get(at.checked_add_signed(by)?));
    body += "<div class=\"pages\"><nav aria-label=\"Images\">";
    for (row, name, key) in [(beside(-1), "previous", "ArrowLeft"), (beside(1), "next", "ArrowRight")] {
        let _ = match row {
            Some(row) => write!(body, "<a href=\"{}\" data-key=\"{key}\">{name}</a> ", escape(&query.image(*row))),
            None => write!(body, "<span class=\"off\">{name}</span> "),
        };
    }
    let pool = query.pool(at.unwrap_or(0) / super::super::query::ON_A_PAGE + 1);
    let place = at.map_or_else(String::new, |at| format!(", {} of {}", grouped(at + 1), grouped(rows.len())));
    let _ = write!(
        body,
        "<a href=\"{}\" data-key=\"Escape\">all images</a> <span>by {}{place}</span></nav></div>",
        escape(&pool),
        escape(query.by.name())
    );
    if let Some(changed) = changed {
        body += &notice("warning", changed);
    }
    let draws = table.family.draws() && table.scored.influence_graph().is_some();
    body += "<div class=\"one\"><div>";
    body += &around.large(held.position, &held.id, draws.then_some(query.round));
    if draws {
        let _ = write!(
            body,
            "<details><summary>The image alone</summary>{}</details>",
            around.large(held.position, &held.id, None)
        );
    }
    body += "</div><div>";
    if let Ok(offer) = &labels.offer
        && offer.round.is_none()
    {
        let hidden = format!(
            "{}<input type=\"hidden\" name=\"row\" value=\"{}\"><input type=\"hidden\" name=\"id\" value=\"{}\">",
            query.hidden(&[]),
            held.row,
            escape(&held.id)
        );
        let said = labels.said.get(&held.id).map(|said| said.label.as_str());
        let believed = held.class.and_then(|class| offer.classes.get(class as usize)).map(String::as_str);
        let _ = match said {
            Some(said) => write!(body, "<p>Labelled <b class=\"said\">{}</b>.</p>", escape(said)),
            None => write!(body, "<p>No label yet.</p>"),
        };
        body += &form(labels, offer, &hidden, said, believed);
    }
    body += "<h2>Why</h2>";
    body += &why(table, held);
    body += "<h2>What the model believes</h2>";
    body += &facts(view);
    body += "</div></div>";
    around.page(&held.id, "", &body)
}

/// Why an image was chosen, or was not.
pub(super) fn why(table: &Table, held: &Held) -> String {
    let mut html = String::new();
    if let Some(influence) = held.influence {
        let lower = table.lower(influence);
        let meaning = if influence < 0.0 { "lower" } else { "raise" };
        let _ = write!(
            html,
            "<p>Influence <b>{}</b>: labelling it is expected to {meaning} the reference loss. {} of {} images have a lower \
             influence.</p>",
            figure(influence),
            grouped(lower),
            grouped(table.len())
        );
        html += &sign();
    }
    let Some(selection) = &table.scored.selection else { return html };
    let row = selection.strategy.row();
    let (strategy, about) = (escape(row.name), escape(row.about.trim_end_matches(" (default)")));
    match held.rank.and_then(|rank| selection.selected.get(rank)) {
        Some(chosen) => {
            let _ = write!(
                html,
                "<p>Selected as number <b>{}</b> of {} by <code>{strategy}</code> ({about}), with the score {}: the lowest first.</p>",
                chosen.rank,
                grouped(selection.selected.len()),
                figure(chosen.score)
            );
            if let Some(copies) = chosen.copies.filter(|copies| *copies > 1) {
                let _ = write!(
                    html,
                    "<p>{copies} images of the pool show the same: a label for one is a label for all.</p>"
                );
            }
        }
        None => {
            let _ = write!(
                html,
                "<p>Not among the {} that <code>{strategy}</code> ({about}) selected.</p>",
                grouped(selection.selected.len())
            );
        }
    }
    html
}

/// The numbers of an image.
fn facts(view: &ImageView) -> String {
    let ImageView { table, full, .. } = view;
    let class = |number: f64| {
        let name = table.scored.classes.get(number as usize).filter(|_| number >= 0.0);
        name.cloned().unwrap_or_else(|| number.to_string())
    };
    let mut rows: Vec<(String, String)> = Vec::new();
    for (column, value) in table.scored.rows.columns().iter().zip(&full.beliefs) {
        let shown = match column.name.as_str() {
            _ if value.is_nan() => "not known".to_owned(),
            belief::PSEUDO_LABEL => class(*value),
            belief::CONFIDENCE => format!("{:.1} %", 100.0 * value),
            _ => figure(*value),
        };
        let name = if column.name == belief::PSEUDO_LABEL { "class".to_owned() } else { column.name.replace('_', " ") };
        rows.push((name, shown));
    }
    let mut html = String::from("<table>");
    for (name, value) in rows {
        let _ =
            write!(html, "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td></tr>", escape(&name), escape(&value));
    }
    html += "</table>";
    let mut known = String::new();
    if let Some(same) = full.same_as {
        let _ = write!(known, "<p>It shows the same as one of the {} images, so it needs no label.</p>", same.name());
    }
    if let Some(label) = full.label {
        let label = escape(&class(f64::from(label)));
        let _ = write!(
            known,
            "<details><summary>The pool has a label of it</summary><p>{label}; never used for scoring.</p></details>"
        );
    }
    html + &known
}
