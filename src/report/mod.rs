//! What a person looks at after a sweep: one self-contained HTML page.
//!
//! It says what to do first, then shows the selected images as thumbnails in rank order, the distribution of influence
//! over the pool with the selected part marked, and what classes the model takes the images for. How the numbers were
//! found is folded away at the end. The page loads nothing from anywhere.

mod curve;
mod histogram;
mod summary;

pub use curve::Curve;
pub use histogram::{Extent, Histogram};
pub use summary::{Summary, figure, grouped};

use crate::scores::SIGN;
use base64::Engine as _;
use indexmap::IndexMap;
use std::fmt::Write as _;

/// A table of more classes than this is folded.
const CLASSES_IN_SIGHT: usize = 20;

/// Most thumbnails a page shows.
pub const THUMBNAILS: usize = 200;

/// One selected image on the page.
#[derive(Debug, Clone)]
pub struct Picture {
    /// Sample id.
    pub id: String,
    /// Place in the selection, from 1.
    pub rank: usize,
    /// What the model takes it for.
    pub caption: String,
    /// Influence, where the strategy has one.
    pub influence: Option<f64>,
    /// The image as PNG bytes; `None` where it could not be decoded again.
    pub png: Option<Vec<u8>>,
}

/// What the page shows.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// What to do and what was found, in sentences.
    pub summary: Summary,
    /// Selected images in rank order, the first [`THUMBNAILS`] of them.
    pub pictures: Vec<Picture>,
    /// Influence over the pool and over the selection; absent when the strategy has none.
    pub histogram: Option<Histogram>,
    /// How many of each pseudo-label: in the pool, and in the selection.
    pub classes: IndexMap<String, (usize, usize)>,
    /// Where the numbers come from.
    pub provenance: IndexMap<String, String>,
}

const STYLE: &str = "\
:root{color-scheme:light dark;--text:#1b1f24;--back:#fff;--soft:#57606a;--line:#d0d7de;--panel:#f6f8fa;--pool:#b6c2cf;--chosen:#bc4c00;--warn:#fff8e1;--edge:#d4a72c}\
@media(prefers-color-scheme:dark){:root{--text:#e6edf3;--back:#0d1117;--soft:#9198a1;--line:#30363d;--panel:#161b22;--pool:#57606a;--chosen:#f0883e;--warn:#2b2410;--edge:#9e6a03}}\
body{font:16px/1.55 system-ui,sans-serif;max-width:70rem;margin:2.5rem auto;padding:0 1.25rem;color:var(--text);background:var(--back)}\
h1{font-size:1.9rem;line-height:1.2;margin:0 0 1rem}h2{font-size:1.2rem;margin:2.5rem 0 .5rem}\
p{max-width:46rem;margin:.5rem 0}.lead{font-size:1.15rem}.note,summary{color:var(--soft)}.note{font-size:.9rem}\
.box{max-width:44rem;margin:1rem 0;padding:.6rem 1rem;border-left:4px solid var(--line);background:var(--panel)}.warning{background:var(--warn);border-color:var(--edge)}\
table{border-collapse:collapse;font-size:.95rem}td,th{padding:.15rem 1.2rem .15rem 0;text-align:left;vertical-align:top;overflow-wrap:anywhere}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}td.key{white-space:nowrap}\
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(8rem,1fr));gap:1rem}\
figure{margin:0;font-size:.8rem;line-height:1.4}figure img{display:block;width:100%;aspect-ratio:1;object-fit:contain;image-rendering:pixelated;border:1px solid var(--line);background:var(--panel);box-sizing:border-box;border-radius:4px}\
figcaption{margin-top:.3rem;overflow-wrap:anywhere}code{font:.9em ui-monospace,monospace}.id,td code{font-size:.75rem;color:var(--soft)}.id{font-family:ui-monospace,monospace}.id{display:block}\
summary{cursor:pointer}i.key{display:inline-block;width:.8em;height:.8em;margin-right:.35em}i.pool{background:var(--pool)}i.chosen{background:var(--chosen)}\
svg{display:block;width:100%;margin-top:.5rem}svg text{fill:var(--soft);font-size:13px}rect.pool{fill:var(--pool)}rect.chosen{fill:var(--chosen)}";

