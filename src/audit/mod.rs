//! How far to trust the influences of a model.
//!
//! Three questions, each with its own answer. Was `s` solved: its residual, and whether the order of the images still changed.
//! Does the order hang on choices that nobody can justify: the solver, the damping, which half of the reference images it is
//! measured on. And is it true: sums of influences against the reference loss after trainings on random halves of the labelled
//! images, the linear datamodelling score.
//!
//! Every solve is a folder of `score pool` and every training a file, so an audit that was stopped goes on where it was.

mod agreement;
mod datamodel;
mod error;
mod page;
mod variants;
mod wording;

pub use agreement::Agreement;
pub use datamodel::{Datamodel, Retrained, Retraining};
pub use error::AuditError;
pub use page::write;
pub use variants::{Halves, Variant};
pub use wording::text;

use crate::data::{Dataset, HoldOut, Labelled, Split};
use crate::durable::FolderLock;
use crate::influence::{SolveReport, SolvedVector};
use crate::observe::Observer;
use crate::report::Summary;
use crate::scores::SIGN;
use crate::scoring::{ModelSource, ReferenceSet, ScoreOptions, Source};
use std::path::PathBuf;

/// Version of the object that an audit leaves.
const SCHEMA: &str = "isal-audit/1";

/// What to audit, and how.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// The model with its labelled and reference images, and how `s` is solved.
    pub source: ModelSource,
    /// The images whose order is looked at and where things run, as for `score pool`; its own source, strategy, budget and
    /// folder are not.
    pub score: ScoreOptions,
    /// Decides the halves of the reference set and of the labelled images.
    pub seed: u64,
    /// How models are trained again; without it only the solve and the order are looked at.
    pub retraining: Option<Retraining>,
    /// Folder for everything that is written.
    pub out: PathBuf,
}

/// What an audit found.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Audit {
    /// Version of this object.
    pub schema: &'static str,
    /// How an influence is to be read.
    pub sign: &'static str,
    /// What it comes to, in sentences.
    pub summary: Summary,
    /// Images whose order was looked at.
    pub images: usize,
    /// Labelled images, without those of the reference set.
    pub labelled: usize,
    /// Images of the reference set.
    pub reference: usize,
    /// How `s` was solved.
    pub solve: SolveReport,
    /// The order under other choices, against the order as it is.
    pub variants: Vec<Variant>,
    /// The orders by two halves of the reference set, against each other.
    pub halves: Halves,
    /// Sums of influences against trainings.
    pub datamodel: Option<Datamodel>,
}

/// Looks at the solve, at the order under other choices, and at trainings on halves of the labelled images.
///
/// # Errors
/// [`AuditError`]. Whatever had finished is kept and not done again by the same call.
pub fn audit(options: &AuditOptions, observer: &dyn Observer) -> Result<Audit, AuditError> {
    let _lock = FolderLock::take(&options.out)?;
    let options = &with_reference(options)?;
    let base = variants::base(options, observer)?;
    let solved = SolvedVector::load(&base.vector).map_err(Box::new)?.provenance;
    let (variants, halves) = variants::others(options, &base, &solved.solve, observer)?;
    let datamodel = match &options.retraining {
        Some(retraining) => Some(datamodel::measure(options, retraining, &base, observer)?),
        None => None,
    };
    let mut audit = Audit {
        schema: SCHEMA,
        sign: SIGN,
        summary: Summary::default(),
        images: base.influences.len(),
        labelled: solved.labelled_samples,
        reference: solved.reference_samples,
        solve: solved.solve,
        variants,
        halves,
        datamodel,
    };
    audit.summary = wording::summary(&audit);
    Ok(audit)
}

/// The options with a reference set that is given, so that every solve and every training has the same.
fn with_reference(options: &AuditOptions) -> Result<AuditOptions, AuditError> {
    let mut options = options.clone();
    let Some(labelled) = &options.source.labelled else { return Err(AuditError::NoLabels) };
    if let ReferenceSet::HeldOut { fraction, seed } = options.source.reference {
        let (rest, reference) = labelled.hold_out(HoldOut::Fraction(fraction), seed)?;
        options.source.reference = ReferenceSet::Given(reference.dataset().clone());
        options.source.labelled = Some(rest);
    }
    Ok(options)
}

impl AuditOptions {
    /// The labelled images that are not of the reference set.
    fn labelled(&self) -> Result<&Split<Labelled>, AuditError> {
        self.source.labelled.as_ref().ok_or(AuditError::NoLabels)
    }

    /// The reference set, as [`with_reference`] has settled it.
    fn reference(&self) -> Result<&Dataset, AuditError> {
        match &self.source.reference {
            ReferenceSet::Given(reference) => Ok(reference),
            ReferenceSet::HeldOut { .. } => Err(AuditError::NoLabels),
        }
    }

    /// `score pool` of the same images from this source into this folder of the audit.
    fn scoring(&self, source: ModelSource, folder: &str) -> ScoreOptions {
        ScoreOptions {
            source: Source::Model(Box::new(source)),
            out: self.out.join("solves").join(folder),
            ..self.score.clone()
        }
    }
}
