//! The order of the pool under other choices than those that were made.

use super::agreement::{Agreement, Influences, lengthened};
use super::{AuditError, AuditOptions};
use crate::data::{HoldOut, Labelled, Split};
use crate::error_chain::in_one_line;
use crate::influence::{
    ConjugateGradient, Curvature, Damping, Identity, InfluenceError, Lissa, SolveReport, SolverOptions, Step,
};
use crate::observe::Observer;
use crate::scores::ScoreTable;
use crate::scoring::{ModelSource, ReferenceSet, ScoringError, score_pool};
use std::path::PathBuf;
use std::time::Instant;

/// The folder of the audited solve.
pub(super) const BASE: &str = "as-asked";
/// Fewer images make no order worth a number.
const LEAST_IMAGES: usize = 10;

/// The order of the pool under another choice.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Variant {
    /// Its name, that of its folder under `solves/` too.
    pub name: &'static str,
    /// What is other than in the audited solve.
    pub about: String,
    /// How much alike the orders are; absent where it could not be solved.
    pub agreement: Option<Agreement>,
    /// Why it could not be solved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Wall time.
    pub seconds: f64,
}

/// The orders by two halves of the reference set.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Halves {
    /// Images of each.
    pub images: [usize; 2],
    /// How much alike the orders are; absent where one could not be solved, or the set is too small to divide.
    pub agreement: Option<Agreement>,
    /// What the whole set would correlate at with another as large, by Spearman and Brown.
    pub whole: Option<f64>,
}

/// A solve, and what it says of the pool.
pub(super) struct Solved {
    pub(super) influences: Influences,
    /// The file of `s`.
    pub(super) vector: PathBuf,
}

/// The audited solve.
pub(super) fn base(options: &AuditOptions, observer: &dyn Observer) -> Result<Solved, AuditError> {
    observer.say("solving as asked");
    let solved = solved(options, options.source.clone(), BASE, observer)?;
    let images = solved.influences.iter().filter(|(_, influence)| influence.is_finite()).count();
    if images < LEAST_IMAGES {
        return Err(AuditError::FewImages { images, least: LEAST_IMAGES });
    }
    Ok(solved)
}

/// The order under other solvers and dampings against that of `base`, and by halves of the reference set against each other.
pub(super) fn others(
    options: &AuditOptions,
    base: &Solved,
    report: &SolveReport,
    observer: &dyn Observer,
) -> Result<(Vec<Variant>, Halves), AuditError> {
    let mut variants = Vec::new();
    for (name, about, solver) in choices(report) {
        observer.say(&format!("solving with {about}"));
        let began = Instant::now();
        let source = ModelSource { solver, ..options.source.clone() };
        let (agreement, refused) = match answered(solved(options, source, name, observer))? {
            Ok(solved) => (Some(Agreement::of(&base.influences, &solved.influences)), None),
            Err(reason) => (None, Some(reason)),
        };
        variants.push(Variant { name, about, agreement, refused, seconds: began.elapsed().as_secs_f64() });
    }
    let halves = halves(options, report, observer)?;
    Ok((variants, halves))
}

