//! From scores to the images to label.
//!
//! A strategy gives every pool image a key; the lowest keys are selected, equal keys by sample id. An image
//! whose key is not a number is never selected, and counted; so is one that shows what a labelled, a reference or
//! another selected image shows. A new strategy is a file, a variant of
//! [`StrategyOptions`], a line of [`STRATEGIES`] and a file under `configs/strategy/`.

mod entropy;
mod filters;
mod influence;
mod joint;
mod least_confidence;
mod margin;
mod of_boxes;
mod power_margin;
mod random;
mod ranking;
mod selection;
mod strategy;

pub use filters::{Filters, Gate};
pub use joint::{
    AlikeIn, Badge, Bait, By, Chosen, CoreSet, Embedded, Epig, Flqmi, InfluenceBatch, InfluenceKernel, JointError,
    PoolTarget, ProbCover, Rule, Sets, Shortlist, Target, TypiClust, UncertaintyHerding,
};
pub use power_margin::PowerMargin;
pub use random::Random;
pub use ranking::{Ranked, Ranking};
pub use selection::{LeftOut, SCHEMA, SelectError, Selected, Selection};
pub use strategy::{
    Duplicates, First, Keys, Needs, NoOptions, STRATEGIES, StrategyOptions, StrategyRow, WithoutBoxes, select,
    select_with,
};
