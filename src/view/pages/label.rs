//! The list to label, one image after the other.

use super::super::labels::{Item, Labels, Offer};
use super::super::table::Table;
use super::image::why;
use super::{Around, form, notice};
use crate::report::{escape, grouped};
use std::fmt::Write as _;

/// Images of the list that are shown small, around the one that is labelled.
const STRIP: usize = 24;

/// The page; `at` is the number of the image on the list, from 1, and `said` what was answered to the last form.
pub(in crate::view) fn label(
    around: &Around,
    labels: &Labels,
    table: Option<&Table>,
    at: Option<usize>,
    said: Option<&str>,
) -> String {
    let title = "Label";
    let offer = match &labels.offer {
        Ok(offer) => offer,
        Err(why) => return around.page(title, "/label", &notice("", why)),
    };
    let mut body = said.map(|said| notice("", said)).unwrap_or_default();
    let first = labels.next(usize::MAX - 1);
    let at = at.map_or(first, |at| at.saturating_sub(1)).min(offer.items.len().saturating_sub(1));
    body += &standing(labels, offer);
    let Some(item) = offer.items.get(at) else {
        return around.page(
            title,
            "/label",
            &(body + &notice("", "Nothing was selected. Images of the pool can be labelled on their own pages.")),
        );
    };
    body += "<div class=\"pages\"><nav aria-label=\"Images to label\">";
    let mut link = |to: Option<usize>, name: &str, key: &str| {
        let _ = match to.filter(|to| *to < offer.items.len()) {
            Some(to) => write!(body, "<a href=\"/label?at={}\" data-key=\"{key}\">{name}</a> ", to + 1),
            None => write!(body, "<span class=\"off\">{name}</span> "),
        };
    };
    link(at.checked_sub(1), "previous", "ArrowLeft");
    link(at.checked_add(1), "next", "ArrowRight");
    let _ = write!(body, "<span>{} of {}</span></nav></div>", grouped(at + 1), grouped(offer.items.len()));
    body += &one(around, labels, offer, table, (at, item));
    body += &strip(around, labels, offer, at);
    around.page(title, "/label", &body)
}

/// How far the list is labelled, where the labels are, and the button that hands them to the run.
fn standing(labels: &Labels, offer: &Offer) -> String {
    let of = |wanted: &dyn Fn(&Item) -> bool| offer.items.iter().filter(|item| wanted(item)).count();
    let labelled = of(&|item| labels.label(item).is_some());
    let skipped = of(&|item| labels.label(item) == Some(offer.skip.as_str()));
    let mut html = format!(
        "<p role=\"status\">{} of {} images have a label, {skipped} of them <i>{}</i>.</p>",
        grouped(labelled),
        grouped(offer.items.len()),
        escape(&offer.skip)
    );
    let file = escape(&offer.file.display().to_string());
    let Some(round) = offer.round else {
        let beyond = labels.said.len() - of(&|item| labels.said.contains_key(&item.id));
        let beyond =
            if beyond > 0 { format!(" {} more of the pool have one.", grouped(beyond)) } else { String::new() };
        let _ = write!(
            html,
            "<p class=\"note\">{beyond} Every label is in <code>{file}</code> at once, a list that <code>isal train</code> takes.</p>"
        );
        return html;
    };
    let _ = write!(
        html,
        "<p class=\"note\">For round {} of the run. Every label is in <code>{file}</code> at once; the run takes them with this \
         button, or with <code>isal label import</code>.</p><form method=\"post\" action=\"/import\" class=\"import\">\
         <button>Hand the labels to the run</button><label><input type=\"checkbox\" name=\"partial\" value=\"yes\"> go on with \
         what is there: images without a label go back to the pool</label><label><input type=\"checkbox\" name=\"replace\" \
         value=\"yes\"> these labels replace those that the run has</label></form>",
        round + 1
    );
    html
}

/// The image to label.
fn one(around: &Around, labels: &Labels, offer: &Offer, table: Option<&Table>, (at, item): (usize, &Item)) -> String {
    let held = table.and_then(|table| table.held(item.row?));
    let drawn = table.filter(|table| table.family.draws()).zip(offer.round).map(|(_, round)| round.saturating_sub(1));
    let next = offer.items.get(labels.next(at)).and_then(|item| item.position);
    let next = next
        .map_or_else(String::new, |next| format!(" data-next=\"{}\"", around.picture(next, super::SIDES[1], drawn)));
    let mut html = format!("<div class=\"one\"{next}><div>{}</div><div>", around.large(item.position, &item.id, drawn));
    let said = labels.label(item);
    let hidden = format!(
        "<input type=\"hidden\" name=\"at\" value=\"{}\"><input type=\"hidden\" name=\"id\" value=\"{}\">",
        at + 1,
        escape(&item.id)
    );
    let believed = held.as_ref().and_then(|held| offer.classes.get(held.class? as usize)).map(String::as_str);
    let _ = match said {
        Some(said) => write!(html, "<p>Labelled <b class=\"said\">{}</b>.</p>", escape(said)),
        None => write!(html, "<p>No label yet.</p>"),
    };
    html += &form(labels, offer, &hidden, said, believed);
    match (table, &held) {
        (Some(table), Some(held)) => {
            let beliefs = |name: &str| match name {
                crate::scores::belief::PSEUDO_LABEL => held.class.map(f64::from),
                crate::scores::belief::CONFIDENCE => held.confidence.map(f64::from),
                _ => None,
            };
            let caption = table.family.caption(&beliefs);
            if !caption.is_empty() {
                let _ = write!(html, "<p>The model believes {}.</p>", escape(&caption));
            }
            html += &why(table, held);
        }
        _ => html += "<p>Drawn by the seed: no model has seen it yet.</p>",
    }
    let _ = write!(html, "<p class=\"id\">{}</p></div></div>", escape(&item.id));
    html
}

/// The images of the list around this one.
fn strip(around: &Around, labels: &Labels, offer: &Offer, at: usize) -> String {
    let from = (at.saturating_sub(STRIP / 2)).min(offer.items.len().saturating_sub(STRIP));
    let mut html = String::from("<h2>The list</h2><div class=\"grid strip\">");
    for (place, item) in offer.items.iter().enumerate().skip(from).take(STRIP) {
        let class = if place == at { " class=\"here\" aria-current=\"true\"" } else { "" };
        let label = labels.label(item).map_or_else(|| "&ndash;".to_owned(), escape);
        let _ = write!(
            html,
            "<figure{class}><a href=\"/label?at={}\">{}</a><figcaption><b>{}.</b> {label}</figcaption></figure>",
            place + 1,
            around.thumbnail(item.position, &item.id, None),
            place + 1
        );
    }
    html + "</div>"
}