/// What else could have been chosen: name, words, solver.
fn choices(report: &SolveReport) -> Vec<(&'static str, String, SolverOptions)> {
    let (asked, lambda, curvature) = (&report.options, report.lambda, report.curvature);
    let at = |factor: f64| asked.damped(factor * lambda);
    let fixed = Damping::Fixed(lambda);
    let gradient = ConjugateGradient { damping: fixed, ..ConjugateGradient::default() };
    let by_gradient = |curvature: Curvature| match curvature {
        Curvature::Hessian => SolverOptions::CgHessian(gradient.clone()),
        Curvature::EmpiricalFisher => SolverOptions::CgFisher(gradient.clone()),
        Curvature::GaussNewton => SolverOptions::CgGaussNewton(gradient.clone()),
    };
    let mut choices = vec![
        ("lambda-tenth", "a tenth of the damping".to_owned(), at(0.1)),
        ("lambda-tenfold", "ten times the damping".to_owned(), at(10.0)),
    ];
    let same = "the same matrix and damping by";
    choices.push(match asked {
        SolverOptions::Lissa(_) => {
            ("solver", format!("{same} conjugate gradient instead of LiSSA"), by_gradient(curvature))
        }
        _ => {
            let lissa = Lissa { curvature, step: Step::Automatic { damping: fixed }, ..Lissa::default() };
            ("solver", format!("{same} LiSSA instead of `{}`", asked.solver()), SolverOptions::Lissa(lissa))
        }
    });
    let (other, words) = match curvature {
        Curvature::GaussNewton => (Curvature::Hessian, "the Hessian instead of the Gauss-Newton matrix"),
        Curvature::Hessian => (Curvature::GaussNewton, "the Gauss-Newton matrix instead of the Hessian"),
        Curvature::EmpiricalFisher => {
            (Curvature::GaussNewton, "the Gauss-Newton matrix instead of the empirical Fisher matrix")
        }
    };
    choices.push(("curvature", words.to_owned(), by_gradient(other)));
    let none = SolverOptions::Identity(Identity { damping: fixed });
    choices.push(("no-curvature", "no curvature at all: similarity of gradients".to_owned(), none));
    choices.retain(|(.., solver)| solver != asked);
    choices
}

/// The orders by two halves of the reference set, each class by its share, at the damping of the whole.
fn halves(options: &AuditOptions, report: &SolveReport, observer: &dyn Observer) -> Result<Halves, AuditError> {
    let reference = Split::<Labelled>::new(options.reference()?.clone())?;
    let Ok((first, second)) = reference.hold_out(HoldOut::Fraction(0.5), options.seed) else {
        return Ok(Halves { images: [reference.len(), 0], agreement: None, whole: None });
    };
    let images = [first.len(), second.len()];
    let solve = |half, name| {
        observer.say(&format!("solving with half of the reference images ({name})"));
        let (reference, solver) = (ReferenceSet::Given(half), report.options.damped(report.lambda));
        let source = ModelSource { reference, solver, ..options.source.clone() };
        answered(solved(options, source, name, observer))
    };
    let first = solve(first.dataset().clone(), "reference-half-1")?;
    let second = solve(second.dataset().clone(), "reference-half-2")?;
    let agreement = match (first, second) {
        (Ok(first), Ok(second)) => Some(Agreement::of(&first.influences, &second.influences)),
        _ => None,
    };
    let whole = agreement.and_then(|agreement| agreement.spearman).map(|spearman| lengthened(spearman.max(0.0), 2.0));
    Ok(Halves { images, agreement, whole })
}

/// Solves, and sweeps the pool with it.
fn solved(
    options: &AuditOptions,
    source: ModelSource,
    name: &str,
    observer: &dyn Observer,
) -> Result<Solved, AuditError> {
    let scoring = options.scoring(source, name);
    score_pool(&scoring, observer)?;
    let table = ScoreTable::read_parquet(&scoring.out.join("scores.parquet"))?;
    let influences = table.rows.into_iter().map(|row| (row.id, row.influence.unwrap_or(f64::NAN))).collect();
    Ok(Solved { influences, vector: scoring.out.join("s.safetensors") })
}

/// A solve, or the words of a solver that has no answer; other errors are errors.
fn answered(solved: Result<Solved, AuditError>) -> Result<Result<Solved, String>, AuditError> {
    use InfluenceError::{Diverged, NonFinite, NotConverged, NotPositiveDefinite, ZeroCurvature};
    let failed = match solved {
        Ok(solved) => return Ok(Ok(solved)),
        Err(AuditError::Scoring(failed)) => failed,
        Err(error) => return Err(error),
    };
    match *failed {
        ScoringError::Influence(
            error @ (Diverged { .. }
            | NonFinite { .. }
            | NotConverged { .. }
            | NotPositiveDefinite { .. }
            | ZeroCurvature { .. }),
        ) => Ok(Err(in_one_line(&error))),
        other => Err(other.into()),
    }
}
