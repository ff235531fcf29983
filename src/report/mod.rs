//! What a person looks at after a sweep: one self-contained HTML page.
//!
//! Selected images as thumbnails in rank order, the distribution of influence over the pool with the selected
//! part marked, what the classes of the selection are, and where every number comes from. The page loads
//! nothing from anywhere.

mod histogram;

pub use histogram::{Extent, Histogram};

use crate::scores::SIGN;
use base64::Engine as _;
use indexmap::IndexMap;
use std::fmt::Write as _;

/// Most thumbnails a page shows.
pub const THUMBNAILS: usize = 200;

/// One selected image on the page.
#[derive(Debug, Clone)]
pub struct Picture {
    /// Sample id.
    pub id: String,
    /// Place in the selection, from 1.
    pub rank: usize,
    /// Name of the pseudo-label.
    pub pseudo_label: String,
    /// Probability of it.
    pub confidence: f64,
    /// Influence, where the strategy has one.
    pub influence: Option<f64>,
    /// The image as PNG bytes; `None` where it could not be decoded again.
    pub png: Option<Vec<u8>>,
}

/// What the page shows.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Heading.
    pub title: String,
    /// What was found, in sentences.
    pub summary: Vec<String>,
    /// Selected images in rank order, the first [`THUMBNAILS`] of them.
    pub pictures: Vec<Picture>,
    /// Influence over the pool and over the selection; absent when the strategy has none.
    pub histogram: Option<Histogram>,
    /// How many of each pseudo-label: in the pool, and in the selection.
    pub classes: IndexMap<String, (usize, usize)>,
    /// Where the numbers come from.
    pub provenance: IndexMap<String, String>,
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}\
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse}td,th{padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top}\
td.n{text-align:right;font-variant-numeric:tabular-nums}.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(7.5rem,1fr));gap:.8rem}\
figure{margin:0;font-size:12px}figure img{width:100%;image-rendering:pixelated;border:1px solid #d0d7de;background:#f6f8fa}\
figcaption{overflow-wrap:anywhere}code{font-size:12px}.note{color:#57606a}";

impl Page {
    /// The page as HTML.
    pub fn html(&self) -> String {
        let mut page = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut page);
        page
    }

    fn write(&self, page: &mut String) -> std::fmt::Result {
        let title = escape(&self.title);
        write!(page, "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>")?;
        write!(page, "<meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style><h1>{title}</h1>")?;
        for sentence in &self.summary {
            write!(page, "<p>{}</p>", escape(sentence))?;
        }
        if let Some(histogram) = &self.histogram {
            write!(page, "<h2>Influence over the pool</h2><p class=\"note\">{}.</p>", escape(SIGN))?;
            page.push_str(&histogram.svg());
        }
        if !self.pictures.is_empty() {
            self.write_pictures(page)?;
        }
        if !self.classes.is_empty() {
            write!(page, "<h2>Pseudo-labels</h2><table><tr><th>class<th>pool<th>selected</tr>")?;
            for (class, (pool, selected)) in &self.classes {
                write!(page, "<tr><td>{}<td class=\"n\">{pool}<td class=\"n\">{selected}</tr>", escape(class))?;
            }
            write!(page, "</table>")?;
        }
        write!(page, "<h2>Where the numbers come from</h2><table>")?;
        for (key, value) in &self.provenance {
            write!(page, "<tr><td>{}<td><code>{}</code></tr>", escape(key), escape(value))?;
        }
        writeln!(page, "</table></html>")
    }

    fn write_pictures(&self, page: &mut String) -> std::fmt::Result {
        write!(page, "<h2>Selected images, the most useful first</h2><div class=\"grid\">")?;
        for picture in &self.pictures {
            let id = escape(&picture.id);
            write!(page, "<figure>")?;
            if let Some(png) = &picture.png {
                let data = base64::engine::general_purpose::STANDARD.encode(png);
                write!(page, "<img alt=\"{id}\" src=\"data:image/png;base64,{data}\">")?;
            }
            write!(page, "<figcaption><b>{}.</b> {} ", picture.rank, escape(&picture.pseudo_label))?;
            write!(page, "{:.0} %", 100.0 * picture.confidence)?;
            if let Some(influence) = picture.influence {
                write!(page, "<br>influence {influence:.3e}")?;
            }
            write!(page, "<br><code>{id}</code></figcaption></figure>")?;
        }
        write!(page, "</div>")
    }
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
            pseudo_label: "<b>".into(),
            confidence: 0.5,
            influence: Some(-1.0),
            png: Some(vec![1, 2, 3]),
        };
        let page = Page { pictures: vec![picture], ..Page::default() }.html();
        assert!(!page.contains("<script") && !page.contains("\"onerror"), "{page}");
        assert!(page.contains("data:image/png;base64,AQID"));
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
