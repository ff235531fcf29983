//! The pool, a page of images at a time.

use super::super::labels::Labels;
use super::super::query::{ON_A_PAGE, Query};
use super::super::table::{Held, Table};
use super::{Around, sign};
use crate::report::{escape, figure, grouped};
use crate::scores::belief;
use std::fmt::Write as _;

/// Sources that are offered in a list; more are typed.
const SOURCES: usize = 500;

/// What a page of the pool shows.
pub(in crate::view) struct PoolView<'a> {
    pub(in crate::view) table: &'a Table,
    pub(in crate::view) query: &'a Query,
    /// All rows of the query.
    pub(in crate::view) rows: &'a [u32],
    /// Rounds that have scores.
    pub(in crate::view) rounds: &'a [usize],
    /// From 1.
    pub(in crate::view) page: usize,
    pub(in crate::view) labels: &'a Labels,
}

/// The page.
pub(in crate::view) fn pool(around: &Around, view: &PoolView) -> String {
    let PoolView { table, query, rows, page, .. } = view;
    let pages = rows.len().div_ceil(ON_A_PAGE).max(1);
    let page = (*page).clamp(1, pages);
    let mut body = String::new();
    if table.has_influence() {
        body += &sign();
        if !table.histogram.is_empty() {
            let _ = write!(body, "<details><summary>How the influences lie</summary>{}</details>", table.histogram);
        }
    }
    body += &filters(around, view);
    let first = (page - 1) * ON_A_PAGE;
    let last = rows.len().min(first + ON_A_PAGE);
    let count = match rows.len() {
        0 => "No image is like that.".to_owned(),
        all => format!("{} to {} of {} images", grouped(first + 1), grouped(last), grouped(all)),
    };
    let _ =
        write!(body, "<div class=\"pages\"><span role=\"status\">{count}</span>{}</div>", pager(query, page, pages));
    body += "<div class=\"grid\">";
    for held in rows.iter().skip(first).take(ON_A_PAGE).filter_map(|row| table.held(*row)) {
        card(&mut body, around, view, &held);
    }
    let _ = write!(body, "</div><div class=\"pages\">{}</div>", pager(query, page, pages));
    around.page(&format!("{} images", grouped(table.len())), "/pool", &body)
}

/// An image of the grid.
fn card(body: &mut String, around: &Around, view: &PoolView, held: &Held) {
    let PoolView { table, query, labels, .. } = view;
    let chosen = if held.rank.is_some() { " class=\"chosen\"" } else { "" };
    let drawn = table.family.draws().then_some(query.round);
    let _ = write!(body, "<figure{chosen}><a href=\"{}\">", escape(&query.image(held.row)));
    let _ = write!(body, "{}</a><figcaption>", around.thumbnail(held.position, &held.id, drawn));
    if let Some(rank) = held.rank {
        let _ = write!(body, "<b>selected {}</b> ", rank + 1);
    }
    let beliefs = |name: &str| match name {
        belief::PSEUDO_LABEL => held.class.map(f64::from),
        belief::CONFIDENCE => held.confidence.map(f64::from),
        _ => None,
    };
    let _ = write!(body, "{}", escape(&table.family.caption(&beliefs)));
    if let Some(influence) = held.influence {
        let _ = write!(body, "<br>influence {}", figure(influence));
    }
    if let Some(said) = labels.said.get(&held.id) {
        let _ = write!(body, "<br><b class=\"said\">labelled {}</b>", escape(&said.label));
    }
    let _ = write!(body, "<span class=\"id\">{}</span></figcaption></figure>", escape(&held.id));
}

fn option(html: &mut String, value: &str, name: &str, chosen: bool) {
    let selected = if chosen { " selected" } else { "" };
    let _ = write!(html, "<option value=\"{}\"{selected}>{}</option>", escape(value), escape(name));
}

