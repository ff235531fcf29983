//! Where labels come from: the pool itself, whose labels are revealed, or people.
//!
//! A round begins when `round-NN/labeled.json` says which images it has. With people, `round-NN/labels.json` comes before it: the
//! images that they are asked about, and what they have said so far.

mod answers;
mod asked;
mod boxes;
mod given;
mod import;
mod masks;
mod to_label;

pub use answers::{Conflict, Refused, UnknownLabel};
pub use asked::Waiting;
pub use import::{ImportOptions, Imported, LabelList, LabelStatus, import_labels, label_list, label_status};

pub(super) use answers::{Answers, Expected, Wanted};
pub(super) use masks::kept;

use super::going::Going;
use super::state::Labeled;
use super::{RoundsError, config::OracleKind};
use crate::families::Guess;
use asked::{Asked, Progress};
use std::collections::HashMap;

/// Whether a round can begin.
pub(super) enum Begin {
    /// Its labels are there.
    Now,
    /// People have yet to give some.
    Later(Waiting),
}

/// Images to ask about, the most useful first, and what the model believes of them by id where that is more than a class.
#[derive(Debug, Default)]
pub(super) struct ToAsk {
    pub(super) ids: Vec<String>,
    pub(super) guesses: HashMap<String, Guess>,
}

/// Asks for the labels of these images, the most useful first, for `round`.
pub(super) fn ask(going: &Going, round: usize, chosen: ToAsk) -> Result<(), RoundsError> {
    let ToAsk { ids, guesses } = chosen;
    match going.config.oracle.kind {
        OracleKind::Simulated => going.layout().settle(round, &Labeled::revealed(ids)),
        OracleKind::Human => {
            to_label::write(going, round, &ids, &guesses)?;
            // Last: it says that the lists are whole.
            Asked::of(ids).write(&going.layout(), round)
        }
    }
}

/// Whether the images of `round` have been selected.
pub(super) fn is_asked(going: &Going, round: usize) -> Result<bool, RoundsError> {
    let layout = going.layout();
    Ok(layout.labeled(round)?.is_some() || Asked::read(&layout, round)?.is_some())
}

/// Begins `round` where all that it needs of people is there.
pub(super) fn begin(going: &Going, round: usize) -> Result<Begin, RoundsError> {
    let layout = going.layout();
    if layout.labeled(round)?.is_some() {
        return Ok(Begin::Now);
    }
    let Some(asked) = Asked::read(&layout, round)? else { return Ok(Begin::Now) };
    let progress =
        Progress { run: &going.execution.out, layout: layout.clone(), round, skip: &going.config.oracle.skip };
    if !asked.may_begin(going.config.oracle.partial) {
        return Ok(Begin::Later(progress.waiting(&asked)));
    }
    let labeled = asked.settled(&going.config.oracle.skip);
    if labeled.ids.is_empty() && round == 0 {
        return Err(RoundsError::NothingLabelled { round });
    }
    layout.settle(round, &labeled)?;
    Ok(Begin::Now)
}
