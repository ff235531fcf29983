//! Rules that choose images jointly: what an image adds depends on those that are chosen or labelled already.
//!
//! A rule sees features of candidates, labelled images and targets, and the model's beliefs where it goes by them. The pool
//! is first cut to a shortlist, so that what a rule costs does not grow with the pool. A new rule is a file here that
//! implements [`Rule`], a variant of [`StrategyOptions`](super::StrategyOptions), a line of
//! [`STRATEGIES`](super::STRATEGIES) and a file under `configs/strategy/`.

mod badge;
mod beliefs;
mod conditioned;
mod core_set;
mod cover;
mod design;
mod distances;
mod embedded;
mod epig;
mod error;
mod factor;
mod fisher;
mod flqmi;
mod gaussian_process;
mod heads;
mod herding;
mod k_means;
mod lanes;
mod last_layer;
mod linear;
mod open;
mod posterior;
mod prob_cover;
mod projection;
mod radius;
mod shortlist;
mod small;
mod typiclust;

pub use badge::Badge;
pub use core_set::CoreSet;
pub use embedded::Embedded;
pub use epig::Epig;
pub use error::JointError;
pub use fisher::{Bait, InfluenceBatch};
pub use flqmi::{AlikeIn, Flqmi};
pub use gaussian_process::InfluenceKernel;
pub use herding::UncertaintyHerding;
pub use prob_cover::ProbCover;
pub use shortlist::{By, PoolTarget, Shortlist, Target};
pub use typiclust::TypiClust;

pub(super) use badge::ROW as BADGE;
pub(super) use core_set::ROW as CORE_SET;
pub(super) use epig::ROW as EPIG;
pub(super) use fisher::{BAIT, INFLUENCE_BATCH};
pub(super) use flqmi::ROW as FLQMI;
pub(super) use gaussian_process::ROW as INFLUENCE_KERNEL;
pub(super) use herding::ROW as UNCERTAINTY_HERDING;
pub(super) use prob_cover::ROW as PROB_COVER;
pub(super) use typiclust::ROW as TYPICLUST;

use super::filters::Gate;
use crate::observe::Observer;

/// Least candidates of rules that cost a distance for each of them and each image chosen, and no more.
const BY_DISTANCES: usize = 50_000;

/// What a rule chooses from, and what it goes by.
#[derive(Debug, Clone, Copy)]
pub struct Sets<'a> {
    /// The images to choose from.
    pub candidates: &'a Embedded,
    /// The labelled images.
    pub labelled: &'a Embedded,
    /// The images that the choice is to serve, for a rule with a [`Target`].
    pub target: Option<&'a Embedded>,
}

/// A chosen candidate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chosen {
    /// Its place among the candidates.
    pub place: usize,
    /// What it adds to those chosen before it, in the rule's own measure: the more the better.
    pub gain: f64,
}

/// A rule that chooses images jointly.
pub trait Rule {
    /// How the pool is cut to candidates, and the seed of what is drawn.
    fn shortlist(&self) -> (Shortlist, u64);

    /// Candidates where neither the budget nor the options ask for more.
    fn least_candidates(&self) -> usize {
        2000
    }

    /// The images that the choice is to serve; `None` of a rule that looks at candidates and labelled images alone.
    fn target(&self) -> Option<Target> {
        None
    }

    /// Whether it goes by the class scores of the model besides features.
    fn goes_by_beliefs(&self) -> bool;

    /// Up to `budget` candidates that `gate` lets through, the first to label first. `observer` is told of each, in a stage that
    /// is open.
    ///
    /// # Errors
    /// [`JointError`]: features that are no numbers, a set that is missing, or an interruption.
    fn choose(
        &self,
        sets: &Sets,
        budget: usize,
        gate: &mut Gate,
        observer: &dyn Observer,
    ) -> Result<Vec<Chosen>, JointError>;
}

/// Counts a chosen image, and hears whether to go on.
fn chosen_one(observer: &dyn Observer) -> Result<(), JointError> {
    observer.advance(1);
    if observer.interrupted() { Err(JointError::Interrupted) } else { Ok(()) }
}

/// The place of the largest number, the first of equals; `None` where there is none but NaN and negative infinity.
fn largest(values: impl Iterator<Item = f64>) -> Option<(usize, f64)> {
    values.enumerate().fold(None, |best: Option<(usize, f64)>, (place, value)| match best {
        Some((_, most)) if value <= most => best,
        _ if value.is_nan() || value == f64::NEG_INFINITY => best,
        _ => Some((place, value)),
    })
}
