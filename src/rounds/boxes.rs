//! Labels counted in boxes.

use super::RoundsError;
use super::config::BudgetIn;
use super::going::Going;
use crate::data::Dataset;
use crate::families::box_count;

/// Images that a strategy which chooses jointly is asked for, for each that the budget pays for at the mean number of boxes.
const SPARE: usize = 3;

/// Boxes on the images at these positions; `None` where the pool says nothing of boxes.
pub(super) fn drawn(pool: &Dataset, positions: &[usize]) -> Option<usize> {
    positions.iter().map(|position| box_count(pool, *position)).sum()
}

/// What labelling the image at `position` costs.
fn cost(going: &Going, position: usize) -> Result<usize, RoundsError> {
    let id = going.pool.id(position);
    let nothing =
        || RoundsError::Config(format!("labels.budget-in = \"boxes\": the pool says nothing of boxes on `{id}`"));
    Ok(box_count(&going.pool, position).ok_or_else(nothing)?.max(1))
}

/// What labelling the images at these positions costs.
pub(super) fn costs(going: &Going, positions: impl Iterator<Item = usize>) -> Result<usize, RoundsError> {
    positions.map(|position| cost(going, position)).sum()
}

/// How many images a strategy is asked for, of as many as are `open`, with the images at `labelled` labelled.
pub(super) fn images(going: &Going, labelled: &[usize], open: usize) -> Result<usize, RoundsError> {
    let budget = going.budget.min(open);
    if going.config.labels.budget_in == BudgetIn::Images || going.config.select.rule().is_none() {
        // No image costs less than one box.
        return Ok(budget);
    }
    let of_labelled = costs(going, labelled.iter().copied())?.max(1);
    let expected = going.budget.saturating_mul(labelled.len().max(1)).div_ceil(of_labelled);
    Ok(expected.saturating_mul(SPARE).min(budget))
}

/// Of images in the order of selection those that are labelled: until the budget is spent.
pub(super) fn paid_for(going: &Going, ids: Vec<String>) -> Result<Vec<String>, RoundsError> {
    if going.config.labels.budget_in == BudgetIn::Images {
        return Ok(ids);
    }
    let mut spent = 0;
    let mut paid = Vec::new();
    for id in ids {
        if spent >= going.budget {
            break;
        }
        spent += going.places.get(&id).map_or(Ok(1), |position| cost(going, *position))?;
        paid.push(id);
    }
    Ok(paid)
}
