//! An audit in words and in a table of text.

use super::datamodel::LEAST_HALVES;
use super::{Agreement, Audit, Datamodel, Halves, Variant};
use crate::report::{Summary, figure};
use crate::scores::SIGN;
use std::fmt::Write as _;

/// Orders that correlate less than this are not the same order to anyone who selects by them.
const ALIKE: f64 = 0.9;
/// A share of the lowest tenth below which a selection would be mostly another one.
const STAYS: f64 = 0.7;
/// Fewer halves than this leave an interval too wide to go by.
const ENOUGH_HALVES: usize = 30;

/// What the trainings say of the influences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Borne,
    NotShown,
    Contradicted,
    TooFew,
}

impl Verdict {
    fn of(datamodel: &Datamodel) -> Verdict {
        match datamodel.interval {
            None => Verdict::TooFew,
            Some([low, _]) if low > 0.0 => Verdict::Borne,
            Some([_, high]) if high < 0.0 => Verdict::Contradicted,
            Some(_) => Verdict::NotShown,
        }
    }
}

/// What an audit comes to, in sentences.
pub(super) fn summary(audit: &Audit) -> Summary {
    let shaky: Vec<&Variant> =
        audit.variants.iter().filter(|variant| is_judged(variant) && is_shaky(variant)).collect();
    let headline = match audit.datamodel.as_ref().map(Verdict::of) {
        Some(Verdict::Borne) => "Trainings bear these influences out",
        Some(Verdict::NotShown) => "Trainings do not show that these influences foretell anything",
        Some(Verdict::Contradicted) => "Trainings contradict these influences",
        Some(Verdict::TooFew) => "Too few trainings to tell whether these influences are true",
        None if shaky.is_empty() && audit.solve.converged => "The order of the images stands under other choices",
        None => "The order of the images hangs on choices that nothing decides",
    };
    let mut findings: Vec<String> = audit.datamodel.iter().map(of_trainings).collect();
    findings.push(of_solve(audit));
    findings.extend(of_choices(&audit.variants));
    findings.extend(of_halves(&audit.halves));
    Summary {
        headline: headline.to_owned(),
        findings,
        next: next(audit),
        warnings: warnings(audit, &shaky),
        details: details(audit),
    }
}

/// Whether a variant is another answer to the same question: similarity of gradients is not, it shows what the curvature is worth.
fn is_judged(variant: &Variant) -> bool {
    variant.name != "no-curvature"
}

fn is_shaky(variant: &Variant) -> bool {
    variant.agreement.is_some_and(|agreement| {
        agreement.spearman.is_none_or(|spearman| spearman < ALIKE) || agreement.lowest_tenth < STAYS
    })
}

fn of_trainings(datamodel: &Datamodel) -> String {
    let Datamodel { halves, trainings, images, .. } = datamodel;
    let of = format!("{} random halves of the labelled images ({images} each, {})", halves.len(), counted(*trainings));
    let bound = datamodel.bound.map_or_else(String::new, |bound| {
        format!(" Trainings on the same half differ among themselves so much that no prediction could score above about {bound:.2}.")
    });
    match (datamodel.score, datamodel.interval) {
        (Some(score), Some([low, high])) => format!(
            "Linear datamodelling score {score:.2} (95 %: {low:.2} to {high:.2}): how well sums of influences foretell the order of the reference loss over {of}; 1 is perfect, 0 is chance.{bound}"
        ),
        _ => format!("No linear datamodelling score: {of} are too few, or all ended alike; it takes {LEAST_HALVES}."),
    }
}

fn counted(trainings: usize) -> String {
    if trainings == 1 { "one training".to_owned() } else { format!("{trainings} trainings") }
}

fn of_solve(audit: &Audit) -> String {
    let solve = &audit.solve;
    let mut text = format!(
        "`{}` left a residual of {:.1e} at lambda {}",
        solve.options.solver(),
        solve.residual,
        figure(solve.lambda)
    );
    if let Some(held_out) = solve.held_out_residual {
        let _ = write!(text, ", and of {held_out:.1e} on the curvature of the reference images");
    }
    match &solve.settled {
        Some(settled) => {
            let _ = write!(text, "; {settled}");
        }
        None if !solve.converged => text.push_str("; it did not converge"),
        None => {}
    }
    text + "."
}

fn of_choices(variants: &[Variant]) -> Option<String> {
    let words = |variant: &Variant| {
        let agreement = variant.agreement?;
        Some(format!("{} ({})", variant.about, agreement_in_words(&agreement)))
    };
    let found: Vec<String> = variants.iter().filter_map(words).collect();
    (!found.is_empty()).then(|| format!("The order of the pool against that with {}.", found.join("; with ")))
}

fn agreement_in_words(agreement: &Agreement) -> String {
    let stay = 100.0 * agreement.lowest_tenth;
    match agreement.spearman {
        Some(spearman) => format!("Spearman {spearman:.3}, {stay:.0} % of the lowest tenth stay"),
        None => format!("no correlation to be had, {stay:.0} % of the lowest tenth stay"),
    }
}