/// A choice among yes, no and all.
fn choice(html: &mut String, label: &str, name: &str, found: Option<bool>) {
    let _ = write!(html, "<label>{label} <select name=\"{name}\">");
    option(html, "", "all", found.is_none());
    option(html, "yes", "yes", found == Some(true));
    option(html, "no", "no", found == Some(false));
    *html += "</select></label>";
}

/// The form that asks for other images.
fn filters(around: &Around, view: &PoolView) -> String {
    let PoolView { table, query, rounds, labels, .. } = view;
    let mut html = String::from("<form class=\"filters\" method=\"get\" action=\"/pool\">");
    if around.run {
        html += "<label>Round <select name=\"round\">";
        for round in *rounds {
            let number = (round + 1).to_string();
            option(&mut html, &number, &number, *round == query.round);
        }
        html += "</select></label>";
    }
    html += "<label>By <select name=\"by\">";
    for by in table.orders() {
        let name = if by.name() == "pool" { "order of the pool" } else { by.name() };
        option(&mut html, by.name(), name, by == query.by);
    }
    let falling = if query.falling { " checked" } else { "" };
    let _ = write!(
        html,
        "</select></label><label><input type=\"checkbox\" name=\"falling\" value=\"yes\"{falling}> highest first</label>"
    );
    if table.has_classes() {
        html += "<label>Believed class <select name=\"class\">";
        option(&mut html, "", "all", query.class.is_none());
        for (number, class) in table.scored.classes.iter().enumerate() {
            option(&mut html, &number.to_string(), class, query.class == Some(number as u32));
        }
        html += "</select></label>";
    }
    if table.has_confidence() {
        let number = |percent: Option<u32>| percent.map_or_else(String::new, |percent| percent.to_string());
        let input = "type=\"number\" min=\"0\" max=\"100\"";
        let (least, most) = (number(query.least), number(query.most));
        let _ = write!(
            html,
            "<label>Confidence <input name=\"least\" {input} value=\"{least}\" placeholder=\"0\" aria-label=\"least confidence, percent\"> to \
             <input name=\"most\" {input} value=\"{most}\" placeholder=\"100\" aria-label=\"most confidence, percent\"> %</label>"
        );
    }
    if !table.selected.is_empty() {
        choice(&mut html, "Selected", "selected", query.selected);
    }
    if labels.offer.as_ref().is_ok_and(|offer| offer.round.is_none()) {
        choice(&mut html, "Labelled here", "labelled", query.labelled);
    }
    let sources: Vec<&str> = table.sources().take(SOURCES + 1).collect();
    let source = query.source.as_deref().unwrap_or_default();
    if sources.len() > SOURCES {
        let _ = write!(html, "<label>Source <input name=\"source\" value=\"{}\"></label>", escape(source));
    } else if !sources.is_empty() {
        html += "<label>Source <select name=\"source\">";
        option(&mut html, "", "all", query.source.is_none());
        sources.iter().for_each(|name| option(&mut html, name, name, *name == source));
        html += "</select></label>";
    }
    let _ = write!(html, "<label>Name has <input name=\"text\" value=\"{}\"></label>", escape(&query.text));
    html += "<button>Show</button> <a href=\"/pool\">Show all</a></form>";
    html
}

/// Links to other pages.
fn pager(query: &Query, page: usize, pages: usize) -> String {
    let mut html = String::from("<nav aria-label=\"Pages of images\">");
    let mut link = |to: usize, name: &str, key: &str| match to == page || to < 1 || to > pages {
        true => {
            let _ = write!(html, "<span class=\"off\">{name}</span> ");
        }
        false => {
            let key = if key.is_empty() { String::new() } else { format!(" data-key=\"{key}\"") };
            let _ = write!(html, "<a href=\"{}\"{key}>{name}</a> ", escape(&query.pool(to)));
        }
    };
    link(1, "first", "");
    link(page.saturating_sub(1), "previous", "ArrowLeft");
    link(page + 1, "next", "ArrowRight");
    link(pages, "last", "");
    let _ = write!(html, "<span>page {} of {}</span></nav>", grouped(page), grouped(pages));
    html
}
