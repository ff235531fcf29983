//! The frame of every page: one file of HTML that loads nothing, in the look of the house.

use super::Summary;

/// The look of the house.
pub(crate) const STYLE: &str = "\
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
svg{display:block;width:100%;margin-top:.5rem}svg text{fill:var(--soft);font-size:13px}rect.pool{fill:var(--pool)}rect.chosen{fill:var(--chosen)}\
.plot{max-width:48rem}.plot svg text{fill:#444}";

/// The beginning of a page with this heading; its end is `</html>`.
pub(crate) fn opening(title: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style><h1>{title}</h1>"
    )
}

/// Findings, what comes next, and warnings.
pub(crate) fn sentences(summary: &Summary) -> String {
    let mut html = String::new();
    for (place, sentence) in summary.findings.iter().enumerate() {
        let class = if place == 0 { " class=\"lead\"" } else { "" };
        html += &format!("<p{class}>{}</p>", prose(sentence));
    }
    if !summary.next.is_empty() {
        html += &format!("<p class=\"box\"><b>Next:</b> {}</p>", prose(&summary.next));
    }
    for warning in &summary.warnings {
        html += &format!("<p class=\"box warning\"><b>Warning:</b> {}</p>", prose(warning));
    }
    html
}

/// A sentence, with what stands between backticks as code.
pub(crate) fn prose(text: &str) -> String {
    let safe = escape(text);
    if !safe.matches('`').count().is_multiple_of(2) {
        return safe;
    }
    let part = |(i, part): (usize, &str)| if i % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() };
    safe.split('`').enumerate().map(part).collect()
}

/// Text that means nothing to HTML or SVG.
pub(crate) fn escape(text: &str) -> String {
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
    fn what_stands_between_backticks_is_code_and_still_escaped() {
        assert_eq!(prose("`--budget 2` < 3"), "<code>--budget 2</code> &lt; 3");
        assert_eq!(prose("an `<odd> one"), "an `&lt;odd&gt; one");
    }
}