fn of_halves(halves: &Halves) -> Option<String> {
    let agreement = halves.agreement?;
    let [first, second] = halves.images;
    let whole = halves.whole.map_or_else(String::new, |whole| {
        format!("; the whole set would correlate at about {whole:.2} with another as large")
    });
    Some(format!(
        "Two halves of the reference images ({first} and {second}) put the pool in orders that agree so much: {}{whole}.",
        agreement_in_words(&agreement)
    ))
}

fn next(audit: &Audit) -> String {
    let reference = audit.halves.whole.is_some_and(|whole| whole < ALIKE);
    match audit.datamodel.as_ref().map(Verdict::of) {
        Some(Verdict::Contradicted | Verdict::NotShown) => {
            "select by something else, such as `isal select` (influence-batch), `margin` or `random`, or find out why: a model \
             that fits its labels badly, too few labelled images, another training than the model's own"
        }
        Some(Verdict::TooFew) => "give more time with `--time`",
        _ if reference => "add reference images: what is selected still hangs on which ones they are",
        None => "give `--time` to hold the influences against trainings",
        Some(Verdict::Borne) => "select: `isal score pool` with the same options",
    }
    .to_owned()
}

fn warnings(audit: &Audit, shaky: &[&Variant]) -> Vec<String> {
    let mut warnings = Vec::new();
    if !audit.solve.converged {
        warnings.push("the solver had not converged: give it more iterations, or a larger damping.".to_owned());
    }
    for variant in shaky {
        warnings.push(format!("the order of the pool is another one with {}.", variant.about));
    }
    for variant in &audit.variants {
        if let Some(reason) = &variant.refused {
            warnings.push(format!("no answer with {}: {reason}.", variant.about));
        }
    }
    match audit.halves.whole {
        Some(whole) if whole < ALIKE => warnings.push(format!(
            "{} reference images are few: the order hangs on which ones they are (agreement {whole:.2}).",
            audit.reference
        )),
        None => {
            warnings.push("the reference set could not be divided into two halves that both have an answer.".to_owned())
        }
        Some(_) => {}
    }
    let halves = audit.datamodel.as_ref().map_or(0, |found| found.halves.len());
    if (LEAST_HALVES..ENOUGH_HALVES).contains(&halves) {
        warnings.push(format!("{halves} halves make a wide interval; `--time` gives it more."));
    }
    warnings
}

fn details(audit: &Audit) -> Vec<String> {
    let mut details = vec![
        format!("{SIGN}."),
        format!(
            "{} images of the pool, {} labelled images, {} reference images.",
            audit.images, audit.labelled, audit.reference
        ),
        "Orders are compared by Spearman's rank correlation, and by the share of the lowest tenth of the one that is in the lowest tenth of the other. The correlation of two halves of the reference set is lengthened to the whole by the formula of Spearman and Brown.".to_owned(),
    ];
    if let Some(found) = &audit.datamodel {
        details.push(format!(
            "The linear datamodelling score is that of TRAK (arXiv 2303.14186) over random halves of the labelled images: Spearman's correlation of the sum of their influences, each under its own label, with the mean reference loss over {} on each half; its interval is a percentile bootstrap over the halves. The bound is the root of the reliability of that mean. {:.1} s a training.",
            counted(found.trainings),
            found.seconds_a_training
        ));
    }
    details
}

/// The whole audit as text.
pub fn text(audit: &Audit) -> String {
    let mut text = format!("{}\n\n", audit.summary.headline);
    for line in audit.summary.main_lines() {
        text += &line;
        text.push('\n');
    }
    text += "\nHow these numbers were found:\n";
    for line in &audit.summary.details {
        let _ = writeln!(text, "  {line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datamodel(interval: Option<[f64; 2]>) -> Datamodel {
        Datamodel {
            images: 20,
            trainings: 2,
            halves: Vec::new(),
            score: interval.map(|[low, high]| f64::midpoint(low, high)),
            interval,
            bound: Some(0.8),
            seconds_a_training: 1.0,
        }
    }

    #[test]
    fn a_verdict_is_what_the_interval_says() {
        for (interval, expected) in [
            (Some([0.1, 0.5]), Verdict::Borne),
            (Some([-0.1, 0.5]), Verdict::NotShown),
            (Some([-0.5, -0.1]), Verdict::Contradicted),
            (None, Verdict::TooFew),
        ] {
            assert_eq!(Verdict::of(&datamodel(interval)), expected);
        }
        let words = of_trainings(&datamodel(Some([0.1, 0.5])));
        assert!(words.contains("0.30 (95 %: 0.10 to 0.50)") && words.contains("above about 0.80"), "{words}");
    }

    #[test]
    fn an_order_is_shaky_where_either_number_is_low() {
        let variant = |spearman, lowest_tenth| Variant {
            name: "lambda-tenth",
            about: "a tenth of the damping".to_owned(),
            agreement: Some(Agreement { images: 100, spearman, lowest_tenth }),
            refused: None,
            seconds: 0.0,
        };
        assert!(!is_shaky(&variant(Some(0.99), 0.9)));
        assert!(
            is_shaky(&variant(Some(0.8), 0.9)) && is_shaky(&variant(Some(0.99), 0.5)) && is_shaky(&variant(None, 1.0))
        );
    }
}
