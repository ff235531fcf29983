//! The pages, as HTML.

mod image;
mod label;
mod pool;
mod run;

pub(super) use image::{ImageView, image};
pub(super) use label::label;
pub(super) use pool::{PoolView, pool};
pub(super) use run::run;

use super::labels::{Labels, Offer};
use super::pictures::SIDES;
use crate::report::escape;
use crate::scores::SIGN;
use std::fmt::Write as _;
use std::path::Path;

/// Classes that have a button of their own; more are typed.
const BUTTONS: usize = 60;

/// Keys of classes whose names are longer than one sign, in the order in which they are given.
const KEYS: &str = "1234567890qwertyiopadfghklzxcvbnm";

/// What stands around every page.
pub(super) struct Around<'a> {
    /// Whether the folder is a run.
    pub(super) run: bool,
    pub(super) folder: &'a Path,
    /// Of this server, in addresses of pictures.
    pub(super) version: &'a str,
    /// Why there are no images, where there are none.
    pub(super) no_images: Option<&'a str>,
}

impl Around<'_> {
    /// A page of this title; `here` is its place among the links at the top.
    fn page(&self, title: &str, here: &str, body: &str) -> String {
        let mut links = String::new();
        let run = self.run.then_some(("/", "The run"));
        for (address, name) in run.into_iter().chain([("/pool", "The pool"), ("/label", "Label")]) {
            let current = if address == here { " aria-current=\"page\"" } else { "" };
            // Writing to a String cannot fail.
            let _ = write!(links, "<a href=\"{address}\"{current}>{name}</a>");
        }
        let (title, folder) = (escape(title), escape(&self.folder.display().to_string()));
        let missing = self.no_images.map(|why| notice("warning", &format!("There are no images to show: {why}.")));
        let missing = missing.unwrap_or_default();
        format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
             <meta name=\"viewport\" content=\"width=device-width\"><link rel=\"stylesheet\" href=\"/view.css\">\
             <script src=\"/view.js\" defer></script></head><body><header><nav aria-label=\"Pages\">{links}</nav>\
             <span class=\"id\">{folder}</span></header><main><h1>{title}</h1>{missing}{body}</main></body></html>\n"
        )
    }

    /// The address of a picture; `drawn` is the round whose model's belief is drawn over it.
    fn picture(&self, position: u32, side: u32, drawn: Option<usize>) -> String {
        let drawn = drawn.map_or_else(String::new, |round| format!("&amp;drawn={}", round + 1));
        format!("/picture?at={position}&amp;side={side}{drawn}&amp;v={}", self.version)
    }

    /// A small picture of an image, or its place where it is not in the pool.
    fn thumbnail(&self, position: Option<u32>, id: &str, drawn: Option<usize>) -> String {
        match position {
            None => "<span class=\"none\">not in the pool</span>".to_owned(),
            Some(position) => {
                let (address, id) = (self.picture(position, SIDES[0], drawn), escape(id));
                format!("<img src=\"{address}\" alt=\"{id}\" loading=\"lazy\" decoding=\"async\">")
            }
        }
    }

    /// A large one, which opens a larger one; small pictures are shown with their pixels to see.
    fn large(&self, position: Option<u32>, id: &str, drawn: Option<usize>) -> String {
        let Some(position) = position else { return "<p class=\"none\">This image is not in the pool.</p>".to_owned() };
        let (own, larger) = (self.picture(position, SIDES[1], drawn), self.picture(position, SIDES[2], drawn));
        format!("<a class=\"large\" href=\"{larger}\"><img src=\"{own}\" alt=\"{}\"></a>", escape(id))
    }
}

/// A page that says what went wrong.
pub(super) fn problem(title: &str, text: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title><link rel=\"stylesheet\" \
         href=\"/view.css\"></head><body><main><h1>{0}</h1><p>{1}</p><p><a href=\"/\">Back</a></p></main></body></html>\n",
        escape(title),
        escape(text)
    )
}

/// A sentence that stands out.
fn notice(kind: &str, text: &str) -> String {
    format!("<p class=\"box {kind}\" role=\"status\">{}</p>", escape(text))
}

/// How an influence is to be read, as a paragraph.
fn sign() -> String {
    let mut text = SIGN.to_owned();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    format!("<p class=\"note\">{}.</p>", escape(&text))
}

/// A key for each class: its own name where that is one sign, else the next one that is free.
fn keys(classes: &[String]) -> Vec<Option<char>> {
    let own = |class: &String| match class.chars().collect::<Vec<_>>()[..] {
        [sign] if KEYS.contains(sign.to_ascii_lowercase()) => Some(sign.to_ascii_lowercase()),
        _ => None,
    };
    let mut taken: Vec<char> = Vec::new();
    let mut found: Vec<Option<char>> = Vec::new();
    for class in classes {
        let key = own(class).filter(|key| !taken.contains(key));
        taken.extend(key);
        found.push(key);
    }
    let mut free = KEYS.chars().filter(|key| !taken.contains(key));
    found.into_iter().map(|key| key.or_else(|| free.next())).collect()
}

/// A form that labels one image. `hidden` says which one, and where to go on; `believed` is the class that the model believes.
fn form(labels: &Labels, offer: &Offer, hidden: &str, said: Option<&str>, believed: Option<&str>) -> String {
    let mut html = format!("<form method=\"post\" action=\"/label\" class=\"labels\">{hidden}");
    let pressed = |label: &str| if said == Some(label) { " aria-pressed=\"true\"" } else { "" };
    let mut button = |name: &str, value: &str, key: Option<&str>, text: &str, pressed: &str| {
        let (value, text) = (escape(value), escape(text));
        let (data, shown) = match key {
            None => (String::new(), String::new()),
            Some(key) => (format!(" data-key=\"{key}\""), format!("<kbd>{}</kbd> ", key.to_lowercase())),
        };
        let _ = write!(html, "<button name=\"{name}\" value=\"{value}\"{data}{pressed}>{shown}{text}</button>");
    };
    if let Some(class) = believed {
        button("label", class, Some("Enter"), &format!("{class}, as the model believes"), "");
    }
    if offer.classes.len() <= BUTTONS {
        for (class, key) in offer.classes.iter().zip(keys(&offer.classes)) {
            let key = key.map(String::from);
            button("label", class, key.as_deref(), class, pressed(class));
        }
    }
    button("do", "skip", Some("s"), &offer.skip, pressed(&offer.skip));
    if !labels.said.is_empty() {
        button("do", "undo", Some("u"), "take the last label back", "");
    }
    html += "</form>";
    if offer.classes.len() > BUTTONS {
        let _ = write!(
            html,
            "<form method=\"post\" action=\"/label\" class=\"labels\">{hidden}<label>Class <input name=\"label\" \
             list=\"classes\" autocomplete=\"off\" autofocus required></label><button>Label</button><datalist id=\"classes\">"
        );
        for class in &offer.classes {
            let _ = write!(html, "<option value=\"{}\">", escape(class));
        }
        html += "</datalist></form>";
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_their_own_keys_and_words_get_the_next_that_is_free() {
        let of = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            keys(&names).into_iter().map(|key| key.unwrap_or('-')).collect::<String>()
        };
        assert_eq!(of(&["0", "1", "2", "9"]), "0129");
        assert_eq!(of(&["cat", "dog", "1", "bird"]), "2314");
        // What means something else on the page is no key of a class.
        assert_eq!(of(&["s", "u", "A"]), "12a");
        let many: Vec<String> = (0..40).map(|class| format!("class {class}")).collect();
        let found = keys(&many);
        assert_eq!((found[33], found[32]), (None, Some('m')));
    }
}
