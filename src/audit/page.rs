//! An audit as a page of HTML that loads nothing, with its drawing.

use super::{Agreement, Audit, AuditError, Datamodel};
use crate::durable;
use crate::report::{Curve, Line, escape, opening, prose, sentences};
use std::path::Path;

/// Writes `audit.json` and `audit.html` into `folder`, and `audit.svg` where models were trained.
///
/// # Errors
/// When a file cannot be written.
pub fn write(audit: &Audit, folder: &Path) -> Result<(), AuditError> {
    durable::make_folder(folder)?;
    // An audit has no key that is no text; what is not finite becomes null.
    let json = serde_json::to_vec_pretty(audit).unwrap_or_default();
    durable::write_bytes(&folder.join("audit.json"), &json)?;
    if let Some(found) = &audit.datamodel {
        durable::write_bytes(&folder.join("audit.svg"), svg(found).as_bytes())?;
    }
    Ok(durable::write_bytes(&folder.join("audit.html"), html(audit).as_bytes())?)
}

fn html(audit: &Audit) -> String {
    let mut page = opening(&audit.summary.headline);
    page += &sentences(&audit.summary);
    if let Some(found) = &audit.datamodel {
        page += &format!("<h2>Trainings on halves of the labelled images</h2><div class=\"plot\">{}</div>", svg(found));
    }
    page += "<h2>The order of the pool under other choices</h2>";
    page += &table(audit);
    page += "<h2>How these numbers were found</h2>";
    page += &audit.summary.details.iter().map(|line| format!("<p>{}</p>", prose(line))).collect::<String>();
    page + "</html>\n"
}

fn table(audit: &Audit) -> String {
    let row = |about: &str, agreement: Option<Agreement>, refused: Option<&str>| {
        let spearman = agreement.and_then(|found| found.spearman).map_or("-".to_owned(), |found| format!("{found:.3}"));
        let stay = agreement.map_or("-".to_owned(), |found| format!("{:.0} %", 100.0 * found.lowest_tenth));
        let (about, refused) = (escape(about), escape(refused.unwrap_or_default()));
        format!("<tr><td>{about}<td class=\"n\">{spearman}<td class=\"n\">{stay}<td>{refused}</tr>")
    };
    let variants = audit.variants.iter();
    let rows: String = variants.map(|found| row(&found.about, found.agreement, found.refused.as_deref())).collect();
    let halves = row("one half of the reference images against the other", audit.halves.agreement, None);
    format!(
        "<table><tr><th>with<th class=\"n\">Spearman<th class=\"n\">lowest tenth that stays<th>no answer because</tr>{rows}{halves}</table>"
    )
}

/// The reference loss of every half, in the order that influence foretells: where it is right, the points rise.
fn svg(found: &Datamodel) -> String {
    let mut order: Vec<_> = found.halves.iter().collect();
    order.sort_by(|a, b| a.foretold.total_cmp(&b.foretold));
    let points = order.iter().zip(1..).flat_map(|(half, rank)| {
        half.losses.iter().filter(|loss| loss.is_finite()).map(move |loss| (f64::from(rank), *loss))
    });
    let line = Line { points: points.collect(), scattered: true, ..Line::default() };
    let score = found.score.map_or_else(String::new, |score| format!(", score {score:.2}"));
    let title = format!("reference loss after training on half of the labels{score}");
    let across = "halves, the lowest loss foretold by influence first";
    Curve { title, across, up: "reference loss".to_owned(), lines: vec![line] }.svg()
}

#[cfg(test)]
mod tests {
    use super::super::Retrained;
    use super::*;

    #[test]
    fn halves_are_drawn_in_the_order_that_is_foretold() {
        let half = |foretold: f64, losses: [f64; 2]| Retrained { foretold, losses: losses.to_vec() };
        let found = Datamodel {
            images: 20,
            trainings: 2,
            halves: vec![half(0.5, [2.0, 2.0]), half(-0.5, [1.0, f64::NAN])],
            score: Some(1.0),
            interval: None,
            bound: None,
            seconds_a_training: 1.0,
        };
        let svg = svg(&found);
        assert!(svg.contains("<title>1: 1.00</title>") && svg.contains("<title>2: 2.00</title>"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 3, "{svg}");
    }
}
