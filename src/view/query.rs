//! Which images are looked at and in which order, as addresses say it.

use crate::report::escape;
use std::fmt::Write as _;

/// Images on a page.
pub(super) const ON_A_PAGE: usize = 60;

/// Bytes of a text that is looked for.
const LONGEST: usize = 200;

/// What images are ordered by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum By {
    /// Influence, the most useful first.
    #[default]
    Influence,
    /// A belief, by the name of its column.
    Belief(String),
    /// Their order in the pool.
    Pool,
}

impl By {
    /// Its name in an address, and for people.
    pub(super) fn name(&self) -> &str {
        match self {
            By::Influence => "influence",
            By::Belief(name) => name,
            By::Pool => "pool",
        }
    }
}

/// Which images, in which order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Query {
    /// The round whose scores these are, from 0.
    pub(super) round: usize,
    pub(super) by: By,
    /// The highest first.
    pub(super) falling: bool,
    /// The class that the model believes.
    pub(super) class: Option<u32>,
    /// How sure the model is, in percent.
    pub(super) least: Option<u32>,
    pub(super) most: Option<u32>,
    /// Selected, or not.
    pub(super) selected: Option<bool>,
    /// With a label that was given here, or without.
    pub(super) labelled: Option<bool>,
    /// The folder that ids begin with.
    pub(super) source: Option<String>,
    /// Part of an id.
    pub(super) text: String,
}

/// The parts of an address or of a form.
pub(super) type Fields = Vec<(String, String)>;

/// The fields of an address's query or of a form.
pub(super) fn fields(text: &[u8]) -> Fields {
    form_urlencoded::parse(text).into_owned().collect()
}

/// The value of a field, where it is there and not empty.
pub(super) fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
}

fn yes_or_no(value: &str) -> Option<bool> {
    match value {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

impl Query {
    /// As an address says it; what means nothing is passed over. `newest` is the round where none is named, and `orders` what
    /// images can be ordered by, the usual one first.
    pub(super) fn of(fields: &Fields, newest: usize, orders: impl Fn(usize) -> Vec<By>) -> Query {
        let number = |name: &str| field(fields, name).and_then(|text| text.parse::<u32>().ok());
        let round = number("round").map_or(newest, |round| round.saturating_sub(1) as usize);
        let orders = orders(round);
        let by = field(fields, "by").and_then(|name| orders.iter().find(|by| by.name() == name)).or(orders.first());
        let text: String = field(fields, "text").unwrap_or_default().chars().take(LONGEST).collect();
        Query {
            round,
            by: by.cloned().unwrap_or_default(),
            falling: field(fields, "falling").is_some(),
            class: number("class"),
            least: number("least").filter(|percent| *percent > 0),
            most: number("most").filter(|percent| *percent < 100),
            selected: field(fields, "selected").and_then(yes_or_no),
            labelled: field(fields, "labelled").and_then(yes_or_no),
            source: field(fields, "source").map(str::to_owned),
            text,
        }
    }

    /// It as an address says it, with more fields behind.
    fn address(&self, page: &str, more: &[(&str, String)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("round", &(self.round + 1).to_string()).append_pair("by", self.by.name());
        let said = |yes: bool| if yes { "yes" } else { "no" };
        let numbers = [("class", self.class), ("least", self.least), ("most", self.most)];
        for (name, value) in numbers.iter().filter_map(|(name, value)| Some((name, (*value)?))) {
            query.append_pair(name, &value.to_string());
        }
        let choices = [("selected", self.selected), ("labelled", self.labelled)];
        for (name, value) in choices.iter().filter_map(|(name, value)| Some((name, (*value)?))) {
            query.append_pair(name, said(value));
        }
        if self.falling {
            query.append_pair("falling", "yes");
        }
        for (name, value) in [("source", self.source.as_deref().unwrap_or_default()), ("text", &self.text)] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        for (name, value) in more {
            query.append_pair(name, value);
        }
        format!("{page}?{}", query.finish())
    }

    /// The address of a page of images, counted from 1.
    pub(super) fn pool(&self, page: usize) -> String {
        self.address("/pool", &[("page", page.to_string())])
    }

    /// The address of an image of this order.
    pub(super) fn image(&self, row: u32) -> String {
        self.address("/image", &[("row", row.to_string())])
    }

    /// The fields that a form carries on unseen, but for these.
    pub(super) fn hidden(&self, but: &[&str]) -> String {
        let address = self.address("", &[]);
        let mut html = String::new();
        for (name, value) in fields(address.trim_start_matches('?').as_bytes()) {
            if !but.contains(&name.as_str()) {
                let (name, value) = (escape(&name), escape(&value));
                // Writing to a String cannot fail.
                let _ = write!(html, "<input type=\"hidden\" name=\"{name}\" value=\"{value}\">");
            }
        }
        html
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Query {
        Query::of(&fields(text.as_bytes()), 3, |_| vec![By::Influence, By::Belief("margin".into()), By::Pool])
    }

    #[test]
    fn an_address_gives_back_what_it_was_made_of() {
        let query = Query {
            round: 1,
            by: By::Belief("margin".into()),
            falling: true,
            class: Some(7),
            least: Some(20),
            most: Some(80),
            selected: Some(false),
            labelled: Some(true),
            source: Some("a & b/ä".into()),
            text: "x=\"1\"&<>+%".into(),
        };
        let address = query.pool(12);
        let (page, text) = address.split_once('?').expect("a query");
        assert_eq!((page, read(text)), ("/pool", query.clone()));
        assert_eq!(field(&fields(text.as_bytes()), "page"), Some("12"));
        assert!(!query.hidden(&["text"]).contains("x=") && query.hidden(&[]).contains("&quot;1&quot;"));
    }

    #[test]
    fn what_means_nothing_is_passed_over() {
        let query = read("round=x&by=colour&class=-1&least=abc&most=100&selected=maybe&falling=&source=&%ff=%zz");
        assert_eq!(query, Query { round: 3, ..Query::default() });
    }
}
