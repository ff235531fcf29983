//! What a person looks at after a sweep: one self-contained HTML page.
//!
//! It says what to do first, then shows the selected images as thumbnails in rank order, the distribution of influence
//! over the pool with the selected part marked, and what classes the model takes the images for. How the numbers were
//! found is folded away at the end. The page loads nothing from anywhere.

mod curve;
mod document;
mod histogram;
mod summary;

pub use curve::{Curve, Line};
pub(crate) use document::{STYLE, escape, opening, prose, sentences};
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

impl Page {
    /// The page as HTML.
    pub fn html(&self) -> String {
        let mut page = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut page);
        page
    }

    fn write(&self, page: &mut String) -> std::fmt::Result {
        page.push_str(&opening(&self.summary.headline));
        page.push_str(&sentences(&self.summary));
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
    fn the_page_states_the_sign_wherever_it_shows_influence() {
        let mut extent = Extent::expecting(3);
        [-1.0, 0.0, 2.0].iter().for_each(|value| extent.add(*value));
        let page = Page { histogram: Some(extent.bars()), ..Page::default() }.html();
        assert!(page.contains("more negative influence"));
        let without = Page::default().html();
        assert!(!without.contains("<svg"));
    }
}