impl Page {
    /// The page as HTML.
    pub fn html(&self) -> String {
        let mut page = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut page);
        page
    }

    fn write(&self, page: &mut String) -> std::fmt::Result {
        let title = escape(&self.summary.headline);
        write!(page, "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>")?;
        write!(page, "<meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style><h1>{title}</h1>")?;
        self.write_summary(page)?;
        if !self.pictures.is_empty() {
            self.write_pictures(page)?;
        }
        if let Some(histogram) = &self.histogram {
            write!(page, "<h2>Influence over the pool</h2><p class=\"note\">{}.</p>", escape(SIGN))?;
            page.push_str(&histogram.svg());
        }
        if !self.classes.is_empty() {
            self.write_classes(page)?;
        }
        self.write_details(page)?;
        writeln!(page, "</html>")
    }

    fn write_summary(&self, page: &mut String) -> std::fmt::Result {
        for (place, sentence) in self.summary.findings.iter().enumerate() {
            let class = if place == 0 { " class=\"lead\"" } else { "" };
            write!(page, "<p{class}>{}</p>", prose(sentence))?;
        }
        if !self.summary.next.is_empty() {
            write!(page, "<p class=\"box\"><b>Next:</b> {}</p>", prose(&self.summary.next))?;
        }
        for warning in &self.summary.warnings {
            write!(page, "<p class=\"box warning\"><b>Warning:</b> {}</p>", prose(warning))?;
        }
        Ok(())
    }

    fn write_pictures(&self, page: &mut String) -> std::fmt::Result {
        write!(page, "<h2>The images, the first to label first</h2><p class=\"note\">Under each: its rank, ")?;
        write!(page, "what the model takes it for and how sure it is, its influence, its name.</p>")?;
        write!(page, "<div class=\"grid\">")?;
        for picture in &self.pictures {
            let id = escape(&picture.id);
            write!(page, "<figure>")?;
            if let Some(png) = &picture.png {
                let data = base64::engine::general_purpose::STANDARD.encode(png);
                write!(page, "<img alt=\"{id}\" src=\"data:image/png;base64,{data}\">")?;
            }
            write!(page, "<figcaption><b>{}.</b> {}", picture.rank, escape(&picture.caption))?;
            if let Some(influence) = picture.influence {
                write!(page, "<br>influence {}", figure(influence))?;
            }
            write!(page, "<span class=\"id\">{id}</span></figcaption></figure>")?;
        }
        write!(page, "</div>")
    }

    fn write_classes(&self, page: &mut String) -> std::fmt::Result {
        let open = if self.classes.len() <= CLASSES_IN_SIGHT { " open" } else { "" };
        write!(
            page,
            "<h2>What the model takes the images for</h2><details{open}><summary>{} classes",
            self.classes.len()
        )?;
        write!(page, "</summary><table><tr><th>class<th class=\"n\">in the pool<th class=\"n\">selected</tr>")?;
        for (class, (pool, selected)) in &self.classes {
            let (class, pool, selected) = (escape(class), grouped(*pool), grouped(*selected));
            write!(page, "<tr><td>{class}<td class=\"n\">{pool}<td class=\"n\">{selected}</tr>")?;
        }
        write!(page, "</table></details>")
    }

    fn write_details(&self, page: &mut String) -> std::fmt::Result {
        write!(page, "<h2>How these numbers were found</h2><details><summary>method, files and settings</summary>")?;
        for sentence in &self.summary.details {
            write!(page, "<p>{}</p>", prose(sentence))?;
        }
        write!(page, "<table>")?;
        for (key, value) in &self.provenance {
            write!(page, "<tr><td class=\"key\">{}<td><code>{}</code></tr>", escape(key), escape(value))?;
        }
        write!(page, "</table></details>")
    }
}

/// A sentence, with what stands between backticks as code.
fn prose(text: &str) -> String {
    let safe = escape(text);
    if !safe.matches('`').count().is_multiple_of(2) {
        return safe;
    }
    let part = |(i, part): (usize, &str)| if i % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() };
    safe.split('`').enumerate().map(part).collect()
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            _ => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_from_untrusted_pools_cannot_inject_markup() {
        let picture = Picture {
            id: "<script>alert(1)</script>\"onerror=".into(),
            rank: 1,
            caption: "<b>".into(),
            influence: Some(-1.0),
            png: Some(vec![1, 2, 3]),
        };
        let page = Page { pictures: vec![picture], ..Page::default() }.html();
        assert!(!page.contains("<script") && !page.contains("\"onerror"), "{page}");
        assert!(page.contains("data:image/png;base64,AQID"));
    }

    #[test]
    fn what_stands_between_backticks_is_code_and_still_escaped() {
        assert_eq!(prose("`--budget 2` < 3"), "<code>--budget 2</code> &lt; 3");
        assert_eq!(prose("an `<odd> one"), "an `&lt;odd&gt; one");
    }

    #[test]
    fn the_page_states_the_sign_wherever_it_shows_influence() {
        let mut extent = Extent::expecting(3);
        [-1.0, 0.0, 2.0].iter().for_each(|value| extent.add(*value));
        let page = Page { histogram: Some(extent.bars()), ..Page::default() }.html();
        assert!(page.contains("more negative influence"));
        let without = Page::default().html();
        assert!(!without.contains("<svg"));
    }
}
