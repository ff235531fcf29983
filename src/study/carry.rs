//! Carrying the runs of a study to their end, beside other processes that do the same.

use super::pruning::prune;
use super::{Planned, StudyError};
use crate::durable::{DurableError, FolderLock};
use crate::observe::Observer;
use crate::rounds::{self, Execution, Recorded, RoundsError, recorded};
use std::time::Duration;

/// How long to wait before looking again at runs that other processes have.
const PAUSE: Duration = Duration::from_millis(500);

/// What stays of a finished run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// What was labelled, what was selected, and what each model was worth.
    #[default]
    Results,
    /// Every model and every score table too.
    Everything,
}

/// What became of a run.
enum State {
    Finished,
    /// Another process has it.
    Taken,
    Failed(RoundsError),
}

/// Carries every run to its end, one after the other; `execution.out` is not looked at. A run that fails is noted and the others
/// go on. Returns when no run is open, those of other processes included.
///
/// # Errors
/// [`StudyError::Failed`] at the end, when all others are finished; an interruption; a folder that holds another run.
pub fn carry(plan: &[Planned], execution: &Execution, keep: Keep, observer: &dyn Observer) -> Result<(), StudyError> {
    for planned in plan {
        // Before anything is run: the folder may hold an earlier form of the study.
        is_finished(planned)?;
    }
    let mut open: Vec<usize> = (0..plan.len()).collect();
    let mut failed: Vec<(&Planned, RoundsError)> = Vec::new();
    let mut waiting = 0;
    loop {
        let mut taken = Vec::new();
        for place in open {
            if observer.interrupted() {
                return Err(StudyError::Interrupted);
            }
            let planned = &plan[place];
            match one(planned, &format!("run {} of {}", place + 1, plan.len()), execution, observer)? {
                State::Finished if keep == Keep::Results => prune(&planned.folder, planned.config.rounds)?,
                State::Finished => {}
                State::Taken => taken.push(place),
                State::Failed(error) => failed.push((planned, error)),
            }
        }
        if taken.is_empty() {
            break;
        }
        if waiting != taken.len() {
            waiting = taken.len();
            observer.say(&format!("waiting for other processes, which have {waiting} of the runs"));
        }
        std::thread::sleep(PAUSE);
        open = taken;
    }
    let count = failed.len();
    match failed.into_iter().next() {
        None => Ok(()),
        Some((planned, error)) => Err(StudyError::Failed {
            failed: count,
            of: plan.len(),
            folder: planned.folder.clone(),
            source: Box::new(error),
        }),
    }
}

fn one(planned: &Planned, place: &str, execution: &Execution, observer: &dyn Observer) -> Result<State, StudyError> {
    if is_finished(planned)? {
        return Ok(State::Finished);
    }
    // Whether it is free, so that only what is carried on is told of; `rounds::run` takes the lock itself.
    match FolderLock::take(&planned.folder) {
        Ok(lock) => drop(lock),
        Err(DurableError::Locked { .. }) => return Ok(State::Taken),
        Err(error) => return Err(error.into()),
    }
    observer.say(&format!("{place}: {}, {}, seed {}", planned.setting(), planned.arm, planned.config.seed));
    let execution = Execution { out: planned.folder.clone(), ..execution.clone() };
    match rounds::run(&planned.config, &execution, observer) {
        Ok(_) => Ok(State::Finished),
        Err(RoundsError::Durable(DurableError::Locked { .. })) => Ok(State::Taken),
        Err(error) if error.is_interruption() => Err(error.into()),
        Err(error) => {
            let why = crate::error_chain::in_one_line(&error);
            observer.say(&format!("`{}` failed: {why}", planned.folder.display()));
            Ok(State::Failed(error))
        }
    }
}

fn is_finished(planned: &Planned) -> Result<bool, StudyError> {
    Ok(found(planned)?.is_some_and(|found| found.is_finished()))
}

/// The run as its folder has it, where it was begun. That its data are the same was checked then.
pub(super) fn found(planned: &Planned) -> Result<Option<Recorded>, StudyError> {
    match recorded(&planned.folder)? {
        Some(found) if found.identity.config != planned.config => {
            Err(RoundsError::Another { folder: planned.folder.clone(), what: "configuration" }.into())
        }
        found => Ok(found),
    }
}
